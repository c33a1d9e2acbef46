package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// Linking shares a vault between grants.
type Linking interface {
	Share(ctx context.Context, p grants.Principal, client audit.Client, to uuid.UUID) (models.Escrow, error)
	Escrows(ctx context.Context, p grants.Principal) ([]models.Escrow, error)
	Preview(ctx context.Context, p grants.Principal, id uuid.UUID) (platform.Preview, error)
	Accept(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
	Decline(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
	Cancel(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
}

func (d *Dashboard) linkingRoutes(r routes) {
	r.page("/grants/:id/share-vault", d.user(d.shareVaultPage))
	r.POST("/grants/:id/share-vault", d.user(d.shareVault))
	r.page("/escrows/:id", d.user(d.escrowPage))
	r.POST("/escrows/:id/accept", d.user(d.accept))
	r.POST("/escrows/:id/decline", d.user(d.decline))
	r.POST("/escrows/:id/cancel", d.user(d.cancel))
}

func (d *Dashboard) shareVaultPage(c *gin.Context, v visitor) error {
	g, err := d.findGrant(c, v, "session or key")
	if err != nil {
		return err
	}
	how := "There, every page says that a vault is offered. Before it is accepted, a page lists what changes."
	if g.Kind == models.GrantAPIKey {
		how = "A program accepts with that key: GET /api/escrows names the offer, POST /api/escrows/{id}/accept takes it."
	}
	return d.confirm(c, v, "grants", confirmation{
		Question: "Share your vault with " + g.Label + "?",
		Lost: []string{
			"The vault that this session opens (" + shortID(v.principal.VaultID) + ") is offered to it for 24 hours. It must accept; you can take the offer back until then.",
			how,
			"Once it accepts, it opens every credential of your vault, now and later, and what it had moves into yours. Of two tokens of one name both are kept.",
			"Share with your own sessions and keys alone. Check on its page that it is the one you mean.",
		},
		Do: "Share the vault", Action: "/grants/" + g.ID.String() + "/share-vault", Back: "/grants",
	})
}

func (d *Dashboard) shareVault(c *gin.Context, v visitor) error {
	id, err := pathID(c, "session or key")
	if err != nil {
		return err
	}
	if _, err := d.deps.Linking.Share(c.Request.Context(), v.principal, client(c), id); err != nil {
		if failure, ok := mendable(err); ok {
			return d.showGrantsPage(c, v, failure)
		}
		return err
	}
	return d.done(c, "/grants", flashShared)
}

// escrowPage says what accepting a vault would change, before anybody does.
func (d *Dashboard) escrowPage(c *gin.Context, v visitor) error {
	id, err := pathID(c, "offer")
	if err != nil {
		return err
	}
	changes, err := d.deps.Linking.Preview(c.Request.Context(), v.principal, id)
	if err != nil {
		return err
	}
	v.offers = nil // this page is about it
	return d.render(c, http.StatusOK, "escrow", view{Title: "Link your vaults?", Section: "grants", Page: showEscrow(changes)}, &v)
}

// maxNames is how many names a page lists before it only counts.
const maxNames = 50

// An escrowView is what accepting a vault would change, for a person.
type escrowView struct {
	ID        uuid.UUID
	From      string
	Vault     vaultMark // that is offered
	ExpiresAt time.Time
	Shared    int
	Own       []string
	More      int // that Own leaves out
	Copies    bool
	Conflicts []platform.Conflict
	Others    int // that Conflicts leaves out
	Agents    int
	Cancels   int
}

func showEscrow(p platform.Preview) escrowView {
	out := escrowView{
		ID: p.Escrow.ID, From: p.From, Vault: markOf(p.Escrow.VaultID), ExpiresAt: p.Escrow.ExpiresAt, Shared: p.Shared, Copies: p.Copies, Agents: p.Agents, Cancels: p.Cancels,
		More: max(0, len(p.Own)-maxNames), Conflicts: p.Conflicts[:min(len(p.Conflicts), maxNames)], Others: max(0, len(p.Conflicts)-maxNames),
	}
	for _, t := range p.Own[:min(len(p.Own), maxNames)] {
		out.Own = append(out.Own, t.ServiceName)
	}
	return out
}

func (d *Dashboard) accept(c *gin.Context, v visitor) error {
	return d.endEscrow(c, v, d.deps.Linking.Accept, flashAccepted)
}

func (d *Dashboard) decline(c *gin.Context, v visitor) error {
	return d.endEscrow(c, v, d.deps.Linking.Decline, flashDeclined)
}

func (d *Dashboard) cancel(c *gin.Context, v visitor) error {
	return d.endEscrow(c, v, d.deps.Linking.Cancel, flashCancelled)
}

func (d *Dashboard) endEscrow(
	c *gin.Context, v visitor, end func(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error, word flash,
) error {
	id, err := pathID(c, "offer")
	if err != nil {
		return err
	}
	err = end(c.Request.Context(), v.principal, client(c), id)
	if err == nil {
		return d.done(c, "/grants", word)
	}
	if failure, ok := mendable(err); ok {
		return d.showGrantsPage(c, v, failure)
	}
	return err
}
