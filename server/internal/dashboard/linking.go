package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func (d *Dashboard) shareVaultPage(c *gin.Context, v visitor) error {
	g, err := d.findGrant(c, v, "session or key")
	if err != nil {
		return err
	}
	return d.confirm(c, v, "grants", confirmation{
		Question: "Share your vault with " + g.Label + "?",
		Lost: []string{
			"The vault that this session opens is offered to it for 24 hours. It must accept; you can take the offer back until then.",
			"Once it accepts, it opens every credential of your vault, now and later, and what it had moves into yours.",
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
	for _, o := range v.offers {
		if o.ID == id {
			return d.showEscrow(c, v, o, nil)
		}
	}
	return fault.New(fault.NotFound, "There is no such offer to this session any more. It may have been taken back, or its 24 hours are over.")
}

type escrowView struct {
	ID        uuid.UUID
	From      string
	ExpiresAt time.Time
}

func (d *Dashboard) showEscrow(c *gin.Context, v visitor, o offer, failure *fault.Error) error {
	p := escrowView{ID: o.ID, From: o.From, ExpiresAt: o.ExpiresAt}
	status := http.StatusOK
	if failure != nil {
		status = statusOf(failure)
	}
	return d.render(c, status, "escrow", view{Title: "Link your vaults?", Section: "grants", Page: &p, Problem: failure}, &v)
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
