package custody

import (
	"io"

	"github.com/tvzero/tokenvault/models"
)

const successorLabel = "tokenvault/successor/v1"

// SealSuccessor seals the text of the token that follows the holder's own, so
// that only this one opens it: nonce(12) ‖ AES-256-GCM under HKDF(secret).
func (h *Holder) SealSuccessor(random io.Reader, next uint32, text string) (models.Successor, error) {
	row := models.Successor{
		AccountID: h.grant.AccountID, GrantID: h.grant.ID, Slot: int64(h.claims.Slot), NextSlot: int64(next), CreatedAt: models.Stamp(h.now()),
	}
	var err error
	within(func() {
		var own key
		if own, err = derive(h.claims.Secret.bytes(), nil, successorLabel); err == nil {
			row.Sealed, err = seal(random, own[:], []byte(text), successorContext(&row))
			clear(own[:])
		}
	})
	if err != nil {
		return models.Successor{}, err
	}
	return row, nil
}

// OpenSuccessor is the text that SealSuccessor sealed: ErrOpen.
func (h *Holder) OpenSuccessor(row *models.Successor) (text string, err error) {
	if row.AccountID != h.grant.AccountID || row.GrantID != h.grant.ID || row.Slot != int64(h.claims.Slot) {
		return "", ErrOpen
	}
	within(func() {
		var own key
		if own, err = derive(h.claims.Secret.bytes(), nil, successorLabel); err == nil {
			var plain []byte
			plain, err = open(roomFor(row.Sealed), own[:], row.Sealed, successorContext(row))
			text = string(plain)
			clear(own[:])
			clear(plain)
		}
	})
	return text, err
}

func successorContext(row *models.Successor) []byte {
	return encode(successorLabel, row.AccountID[:], row.GrantID[:], number(row.Slot), number(row.NextSlot))
}
