package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// channelPrefix and the schema's name make the channel on which the replicas that
// share a schema tell of changes. Channels belong to a database, and another
// installation in it is none of their business.
const channelPrefix = "tokenvault_changes_"

// transaction is what travels in the context of InTx.
type transaction struct {
	db      *gorm.DB
	now     time.Time
	writes  int   // methods that wrote or may have
	spoiled error // a method failed half-way: nothing may be committed
	touched map[uuid.UUID]struct{}
}

// A context can carry a transaction of each of several stores.
type txKey struct{ store *Store }

func (s *Store) txOf(ctx context.Context) *transaction {
	tx, _ := ctx.Value(txKey{s}).(*transaction)
	return tx
}

// Now is the transaction's one timestamp, or the clock's outside of one.
func (s *Store) Now(ctx context.Context) time.Time {
	if tx := s.txOf(ctx); tx != nil {
		return tx.now
	}
	return models.Stamp(s.now())
}

// InTx runs fn in a transaction that travels in its context, and commits when fn
// returns nil; any error or panic of fn undoes everything. A nested InTx joins.
// A method that failed without writing (models.ErrNotFound, most
// models.ErrConflict) leaves the transaction usable; after one that failed
// half-way, the commit is refused, whatever fn returns.
//
// On SQLite there is one writer: fn must not wait for another goroutine that
// writes (recording an audit event is such a wait), nor write with a context
// from outside.
//
// An error from the commit itself means that the result is unknown.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	if tx := s.txOf(ctx); tx != nil {
		return s.join(ctx, tx, fn)
	}
	db := s.write.WithContext(ctx).Begin()
	if db.Error != nil {
		return failed(db.Error, "begin")
	}
	tx := &transaction{db: db, now: models.Stamp(s.now())}
	tx.db = db.Session(&gorm.Session{NowFunc: func() time.Time { return tx.now }})
	ended := false
	defer func() {
		if !ended {
			db.Rollback() // its own failure leaves nothing behind either
		}
	}()
	if err := fn(context.WithValue(ctx, txKey{s}, tx)); err != nil {
		return err
	}
	if tx.spoiled != nil {
		return fmt.Errorf("store: a step of the transaction failed: %w", tx.spoiled)
	}
	if err := s.tell(ctx, tx); err != nil {
		return err
	}
	ended = true
	err := db.Commit().Error
	s.announce(tx)
	return failed(err, "commit")
}

func (s *Store) join(ctx context.Context, tx *transaction, fn func(ctx context.Context) error) error {
	before := tx.writes
	err := fn(ctx)
	if err != nil && tx.writes > before && tx.spoiled == nil {
		tx.spoiled = err
	}
	return err
}

// change runs a writing method in the transaction at hand or in one of its own.
// It marks the accounts given as changed.
func (s *Store) change(ctx context.Context, fn func(db *gorm.DB) error, accounts ...uuid.UUID) error {
	tx := s.txOf(ctx)
	if tx == nil {
		return s.InTx(ctx, func(ctx context.Context) error { return s.change(ctx, fn, accounts...) })
	}
	if err := fn(tx.db.WithContext(ctx)); err != nil {
		if clean := (*refusal)(nil); !errors.As(err, &clean) && tx.spoiled == nil {
			tx.spoiled = err
		}
		return err
	}
	tx.writes++
	for _, id := range accounts {
		tx.touch(id)
	}
	return nil
}

// record is change for what no cache holds: nobody is told.
func (s *Store) record(ctx context.Context, fn func(db *gorm.DB) error) error {
	return s.change(ctx, fn)
}

// view is the connection for reading: the transaction's, or the pool's.
func (s *Store) view(ctx context.Context) *gorm.DB {
	if tx := s.txOf(ctx); tx != nil {
		return tx.db.WithContext(ctx)
	}
	return s.read.WithContext(ctx)
}

func (tx *transaction) touch(account uuid.UUID) {
	if tx.touched == nil {
		tx.touched = make(map[uuid.UUID]struct{}, 1)
	}
	tx.touched[account] = struct{}{}
}

// tell queues a notification for each touched account; the database sends them
// with the commit, in one round trip.
func (s *Store) tell(ctx context.Context, tx *transaction) error {
	if !s.canTell || len(tx.touched) == 0 {
		return nil
	}
	ids := make([]string, 0, len(tx.touched))
	for id := range tx.touched {
		ids = append(ids, id.String())
	}
	err := tx.db.WithContext(ctx).Exec("SELECT pg_notify(?, id) FROM unnest(?::text[]) AS t(id)",
		s.channel, "{"+strings.Join(ids, ",")+"}").Error
	return failed(err, "notify")
}

// OnChange registers fn to be called with the id of every account whose rows
// were touched by a transaction of this Store (accounts, vaults, bindings,
// grants, their keys and successors, agents, credential grants, tokens,
// credentials, vaults' and credentials' keys, escrows), after the commit,
// also when its result is unknown, and before the call that committed returns.
// Last-used times, health checks, audit events and what KeepCredentialKey stores do
// not count. fn must be
// quick and must not use the Store.
func (s *Store) OnChange(fn func(accountID uuid.UUID)) {
	s.watchers.Lock()
	defer s.watchers.Unlock()
	s.watchers.all = append(s.watchers.all, fn)
}

func (s *Store) announce(tx *transaction) {
	s.watchers.RLock()
	defer s.watchers.RUnlock()
	for id := range tx.touched {
		for _, fn := range s.watchers.all {
			fn(id)
		}
	}
}
