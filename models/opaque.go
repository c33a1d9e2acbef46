package models

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

var errRedacted = errors.New("models: an opaque column is not marshalled")

// Opaque is a column that holds something sealed, wrapped or hashed. It prints
// as "[redacted]" in every format and refuses to be marshalled; only storage
// and the cryptography that made it look inside.
type Opaque []byte

func (Opaque) String() string               { return redacted }
func (Opaque) GoString() string             { return redacted }
func (Opaque) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (Opaque) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Opaque) MarshalJSON() ([]byte, error) { return nil, errRedacted }
func (Opaque) MarshalText() ([]byte, error) { return nil, errRedacted }

// Value stores the raw bytes, or NULL when there are none.
func (o Opaque) Value() (driver.Value, error) {
	if o == nil {
		return nil, nil
	}
	return []byte(o), nil
}

// Scan copies the raw bytes.
func (o *Opaque) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*o = nil
	case []byte:
		*o = append(Opaque{}, v...)
	case string:
		*o = Opaque(v)
	default:
		return fmt.Errorf("models: cannot read %T into an opaque column", src)
	}
	return nil
}
