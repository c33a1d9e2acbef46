package grants_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A chain is a session as it should be: its tokens in their order, each the
// successor of the one before it.
type chain struct {
	tokens []grants.Principal // as they were when they were made
	ends   time.Time
	over   bool
}

// counts reports whether a token of the chain is good.
func (c *chain) counts(i int, now time.Time) bool {
	return !c.over && now.Before(c.tokens[i].ExpiresAt) && now.Before(c.ends)
}

// due reports whether it is to be followed.
func (c *chain) due(i int, now time.Time) bool {
	p := c.tokens[i]
	return p.ExpiresAt.Before(c.ends) && !now.Before(p.IssuedAt.Add(p.ExpiresAt.Sub(p.IssuedAt)/4))
}

// TestAnyInterleavingOfRotationRevocationAndUse holds sessions of one account
// against what they should be. rapid prints the seed of what fails.
func TestAnyInterleavingOfRotationRevocationAndUse(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		rapid.Check(t, func(r *rapid.T) {
			h.later.Store(h.later.Load() / int64(time.Second) * int64(time.Second)) // tokens are in whole seconds
			var chains []*chain
			begin := func() {
				p := h.session()
				chains = append(chains, &chain{tokens: []grants.Principal{p}, ends: *h.grant(p.GrantID).ExpiresAt})
			}
			begin()
			pick := func(r *rapid.T) (*chain, int) {
				c := chains[rapid.IntRange(0, len(chains)-1).Draw(r, "session")]
				return c, rapid.IntRange(0, len(c.tokens)-1).Draw(r, "token")
			}
			// use holds Authenticate and Keys against the chain.
			use := func(r *rapid.T, c *chain, i int) (grants.Principal, bool) {
				p, err := h.Authenticate(t.Context(), c.tokens[i].Token.Reveal(), models.GrantSession)
				keys, keysErr := h.Keys(t.Context(), c.tokens[i])
				if keys != nil {
					keys.Clear()
				}
				want := c.counts(i, h.now())
				if (err == nil) != want || (keysErr == nil) != want {
					r.Fatalf("token %d: %v, for its keys %v; want it good: %v", i, err, keysErr, want)
				}
				if !want {
					if fault.CodeOf(err) != fault.InvalidKey || fault.CodeOf(keysErr) != fault.InvalidKey {
						r.Fatalf("token %d: %v, for its keys %v; want INVALID_KEY", i, err, keysErr)
					}
					return p, false
				}
				if p.RotateDue != c.due(i, h.now()) || p.Slot != uint32(i) || p.VaultID != c.tokens[0].VaultID {
					r.Fatalf("token %d is %+v; want rotation due: %v", i, p, c.due(i, h.now()))
				}
				return p, true
			}
			actions := map[string]func(*rapid.T){
				"begin": func(*rapid.T) {
					if len(chains) < 4 {
						begin()
					}
				},
				"use": func(r *rapid.T) { c, i := pick(r); use(r, c, i) },
				"wait": func(r *rapid.T) {
					h.pass(time.Duration(rapid.IntRange(1, 24*12).Draw(r, "hours")) * time.Hour)
				},
				"rotate": func(r *rapid.T) {
					c, i := pick(r)
					p, good := use(r, c, i)
					if !good {
						return
					}
					token, ends, err := h.Rotate(t.Context(), p)
					switch {
					case err != nil:
						r.Fatalf("rotating token %d: %v", i, err)
					case !c.due(i, h.now()):
						if token.Reveal() != p.Token.Reveal() {
							r.Fatalf("token %d is not due, and was followed", i)
						}
					case i+1 < len(c.tokens):
						if token.Reveal() != c.tokens[i+1].Token.Reveal() {
							r.Fatalf("token %d has two successors", i)
						}
					default:
						next := h.who(token)
						if !next.ExpiresAt.Equal(ends) || ends.After(c.ends) || !ends.After(p.ExpiresAt) && ends.Before(c.ends) {
							r.Fatalf("token %d ends at %v and its successor at %v (%v), the session at %v", i, p.ExpiresAt, ends, next.ExpiresAt, c.ends)
						}
						c.tokens = append(c.tokens, next)
					}
				},
				"revoke": func(r *rapid.T) {
					by, i := pick(r)
					of, _ := pick(r)
					p, good := use(r, by, i)
					if !good {
						p = by.tokens[i]
					}
					err := h.Revoke(t.Context(), p, client, of.tokens[0].GrantID)
					want := fault.Code("")
					switch {
					case of.over || !h.now().Before(of.ends):
						want = fault.NotFound
					case !good:
						want = fault.InvalidKey
					}
					if fault.CodeOf(err) != want {
						r.Fatalf("revoking: %v, want %q", err, want)
					}
					of.over = of.over || err == nil
					if got := h.slots(of.tokens[0].GrantID); of.over && len(got) != 0 {
						r.Fatalf("a revoked session has slots %v", got)
					}
				},
			}
			names := slices.Sorted(maps.Keys(actions))
			for range rapid.IntRange(6, 20).Draw(r, "actions") { // fewer than Repeat's: SQLite is slow under the race detector
				actions[rapid.SampledFrom(names).Draw(r, "action")](r)
			}
		})
	})
}

func TestWhileSessionsRotateNoneSurvivesItsRevocation(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		const n = 8
		p := h.session()
		victims := make([]grants.Principal, n)
		for i := range victims {
			victims[i] = h.session()
		}
		h.pass(8 * day)
		p = h.who(p.Token)
		var over [n]atomic.Bool
		var wg sync.WaitGroup
		for i := range victims {
			victim := h.who(victims[i].Token)
			for range 3 {
				wg.Go(func() {
					for tries := 0; tries < 50; tries++ {
						before := over[i].Load()
						token, _, err := h.Rotate(t.Context(), victim)
						if err == nil {
							_, err = h.Authenticate(t.Context(), token.Reveal(), models.GrantSession)
						}
						if before && err == nil {
							t.Errorf("session %d rotated, and its token was good, after its end", i)
						}
						if err != nil && fault.CodeOf(err) != fault.InvalidKey {
							t.Errorf("session %d: %v", i, err)
						}
						if err != nil {
							return
						}
					}
				})
			}
			wg.Go(func() {
				if err := h.Revoke(t.Context(), p, client, victim.GrantID); err != nil {
					t.Errorf("revoking session %d: %v", i, err)
				}
				over[i].Store(true)
			})
		}
		wg.Wait()
		for i, v := range victims {
			h.bad(fmt.Sprintf("session %d afterwards", i), v)
			if got := h.slots(v.GrantID); len(got) != 0 {
				t.Errorf("session %d has slots %v after its end", i, got)
			}
		}
		if got := h.listed(p); !slices.Equal(got, []uuid.UUID{p.GrantID}) {
			t.Errorf("listed %v, want %s alone", got, p.GrantID)
		}
	})
}
