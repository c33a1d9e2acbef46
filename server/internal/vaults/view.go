package vaults

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// expiringWithin is how long before its expiry a token that cannot be refreshed
// counts as expiring.
const expiringWithin = 24 * time.Hour

// Refreshes says what is known of refreshing tokens, by token.
type Refreshes interface {
	Refreshes(ctx context.Context, accountID uuid.UUID, tokenIDs []uuid.UUID) ([]models.Refresh, error)
}

// Providers are the authorization servers that this server is a client of.
type Providers interface {
	Has(id string) bool
	HoldsSecret(id string) bool
}

// A lens is what is known besides a token, and by which it is seen.
type lens struct {
	mode      models.VaultMode
	binding   *models.Binding // nil in platform mode
	providers Providers       // nil: none
	now       time.Time
}

// views computes what is said of tokens of one vault.
func (s *Service) views(ctx context.Context, c *Custody, mode models.VaultMode, accountID uuid.UUID, tokens []models.Token) ([]TokenView, error) {
	l := lens{mode: mode, providers: s.deps.Providers, now: s.deps.Now()}
	if mode == models.ModeWebhook {
		l.binding = &c.Binding
	}
	var issued []uuid.UUID
	for _, t := range tokens {
		if t.TokenType == wire.TypeOAuth {
			issued = append(issued, t.ID)
		}
	}
	rows := map[uuid.UUID]*models.Refresh{}
	if len(issued) > 0 && s.deps.Refreshes != nil {
		found, err := s.deps.Refreshes.Refreshes(ctx, accountID, issued)
		if err != nil {
			return nil, indexError(err)
		}
		for i := range found {
			rows[found[i].TokenID] = &found[i]
		}
	}
	list := make([]TokenView, len(tokens))
	for i, t := range tokens {
		list[i] = l.view(t, rows[t.ID])
	}
	return list, nil
}

// viewed is views for one token.
func (s *Service) viewed(ctx context.Context, mode models.VaultMode, t models.Token) (TokenView, error) {
	c, err := s.Custody(ctx, t.AccountID)
	if err != nil {
		return TokenView{}, err
	}
	if mode == models.ModeWebhook && c.Binding.VaultID != t.VaultID {
		return TokenView{}, fault.New(fault.TokenNotFound, "The token is gone.")
	}
	list, err := s.views(ctx, c, mode, t.AccountID, []models.Token{t})
	if err != nil {
		return TokenView{}, err
	}
	return list[0], nil
}

// view computes what is said of a token; r is nil when nothing is known of refreshing it.
func (l lens) view(t models.Token, r *models.Refresh) TokenView {
	v := TokenView{Token: t, Mode: l.mode, Binding: l.binding, Refresh: r}
	v.Connectable = t.TokenType == wire.TypeOAuth && t.Provider != "" && (l.has(t.Provider) || l.can(wire.CapConnect))
	v.Status = l.status(t, r)
	v.Trust, v.TrustReason = l.trust(t, r)
	return v
}

func (l lens) has(provider string) bool { return l.providers != nil && l.providers.Has(provider) }

// can reports whether the webhook says that it has a capability.
func (l lens) can(capability string) bool {
	return l.binding != nil && slices.Contains(l.binding.Capabilities, capability)
}

// status is what a person or an agent can expect of a token at this moment.
func (l lens) status(t models.Token, r *models.Refresh) string {
	if r != nil {
		switch kind, reason := refresh.Kind(r.Outcome), refresh.Reason(r.Reason); {
		case kind == refresh.NeedsReauthorization:
			return StatusNeedsReauthorization
		case kind == refresh.RetryAt && reason == reasonNoToken:
			return StatusEmpty
		case kind == refresh.RetryAt && wantsSomebody(reason):
			return StatusNeedsAttention
		}
	}
	switch {
	case t.ExpiresAt == nil:
		return StatusActive
	case !l.now.Before(*t.ExpiresAt):
		if l.mode == models.ModePlatform && t.Refreshable() && l.has(t.Provider) && (r == nil || refresh.Kind(r.Outcome) != refresh.RetryAt) {
			return StatusActive // whoever reads it has it refreshed
		}
		return StatusExpired
	case !t.HasRefreshToken && t.ExpiresAt.Sub(l.now) < expiringWithin:
		return StatusExpiring
	}
	return StatusActive
}

// Reasons of attempts at a webhook's token, as package refreshes writes them down.
const (
	reasonNoToken       refresh.Reason = "no_token"
	reasonRefused       refresh.Reason = "webhook_refused"
	reasonAcknowledged  refresh.Reason = "acknowledged"
	reasonOtherProvider refresh.Reason = "other_provider"
	reasonNotSupported  refresh.Reason = "not_supported"
)

// wantsSomebody reports whether waiting does not help, and connecting again does not
// either: an operator, of this server or of the webhook, has to set something right.
func wantsSomebody(reason refresh.Reason) bool {
	switch reason {
	case reasonRefused, reasonAcknowledged, reasonOtherProvider, reasonNotSupported:
		return true
	}
	return reason.ForOperator()
}
