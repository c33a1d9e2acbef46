package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// maxIdentifier is the longest name that PostgreSQL takes, in bytes.
const maxIdentifier = 63

// connectTimeout bounds one attempt to connect, unless the URL says otherwise.
const connectTimeout = 5 * time.Second

func (s *Store) openPostgres(ctx context.Context, url string, maxConns int) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err // pgx leaves the password out
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "tokenvault"
	}
	s.dialect, s.config = Postgres, config
	pool := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(prepareConnection))
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(maxConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	if s.write, err = gorm.Open(postgres.New(postgres.Config{Conn: pool}), s.gormConfig()); err != nil {
		return err
	}
	s.read = s.write
	if err := pool.PingContext(ctx); err != nil {
		return fmt.Errorf("the database does not answer: %w", err)
	}
	var schema string
	if err := pool.QueryRowContext(ctx, "SELECT coalesce(current_schema(), '')").Scan(&schema); err != nil {
		return fmt.Errorf("the database's schema cannot be told: %w", err)
	}
	s.channel = channelPrefix + schema
	if len(s.channel) > maxIdentifier { // PostgreSQL would cut one of the two spellings and refuse the other
		sum := sha256.Sum256([]byte(schema))
		s.channel = channelPrefix + hex.EncodeToString(sum[:16])
	}
	// Engines that speak PostgreSQL's protocol may lack NOTIFY. Replicas then
	// never get told of changes, and do not cache.
	_, err = pool.ExecContext(ctx, "SELECT pg_notify($1, '')", s.channel)
	if s.canTell = err == nil; !s.canTell {
		s.log.WarnContext(ctx, "the database has no NOTIFY; replicas will not cache", "error", err)
	}
	s.slots, s.agents = newLoader(loadTurns, s.loadTime, s.loadSlots), newLoader(loadTurns, s.loadTime, s.loadAgents)
	s.releases = newLoader(loadTurns, s.loadTime, s.loadReleases)
	s.audit = &postgresAudit{config: config, turn: make(chan struct{}, 1)}
	return nil
}

// prepareConnection makes times UTC and a commit durable: a server that is set
// to answer before its log is on disk would lose answered revocations and
// audit events. Stronger settings stay as they are. Statements are planned once a
// connection: all of ours find rows by their keys, and planning the look-ups of
// releases anew each time cost more than running them.
func prepareConnection(ctx context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	_, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false)"+
		" WHERE current_setting('synchronous_commit') = 'off';"+
		"SELECT set_config('plan_cache_mode', 'force_generic_plan', false)"+
		" WHERE current_setting('plan_cache_mode', true) = 'auto'", pgx.QueryExecModeSimpleProtocol)
	return err
}
