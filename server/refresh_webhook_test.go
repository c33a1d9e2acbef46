package main_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A hook is a webhook that servers reach through a tap, and that can be started again
// on its data.
type hook struct {
	program     string
	environment []string
	process     *apptest.Process
	way         *tap   // from servers
	url         string // through the tap: its external URL
	direct      string // past it
}

var listening = regexp.MustCompile(`listens on (\S+) and is reached at`)

// startHook starts a webhook; providers, of known, are those of which it has the client secret.
func startHook(t *testing.T, program, providers string, keeps bool, extra ...string) *hook {
	t.Helper()
	h := &hook{program: program, way: startTap(t, "", keeps)}
	h.url = "http://" + h.way.address()
	h.environment = append([]string{
		"TV_WEBHOOK_LISTEN=127.0.0.1:0", "TV_WEBHOOK_EXTERNAL_URL=" + h.url, "TV_WEBHOOK_DATA=" + t.TempDir(), "TV_WEBHOOK_TOKENVAULT_URL=http://127.0.0.1:1",
		"TV_WEBHOOK_ADMIN_SECRET=" + adminSecret, "TV_WEBHOOK_ALLOW_PRIVATE_NETWORKS=true",
	}, extra...)
	if providers != "" {
		h.environment = append(h.environment, "TV_WEBHOOK_OAUTH_PROVIDERS="+providers)
	}
	h.start(t)
	return h
}

// start starts it, anew if it was killed.
func (h *hook) start(t *testing.T) {
	t.Helper()
	h.process = apptest.Start(t, listening, h.environment, h.program)
	h.way.lead(h.process.Ready[1])
	h.direct = "http://" + h.process.Ready[1]
}

// store puts a credential into the webhook, past the tap, and has the server read what
// it is.
func (h *hook) store(t *testing.T, o *apptest.Owner, service string, data map[string]any) {
	t.Helper()
	ticket := o.StoreTicket(service)
	ticket.WebhookURL = h.direct
	if answer := o.TryStore(ticket, service, data); answer.Status != http.StatusOK {
		t.Fatalf("storing %s answered %s, want 200", service, answer)
	}
	o.Must(http.MethodPost, "/api/vault/sync", map[string]string{"serviceName": service}, nil)
}

// reveal is what its owner finds stored, past the tap.
func (h *hook) reveal(t *testing.T, o *apptest.Owner, service string) (s stored) {
	t.Helper()
	ticket := o.CredentialTicket(service, wire.PurposeUserReveal)
	answer, err := apptest.Call(t.Context(), o.Client, http.MethodPost, h.direct+wire.PathCredential, map[string]string{"ticket": ticket.Ticket, "service": service})
	if err != nil || answer.Status != http.StatusOK {
		t.Fatalf("revealing %s: %v %s, want 200", service, err, answer)
	}
	var shown struct{ Token json.RawMessage }
	answer.Decode(t, &shown)
	if err := json.Unmarshal(shown.Token, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// connect stores a new pair whose access token expires after so long.
func (h *hook) connect(t *testing.T, o *apptest.Owner, p *oidc.Provider, service string, life time.Duration) oidc.Tokens {
	t.Helper()
	data, tokens := connected(t, p, service, time.Now().Add(life))
	h.store(t, o, service, data)
	return tokens
}
