package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/glebarez/sqlite"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/tvzero/tokenvault/models/migrations"
)

// Migrate brings the schema to the newest version, one replica at a time: others
// wait, and find nothing left to do. It does nothing to a schema that is newer
// than this program.
func (s *Store) Migrate(ctx context.Context) error {
	provider, err := s.provider()
	if err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	if s.dialect == SQLite {
		unlock, err := s.lockSQLite(ctx)
		if err != nil {
			return fmt.Errorf("store: migrate: %w", err)
		}
		defer unlock()
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	return nil
}

// Ready reports whether the database answers and its schema is at least of the
// version that this program knows: while replicas are replaced one by one, the
// schema may be ahead of some.
func (s *Store) Ready(ctx context.Context) error {
	provider, err := s.provider()
	if err != nil {
		return fmt.Errorf("store: schema: %w", err)
	}
	sources := provider.ListSources()
	newest := sources[len(sources)-1].Version
	var version int64
	err = s.view(ctx).Raw("SELECT max(version_id) FROM goose_db_version WHERE is_applied").Row().Scan(&version)
	if err != nil {
		return fmt.Errorf("store: schema: the database does not answer or was never migrated: %w", err)
	}
	if version < newest {
		return fmt.Errorf("store: schema: version %d, this program needs %d; start it with migrations on", version, newest)
	}
	return nil
}

func (s *Store) provider() (*goose.Provider, error) {
	files, err := fs.Sub(migrations.Files(), s.dialect)
	if err != nil {
		return nil, err
	}
	pool, err := s.write.DB()
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{goose.WithSlog(s.log), goose.WithDisableGlobalRegistry(true)}
	if s.dialect == SQLite {
		return goose.NewProvider(goose.DialectSQLite3, pool, files, options...)
	}
	return goose.NewProvider(goose.DialectPostgres, pool, files, append(options, goose.WithSessionLocker(schemaLock{}))...)
}

// schemaLock is PostgreSQL's advisory lock, one for each schema. Waiting ends
// with the context; the lock ends with its connection at the latest.
type schemaLock struct{}

var _ lock.SessionLocker = schemaLock{}

const schemaLockID = "hashtextextended('tokenvault/migrate/' || current_schema(), 0)"

func (schemaLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock("+schemaLockID+")")
	return err
}

func (schemaLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock("+schemaLockID+")")
	return err
}

// lockSQLite keeps other processes, and other Stores of this one, from migrating
// the same file. The lock is a transaction on an empty database beside it: the
// system releases it when the process dies, and it works wherever SQLite does.
func (s *Store) lockSQLite(ctx context.Context) (unlock func(), err error) {
	beside, err := sql.Open(sqlite.DriverName, "file:"+escapedPath(s.path+"-migrate")+"?_txlock=exclusive&_pragma=busy_timeout(60000)")
	if err != nil {
		return nil, err
	}
	tx, err := beside.BeginTx(ctx, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the lock of the SQLite file: %w", err), beside.Close())
	}
	return func() {
		_ = tx.Rollback()
		_ = beside.Close()
	}, nil
}
