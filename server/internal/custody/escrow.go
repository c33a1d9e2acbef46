package custody

import (
	"errors"
	"io"

	"github.com/tvzero/tokenvault/models"
)

// Offer puts a vault's key into a new escrow for the grant that may accept it,
// and signs it. Ids, vault, generation and times must be set. An error leaves the
// escrow as it was.
func (h *Holder) Offer(random io.Reader, e *models.Escrow, d DEK, to *models.Grant) (err error) {
	if e.AccountID != h.grant.AccountID || e.FromID != h.grant.ID || e.ToID != to.ID ||
		e.VaultID != d.vaultID || e.Generation != d.generation || e.State != models.EscrowPending {
		return errors.New("custody: the escrow is of other grants or of another vault")
	}
	if !to.Kind.Shares() {
		return errNoVault
	}
	var wrapped models.Opaque
	within(func() {
		wrapped, err = h.share(random, d.Secret, to, sharedEscrow, e.ID[:], e.VaultID[:], number(e.Generation))
	})
	if err == nil {
		e.Wrapped = wrapped
		h.ring.SignEscrow(e)
	}
	return err
}

// OpenEscrow unwraps the key of a pending escrow that is for this holder. Whether
// it has expired is the caller's to decide.
func (h *Holder) OpenEscrow(e *models.Escrow, from *models.Grant) (d DEK, err error) {
	if err := h.ring.CheckEscrow(e); err != nil {
		return DEK{}, err
	}
	if e.ToID != h.grant.ID || e.AccountID != h.grant.AccountID || e.State != models.EscrowPending || !h.grant.Kind.Shares() {
		return DEK{}, ErrOpen
	}
	secret := blankSecret()
	within(func() {
		var dek key
		if dek, err = h.openShared(e.Wrapped, &e.FromID, from, sharedEscrow, e.ID[:], e.VaultID[:], number(e.Generation)); err == nil {
			secret.fill(&dek)
			d = DEK{secret, e.VaultID, e.Generation}
		}
	})
	return d, err
}
