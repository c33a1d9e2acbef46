package main_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	watchedTokens = 12
	watchedTTL    = 6 * time.Second // of their access tokens: the server comes by every five seconds or so
	watchedCycles = 3               // refreshes of each token, in `make test`
	watchedDay    = 32              // in `make soak`: what a token that lives for an hour needs in a day
)

// nothingPasses: with tv-refresh off, whatever the server sends and receives while tokens are refreshed on schedule holds
// no refresh token, nor do its database, files, log or memory; though the server has the client secret, too, it never calls the
// provider. The same search finds every one of these tokens between webhook and provider.
func nothingPasses(t *testing.T, p programs, dialect string) {
	w := newWatch(t, p, dialect)
	cycles := rounds(t, watchedCycles, watchedDay)
	w.untilRefreshed(t, cycles)
	w.useEverything(t)

	secrets := w.secrets(t)
	s := newSearch(append(secrets, w.control))
	for place, record := range map[string][][]byte{
		"what clients and the server said to each other": w.clients.record(), "what server and webhook said to each other": w.hook.way.record(), "the server's log": {[]byte(w.process.Log())},
		"what server and database said to each other": w.databaseRecord(), "the database": databaseNow(t, w.database), "the server's memory": nil, "the server's files": nil,
	} {
		f, size := found{}, 0
		for _, text := range record {
			s.in(f, text)
			size += len(text)
		}
		switch place {
		case "the server's memory":
			for range 20 { // the display name lies where the last list was, until that is used again
				w.owner.Must(http.MethodGet, "/api/tokens", nil, nil)
				if size = int(s.memory(t, f, w.process)); len(f[w.control.Name]) > 0 {
					break
				}
			}
		case "the server's files":
			s.folder(t, f, w.process.Dir())
		}
		t.Logf("%s: %d bytes searched for %d forms of %d tokens", place, size, len(s.needles), len(secrets))
		for _, secret := range secrets {
			if len(f[secret.Name]) > 0 {
				t.Errorf("%s is in %s, as %v", secret.Name, place, f[secret.Name])
			}
		}
		if size > 0 && place != "the server's log" && len(f[w.control.Name]) == 0 {
			t.Errorf("the search does not find the display name in %s, where it is: what it does not find says nothing", place)
		}
	}
	f := found{}
	for _, text := range w.webhooks.record() {
		s.in(f, text)
	}
	for _, secret := range secrets {
		if len(f[secret.Name]) == 0 {
			t.Errorf("the search does not find %s between webhook and provider, where it was: what it does not find says nothing", secret.Name)
		}
	}
	if n := w.way.connections(); n != 0 {
		t.Errorf("the server made %d connections to the provider, want none", n)
	}
}

// A watch is a server all of whose connections are recorded, and a webhook that
// refreshes by itself when told to.
type watch struct {
	provider *oidc.Provider
	webhooks *tap // from the webhook to the provider
	way      *tap // from the server to the provider
	data     *tap // from the server to its database; nil: a file
	clients  *tap // from everybody to the server
	database string
	process  *apptest.Process
	hook     *hook
	owner    *apptest.Owner
	agent    string // its id
	key      string
	control  apptest.Secret // passes through the server, as it is meant to
	first    []oidc.Tokens
}

func newWatch(t *testing.T, p programs, dialect string) *watch {
	t.Helper()
	w := &watch{
		provider: oidc.Start(t, oidc.Options{AccessTokenTTL: watchedTTL}), database: storetest.Blank(t, dialect),
		control: apptest.Secret{Name: "display name", Value: []byte("control-" + rand.Text())},
	}
	var fromWebhook, fromServer string
	w.webhooks, fromWebhook = tapped(t, w.provider.Issuer, true)
	w.way, fromServer = tapped(t, w.provider.Issuer, true)
	database := w.database
	if !strings.HasPrefix(database, "sqlite:") {
		w.data, database = tapped(t, database, true)
	}
	var address string
	w.process, address = newSite(t, p.server, database, known(t, w.provider, fromServer)).start(t)
	w.clients, address = tapped(t, address, true)
	w.hook = startHook(t, p.webhook, known(t, w.provider, fromWebhook), true)

	w.owner = apptest.NewOwner(t, address, "owner@example.com", apptest.NewClient(t, nil))
	w.owner.Register()
	w.owner.Bind(w.hook.url, adminSecret)
	w.agent, w.key = w.owner.Agent("reader")
	for i := range watchedTokens {
		data, tokens := connected(t, w.provider, serviceNamed(i), time.Now().Add(watchedTTL))
		data["displayName"] = string(w.control.Value)
		w.hook.store(t, w.owner, serviceNamed(i), data)
		w.first = append(w.first, tokens)
		w.owner.Grant(w.agent, serviceNamed(i), 0)
	}
	return w
}

// untilRefreshed waits until the schedule has had each token refreshed so often.
func (w *watch) untilRefreshed(t *testing.T, cycles int) {
	t.Helper()
	began, limit := time.Now(), time.NewTimer(10*time.Minute)
	defer limit.Stop()
	for {
		next, least := map[string]string{}, cycles
		for _, c := range w.provider.Calls() {
			if c.GrantType == "refresh_token" && c.Status != http.StatusOK {
				t.Fatalf("the provider refused to refresh: %+v", c)
			}
			next[c.RefreshToken] = c.Issued
		}
		for _, tokens := range w.first {
			n, at := 0, next[oidc.Hash(tokens.RefreshToken)]
			for ; at != ""; at = next[at] {
				n++
			}
			least = min(least, n)
		}
		if least == cycles {
			t.Logf("each of %d tokens was refreshed %d times or more, in %s", watchedTokens, cycles, time.Since(began).Round(time.Second))
			return
		}
		select {
		case <-w.webhooks.posted:
		case <-limit.C:
			t.Fatalf("some token was refreshed %d times in %s, want %d; the server said:\n%s", least, time.Since(began), cycles, w.process.Log())
		}
	}
}

// useEverything does what shows or touches refreshable tokens.
func (w *watch) useEverything(t *testing.T) {
	t.Helper()
	for i := range watchedTokens {
		service := serviceNamed(i)
		if r, err := ask(t.Context(), w.owner.Client, w.owner.Server, w.key, service); err != nil || r.Status != http.StatusTemporaryRedirect {
			t.Errorf("an agent asked for %s: %v %s, want 307", service, err, r.Answer)
		}
		w.owner.CredentialTicket(service, wire.PurposeUserReveal)
		w.owner.Must(http.MethodGet, "/api/tokens/"+service, nil, nil)
		var done struct{ Path, Outcome string }
		w.owner.Must(http.MethodPost, "/api/tokens/"+service+"/refresh", nil, &done)
		if done.Path != "notify" || done.Outcome != "rotated" && done.Outcome != "still_valid" {
			t.Errorf("refreshing %s when its owner asks: %+v, want notify, with a token that is new or still valid", service, done)
		}
		for _, page := range []string{"/", "/token/" + url.PathEscape(service)} {
			if got := w.owner.Do(http.MethodGet, page, nil); got.Status != http.StatusOK {
				t.Errorf("page %s: %s, want it", page, got)
			}
		}
	}
	var log struct {
		Events []struct{ Detail string }
	}
	w.owner.Must(http.MethodGet, "/api/tokens/audit-log?eventType=refresh&limit=1000", nil, &log)
	if len(log.Events) < watchedTokens {
		t.Errorf("%d refreshes are on record, want %d or more", len(log.Events), watchedTokens)
	}
	w.owner.Must(http.MethodPost, "/api/vault/sync", nil, nil)
	w.owner.Must(http.MethodGet, "/api/tokens/audit-log?format=csv", nil, nil)
}

var givenTokens = regexp.MustCompile(`"(access_token|refresh_token|id_token)":"([^"]+)"`)

// secrets are all tokens that the provider has given the webhook, and those that it began
// with. Each refresh token of the provider's own list is among them.
func (w *watch) secrets(t *testing.T) (all []apptest.Secret) {
	t.Helper()
	known := map[string]bool{}
	add := func(kind, value string) {
		if !known[oidc.Hash(value)] {
			known[oidc.Hash(value)] = true
			all = append(all, apptest.Secret{Name: fmt.Sprintf("%s %d", kind, len(all)), Value: []byte(value)})
		}
	}
	for _, tokens := range w.first {
		add("first refresh_token", tokens.RefreshToken)
	}
	calls := w.provider.Calls() // first: refreshes go on
	missing := func() (list []oidc.Call) {
		for _, text := range w.webhooks.record() {
			for _, m := range givenTokens.FindAllSubmatch(text, -1) {
				add(string(m[1]), string(m[2]))
			}
		}
		for _, c := range calls {
			if c.Issued != "" && c.Fate == oidc.Answered && !known[c.Issued] {
				list = append(list, c)
			}
		}
		return list
	}
	pause, limit := time.NewTicker(lookPause), time.Now().Add(time.Minute)
	defer pause.Stop()
	for list := missing(); len(list) > 0; list = missing() { // an answer may be on its way
		if time.Now().After(limit) {
			t.Fatalf("refresh tokens that the provider gave are not in what webhook and provider said to each other: %+v", list)
		}
		<-pause.C
	}
	return all
}

func (w *watch) databaseRecord() [][]byte {
	if w.data == nil {
		return nil
	}
	return w.data.record()
}

// databaseNow is a database with all that lies beside it.
func databaseNow(t *testing.T, database string) (texts [][]byte) {
	t.Helper()
	path, isSQLite := strings.CutPrefix(database, "sqlite:")
	if !isSQLite {
		return [][]byte{pgDump(t, database)}
	}
	files, err := filepath.Glob(filepath.Dir(path) + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no database beside %s (%v)", path, err)
	}
	for _, file := range files {
		texts = append(texts, readFile(t, file))
	}
	return texts
}
