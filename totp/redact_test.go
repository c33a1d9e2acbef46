package totp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/totp"
)

func TestAKeyAndACodeDoNotShowThemselves(t *testing.T) {
	t.Parallel()
	k, err := totp.New(sampleSecret, totp.Options{Issuer: "Example", Account: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	code, err := k.At(time.Unix(1111111111, 0))
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		Public  totp.Key
		private totp.Key
		pointer *totp.Key
	}{k, k, &k}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&shown, verb+verb+verb+verb+verb, k, &k, holder, code, []any{k, code})
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(handler).Info("m", "key", k, "pointer", &k, "holder", holder, "code", code)
	}
	for _, secret := range []string{sampleSecret, strings.ToLower(fmt.Sprintf("%x", sampleSecret)), code.Value, fmt.Sprintf("%x", code.Value)} {
		if strings.Contains(strings.ToLower(shown.String()), strings.ToLower(secret)) {
			t.Errorf("printing shows %q:\n%s", secret, shown.String())
		}
	}
	if want := "totp.Key{SHA1, 6 digits, 30s, secret [redacted]}"; !strings.Contains(shown.String(), want) {
		t.Errorf("printing: got no %q in\n%s", want, shown.String())
	}
}

func TestAKeyIsNotMarshalled(t *testing.T) {
	t.Parallel()
	k, err := totp.ParseSecret(sampleSecret)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := json.Marshal(map[string]any{"key": k}); !errors.Is(err, totp.ErrRedacted) {
		t.Errorf("json.Marshal: got %s, %v, want ErrRedacted", out, err)
	}
	if out, err := k.MarshalText(); !errors.Is(err, totp.ErrRedacted) {
		t.Errorf("MarshalText: got %s, %v, want ErrRedacted", out, err)
	}
	if out, err := k.MarshalBinary(); !errors.Is(err, totp.ErrRedacted) {
		t.Errorf("MarshalBinary: got %s, %v, want ErrRedacted", out, err)
	}
}
