package dashboard

import (
	"context"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// Sessions is what can sign in. LastOfVault tells whether a platform vault ends
// with a grant, and how many credentials would be lost with it.
type Sessions interface {
	List(ctx context.Context, p grants.Principal) ([]grants.View, error)
	SetLabel(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID, label string) error
	Revoke(ctx context.Context, p grants.Principal, client audit.Client, id uuid.UUID) error
	LastOfVault(ctx context.Context, p grants.Principal, id uuid.UUID) (last bool, credentials int, err error)
	Rotate(ctx context.Context, p grants.Principal) (grants.Token, time.Time, error)
}

func (d *Dashboard) grantRoutes(r routes) {
	r.page("/grants", d.user(d.grantsPage))
	r.POST("/grants/:id", d.user(d.labelGrant))
	r.page("/grants/:id/revoke", d.user(d.revokeGrantPage))
	r.POST("/grants/:id/revoke", d.user(d.revokeGrant))
}

// wayBackIn is what to do about a vault that would be lost.
const wayBackIn = "To keep the vault, make an API key first and keep it offline, or share the vault with another session: either opens it later."

// A vaultMark is a vault as people tell it from others: a short id, and a look, which
// are the same on every page and for everybody.
type vaultMark struct {
	Text string
	Look string
}

const vaultLooks = 12 // that the style sheet has

// markOf is the mark of a vault. Two vaults may look alike; their short ids differ.
func markOf(id uuid.UUID) vaultMark {
	return vaultMark{Text: shortID(id), Look: "vault-" + strconv.Itoa(int(id[len(id)-1])%vaultLooks)}
}

// A signInRow is something that can sign in.
type signInRow struct {
	ID         uuid.UUID
	Kind       models.GrantKind
	Type       string
	Label      string
	Scopes     []string
	Vault      *vaultMark // nil: it opens no platform vault
	CreatedAt  time.Time
	ExpiresAt  *time.Time
	LastUsedAt *time.Time
	Current    bool
	AgentID    uuid.UUID // of an agent's key
	Managed    bool      // renamed and revoked here
	Shareable  bool      // could be offered the visitor's vault
	Offered    *offered  // the visitor's vault is offered to it already
	Pending    bool      // its vault waits for new keys
}

func showGrants(list []grants.View) []signInRow {
	rows := make([]signInRow, len(list))
	for i, g := range list {
		rows[i] = signInRow{
			ID: g.ID, Kind: g.Kind, Type: kindName(g.Kind), Label: g.Label, Scopes: g.Scopes, CreatedAt: g.CreatedAt, ExpiresAt: g.ExpiresAt,
			LastUsedAt: g.LastUsedAt, Current: g.Current, AgentID: g.AgentID, Managed: g.Kind != models.GrantAgentKey,
		}
		if g.VaultID == uuid.Nil {
			continue
		}
		mark := markOf(g.VaultID)
		rows[i].Vault = &mark
	}
	return rows
}

// shortID is the end of an id: its beginning is a time, and alike in many.
func shortID(id uuid.UUID) string {
	text := id.String()
	return text[len(text)-6:]
}

// An offered vault waits to be accepted by another grant.
type offered struct {
	ID        uuid.UUID
	ExpiresAt time.Time
}

func kindName(kind models.GrantKind) string {
	switch kind {
	case models.GrantSession:
		return "session"
	case models.GrantAPIKey:
		return "API key"
	case models.GrantAgentKey:
		return "agent key"
	case models.GrantOAuthAccess, models.GrantOAuthRefresh, models.GrantAuthCode:
		return "OAuth client"
	}
	return string(kind)
}

func (d *Dashboard) grantsPage(c *gin.Context, v visitor) error { return d.showGrantsPage(c, v, nil) }

func (d *Dashboard) showGrantsPage(c *gin.Context, v visitor, failure *fault.Error) error {
	type page struct {
		Grants  []signInRow
		Vault   *vaultMark // that the visitor has to share; nil: none
		Pending bool       // new keys are due in some vault
	}
	ctx := c.Request.Context()
	list, err := d.deps.Sessions.List(ctx, v.principal)
	if err != nil {
		return err
	}
	p := page{Grants: showGrants(list)}
	due, err := d.pendingVaults(ctx, v)
	if err != nil {
		return err
	}
	for i, g := range list {
		p.Grants[i].Pending = due[g.VaultID]
	}
	p.Pending = len(due) > 0
	if v.principal.VaultID != uuid.Nil {
		mark := markOf(v.principal.VaultID)
		p.Vault = &mark
		escrows, err := d.deps.Linking.Escrows(ctx, v.principal)
		if err != nil {
			return err
		}
		for i, g := range list {
			row := &p.Grants[i]
			row.Shareable = g.Kind.Shares() && !g.Current && g.VaultID != v.principal.VaultID
			for _, e := range escrows {
				if e.FromID == v.principal.GrantID && e.ToID == g.ID && d.pending(e) {
					row.Offered, row.Shareable = &offered{e.ID, e.ExpiresAt}, false
				}
			}
		}
	}
	return d.render(c, statusOf(failure), "grants", view{Title: "Sessions and keys", Section: "grants", Page: &p, Problem: failure}, &v)
}

// findGrant is the grant that a path names.
func (d *Dashboard) findGrant(c *gin.Context, v visitor, kind string) (grants.View, error) {
	id, err := pathID(c, kind)
	if err != nil {
		return grants.View{}, err
	}
	list, err := d.deps.Sessions.List(c.Request.Context(), v.principal)
	if err != nil {
		return grants.View{}, err
	}
	for _, g := range list {
		if g.ID == id {
			return g, nil
		}
	}
	return grants.View{}, fault.New(fault.NotFound, "There is no %s with this id. It may have ended already.", kind)
}

func (d *Dashboard) labelGrant(c *gin.Context, v visitor) error {
	id, err := pathID(c, "session or key")
	if err != nil {
		return err
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	err = d.deps.Sessions.SetLabel(c.Request.Context(), v.principal, client(c), id, form.Get("label"))
	if err == nil {
		return d.done(c, "/grants", flashRenamed)
	}
	if failure, ok := mendable(err); ok {
		return d.showGrantsPage(c, v, failure)
	}
	return err
}

// lostWith says what is lost with a grant: nothing, unless its vault ends with it
// and has something in it.
func (d *Dashboard) lostWith(ctx context.Context, p grants.Principal, id uuid.UUID) ([]string, error) {
	last, credentials, err := d.deps.Sessions.LastOfVault(ctx, p, id)
	if err != nil || !last || credentials == 0 {
		return nil, err
	}
	return []string{
		"Nothing else opens its vault: the vault ends with it, and credentials (" + strconv.Itoa(credentials) + ") are deleted. This server cannot bring them back: only a backup of it could, with a session or key that was good in it.",
		"What an agent was granted stays, for that agent alone.",
	}, nil
}

func (d *Dashboard) revokeGrantPage(c *gin.Context, v visitor) error {
	g, err := d.findGrant(c, v, "session or key")
	if err != nil {
		return err
	}
	if g.Kind == models.GrantAgentKey {
		return seeOther(c, agentPath(g.AgentID))
	}
	lost, err := d.lostWith(c.Request.Context(), v.principal, g.ID)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		lost = append(lost, wayBackIn)
	}
	said := "It is refused from now on."
	if g.Current {
		said = "It is this session: you are signed out."
	}
	return d.confirm(c, v, "grants", confirmation{
		Question: "Revoke the " + kindName(g.Kind) + " " + g.Label + "?", Lost: append([]string{said}, lost...),
		Do: "Revoke it", Action: "/grants/" + g.ID.String() + "/revoke", Back: "/grants",
	})
}

func (d *Dashboard) revokeGrant(c *gin.Context, v visitor) error {
	id, err := pathID(c, "session or key")
	if err != nil {
		return err
	}
	// Somebody else may have revoked it meanwhile: what was wanted holds.
	err = d.deps.Sessions.Revoke(c.Request.Context(), v.principal, client(c), id)
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return err
	}
	if id == v.principal.GrantID {
		d.deps.Cookies.EndSession(c.Writer)
		return d.done(c, "/login", flashSignedOut)
	}
	return d.done(c, "/grants", flashGrantRevoked)
}
