package vaults

import (
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// known is a registry in which "ours" has a secret and "public" has none.
type known struct{}

func (known) Has(id string) bool         { return id == "ours" || id == "public" }
func (known) HoldsSecret(id string) bool { return id == "ours" }

func TestStatusSaysWhatCameOfRefreshing(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	earlier, later := now.Add(-time.Hour), now.Add(time.Hour)
	token := models.Token{TokenType: wire.TypeOAuth, Provider: "ours", HasRefreshToken: true, ExpiresAt: &earlier}
	fresh := token
	fresh.ExpiresAt = &later
	for _, c := range []struct {
		name   string
		mode   models.VaultMode
		token  models.Token
		kind   refresh.Kind
		reason refresh.Reason
		want   string
	}{
		{"needs its owner", models.ModeWebhook, fresh, refresh.NeedsReauthorization, refresh.ReasonInvalidGrant, StatusNeedsReauthorization},
		{"needs its owner, sealed", models.ModePlatform, token, refresh.NeedsReauthorization, refresh.ReasonInvalidGrant, StatusNeedsReauthorization},
		{"the client is rejected", models.ModeWebhook, fresh, refresh.RetryAt, refresh.ReasonClientRejected, StatusNeedsAttention},
		{"nobody has the client secret", models.ModeWebhook, fresh, refresh.RetryAt, reasonAcknowledged, StatusNeedsAttention},
		{"the webhook refuses", models.ModeWebhook, fresh, refresh.RetryAt, reasonRefused, StatusNeedsAttention},
		{"the webhook does not refresh", models.ModeWebhook, fresh, refresh.RetryAt, reasonNotSupported, StatusNeedsAttention},
		{"the webhook has nothing", models.ModeWebhook, fresh, refresh.RetryAt, reasonNoToken, StatusEmpty},
		{"tried again soon, still good", models.ModeWebhook, fresh, refresh.RetryAt, refresh.ReasonRateLimited, StatusActive},
		{"tried again soon, expired", models.ModeWebhook, token, refresh.RetryAt, refresh.ReasonRateLimited, StatusExpired},
		{"rotated", models.ModeWebhook, fresh, refresh.Rotated, "", StatusActive},
		{"sealed, expired, refreshed when read", models.ModePlatform, token, "", "", StatusActive},
		{"sealed, expired, and the provider is away", models.ModePlatform, token, refresh.RetryAt, refresh.ReasonProviderTimeout, StatusExpired},
		{"sealed, expired, of nobody's provider", models.ModePlatform, with(token, "theirs"), "", "", StatusExpired},
		{"at the webhook, expired", models.ModeWebhook, token, "", "", StatusExpired},
	} {
		l := lens{mode: c.mode, providers: known{}, now: now}
		var row *models.Refresh
		if c.kind != "" {
			row = &models.Refresh{Outcome: string(c.kind), Reason: string(c.reason)}
		}
		if got := l.view(c.token, row).Status; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func with(t models.Token, provider string) models.Token {
	t.Provider = provider
	return t
}

func TestTrustFollowsFromFacts(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	stored, before, after := now.Add(-time.Hour), now.Add(-2*time.Hour), now.Add(-time.Minute)
	oauth := models.Token{TokenType: wire.TypeOAuth, Provider: "ours", CreationID: "c1", StoredAt: &stored}
	seen := oauth
	seen.SeenAt, seen.SeenPath, seen.SeenCreationID = &stored, seenConnected, "c1"
	replaced := seen
	replaced.CreationID = "c2"
	plain := oauth
	plain.TokenType = wire.TypePlainText
	mediating, bare := []string{wire.CapTVRefresh, wire.CapRefresh}, []string{wire.CapRefresh}
	for _, c := range []struct {
		name         string
		mode         models.VaultMode
		capabilities []string
		token        models.Token
		mediated     *time.Time
		want         Trust
		says         string
	}{
		{"a platform vault", models.ModePlatform, nil, oauth, nil, Sealed, "ciphertext"},
		{"refreshed through the server", models.ModeWebhook, mediating, oauth, nil, TVRefresh, "passes through this server"},
		{"and seen besides", models.ModeWebhook, mediating, seen, nil, TVRefresh, "passes through this server"},
		{"without the capability", models.ModeWebhook, bare, oauth, nil, TVZero, "never receives it"},
		{"of a provider whose secret is the webhook's", models.ModeWebhook, mediating, with(oauth, "public"), nil, TVZero, "never receives it"},
		{"of a provider that nobody knows", models.ModeWebhook, mediating, with(oauth, "theirs"), nil, TVZero, "never receives it"},
		{"no OAuth token", models.ModeWebhook, mediating, plain, nil, TVZero, "never receives it"},
		{"seen when it was connected", models.ModeWebhook, bare, seen, nil, TVSeen, "2026-03-03 (connected through this server)"},
		{"replaced since", models.ModeWebhook, bare, replaced, nil, TVZero, "never receives it"},
		{"refreshed through the server before that was turned off", models.ModeWebhook, bare, oauth, &after, TVSeen, "refreshed through this server"},
		{"the one before it was", models.ModeWebhook, bare, oauth, &before, TVZero, "never receives it"},
	} {
		l := lens{mode: c.mode, providers: known{}, now: now}
		if c.mode == models.ModeWebhook {
			l.binding = &models.Binding{Capabilities: c.capabilities}
		}
		v := l.view(c.token, &models.Refresh{MediatedAt: c.mediated})
		if v.Trust != c.want || !strings.Contains(v.TrustReason, c.says) {
			t.Errorf("%s: %q (%s), want %q with %q", c.name, v.Trust, v.TrustReason, c.want, c.says)
		}
	}
}

func TestWhatCanBeConnectedAgain(t *testing.T) {
	t.Parallel()
	oauth := models.Token{TokenType: wire.TypeOAuth, Provider: "ours"}
	for _, c := range []struct {
		name         string
		token        models.Token
		capabilities []string
		want         bool
	}{
		{"of a provider of this server", oauth, nil, true},
		{"of one of the webhook", with(oauth, "theirs"), []string{wire.CapConnect}, true},
		{"of one of nobody", with(oauth, "theirs"), nil, false},
		{"of no provider", with(oauth, ""), []string{wire.CapConnect}, false},
		{"no OAuth token", models.Token{TokenType: wire.TypeTOTP, Provider: "ours"}, nil, false},
	} {
		l := lens{mode: models.ModeWebhook, binding: &models.Binding{Capabilities: c.capabilities}, providers: known{}, now: time.Now()}
		if got := l.view(c.token, nil).Connectable; got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
