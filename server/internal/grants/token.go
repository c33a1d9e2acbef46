package grants

import (
	"crypto/sha256"
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
	content func() (text string, sum [sha256.Size]byte)
}

func newToken(text string) Token { return newTokenOf(text, sha256.Sum256([]byte(text))) }

// newTokenOf is newToken for whoever has the text's SHA-256.
func newTokenOf(text string, sum [sha256.Size]byte) Token {
	return Token{func() (string, [sha256.Size]byte) { return text, sum }}
}

// Reveal returns the text: for the one answer that hands it over.
func (t Token) Reveal() string {
	text, _ := t.reveal()
	return text
}

func (t Token) reveal() (text string, sum [sha256.Size]byte) {
	if t.content == nil {
		return "", sum
	}
	return t.content()
}

func (t Token) String() string               { return redacted }
func (t Token) GoString() string             { return redacted }
func (t Token) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (t Token) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (t Token) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (t Token) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary keeps encoding/gob out as well.
func (t Token) MarshalBinary() ([]byte, error) { return nil, errMarshal }
