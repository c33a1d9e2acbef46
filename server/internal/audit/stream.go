package audit

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// A stream is where a chain of rows stands. The zero stream has not begun.
type stream struct {
	id     uuid.UUID
	seq    int64
	hash   [sha256.Size]byte // of the last row; zero before the first
	signed int64             // seq of the last checkpoint
	buffer []byte
}

func (s *stream) unsigned() int64 { return s.seq - s.signed }

// chain gives rows their ids, their places in the stream, and their hashes.
func (s *stream) chain(rows []models.AuditEvent) {
	if s.id == uuid.Nil {
		s.id = models.NewID()
	}
	hashes := make([]byte, 0, len(rows)*sha256.Size)
	for i := range rows {
		r := &rows[i]
		s.seq++
		r.ID, r.StreamID, r.Seq = models.NewID(), s.id, s.seq
		s.buffer = appendRow(s.buffer[:0], s.hash[:], r)
		s.hash = sha256.Sum256(s.buffer)
		hashes = append(hashes, s.hash[:]...)
		r.Hash = hashes[len(hashes)-sha256.Size:]
	}
}

const chainLabel = "tokenvault/audit/v1"

// appendRow encodes what a row's hash covers: a label, the hash of the row
// before it, and every column but the hash, each with its length (4 bytes,
// big-endian).
func appendRow(b, before []byte, r *models.AuditEvent) []byte {
	b = append(b, chainLabel...)
	b = field(b, before)
	b = field(b, r.AccountID[:])
	b = field(b, r.ID[:])
	b = field(b, r.StreamID[:])
	b = number(b, r.Seq)
	b = number(b, r.At.UnixMicro())
	for _, text := range [...]string{r.EventType, r.Source, r.Outcome, r.ServiceName} {
		b = field(b, text)
	}
	b = reference(b, r.AgentID)
	b = reference(b, r.GrantID)
	for _, text := range [...]string{r.Client, r.Address, r.RequestID, r.Detail} {
		b = field(b, text)
	}
	return b
}

func field[T ~string | ~[]byte](b []byte, v T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(v))) // #nosec G115 -- clipped
	return append(b, v...)
}

func number(b []byte, v int64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, uint64(v)) // #nosec G115 -- an encoding
}

func reference(b []byte, id *uuid.UUID) []byte {
	if id == nil {
		return field(b, "")
	}
	return field(b, id[:])
}
