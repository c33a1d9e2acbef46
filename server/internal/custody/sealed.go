package custody

import (
	"crypto/rand"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

const webhookSecretLabel = "tokenvault/webhook-secret/v1"

// SealWebhookSecret seals a binding's secret under the current server key:
// nonce(12) ‖ AES-256-GCM, bound to account, binding and key id.
func (k *Keyring) SealWebhookSecret(accountID, bindingID uuid.UUID, secret []byte) (keyID int, sealed models.Opaque, err error) {
	aead, err := newGCM(k.now().seal)
	if err != nil {
		return 0, nil, err
	}
	sealed = make([]byte, nonceSize, nonceSize+len(secret)+tagSize)
	if _, err := io.ReadFull(rand.Reader, sealed); err != nil {
		return 0, nil, fmt.Errorf("custody: no randomness: %w", err)
	}
	return k.current, aead.Seal(sealed, sealed[:nonceSize], secret, bindingContext(accountID, bindingID, k.current)), nil
}

// OpenWebhookSecret opens what SealWebhookSecret sealed: ErrKeyID without the
// key, ErrOpen when it does not open or belongs to another binding.
func (k *Keyring) OpenWebhookSecret(accountID, bindingID uuid.UUID, keyID int, sealed models.Opaque) ([]byte, error) {
	key, err := k.key(keyID)
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(key.seal)
	if err != nil {
		return nil, err
	}
	if len(sealed) < nonceSize+tagSize {
		return nil, ErrOpen
	}
	secret, err := aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], bindingContext(accountID, bindingID, keyID))
	if err != nil {
		return nil, ErrOpen
	}
	return secret, nil
}

func bindingContext(accountID, bindingID uuid.UUID, keyID int) []byte {
	return encode(webhookSecretLabel, accountID[:], bindingID[:], be32(uint32(keyID))) // #nosec G115 -- 0–255
}
