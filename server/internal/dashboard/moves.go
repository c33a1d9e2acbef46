package dashboard

import (
	"context"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Moves brings credentials from platform vaults to the webhook, and says what can
// come back.
type Moves interface {
	Move(ctx context.Context, p grants.Principal, client audit.Client, after uuid.UUID) (vaults.Moving, error)
	Waiting(ctx context.Context, p grants.Principal) ([]platform.Waiting, error)
	DropWaiting(ctx context.Context, p grants.Principal, client audit.Client, tokenID uuid.UUID) error
	MoveBackPlan(ctx context.Context, p grants.Principal) ([]vaults.Back, error)
}

func (d *Dashboard) moveRoutes(r routes) {
	r.page("/vault/move", d.user(d.movePage))
	r.POST("/vault/move", d.user(d.move))
	r.page("/vault/move/:id/delete", d.user(d.dropWaitingPage))
	r.POST("/vault/move/:id/delete", d.user(d.dropWaiting))
	r.page("/vault/move-back", d.user(d.moveBackPage))
}

// A waitingVault is a platform vault that holds something while a webhook is bound.
type waitingVault struct {
	Vault  vaultMark
	Names  []string
	More   int      // that Names leaves out
	Grants []string // labels of what opens it
	Own    bool     // this session opens it
}

func showWaiting(w platform.Waiting, v visitor) waitingVault {
	out := waitingVault{Vault: markOf(w.VaultID), More: max(0, len(w.Tokens)-maxNames), Own: w.VaultID == v.principal.VaultID}
	for _, t := range w.Tokens[:min(len(w.Tokens), maxNames)] {
		out.Names = append(out.Names, t.ServiceName)
	}
	for _, g := range w.Grants {
		out.Grants = append(out.Grants, g.Label)
	}
	return out
}

// waiting counts what waits in platform vaults to be moved: none without a webhook.
func (d *Dashboard) waiting(c *gin.Context, v visitor) (int, error) {
	if !bound(v) {
		return 0, nil
	}
	list, err := d.deps.Moves.Waiting(c.Request.Context(), v.principal)
	n := 0
	for _, w := range list {
		n += len(w.Tokens)
	}
	return n, err
}

func (d *Dashboard) movePage(c *gin.Context, v visitor) error {
	return d.showMove(c, v, 0, nil, nil)
}

// maxMoves bounds what a form may say of how much there was to move.
const maxMoves = 1_000_000

// showMove shows what waits, and how far moving has come: total is how many tokens
// this session's vault held when it began, 0 if it has not begun.
func (d *Dashboard) showMove(c *gin.Context, v visitor, total int, done *vaults.Moving, failure *fault.Error) error {
	type page struct {
		Host    string
		Waiting []waitingVault
		Own     int // tokens that this session could move
		Total   int
		Gone    int // of Total
		Done    *vaults.Moving
		Next    string // where to go on; "": everything was tried
	}
	if !bound(v) {
		return seeOther(c, vaultSettings)
	}
	list, err := d.deps.Moves.Waiting(c.Request.Context(), v.principal)
	if err != nil {
		return err
	}
	p := page{Host: hostOf(v.vault.Binding.URL), Done: done}
	for _, w := range list {
		row := showWaiting(w, v)
		if row.Own {
			p.Own = len(w.Tokens)
		}
		p.Waiting = append(p.Waiting, row)
	}
	p.Total = max(total, p.Own)
	p.Gone = p.Total - p.Own
	if done != nil && done.Next != uuid.Nil && failure == nil { // what fails is not tried again by itself
		p.Next = done.Next.String()
	}
	return d.render(c, statusOf(failure), "move", view{Title: "Move to your webhook", Section: "settings", Page: p, Problem: failure}, &v)
}

// move answers the POST itself with what was moved and what stays: both are said
// nowhere else.
func (d *Dashboard) move(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	var after uuid.UUID
	if text := form.Get("after"); text != "" {
		if after, err = uuid.Parse(text); err != nil || after.String() != text {
			return fault.Field("after", "The form does not say where to go on. Start again.")
		}
	}
	total := 0
	if text := form.Get("total"); text != "" {
		if total, err = strconv.Atoi(text); err != nil || total < 0 || total > maxMoves {
			return fault.Field("total", "The form does not say how much there is to move. Start again.")
		}
	}
	done, err := d.deps.Moves.Move(c.Request.Context(), v.principal, client(c), after)
	if err == nil {
		return d.showMove(c, v, total, &done, nil)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	return d.showMove(c, v, total, &done, failure)
}

func (d *Dashboard) dropWaitingPage(c *gin.Context, v visitor) error {
	id, err := pathID(c, "waiting token")
	if err != nil {
		return err
	}
	return d.confirm(c, v, "settings", confirmation{
		Question: "Delete this token here, without moving it?",
		Lost: []string{
			"If you have the credential nowhere else, it is gone. A token of the same name at your webhook stays.",
			"Agents that were granted this one can no longer fetch it.",
			"The credential itself stays valid at its provider: revoke it there if it may have leaked.",
		},
		Do: "Delete it", Action: "/vault/move/" + id.String() + "/delete", Back: "/vault/move",
	})
}

func (d *Dashboard) dropWaiting(c *gin.Context, v visitor) error {
	id, err := pathID(c, "waiting token")
	if err != nil {
		return err
	}
	if err := d.deps.Moves.DropWaiting(c.Request.Context(), v.principal, client(c), id); err != nil {
		return err
	}
	return d.done(c, "/vault/move", flashDeleted)
}

// moveBackPage lists what can come back. A script does it, one token at a time: the
// browser alone reads at the webhook.
func (d *Dashboard) moveBackPage(c *gin.Context, v visitor) error {
	type page struct {
		WebhookURL, Host string
		Movable          []vaults.Back
		Others           []vaults.Back
	}
	if !bound(v) {
		return seeOther(c, vaultSettings)
	}
	plan, err := d.deps.Moves.MoveBackPlan(c.Request.Context(), v.principal)
	if err != nil {
		return err
	}
	p := page{WebhookURL: v.vault.Binding.URL, Host: hostOf(v.vault.Binding.URL)}
	for _, b := range plan {
		b.Token = models.Token{ServiceName: b.Token.ServiceName, TokenType: typeName(b.Token.TokenType)}
		if b.Movable {
			p.Movable = append(p.Movable, b)
		} else {
			p.Others = append(p.Others, b)
		}
	}
	return d.render(c, http.StatusOK, "moveback", view{
		Title: "Move back to this server", Section: "settings", Connect: origin(v.vault.Binding.URL), Page: p,
	}, &v)
}
