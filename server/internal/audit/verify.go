package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// Streams reads whole streams, for verification.
type Streams interface {
	AuditStreams(ctx context.Context) ([]uuid.UUID, error)
	StreamEvents(ctx context.Context, streamID uuid.UUID, afterSeq int64, limit int) ([]models.AuditEvent, error)
	Checkpoints(ctx context.Context, streamID uuid.UUID) ([]models.AuditCheckpoint, error)
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
// see: a stream deleted together with its checkpoints, and rows cut off behind
// the last checkpoint.
func Verify(ctx context.Context, streams Streams, keys CheckpointVerifier, report func(StreamReport)) error {
	ids, err := streams.AuditStreams(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, err := verifyStream(ctx, streams, keys, id)
		if err != nil {
			return err
		}
		report(r)
	}
	return nil
}

func verifyStream(ctx context.Context, streams Streams, keys CheckpointVerifier, id uuid.UUID) (StreamReport, error) {
	r := StreamReport{StreamID: id}
	problem := func(format string, args ...any) {
		if len(r.Problems) < maxProblems {
			r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
		}
	}
	checkpoints, err := streams.Checkpoints(ctx, id)
	if err != nil {
		return r, err
	}
	waiting := map[int64]models.AuditCheckpoint{}
	for _, c := range checkpoints {
		if err := keys.CheckCheckpoint(&c); err != nil {
			problem("checkpoint at row %d: %v", c.Seq, err)
			continue
		}
		waiting[c.Seq] = c
	}
	before, seq := make([]byte, sha256.Size), int64(0)
	var buffer []byte
	for {
		rows, err := streams.StreamEvents(ctx, id, seq, verifyPage)
		if err != nil {
			return r, err
		}
		if len(rows) == 0 {
			break
		}
		for i := range rows {
			row := &rows[i]
			if row.Seq != seq+1 {
				problem("rows %d to %d are missing", seq+1, row.Seq-1)
			}
			buffer = appendRow(buffer[:0], before, row)
			if sum := sha256.Sum256(buffer); !bytes.Equal(sum[:], row.Hash) {
				problem("row %d (event %s) does not match its hash", row.Seq, row.ID)
			}
			before, seq = row.Hash, row.Seq
			r.Rows++
			if c, ok := waiting[seq]; ok {
				if !bytes.Equal(c.Hash, row.Hash) {
					problem("row %d is not the one that its checkpoint signed", seq)
				}
				r.Signed, r.Final = seq, c.Final
				delete(waiting, seq)
			}
		}
	}
	for at := range waiting {
		problem("a checkpoint signed row %d, which is missing", at)
	}
	return r, nil
}
