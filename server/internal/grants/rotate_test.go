package grants_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

const day = 24 * time.Hour

// rotated is who the successor of p's token speaks for.
func (h *house) rotated(p grants.Principal) grants.Principal {
	h.t.Helper()
	token, ends, err := h.Rotate(h.t.Context(), p)
	h.ok(err)
	next := h.who(token)
	if !next.ExpiresAt.Equal(ends) {
		h.t.Errorf("the successor ends at %v, and Rotate said %v", next.ExpiresAt, ends)
	}
	return next
}

func TestASessionSlidesByRotationUpToItsOwnEnd(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		vault := p.VaultID
		end := *h.grant(p.GrantID).ExpiresAt
		if !end.Equal(h.began.Add(180*day)) || !p.ExpiresAt.Equal(h.began.Add(30*day)) {
			t.Fatalf("the session ends at %v and its token at %v, want 180 and 30 days after %v", end, p.ExpiresAt, h.began)
		}
		h.pass(30*day/4 - time.Nanosecond)
		if p = h.who(p.Token); p.RotateDue {
			t.Fatal("rotation is due before a quarter of the token's life")
		}
		if same := h.rotated(p); same.Slot != 0 || same.Token.Reveal() != p.Token.Reveal() {
			t.Fatalf("a token that is not due was followed by %+v", same)
		}
		h.pass(time.Nanosecond)
		last, rotations := p, 0
		for {
			if p = h.who(p.Token); !p.RotateDue {
				break
			}
			next := h.rotated(p)
			if want := min(30*day, end.Sub(h.now())); !next.ExpiresAt.Equal(h.now().Add(want)) {
				t.Fatalf("token %d ends at %v, want %v after %v", next.Slot, next.ExpiresAt, want, h.now())
			}
			if next.GrantID != p.GrantID || next.Slot != p.Slot+1 || next.VaultID != vault {
				t.Fatalf("after %+v came %+v, want the next slot of the same grant and vault", p, next)
			}
			h.opens(next, vault)
			h.opens(p, vault) // the old token works until its own end
			last, p, rotations = p, next, rotations+1
			h.pass(30 * day / 4)
		}
		if left := end.Sub(h.now()); left > 30*day || left <= 0 {
			t.Errorf("after %d rotations no more is due, %v before the session's end; want less than 30 days", rotations, left)
		}
		if rotations < 15 || !p.ExpiresAt.Equal(end) {
			t.Errorf("after %d rotations the last token ends at %v, want the session's end, %v", rotations, p.ExpiresAt, end)
		}
		h.pass(last.ExpiresAt.Sub(h.now()))
		h.bad("an old token at its own end", last)
		h.pass(end.Sub(h.now()) - time.Nanosecond)
		h.who(p.Token)
		h.pass(time.Nanosecond)
		h.bad("the last token at the session's end", p)
	})
}

func TestParallelRotationsMakeOneSuccessor(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		h.pass(8 * day)
		p = h.who(p.Token)
		replicas := []*grants.Service{h.Service, h.replica(h.gate)}
		const n = 100
		var wg sync.WaitGroup
		tokens := make([]string, n)
		start := make(chan struct{})
		for i := range n {
			wg.Go(func() {
				<-start
				token, ends, err := replicas[i%2].Rotate(t.Context(), p)
				if err != nil || !ends.Equal(h.now().Add(30*day)) {
					t.Errorf("rotation %d: a token until %v, %v", i, ends, err)
				}
				tokens[i] = token.Reveal()
			})
		}
		close(start)
		wg.Wait()
		if distinct := slices.Compact(slices.Sorted(slices.Values(tokens))); len(distinct) != 1 || distinct[0] == p.Token.Reveal() {
			t.Errorf("%d goroutines got %d tokens, want one, and a new one", n, len(distinct))
		}
		if got := h.slots(p.GrantID); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("the session has slots %v, want 0 and 1", got)
		}
		if want := fmt.Sprintf("copied %s/0 to %s/1", p.GrantID, p.GrantID); !slices.Equal(h.vaults.calls()[1:], []string{want}) {
			t.Errorf("vaults were told other than once that %s", want)
		}
		next := h.rotated(p) // later, too
		if next.Token.Reveal() != tokens[0] {
			t.Error("a later rotation of the same token made another successor")
		}
		h.opens(next, p.VaultID)
	})
}

func TestARotationWhoseVaultFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		h.pass(8 * day)
		p = h.who(p.Token)
		broken := errors.New("broken")
		h.vaults.failing("copied", broken)
		before := h.state()
		if token, _, err := h.Rotate(t.Context(), p); !errors.Is(err, broken) || token.Reveal() != "" {
			t.Errorf("got a token of %d characters and %v, want none and the vaults' error", len(token.Reveal()), err)
		}
		if _, err := s.Successor(t.Context(), h.account, p.GrantID, 0); !errors.Is(err, models.ErrNotFound) || h.state() != before {
			t.Errorf("a successor is there (%v), or the grant has changed", err)
		}
		h.vaults.failing("copied", nil)
		h.opens(h.rotated(p), p.VaultID)
	})
}

func TestNothingButADueSessionRotates(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		session := h.session()
		agent, key := h.agentKey(), h.key(session, grants.TokensRead)
		short, err := h.Issue(t.Context(), grants.IssueInput{AccountID: h.account, Kind: models.GrantSession, Life: 20 * day, TokenLife: 30 * day})
		h.ok(err)
		if !short.ExpiresAt.Equal(*short.Grant.ExpiresAt) {
			t.Errorf("a token that ends at %v outlives its session, %v", short.ExpiresAt, short.Grant.ExpiresAt)
		}
		h.pass(19 * day)
		for what, p := range map[string]grants.Principal{"an agent": agent, "an API key": key, "a token as long as its session": h.who(short.Token)} {
			if p = h.who(p.Token); p.RotateDue {
				t.Errorf("%s: rotation is due", what)
			}
			if got := h.rotated(p); got.Token.Reveal() != p.Token.Reveal() {
				t.Errorf("%s was followed by another token", what)
			}
		}
	})
}

func TestAnEndedSessionDoesNotRotate(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		h.pass(8 * day)
		p = h.who(p.Token)
		next := h.rotated(p)
		h.ok(h.End(t.Context(), h.account, p.GrantID))
		for _, token := range []grants.Principal{p, next} {
			h.bad("a token of an ended session", token)
		}
		h.refuses("rotating it", fault.InvalidKey, "", func() error { _, _, err := h.Rotate(t.Context(), p); return err })
		if got := h.slots(p.GrantID); len(got) != 0 {
			t.Errorf("an ended session has slots %v", got)
		}
	})
}

func TestAnAlteredSuccessorIsNoToken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		a, b := h.session(), h.session()
		h.pass(8 * day)
		a, b = h.who(a.Token), h.who(b.Token)
		h.rotated(b)
		row, err := s.Successor(t.Context(), h.account, b.GrantID, 0)
		h.ok(err)
		// A writer of the database hands out another session's successor.
		row.GrantID = a.GrantID
		_, _, err = s.PutSuccessor(t.Context(), &row, &models.GrantKey{
			AccountID: h.account, GrantID: a.GrantID, Slot: 1, WrappedPrivateKey: make([]byte, 40), IssuedAt: h.now(), MAC: make([]byte, 32),
		})
		h.ok(err)
		if token, _, err := h.Rotate(t.Context(), a); err == nil || token.Reveal() != "" {
			t.Errorf("got a token of %d characters, %v; want none and an error", len(token.Reveal()), err)
		}
		h.who(a.Token)
	})
}
