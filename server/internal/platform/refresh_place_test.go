package platform_test

import (
	"context"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

func TestACredentialOfAVaultIsAPlaceForRefreshing(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s, other := storetest.Open(t, url), storetest.Open(t, url)
		if s.Dialect() == store.SQLite { // which has one process
			other = s
		}
		refreshtest.TestPlace(t, func(t *testing.T) refreshtest.Fixture {
			w := newRenewing(t, s, nil)
			p, second := w.session(), w.replica(other)
			put := func(t *testing.T, tokens refresh.Tokens) {
				t.Helper()
				_, err := w.Store(t.Context(), p, audit.Client{}, ref("github"), w.oauth(tokens, nil))
				w.must(err)
			}
			put(t, refreshtest.Initial(w.clock.now()))
			return refreshtest.Fixture{
				Place: w.placeOf(p.Token.Reveal(), "github"), Other: second.placeOf(p.Token.Reveal(), "github"), Now: w.clock.now, Replace: put,
				Stored: func(t *testing.T) refresh.Tokens {
					t.Helper()
					return storedTokens(t, w.stored(p, "github"))
				},
				Delete: func(t *testing.T) {
					t.Helper()
					w.must(w.Delete(t.Context(), p, audit.Client{}, ref("github")))
				},
			}
		})
	})
}

// placeOf is the place of a token, with a key that is cleared when the test ends.
func (w *renewing) placeOf(session, service string) refresh.Place {
	w.t.Helper()
	at, end, err := w.PlaceOf(context.WithoutCancel(w.t.Context()), w.principal(session), ref(service))
	w.must(err)
	w.t.Cleanup(end)
	return at
}

// storedTokens reads what its owner sees of a token.
func storedTokens(t *testing.T, shown map[string]any) refresh.Tokens {
	t.Helper()
	text := func(name string) string {
		value, _ := shown[name].(string)
		return value
	}
	out := refresh.Tokens{AccessToken: refresh.Secret(text("accessToken")), RefreshToken: refresh.Secret(text("refreshToken"))}
	scopes, _ := shown["scopes"].([]any)
	for _, scope := range scopes {
		name, _ := scope.(string)
		out.Scopes = append(out.Scopes, name)
	}
	var err error
	if out.ExpiresAt, err = time.Parse(time.RFC3339, text("expiresAt")); err != nil {
		t.Errorf("the owner sees expiresAt %q: %v", text("expiresAt"), err)
	}
	return out
}
