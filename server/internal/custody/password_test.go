package custody_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

func TestPepperedPasswordsAreAsAnotherImplementationMakesThem(t *testing.T) {
	t.Parallel()
	for _, k := range known[[]struct {
		KID                int
		Account            uuid.UUID
		Password, Peppered hexBytes
	}](t, "passwords") {
		got, err := keyring(t).PepperPassword(k.KID, k.Account, string(k.Password))
		if err != nil {
			t.Fatalf("key %d: %v", k.KID, err)
		}
		same(t, "the peppered password", got, k.Peppered)
	}
}

func TestAPepperedPasswordIsOfOneAccountKeyAndPassword(t *testing.T) {
	t.Parallel()
	ring, account := keyring(t), models.NewID()
	pepper := func(keyID int, account uuid.UUID, password string) []byte {
		t.Helper()
		got, err := ring.PepperPassword(keyID, account, password)
		if err != nil || len(got) != 32 {
			t.Fatalf("%d bytes, %v; want 32", len(got), err)
		}
		return got
	}
	want := pepper(7, account, "correct horse")
	for what, other := range map[string][]byte{
		"another key": pepper(0, account, "correct horse"), "another account": pepper(7, models.NewID(), "correct horse"),
		"another password": pepper(7, account, "correct horsf"), "no password": pepper(7, account, ""),
	} {
		if bytes.Equal(want, other) {
			t.Errorf("%s: the same", what)
		}
	}
	if got, err := ring.PepperPassword(9, account, "correct horse"); !errors.Is(err, custody.ErrKeyID) || got != nil {
		t.Errorf("a key that the ring lacks: %x, %v; want ErrKeyID", got, err)
	}
}
