package custody

import (
	"crypto/ed25519"

	"github.com/tvzero/tokenvault/models"
)

// SignCheckpoint signs where an audit stream stood (Ed25519, RFC 8032), under a
// key derived from the current server key.
func (k *Keyring) SignCheckpoint(c *models.AuditCheckpoint) {
	c.KeyID = k.current
	c.Signature = ed25519.Sign(ed25519.NewKeyFromSeed(k.now().audit), checkpointText(c))
}

// CheckCheckpoint reports ErrRow or ErrKeyID unless the checkpoint is as it was
// signed.
func (k *Keyring) CheckCheckpoint(c *models.AuditCheckpoint) error {
	key, err := k.key(c.KeyID)
	if err != nil {
		return err
	}
	public, _ := ed25519.NewKeyFromSeed(key.audit).Public().(ed25519.PublicKey)
	if !ed25519.Verify(public, checkpointText(c), c.Signature) {
		return ErrRow
	}
	return nil
}

func checkpointText(c *models.AuditCheckpoint) []byte {
	final := byte(0)
	if c.Final {
		final = 1
	}
	return encode("tokenvault/audit-checkpoint/v1",
		c.StreamID[:], number(c.Seq), number(c.At.UnixMicro()), c.Hash, be32(uint32(c.KeyID)), []byte{final}) // #nosec G115 -- 0–255
}
