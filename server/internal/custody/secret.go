package custody

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

var (
	errMarshal = errors.New("custody: a key is not marshalled")
	errCleared = fmt.Errorf("%w: the key was cleared, or never set", ErrOpen)
)

// Secret is 32 bytes of key material: a token's auth secret, from which every KEK
// of its slot derives, or what a DEK, CEK or PrivateKey is made of. It prints as
// "[redacted]" and refuses to be marshalled. Copies share it, and Clear clears it
// for all of them; a cleared Secret is refused wherever a key is needed.
type Secret struct {
	// A function, because fmt cannot call Format on what stands in someone's
	// unexported field, and looks there into everything but functions.
	held func() *material
}

type material struct {
	key     key
	cleared bool // zeros are no key that anyone may use
}

// blankSecret is a secret to be filled in work with keys, where nothing should be
// allocated: see within. Until then it opens nothing.
func blankSecret() Secret {
	m := &material{cleared: true}
	return Secret{func() *material { return m }}
}

// fill moves a key into a blank secret: the caller's is cleared.
func (s Secret) fill(k *key) {
	m := s.held()
	m.key, m.cleared = *k, false
	clear(k[:])
}

// draw fills a blank secret with randomness.
func (s Secret) draw(random io.Reader) error {
	m := s.held()
	if _, err := io.ReadFull(random, m.key[:]); err != nil {
		clear(m.key[:])
		return fmt.Errorf("custody: no randomness: %w", err)
	}
	m.cleared = false
	return nil
}

// Clear overwrites the secret: from here on it opens nothing.
func (s Secret) Clear() {
	if s.held != nil {
		m := s.held()
		clear(m.key[:])
		m.cleared = true
	}
}

// bytes is the secret itself: nil of the zero Secret, and of a cleared one.
func (s Secret) bytes() []byte {
	if s.held == nil {
		return nil
	}
	if m := s.held(); !m.cleared {
		return m.key[:]
	}
	return nil
}

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (Secret) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary keeps encoding/gob out as well.
func (Secret) MarshalBinary() ([]byte, error) { return nil, errMarshal }
