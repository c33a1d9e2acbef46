package api

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// escrowJSON is a vault on offer. The wrapped key is nobody's to see.
type escrowJSON struct {
	ID          uuid.UUID          `json:"id"`
	VaultID     uuid.UUID          `json:"vaultId"`
	FromGrantID uuid.UUID          `json:"fromGrantId"`
	ToGrantID   uuid.UUID          `json:"toGrantId"`
	State       models.EscrowState `json:"state"`
	CreatedAt   time.Time          `json:"createdAt"`
	ExpiresAt   time.Time          `json:"expiresAt"`
	EndedAt     *time.Time         `json:"endedAt"` // null: it is pending
}

func showEscrow(e models.Escrow) escrowJSON {
	return escrowJSON{
		ID: e.ID, VaultID: e.VaultID, FromGrantID: e.FromID, ToGrantID: e.ToID, State: e.State,
		CreatedAt: e.CreatedAt.UTC(), ExpiresAt: e.ExpiresAt.UTC(), EndedAt: utc(e.EndedAt),
	}
}

func (a *API) shareVault(c *gin.Context, p grants.Principal) error {
	to, err := pathID(c, "grant")
	if err != nil {
		return err
	}
	e, err := a.deps.Linking.Share(c.Request.Context(), p, client(c), to)
	if err != nil {
		return err
	}
	return created(c, showEscrow(e))
}

func (a *API) listEscrows(c *gin.Context, p grants.Principal) error {
	pg, err := page(c)
	if err != nil {
		return err
	}
	list, err := a.deps.Linking.Escrows(c.Request.Context(), p)
	if err != nil {
		return err
	}
	part, next, err := cut(list, pg, func(e models.Escrow) uuid.UUID { return e.ID })
	if err != nil {
		return err
	}
	out := make([]escrowJSON, len(part))
	for i, e := range part {
		out[i] = showEscrow(e)
	}
	return ok(c, itemsJSON[escrowJSON]{out, next})
}

// endEscrow answers what takes an escrow out of pending.
func (a *API) endEscrow(
	end func(l Linking, ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error, state models.EscrowState,
) userHandler {
	return func(c *gin.Context, p grants.Principal) error {
		id, err := pathID(c, "escrow")
		if err != nil {
			return err
		}
		if err := end(a.deps.Linking, c.Request.Context(), p, client(c), id); err != nil {
			return err
		}
		return ok(c, struct {
			ID    uuid.UUID          `json:"id"`
			State models.EscrowState `json:"state"`
		}{id, state})
	}
}
