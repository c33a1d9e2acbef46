package custody_test

import (
	"crypto/rand"
	"errors"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

func TestASecondFactorOpensForItsOwnAccountAlone(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	f := models.SecondFactor{AccountID: models.NewID(), ID: models.NewID()}
	if err := ring.SealSecondFactor(rand.Reader, &f, []byte("JBSWY3DPEHPK3PXP")); err != nil {
		t.Fatal(err)
	}
	if got, err := ring.OpenSecondFactor(&f); err != nil || string(got) != "JBSWY3DPEHPK3PXP" || f.KeyID != ring.Current() {
		t.Fatalf("opened %q under key %d, %v", got, f.KeyID, err)
	}
	for name, change := range map[string]func(*models.SecondFactor){
		"another account": func(f *models.SecondFactor) { f.AccountID = models.NewID() },
		"another factor":  func(f *models.SecondFactor) { f.ID = models.NewID() },
		"another key":     func(f *models.SecondFactor) { f.KeyID = 255 },
		"a changed byte":  func(f *models.SecondFactor) { f.Sealed = append(models.Opaque{f.Sealed[0] ^ 1}, f.Sealed[1:]...) },
		"nothing":         func(f *models.SecondFactor) { f.Sealed = nil },
	} {
		other := f
		change(&other)
		if got, err := ring.OpenSecondFactor(&other); !errors.Is(err, custody.ErrOpen) {
			t.Errorf("%s: opened %q, %v, want ErrOpen", name, got, err)
		}
	}
	f.KeyID = 99
	if _, err := ring.OpenSecondFactor(&f); !errors.Is(err, custody.ErrKeyID) {
		t.Errorf("a key that is gone: %v, want ErrKeyID", err)
	}
}

func TestAChallengeOpensForItsPurposeAlone(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	text, err := ring.SealChallenge(rand.Reader, "sign in", []byte("state"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ring.OpenChallenge("sign in", text); err != nil || string(got) != "state" {
		t.Fatalf("opened %q, %v", got, err)
	}
	other := parse(t, "7:"+otherKey)
	for name, open := range map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return ring.OpenChallenge("delete", text) },
		"another server":  func() ([]byte, error) { return other.OpenChallenge("sign in", text) },
		"cut":             func() ([]byte, error) { return ring.OpenChallenge("sign in", text[:len(text)-4]) },
		"nothing":         func() ([]byte, error) { return ring.OpenChallenge("sign in", "") },
		"a connect state": func() ([]byte, error) { return ring.OpenConnectState(models.NewID(), models.NewID(), text) },
	} {
		if got, err := open(); !errors.Is(err, custody.ErrOpen) {
			t.Errorf("%s: opened %q, %v, want ErrOpen", name, got, err)
		}
	}
}
