package audit_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A ledger is storage in memory. While it is held, no append ends.
type ledger struct {
	mu          sync.Mutex
	batches     [][]models.AuditEvent
	checkpoints []models.AuditCheckpoint
	held        chan struct{}                        // closed: free
	refuse      func(rows []models.AuditEvent) error // of an append; rows of a refused one may be kept all the same
	keepRefused bool
	unsigned    error // answer of PutCheckpoint
}

func newLedger() *ledger {
	free := make(chan struct{})
	close(free)
	return &ledger{held: free}
}

// hold stops appends from ending until the function that it returns is called.
func (l *ledger) hold() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := make(chan struct{})
	l.held = held
	return func() { close(held) }
}

func (l *ledger) AppendAudit(ctx context.Context, rows []models.AuditEvent) error {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	select {
	case <-held:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.refuse != nil {
		err = l.refuse(rows)
	}
	if err == nil || l.keepRefused {
		l.batches = append(l.batches, slices.Clone(rows))
	}
	return err
}

func (l *ledger) PutCheckpoint(_ context.Context, c *models.AuditCheckpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unsigned == nil {
		own := *c
		own.Hash = slices.Clone(c.Hash)
		l.checkpoints = append(l.checkpoints, own)
	}
	return l.unsigned
}

func (l *ledger) set(change func(l *ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *ledger) rows() []models.AuditEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.batches...)
}

func (l *ledger) signed() []models.AuditCheckpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.checkpoints)
}

func (l *ledger) sizes() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sizes []int
	for _, b := range l.batches {
		sizes = append(sizes, len(b))
	}
	return sizes
}

func (l *ledger) record() record { return record{rows: l.rows(), checkpoints: l.signed()} }

// A record is what Verify reads, in memory, to be tampered with.
type record struct {
	rows        []models.AuditEvent
	checkpoints []models.AuditCheckpoint
	refused     []models.AuditBlock
}

func (r record) AuditStreams(context.Context) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	add := func(id uuid.UUID) {
		if id != uuid.Nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, row := range r.rows {
		add(row.StreamID)
	}
	for _, c := range r.checkpoints {
		add(c.StreamID)
	}
	return ids, nil
}

func (r record) StreamEvents(_ context.Context, id uuid.UUID, after int64, limit int) ([]models.AuditEvent, error) {
	var found []models.AuditEvent
	for _, row := range r.rows {
		if row.StreamID == id && row.Seq > after {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, func(a, b models.AuditEvent) int { return int(a.Seq - b.Seq) })
	return found[:min(limit, len(found))], nil
}

func (r record) Checkpoints(_ context.Context, id uuid.UUID) ([]models.AuditCheckpoint, error) {
	var found []models.AuditCheckpoint
	for _, c := range r.checkpoints {
		if c.StreamID == id {
			found = append(found, c)
		}
	}
	return found, nil
}

func (r record) RefusedBlocks(_ context.Context, id uuid.UUID) ([]models.AuditBlock, error) {
	return slices.DeleteFunc(slices.Clone(r.refused), func(b models.AuditBlock) bool { return b.StreamID != id }), nil
}

// ring is a new keyring.
func ring(t testing.TB) *custody.Keyring {
	t.Helper()
	text, err := custody.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := custody.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A run is a record that is being written to w.
type run struct {
	*audit.Service
	keys *custody.Keyring
	stop func() error // ends Run and returns what it did
}

// start runs a record on w until the test ends or stop is called.
func start(t testing.TB, w audit.Writer, r audit.Reader, keys *custody.Keyring) run {
	t.Helper()
	s := audit.New(audit.Deps{Writer: w, Reader: r, Signer: keys, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return run{s, keys, stop}
}

// later records e in a goroutine and returns where its answer will be.
func (r run) later(ctx context.Context, e audit.Event) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- r.Record(ctx, e) }()
	return answer
}

func mustRecord(t testing.TB, r run, events ...audit.Event) {
	t.Helper()
	for _, e := range events {
		if err := r.Record(t.Context(), e); err != nil {
			t.Fatalf("Record: %v", err)
		}
	}
}

func unavailable(t *testing.T, err error) {
	t.Helper()
	if fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
}

func mustBeUnanswered(t *testing.T, answers ...<-chan error) {
	t.Helper()
	for _, a := range answers {
		select {
		case err := <-a:
			t.Fatalf("Record returned %v while its row was not durable", err)
		default:
		}
	}
}

// verify returns the reports of all streams.
func verify(t testing.TB, streams audit.Streams, keys audit.CheckpointVerifier) []audit.StreamReport {
	t.Helper()
	var reports []audit.StreamReport
	if err := audit.Verify(t.Context(), streams, keys, func(r audit.StreamReport) { reports = append(reports, r) }); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return reports
}

// mustHold verifies that every stream is whole, and returns the reports.
func mustHold(t testing.TB, streams audit.Streams, keys audit.CheckpointVerifier) []audit.StreamReport {
	t.Helper()
	reports := verify(t, streams, keys)
	for _, r := range reports {
		if len(r.Problems) > 0 {
			t.Fatalf("stream %s of %d rows: %q", r.StreamID, r.Rows, r.Problems)
		}
	}
	return reports
}

var errAway = errors.New("the database is away")

func event(detail string) audit.Event {
	return audit.Event{AccountID: account, Type: audit.Release, Source: audit.Agent, Service: "github", Detail: detail}
}

var account = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")
