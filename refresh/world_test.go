package refresh_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
)

// A world is one credential, its provider, and the log of whoever refreshes it. It lives in a synctest bubble.
type world struct {
	t      *testing.T
	grants *refreshtest.Grants
	memory *refreshtest.Memory
	first  refresh.Tokens
	log    *bytes.Buffer
}

// inWorld runs test in a bubble with a credential that was issued two hours ago and expired an hour ago.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &refreshtest.Grants{}
		first := g.Issue("repo", "gist")
		w := &world{t: t, grants: g, first: first, log: &bytes.Buffer{}, memory: refreshtest.NewMemory(time.Now, refresh.State{
			Tokens: first, IssuedAt: time.Now(), Provider: refresh.Provider{ID: "test"}, Version: 1,
		})}
		time.Sleep(2 * time.Hour)
		test(w)
		if strings.Contains(w.log.String(), "canary") {
			t.Errorf("a secret was logged: %s", w.log)
		}
	})
}

// sleep makes time pass, in the bubble alone.
func (w *world) sleep(d time.Duration) { time.Sleep(d) }

// A refresher that asks a function.
type refresherFunc func(token refresh.Secret) (refresh.Tokens, error)

func (f refresherFunc) Refresh(_ context.Context, _ refresh.Provider, token refresh.Secret, _ []string) (refresh.Tokens, error) {
	return f(token)
}

// refresh asks the provider.
func (w *world) refresh(token refresh.Secret) (refresh.Tokens, error) {
	return w.grants.Refresh(context.Background(), refresh.Provider{}, token, nil)
}

// engine is that of one process; a nil client is the provider itself.
func (w *world) engine(client refresh.Refresher) *refresh.Engine {
	if client == nil {
		client = w.grants
	}
	return refresh.New(refresh.Deps{
		Client: client, Random: func() float64 { return 0.5 }, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	})
}

func (w *world) view() *refreshtest.View { return &refreshtest.View{Memory: w.memory} }

func (w *world) ensure(e *refresh.Engine, p refresh.Place, o refresh.Options) refresh.Outcome {
	w.t.Helper()
	got, err := e.Ensure(w.t.Context(), "k", p, o)
	if err != nil {
		w.t.Errorf("ensuring: %v", err)
	}
	return got
}

func (w *world) wantOutcome(got refresh.Outcome, kind refresh.Kind, reason refresh.Reason) {
	w.t.Helper()
	if got.Kind != kind || got.Reason != reason {
		w.t.Errorf("outcome: got %s %q, want %s %q", got.Kind, got.Reason, kind, reason)
	}
}

func (w *world) wantCalls(want int) {
	w.t.Helper()
	if got := w.grants.Calls(); got != want {
		w.t.Errorf("calls at the provider: got %d, want %d", got, want)
	}
}

// wantAlive checks that what is stored can be used: the provider has nothing newer.
func (w *world) wantAlive() {
	w.t.Helper()
	s := w.memory.State()
	if !w.grants.Usable(s.Tokens.RefreshToken) || !w.grants.Newest(s.Tokens.AccessToken) {
		w.t.Errorf("stored: refresh token usable %t, access token newest %t, want both", w.grants.Usable(s.Tokens.RefreshToken), w.grants.Newest(s.Tokens.AccessToken))
	}
}

func (w *world) wantUntouched() {
	w.t.Helper()
	if got := w.memory.State().Tokens; got.AccessToken != w.first.AccessToken || got.RefreshToken != w.first.RefreshToken {
		w.t.Errorf("stored tokens have changed: %q %q", string(got.AccessToken), string(got.RefreshToken))
	}
}

var errStorage = errors.New("the storage is away")

// failing makes one kind of use fail while left is positive.
func failing(op refreshtest.Op, after bool, left *int) func(refreshtest.Op, bool) error {
	return func(got refreshtest.Op, gotAfter bool) error {
		if got == op && gotAfter == after && *left > 0 {
			*left--
			return errStorage
		}
		return nil
	}
}
