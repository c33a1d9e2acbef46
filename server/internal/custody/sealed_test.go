package custody_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

func TestABindingSecretOpensForItsBindingAlone(t *testing.T) {
	t.Parallel()
	ring := keyring(t)
	secret := bytes.Repeat([]byte{0xa5}, 32)
	b := models.Binding{
		AccountID: models.NewID(), ID: models.NewID(), URL: "https://webhook.example.com", WebhookID: "wh", Fingerprint: "f0",
		SealKey: "1 X25519 AAAA", SignKey: "BBBB",
	}
	if err := ring.SealWebhookSecret(&b, secret); err != nil || b.SecretKeyID != 7 {
		t.Fatalf("sealed under key %d, %v; want key 7", b.SecretKeyID, err)
	}
	if bytes.Contains(b.SealedSecret, secret[:8]) {
		t.Fatal("the sealed secret shows the secret")
	}
	again := b
	if err := ring.SealWebhookSecret(&again, secret); err != nil || bytes.Equal(b.SealedSecret, again.SealedSecret) {
		t.Errorf("two seals of one secret are the same (%v)", err)
	}
	got, err := ring.OpenWebhookSecret(&b)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the secret", got, secret)

	refused := func(what string, want error, change func(b *models.Binding)) {
		t.Helper()
		changed := b
		change(&changed)
		if got, err := ring.OpenWebhookSecret(&changed); !errors.Is(err, want) || got != nil {
			t.Errorf("%s: got %d bytes and %v, want %v", what, len(got), err, want)
		}
	}
	refused("another account", custody.ErrOpen, func(b *models.Binding) { b.AccountID = models.NewID() })
	refused("another binding", custody.ErrOpen, func(b *models.Binding) { b.ID = models.NewID() })
	refused("the two exchanged", custody.ErrOpen, func(b *models.Binding) { b.AccountID, b.ID = b.ID, b.AccountID })
	refused("another address", custody.ErrOpen, func(b *models.Binding) { b.URL = "https://attacker.example" })
	refused("another webhook id", custody.ErrOpen, func(b *models.Binding) { b.WebhookID = "" })
	refused("another fingerprint", custody.ErrOpen, func(b *models.Binding) { b.Fingerprint += "0" })
	refused("another seal key", custody.ErrOpen, func(b *models.Binding) { b.SealKey = "" })
	refused("another sign key", custody.ErrOpen, func(b *models.Binding) { b.SignKey = "AAAA" })
	refused("text moved between fields", custody.ErrOpen, func(b *models.Binding) { b.URL, b.WebhookID = b.URL+"w", "h" })
	refused("another key of the ring", custody.ErrOpen, func(b *models.Binding) { b.SecretKeyID = 255 })
	refused("a key that the ring lacks", custody.ErrKeyID, func(b *models.Binding) { b.SecretKeyID = 9 })
	refused("a negative key id", custody.ErrKeyID, func(b *models.Binding) { b.SecretKeyID = -1 })
	refused("one byte more", custody.ErrOpen, func(b *models.Binding) { b.SealedSecret = append(slices.Clone(b.SealedSecret), 0) })
	for n := range len(b.SealedSecret) {
		refused("cut short", custody.ErrOpen, func(b *models.Binding) { b.SealedSecret = b.SealedSecret[:n] })
	}
	for bit := range len(b.SealedSecret) * 8 {
		refused("a flipped bit", custody.ErrOpen, func(b *models.Binding) {
			b.SealedSecret = slices.Clone(b.SealedSecret)
			b.SealedSecret[bit/8] ^= 1 << (bit % 8)
		})
	}
}
