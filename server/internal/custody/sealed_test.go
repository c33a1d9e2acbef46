package custody_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

func TestABindingSecretOpensForItsBindingAlone(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	account, binding := models.NewID(), models.NewID()
	secret := bytes.Repeat([]byte{0xa5}, 32)
	keyID, sealed, err := ring.SealWebhookSecret(account, binding, secret)
	if err != nil || keyID != 7 {
		t.Fatalf("sealed under key %d, %v; want key 7", keyID, err)
	}
	if bytes.Contains(sealed, secret[:8]) {
		t.Fatal("the sealed secret shows the secret")
	}
	_, again, err := ring.SealWebhookSecret(account, binding, secret)
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("two seals of one secret are the same (%v)", err)
	}
	got, err := ring.OpenWebhookSecret(account, binding, keyID, sealed)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the secret", got, secret)

	refused := func(what string, want error, account, binding uuid.UUID, keyID int, sealed []byte) {
		t.Helper()
		if got, err := ring.OpenWebhookSecret(account, binding, keyID, sealed); !errors.Is(err, want) || got != nil {
			t.Errorf("%s: got %d bytes and %v, want %v", what, len(got), err, want)
		}
	}
	refused("another account", custody.ErrOpen, models.NewID(), binding, keyID, sealed)
	refused("another binding", custody.ErrOpen, account, models.NewID(), keyID, sealed)
	refused("the two exchanged", custody.ErrOpen, binding, account, keyID, sealed)
	refused("another key of the ring", custody.ErrOpen, account, binding, 255, sealed)
	refused("a key that the ring lacks", custody.ErrKeyID, account, binding, 9, sealed)
	refused("a negative key id", custody.ErrKeyID, account, binding, -1, sealed)
	refused("one byte more", custody.ErrOpen, account, binding, keyID, append(slices.Clone(sealed), 0))
	for n := range len(sealed) {
		refused("cut short", custody.ErrOpen, account, binding, keyID, sealed[:n])
	}
	for bit := range len(sealed) * 8 {
		flipped := slices.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		refused("a flipped bit", custody.ErrOpen, account, binding, keyID, flipped)
	}
}
