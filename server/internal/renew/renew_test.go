package renew_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

var now = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// fakes has one token, in one mode, whose refresh ends as is set.
type fakes struct {
	mode    models.VaultMode
	missing bool
	failure error
	ended   refreshes.Result
	asked   []string // which service refreshed what
}

func (f *fakes) Find(_ context.Context, _ grants.Principal, service string) (vaults.Found, error) {
	if f.missing {
		return vaults.Found{}, fault.New(fault.TokenNotFound, "none")
	}
	return vaults.Found{Token: models.Token{ServiceName: service, Provider: "acme"}, Mode: f.mode}, nil
}

func (f *fakes) Refresh(_ context.Context, _ grants.Principal, _ audit.Client, ref platform.Ref) (platform.Refreshed, error) {
	f.asked = append(f.asked, "platform "+ref.Service)
	r := platform.Refreshed{Path: models.PathPlatform, Outcome: f.ended.Outcome, Reason: f.ended.Reason}
	if f.ended.ExpiresAt != nil {
		r.ExpiresAt = *f.ended.ExpiresAt
	}
	if f.ended.RetryAt != nil {
		r.RetryAt = *f.ended.RetryAt
	}
	return r, f.failure
}

func (f *fakes) RefreshNow(_ context.Context, _ grants.Principal, _ audit.Client, service string) (refreshes.Result, error) {
	f.asked = append(f.asked, "webhook "+service)
	r := f.ended
	r.Path = models.PathNotify
	return r, f.failure
}

func service(f *fakes) *renew.Service {
	return renew.New(renew.Deps{Vaults: f, Platform: f, Webhooks: f, Now: func() time.Time { return now },
		ConnectURL: func(t models.Token) string { return "https://tv.example/connect/" + t.Provider }})
}

func TestARefreshIsDoneWhereTheTokenIsKept(t *testing.T) {
	t.Parallel()
	expires := now.Add(time.Hour)
	for _, c := range []struct {
		mode        models.VaultMode
		asked, path string
	}{
		{models.ModePlatform, "platform mail", models.PathPlatform},
		{models.ModeWebhook, "webhook mail", models.PathNotify},
	} {
		f := &fakes{mode: c.mode, ended: refreshes.Result{Outcome: refresh.Rotated, ExpiresAt: &expires}}
		got, err := service(f).Refresh(t.Context(), grants.Principal{}, audit.Client{}, "mail")
		if err != nil || got.Path != c.path || got.Outcome != refresh.Rotated || got.ExpiresAt == nil || !got.ExpiresAt.Equal(expires) {
			t.Errorf("%s: %+v, %v; want rotated by %s until %s", c.mode, got, err, c.path, expires)
		}
		if len(f.asked) != 1 || f.asked[0] != c.asked {
			t.Errorf("%s: asked %q, want %q", c.mode, f.asked, c.asked)
		}
	}
}

func TestWhatDidNotWorkIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	later, past := now.Add(90*time.Second), now.Add(-time.Minute)
	for _, c := range []struct {
		name  string
		ended refreshes.Result
		code  fault.Code
		says  string
		after time.Duration
		url   string
	}{
		{"the owner has to connect again", refreshes.Result{Outcome: refresh.NeedsReauthorization, Reason: refresh.ReasonInvalidGrant},
			fault.ReauthorizationRequired, "does not accept the refresh token", 0, "https://tv.example/connect/acme"},
		{"a pause", refreshes.Result{Outcome: refresh.RetryAt, Reason: refresh.ReasonRateLimited, RetryAt: &later}, fault.RefreshFailed, "asked for a pause", 90 * time.Second, ""},
		{"over by now", refreshes.Result{Outcome: refresh.RetryAt, Reason: refreshes.ReasonUnreachable, RetryAt: &past}, fault.RefreshFailed, "webhook cannot be reached", time.Second, ""},
	} {
		for _, mode := range []models.VaultMode{models.ModePlatform, models.ModeWebhook} {
			_, err := service(&fakes{mode: mode, ended: c.ended}).Refresh(t.Context(), grants.Principal{}, audit.Client{}, "mail")
			f := fault.From(err)
			if f == nil || f.Code != c.code || !strings.Contains(f.Message, c.says) || f.RetryAfter != c.after || f.ConnectURL != c.url {
				t.Errorf("%s, %s: %+v; want %s with %q, %s, %q", c.name, mode, f, c.code, c.says, c.after, c.url)
			}
		}
	}
}

func TestRefusalsPassAndNothingIsAskedForATokenThatIsNotThere(t *testing.T) {
	t.Parallel()
	f := &fakes{missing: true}
	if _, err := service(f).Refresh(t.Context(), grants.Principal{}, audit.Client{}, "mail"); fault.CodeOf(err) != fault.TokenNotFound || len(f.asked) != 0 {
		t.Errorf("got %v and %q, want TOKEN_NOT_FOUND and nothing asked", err, f.asked)
	}
	for _, mode := range []models.VaultMode{models.ModePlatform, models.ModeWebhook} {
		f := &fakes{mode: mode, failure: fault.New(fault.VaultLocked, "locked")}
		if _, err := service(f).Refresh(t.Context(), grants.Principal{}, audit.Client{}, "mail"); fault.CodeOf(err) != fault.VaultLocked {
			t.Errorf("%s: got %v, want VAULT_LOCKED", mode, err)
		}
	}
}

func TestEveryReasonHasWords(t *testing.T) {
	t.Parallel()
	none := renew.Why("unheard of")
	for _, reason := range append(refresh.Reasons(), refreshes.Reasons()...) {
		if words := renew.Why(reason); words == none || words == "" {
			t.Errorf("%q: %q, want words of its own", reason, words)
		}
	}
}
