package grants_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestAGrantIsStoredAsItWasIssued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := models.NewID()
	i := w.issue(grants.IssueInput{
		Kind: models.GrantAgentKey, Label: "ci", AgentID: &agent, Client: "curl", Address: "192.0.2.1", Life: 90*time.Minute + 400*time.Millisecond,
	})
	g := w.shelf.grants[i.Grant.ID]
	if g.Label != "ci" || *g.AgentID != agent || g.Client != "curl" || g.Address != "192.0.2.1" || len(g.PublicKey) != 32 {
		t.Errorf("stored %+v", g)
	}
	if end := models.Stamp(w.now).Add(90*time.Minute + 400*time.Millisecond).Truncate(time.Second); !g.ExpiresAt.Equal(end) {
		t.Errorf("the grant ends at %v, want the whole second %v", g.ExpiresAt, end)
	}
	if k := w.shelf.keys[slot{g.AccountID, g.ID, 0}]; len(k.WrappedPrivateKey) != 40 || !k.ExpiresAt.Equal(*g.ExpiresAt) || k.TokenKeyID != 0 {
		t.Errorf("stored key %+v", k)
	}
	if err := w.keys.CheckGrant(&g); err != nil {
		t.Errorf("the stored grant: %v", err)
	}
	for what, bytes := range map[string][]byte{"wrap": w.shelf.keys[slot{g.AccountID, g.ID, 0}].WrappedPrivateKey, "public key": g.PublicKey} {
		if strings.Contains(i.Token.Reveal(), string(bytes)) {
			t.Errorf("the token holds the %s", what)
		}
	}
}

func TestWhatIsNotStoredIsNoGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shelf.away = errAway
	i, err := w.Issue(t.Context(), grants.IssueInput{AccountID: models.NewID(), Kind: models.GrantSession})
	if !errors.Is(err, errAway) || i.Token.Reveal() != "" {
		t.Errorf("got a token of %d characters and %v, want none and the store's error", len(i.Token.Reveal()), err)
	}
	w.shelf.away = nil
	if _, err := w.Issue(t.Context(), grants.IssueInput{AccountID: models.NewID(), Kind: "something"}); err == nil {
		t.Error("a grant of a kind that has no tokens was issued")
	}
	for n := range 16 + 12 + 32 + 32 {
		poor := grants.New(grants.Deps{
			Store: w.shelf, Keys: w.keys, Gate: w.gate, Now: time.Now, Random: bytes.NewReader(make([]byte, n)), Logger: slog.New(slog.DiscardHandler),
		})
		_, err := poor.Issue(t.Context(), grants.IssueInput{AccountID: models.NewID(), Kind: models.GrantSession})
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("with %d random bytes: %v, want the reader's error", n, err)
		}
	}
	if len(w.shelf.grants) != 0 {
		t.Errorf("%d grants were stored, want none", len(w.shelf.grants))
	}
}

func TestATokenPrintsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := w.session()
	secret := i.Token.Reveal()[10:20]
	p := w.good(i.Token.Reveal(), models.GrantSession)
	type holder struct{ token grants.Token }
	for _, v := range []any{i.Token, &i.Token, i, &i, p, &p, []any{p}, holder{i.Token}, &holder{i.Token}, []grants.Token{i.Token}} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%c", "%U", "%t"} {
			text := fmt.Sprintf(format, v)
			if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", secret)) {
				t.Errorf("%T as %s shows the token: %s", v, format, text)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
		if strings.Contains(log.String(), secret) {
			t.Errorf("%T in a log shows the token: %s", v, &log)
		}
	}
	for _, v := range []any{i.Token, i, p} {
		if text, err := json.Marshal(v); err == nil {
			t.Errorf("%T was marshalled to JSON: %s", v, text)
		}
		if err := gob.NewEncoder(io.Discard).Encode(v); err == nil {
			t.Errorf("%T was marshalled by gob", v)
		}
	}
	if got := fmt.Sprint(i.Token); got != "[redacted]" {
		t.Errorf("a token prints as %q, want [redacted]", got)
	}
}

// running runs the service until the function that it returns is called, which
// returns when Run has.
func (w *world) running() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
}

func TestLastUseIsWrittenOnceAMinuteAndAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.running()
		minute := func() {
			<-time.After(time.Minute)
			synctest.Wait()
		}
		writes := func(want int) []models.GrantUse {
			t.Helper()
			uses := w.shelf.uses()
			if len(uses) != want {
				t.Fatalf("last use was written %d times, want %d", len(uses), want)
			}
			if want == 0 {
				return nil
			}
			return uses[want-1]
		}
		minute()
		writes(0) // nobody came
		a, b := w.session(), w.session()
		for range 10 {
			w.good(a.Token.Reveal(), models.GrantSession)
			w.good(b.Token.Reveal(), models.GrantSession)
		}
		_, _ = w.Authenticate(t.Context(), a.Token.Reveal(), models.GrantAgentKey) // refused: no use
		writes(0)
		minute()
		if used := writes(1); len(used) != 2 || !used[0].At.Equal(models.Stamp(w.now)) {
			t.Errorf("wrote %+v, want both grants at %v", used, w.now)
		}
		minute()
		writes(1) // nobody came

		w.now = w.now.Add(59 * time.Second)
		w.gate.Close() // read anew at each use
		w.good(a.Token.Reveal(), models.GrantSession)
		w.shelf.set(func(s *shelf) { s.away = errAway })
		minute()
		writes(2) // failed, and logged
		if !strings.Contains(w.log.String(), "last use could not be written") {
			t.Errorf("the log does not say so: %q", w.log)
		}
		w.shelf.set(func(s *shelf) { s.away = nil })
		w.good(b.Token.Reveal(), models.GrantSession)
		stop()
		if used := writes(3); len(used) != 1 || used[0].GrantID != b.Grant.ID {
			t.Errorf("at the end %+v was written, want the last use of %s", used, b.Grant.ID)
		}
	})
}

func TestOnARealStoreAGrantIsGoodFromItsCommitToItsEnd(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		gate := cache.NewGate(time.Now)
		gate.Open()
		s.OnChange(gate.Changed)
		keys := ring(t)
		var log bytes.Buffer
		g := grants.New(grants.Deps{
			Store: s, Keys: keys, Gate: gate, Now: time.Now, Random: rand.Reader, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		account := models.Account{ID: models.NewID(), Email: "a@example.com", CreatedAt: time.Now(), UpdatedAt: time.Now()}
		if err := s.CreateAccount(t.Context(), &account); err != nil {
			t.Fatal(err)
		}
		in := grants.IssueInput{AccountID: account.ID, Kind: models.GrantSession, Label: "l", Life: time.Hour}
		undone := errors.New("undone")
		var token string
		err := s.InTx(t.Context(), func(ctx context.Context) error {
			i, err := g.Issue(ctx, in)
			if err != nil {
				t.Errorf("Issue: %v", err)
			}
			token = i.Token.Reveal()
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		p, err := g.Authenticate(t.Context(), token, models.GrantSession)
		refused(t, "a token whose transaction was undone", p, err)

		i, err := g.Issue(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if p, err = g.Authenticate(t.Context(), i.Token.Reveal(), models.GrantSession); err != nil || p.GrantID != i.Grant.ID {
				t.Fatalf("a good token: %+v, %v", p, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Run(ctx); err != nil { // writes what is pending and ends
			t.Fatal(err)
		}
		stored, err := s.Grants(t.Context(), account.ID)
		if err != nil || len(stored) != 1 || stored[0].LastUsedAt == nil {
			t.Errorf("stored grants %+v, %v; want one with its last use", stored, err)
		}
		err = s.InTx(t.Context(), func(ctx context.Context) error {
			if err := g.End(ctx, account.ID, i.Grant.ID); err != nil {
				t.Errorf("End: %v", err)
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		if _, err = g.Authenticate(t.Context(), i.Token.Reveal(), models.GrantSession); err != nil {
			t.Errorf("a token whose end was undone: %v", err)
		}
		if err := g.End(t.Context(), account.ID, i.Grant.ID); err != nil {
			t.Fatal(err)
		}
		p, err = g.Authenticate(t.Context(), i.Token.Reveal(), models.GrantSession)
		refused(t, "an ended token", p, err)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Authenticate(t.Context(), i.Token.Reveal(), models.GrantSession); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("with the database closed: %v, want UNAVAILABLE", err)
		}
		if log.Len() > 0 {
			t.Errorf("logged: %s", &log)
		}
	})
}

func TestInParallelNoRevokedTokenIsEverGoodAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 20
	issued := make([]grants.Issued, n)
	ended := make([]atomic.Bool, n)
	one := models.NewID()
	for i := range issued { // of one account, so that its entries end together
		issued[i] = w.issue(grants.IssueInput{AccountID: one, Kind: models.GrantSession})
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for round := range 2000 {
				i := round % n
				before := ended[i].Load()
				_, err := w.Authenticate(t.Context(), issued[i].Token.Reveal(), models.GrantSession)
				switch {
				case before && err == nil:
					t.Errorf("token %d was good after its end", i)
				case err != nil && fault.CodeOf(err) != fault.InvalidKey:
					t.Errorf("token %d: %v", i, err)
				}
			}
		})
	}
	for i := range issued[:n/2] {
		if err := w.End(t.Context(), one, issued[i].Grant.ID); err != nil {
			t.Error(err)
		}
		ended[i].Store(true)
	}
	wg.Wait()
	for i := range issued {
		if _, err := w.Authenticate(t.Context(), issued[i].Token.Reveal(), models.GrantSession); (err == nil) != (i >= n/2) {
			t.Errorf("token %d, ended: %v, afterwards: %v", i, i < n/2, err)
		}
	}
}
