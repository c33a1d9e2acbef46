package refreshes_test

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// withAccess is a place whose Read says what the stored access token is, which a
// webhook gives to nobody but agents and owners: the suite compares it.
type withAccess struct {
	refresh.Place
	stored func() refresh.Tokens
}

type leaseWithAccess struct {
	refresh.Lease
	stored func() refresh.Tokens
}

func (p withAccess) Lease(ctx context.Context, ttl time.Duration) (refresh.Lease, error) {
	l, err := p.Place.Lease(ctx, ttl)
	if err != nil {
		return nil, err
	}
	return leaseWithAccess{l, p.stored}, nil
}

func (l leaseWithAccess) Read(ctx context.Context) (refresh.State, error) {
	s, err := l.Lease.Read(ctx)
	if err == nil {
		s.Tokens.AccessToken = l.stored().AccessToken
	}
	return s, err
}

func TestAWebhooksTokenIsAPlaceForRefreshing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		refreshtest.TestPlace(t, func(t *testing.T) refreshtest.Fixture {
			part := *w
			part.t = t
			o, _ := part.real(tvRefresh)
			put := func(tokens refresh.Tokens) models.Token {
				meta := o.tv.Store("github", map[string]any{
					"tokenType": "OAuth", "provider": "test", "accessToken": string(tokens.AccessToken), "refreshToken": string(tokens.RefreshToken),
					"expiresAt": tokens.ExpiresAt.Format(time.RFC3339), "scopes": tokens.Scopes,
				})
				creation, _ := meta["creationId"].(string)
				return o.index(models.Token{ServiceName: "github", CreationID: creation, ExpiresAt: &tokens.ExpiresAt})
			}
			token := put(refreshtest.Initial(time.Now()))
			stored := func() refresh.Tokens {
				raw, _ := json.Marshal(o.tv.Reveal("github"))
				var at struct {
					AccessToken, RefreshToken string
					ExpiryTime                int64
					Scopes                    []string
				}
				if err := json.Unmarshal(raw, &at); err != nil {
					t.Error(err)
				}
				return refresh.Tokens{
					AccessToken: refresh.Secret(at.AccessToken), RefreshToken: refresh.Secret(at.RefreshToken),
					Scopes: at.Scopes, ExpiresAt: time.UnixMilli(at.ExpiryTime).UTC(),
				}
			}
			c, err := w.vaults.Custody(t.Context(), o.account)
			if err != nil {
				t.Fatal(err)
			}
			provider := w.provider.Config()
			return refreshtest.Fixture{
				Place:   withAccess{part.service().PlaceOf(token, c, provider), stored},
				Other:   withAccess{part.service().PlaceOf(token, c, provider), stored},
				Stored:  func(*testing.T) refresh.Tokens { return stored() },
				Replace: func(_ *testing.T, tokens refresh.Tokens) { put(tokens) },
				Delete: func(t *testing.T) {
					o.tv.Operate(map[string]any{"operation": "delete", "collection": "tokens", "key": "github"})
					if err := w.db.DeleteToken(t.Context(), o.account, o.vault, "github"); err != nil {
						t.Error(err)
					}
				},
			}
		})
	})
}

func TestWhatAWebhookSaysBesideARefreshTokenIsReadWithinLimits(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		from     map[string]any
		sequence int64
		expires  time.Time
		scopes   int
	}{
		"whole":              {map[string]any{wire.MetaRefreshSequence: 7.0, "expiryTime": float64(at.UnixMilli()), "scopes": []any{"a", "b"}}, 7, at, 2},
		"in words":           {map[string]any{"expiresAt": at.Format(time.RFC3339), "scopes": "a b c"}, 0, at, 3},
		"digits":             {map[string]any{"expiryTime": "1893553445000"}, 0, at, 0},
		"a negative number":  {map[string]any{wire.MetaRefreshSequence: -1.0, "expiryTime": -5.0}, 0, time.Time{}, 0},
		"a half":             {map[string]any{wire.MetaRefreshSequence: 1.5}, 0, time.Time{}, 0},
		"too large":          {map[string]any{wire.MetaRefreshSequence: 1e300, "expiryTime": 1e300}, 0, time.Time{}, 0},
		"not a number":       {map[string]any{wire.MetaRefreshSequence: math.NaN(), "expiryTime": math.NaN()}, 0, time.Time{}, 0},
		"of other types":     {map[string]any{wire.MetaRefreshSequence: "7", "expiryTime": true, "scopes": 5.0, "provider": 1.0, "creationId": []any{}}, 0, time.Time{}, 0},
		"scopes of no words": {map[string]any{"scopes": []any{1.0, nil, "a", map[string]any{}}}, 0, time.Time{}, 1},
	} {
		provider, creation, sequence, expires, scopes := refreshes.ReadMeta(c.from)
		if provider != "" || creation != "" || sequence != c.sequence || !expires.Equal(c.expires) || len(scopes) != c.scopes {
			t.Errorf("%s: read %q, %q, %d, %v, %q; want sequence %d, expiry %v, %d scopes", name, provider, creation, sequence, expires, scopes, c.sequence, c.expires, c.scopes)
		}
	}
}

// FuzzMeta: whatever stands beside a refresh token, what is believed has the right form.
func FuzzMeta(f *testing.F) {
	f.Add([]byte(`{"provider":"google","creationId":"1","refreshSequence":3,"expiryTime":1893553445000,"scopes":["a"]}`))
	f.Add([]byte(`{"refreshSequence":1e30,"expiresAt":"9999-12-31T23:59:59+23:59","scopes":"a,b"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var from map[string]any
		if json.Unmarshal(raw, &from) != nil {
			return
		}
		provider, creation, sequence, expires, scopes := refreshes.ReadMeta(from)
		if len(provider) > 256 || len(creation) > 256 || sequence < 0 || sequence >= 1<<53 || len(scopes) > 256 {
			t.Fatalf("read %q, %q, %d, %d scopes", provider, creation, sequence, len(scopes))
		}
		if !expires.IsZero() && (expires.Year() < 1970 || expires.Year() > 9999) {
			t.Fatalf("read the time %v", expires)
		}
	})
}
