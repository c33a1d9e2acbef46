package audit

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Writer makes rows durable.
type Writer interface {
	// AppendAudit returns when all rows are durable, or an error; after an
	// error it is unknown whether they are.
	AppendAudit(ctx context.Context, rows []models.AuditEvent) error
	PutCheckpoint(ctx context.Context, c *models.AuditCheckpoint) error
}

// Reader reads the record.
type Reader interface {
	AuditEvents(ctx context.Context, accountID uuid.UUID, f models.AuditFilter) ([]models.AuditEvent, error)
	AuditSeries(ctx context.Context, accountID uuid.UUID, f models.AuditSeries) ([]models.AuditCounts, error)
	AuditHistory(ctx context.Context, accountID uuid.UUID, service string, types []string, each int) ([]models.AuditEvent, error)
}

// Signer signs checkpoints and checks them.
type Signer interface {
	SignCheckpoint(c *models.AuditCheckpoint)
}

// Deps is what the record needs. Now is the clock.
type Deps struct {
	Writer    Writer
	Reader    Reader
	Projector Projector
	Signer    Signer
	Now       func() time.Time
	Logger    *slog.Logger
}

const (
	maxPending       = 8192             // events that may wait for the flusher
	writeTimeout     = 10 * time.Second // of one batch
	checkpointEvery  = 10_000           // rows
	checkpointPeriod = time.Minute
	maxCut           = 64 // streams that wait for their last checkpoint
)

// Service is the record of one replica. Record may be called concurrently, and
// works only while Run does.
type Service struct {
	deps   Deps
	wake   chan struct{} // one token: there is something to write
	mu     sync.Mutex
	open   bool // Run is running
	next   *batch
	stream stream              // the flusher's own
	spare  []models.AuditEvent // the flusher's own: room for a batch
	cut    []stream            // the flusher's own: those that ended in a failure, not yet signed to their end

	rows, batches, failures atomic.Int64
}

// Stats counts what a replica's record did since it began.
type Stats struct {
	Rows, Batches, Failures int64
}

// Stats may be called at any time.
func (s *Service) Stats() Stats {
	return Stats{Rows: s.rows.Load(), Batches: s.batches.Load(), Failures: s.failures.Load()}
}

// A batch is the events that one write makes durable together.
type batch struct {
	rows []models.AuditEvent
	done chan struct{} // closed when err is final
	err  error
}

func newBatch(rows []models.AuditEvent) *batch { return &batch{rows: rows, done: make(chan struct{})} }

// New makes a record. Start it with Run.
func New(d Deps) *Service {
	return &Service{deps: d, wake: make(chan struct{}, 1), next: newBatch(nil), open: true}
}

var errUnavailable = errors.New("audit: the record is not being written")

// Record returns when the event is durable. An error, always UNAVAILABLE, means
// that what was to be recorded must not happen; the row may exist all the same.
// When ctx ends first, the event may still be written.
func (s *Service) Record(ctx context.Context, e Event) error {
	row := e.row(s.deps.Now())
	s.mu.Lock()
	if !s.open || len(s.next.rows) >= maxPending {
		s.mu.Unlock()
		return unavailable(errUnavailable)
	}
	b := s.next
	b.rows = append(b.rows, row)
	first := len(b.rows) == 1
	s.mu.Unlock()
	if first {
		s.wake <- struct{}{} // has room: only the first of a batch sends, and the flusher takes it before the batch
	}
	select {
	case <-b.done:
		if b.err != nil {
			return unavailable(b.err)
		}
		return nil
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

func unavailable(cause error) error {
	return fault.Wrap(cause, fault.Unavailable,
		"The audit record cannot be written at the moment, and nothing is done without it. Try again shortly.")
}

// row is the event as it is stored, but for what its stream adds.
func (e *Event) row(at time.Time) models.AuditEvent {
	outcome := string(e.Outcome)
	if outcome == "" {
		outcome = OutcomeOK
	}
	row := models.AuditEvent{
		AccountID: e.AccountID, At: models.Stamp(at),
		EventType: string(e.Type), Source: string(e.Source), Outcome: outcome,
		ServiceName: clip(e.Service, maxService), Client: clip(e.Client.UserAgent, maxUserAgent),
		Address: clip(e.Client.Address, maxAddress), RequestID: clip(e.Client.RequestID, maxRequestID),
		Detail: clip(e.Detail, maxDetail),
	}
	if e.AgentID != uuid.Nil {
		row.AgentID = &e.AgentID
	}
	if e.GrantID != uuid.Nil {
		row.GrantID = &e.GrantID
	}
	return row
}

// Run writes what is recorded until ctx ends, then writes what is pending, ends
// its stream with a final checkpoint and returns nil. It runs once.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(checkpointPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-s.wake:
			s.gather()
			s.flush()
			if s.stream.unsigned() >= checkpointEvery {
				s.checkpoint(false)
			}
		case <-ticker.C:
			s.checkpoint(false)
		case <-ctx.Done():
			s.mu.Lock()
			s.open = false
			s.mu.Unlock()
			s.flush()
			s.checkpoint(true)
			return nil
		}
	}
}

// keptRows is the largest batch whose room is kept.
const keptRows = 1024

// gatherTurns is how often the flusher lets others run before it takes a batch.
const gatherTurns = 3

// gather lets requests that can run already join the batch: right after a write,
// those that waited for it run, answer, and bring the next ones. Without it their
// first one sets off a write alone and all others wait for that. It costs no
// time when nothing else can run. (Measured: see docs/adr/0016.)
func (s *Service) gather() {
	for range gatherTurns {
		runtime.Gosched()
	}
}

// flush writes the pending batch and tells those who wait for it.
func (s *Service) flush() {
	s.mu.Lock()
	b := s.next
	s.next, s.spare = newBatch(s.spare), nil
	s.mu.Unlock()
	if len(b.rows) == 0 {
		return
	}
	mark := s.stream
	s.stream.chain(b.rows)
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if b.err = s.deps.Writer.AppendAudit(ctx, b.rows); b.err != nil {
		// Whether the rows are there is unknown, so nothing may be chained to
		// them: what comes next starts a stream of its own.
		s.deps.Logger.Error("audit: a batch could not be written; a new stream begins",
			"stream", mark.id, "after", mark.seq, "rows", len(b.rows), "error", b.err)
		s.stream = stream{}
		if mark.unsigned() > 0 && len(s.cut) < maxCut {
			s.cut = append(s.cut, mark)
		}
		s.failures.Add(1)
	} else {
		s.rows.Add(int64(len(b.rows)))
		s.batches.Add(1)
	}
	// Nobody but the flusher looks at a batch's rows once it is taken, so their
	// room serves the batch after the next; what they point to is let go.
	if clear(b.rows); cap(b.rows) <= keptRows {
		s.spare = b.rows[:0]
	}
	close(b.done)
}

// checkpoint signs where the stream stands, and what was known to be durable of
// those that were cut. A failure is logged and made good by the next one.
func (s *Service) checkpoint(final bool) {
	s.cut = slices.DeleteFunc(s.cut, func(old stream) bool { return s.sign(old, false) })
	if s.stream.unsigned() == 0 && !(final && s.stream.seq > 0) {
		return
	}
	if s.sign(s.stream, final) {
		s.stream.signed = s.stream.seq
	}
}

// sign reports whether a checkpoint at a stream's last row was written.
func (s *Service) sign(at stream, final bool) bool {
	c := models.AuditCheckpoint{
		StreamID: at.id, Seq: at.seq, At: models.Stamp(s.deps.Now()), Hash: at.hash[:], Final: final,
	}
	s.deps.Signer.SignCheckpoint(&c)
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if err := s.deps.Writer.PutCheckpoint(ctx, &c); err != nil {
		s.deps.Logger.Error("audit: a checkpoint could not be written", "stream", c.StreamID, "seq", c.Seq, "error", err)
		return false
	}
	return true
}
