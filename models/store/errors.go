package store

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/tvzero/tokenvault/models"
)

// A refusal is an error of a method that has written nothing: the transaction
// around it may go on.
type refusal struct {
	what string
	is   error
}

func (r *refusal) Error() string { return "store: " + r.what + ": " + r.is.Error() }
func (r *refusal) Unwrap() error { return r.is }

func notFound(format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...), models.ErrNotFound}
}

func conflict(format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...), models.ErrConflict}
}

// failed says in our terms what the database said, and of what.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return &refusal{what, models.ErrNotFound}
	}
	switch classify(err) {
	case uniqueViolation:
		return fmt.Errorf("store: %s: %w", what, models.ErrConflict)
	case missingReference, impossibleText:
		return fmt.Errorf("store: %s: %w", what, models.ErrNotFound)
	case deadlock:
		return fmt.Errorf("store: %s: %w: %w", what, models.ErrDeadlock, err)
	}
	return fmt.Errorf("store: %s: %w", what, err)
}

type violation int

const (
	noViolation violation = iota
	uniqueViolation
	missingReference // a foreign key names a row that is not there
	impossibleText   // a name that cannot be stored, so nothing bears it
	deadlock         // the transaction was ended for another's sake
)

func classify(err error) violation {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "23505":
			return uniqueViolation
		case "23503":
			return missingReference
		case "22021", "22P05":
			return impossibleText
		case "40P01":
			return deadlock
		}
	}
	var lite interface{ Code() int }
	if errors.As(err, &lite) {
		switch lite.Code() {
		case 2067, 1555: // SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY
			return uniqueViolation
		case 787: // SQLITE_CONSTRAINT_FOREIGNKEY
			return missingReference
		}
	}
	return noViolation
}
