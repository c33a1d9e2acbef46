package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a secret setting. It prints as "[redacted]" and refuses to be marshalled;
// string(s) is its value.
type Secret string

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (Secret) MarshalText() ([]byte, error) { return nil, errMarshal }

var errMarshal = errors.New("config: a secret is not marshalled")
