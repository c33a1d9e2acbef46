package vaults

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// shown is a token's paths in short: name, what is seen, "closed" or "used".
func shown(paths []Path) []string {
	list := make([]string, len(paths))
	for i, p := range paths {
		list[i] = p.Name + " " + string(p.Sight)
		if p.LastAt != nil {
			list[i] += " used"
		}
		if p.Closed {
			list[i] += " closed"
		}
	}
	return list
}

func TestEveryPathOfATokenIsToldWithWhatTheServerSees(t *testing.T) {
	t.Parallel()
	stored := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	later := stored.Add(time.Hour)
	oauth := models.Token{TokenType: wire.TypeOAuth, Provider: "ours", HasRefreshToken: true, CreationID: "c1", StoredAt: &stored}
	kind := func(kind string) models.Token { return models.Token{TokenType: kind, CreationID: "c1"} }
	seen := func(t models.Token, path string) models.Token {
		t.SeenAt, t.SeenPath, t.SeenCreationID = &stored, path, "c1"
		return t
	}
	all := []string{wire.CapRefresh, wire.CapTVRefresh, wire.CapConnect}
	for _, c := range []struct {
		name         string
		mode         models.VaultMode
		bound        bool
		capabilities []string
		token        models.Token
		row          *models.Refresh
		last         map[audit.Way]time.Time
		want         []string
	}{
		{"a key at the webhook", models.ModeWebhook, true, all, kind(wire.TypePlainText), nil, map[audit.Way]time.Time{audit.WayAgent: stored},
			[]string{"store never", "agent never used", "reveal never", "move_back is_opened", "list never"}},
		{"codes at the webhook", models.ModeWebhook, true, all, kind(wire.TypeTOTP), nil, map[audit.Way]time.Time{audit.WayCode: stored, audit.WayStoreTicket: stored},
			[]string{"store never used", "agent never", "code never used", "list never"}},
		{"a raw credential at the webhook", models.ModeWebhook, true, nil, kind(wire.TypeRawCredential), nil, nil,
			[]string{"store never", "agent never", "reveal never", "list never"}},
		{"a key that was moved", models.ModeWebhook, true, nil, seen(kind(wire.TypePlainText), seenMoved), nil, nil,
			[]string{"store never", "agent never", "reveal never", "moved is_opened used closed", "move_back is_opened", "list never"}},
		{"refreshed through the server", models.ModeWebhook, true, all, oauth, &models.Refresh{MediatedAt: &later}, nil,
			[]string{"store never", "agent never", "reveal never", "notify never", "mediated passes used", "connect_webhook never", "connect passes", "move_back is_opened", "list never"}},
		{"refreshed through the server before", models.ModeWebhook, true, []string{wire.CapRefresh}, with(oauth, "theirs"), &models.Refresh{MediatedAt: &later, NotifiedAt: &later}, nil,
			[]string{"store never", "agent never", "reveal never", "notify never used", "mediated passes used closed", "move_back is_opened", "list never"}},
		{"connected through the server", models.ModeWebhook, true, nil, seen(oauth, seenConnected), nil, nil,
			[]string{"store never", "agent never", "reveal never", "connect passes used", "move_back is_opened", "list never"}},
		{"a sealed key", models.ModePlatform, false, nil, kind(wire.TypePlainText), nil, map[audit.Way]time.Time{audit.WayReveal: stored, audit.WayGranted: stored},
			[]string{"store passes", "agent is_opened", "reveal is_opened used", "grant its_key used", "reseal is_opened"}},
		{"sealed codes, to be moved", models.ModePlatform, true, nil, kind(wire.TypeTOTP), nil, map[audit.Way]time.Time{audit.WayReveal: stored},
			[]string{"store passes", "agent is_opened", "code is_opened used", "grant its_key", "reseal is_opened", "move is_opened"}},
		{"a sealed OAuth token", models.ModePlatform, false, nil, oauth, &models.Refresh{PlatformAt: &later}, map[audit.Way]time.Time{audit.WayConnected: stored},
			[]string{"store passes", "agent is_opened", "reveal is_opened", "grant its_key", "refresh is_opened used", "connect passes used", "revoke is_opened", "reseal is_opened"}},
		{"one of a provider that is gone", models.ModePlatform, false, nil, with(oauth, "theirs"), nil, map[audit.Way]time.Time{audit.WayPlatform: stored},
			[]string{"store passes", "agent is_opened", "reveal is_opened", "grant its_key", "refresh is_opened used closed", "reseal is_opened"}},
	} {
		e := explainer{lens: lens{mode: c.mode, providers: known{}}, v: TokenView{Token: c.token, Mode: c.mode, Refresh: c.row}, last: c.last, bound: c.bound}
		var got []string
		if c.mode == models.ModeWebhook {
			e.binding = &models.Binding{Capabilities: c.capabilities}
			got = shown(e.atWebhook())
		} else {
			got = shown(e.here())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, strings.Join(got, ", "), strings.Join(c.want, ", "))
		}
	}
}

// A badge that says "never" has no path on which the server sees the credential, but
// those that somebody has to start.
func TestTheBadgeAndThePathsSayTheSame(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	for _, kind := range []string{wire.TypePlainText, wire.TypeTOTP, wire.TypeRawCredential, wire.TypeSSHKey, wire.TypeOAuth} {
		for _, provider := range []string{"ours", "public", "theirs"} {
			for _, capabilities := range [][]string{nil, {wire.CapRefresh}, {wire.CapTVRefresh}, {wire.CapConnect, wire.CapRefresh, wire.CapTVRefresh}} {
				token := models.Token{TokenType: kind, Provider: provider, CreationID: "c", HasRefreshToken: true}
				l := lens{mode: models.ModeWebhook, providers: known{}, binding: &models.Binding{Capabilities: capabilities}, now: at}
				v := l.view(token, nil)
				e := explainer{lens: l, v: v, bound: true}
				for _, path := range e.atWebhook() {
					if v.Trust == TVZero && path.Name == "move_back" && !strings.Contains(v.TrustReason, "unless you yourself move it back") {
						t.Errorf("%s of %s can be moved back, and its badge says %q", kind, provider, v.TrustReason)
					}
					started := path.Name == "move_back" || path.Name == "connect"
					if v.Trust == TVZero && path.Sight != SeesNothing && !started {
						t.Errorf("%s of %s at a webhook with %v is %s, and on the path %q the server %s", kind, provider, capabilities, v.Trust, path.Name, path.Sight)
					}
					if v.Trust == TVRefresh && path.Name == "mediated" && path.Closed {
						t.Errorf("%s of %s at a webhook with %v is %s, and the path is closed", kind, provider, capabilities, v.Trust)
					}
				}
			}
		}
	}
}
