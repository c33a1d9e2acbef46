package custody

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// encode is the one encoding of contexts, salt lists and associated data: the
// label, then for each field its length (4 bytes, big-endian) and its bytes.
func encode(label string, fields ...[]byte) []byte {
	size := len(label)
	for _, f := range fields {
		size += 4 + len(f)
	}
	out := append(make([]byte, 0, size), label...)
	for _, f := range fields {
		out = appendField(out, f)
	}
	return out
}

// An encoder makes such a text field by field.
type encoder struct{ text []byte }

func (e *encoder) bytes(v []byte)   { e.text = appendField(e.text, v) }
func (e *encoder) string(v string)  { e.text = append(e.size(len(v)), v...) }
func (e *encoder) id(v uuid.UUID)   { e.text = append(e.size(len(v)), v[:]...) }
func (e *encoder) number(v int64)   { e.text = binary.BigEndian.AppendUint64(e.size(8), uint64(v)) } // #nosec G115 -- an encoding
func (e *encoder) uint32(v uint32)  { e.text = binary.BigEndian.AppendUint32(e.size(4), v) }
func (e *encoder) time(v time.Time) { e.number(v.UnixMicro()) }

// Absence is no bytes, which no value has.
func (e *encoder) optionalID(v *uuid.UUID) {
	if v == nil {
		e.text = e.size(0)
		return
	}
	e.id(*v)
}

func (e *encoder) optionalTime(v *time.Time) {
	if v == nil {
		e.text = e.size(0)
		return
	}
	e.time(*v)
}

func (e *encoder) size(n int) []byte {
	return binary.BigEndian.AppendUint32(e.text, uint32(n)) // #nosec G115 -- fields are short
}

func appendField(out, field []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(field))) // #nosec G115 -- fields are short
	return append(out, field...)
}

func be32(v uint32) []byte  { return binary.BigEndian.AppendUint32(nil, v) }
func number(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) } // #nosec G115 -- an encoding
