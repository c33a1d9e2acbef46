package app_test

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/config"
)

func TestNewThatFailsNamesTheSettingAndKeepsNothing(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	public := &url.URL{Scheme: "http", Host: "127.0.0.1"}
	good := config.Config{Listen: free.Addr().String(), PublicURL: public, DatabaseURL: "sqlite:" + filepath.Join(t.TempDir(), "a.db"), ServerKeys: newKeys(t)}
	for want, spoil := range map[string]func(c *config.Config){
		"TOKENVAULT_LISTEN":         func(c *config.Config) { c.Listen = taken.Addr().String() },
		"TOKENVAULT_METRICS_LISTEN": func(c *config.Config) { c.MetricsListen = taken.Addr().String() },
		"TOKENVAULT_SERVER_KEYS":    func(c *config.Config) { c.ServerKeys = "0:YQ==" },
		"TOKENVAULT_DATABASE_URL":   func(c *config.Config) { c.DatabaseURL = "sqlite:" + filepath.Join(t.TempDir(), "no", "folder.db") },
	} {
		c := good
		spoil(&c)
		if _, err := app.New(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), want+": ") {
			t.Errorf("got %v, want an error about %s", err, want)
		}
		again, err := net.Listen("tcp", free.Addr().String())
		if err != nil {
			t.Errorf("%s: the address is still taken: %v", want, err)
			continue
		}
		_ = again.Close()
	}
}

func TestMetricsAreServedApartAndNameNobody(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		s := start(t, database, newKeys(t), func(c *setup) { c.MetricsListen = "127.0.0.1:0" })
		owner := s.owner(t, "owner@example.com")
		owner.Bind(startWebhook(t, nil).URL, adminSecret)
		owner.Store("github", map[string]any{"tokenType": wire.TypePlainText, "accessToken": "ghp_value"})
		text := ""
		// What is remembered may be used as soon as the replica hears of changes.
		for limit := time.Now().Add(time.Minute); !strings.Contains(text, "tokenvault_cache_open 1") && time.Now().Before(limit); {
			answer, err := apptest.Call(t.Context(), owner.Client, http.MethodGet, "http://"+s.MetricsAddress()+"/metrics", nil)
			if err != nil || answer.Status != http.StatusOK {
				t.Fatalf("metrics: %v %s, want 200", err, answer)
			}
			text = string(answer.Body)
		}
		for _, want := range []string{"tokenvault_cache_open 1", "tokenvault_audit_rows_total 4", "tokenvault_audit_failures_total 0", `tokenvault_server_key_use{key="0",what="tokens"} 1`, `tokenvault_server_key_use{key="0",what="webhook_secrets"} 1`, "go_goroutines", "process_resident_memory_bytes"} {
			if !strings.Contains(text, want) {
				t.Errorf("metrics lack %q", want)
			}
		}
		for _, name := range []string{"owner@", "github", "ghp_"} {
			if strings.Contains(text, name) {
				t.Errorf("metrics hold %q", name)
			}
		}
		if got := owner.Do(http.MethodGet, "/metrics", nil); got.Status != http.StatusNotFound {
			t.Errorf("metrics at the server's own address: %s, want 404", got)
		}
	})
}

// No row, no release: also while the database is away for good.
func TestWithoutTheDatabaseNothingIsReleasedAndAfterwardsAllIsWell(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	id, key := p.owner.Agent("deployer")
	p.owner.Grant(id, "github", 0)
	p.until(t, p.second, key, heardWithin, "its grant", func(a apptest.Answer) bool { return a.Status == http.StatusTemporaryRedirect })
	p.calm() // the bystander counts on a database
	p.proxy.outage(true)
	for range 3 {
		if answer := p.ask(t, p.second, key); !refusal(503, "UNAVAILABLE")(answer) {
			t.Errorf("without a database a release was answered %s, want 503 UNAVAILABLE", answer)
		}
	}
	for path, status := range map[string]int{"/healthz": 200, "/readyz": 503} {
		if answer := p.owner.In(t, p.second.URL()).Do(http.MethodGet, path, nil); answer.Status != status {
			t.Errorf("without a database %s answered %s, want %d", path, answer, status)
		}
	}
	if answer := p.ask(t, p.first, key); answer.Status != http.StatusTemporaryRedirect {
		t.Errorf("the other replica, which has its database, answered %s, want 307", answer)
	}
	p.proxy.outage(false)
	p.until(t, p.second, key, deafWithin, "the database's return", func(a apptest.Answer) bool { return a.Status == http.StatusTemporaryRedirect })
	p.first.stop()
	p.second.stop()
	verify(t, p.database, p.keys)
}
