package custody

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/google/uuid"
)

const passwordLabel = "tokenvault/password/v1"

// PepperPassword is what is hashed in place of an account's password: its
// HMAC-SHA-256 under a server key, with the account. So a writer of the database
// can neither make the hash of a password that it knows nor move one from another
// account, and a copy of the database alone says nothing of passwords. ErrKeyID
// without the key.
func (k *Keyring) PepperPassword(keyID int, accountID uuid.UUID, password string) ([]byte, error) {
	key, err := k.key(keyID)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, key.password)
	h.Write(encode(passwordLabel, accountID[:], []byte(password)))
	return h.Sum(nil), nil
}
