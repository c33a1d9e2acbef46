package custody

import "github.com/tvzero/tokenvault/models"

// SignOutbox authenticates, under the current key, that this server has put sealed into
// an outbox for a token and creation, as the change of this sequence. Anybody who has
// a webhook's public key can seal to it: a writer of the database must not have
// tokens of his choice handed over.
func (k *Keyring) SignOutbox(e *models.OutboxEntry, sealed []byte) (keyID int, mac []byte) {
	return k.sign("outbox", func(to *encoder) { outboxRow(to, e, sealed) })
}

// CheckOutbox reports ErrRow or ErrKeyID unless that is as it was signed.
func (k *Keyring) CheckOutbox(e *models.OutboxEntry, sealed []byte, keyID int, mac []byte) error {
	return k.check(keyID, mac, "outbox", func(to *encoder) { outboxRow(to, e, sealed) })
}

func outboxRow(to *encoder, e *models.OutboxEntry, sealed []byte) {
	to.id(e.AccountID)
	to.id(e.TokenID)
	to.string(e.CreationID)
	to.number(e.Sequence)
	to.string(e.KeyID)
	to.bytes(sealed)
}
