package accounts

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
)

const redacted = "[redacted]"

var errMarshal = errors.New("accounts: recovery codes are shown through Reveal only")

// Codes are recovery codes, which exist nowhere else: each signs in once in place of a
// code of the second factor. They print as "[redacted]" in every format and refuse to
// be marshalled.
type Codes struct {
	// A function, because fmt cannot call Format on what stands in someone's
	// unexported field, and looks there into everything but functions.
	texts func() []string
}

func newCodes(texts []string) Codes { return Codes{func() []string { return texts }} }

// Reveal returns the texts: for the one answer that hands them over.
func (c Codes) Reveal() []string {
	if c.texts == nil {
		return nil
	}
	return slices.Clone(c.texts())
}

func (Codes) String() string               { return redacted }
func (Codes) GoString() string             { return redacted }
func (Codes) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (Codes) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Codes) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (Codes) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary keeps encoding/gob out as well.
func (Codes) MarshalBinary() ([]byte, error) { return nil, errMarshal }
