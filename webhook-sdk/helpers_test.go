package webhook_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// bound is a webhook with a clock, a TV bound to it, and one token "github" whose
// store made the owner known.
func bound(t *testing.T, options ...webhooktest.Option) (*webhooktest.Webhook, *webhooktest.TV, *clock) {
	t.Helper()
	c := newClock()
	wh, tv := webhooktest.New(t, append([]webhooktest.Option{webhooktest.WithClock(c.now)}, options...)...)
	tv.Store("github", plain("ghp_canary"))
	return wh, tv, c
}

func plain(secret string) map[string]any {
	return map[string]any{"tokenType": "PlainText", "accessToken": secret}
}

func refused(t *testing.T, got webhooktest.Answer, status int, code wire.ErrorCode) {
	t.Helper()
	if got.Status != status || got.Code != code {
		t.Errorf("answered %d %q, want %d %q\n%.300s", got.Status, got.Code, status, code, got.Body)
	}
	if kind := got.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("the refusal has the Content-Type %q, want application/json", kind)
	}
	if cache := got.Header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("the refusal has Cache-Control %q, want no-store", cache)
	}
}

// accepted ends the test unless the answer is 200.
func accepted(t *testing.T, got webhooktest.Answer) webhooktest.Answer {
	t.Helper()
	if got.Status != http.StatusOK {
		t.Fatalf("answered %d %q, want 200\n%.300s", got.Status, got.Code, got.Body)
	}
	return got
}

// snapshot is everything that a webhook keeps but its log.
func snapshot(t *testing.T, wh *webhooktest.Webhook) string {
	t.Helper()
	var out strings.Builder
	for _, collection := range []string{
		storage.CollectionTokens, storage.CollectionProxyConfigs, storage.CollectionVaultConfig, storage.CollectionBinding,
	} {
		page, err := wh.Storage.List(t.Context(), collection, storage.Query{})
		if err != nil {
			t.Fatalf("listing %s: %v", collection, err)
		}
		for _, listed := range page.Items {
			item, err := wh.Storage.Get(t.Context(), collection, listed.Key)
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				t.Fatalf("reading %s %s: %v", collection, listed.Key, err)
			}
			fmt.Fprintf(&out, "%s %q %v %s\n", collection, item.Key, item.Meta, item.Data)
		}
	}
	return out.String()
}

// unchanged returns a check that what a webhook keeps is what it kept before.
func unchanged(t *testing.T, wh *webhooktest.Webhook) func() {
	t.Helper()
	before := snapshot(t, wh)
	return func() {
		t.Helper()
		if after := snapshot(t, wh); after != before {
			t.Errorf("what the webhook keeps has changed: got\n%s\nwant\n%s", after, before)
		}
	}
}

func config(fn func(*webhook.Config)) webhooktest.Option { return fn }

// keysOf reads the keys of a webhook's folder.
func keysOf(t testing.TB, dir string) *custody.Keys {
	t.Helper()
	keys, err := custody.LoadOrCreate(filepath.Join(dir, "keys.json"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
