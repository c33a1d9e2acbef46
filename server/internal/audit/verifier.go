package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// Chains reads streams without disturbing those who write them.
type Chains interface {
	SettledEvents(ctx context.Context, streamID uuid.UUID, afterSeq int64, limit int) ([]models.AuditEvent, error)
	StreamEnd(ctx context.Context, streamID uuid.UUID) (seq int64, waiting bool, err error)
	CheckpointsFrom(ctx context.Context, streamID uuid.UUID, seq int64, limit int) ([]models.AuditCheckpoint, error)
	RefusedBlocks(ctx context.Context, streamID uuid.UUID) ([]models.AuditBlock, error)
}

// Verifications keeps how far streams were verified, and gives each to one replica at
// a time.
type Verifications interface {
	FindStreams(ctx context.Context) error
	ClaimVerification(ctx context.Context, ttl time.Duration) (models.AuditVerification, error)
	FinishVerification(ctx context.Context, v models.AuditVerification, again time.Duration) error
	Verifications(ctx context.Context) ([]models.AuditVerification, error)
}

// VerifierDeps is what a verifier needs.
type VerifierDeps struct {
	Chains        Chains
	Verifications Verifications
	Keys          CheckpointVerifier
	Written       func() int64 // rows that this replica has written so far: it tells whether it is busy
	Now           func() time.Time
	Random        func() float64 // from 0 to 1
	Logger        *slog.Logger
}

const (
	verifyLook   = time.Minute            // between two looks for streams that are due
	verifyAgain  = 10 * time.Minute       // between two visits of a stream
	verifyPass   = 24 * time.Hour         // each row is read again after
	verifyClaim  = 5 * time.Minute        // of one stream
	visitTime    = time.Minute            // of one stream at once, or about
	visitRows    = 1000                   // read at once
	visitSigned  = 500                    // checkpoints of one visit: checking a signature takes longer than hashing a row
	visitPause   = 500 * time.Millisecond // between: at most some 2000 rows a second
	busyPause    = 10 * visitPause        // while this replica writes more than busyRows a page
	busyRows     = 100
	maxFoundText = 2000 // bytes

	problemMark = "\n" // between two problems, as they are kept
)

// A Verifier verifies the chains of the record while the server runs, slowly: one
// stream at a time, a page of rows, then a pause, which is ten times as long while this
// replica has releases to record. What it reads are rows that are there already; it
// takes no lock, and makes no rows of pending batches.
//
// It remembers how far it came, and reads everything again each day. What it remembers
// is as good as the database that keeps it: Verify, offline, is what proves something.
type Verifier struct {
	deps    VerifierDeps
	written int64 // Run's own: at the last page

	rows, breaks atomic.Int64
}

// NewVerifier makes a verifier. Start it with Run.
func NewVerifier(d VerifierDeps) *Verifier { return &Verifier{deps: d} }

// VerifierStats counts what a replica did since it began.
type VerifierStats struct {
	Rows   int64 // read and hashed
	Breaks int64 // visits of streams that found something wrong
}

// Stats may be called at any time.
func (v *Verifier) Stats() VerifierStats {
	return VerifierStats{Rows: v.rows.Load(), Breaks: v.breaks.Load()}
}

// Run verifies what is due until ctx ends, and returns nil. It runs once.
func (v *Verifier) Run(ctx context.Context) error {
	for v.wait(ctx, v.vary(verifyLook)) {
		if err := v.deps.Verifications.FindStreams(ctx); err != nil {
			v.failed(ctx, err)
			continue
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = v.next(ctx); err != nil {
				v.failed(ctx, err)
			}
		}
	}
	return nil
}

func (v *Verifier) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		v.deps.Logger.ErrorContext(ctx, "audit: the chains could not be verified; it is tried again", "error", err)
	}
}

// next visits the stream that is due the longest, and reports whether there was one.
func (v *Verifier) next(ctx context.Context) (bool, error) {
	state, err := v.deps.Verifications.ClaimVerification(ctx, verifyClaim)
	if errors.Is(err, models.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	again, err := v.visit(ctx, &state)
	if err != nil {
		return false, err
	}
	err = v.deps.Verifications.FinishVerification(ctx, state, again)
	if errors.Is(err, models.ErrLeaseLost) {
		err = nil
	}
	return true, err
}

// visit goes on with a stream, and says after how much time to come again.
func (v *Verifier) visit(ctx context.Context, state *models.AuditVerification) (again time.Duration, err error) {
	began := v.deps.Now()
	if state.BeganAt == nil || began.Sub(*state.BeganAt) >= verifyPass {
		state.BeganAt, state.Seq, state.Hash, state.Final, state.Found = models.StampPtr(began), 0, nil, false, ""
	}
	checkpoints, err := v.deps.Chains.CheckpointsFrom(ctx, state.StreamID, state.Seq, visitSigned)
	if err != nil {
		return 0, err
	}
	end, waiting, err := v.deps.Chains.StreamEnd(ctx, state.StreamID)
	if err != nil {
		return 0, err
	}
	if state.Seq > 0 && end == state.Through && !news(state, checkpoints) {
		state.CheckedAt = models.StampPtr(v.deps.Now())
		return v.vary(verifyAgain), nil
	}
	walk := resume(state, v.deps.Keys, checkpoints)
	last := int64(math.MaxInt64)
	if len(checkpoints) == visitSigned { // the rest is for another visit, and so are its rows
		last = checkpoints[visitSigned-1].Seq
	}
	atEnd, err := v.read(ctx, walk, began, last)
	if err != nil {
		return 0, err
	}
	seen := state.Through
	state.Through = max(seen, walk.seq)
	if !atEnd {
		state.Seq, state.Hash = walk.seq, walk.before
		v.note(ctx, state, walk.report.Problems)
		return 0, nil
	}
	// Whether all rows are there can be told when no batch waits to become rows.
	if !waiting {
		refused, err := v.deps.Chains.RefusedBlocks(ctx, state.StreamID)
		if err != nil {
			return 0, err
		}
		walk.end(refused)
	}
	if end < seen {
		walk.problem("rows %d to %d were there when the stream was last verified, and are missing", end+1, seen)
	}
	// What follows the last checkpoint is read again when that is signed.
	if walk.report.Signed > 0 {
		state.Seq, state.Hash, state.Final = walk.report.Signed, walk.signed, state.Final || walk.report.Final
	}
	v.note(ctx, state, walk.report.Problems)
	state.Problem, state.CheckedAt = state.Found, models.StampPtr(v.deps.Now())
	return v.vary(verifyAgain), nil
}

// news reports whether checkpoints were signed since the last visit.
func news(state *models.AuditVerification, checkpoints []models.AuditCheckpoint) bool {
	for _, c := range checkpoints {
		if c.Seq > state.Seq || c.Final && !state.Final {
			return true
		}
	}
	return false
}

// resume is a verification that goes on where the last visit ended.
func resume(state *models.AuditVerification, keys CheckpointVerifier, checkpoints []models.AuditCheckpoint) *verification {
	walk := &verification{report: StreamReport{StreamID: state.StreamID}, keys: keys, before: make([]byte, sha256.Size)}
	walk.expect(checkpoints)
	if state.Seq > 0 {
		walk.seq, walk.before = state.Seq, bytes.Clone(state.Hash)
		if state.Final {
			walk.ended = state.Seq
		}
		walk.meet()
	}
	return walk
}

// read reads rows until the stream's end, until the last row of this visit, or until the
// visit has taken its time.
func (v *Verifier) read(ctx context.Context, walk *verification, began time.Time, last int64) (atEnd bool, err error) {
	after := walk.seq
	if after == 0 {
		after = math.MinInt64 // rows before the first, too, are none of ours
	}
	for {
		rows, err := v.deps.Chains.SettledEvents(ctx, walk.report.StreamID, after, visitRows)
		if err != nil {
			return false, err
		}
		for i := range rows {
			v.rows.Add(1)
			walk.row(&rows[i])
			if walk.seq >= last {
				return false, nil
			}
		}
		if len(rows) < visitRows {
			return true, nil
		}
		after = rows[len(rows)-1].Seq
		if v.deps.Now().Sub(began) >= visitTime {
			return false, nil
		}
		if !v.wait(ctx, v.pause()) {
			return false, ctx.Err()
		}
	}
}

// pause is how long to wait before the next page.
func (v *Verifier) pause() time.Duration {
	written := v.deps.Written()
	busy := written-v.written > busyRows
	if v.written = written; busy {
		return busyPause
	}
	return visitPause
}

// note keeps what was found in the pass, and tells the operator of what is new.
func (v *Verifier) note(ctx context.Context, state *models.AuditVerification, problems []string) {
	if len(problems) == 0 {
		return
	}
	v.breaks.Add(1)
	before := state.Problem
	for _, problem := range problems {
		if strings.Contains(state.Found, problem) {
			continue
		}
		if state.Found != "" {
			problem = problemMark + problem
		}
		if len(state.Found)+len(problem) <= maxFoundText {
			state.Found += problem
		}
	}
	if state.Problem = state.Found; state.Problem != before {
		v.deps.Logger.ErrorContext(ctx, "audit: the record was changed behind this server's back; run `tokenvault audit verify`",
			"stream", state.StreamID, "problem", state.Problem)
	}
}

func (v *Verifier) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// vary is a time give or take a tenth.
func (v *Verifier) vary(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*v.deps.Random()))
}
