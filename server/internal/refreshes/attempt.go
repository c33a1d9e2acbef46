package refreshes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// An attempt is one token being refreshed, and what is known of it beforehand.
type attempt struct {
	account, token, vault uuid.UUID

	service  string
	provider string // its id, as the webhook last reported it
	creation string
	issued   *time.Time
	expires  *time.Time

	custody *vaults.Custody
	force   bool        // somebody asks for it, due or not
	event   audit.Event // whose it is on the record, without outcome
}

func attemptOf(d models.DueRefresh, c *vaults.Custody) *attempt {
	return &attempt{
		account: d.AccountID, token: d.TokenID, vault: d.VaultID, service: d.ServiceName, provider: d.Provider, creation: d.CreationID,
		issued: d.IssuedAt, expires: d.ExpiresAt, custody: c,
		event: audit.Event{AccountID: d.AccountID, Type: audit.Refresh, Source: audit.System, Service: d.ServiceName},
	}
}

func (a *attempt) target() webhooks.Target {
	return webhooks.Target{BaseURL: a.custody.Binding.URL, Secret: a.custody.Secret}
}

func (a *attempt) host() string { return hostOf(a.custody) }

// hostOf is the lane of an account's webhook. Accounts whose webhooks share a host
// share it.
func hostOf(c *vaults.Custody) string {
	u, err := url.Parse(c.Binding.URL)
	if err != nil {
		return c.Binding.URL
	}
	return u.Host
}

func (a *attempt) can(capability string) bool {
	return slices.Contains(a.custody.Binding.Capabilities, capability)
}

// mediated reports whether this server may refresh the token itself: the webhook
// permits it, and the client secret is here.
func (s *Service) mediated(c *vaults.Custody, provider string) bool {
	return slices.Contains(c.Binding.Capabilities, wire.CapTVRefresh) && s.deps.Providers.HoldsSecret(provider)
}

// hindrance is why a token cannot be refreshed at all at the moment, and for how long
// that is to be taken for so.
func (s *Service) hindrance(c *vaults.Custody, vault uuid.UUID, provider string) (refresh.Reason, time.Duration) {
	switch {
	case c.Mode != models.ModeWebhook || c.Binding.VaultID != vault:
		return ReasonNotBound, look
	case c.Locked:
		return ReasonLocked, lookSoon
	case !s.mediated(c, provider) && !slices.Contains(c.Binding.Capabilities, wire.CapRefresh):
		return ReasonNotSupported, look
	}
	return "", 0
}

// A held is a lease that this replica has.
type held struct {
	lease models.Lease
	ttl   time.Duration
	from  time.Time // of this replica's clock: it began here or later
}

// databaseNow is about the database's time: replicas' clocks may differ from it.
func (h held) databaseNow(now time.Time) time.Time {
	return h.lease.Until.Add(now.Sub(h.from) - h.ttl)
}

// left is how long the lease lives at least.
func (h held) left(now time.Time) time.Duration { return h.ttl - now.Sub(h.from) }

// take takes a lease. The error is a *refresh.BusyError, refresh.ErrGone, or the
// database's.
func (s *Service) take(ctx context.Context, account, token uuid.UUID, ttl time.Duration) (held, error) {
	from := s.now()
	lease, err := s.deps.Leases.TakeLease(ctx, account, token, ttl)
	var taken *models.LeasedError
	switch {
	case errors.As(err, &taken):
		return held{}, &refresh.BusyError{Until: s.now().Add(taken.Left)}
	case errors.Is(err, models.ErrNotFound):
		return held{}, refresh.ErrGone
	case err != nil:
		return held{}, fmt.Errorf("refreshes: lease: %w", err)
	}
	return held{lease: lease, ttl: ttl, from: from}, nil
}

// release gives a lease back; where that fails, it ends by its time.
func (s *Service) release(ctx context.Context, h held) {
	if err := s.deps.Leases.EndLease(ctx, h.lease); err != nil {
		s.deps.Logger.WarnContext(ctx, "refreshes: a lease could not be given back", "token", h.lease.TokenID, "error", err)
	}
}

// call makes a call to a webhook, and notes whether anybody answered.
func (s *Service) call(a *attempt, do func(t webhooks.Target) error) error {
	err := do(a.target())
	if isSilence(err) {
		s.lanes.Silent(a.host(), s.now())
	} else if !errors.Is(err, context.Canceled) {
		s.lanes.Answered(a.host())
	}
	return err
}

// isSilence reports whether a call got no answer of a webhook: none at all, or one of
// what stands before it.
func isSilence(err error) bool {
	if fault.CodeOf(err) != fault.WebhookUnavailable || errors.Is(err, context.Canceled) {
		return false
	}
	switch webhooks.StatusOf(err) {
	case 0, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// ofError is the outcome of a call to a webhook that failed.
func (s *Service) ofError(err error, attempts int) refresh.Outcome {
	switch code := fault.CodeOf(err); {
	case isSilence(err), code == fault.Unavailable, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return s.again(ReasonUnreachable, attempts, 0)
	case code == fault.WebhookAuthFailed, code == fault.TokenNotFound, code == fault.InvalidRequest, webhooks.StatusOf(err) == http.StatusNotFound:
		return s.again(ReasonRefused, attempts, lookSoon)
	}
	return s.again(ReasonWebhookError, attempts, 0)
}
