package grants_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/cache"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

const lateUse = "sign_in ok an old session token was used after its successor (token 1 of the session)"

func TestAnOldTokenIsRecordedOnceItsSuccessorWasSeenAndOnceAnHour(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		h.pass(8 * day)
		p = h.who(p.Token)
		token, _, err := h.Rotate(t.Context(), p)
		h.ok(err)
		seen := func() *time.Time {
			row, err := s.Successor(t.Context(), h.account, p.GrantID, 0)
			h.ok(err)
			return row.SeenAt
		}
		h.who(p.Token) // the answer with the successor may never have arrived
		h.recorded()
		if at := seen(); at != nil {
			t.Errorf("the successor was seen at %v, before anybody used it", at)
		}
		h.who(token)
		first := h.now()
		if at := seen(); at == nil || !at.Equal(first) {
			t.Errorf("the successor was seen at %v, want %v", at, first)
		}
		for range 3 {
			if late := h.who(p.Token); late.Slot != 0 {
				t.Errorf("the old token is %+v", late)
			}
		}
		h.recorded(lateUse)
		h.pass(time.Hour - time.Second)
		h.who(p.Token)
		h.recorded(lateUse)
		h.pass(cache.Life) // until it is looked at again
		h.who(p.Token)
		h.who(token)
		h.recorded(lateUse, lateUse)
		if at := seen(); !at.Equal(first) {
			t.Errorf("a later use moved the successor's first one to %v", at)
		}
	})
}

func TestATokenThatCannotBeFollowedUpOnIsNotLetIn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := newHouse(t, s)
		p := h.session()
		h.pass(8 * day)
		p = h.who(p.Token)
		h.who(h.rotated(p).Token)
		broken := &brokenRecord{Recorder: h.audit, err: errors.New("the disk is full")}
		frail := h.frail(broken, s)
		if _, err := frail.Authenticate(t.Context(), p.Token.Reveal(), models.GrantSession); !errors.Is(err, broken.err) {
			t.Errorf("with a record that fails: %v, want its error", err)
		}
		broken.err = nil // and it is tried again, not forgotten for an hour
		if _, err := frail.Authenticate(t.Context(), p.Token.Reveal(), models.GrantSession); err != nil {
			t.Errorf("with the record back: %v", err)
		}
		h.recorded(lateUse)

		away := h.frail(h.audit, awaySlots{s})
		for _, token := range []grants.Token{p.Token, h.rotated(p).Token} {
			if _, err := away.Authenticate(t.Context(), token.Reveal(), models.GrantSession); fault.CodeOf(err) != fault.Unavailable || !errors.Is(err, errAway) {
				t.Errorf("when successors cannot be read: %v, want UNAVAILABLE with its cause", err)
			}
		}
	})
}
