package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ListenFuncs are what Listen reports to. All are required, are called one at a
// time, and must be quick: while one runs nothing else is heard.
type ListenFuncs struct {
	// Up: from now on every change of any replica is reported. What changed
	// before is unknown.
	Up func()
	// Down: changes are no longer reported, for this reason. It may be called
	// more than once before the next Up.
	Down func(error)
	// Changed: rows of this account were touched. Accounts that no longer exist
	// may show.
	Changed func(accountID uuid.UUID)
}

const (
	heartbeat     = 2 * time.Second // silence after which the connection is tried
	heartbeatWait = 2 * time.Second // how long an answer to that may take, unless Options say otherwise
	backoffFirst  = 100 * time.Millisecond
	backoffMost   = 5 * time.Second
)

// Listen reports changes until ctx ends, then calls Down a last time and returns
// nil. On PostgreSQL it holds a connection of its own, tries it when it has been
// silent (a half-open one is found within heartbeat and the wait for its answer), and
// reconnects with growing, jittered pauses. A SQLite database has one process,
// which hears of its own changes through OnChange: Listen calls Up and waits.
func (s *Store) Listen(ctx context.Context, on ListenFuncs) error {
	if s.dialect == SQLite {
		on.Up()
		<-ctx.Done()
		on.Down(ctx.Err())
		return nil
	}
	pause := backoffFirst
	for {
		heard, err := s.listenOnce(ctx, on)
		on.Down(err)
		if ctx.Err() != nil {
			return nil
		}
		if heard {
			pause = backoffFirst
		}
		s.log.WarnContext(ctx, "changes of other replicas are not heard; reconnecting", "error", err, "pause", pause)
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		pause = min(2*pause, backoffMost)
	}
}

// listenOnce holds one connection until it fails. up reports whether it ever
// listened.
func (s *Store) listenOnce(ctx context.Context, on ListenFuncs) (up bool, err error) {
	conn, err := pgx.ConnectConfig(ctx, s.config)
	if err != nil {
		return false, err
	}
	defer func() {
		// A dead connection cannot say goodbye.
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.heartWait)
		defer cancel()
		err = errors.Join(err, conn.Close(closeCtx))
	}()
	listenCtx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := conn.Exec(listenCtx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
		return false, err
	}
	on.Up()
	for {
		n, err := s.nextNotification(ctx, conn)
		if err != nil {
			return true, err
		}
		if n == nil {
			continue
		}
		if id, err := uuid.Parse(n.Payload); err == nil {
			on.Changed(id)
		}
	}
}

// nextNotification waits for one; nil means silence, with the connection alive.
func (s *Store) nextNotification(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	wait, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	n, err := conn.WaitForNotification(wait)
	if err == nil || ctx.Err() != nil || wait.Err() == nil || conn.IsClosed() {
		return n, err
	}
	ping, cancel := context.WithTimeout(ctx, s.heartWait)
	defer cancel()
	if err := conn.Ping(ping); err != nil {
		return nil, fmt.Errorf("the listening connection is dead: %w", err)
	}
	return nil, nil
}
