package wire_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestASecretDoesNotShowItself(t *testing.T) {
	t.Parallel()
	key := []byte("canary-canary-canary-canary-1234")
	s, err := wire.NewSecret(key)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		Public  wire.Secret
		private wire.Secret
		pointer *wire.Secret
		list    []wire.Secret
	}{s, s, &s, []wire.Secret{s}}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%c", "%U", "%p", "%T"} {
		fmt.Fprintf(&shown, verb+verb+verb+verb+"\n", s, &s, holder, []any{s, map[string]wire.Secret{"k": s}})
	}
	fmt.Fprintln(&shown, s.String(), s.GoString(), errors.New(fmt.Sprint("failed with ", s)))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(handler).Info("m", "secret", s, "pointer", &s, "holder", holder, "group", slog.GroupValue(slog.Any("s", s)))
	}
	for name, form := range map[string]string{
		"plain": string(key[:8]), "hex": hex.EncodeToString(key[:8]), "spaced hex": fmt.Sprintf("% x", key[:4]),
		"base64": base64.StdEncoding.EncodeToString(key[:9]), "decimal": strings.Trim(fmt.Sprint(key[:4]), "[]"),
	} {
		if strings.Contains(strings.ToLower(shown.String()), strings.ToLower(form)) {
			t.Errorf("printing shows the secret as %s:\n%s", name, shown.String())
		}
	}
	if !strings.Contains(shown.String(), "[redacted]") {
		t.Errorf("printing: got no [redacted] in\n%s", shown.String())
	}
}

func TestASecretIsNotMarshalled(t *testing.T) {
	t.Parallel()
	s := secretFrom(t, 0)
	for name, value := range map[string]any{"itself": s, "a pointer": &s, "in a struct": struct{ S wire.Secret }{s}, "in a map": map[string]any{"s": s}} {
		if out, err := json.Marshal(value); !errors.Is(err, wire.ErrRedacted) {
			t.Errorf("json.Marshal of %s: got %s, %v, want ErrRedacted", name, out, err)
		}
	}
	if out, err := s.MarshalText(); !errors.Is(err, wire.ErrRedacted) {
		t.Errorf("MarshalText: got %s, %v, want ErrRedacted", out, err)
	}
	if out, err := s.MarshalBinary(); !errors.Is(err, wire.ErrRedacted) {
		t.Errorf("MarshalBinary: got %s, %v, want ErrRedacted", out, err)
	}
}

func TestASecretIsReadFromTheWireAndFromBytes(t *testing.T) {
	t.Parallel()
	const text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	s, err := wire.ParseSecret(text)
	if err != nil {
		t.Fatalf("ParseSecret: got %v, want a secret", err)
	}
	if got := s.Encode(); got != text {
		t.Errorf("Encode: got %q, want %q", got, text)
	}
	if got := s.Bytes(); !bytes.Equal(got, keyBytes(0)) {
		t.Errorf("Bytes: got %x, want %x", got, keyBytes(0))
	}
	// sha256sum of the 32 bytes 00 to 1f
	if got, want := s.Hash(), "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"; got != want {
		t.Errorf("Hash: got %s, want %s", got, want)
	}
	if !s.Equal(secretFrom(t, 0)) || s.IsZero() {
		t.Error("the secret of the wire and of the bytes: got unequal or zero, want equal")
	}
}

func TestABadSecretIsRefusedWithoutBeingQuoted(t *testing.T) {
	t.Parallel()
	canary := strings.Repeat("canary", 8)
	for name, text := range map[string]string{
		"empty":        "",
		"not base64":   canary + "!",
		"base64url":    "__________________________________________8=",
		"no padding":   "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
		"spare bits":   "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=",
		"31 bytes":     base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"33 bytes":     base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"36, a canary": canary,
	} {
		s, err := wire.ParseSecret(text)
		if err == nil || !s.IsZero() || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, %v, want no secret and an error that does not quote it", name, s, err)
		}
	}
	for _, size := range []int{0, 31, 33} {
		if s, err := wire.NewSecret(make([]byte, size)); err == nil || !s.IsZero() {
			t.Errorf("NewSecret of %d bytes: got %v, %v, want an error", size, s, err)
		}
	}
}

func TestASecretSharesNoMemoryWithItsCallers(t *testing.T) {
	t.Parallel()
	key := keyBytes(0)
	s, err := wire.NewSecret(key)
	if err != nil {
		t.Fatal(err)
	}
	key[0] = 0xff
	s.Bytes()[0] = 0xff
	if !s.Equal(secretFrom(t, 0)) {
		t.Error("the secret changed with its callers' bytes")
	}
}

func TestGenerateSecretTakesAllItsBytesFromTheSource(t *testing.T) {
	t.Parallel()
	s, err := wire.GenerateSecret(bytes.NewReader(keyBytes(0)))
	if err != nil || !s.Equal(secretFrom(t, 0)) {
		t.Errorf("got %x, %v, want the bytes of the source", s.Bytes(), err)
	}
	if s, err := wire.GenerateSecret(bytes.NewReader(keyBytes(0)[:31])); err == nil || !s.IsZero() {
		t.Errorf("a source that ends early: got %v, %v, want an error", s, err)
	}
	a, errA := wire.GenerateSecret(rand.Reader)
	b, errB := wire.GenerateSecret(rand.Reader)
	if errA != nil || errB != nil || a.Equal(b) {
		t.Errorf("two secrets: got equal %v, %v, %v, want them to differ", a.Equal(b), errA, errB)
	}
}

func TestTheZeroSecretEqualsItselfAlone(t *testing.T) {
	t.Parallel()
	zeros, err := wire.NewSecret(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	var zero wire.Secret
	for _, c := range []struct {
		name string
		a, b wire.Secret
		want bool
	}{
		{"none and none", zero, zero, true}, {"none and 32 zero bytes", zero, zeros, false}, {"32 zero bytes and none", zeros, zero, false},
		{"32 zero bytes twice", zeros, zeros, true}, {"two that differ", secretFrom(t, 0), secretFrom(t, 1), false},
	} {
		if got := c.a.Equal(c.b); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if !zero.IsZero() || zeros.IsZero() {
		t.Errorf("IsZero: got %v for none and %v for 32 zero bytes, want true and false", zero.IsZero(), zeros.IsZero())
	}
}
