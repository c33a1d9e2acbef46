package custody

import (
	"fmt"
	"io"

	"github.com/tvzero/tokenvault/models"
)

const secondFactorLabel = "tokenvault/second-factor/v1"

// SealSecondFactor puts a TOTP secret into its row, sealed under the current server
// key: nonce(12) ‖ AES-256-GCM, bound to key id, account and factor. Set those ids
// first. The server checks codes and so can open it: it guards signing in, and no
// credential.
func (k *Keyring) SealSecondFactor(random io.Reader, f *models.SecondFactor, secret []byte) error {
	own, err := derive(k.now().master, nil, secondFactorLabel)
	if err != nil {
		return err
	}
	defer clear(own[:])
	f.KeyID = k.current // which the context contains
	sealed, err := seal(random, own[:], secret, secondFactorContext(f))
	if err != nil {
		return err
	}
	f.Sealed = sealed
	return nil
}

// OpenSecondFactor opens what SealSecondFactor sealed: ErrKeyID without the key,
// ErrOpen when it does not open or belongs to another account or factor.
func (k *Keyring) OpenSecondFactor(f *models.SecondFactor) ([]byte, error) {
	server, err := k.key(f.KeyID)
	if err != nil {
		return nil, err
	}
	own, err := derive(server.master, nil, secondFactorLabel)
	if err != nil {
		return nil, fmt.Errorf("custody: second factor: %w", err)
	}
	defer clear(own[:])
	return open(nil, own[:], f.Sealed, secondFactorContext(f))
}

func secondFactorContext(f *models.SecondFactor) []byte {
	return encode(secondFactorLabel, f.AccountID[:], f.ID[:], be32(uint32(f.KeyID))) // #nosec G115 -- 0–255
}

// SignPasskey authenticates what of a passkey decides who signs in, under the current
// key: a writer of the database must not bring a public key of his own to an account.
func (k *Keyring) SignPasskey(p *models.Passkey) {
	p.KeyID, p.MAC = k.sign("passkeys", func(e *encoder) { passkeyRow(e, p) })
}

// CheckPasskey reports ErrRow or ErrKeyID unless the passkey is as it was signed.
func (k *Keyring) CheckPasskey(p *models.Passkey) error {
	return k.check(p.KeyID, p.MAC, "passkeys", func(e *encoder) { passkeyRow(e, p) })
}

func passkeyRow(e *encoder, p *models.Passkey) {
	e.id(p.AccountID)
	e.id(p.ID)
	e.bytes(p.CredentialID)
	e.bytes(p.PublicKey)
	eligible := int64(0)
	if p.BackupEligible {
		eligible = 1
	}
	e.number(eligible)
	e.time(p.CreatedAt)
}
