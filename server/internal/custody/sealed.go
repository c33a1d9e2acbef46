package custody

import (
	"crypto/rand"

	"github.com/tvzero/tokenvault/models"
)

const webhookSecretLabel = "tokenvault/webhook-secret/v1"

// SealWebhookSecret puts a binding's secret into it, sealed under the current
// server key: nonce(12) ‖ AES-256-GCM, bound to key id, account, binding, and to
// where and to whom the secret belongs: address, webhook id, fingerprint and
// pinned keys. Set those first. What a ticket opens is decided by the secret, and
// who is handed it by the address: a writer of the database must not bring another
// address to a secret.
func (k *Keyring) SealWebhookSecret(b *models.Binding, secret []byte) error {
	b.SecretKeyID = k.current // which the context contains
	sealed, err := seal(rand.Reader, k.now().seal, secret, bindingContext(b))
	if err != nil {
		return err
	}
	b.SealedSecret = sealed
	return nil
}

// OpenWebhookSecret opens what SealWebhookSecret sealed: ErrKeyID without the
// key, ErrOpen when it does not open, belongs to another binding, or the binding
// is not as it was when it was sealed.
func (k *Keyring) OpenWebhookSecret(b *models.Binding) ([]byte, error) {
	key, err := k.key(b.SecretKeyID)
	if err != nil {
		return nil, err
	}
	return open(nil, key.seal, b.SealedSecret, bindingContext(b))
}

func bindingContext(b *models.Binding) []byte {
	return encode(webhookSecretLabel, b.AccountID[:], b.ID[:], be32(uint32(b.SecretKeyID)), // #nosec G115 -- 0–255
		[]byte(b.URL), []byte(b.WebhookID), []byte(b.Fingerprint), []byte(b.SealKey), []byte(b.SignKey))
}
