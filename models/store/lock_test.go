package store_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestALockedAgentIsChangedByOneAtATime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newAgent(t, s, newAccount(t, s).ID)
		if _, err := s.LockAgent(t.Context(), a.AccountID, a.ID); err == nil {
			t.Fatal("an agent was locked outside a transaction")
		}
		var wg sync.WaitGroup
		const writers = 8
		for range writers {
			wg.Go(func() {
				err := s.InTx(t.Context(), func(ctx context.Context) error {
					a, err := s.LockAgent(ctx, a.AccountID, a.ID)
					if err != nil {
						return err
					}
					a.Description += "x" // lost, if another's write came between
					return s.UpdateAgent(ctx, &a)
				})
				if err != nil {
					t.Errorf("change: %v", err)
				}
			})
		}
		wg.Wait()
		got, err := s.Agent(t.Context(), a.AccountID, a.ID)
		ok(t, err)
		if n := len(got.Description) - len(a.Description); n != writers {
			t.Errorf("%d of %d changes are there", n, writers)
		}
		for what, id := range map[string]models.Agent{
			"another id": {AccountID: a.AccountID, ID: models.NewID()}, "another account": {AccountID: models.NewID(), ID: a.ID},
		} {
			err := s.InTx(t.Context(), func(ctx context.Context) error {
				_, err := s.LockAgent(ctx, id.AccountID, id.ID)
				return err
			})
			if !errors.Is(err, models.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", what, err)
			}
		}
	})
}

// SQLite has one writer at a time, which meets nobody.
func TestADeadlockIsTold(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, storetest.URL(t, store.Postgres))
	account := newAccount(t, s).ID
	ids := [2]uuid.UUID{newAgent(t, s, account).ID, newAgent(t, s, account).ID}
	var first, all sync.WaitGroup
	first.Add(len(ids))
	var told atomic.Int32
	for i := range ids {
		all.Go(func() {
			err := s.InTx(t.Context(), func(ctx context.Context) error {
				_, err := s.LockAgent(ctx, account, ids[i])
				first.Done()
				if err != nil {
					return err
				}
				first.Wait()
				_, err = s.LockAgent(ctx, account, ids[1-i])
				return err
			})
			if errors.Is(err, models.ErrDeadlock) {
				told.Add(1)
			} else if err != nil {
				t.Errorf("neither a success nor a deadlock: %v", err)
			}
		})
	}
	all.Wait()
	if n := told.Load(); n != 1 {
		t.Errorf("%d were told of a deadlock, want one", n)
	}
}

func TestAStreamMayEndWhereItWasSignedBefore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		before, end := filled[models.AuditCheckpoint](t), filled[models.AuditCheckpoint](t)
		before.Final, end.Final = false, true
		end.StreamID, end.Seq = before.StreamID, before.Seq
		ok(t, s.PutCheckpoint(t.Context(), &end))
		ok(t, s.PutCheckpoint(t.Context(), &before))
		wantErr(t, s.PutCheckpoint(t.Context(), &end), models.ErrConflict)
		got, err := s.Checkpoints(t.Context(), before.StreamID)
		ok(t, err)
		same(t, "checkpoints", got, []models.AuditCheckpoint{before, end})
	})
}
