package vaults_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
)

// verdicts are those of a preflight, in order.
func verdicts(got vaults.Preflighted) string {
	var words []string
	for _, p := range got.Probes {
		words = append(words, p.Name+"="+string(p.Verdict))
	}
	return strings.Join(words, " ")
}

func TestPreflightKnowsAWebhookBeforeItIsBoundAndAfter(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		wh := webhooktest.Start(t, t.TempDir())
		got, err := w.Preflight(t.Context(), w.user, w.client, " "+wh.URL+"/ ")
		const fresh = "reach=pass tls=warn health=pass version=pass binding=pass"
		if err != nil || verdicts(got) != fresh || !got.Ready || got.WebhookURL != wh.URL {
			t.Errorf("before: %q at %q, ready %v, %v; want %q at %q", verdicts(got), got.WebhookURL, got.Ready, err, fresh, wh.URL)
		}
		w.bind(registration(t, wh.URL))
		got, err = w.Preflight(t.Context(), w.user, w.client, wh.URL)
		if err != nil || !strings.HasSuffix(verdicts(got), "binding=warn") || !got.Ready {
			t.Errorf("after: %q, ready %v, %v; want a word about the binding", verdicts(got), got.Ready, err)
		}
		for _, p := range got.Probes {
			if p.Title == "" || p.Advice == "" {
				t.Errorf("probe %+v, want words for a person", p)
			}
		}
	})
}

func TestPreflightStopsWhereItFails(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	says := func(body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	w := newWorld(t, storetest.Open(t, storetest.URL(t, "sqlite")))
	for _, tt := range []struct{ name, url, want, advice string }{
		{"nobody", gone.URL, "reach=fail tls=untried health=untried version=untried binding=untried", "could not be reached"},
		{"an unknown certificate", stranger.URL, "reach=pass tls=fail health=untried version=untried binding=untried", "certificate"},
		{"another program", says(`[]`), "reach=pass tls=warn health=fail version=untried binding=untried", "not the JSON"},
		{"the next protocol", says(`{"status":"healthy","version":"3.0.0"}`), "reach=pass tls=warn health=pass version=fail binding=untried", `protocol "3.0.0"`},
		{"no version", says(`{"status":"healthy"}`), "reach=pass tls=warn health=pass version=warn binding=pass", "does not say which version"},
		{"half of it", says(`{"status":"healthy","version":"2.0.0","capabilities":["storage"]}`), "reach=pass tls=warn health=pass version=warn binding=pass", "cannot do: credential, store"},
	} {
		got, err := w.Preflight(t.Context(), w.user, w.client, tt.url)
		if err != nil || verdicts(got) != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, verdicts(got), err, tt.want)
		}
		said := slices.ContainsFunc(got.Probes, func(p vaults.Probe) bool { return strings.Contains(p.Advice, tt.advice) })
		if wantReady := !strings.Contains(tt.want, "fail"); !said || got.Ready != wantReady {
			t.Errorf("%s: ready %v, advice %+v; want %v and words like %q", tt.name, got.Ready, got.Probes, wantReady, tt.advice)
		}
	}
}

func TestPreflightIsForOwnersAndBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.Open(t, storetest.URL(t, "sqlite")))
	wh := webhooktest.Start(t, t.TempDir())
	for name, p := range map[string]grants.Principal{
		"an agent":                {AccountID: w.user.AccountID, Kind: models.GrantAgentKey},
		"a key without the scope": {AccountID: w.user.AccountID, Kind: models.GrantAPIKey, Scopes: []string{grants.TokensWrite}},
	} {
		if _, err := w.Preflight(t.Context(), p, w.client, wh.URL); fault.CodeOf(err) != fault.ScopeDenied {
			t.Errorf("%s: %v, want %s", name, err, fault.ScopeDenied)
		}
	}
	for _, address := range []string{"", "hook.example", "ftp://hook.example", "http://u:p@hook.example", "http://hook.example/?a=b", "http://hook.example/#x"} {
		if _, err := w.Preflight(t.Context(), w.user, w.client, address); fault.CodeOf(err) != fault.InvalidRequest || fault.From(err).Field != "webhookUrl" {
			t.Errorf("%q: %v, want %s for webhookUrl", address, err, fault.InvalidRequest)
		}
	}
	for range 20 {
		if _, err := w.Preflight(t.Context(), w.user, w.client, wh.URL); err != nil {
			t.Fatalf("within the bound: %v", err)
		}
	}
	if _, err := w.Preflight(t.Context(), w.user, w.client, wh.URL); fault.CodeOf(err) != fault.RateLimited {
		t.Errorf("the 21st within a minute: %v, want %s", err, fault.RateLimited)
	}
	if other := w.newUser("other@example.com"); w.preflight(other, wh.URL) != nil {
		t.Error("another account is held up by it")
	}
	if events := w.events("bind"); len(events) != 0 {
		t.Errorf("looking is on record as binding: %q", events)
	}
}

func (w *world) preflight(p grants.Principal, address string) error {
	_, err := w.Preflight(w.t.Context(), p, w.client, address)
	return err
}
