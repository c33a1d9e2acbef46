package api

import (
	"encoding/json"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// waitingJSON is what a platform vault still holds while a webhook is bound.
type waitingJSON struct {
	VaultID  uuid.UUID       `json:"vaultId"`
	Tokens   []waitTokenJSON `json:"tokens"`
	OpenedBy []openerJSON    `json:"openedBy"` // empty: agents alone open what they were granted
}

type waitTokenJSON struct {
	ID          uuid.UUID `json:"id"`
	ServiceName string    `json:"serviceName"`
	TokenType   string    `json:"tokenType"`
	Superseded  bool      `json:"superseded"`
}

type openerJSON struct {
	ID    uuid.UUID        `json:"id"`
	Kind  models.GrantKind `json:"kind"`
	Label string           `json:"label"`
}

func showWaiting(w platform.Waiting) waitingJSON {
	out := waitingJSON{VaultID: w.VaultID, Tokens: make([]waitTokenJSON, len(w.Tokens)), OpenedBy: make([]openerJSON, len(w.Grants))}
	for i, t := range w.Tokens {
		out.Tokens[i] = waitTokenJSON{ID: t.ID, ServiceName: t.ServiceName, TokenType: t.TokenType, Superseded: t.SupersededAt != nil}
	}
	for i, g := range w.Grants {
		out.OpenedBy[i] = openerJSON{ID: g.ID, Kind: g.Kind, Label: g.Label}
	}
	return out
}

func (a *API) waiting(c *gin.Context, p grants.Principal) error {
	pg, err := page(c)
	if err != nil {
		return err
	}
	list, err := a.deps.Moves.Waiting(c.Request.Context(), p)
	if err != nil {
		return err
	}
	part, next, err := cut(list, pg, func(w platform.Waiting) uuid.UUID { return w.VaultID })
	if err != nil {
		return err
	}
	out := make([]waitingJSON, len(part))
	for i, w := range part {
		out[i] = showWaiting(w)
	}
	return ok(c, itemsJSON[waitingJSON]{out, next})
}

// dropWaiting deletes what waits to be moved: by its id, for its name may be
// another's at the webhook.
func (a *API) dropWaiting(c *gin.Context, p grants.Principal) error {
	id, err := pathID(c, "token")
	if err != nil {
		return err
	}
	if err := a.deps.Moves.DropWaiting(c.Request.Context(), p, client(c), id); err != nil {
		return err
	}
	return web.NoContent(c)
}

type moveBody struct {
	After string `json:"after"`
}

type leftJSON struct {
	ID          uuid.UUID `json:"id"`
	ServiceName string    `json:"serviceName"`
	Reason      string    `json:"reason"`
}

// move brings what the caller's platform vault holds to the webhook. It may take
// several calls, each from where the former ended.
func (a *API) move(c *gin.Context, p grants.Principal) error {
	var in moveBody
	if err := web.ReadOptionalJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	after, valid := parseID(in.After)
	if in.After != "" && !valid {
		return fault.Field("after", "Send as after what the answer before had as next, or leave it out.")
	}
	done, err := a.deps.Moves.Move(c.Request.Context(), p, client(c), after)
	if err != nil {
		return err
	}
	left := make([]leftJSON, len(done.Left))
	for i, l := range done.Left {
		left[i] = leftJSON{ID: l.Token.ID, ServiceName: l.Token.ServiceName, Reason: l.Reason}
	}
	return ok(c, struct {
		Moved []string   `json:"moved"`
		Left  []leftJSON `json:"left"`
		Next  *uuid.UUID `json:"next"` // null: everything was tried
	}{append([]string{}, done.Moved...), left, idOrNull(done.Next)})
}

// backJSON is a webhook's token, and whether it can come back.
type backJSON struct {
	ID          uuid.UUID `json:"id"`
	ServiceName string    `json:"serviceName"`
	TokenType   string    `json:"tokenType"`
	Movable     bool      `json:"movable"`
	Copied      bool      `json:"copied"`
	Reason      string    `json:"reason"`
}

func (a *API) moveBackPlan(c *gin.Context, p grants.Principal) error {
	pg, err := page(c)
	if err != nil {
		return err
	}
	list, err := a.deps.Moves.MoveBackPlan(c.Request.Context(), p)
	if err != nil {
		return err
	}
	part, next, err := cut(list, pg, func(b vaults.Back) uuid.UUID { return b.Token.ID })
	if err != nil {
		return err
	}
	out := make([]backJSON, len(part))
	for i, b := range part {
		out[i] = backJSON{
			ID: b.Token.ID, ServiceName: b.Token.ServiceName, TokenType: b.Token.TokenType, Movable: b.Movable, Copied: b.Copied, Reason: b.Reason,
		}
	}
	return ok(c, itemsJSON[backJSON]{out, next})
}

// moveBackBody holds a credential that a browser has read at the webhook.
type moveBackBody struct {
	ServiceName string                     `json:"serviceName"`
	TokenData   map[string]json.RawMessage `json:"tokenData"`
}

func (a *API) moveBack(c *gin.Context, p grants.Principal) error {
	var in moveBackBody
	if err := web.ReadJSON(c, &in, web.RefuseUnknown); err != nil {
		return err
	}
	if err := (storeBody{ServiceName: in.ServiceName, TokenData: in.TokenData}).check(); err != nil {
		return err
	}
	t, err := a.deps.Moves.MoveBack(c.Request.Context(), p, client(c), in.ServiceName, in.TokenData)
	if err != nil {
		return err
	}
	return ok(c, struct {
		Status      string    `json:"status"`
		ID          uuid.UUID `json:"id"`
		ServiceName string    `json:"serviceName"`
	}{"moved", t.ID, t.ServiceName})
}
