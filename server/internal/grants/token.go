package grants

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

var errMarshal = errors.New("grants: a token is shown through Reveal only")

// A Token is the text of a self-routing token. It prints as "[redacted]" in
// every format and refuses to be marshalled.
type Token struct {
	// A function, because fmt cannot call Format on what stands in someone's
	// unexported field, and looks there into everything but functions.
	text func() string
}

func newToken(text string) Token { return Token{func() string { return text }} }

// Reveal returns the text: for the one answer that hands it over.
func (t Token) Reveal() string {
	if t.text == nil {
		return ""
	}
	return t.text()
}

func (t Token) String() string               { return redacted }
func (t Token) GoString() string             { return redacted }
func (t Token) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (t Token) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (t Token) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (t Token) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary keeps encoding/gob out as well.
func (t Token) MarshalBinary() ([]byte, error) { return nil, errMarshal }
