// Package renew refreshes a token because somebody asks for it, wherever that token is
// kept, and says in words what came of it.
//
// How it is done is the business of platform, for what this server keeps sealed, and
// of refreshes, for what a webhook keeps. It sees no token.
package renew

import (
	"context"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Vaults finds tokens.
type Vaults interface {
	Find(ctx context.Context, p grants.Principal, service string) (vaults.Found, error)
}

// Platform refreshes tokens of platform vaults.
type Platform interface {
	Refresh(ctx context.Context, p grants.Principal, client audit.Client, ref platform.Ref) (platform.Refreshed, error)
}

// Webhooks refreshes tokens of webhooks.
type Webhooks interface {
	RefreshNow(ctx context.Context, p grants.Principal, client audit.Client, service string) (refreshes.Result, error)
}

// Deps is what the service needs.
type Deps struct {
	Vaults     Vaults
	Platform   Platform
	Webhooks   Webhooks
	ConnectURL func(t models.Token) string // where an account is connected again; empty: nowhere
	Now        func() time.Time
}

// Service may be used concurrently.
type Service struct{ deps Deps }

// New makes the service.
func New(d Deps) *Service { return &Service{deps: d} }

// A Result is a refresh that worked.
type Result struct {
	Path      string       // models.PathPlatform, models.PathMediated, models.PathNotify
	Outcome   refresh.Kind // refresh.Rotated or refresh.StillValid
	Reason    refresh.Reason
	ExpiresAt *time.Time // nil: never, or unknown
}

// Refresh refreshes a token now, due or not, or waits for who is at it.
// REAUTHORIZATION_REQUIRED, with the address to do that at; REFRESH_FAILED, with the time after which it is worth
// trying again; and what looking for the token and asking for the refresh refuse.
func (s *Service) Refresh(ctx context.Context, p grants.Principal, client audit.Client, service string) (Result, error) {
	found, err := s.deps.Vaults.Find(ctx, p, service)
	if err != nil {
		return Result{}, err
	}
	if found.Mode == models.ModeWebhook {
		r, err := s.deps.Webhooks.RefreshNow(ctx, p, client, service)
		if err != nil {
			return Result{}, err
		}
		return s.ended(found.Token, Result{r.Path, r.Outcome, r.Reason, r.ExpiresAt}, r.RetryAt)
	}
	r, err := s.deps.Platform.Refresh(ctx, p, client, platform.Ref{Service: service})
	if err != nil {
		return Result{}, err
	}
	return s.ended(found.Token, Result{r.Path, r.Outcome, r.Reason, given(r.ExpiresAt)}, given(r.RetryAt))
}

func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// ended turns outcomes that leave a token as it was into errors.
func (s *Service) ended(t models.Token, r Result, retryAt *time.Time) (Result, error) {
	switch r.Outcome {
	case refresh.NeedsReauthorization:
		f := fault.New(fault.ReauthorizationRequired, "The token %q can be renewed by its owner alone: %s. Connect the account again, or store a new token.", t.ServiceName, Why(r.Reason))
		f.ConnectURL = s.deps.ConnectURL(t)
		return Result{}, f
	case refresh.RetryAt:
		f := fault.New(fault.RefreshFailed, "The token %q was not refreshed: %s.", t.ServiceName, Why(r.Reason))
		if retryAt != nil {
			f.RetryAfter = max(retryAt.Sub(s.deps.Now()), time.Second)
		}
		return Result{}, f
	}
	return r, nil
}
