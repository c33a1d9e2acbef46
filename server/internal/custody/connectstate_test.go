package custody_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

func TestAConnectStateOpensForItsSessionAlone(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	account, grant := models.NewID(), models.NewID()
	state := []byte(`{"verifier": "a verifier that nobody may read"}`)
	text, err := ring.SealConnectState(rand.Reader, account, grant, state)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || bytes.Contains(raw, state[:8]) {
		t.Fatalf("the sealed state is %q (%v): want base64url that does not show it", text, err)
	}
	if again, err := ring.SealConnectState(rand.Reader, account, grant, state); err != nil || again == text {
		t.Errorf("two seals of one state are the same (%v)", err)
	}
	got, err := ring.OpenConnectState(account, grant, text)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the state", got, state)

	refused := func(what string, open func() ([]byte, error)) {
		t.Helper()
		if got, err := open(); !errors.Is(err, custody.ErrOpen) || got != nil {
			t.Errorf("%s: got %d bytes and %v, want ErrOpen", what, len(got), err)
		}
	}
	refused("another account", func() ([]byte, error) { return ring.OpenConnectState(models.NewID(), grant, text) })
	refused("another session", func() ([]byte, error) { return ring.OpenConnectState(account, models.NewID(), text) })
	refused("the two exchanged", func() ([]byte, error) { return ring.OpenConnectState(grant, account, text) })
	for _, other := range []string{"", "a", text + "A", text + "=", text + "\n", text[:40] + "\n" + text[40:], strings.Repeat("A", 5000)} {
		refused("another text", func() ([]byte, error) { return ring.OpenConnectState(account, grant, other) })
	}
	for n := range len(text) {
		refused("cut short", func() ([]byte, error) { return ring.OpenConnectState(account, grant, text[:n]) })
	}
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		changed := base64.RawURLEncoding.EncodeToString(raw)
		refused("a flipped bit", func() ([]byte, error) { return ring.OpenConnectState(account, grant, changed) })
		raw[bit/8] ^= 1 << (bit % 8)
	}
}

func TestAConnectStateIsNotLongerThanACookie(t *testing.T) {
	t.Parallel()
	ring, account, grant := keyring(t), models.NewID(), models.NewID()
	longest := 0
	for size := 2700; size < 2900; size++ {
		text, err := ring.SealConnectState(rand.Reader, account, grant, make([]byte, size))
		switch {
		case errors.Is(err, custody.ErrTooLong):
		case err != nil:
			t.Fatal(err)
		default:
			longest = len(text)
			if _, err := ring.OpenConnectState(account, grant, text); err != nil || longest > 3800 {
				t.Fatalf("a state of %d bytes is %d characters, %v; want one of at most 3800 that opens", size, longest, err)
			}
		}
	}
	if longest < 3790 {
		t.Errorf("the longest state had %d characters, want it close to 3800", longest)
	}
}
