package browser_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
	"github.com/tvzero/tokenvault/server/internal/config"
)

// A tap stands between browser and server, and keeps all that the browser sends: lines,
// headers and bodies. Safe for concurrent use.
type tap struct {
	url  string
	mu   sync.Mutex
	sent []byte
}

// tapped makes a world whose server is reached through a tap alone.
func tapped(t *testing.T, dialect string) (*browsertest.World, *tap) {
	t.Helper()
	var to func() string
	tap := &tap{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: to()})
		r.Out.Host = r.In.Host
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "the body broke off", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		tap.mu.Lock()
		tap.sent = append(append(tap.sent, r.Method+" "+r.RequestURI+"\n"...), body...)
		for name, values := range r.Header {
			tap.sent = append(tap.sent, "\n"+name+": "+strings.Join(values, ", ")...)
		}
		tap.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	tap.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	w := browsertest.New(t, dialect, func(c *config.Config) {
		public, err := url.Parse(tap.url)
		if err != nil {
			t.Fatal(err)
		}
		c.PublicURL = public
	})
	to = w.Server.Address
	return w, tap
}

// take returns what was sent so far, with percent-encoding undone as well, and forgets it.
func (p *tap) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := string(p.sent)
	p.sent = nil
	if plain, err := url.QueryUnescape(strings.ReplaceAll(text, "%\n", "")); err == nil {
		text += plain
	}
	return text
}

// enter fills the form for a credential of its type and sends it.
func enter(p *browsertest.Page, s apptest.Sample) {
	p.Open("/tokens/new?type=" + s.Text("tokenType"))
	p.WantsElement("#send:not([disabled])")
	p.Fill("css:#f-serviceName", s.Service)
	for field, value := range s.Data {
		if text, ok := value.(string); ok && p.Count("#f-"+field) == 1 && field != "expiresAt" {
			p.Fill("css:#f-"+field, text)
		}
	}
}

func TestInWebhookModeEveryTypeIsStoredPastTheServer(t *testing.T) {
	t.Parallel()
	w, tap := tapped(t, store.SQLite)
	w.Bound()
	p := w.SignedIn(t)
	for _, sample := range w.Samples {
		enter(p, sample)
		p.Wants("What you entered is in this page alone. Nothing was sent yet.")
		tap.take()
		p.Click("Store at the webhook")
		p.Wants("Stored at your webhook. This server never saw it.", "The secret was sent to "+strings.TrimPrefix(w.Webhook.URL, "http://")+", and nowhere else. It answered 200.")
		sent := tap.take()
		if !strings.Contains(sent, "POST /api/vault/store-ticket") || !strings.Contains(sent, "POST /api/vault/sync") || !strings.Contains(sent, sample.Service) {
			t.Errorf("%s: the server was sent\n%s\nwant the request for a ticket, and that to read the list", sample.Service, sent)
		}
		for _, secret := range sample.Secrets {
			if bytes.Contains([]byte(sent), secret.Value) {
				t.Errorf("the server was sent %s, want it never sent there", secret.Name)
			}
		}
		if !slices.Contains(p.Requests(), "POST "+w.Webhook.URL+wire.PathStore) {
			t.Errorf("%s: the browser asked for %s, want the webhook asked to store it", sample.Service, p.Requests())
		}
		for _, state := range []string{"#step-ticket", "#step-store", "#step-index"} {
			if got := p.Attribute(state, "data-state"); got != "done" {
				t.Errorf("%s: the step %s is %q, want it done", sample.Service, state, got)
			}
		}
		left := ""
		p.Eval(`[...document.querySelectorAll("[data-kind=secret]")].map(e => e.value).join("")`, &left)
		if left != "" {
			t.Errorf("%s: after storing, the fields still hold %d characters, want none", sample.Service, len(left))
		}
		wantStored(t, w, sample)
	}
}

// wantStored checks that the webhook has what was typed.
func wantStored(t *testing.T, w *browsertest.World, s apptest.Sample) {
	t.Helper()
	var listed struct{ TokenType, Trust string }
	w.Owner.Must(http.MethodGet, "/api/tokens/"+url.PathEscape(s.Service), nil, &listed)
	if listed.TokenType != s.Text("tokenType") || listed.Trust != "tv-zero" {
		t.Errorf("%s is listed as %+v, want %s, tv-zero", s.Service, listed, s.Text("tokenType"))
	}
	shown := w.Owner.Reveal(s.Service)
	switch s.Text("tokenType") {
	case wire.TypeTOTP:
		if code, _ := shown[wire.FieldAccessToken].(string); len(code) != 6 {
			t.Errorf("%s makes the code %q, want 6 digits", s.Service, code)
		}
	case wire.TypeRawCredential:
		if minted, _ := shown[wire.FieldAccessToken].(string); !slices.Contains(w.Endpoint.Minted(), minted) {
			t.Errorf("%s: got %q, want a token that was made from it", s.Service, minted)
		}
	default:
		for _, field := range []string{wire.FieldAccessToken, wire.FieldRefreshToken, wire.FieldSSHPrivateKey, wire.FieldCertificateData, wire.FieldPrivateKeyData, wire.FieldCertificateChain} {
			if got, _ := shown[field].(string); strings.TrimSpace(got) != strings.TrimSpace(s.Text(field)) {
				t.Errorf("%s: the webhook has another %s than was typed", s.Service, field)
			}
		}
	}
}

func TestInPlatformModeEveryTypeIsSealedByTheServer(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	p := w.SignedIn(t)
	samples := append(slices.Clone(w.Samples),
		apptest.Sample{Service: "basic", Data: map[string]any{"tokenType": "Basic", "username": "ada", "password": " with spaces "}},
		apptest.Sample{Service: "bearer", Data: map[string]any{"tokenType": "Bearer", "accessToken": "b-1234567"}},
		apptest.Sample{Service: "sign-in", Data: map[string]any{"tokenType": "OpenIDConnect", "accessToken": "o-1234567", "idToken": "i-1234567"}})
	for _, sample := range samples {
		enter(p, sample)
		p.Follow("Seal and store")
		p.Wants("Stored. It is sealed")
		var got map[string]any
		w.Owner.Must(http.MethodGet, "/api/tokens/"+url.PathEscape(sample.Service)+"?reveal=true", nil, &got)
		if got["tokenType"] != sample.Data["tokenType"] && sample.Text("tokenType") != wire.TypeRawCredential {
			t.Errorf("%s is stored as %v, want %v", sample.Service, got["tokenType"], sample.Data["tokenType"])
		}
		if sample.Service == "basic" && got["password"] != " with spaces " {
			t.Errorf("the password is %q, want it as it was typed", got["password"])
		}
	}
}
