package platform_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// A bustle is one token with those who read it and those who change its keys, all at
// once.
type bustle struct {
	*renewing
	waits  chan struct{}
	p      grants.Principal // its owner
	token  models.Token
	agents []agent
	mu     sync.Mutex
	has    map[string]bool // by agent's name: whether it was granted the token
}

// act is something that may happen during a refresh. Its error is nil, or one that may
// be.
type act func(b *bustle) error

func acts() map[string]act {
	client := audit.Client{}
	return map[string]act{
		"new generation": func(b *bustle) error {
			key, err := b.grants.CreateKey(b.t.Context(), b.p, client, grants.CreateKeyInput{Name: "test", Scopes: grants.Scopes()})
			if err != nil {
				return err
			}
			return b.grants.Revoke(b.t.Context(), b.p, client, key.Grant.ID)
		},
		"withdraw": func(b *bustle) error { return b.toggle(true) },
		"grant":    func(b *bustle) error { return b.toggle(false) },
		"settle": func(b *bustle) error {
			h, err := b.grants.Keys(b.t.Context(), b.p)
			if err != nil {
				return err
			}
			defer h.Clear()
			return b.Settle(b.t.Context(), h)
		},
		// Whoever shared its vault goes: what others open is copied when it is left, and
		// copies of one refresh token would be used twice.
		"link": func(b *bustle) error {
			other := b.session()
			if err := b.Accept(b.t.Context(), b.p, client, b.offers(other, b.p).ID); err != nil {
				return err
			}
			return b.grants.Revoke(b.t.Context(), b.p, client, other.GrantID)
		},
		"connect again": func(b *bustle) error {
			_, err := b.Store(b.t.Context(), b.p, client, ref("github"), b.oauth(b.provider.Issue("repo"), nil))
			return err
		},
		"note": func(b *bustle) error {
			text := models.NewID().String()
			_, err := b.UpdateMetadata(b.t.Context(), b.p, client, ref("github"), platform.MetadataInput{Notes: &text})
			if fault.CodeOf(err) == fault.TokenNotFound {
				return nil // of the vault that is being left at this moment
			}
			return err
		},
	}
}

// toggle withdraws the token from an agent that has it, or grants it to one that has
// not.
func (b *bustle) toggle(withdraw bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.agents {
		if b.has[a.Name] != withdraw {
			continue
		}
		var err error
		if withdraw {
			err = b.tryRevoke(a, b.token)
		} else {
			err = b.tryGrant(b.p, a, b.token)
		}
		if err == nil {
			b.has[a.Name] = !withdraw
		}
		return err
	}
	return nil
}

// Whatever meets: a refresh token is used once, what is stored can be refreshed, who was
// granted a token is given a fresh one, and nobody else is. rapid prints the seed of
// what fails.
func TestNoInterleavingLosesATokenOrRefreshesItTwice(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var clock atomic.Pointer[world]
		provider := refreshtest.StartProvider(t, &refreshtest.Grants{Now: func() time.Time { return clock.Load().clock.now() }})
		met := 0
		rapid.Check(t, func(r *rapid.T) {
			b := &bustle{waits: make(chan struct{}, 1), has: map[string]bool{}}
			b.renewing = newRenewingAt(t, s, provider, func(_ *renewing, d *platform.Deps) { d.Leases = &patient{s, b.waits} })
			clock.Store(b.world)
			b.p = b.session()
			b.token = b.connect(b.p, "github", nil)
			for i := range 3 {
				a := b.agent(fmt.Sprint("agent-", i))
				b.agents = append(b.agents, a)
				b.grant(b.p, a, b.token)
				b.has[a.Name] = true
			}
			for range rapid.IntRange(1, 4).Draw(r, "rounds") {
				if b.round(r) {
					met++
				}
			}
		})
		if met == 0 {
			t.Error("nothing ever waited for a refresh")
		}
	})
}

// round lets an hour pass, has the token read, and things happen meanwhile. It reports
// whether something waited for the refresh.
func (b *bustle) round(r *rapid.T) (waited bool) {
	b.expired()
	b.p = b.now(b.p)
	calls := b.provider.Requests()
	release := make(chan struct{})
	b.provider.Next(refreshtest.Slow(release))
	drain(b.waits)
	drain(b.provider.Arrived())

	var reading, acting sync.WaitGroup
	first := rapid.IntRange(0, 2).Draw(r, "first reader")
	for n := range rapid.IntRange(1, 3).Draw(r, "readers") {
		reading.Go(func() {
			_, err := b.release(b.agents[(first+n)%3], b.token)
			b.may(r, "an agent", err, fault.NoGrant, fault.Conflict)
		})
	}
	if rapid.Bool().Draw(r, "the owner, too") {
		reading.Go(func() {
			_, err := b.reveal(b.p, "github")
			b.may(r, "the owner", err, fault.Conflict)
		})
	}
	if rapid.Bool().Draw(r, "after the call") && b.has[b.agents[first].Name] {
		<-b.provider.Arrived()
	}
	for _, name := range b.draw(r) {
		acting.Go(func() { b.may(r, name, acts()[name](b), fault.Conflict, fault.Unavailable) })
	}
	done := make(chan struct{})
	go func() {
		acting.Wait()
		close(done)
	}()
	select {
	case <-b.waits:
		waited = true
	case <-done:
	}
	close(release)
	<-done
	reading.Wait()
	b.atRest(r, calls)
	return waited
}

// draw is what happens meanwhile. Not both, for the same reason.
func (b *bustle) draw(r *rapid.T) []string {
	names := slices.Sorted(maps.Keys(acts()))
	drawn := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID[string]).Draw(r, "acts")
	if slices.Contains(drawn, "link") {
		drawn = slices.DeleteFunc(drawn, func(name string) bool { return name == "new generation" })
	}
	return drawn
}

// drain empties a channel.
func drain(from <-chan struct{}) {
	for {
		select {
		case <-from:
		default:
			return
		}
	}
}

// atRest checks what holds when nothing is under way.
func (b *bustle) atRest(r *rapid.T, calls int) {
	ctx := b.t.Context()
	if err := b.engine.Wait(ctx); err != nil {
		r.Fatal(err)
	}
	b.p = b.now(b.p)
	b.settle(b.p)
	if got, err := b.reveal(b.p, "github"); err != nil || !b.provider.Newest(refresh.Secret(fmt.Sprint(got["accessToken"]))) {
		r.Fatalf("its owner sees %v, %v, want the newest", got["accessToken"], err)
	}
	if token := fmt.Sprint(b.stored(b.p, "github")["refreshToken"]); !b.provider.Usable(refresh.Secret(token)) {
		r.Fatalf("the refresh token that is stored, %s, is used up", token)
	}
	if n := b.provider.Reused(); n != 0 {
		r.Fatalf("%d refresh tokens were used twice", n)
	}
	if n := b.provider.Requests() - calls; n > 1 {
		r.Fatalf("%d calls for one expiry", n)
	}
	for _, a := range b.agents {
		got, err := b.release(a, b.token)
		if b.has[a.Name] && (err != nil || !b.provider.Newest(refresh.Secret(fmt.Sprint(got["accessToken"])))) {
			r.Fatalf("%s is given %v, %v, want the newest", a.Name, got["accessToken"], err)
		}
		if !b.has[a.Name] && fault.CodeOf(err) != fault.NoGrant {
			r.Fatalf("%s, which was not granted it, is given %v, %v", a.Name, got["accessToken"], err)
		}
	}
	if c := b.credential(b.token); c.RekeyDueAt != nil {
		r.Fatalf("the credential is due for a new key since %v", c.RekeyDueAt)
	}
	if n := b.Aloft(); n != 0 {
		r.Fatalf("%d tokens still have keys in memory", n)
	}
}

func (b *bustle) may(r *rapid.T, what string, err error, codes ...fault.Code) {
	for _, code := range codes {
		if err == nil || fault.CodeOf(err) == code {
			return
		}
	}
	r.Errorf("%s: %v", what, err)
}
