package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// Streams reads whole streams, for verification.
type Streams interface {
	AuditStreams(ctx context.Context) ([]uuid.UUID, error)
	StreamEvents(ctx context.Context, streamID uuid.UUID, afterSeq int64, limit int) ([]models.AuditEvent, error)
	Checkpoints(ctx context.Context, streamID uuid.UUID) ([]models.AuditCheckpoint, error)
	RefusedBlocks(ctx context.Context, streamID uuid.UUID) ([]models.AuditBlock, error)
}

// CheckpointVerifier checks a checkpoint's signature.
type CheckpointVerifier interface {
	CheckCheckpoint(c *models.AuditCheckpoint) error
}

// A StreamReport is what verification found in one stream.
type StreamReport struct {
	StreamID uuid.UUID
	Rows     int64
	Signed   int64    // rows up to the last good checkpoint; those after it could be cut off unnoticed
	Final    bool     // the stream was ended in order
	Problems []string // empty: the chain holds
}

const (
	verifyPage  = 2000
	maxProblems = 20 // of a stream; the first ones tell
)

// Verify recomputes every stream's chain and checks every checkpoint, and tells
// report of each stream in turn. It needs no running server. What it cannot
// see: a stream deleted together with its checkpoints, rows at a stream's end cut
// off together with the checkpoints that signed them, and, since a chain alone
// proves nothing, what was added or changed behind the last checkpoint
// (StreamReport.Signed).
func Verify(ctx context.Context, streams Streams, keys CheckpointVerifier, report func(StreamReport)) error {
	ids, err := streams.AuditStreams(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(ids, uuid.Nil) {
		ids = append(ids, uuid.Nil) // no stream of ours has this id, and a list may pass over it
	}
	for _, id := range ids {
		v := verification{report: StreamReport{StreamID: id}, keys: keys}
		if err := v.stream(ctx, streams); err != nil {
			return err
		}
		if id != uuid.Nil || v.report.Rows > 0 {
			report(v.report)
		}
	}
	return nil
}

// A verification is where reading one stream stands.
type verification struct {
	report  StreamReport
	keys    CheckpointVerifier
	waiting map[int64][]models.AuditCheckpoint // good ones, by the row that they signed
	before  []byte                             // hash of the last row
	seq     int64                              // of the last row
	signed  []byte                             // hash of the row of report.Signed
	ended   int64                              // row of the final checkpoint; 0: none
	buffer  []byte
}

func (v *verification) problem(format string, args ...any) {
	if len(v.report.Problems) < maxProblems {
		v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
	}
}

func (v *verification) stream(ctx context.Context, streams Streams) error {
	checkpoints, err := streams.Checkpoints(ctx, v.report.StreamID)
	if err != nil {
		return err
	}
	v.expect(checkpoints)
	v.before = make([]byte, sha256.Size)
	for after := int64(math.MinInt64); ; { // rows before the first, too, are none of ours
		rows, err := streams.StreamEvents(ctx, v.report.StreamID, after, verifyPage)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		for i := range rows {
			v.row(&rows[i])
		}
		after = rows[len(rows)-1].Seq
	}
	refused, err := streams.RefusedBlocks(ctx, v.report.StreamID)
	if err != nil {
		return err
	}
	v.end(refused)
	return nil
}

// expect checks signatures; the checkpoints are compared with the rows that they signed
// when these come.
func (v *verification) expect(checkpoints []models.AuditCheckpoint) {
	v.waiting = make(map[int64][]models.AuditCheckpoint, len(checkpoints))
	for i := range checkpoints {
		c := &checkpoints[i]
		if err := v.keys.CheckCheckpoint(c); err != nil {
			v.problem("checkpoint at row %d: %v", c.Seq, err)
			continue
		}
		v.waiting[c.Seq] = append(v.waiting[c.Seq], *c)
	}
}

// end looks at what is left when all rows have come.
func (v *verification) end(refused []models.AuditBlock) {
	for _, b := range refused {
		v.problem("rows %d to %d are not the ones that the server wrote, which it could not put there", b.Seq, b.Seq+b.Events-1)
	}
	for _, seq := range slices.Sorted(maps.Keys(v.waiting)) {
		v.problem("a checkpoint signed row %d, which is missing", seq)
	}
	if v.ended > 0 && v.seq > v.ended {
		v.problem("the stream was ended in order at row %d, but has rows up to %d", v.ended, v.seq)
	}
}

func (v *verification) row(row *models.AuditEvent) {
	v.report.Rows++
	if row.Seq < 1 || row.StreamID == uuid.Nil {
		v.problem("row %d (event %s) is in no chain", row.Seq, row.ID)
		return
	}
	if row.Seq != v.seq+1 {
		v.problem("rows %d to %d are missing", v.seq+1, row.Seq-1)
	}
	v.buffer = appendRow(v.buffer[:0], v.before, row)
	if sum := sha256.Sum256(v.buffer); !bytes.Equal(sum[:], row.Hash) {
		v.problem("row %d (event %s) does not match its hash", row.Seq, row.ID)
	}
	v.before, v.seq = row.Hash, row.Seq
	v.meet()
}

// meet compares the row at hand with the checkpoints that signed it.
func (v *verification) meet() {
	for _, c := range v.waiting[v.seq] {
		if !bytes.Equal(c.Hash, v.before) {
			v.problem("row %d is not the one that its checkpoint signed", v.seq)
		}
		v.report.Signed, v.signed = v.seq, v.before
		if c.Final {
			v.report.Final, v.ended = true, v.seq
		}
	}
	delete(v.waiting, v.seq)
}
