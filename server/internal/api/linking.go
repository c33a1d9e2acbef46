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

// previewJSON is what accepting an escrow would change.
type previewJSON struct {
	Escrow    escrowJSON     `json:"escrow"`
	From      string         `json:"from"`   // label of the grant that offers
	Shared    int            `json:"shared"` // tokens in the vault that is offered
	Own       int            `json:"own"`    // tokens that come along
	Copies    bool           `json:"copies"` // others keep the vault that is left
	Conflicts []conflictJSON `json:"conflicts"`
	Agents    int            `json:"agents"`  // that keep a credential which moves
	Cancels   int            `json:"cancels"` // other escrows that end
}

// conflictJSON is a name that both vaults have.
type conflictJSON struct {
	ServiceName string `json:"serviceName"`
	Owner       string `json:"owner,omitempty"`
	Bridge      string `json:"bridge,omitempty"`
	Scheme      string `json:"scheme,omitempty"`
	KeepsOwn    bool   `json:"keepsOwn"` // the token that comes along keeps the name
}

func (a *API) previewEscrow(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "escrow")
	if err != nil {
		return err
	}
	v, err := a.deps.Linking.Preview(c.Request.Context(), p, id)
	if err != nil {
		return err
	}
	out := previewJSON{
		Escrow: showEscrow(v.Escrow), From: v.From, Shared: v.Shared, Own: len(v.Own), Copies: v.Copies,
		Conflicts: make([]conflictJSON, len(v.Conflicts)), Agents: v.Agents, Cancels: v.Cancels,
	}
	for i, k := range v.Conflicts {
		out.Conflicts[i] = conflictJSON{ServiceName: k.Ref.Service, Owner: k.Ref.Owner, Bridge: k.Ref.Bridge, Scheme: k.Ref.Scheme, KeepsOwn: k.KeepsOwn}
	}
	return ok(c, out)
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
