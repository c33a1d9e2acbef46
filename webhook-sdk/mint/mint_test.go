package mint_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

// tlsEndpoint is a TLS server whose certificate nobody trusts.
func tlsEndpoint(t *testing.T) (host string, client *http.Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(answers(200, goodAnswer)))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), netguard.Policy{AllowPrivate: true}.Client()
}

// prefixed recognizes whatever begins with it.
type prefixed string

func (p prefixed) Kind() string               { return string(p) }
func (p prefixed) Recognizes(raw []byte) bool { return bytes.HasPrefix(raw, []byte(p)) }
func (p prefixed) Mint(context.Context, mint.Request) (mint.Token, error) {
	return mint.Token{AccessToken: "short-lived " + string(p)}, nil
}

func TestFindReturnsTheFirstThatRecognizes(t *testing.T) {
	t.Parallel()
	set := mint.Set{prefixed("a"), prefixed("ab"), prefixed("c")}
	for raw, want := range map[string]string{"abc": "a", "cab": "c", "b": "", "": ""} {
		got := ""
		m, ok := set.Find([]byte(raw))
		if ok {
			got = m.Kind()
		}
		if got != want || ok != (want != "") {
			t.Errorf("Find(%q): got %q, %v, want %q", raw, got, ok, want)
		}
	}
	if m, ok := (mint.Set)(nil).Find([]byte("a")); ok || m != nil {
		t.Errorf("Find in no set: got %v, %v, want none", m, ok)
	}
}

func TestTheDefaultSetMintsForServiceAccounts(t *testing.T) {
	t.Parallel()
	m, ok := mint.Default().Find(keyFile(nil))
	if !ok || m.Kind() != mint.KindGCP {
		t.Errorf("a service account: got %v, %v, want the minter gcp", m, ok)
	}
	if m, ok := mint.Default().Find([]byte(`{"type":"authorized_user"}`)); ok {
		t.Errorf("something else: got %v, want none", m)
	}
}

func TestATokenAndARequestDoNotShowThemselves(t *testing.T) {
	t.Parallel()
	token := mint.Token{AccessToken: "canary", TokenType: "Bearer", ExpiresAt: time.Unix(1, 0), Extra: map[string]any{"x": "y"}}
	request := mint.Request{Raw: []byte("canary"), Meta: map[string]any{"x": "y"}}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&shown, verb+verb+verb+verb+verb, token, &token, request, &request, []any{token, request})
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(handler).Info("m", "token", token, "pointer", &token, "request", request)
	}
	for _, secret := range []string{"canary", fmt.Sprintf("%x", "canary"), fmt.Sprintf("%d", []byte("canary"))} {
		if strings.Contains(strings.ToLower(shown.String()), secret) {
			t.Errorf("printing shows %q:\n%s", secret, shown.String())
		}
	}
	if want := "mint.Token{Bearer, [redacted], expires 1970-01-01T00:00:01Z}"; !strings.Contains(shown.String(), want) {
		t.Errorf("printing: got no %q in\n%s", want, shown.String())
	}
}

func TestATokenIsNotMarshalled(t *testing.T) {
	t.Parallel()
	token := mint.Token{AccessToken: "canary"}
	if out, err := json.Marshal([]any{token}); !errors.Is(err, mint.ErrRedacted) {
		t.Errorf("json.Marshal: got %s, %v, want ErrRedacted", out, err)
	}
	if out, err := token.MarshalText(); !errors.Is(err, mint.ErrRedacted) {
		t.Errorf("MarshalText: got %s, %v, want ErrRedacted", out, err)
	}
	if out, err := token.MarshalBinary(); !errors.Is(err, mint.ErrRedacted) {
		t.Errorf("MarshalBinary: got %s, %v, want ErrRedacted", out, err)
	}
}
