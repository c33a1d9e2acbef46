package vaults

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// callsAtOnce is how many calls to its webhook an account may have under way;
// others wait. Each may hold a page of some megabytes for as long as the webhook
// takes.
const callsAtOnce = 4

// turns gives accounts their turns. The zero value is ready.
type turns struct {
	mu sync.Mutex
	of map[uuid.UUID]*turn
}

type turn struct {
	places  chan struct{} // holds a value for each call under way
	holders int           // that have or want a place; without any, the turn is forgotten
}

// take waits for a place, or for ctx to end: UNAVAILABLE. The caller gives it back.
func (t *turns) take(ctx context.Context, account uuid.UUID) (back func(), err error) {
	t.mu.Lock()
	if t.of == nil {
		t.of = map[uuid.UUID]*turn{}
	}
	mine := t.of[account]
	if mine == nil {
		mine = &turn{places: make(chan struct{}, callsAtOnce)}
		t.of[account] = mine
	}
	mine.holders++
	t.mu.Unlock()

	select {
	case mine.places <- struct{}{}:
		return func() { <-mine.places; t.leave(account, mine) }, nil
	case <-ctx.Done():
		t.leave(account, mine)
		return nil, fault.Wrap(ctx.Err(), fault.Unavailable, "Too many calls to your webhook are under way. Try again in a minute.")
	}
}

func (t *turns) leave(account uuid.UUID, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.holders--; mine.holders == 0 {
		delete(t.of, account)
	}
}
