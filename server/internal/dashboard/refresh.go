package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Refreshing refreshes tokens because somebody asks for it.
type Refreshing interface {
	Refresh(ctx context.Context, p grants.Principal, client audit.Client, service string) (renew.Result, error)
}

// A refreshCard is what a page says of refreshing a token from a provider.
type refreshCard struct {
	Provider string
	Subject  string
	Scopes   []string

	DueAt   *time.Time // nil: nothing is scheduled
	OnRead  bool       // it is refreshed when it is read
	Never   bool       // not before it is connected again
	LastAt  *time.Time // nil: never
	Last    string     // what came of it, as a sentence
	RetryAt *time.Time
	Can     bool // there is something to refresh it with

	Connect string // where its account is connected again; empty: nowhere
	Needed  bool   // that is what it takes
	Problem *fault.Error
}

func refreshOf(v vaults.TokenView) *refreshCard {
	t := v.Token
	if t.TokenType != models.TypeOAuth {
		return nil
	}
	card := &refreshCard{
		Provider: t.Provider, Subject: t.Subject, Scopes: strings.Fields(t.Scope), Can: t.HasRefreshToken,
		OnRead: v.Mode == models.ModePlatform && t.HasRefreshToken && t.ExpiresAt != nil,
		Never:  v.Status == vaults.StatusNeedsReauthorization,
		Needed: v.Status == vaults.StatusNeedsReauthorization || v.Status == vaults.StatusExpired,
	}
	if v.Connectable {
		card.Connect = connectRoot + "/" + t.Provider + "?" + url.Values{"service": {t.ServiceName}}.Encode()
	}
	if r := v.Refresh; r != nil {
		card.DueAt, card.LastAt, card.Last, card.RetryAt = r.DueAt, r.TriedAt, lastOf(*r), r.RetryAt
	}
	return card
}

// lastOf says what came of the last refresh.
func lastOf(r models.Refresh) string {
	by := ""
	switch r.Path {
	case models.PathNotify:
		by = " by your webhook"
	case models.PathMediated:
		by = " through this server"
	case models.PathPlatform:
		by = " here, with the key of who read it"
	}
	reason := refresh.Reason(r.Reason)
	switch refresh.Kind(r.Outcome) {
	case refresh.Rotated:
		if reason == refreshes.ReasonUndelivered {
			return "Refreshed" + by + "; " + renew.Why(reason) + "."
		}
		return "Refreshed" + by + "."
	case refresh.StillValid:
		return "It was still good."
	case refresh.RetryAt:
		return "Not refreshed: " + renew.Why(reason) + "."
	case refresh.NeedsReauthorization:
		return "Its account has to be connected again: " + renew.Why(reason) + "."
	}
	return ""
}

// refreshNow refreshes a token because somebody pressed the button.
func (d *Dashboard) refreshNow(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	r, err := d.deps.Refresh.Refresh(c.Request.Context(), v.principal, client(c), service)
	if err == nil {
		word := flashRefreshed
		switch {
		case r.Outcome == refresh.StillValid:
			word = flashStillValid
		case r.Reason == refreshes.ReasonUndelivered:
			word = flashUndelivered
		}
		return d.done(c, tokenPath(service), word)
	}
	failure, ok := mendable(err)
	if !ok && failure.Code != fault.RefreshFailed && failure.Code != fault.ReauthorizationRequired && failure.Code != fault.Unavailable || failure.Code == fault.TokenNotFound {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	return d.showTokenPage(c, v, token, shown{refreshing: failure}, nil)
}

func (d *Dashboard) disconnectPage(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	ends := "The connection is revoked at its provider, as far as that lets programs do so; the next page says what is left to do."
	if token.Mode == models.ModeWebhook {
		ends = "Your webhook deletes the credential, and revokes it at its provider if it can."
	}
	return d.confirm(c, v, "tokens", confirmation{
		Question: "Disconnect " + service + "?",
		Lost:     []string{ends, "The token is deleted. Agents that were granted it can no longer fetch it."},
		Do:       "Disconnect", Action: tokenPath(service) + "/disconnect", Back: tokenPath(service),
	})
}

// disconnect shows what came of it: what is left to do may stand there alone.
func (d *Dashboard) disconnect(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	done, err := d.deps.Connect.Disconnect(c.Request.Context(), v.principal, client(c), service)
	if err != nil {
		return err
	}
	type page struct {
		Service, Note string
		Revoked       bool
	}
	return d.render(c, http.StatusOK, "disconnected", view{
		Title: "Disconnected " + service, Section: "tokens", Page: page{service, done.Note, done.Revoked},
	}, &v)
}
