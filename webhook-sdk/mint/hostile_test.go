package mint_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// echo answers with what it was sent, wherever an answer has room for it.
func echo(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		assertion := r.PostForm.Get("assertion")
		w.Header().Set("X-Echo", assertion)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":"`+assertion+`","error_description":"`+assertion+`"}`)
	}
}

// breakOff answers with what it was sent in place of HTTP, and hangs up.
func breakOff(w http.ResponseWriter, r *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, r.PostForm.Get("assertion")+"\r\n\r\n")
	_ = conn.Close()
}

func TestAHostileEndpointGetsAnErrorThatHoldsNothingOfIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer             func(http.ResponseWriter, *http.Request)
		says               string
		temporary, timeout bool
	}{
		"400, echoing":              {echo(400), "answered 400", false, false},
		"401, echoing":              {echo(401), "answered 401", false, false},
		"500, echoing":              {echo(500), "answered 500", true, false},
		"200, echoing an error":     {echo(200), "no access_token", false, false},
		"not HTTP, echoing":         {breakOff, "the connection broke", true, false},
		"429":                       {answers(429, ""), "answered 429", true, false},
		"503":                       {answers(503, "canary"), "answered 503", true, false},
		"invalid_grant":             {answers(400, `{"error":"invalid_grant","error_description":"canary"}`), "invalid_grant: the key was deleted", false, false},
		"invalid_scope":             {answers(400, `{"error":"invalid_scope"}`), "answered 400 invalid_scope", false, false},
		"an unknown error":          {answers(400, `{"error":"canary"}`), "answered 400", false, false},
		"an error that is a number": {answers(400, `{"error":5}`), "answered 400", false, false},
		"204":                       {answers(204, ""), "answered 204", false, false},
		"201 with a token":          {answers(201, goodAnswer), "answered 201", false, false},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/canary", http.StatusTemporaryRedirect)
		}, "answered 307", false, false},
		"garbage":                {answers(200, "canary"), "not JSON", false, false},
		"a page":                 {answers(200, "<html>canary</html>"), "not JSON", false, false},
		"empty":                  {answers(200, ""), "not JSON", false, false},
		"a list":                 {answers(200, "[]"), "not JSON", false, false},
		"two answers":            {answers(200, goodAnswer+goodAnswer), "not JSON", false, false},
		"cut off":                {answers(200, goodAnswer[:40]), "not JSON", false, false},
		"no token":               {answers(200, `{"token_type":"Bearer","expires_in":3600}`), "no access_token", false, false},
		"an empty token":         {answers(200, `{"access_token":"","token_type":"Bearer","expires_in":3600}`), "no access_token", false, false},
		"a token of two lines":   {answers(200, `{"access_token":"canary\r\ncanary","token_type":"Bearer","expires_in":3600}`), "access_token is not one", false, false},
		"a token of 17 KiB":      {answers(200, `{"access_token":"`+strings.Repeat("x", 17<<10)+`","token_type":"Bearer","expires_in":3600}`), "access_token is not one", false, false},
		"a token that is a list": {answers(200, `{"access_token":["canary"],"token_type":"Bearer","expires_in":3600}`), "not JSON", false, false},
		"another token type":     {answers(200, `{"access_token":"canary","token_type":"mac","expires_in":3600}`), "token_type", false, false},
		"no token type":          {answers(200, `{"access_token":"canary","expires_in":3600}`), "token_type", false, false},
		"no expiry":              {answers(200, `{"access_token":"canary","token_type":"Bearer"}`), "expires_in", false, false},
		"a negative expiry":      {answers(200, `{"access_token":"canary","token_type":"Bearer","expires_in":-1}`), "expires_in", false, false},
		"an endless expiry":      {answers(200, `{"access_token":"canary","token_type":"Bearer","expires_in":9223372036854775807}`), "expires_in", false, false},
		"a huge expiry":          {answers(200, `{"access_token":"canary","token_type":"Bearer","expires_in":1e300}`), "not JSON", false, false},
		"65 KiB":                 {answers(200, goodAnswer+strings.Repeat(" ", 65<<10)), "too large", false, false},
		"2 MiB, echoing nothing": {answers(200, strings.Repeat("canary", 400_000)), "too large", false, false},
		"no answer":              {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "took too long", true, true},
		"half an answer": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"canary`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "took too long", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := netguard.Policy{Timeout: 20 * time.Second}
			if c.timeout {
				policy.Timeout = 5 * time.Second
			}
			e := newEndpoint(t, policy, c.answer)
			r := e.request(nil, nil)
			token, err := e.minter.Mint(context.Background(), r)
			var failed *mint.Error
			if !errors.As(err, &failed) {
				t.Fatalf("got %v, %v, want an *Error", token, err)
			}
			if failed.Code != wire.CodeGCPMintFailed || failed.Temporary != c.temporary || failed.Timeout != c.timeout {
				t.Errorf("got %s, temporary %v, timeout %v, want gcp_mint_failed, %v, %v", failed.Code, failed.Temporary, failed.Timeout, c.temporary, c.timeout)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %q, want it to say %q", err, c.says)
			}
			calls, form := e.seen()
			if calls != 1 {
				t.Errorf("got %d calls, want 1", calls)
			}
			assertion := form.Get("assertion")
			for _, secret := range append(strings.Split(assertion, "."), "canary", "PRIVATE KEY", string(r.Raw)) {
				for _, text := range []string{err.Error(), failed.Problem} {
					if secret == "" || strings.Contains(text, secret) {
						t.Errorf("the error holds %.40q: %.200q", secret, text)
					}
				}
			}
		})
	}
}

func TestAnEndpointThatIsAwayIsATemporaryError(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	_ = listener.Close()
	client := netguard.Policy{AllowPrivate: true}.Client()
	r := mint.Request{Raw: keyFile(map[string]any{"token_uri": "http://" + host + "/token"}), Now: now(), Client: client}
	_, err = mint.GCP{AllowedTokenHosts: []string{host}}.Mint(context.Background(), r)
	var failed *mint.Error
	if !errors.As(err, &failed) || !failed.Temporary || failed.Timeout || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("got %v, want a temporary *Error that says no connection", err)
	}
}

func TestACallersCancelledContextIsSeen(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := e.minter.Mint(ctx, e.request(nil, nil))
	var failed *mint.Error
	if !errors.As(err, &failed) || !errors.Is(err, context.Canceled) || !failed.Temporary {
		t.Errorf("got %v, want a temporary *Error around context.Canceled", err)
	}
}

func TestACallersDeadlineIsATimeout(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, netguard.Policy{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := e.minter.Mint(ctx, e.request(nil, nil))
	var failed *mint.Error
	if !errors.As(err, &failed) || !errors.Is(err, context.DeadlineExceeded) || !failed.Timeout {
		t.Errorf("got %v, want an *Error with Timeout around context.DeadlineExceeded", err)
	}
}

func TestACertificateThatIsNotTrustedIsAPermanentError(t *testing.T) {
	t.Parallel()
	host, client := tlsEndpoint(t)
	r := mint.Request{Raw: keyFile(map[string]any{"token_uri": "https://" + host + "/token"}), Now: now(), Client: client}
	_, err := mint.GCP{AllowedTokenHosts: []string{host}}.Mint(context.Background(), r)
	var failed *mint.Error
	if !errors.As(err, &failed) || failed.Temporary || !strings.Contains(err.Error(), "certificate is not valid") {
		t.Errorf("got %v, want a permanent *Error about the certificate", err)
	}
}
