package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/glebarez/sqlite"
	"gorm.io/gorm"
)

// Pragmas of every SQLite connection: a commit is on disk when it returns, what
// is deleted is overwritten, references hold.
const sqlitePragmas = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
	"&_pragma=foreign_keys(1)&_pragma=secure_delete(1)&_pragma=trusted_schema(0)"

func (s *Store) openSQLite(ctx context.Context, path string, maxConns int) error {
	path = strings.TrimPrefix(path, "//")
	switch {
	case path == "":
		return errors.New("the database URL lacks the path of the SQLite file: sqlite:PATH")
	case strings.Contains(path, ":memory:"):
		return errors.New("a SQLite database in memory loses everything at exit; name a file: sqlite:PATH")
	}
	// SQLite would create the file with the process's umask; its log files
	// inherit the mode of this one.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("the SQLite file cannot be opened: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("the SQLite file cannot be opened: %w", err)
	}
	s.dialect, s.path = SQLite, path
	if s.write, err = s.sqlitePool(sqliteDSN(path)+"&_txlock=immediate", 1); err != nil {
		return err
	}
	writer, err := s.write.DB()
	if err != nil {
		return err
	}
	if err := writer.PingContext(ctx); err != nil {
		return fmt.Errorf("the SQLite file cannot be used: %w", err)
	}
	if s.read, err = s.sqlitePool(sqliteDSN(path)+"&_pragma=query_only(1)", maxConns); err != nil {
		return err
	}
	s.audit = &sqliteAudit{db: writer}
	return nil
}

func (s *Store) sqlitePool(dsn string, maxConns int) (*gorm.DB, error) {
	pool, err := sql.Open(sqlite.DriverName, dsn)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(min(maxConns, 4))
	pool.SetConnMaxIdleTime(5 * time.Minute)
	db, err := gorm.Open(sqlite.Dialector{Conn: pool}, s.gormConfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the SQLite file cannot be used: %w", err), pool.Close())
	}
	return db, nil
}

// sqliteDSN is the driver's name for a file, whatever characters its path has.
func sqliteDSN(path string) string {
	return "file:" + escapedPath(path) + "?" + sqlitePragmas
}

func escapedPath(path string) string { return (&url.URL{Path: path}).EscapedPath() }
