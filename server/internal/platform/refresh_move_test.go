package platform_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// busy says when a refresh waits for a lease.
type busy struct {
	patient
}

func (b *busy) TakeLease(ctx context.Context, account, token uuid.UUID, ttl time.Duration) (models.Lease, error) {
	l, err := b.Store.TakeLease(ctx, account, token, ttl)
	if err != nil {
		select {
		case b.waits <- struct{}{}:
		default:
		}
	}
	return l, err
}

// A credential that is on its way to a webhook is not refreshed here: the webhook has
// the refresh token by then, and would be left with one that is used up.
func TestWhatIsOnItsWayToAWebhookIsNotRefreshed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		leases := &busy{patient{s, make(chan struct{}, 1)}}
		w := newRenewing(t, s, func(_ *renewing, d *platform.Deps) { d.Leases = leases })
		m := &meeting{renewing: w}
		p, a := w.session(), w.agent("a")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		w.bind()
		to := w.there("github")

		for _, moved := range []bool{false, true} {
			w.expired()
			l := w.leave(p, token)
			calls := w.provider.Requests()
			reader := inBackground(func() (map[string]any, error) { return w.release(a, token) })
			m.within("a reader waiting", leases.waits)
			if moved {
				w.must(w.Moved(t.Context(), p, l, to))
			}
			if n := w.provider.Requests(); n != calls {
				t.Errorf("moved %v: %d calls while it was on its way", moved, n-calls)
			}
			l.End(t.Context())
			got, err := reader()
			if moved {
				w.refused(err, fault.TokenNotFound)
				continue
			}
			w.wantFresh("it stayed", got, err)
			w.refused(w.Moved(t.Context(), p, l, to), fault.Conflict) // of a version that is gone
			w.usable(p, "github")
		}
		w.tokenGone(token)
	})
}

func TestAMoveThatHasLostItsLeaseEndsNothing(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p := w.session()
		token := w.connect(p, "github", nil)
		w.bind()
		l := w.leave(p, token)
		l.End(t.Context())
		if _, err := w.store.TakeLease(t.Context(), w.account, token.ID, time.Minute); err != nil { // somebody refreshes
			t.Fatal(err)
		}
		w.refused(w.Moved(t.Context(), p, l, w.there("github")), fault.Conflict)
		w.usable(p, "github")
	})
}

// A token that came back from its webhook, and was refreshed here before that was
// noticed, is not overwritten with what the webhook still has.
func TestWhatWasRefreshedHereSinceItCameBackStays(t *testing.T) {
	t.Parallel()
	eachRenewing(t, func(t *testing.T, w *renewing) {
		p, a := w.session(), w.agent("a")
		w.bind()
		from := w.there("github")
		from.TokenType, from.HasRefreshToken = "OAuth", true
		w.must(w.store.UpdateToken(t.Context(), &from))
		fields := w.oauth(w.provider.Issue("repo"), nil)
		back := func() models.Token {
			token, err := w.TakeBack(t.Context(), p, audit.Client{}, from, fields)
			w.must(err)
			return token
		}
		first := back()
		again := back() // nothing has happened in between
		if again.ID != first.ID {
			t.Errorf("it came back as %s, then as %s", first.ID, again.ID)
		}
		w.grant(p, a, first)
		w.expired()
		got, err := w.release(a, first)
		w.wantFresh("refreshed here", got, err)
		if last := back(); last.ID != first.ID {
			t.Errorf("it came back as %s, then as %s", first.ID, last.ID)
		}
		w.usable(p, "github")
		if shown := w.stored(p, "github"); !w.provider.Newest(refresh.Secret(fmt.Sprint(shown["accessToken"]))) {
			t.Error("what was refreshed here was overwritten")
		}
	})
}
