package api

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// refreshJSON is what is known of refreshing a token.
type refreshJSON struct {
	DueAt       *time.Time `json:"dueAt"`                 // when this server sees to it next; null: when it is read, or never
	LastOutcome string     `json:"lastOutcome,omitempty"` // empty: none of this credential yet
	LastReason  string     `json:"lastReason,omitempty"`
	LastPath    string     `json:"lastPath,omitempty"`
	LastAt      *time.Time `json:"lastAt"`
	RefreshedAt *time.Time `json:"refreshedAt"` // the last that brought new tokens
	RetryAt     *time.Time `json:"retryAt"`
	Attempts    int        `json:"attempts"` // that failed in a row
}

func showRefresh(r *models.Refresh) *refreshJSON {
	if r == nil {
		return nil
	}
	return &refreshJSON{
		DueAt: utc(r.DueAt), LastOutcome: r.Outcome, LastReason: r.Reason, LastPath: r.Path, LastAt: utc(r.TriedAt),
		RefreshedAt: utc(r.RefreshedAt), RetryAt: utc(r.RetryAt), Attempts: r.Attempts,
	}
}

// factsJSON is what a badge follows from.
type factsJSON struct {
	Mode         models.VaultMode `json:"mode"`
	WebhookURL   string           `json:"webhookUrl,omitempty"`
	Capabilities []string         `json:"webhookCapabilities,omitempty"`
	CheckedAt    *time.Time       `json:"webhookCheckedAt"` // the last check of the protocol; null: none
	Health       string           `json:"webhookHealth,omitempty"`
	NotifiedAt   *time.Time       `json:"lastNotify"` // last uses of the paths by which it is refreshed; null: never
	MediatedAt   *time.Time       `json:"lastTvMediated"`
	PlatformAt   *time.Time       `json:"lastPlatform"`
}

func showFacts(v vaults.TokenView) factsJSON {
	out := factsJSON{Mode: v.Mode}
	if b := v.Binding; b != nil {
		out.WebhookURL, out.Capabilities, out.CheckedAt, out.Health = b.URL, b.Capabilities, utc(b.HealthCheckedAt), b.HealthStatus
	}
	if r := v.Refresh; r != nil {
		out.NotifiedAt, out.MediatedAt, out.PlatformAt = utc(r.NotifiedAt), utc(r.MediatedAt), utc(r.PlatformAt)
	}
	return out
}

type refreshedJSON struct {
	Path      string         `json:"path"`
	Outcome   refresh.Kind   `json:"outcome"`
	Reason    refresh.Reason `json:"reason,omitempty"`
	ExpiresAt *time.Time     `json:"expiresAt,omitempty"` // left out: never, or unknown
}

// refresh refreshes a token now. What leaves it as it was is an error.
func (a *API) refresh(c *gin.Context, p grants.Principal) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	r, err := a.deps.Refresh.Refresh(c.Request.Context(), p, client(c), service)
	if err != nil {
		return err
	}
	return ok(c, refreshedJSON{Path: r.Path, Outcome: r.Outcome, Reason: r.Reason, ExpiresAt: utc(r.ExpiresAt)})
}

// disconnect revokes a token at its provider, as far as that goes, and deletes it.
func (a *API) disconnect(c *gin.Context, p grants.Principal) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	done, err := a.deps.Connect.Disconnect(c.Request.Context(), p, client(c), service)
	if err != nil {
		return err
	}
	return ok(c, struct {
		Revoked bool   `json:"revoked"`
		Note    string `json:"note"`
	}{done.Revoked, done.Note})
}
