package platform

import (
	"context"
	"errors"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A reader is who reads a credential, with a key of its own.
type reader struct {
	principal grants.Principal
	client    audit.Client
	never     bool // its credential grant forbids that reading refreshes
	waited    bool // it waited for a refresh, and things may have changed meanwhile
}

// A look is a credential that a reader has opened. Clear it.
type look struct {
	token      models.Token
	credential credential.Credential
	cek        custody.CEK
	secret     []byte                // what the credential was decoded from: of an agent's look alone
	row        *models.CredentialKey // by which the agent has opened it
}

func (l *look) clear() {
	l.cek.Clear()
	clear(l.secret)
}

// fresh opens a credential, has it refreshed when it is due, and opens it again with
// the reader's own key: what that lost meanwhile, it is not given. It is as it was when
// it cannot be refreshed, as long as its access token has not expired. REFRESH_FAILED,
// REAUTHORIZATION_REQUIRED; and open's errors.
func (s *Service) fresh(ctx context.Context, by *reader, open func(ctx context.Context) (*look, error)) (*look, error) {
	var failed error
	for settled, try := false, 1; ; try++ {
		l, err := open(ctx)
		if err != nil {
			return nil, err
		}
		due, expired := freshness(l.credential, s.deps.Now())
		if by.principal.Kind.Shares() && l.credential.Secrets[wire.FieldRefreshToken] == "" {
			due = false // its owner sees what there is
		}
		switch {
		case !due, s.deps.Engine == nil, settled && failed == nil:
			return l, nil
		case by.never:
			failed = forbidden(l.token)
		case !settled && try <= tries:
			var flew bool
			settled, flew, failed = s.refreshed(ctx, by, l, expired)
			if ctx.Err() != nil {
				l.clear()
				return nil, ctx.Err()
			}
			if flew {
				l.clear()
				continue
			}
		}
		if !expired {
			return l, nil
		}
		l.clear()
		return nil, failed
	}
}

// refreshed has a token refreshed that is due. settled: there is nothing more to be
// done about it, and unless it is fresh by now, failed says why. flew: time has passed,
// but not much when it has not expired: the refresh goes on then, for others to come.
func (s *Service) refreshed(ctx context.Context, by *reader, l *look, expired bool) (settled, flew bool, failed error) {
	row, err := s.deps.Leases.Refresh(ctx, l.token.AccountID, l.token.ID)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return true, false, s.notRefreshed(l.token, refresh.Outcome{}, err)
	}
	if o, stands := standing(row, s.deps.Now()); stands {
		return true, false, s.notRefreshed(l.token, o, nil)
	}
	by.waited = true
	if !expired {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, validPatience)
		defer cancel()
	}
	o, err := s.fly(ctx, l.token, l.cek, refreshEvent(*by, l.token), refresh.Options{})
	failed = s.notRefreshed(l.token, o, err)
	switch {
	case errors.Is(err, errOtherKey), errors.Is(err, refresh.ErrGone):
		return false, true, failed
	case err == nil && o.Kind == refresh.StillValid: // for who looked: for another clock, or before it was due
		return false, true, failed
	case err == nil && o.Kind == refresh.Rotated:
		return true, true, nil
	}
	return true, true, failed
}

// validPatience is how long who has an access token that is still good waits for a new
// one: a provider that does not answer must not keep it from being used.
const validPatience = 2 * time.Second

// shortly is when to try again what failed for no reason of the provider's.
const shortly = 5 * time.Second

// notRefreshed is why a token that has expired is not given away.
func (s *Service) notRefreshed(t models.Token, o refresh.Outcome, err error) error {
	known := err == nil || errors.Is(err, refresh.ErrNotCommitted) || errors.Is(err, refresh.ErrNotNoted)
	if known && o.Kind == refresh.NeedsReauthorization {
		return s.reauthorize(t, o.Reason)
	}
	f := fault.Wrap(err, fault.RefreshFailed, "The access token of %q has expired, and it could not be refreshed at the moment. Try again shortly.", t.ServiceName)
	f.RetryAfter = shortly
	if known && o.Kind == refresh.RetryAt {
		f = fault.Wrap(err, fault.RefreshFailed, "The access token of %q has expired, and it could not be refreshed: %s.", t.ServiceName, o.Reason.Why())
		f.RetryAfter = max(o.At.Sub(s.deps.Now()), time.Second)
	}
	return f
}

// reauthorize is the refusal of a token that only its owner can renew.
func (s *Service) reauthorize(t models.Token, reason refresh.Reason) error {
	f := fault.New(fault.ReauthorizationRequired, "The access token of %q has expired, and only its owner can get another: %s. "+
		"Connect the account again, or store a new token.", t.ServiceName, reason.Why())
	if s.deps.ConnectURL != nil {
		f.ConnectURL = s.deps.ConnectURL(t)
	}
	return f
}

func forbidden(t models.Token) error {
	return fault.New(fault.RefreshFailed, "The access token of %q has expired, and the refresh policy of this agent's credential grant is %q: "+
		"somebody else who may use the token has to refresh it.", t.ServiceName, models.RefreshNever)
}
