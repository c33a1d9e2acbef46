// Package store keeps the models in SQLite or PostgreSQL. It is the only place
// that knows gorm, the migration tool and the database drivers.
//
// It decides nothing: no permission, no expiry, no cryptography. It speaks
// through models.ErrNotFound and models.ErrConflict (and models.ErrInvalid for
// text that no database keeps); any other error is the database's own, wrapped.
//
// Every method takes a context first. When it carries a transaction (InTx) the
// method runs in it, otherwise in one of its own. Times that are written are
// cut by models.Stamp, in the caller's value too; times that are read are UTC.
// A Store is safe for concurrent use; the context of a transaction belongs to
// one goroutine at a time.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tvzero/tokenvault/models"
)

// The dialects, as Store.Dialect names them.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Options for Open.
type Options struct {
	// URL is "sqlite:PATH" or "postgres://…". Required. A database in memory is
	// refused: it would lose what was answered as stored.
	URL string
	// Logger receives what an operator should know; nil discards it.
	Logger *slog.Logger
	// Now is the clock of timestamps; nil is time.Now.
	Now func() time.Time
	// MaxConns bounds the connections for requests; 0 is 16. PostgreSQL sees two
	// more of each replica: one writes the audit log, one listens.
	MaxConns int
	// RefreshDue says when a token that a webhook reported, and that can be refreshed,
	// is to be: SyncTokens schedules it. IssuedAt is nil when nobody knows it. nil
	// schedules nothing.
	RefreshDue func(t models.Token) time.Time
	// LoadTime bounds one query that answers look-ups of many, with the wait for a
	// connection; 0 is 5 s. PostgreSQL only.
	LoadTime time.Duration
	// HeartbeatWait is how long the connection that listens may take to answer when it is
	// tried; 0 is 2 s. PostgreSQL only.
	HeartbeatWait time.Duration
}

// A Store is an open database.
type Store struct {
	dialect string
	log     *slog.Logger
	now     func() time.Time

	// On SQLite write has a single connection, so that writers queue in Go
	// instead of failing on a busy database, and read can only read. On
	// PostgreSQL both are the same.
	read, write *gorm.DB

	path      string          // SQLite: the file
	config    *pgx.ConnConfig // PostgreSQL: for connections beside the pool
	audit     auditAppender
	channel   string                            // of changes, PostgreSQL only
	slots     *loader[slotKey, grantWithKey]    // PostgreSQL only
	agents    *loader[agentKey, agentAndGrants] // PostgreSQL only
	releases  *loader[releaseKey, releaseRow]   // PostgreSQL only
	canTell   bool                              // whether the database has NOTIFY
	loadTime  time.Duration                     // of one query of these
	heartWait time.Duration                     // for an answer to a heartbeat
	syncBatch int                               // how many tokens one transaction of SyncTokens compares
	due       func(t models.Token) time.Time    // of a refresh; nil: nothing is scheduled
	watchers  struct {
		sync.RWMutex
		all []func(uuid.UUID)
	}
}

// auditAppender writes one batch of audit events durably, whole or not at all.
type auditAppender interface {
	append(ctx context.Context, events []models.AuditEvent) error
	close() error
}

// Open connects to the database and checks that it answers. It does not
// migrate. The URL's password never shows in an error.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{
		log: o.Logger, now: o.Now, syncBatch: syncBatch, due: o.RefreshDue,
		loadTime: cmp.Or(o.LoadTime, loadTime), heartWait: cmp.Or(o.HeartbeatWait, heartbeatWait),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 16
	}
	var err error
	switch scheme, rest, _ := strings.Cut(o.URL, ":"); scheme {
	case "sqlite":
		err = s.openSQLite(ctx, rest, o.MaxConns)
	case "postgres", "postgresql":
		err = s.openPostgres(ctx, o.URL, o.MaxConns)
	default:
		err = errors.New("the database URL must be sqlite:PATH or postgres://…")
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// Close ends all connections. Calls that are under way fail.
func (s *Store) Close() error {
	var errs []error
	if s.audit != nil {
		errs = append(errs, s.audit.close())
	}
	for _, db := range []*gorm.DB{s.read, s.write} {
		if db == nil {
			continue
		}
		pool, err := db.DB()
		if err == nil {
			err = pool.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Dialect is "sqlite" or "postgres".
func (s *Store) Dialect() string { return s.dialect }

// gormConfig keeps gorm to what the store needs: every statement lists its
// columns, so that a prepared one survives a migration that adds some; gorm's
// own log, which prints values, stays silent.
func (s *Store) gormConfig() *gorm.Config {
	return &gorm.Config{
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		QueryFields:            true,
		Logger:                 logger.Discard,
		NowFunc:                func() time.Time { return models.Stamp(s.now()) },
	}
}
