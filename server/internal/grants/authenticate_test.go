package grants_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestAGoodTokenSaysWhoItSpeaksFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := models.NewID()
	session := w.session()
	key := w.issue(grants.IssueInput{Kind: models.GrantAgentKey, AgentID: &agent})
	began := models.Stamp(w.now).Truncate(time.Second)
	want := grants.Principal{
		AccountID: session.Grant.AccountID, GrantID: session.Grant.ID, Kind: models.GrantSession,
		IssuedAt: began, ExpiresAt: began.Add(time.Hour),
	}
	got := w.good(session.Token.Reveal(), models.GrantAgentKey, models.GrantSession)
	if !reflect.DeepEqual(named(got), want) || got.Token.Reveal() != session.Token.Reveal() {
		t.Errorf("got %+v, want %+v with its token", got, want)
	}
	want = grants.Principal{
		AccountID: key.Grant.AccountID, GrantID: key.Grant.ID, Kind: models.GrantAgentKey, AgentID: agent, IssuedAt: began,
	}
	for range 2 { // read, and remembered
		got := w.good(key.Token.Reveal(), models.GrantAgentKey)
		if !reflect.DeepEqual(named(got), want) || got.Token.Reveal() != key.Token.Reveal() {
			t.Errorf("got %+v, want %+v with its token", got, want)
		}
	}
}

// sealed is a token that a thief of the server's keys makes.
func (w *world) sealed(c custody.Claims) string {
	w.t.Helper()
	text, _, err := w.keys.SealToken(rand.Reader, &c)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func TestEveryBadTokenIsRefusedAlike(t *testing.T) {
	t.Parallel()
	changeKey := func(w *world, i grants.Issued, change func(k *models.GrantKey)) {
		w.shelf.set(func(s *shelf) {
			at := slot{i.Grant.AccountID, i.Grant.ID, 0}
			k := s.keys[at]
			change(&k)
			s.keys[at] = k
		})
	}
	changeGrant := func(w *world, i grants.Issued, change func(g *models.Grant)) {
		w.shelf.set(func(s *shelf) {
			g := s.grants[i.Grant.ID]
			change(&g)
			s.grants[i.Grant.ID] = g
		})
	}
	// What each case does to a good session, and the token that is then tried.
	for name, spoil := range map[string]func(w *world, i grants.Issued) string{
		"empty":               func(*world, grants.Issued) string { return "" },
		"no token at all":     func(*world, grants.Issued) string { return "hunter2" },
		"a prefix alone":      func(*world, grants.Issued) string { return "tcs_" },
		"cut short":           func(_ *world, i grants.Issued) string { return i.Token.Reveal()[:100] },
		"with a line break":   func(_ *world, i grants.Issued) string { return i.Token.Reveal() + "\n" },
		"with a space":        func(_ *world, i grants.Issued) string { return " " + i.Token.Reveal() },
		"under another kind":  func(_ *world, i grants.Issued) string { return "tvagent" + strings.TrimPrefix(i.Token.Reveal(), "tcs") },
		"too long":            func(_ *world, i grants.Issued) string { return i.Token.Reveal() + strings.Repeat("A", 1<<20) },
		"with a flipped byte": func(_ *world, i grants.Issued) string { b := []byte(i.Token.Reveal()); b[50] ^= 1; return string(b) },
		"of another server": func(w *world, i grants.Issued) string {
			other := newWorld(w.t)
			return other.issue(grants.IssueInput{AccountID: i.Grant.AccountID, Kind: models.GrantSession}).Token.Reveal()
		},
		"of a grant that is not there": func(w *world, i grants.Issued) string {
			return w.sealed(custody.Claims{Kind: models.GrantSession, AccountID: i.Grant.AccountID, GrantID: models.NewID()})
		},
		"of a slot that is not there": func(w *world, i grants.Issued) string {
			return w.sealed(custody.Claims{Kind: models.GrantSession, AccountID: i.Grant.AccountID, GrantID: i.Grant.ID, Slot: 1})
		},
		"of another account": func(w *world, i grants.Issued) string {
			return w.sealed(custody.Claims{Kind: models.GrantSession, AccountID: models.NewID(), GrantID: i.Grant.ID})
		},
		"sealed with a stolen server key": func(w *world, i grants.Issued) string {
			return w.sealed(custody.Claims{Kind: models.GrantSession, AccountID: i.Grant.AccountID, GrantID: i.Grant.ID})
		},
		"sealed with a stolen server key as another kind": func(w *world, i grants.Issued) string {
			return w.sealed(custody.Claims{Kind: models.GrantAgentKey, AccountID: i.Grant.AccountID, GrantID: i.Grant.ID})
		},
		"expired at this second": func(w *world, i grants.Issued) string {
			w.now = *i.Grant.ExpiresAt
			return i.Token.Reveal()
		},
		"expired long ago": func(w *world, i grants.Issued) string {
			w.now = w.now.AddDate(1, 0, 0)
			return i.Token.Reveal()
		},
		"revoked": func(w *world, i grants.Issued) string {
			if err := w.End(w.t.Context(), i.Grant.AccountID, i.Grant.ID); err != nil {
				w.t.Fatal(err)
			}
			return i.Token.Reveal()
		},
		"of a grant that is marked as ended while its key is still there": func(w *world, i grants.Issued) string {
			changeGrant(w, i, func(g *models.Grant) { g.EndedAt = &w.now })
			return i.Token.Reveal()
		},
		"of a grant whose life was cut, well signed": func(w *world, i grants.Issued) string {
			changeGrant(w, i, func(g *models.Grant) { g.ExpiresAt = models.StampPtr(w.now); w.keys.SignGrant(g) })
			return i.Token.Reveal()
		},
		"of a slot whose life was cut, well signed": func(w *world, i grants.Issued) string {
			changeKey(w, i, func(k *models.GrantKey) { k.ExpiresAt = models.StampPtr(w.now); w.keys.SignGrantKey(k) })
			return i.Token.Reveal()
		},
		"of a grant whose row was given to an agent": func(w *world, i grants.Issued) string {
			changeGrant(w, i, func(g *models.Grant) { id := models.NewID(); g.AgentID = &id })
			return i.Token.Reveal()
		},
		"of a grant whose kind was changed, well signed": func(w *world, i grants.Issued) string {
			changeGrant(w, i, func(g *models.Grant) { g.Kind = models.GrantAgentKey; w.keys.SignGrant(g) })
			return i.Token.Reveal()
		},
		"of a grant with an altered MAC": func(w *world, i grants.Issued) string {
			changeGrant(w, i, func(g *models.Grant) { g.MAC = slices.Clone(g.MAC); g.MAC[31] ^= 1 })
			return i.Token.Reveal()
		},
		"of a slot with an altered MAC": func(w *world, i grants.Issued) string {
			changeKey(w, i, func(k *models.GrantKey) { k.MAC = nil })
			return i.Token.Reveal()
		},
		"of a slot with another's wrap": func(w *world, i grants.Issued) string {
			other := w.session()
			wrap := w.shelf.keys[slot{other.Grant.AccountID, other.Grant.ID, 0}].WrappedPrivateKey
			changeKey(w, i, func(k *models.GrantKey) { k.WrappedPrivateKey = wrap })
			return i.Token.Reveal()
		},
		"of a slot with another's wrap, well signed": func(w *world, i grants.Issued) string {
			other := w.session()
			wrap := w.shelf.keys[slot{other.Grant.AccountID, other.Grant.ID, 0}].WrappedPrivateKey
			changeKey(w, i, func(k *models.GrantKey) { k.WrappedPrivateKey = wrap; w.keys.SignGrantKey(k) })
			return i.Token.Reveal()
		},
		"of rows under a server key that is gone": func(w *world, i grants.Issued) string {
			changeGrant(w, i, func(g *models.Grant) { g.KeyID = 9 })
			return i.Token.Reveal()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token := spoil(w, w.session())
			p, err := w.Authenticate(t.Context(), token, models.GrantSession, models.GrantAgentKey)
			refused(t, "the first time", p, err)
			p, err = w.Authenticate(t.Context(), token, models.GrantSession, models.GrantAgentKey)
			refused(t, "the second time", p, err)
			if len(token) > 20 && strings.Contains(w.log.String(), token[4:20]) {
				t.Errorf("the log shows the token: %s", w.log)
			}
		})
	}
}

func TestATokenOfAKindThatWasNotAskedForIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.session().Token.Reveal()
	for range 2 { // read, and remembered
		p, err := w.Authenticate(t.Context(), token, models.GrantAgentKey)
		refused(t, "a session as an agent key", p, err)
		p, err = w.Authenticate(t.Context(), token)
		refused(t, "no kind at all", p, err)
		w.good(token, models.GrantSession)
	}
}

func TestATokenLivesToItsLastMomentAndNoLongerAlsoWhenRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.issue(grants.IssueInput{Kind: models.GrantSession, Life: 10 * time.Second})
	w.good(i.Token.Reveal(), models.GrantSession)
	w.now = i.Grant.ExpiresAt.Add(-time.Nanosecond)
	w.asks(0, "before its end", func() { w.good(i.Token.Reveal(), models.GrantSession) })
	w.now = *i.Grant.ExpiresAt
	w.asks(0, "at its end", func() {
		p, err := w.Authenticate(t.Context(), i.Token.Reveal(), models.GrantSession)
		refused(t, "at its end", p, err)
	})
}

func TestADatabaseThatIsAwayIsNotABadToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.session().Token.Reveal()
	w.shelf.set(func(s *shelf) { s.away = errAway })
	_, err := w.Authenticate(t.Context(), token, models.GrantSession)
	if fault.CodeOf(err) != fault.Unavailable || !errors.Is(err, errAway) {
		t.Errorf("got %v, want UNAVAILABLE with its cause", err)
	}
	p, err := w.Authenticate(t.Context(), "tcs_nonsense", models.GrantSession)
	refused(t, "nonsense, while the database is away", p, err)
	w.shelf.set(func(s *shelf) { s.away = nil })
	w.good(token, models.GrantSession)
	w.shelf.set(func(s *shelf) { s.away = errAway })
	w.asks(0, "what is remembered", func() { w.good(token, models.GrantSession) })
}

func TestAGoodTokenIsRememberedForThirtySecondsAndABadOneNever(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.session().Token.Reveal()
	good := func() { w.good(token, models.GrantSession) }
	w.asks(1, "the first time", good)
	w.asks(0, "the second time", good)
	w.now = w.now.Add(cache.Life - time.Nanosecond)
	w.asks(0, "to the end of an entry's life", good)
	w.now = w.now.Add(time.Nanosecond)
	w.asks(1, "then", good)
	w.asks(0, "and again", good)

	bad := w.sealed(custody.Claims{Kind: models.GrantSession, AccountID: models.NewID(), GrantID: models.NewID()})
	w.asks(3, "a bad token", func() {
		for range 3 {
			p, err := w.Authenticate(t.Context(), bad, models.GrantSession)
			refused(t, "a bad token", p, err)
		}
	})
	w.asks(0, "what is no token", func() {
		p, err := w.Authenticate(t.Context(), "tcs_"+strings.Repeat("A", 174), models.GrantSession)
		refused(t, "no token", p, err)
	})
	w.gate.Close()
	w.asks(3, "while the gate is closed", func() { good(); good(); good() })
	w.gate.Open()
	w.asks(1, "when it is open again", func() { good(); good() })
}

func TestRevocationHoldsAtTheVeryNextCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i, other := w.session(), w.session()
	w.good(i.Token.Reveal(), models.GrantSession)
	w.good(other.Token.Reveal(), models.GrantSession)
	if err := w.End(t.Context(), i.Grant.AccountID, i.Grant.ID); err != nil {
		t.Fatal(err)
	}
	p, err := w.Authenticate(t.Context(), i.Token.Reveal(), models.GrantSession)
	refused(t, "a revoked token", p, err)
	w.asks(0, "another account's", func() { w.good(other.Token.Reveal(), models.GrantSession) })
	for _, account := range []uuid.UUID{i.Grant.AccountID, models.NewID()} {
		if err := w.End(t.Context(), account, i.Grant.ID); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("ending what has ended: %v, want ErrNotFound", err)
		}
	}
}

func TestAReplicaWithTheOldKeyAsSecondStillKnowsItsTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text, err := custody.GenerateKeyring(bytes.NewReader(bytes.Repeat([]byte{1}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	old, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := w.service(old).Issue(t.Context(), grants.IssueInput{AccountID: models.NewID(), Kind: models.GrantSession})
	if err != nil {
		t.Fatal(err)
	}
	both, err := custody.ParseKeyring("1:" + strings.Repeat("A", 43) + "=," + text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.service(both).Authenticate(t.Context(), issued.Token.Reveal(), models.GrantSession); err != nil {
		t.Errorf("with both keys: %v", err)
	}
	alone, err := custody.ParseKeyring("1:" + strings.Repeat("A", 43) + "=")
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.service(alone).Authenticate(t.Context(), issued.Token.Reveal(), models.GrantSession)
	refused(t, "without the old key", p, err)
}

func TestARowThatIsNotAuthenticIsLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.session()
	w.shelf.set(func(s *shelf) {
		g := s.grants[i.Grant.ID]
		g.Kind = models.GrantAgentKey
		s.grants[i.Grant.ID] = g
	})
	_, _ = w.Authenticate(context.Background(), i.Token.Reveal(), models.GrantSession)
	if log := w.log.String(); !strings.Contains(log, "not authentic") || !strings.Contains(log, i.Grant.ID.String()) {
		t.Errorf("the log does not name the altered grant: %q", log)
	}
}
