package platform_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// patient leases say when somebody waits for one that another has.
type patient struct {
	*store.Store
	waits chan struct{} // gets a value for each look at a busy lease; buffered
}

func (p *patient) TakeLeases(ctx context.Context, account uuid.UUID, tokens []uuid.UUID, ttl time.Duration) ([]models.Lease, *time.Time, error) {
	taken, busy, err := p.Store.TakeLeases(ctx, account, tokens, ttl)
	if busy != nil {
		select {
		case p.waits <- struct{}{}:
		default:
		}
	}
	return taken, busy, err
}

// A meeting is a refresh whose answer the provider keeps back.
type meeting struct {
	*renewing
	waits  chan struct{}
	answer func()
	reader func() (map[string]any, error) // waits for who caused the refresh
}

func eachMeeting(t *testing.T, body func(t *testing.T, m *meeting)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		m := &meeting{waits: make(chan struct{}, 1)}
		m.renewing = newRenewing(t, s, func(w *renewing, d *platform.Deps) {
			d.Leases = &patient{s, m.waits}
			w.engine = engineOf(t, w.provider, d.Now, 3*time.Minute) // a call at the provider may take half of it
			d.Engine = w.engine
		})
		body(t, m)
	})
}

// begin has a token expire and read; when it returns, the call has come to the
// provider.
func (m *meeting) begin(read func() (map[string]any, error)) {
	m.t.Helper()
	release := make(chan struct{})
	m.provider.Next(refreshtest.Slow(release))
	m.answer = sync.OnceFunc(func() { close(release) })
	m.t.Cleanup(m.answer)
	m.expired()
	m.reader = inBackground(read)
	m.within("the call at the provider", m.provider.Arrived())
}

// inBackground begins something, and returns what waits for it.
func inBackground[T any](do func() (T, error)) (wait func() (T, error)) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	return func() (T, error) {
		r := <-done
		return r.value, r.err
	}
}

func (m *meeting) within(what string, signal <-chan struct{}) {
	m.t.Helper()
	within(m.t, what, signal)
}

func within(t testing.TB, what string, signal <-chan struct{}) {
	t.Helper()
	select {
	case <-signal:
	case <-time.After(time.Minute):
		t.Fatalf("%s: nothing after a minute", what)
	}
}

// What seals a credential anew, or moves it, waits for a refresh that is under way: the
// new tokens are stored, and nothing is lost.
func TestWhatSealsAnewWaitsForARefreshThatIsUnderWay(t *testing.T) {
	t.Parallel()
	type scene struct {
		*meeting
		p, q    grants.Principal // the owner's session, and another with a vault of its own
		a, gone agent
		token   models.Token
		stays   *grants.Principal // opens the vault that p has left; nil: nobody
	}
	for name, tt := range map[string]struct {
		do    func(s *scene) func() error // prepared before the refresh; may be called once
		after func(t *testing.T, s *scene)
	}{
		"a new generation": {func(s *scene) func() error {
			key := s.apiKey(s.p)
			return func() error { return s.grants.Revoke(s.t.Context(), s.p, audit.Client{}, key.GrantID) }
		}, func(t *testing.T, s *scene) {
			if v := s.vaultOf(s.p); v.Generation != 2 || v.RotationDueAt != nil {
				t.Errorf("the vault is of generation %d, due %v, want the second", v.Generation, v.RotationDueAt)
			}
		}},
		"a new epoch": {func(s *scene) func() error {
			return func() error {
				if err := s.tryRevoke(s.gone, s.token); err != nil {
					return err
				}
				s.releaseRefused(s.gone, s.token, fault.NoGrant) // at once
				h, err := s.grants.Keys(s.t.Context(), s.p)
				if err != nil {
					return err
				}
				defer h.Clear()
				return s.Settle(s.t.Context(), h)
			}
		}, func(t *testing.T, s *scene) {
			if c := s.credential(s.token); c.Epoch != 2 || c.RekeyDueAt != nil {
				t.Errorf("the credential is of epoch %d, due %v, want the second", c.Epoch, c.RekeyDueAt)
			}
			s.releaseRefused(s.gone, s.token, fault.NoGrant)
		}},
		"linking, which moves it": {func(s *scene) func() error {
			e := s.offers(s.q, s.p)
			return func() error { return s.Accept(s.t.Context(), s.p, audit.Client{}, e.ID) }
		}, func(t *testing.T, s *scene) {
			if s.now(s.p).VaultID != s.q.VaultID || s.token.VaultID == s.q.VaultID || s.renewing.token(s.token).VaultID != s.q.VaultID {
				t.Error("the token is not in the vault that was accepted")
			}
		}},
		"linking, which copies it": {func(s *scene) func() error {
			key := s.apiKey(s.p)
			s.stays = &key
			e := s.offers(s.q, s.p)
			return func() error { return s.Accept(s.t.Context(), s.p, audit.Client{}, e.ID) }
		}, func(t *testing.T, s *scene) {
			if s.renewing.token(s.token).VaultID == s.q.VaultID {
				t.Error("the token has left whose it is, too")
			}
			// Two who use one refresh token up would both lose the account.
			p := s.now(s.p)
			if c := s.stored(p, s.token.ServiceName); c["refreshToken"] != nil || !s.provider.Newest(refresh.Secret(c["accessToken"].(string))) {
				t.Errorf("the copy is %v, want the access token alone", c)
			}
			if c, err := s.Token(t.Context(), p, ref(s.token.ServiceName)); err != nil || c.HasRefreshToken {
				t.Errorf("the copy is said to have a refresh token: %+v, %v", c, err)
			}
		}},
		"restoring": {func(s *scene) func() error {
			s.soon()
			newer := s.put(s.q, "github", "newer")
			s.accepts(s.p, s.offers(s.q, s.p))
			if s.renewing.token(s.token).SupersededAt == nil || newer.SupersededAt != nil {
				s.t.Fatal("the older token is not superseded")
			}
			return func() error {
				_, err := s.Restore(s.t.Context(), s.now(s.p), audit.Client{}, s.token.ID, "mine")
				return err
			}
		}, func(t *testing.T, s *scene) {
			if now := s.renewing.token(s.token); now.ServiceName != "mine" || now.SupersededAt != nil {
				t.Errorf("the token is named %q, superseded %v", now.ServiceName, now.SupersededAt)
			}
			s.token.ServiceName = "mine"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachMeeting(t, func(t *testing.T, m *meeting) {
				s := &scene{meeting: m, p: m.session(), q: m.session(), a: m.agent("a"), gone: m.agent("gone")}
				s.token = m.connect(s.p, "github", nil)
				for _, a := range []agent{s.a, s.gone} {
					m.grant(s.p, a, s.token)
					_, err := m.release(a, s.token)
					m.must(err)
				}
				do := tt.do(s)
				before := m.credential(s.token)
				m.begin(func() (map[string]any, error) { return m.release(s.a, s.token) })
				action := inBackground(func() (struct{}, error) { return struct{}{}, do() })
				m.within("waiting", m.waits)
				if now := m.credential(s.token); now.Epoch != before.Epoch || now.VaultID != before.VaultID || now.Version != before.Version {
					t.Errorf("during the refresh the credential became %d.%d in %s", now.Epoch, now.Version, now.VaultID)
				}
				m.answer()
				got, err := m.reader()
				m.wantFresh("who caused the refresh", got, err)
				_, err = action()
				m.must(err)
				tt.after(t, s)
				s.p = m.now(s.p)
				if s.stays != nil {
					s.p = *s.stays
				}
				m.usable(s.p, s.token.ServiceName)
				for range 2 {
					got, err = m.release(s.a, s.token)
					m.wantFresh("an agent, afterwards", got, err)
					m.expired()
				}
				if m.provider.Reused() != 0 || m.row(s.token).LeaseUntil != nil {
					t.Errorf("%d refresh tokens were used twice; the lease goes on until %v", m.provider.Reused(), m.row(s.token).LeaseUntil)
				}
			})
		})
	}
}

// Waiting has an end: then nothing has been done.
func TestWhatWaitsTooLongIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	eachMeeting(t, func(t *testing.T, m *meeting) {
		ctx, p, q, a, gone := t.Context(), m.session(), m.session(), m.agent("a"), m.agent("gone")
		token := m.connect(p, "github", nil)
		m.grant(p, a, token)
		m.grant(p, gone, token)
		e := m.offers(q, p)
		m.revoke(gone, token)
		h, err := m.grants.Keys(ctx, p)
		m.must(err)
		defer h.Clear()
		m.begin(func() (map[string]any, error) { return m.release(a, token) })
		for what, do := range map[string]func() error{
			"settle": func() error { return m.Settle(ctx, h) },
			"accept": func() error { return m.Accept(ctx, p, audit.Client{}, e.ID) },
			"leave":  func() error { _, err := m.Leave(ctx, p, token.ID); return err },
		} {
			before := m.snapshot()
			waiting := inBackground(func() (struct{}, error) { return struct{}{}, do() })
			m.within(what, m.waits)
			m.clock.pass(time.Minute)
			if _, err := waiting(); fault.CodeOf(err) != fault.Unavailable {
				t.Errorf("%s: %v, want UNAVAILABLE", what, err)
			}
			m.same(what, before)
			select { // one more look
			case <-m.waits:
			default:
			}
		}
		m.answer()
		got, err := m.reader()
		m.wantFresh("the reader", got, err)
		m.must(m.Settle(ctx, h))
		if c := m.credential(token); c.RekeyDueAt != nil || c.Epoch != 2 {
			t.Errorf("afterwards, the credential is of epoch %d, due %v", c.Epoch, c.RekeyDueAt)
		}
		m.usable(p, "github")
	})
}

// A request about something else does not wait for a refresh.
func TestARequestAboutSomethingElseDoesNotWait(t *testing.T) {
	t.Parallel()
	eachMeeting(t, func(t *testing.T, m *meeting) {
		p, a, gone := m.session(), m.agent("a"), m.agent("gone")
		token := m.connect(p, "github", nil)
		m.put(p, "plain", "secret")
		m.grant(p, a, token)
		m.grant(p, gone, token)
		m.begin(func() (map[string]any, error) { return m.release(a, token) })
		m.revoke(gone, token)
		m.reveals(p, "plain", "secret") // would make the new key that is due
		if c := m.credential(token); c.RekeyDueAt == nil {
			t.Error("the credential got its new key during a refresh")
		}
		m.answer()
		got, err := m.reader()
		m.wantFresh("the reader", got, err)
		m.reveals(p, "plain", "secret")
		if c := m.credential(token); c.RekeyDueAt != nil || c.Epoch != 2 {
			t.Errorf("afterwards, the credential is of epoch %d, due %v", c.Epoch, c.RekeyDueAt)
		}
	})
}

func TestAReaderThatLeavesEndsNoRefresh(t *testing.T) {
	t.Parallel()
	eachMeeting(t, func(t *testing.T, m *meeting) {
		p, a := m.session(), m.agent("a")
		token := m.connect(p, "github", nil)
		m.grant(p, a, token)
		ctx, leave := context.WithCancel(t.Context())
		m.begin(func() (map[string]any, error) { return m.ReleaseTo(ctx, a.Principal, token.ID) })
		leave()
		if got, err := m.reader(); !errors.Is(err, context.Canceled) || got != nil {
			t.Errorf("who left got %v, %v", got, err)
		}
		if m.Aloft() != 1 {
			t.Errorf("%d tokens are being refreshed, want 1", m.Aloft())
		}
		m.answer()
		m.must(m.engine.Wait(t.Context()))
		m.usable(p, "github")
		got, err := m.release(a, token)
		m.wantFresh("the next", got, err)
		if n := m.provider.Requests(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// Whoever loses a token while it waits for its refresh is not given it.
func TestWhoLosesATokenDuringItsRefreshIsNotGivenIt(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lose func(m *meeting, p grants.Principal, a agent, token models.Token) error
		want fault.Code
	}{
		"withdrawn": {func(m *meeting, _ grants.Principal, a agent, token models.Token) error {
			m.revoke(a, token)
			return nil
		}, fault.NoGrant},
		"deleted": {func(m *meeting, p grants.Principal, _ agent, _ models.Token) error {
			return m.Delete(m.t.Context(), p, audit.Client{}, ref("github"))
		}, fault.TokenNotFound},
		"locked": {func(m *meeting, _ grants.Principal, _ agent, _ models.Token) error {
			now := m.clock.now()
			return m.store.SetAccountLock(m.t.Context(), m.account, &now)
		}, fault.VaultLocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachMeeting(t, func(t *testing.T, m *meeting) {
				p, a := m.session(), m.agent("a")
				token := m.connect(p, "github", nil)
				m.grant(p, a, token)
				m.begin(func() (map[string]any, error) { return m.release(a, token) })
				owner := inBackground(func() (map[string]any, error) { return m.reveal(p, "github") })
				m.must(tt.lose(m, p, a, token))
				m.answer()
				got, err := m.reader()
				m.refused(err, tt.want)
				if got != nil {
					t.Errorf("it was given %v", got)
				}
				got, err = owner()
				if name == "withdrawn" {
					m.wantFresh("its owner", got, err)
				} else {
					m.refused(err, tt.want)
				}
			})
		})
	}
}

// What its owner stores while a refresh is under way is what counts.
func TestARefreshOverwritesNoTokenThatWasStoredMeanwhile(t *testing.T) {
	t.Parallel()
	eachMeeting(t, func(t *testing.T, m *meeting) {
		p, a := m.session(), m.agent("a")
		token := m.connect(p, "github", nil)
		m.grant(p, a, token)
		m.begin(func() (map[string]any, error) { return m.release(a, token) })
		connected := m.provider.Issue("repo", "user")
		_, err := m.Store(t.Context(), p, audit.Client{}, ref("github"), m.oauth(connected, nil))
		m.must(err)
		m.answer()
		got, err := m.reader()
		if err != nil || got["accessToken"] != string(connected.AccessToken) {
			t.Errorf("who waited got %v, %v, want what was stored meanwhile", got["accessToken"], err)
		}
		m.must(m.engine.Wait(t.Context()))
		if now := m.stored(p, "github"); now["accessToken"] != string(connected.AccessToken) || now["refreshToken"] != string(connected.RefreshToken) {
			t.Errorf("stored are %v, %v", now["accessToken"], now["refreshToken"])
		}
		if s := m.engine.Stats(); s.Superseded == 0 || s.Dropped != 0 {
			t.Errorf("the engine counts %+v, want what came too late to be superseded", s)
		}
	})
}

// offline breaks the transactions of one process while it is told to.
type offline struct {
	*store.Store
	mu    sync.Mutex
	away  bool
	tried chan struct{} // gets a value for each that broke; buffered
}

var errOffline = errors.New("the database is away")

func (o *offline) set(away bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = away
}

func (o *offline) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	o.mu.Lock()
	away := o.away
	o.mu.Unlock()
	if !away {
		return o.Store.InTx(ctx, fn)
	}
	select {
	case o.tried <- struct{}{}:
	default:
	}
	return errOffline
}

// brief leases end in the database after a second, whatever their holder believes.
type brief struct{ *store.Store }

func (b brief) TakeLease(ctx context.Context, account, token uuid.UUID, _ time.Duration) (models.Lease, error) {
	return b.Store.TakeLease(ctx, account, token, time.Second)
}

// A process that has new tokens and cannot store them before its lease ends, while
// another process gives the vault a new key, stores them with the key that the next
// reader brings.
func TestTokensInHandAreStoredUnderANewKeyThatAReaderBrings(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s, shared := storetest.Open(t, url), storetest.Open(t, url)
		if s.Dialect() == store.SQLite {
			shared = s
		}
		db := &offline{Store: s, tried: make(chan struct{}, 1)}
		w := newRenewing(t, s, func(w *renewing, d *platform.Deps) {
			d.Accounts, d.Leases = db, brief{s}
		})
		t.Cleanup(func() { db.set(false) })
		other := w.replica(shared)
		p, a := w.session(), w.agent("a")
		token, key := w.connect(p, "github", nil), w.apiKey(p)
		w.grant(p, a, token)
		got, err := w.release(a, token) // keeps its key
		w.wantFresh("before", got, err)

		w.expired()
		db.set(true)
		reader := inBackground(func() (map[string]any, error) { return w.release(a, token) })
		within(t, "storing the new tokens, which fails", db.tried)
		elsewhere := other.now(p)
		other.must(other.grants.Revoke(t.Context(), elsewhere, audit.Client{}, key.GrantID))
		if v := other.vaultOf(elsewhere); v.Generation != 2 || w.credential(token).Epoch != 2 {
			t.Fatalf("the vault is of generation %d, its credential of epoch %d; want the second of both", v.Generation, w.credential(token).Epoch)
		}
		db.set(false)
		w.gate.Changed(w.account) // what NOTIFY would have told
		got, err = w.reveal(p, "github")
		w.wantFresh("who brings the new key", got, err)
		got, err = reader()
		w.wantFresh("who caused the refresh", got, err)
		w.usable(p, "github")
		if n, s := w.provider.Requests(), w.engine.Stats(); n != 1 || s.Rescued != 1 || s.Dropped != 0 {
			t.Errorf("%d calls, and the engine counts %+v; want one call, rescued", n, s)
		}
	})
}

// What is revoked at its provider is what is current there, or the new tokens of a
// refresh at the same time would live on.
func TestWhatIsBorrowedIsCurrentAndNotRefreshedMeanwhile(t *testing.T) {
	t.Parallel()
	eachMeeting(t, func(t *testing.T, m *meeting) {
		p := m.session()
		token := m.connect(p, "github", nil)
		m.begin(func() (map[string]any, error) { return m.reveal(p, "github") })
		borrow := inBackground(func() (string, error) {
			var current string
			err := m.Borrow(t.Context(), p, audit.Client{}, ref("github"), "to revoke it", func(ctx context.Context, c credential.Credential) error {
				current = c.Secrets["refreshToken"]
				if _, err := m.store.TakeLease(ctx, m.account, token.ID, time.Minute); !errors.Is(err, models.ErrLeased) {
					t.Errorf("the lease of what is borrowed: %v, want it taken", err)
				}
				return nil
			})
			return current, err
		})
		m.within("waiting", m.waits)
		m.answer()
		got, err := m.reader()
		m.wantFresh("who caused the refresh", got, err)
		current, err := borrow()
		m.must(err)
		if !m.provider.Usable(refresh.Secret(current)) {
			t.Errorf("what was borrowed, %q, is used up", current)
		}
		if row := m.row(token); row.LeaseID != nil {
			t.Errorf("afterwards the lease is still taken: %+v", row)
		}
	})
}

// replacing says once of a token that another credential is in its place.
type replacing struct {
	*store.Store
	armed bool
}

func (r *replacing) TokenByID(ctx context.Context, account, id uuid.UUID) (models.Token, error) {
	t, err := r.Store.TokenByID(ctx, account, id)
	if r.armed {
		r.armed, t.CreationID = false, "another"
	}
	return t, err
}

// A lease that was taken while another token was being stored is given back when that
// shows: nobody waits for its end.
func TestALeaseOfWhatWasReplacedIsGivenBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		tokens, leases := &replacing{Store: s}, &countingLeases{Store: s}
		w := newRenewing(t, s, func(_ *renewing, d *platform.Deps) { d.Tokens, d.Leases = tokens, leases })
		p, a := w.session(), w.agent("a")
		token := w.connect(p, "github", nil)
		w.grant(p, a, token)
		w.expired()
		tokens.armed = true
		got, err := w.release(a, token)
		w.wantFresh("the reader", got, err)
		if n, calls := leases.taken, w.provider.Requests(); n != 2 || calls != 1 || w.engine.Stats().Rescued != 1 {
			t.Errorf("%d attempts to take a lease, %d calls, the engine counts %+v; want two leases, one call, rescued", n, calls, w.engine.Stats())
		}
	})
}
