package main_test

import (
	"database/sql"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

const (
	hookedTokens = 24
	hookedTTL    = 8 * time.Second // of their access tokens: the server comes by every five seconds or so
	hookedRounds = 6               // kills, in `make test`
	hookedFull   = 150             // in `make soak`
	atOnce       = 4               // refreshes of a webhook's tokens
	lookPause    = 100 * time.Millisecond

	theServer, theWebhook = "server", "webhook"
)

// notifiedKills: the webhook has the client secret and refreshes when it is told to; server or webhook is killed at
// random. Only what the webhook had under way when it was killed itself may be lost.
func notifiedKills(t *testing.T, p programs, dialect string) { hookedKills(t, p, dialect, false) }

// mediatedKills: the server refreshes for the webhook. Only what the server had under way when it was killed itself may
// be lost: for a webhook that is away, it keeps what it got.
func mediatedKills(t *testing.T, p programs, dialect string) { hookedKills(t, p, dialect, true) }

func hookedKills(t *testing.T, p programs, dialect string, mediated bool) {
	t.Helper()
	h := newHooked(t, p, dialect, mediated, hookedTTL)
	for i := range hookedTokens {
		h.connect(t, i, hookedTTL*time.Duration(i)/hookedTokens)
	}
	random := seeded(t)
	for range rounds(t, hookedRounds, hookedFull) {
		h.kill(t, random)
	}
	h.settle(t)
	h.account(t)
}

// A hooked is a server and a webhook with the tokens, one of which calls the provider.
type hooked struct {
	site     *site
	process  *apptest.Process
	provider *oidc.Provider
	way      *tap // of who calls the provider
	hook     *hook
	owner    *apptest.Owner
	holder   string // who that is
	roots    [hookedTokens]string
	lost     map[string]bool // hashes of the first refresh tokens of families that are lost
	kills    map[string][]ending
}

func newHooked(t *testing.T, p programs, dialect string, mediated bool, life time.Duration) *hooked {
	t.Helper()
	h := &hooked{provider: oidc.Start(t, oidc.Options{AccessTokenTTL: life}), lost: map[string]bool{}, kills: map[string][]ending{}}
	way, base := tapped(t, h.provider.Issuer, true)
	h.way = way
	providers := known(t, h.provider, base)
	h.site = newSite(t, p.server, storetest.Blank(t, dialect), "")
	if h.holder = theWebhook; mediated {
		h.holder, h.site.providers = theServer, providers
	}
	process, address := h.site.start(t)
	h.process = process
	if mediated {
		h.hook = startHook(t, p.webhook, "", false, "TV_WEBHOOK_TV_REFRESH=true")
	} else {
		h.hook = startHook(t, p.webhook, providers, false)
	}
	h.owner = apptest.NewOwner(t, address, "owner@example.com", apptest.NewClient(t, nil))
	h.owner.Register()
	h.owner.Bind(h.hook.url, adminSecret)
	return h
}

func (h *hooked) connect(t *testing.T, i int, life time.Duration) {
	t.Helper()
	h.roots[i] = oidc.Hash(h.hook.connect(t, h.owner, h.provider, serviceNamed(i), life).RefreshToken)
}

// restart starts what was killed. A server comes back when the leases of the dead one
// have ended.
func (h *hooked) restart(t *testing.T, who string) {
	t.Helper()
	if who == theWebhook {
		h.hook.start(t)
		return
	}
	endLeases(t, h.site.database)
	h.process, h.owner.Server = h.site.start(t)
}

func (h *hooked) crash(who string) {
	process := h.process
	if who == theWebhook {
		process = h.hook.process
	}
	h.kills[who] = append(h.kills[who], kill(process))
}

// kill waits for some refreshes, kills one of the two a random moment later, and
// starts it anew. Accounts that have to be connected again, are.
func (h *hooked) kill(t *testing.T, random *mathrand.Rand) {
	t.Helper()
	h.untilRequests(t, 1+random.IntN(6))
	moment := time.NewTimer(time.Duration(random.Int64N(int64(40 * time.Millisecond))))
	<-moment.C // not only just when a request was sent
	who := []string{theServer, theWebhook}[random.IntN(2)]
	h.crash(who)
	h.restart(t, who)

	var list []struct{ ServiceName, Status string }
	h.owner.Must(http.MethodGet, "/api/tokens", nil, &list)
	for i, root := range h.roots {
		if slices.ContainsFunc(list, func(s struct{ ServiceName, Status string }) bool {
			return s.ServiceName == serviceNamed(i) && s.Status == "needs_reauthorization"
		}) {
			h.lost[root] = true
			h.connect(t, i, hookedTTL)
		}
	}
}

// untilRequests waits for so many more requests at the provider.
func (h *hooked) untilRequests(t *testing.T, more int) {
	t.Helper()
	goal := h.way.requests() + more
	limit := time.NewTimer(3 * time.Minute)
	defer limit.Stop()
	for h.way.requests() < goal {
		select {
		case <-h.way.posted:
		case <-limit.C:
			t.Fatalf("no tokens are refreshed any more; the server said:\n%s", h.process.Log())
		}
	}
}

// settle has each token refreshed until what is stored works at the provider, or the
// server says that the account has to be connected again.
func (h *hooked) settle(t *testing.T) {
	t.Helper()
	limit := time.Now().Add(3 * time.Minute)
	pause := time.NewTicker(lookPause)
	defer pause.Stop()
	for i, root := range h.roots {
		service := serviceNamed(i)
		for {
			answer := h.owner.Do(http.MethodPost, "/api/tokens/"+service+"/refresh", nil)
			if answer.Status == http.StatusConflict && answer.Code == "REAUTHORIZATION_REQUIRED" {
				h.lost[root] = true
				break
			}
			if answer.Status == http.StatusOK && h.provider.State(h.hook.reveal(t, h.owner, service).RefreshToken) == oidc.Current {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%s is neither refreshed nor says that it has to be connected again: %s; its refresh token is %q at the provider; the server said:\n%s",
					service, answer, h.provider.State(h.hook.reveal(t, h.owner, service).RefreshToken), h.process.Log())
			}
			<-pause.C
		}
	}
}

// account compares what was lost with what the provider knows: whose new tokens were
// never used and are not stored, was lost; and nothing else.
func (h *hooked) account(t *testing.T) {
	t.Helper()
	refreshes := slices.DeleteFunc(h.provider.Calls(), func(c oidc.Call) bool {
		return c.GrantType != "refresh_token" || c.Status != http.StatusOK
	})
	unused := h.unused(t, refreshes)
	pause, limit := time.NewTicker(lookPause), time.Now().Add(2*time.Minute)
	defer pause.Stop()
	for len(unused) > len(h.lost) && time.Now().Before(limit) { // refreshes go on: some may be about to be stored
		<-pause.C
		unused = h.unused(t, unused)
	}
	var late []time.Duration
	for _, c := range unused {
		end, killed := endOf(h.kills[h.holder], c)
		if !killed {
			t.Errorf("new tokens of %s were lost after the last kill of the %s, which alone has them", c.Received.Time(), h.holder)
			continue
		}
		late = append(late, end.Sub(c.Worked.Time()))
	}
	wantInWindow(t, h.holder, late)
	if len(h.lost) != len(late) {
		t.Errorf("%d accounts have to be connected again, and the new tokens of %d refreshes are lost; want these to be the same", len(h.lost), len(late))
	}
	if most := atOnce * len(h.kills[h.holder]); len(late) > most {
		t.Errorf("%d tokens were lost by %d kills of the %s, want at most %d: no more are on their way at a time", len(late), len(h.kills[h.holder]), h.holder, most)
	}
	t.Logf("%d kills of the server, %d of the webhook, amid %d refreshes by the %s: %d accounts are to be connected again. Their tokens were rotated before its end by: %s",
		len(h.kills[theServer]), len(h.kills[theWebhook]), len(refreshes), h.holder, len(late), spread(late))
}

// unused are those refreshes whose new tokens were neither used nor are stored.
func (h *hooked) unused(t *testing.T, refreshes []oidc.Call) []oidc.Call {
	t.Helper()
	inUse := map[string]bool{} // hashes of refresh tokens that were stored
	for i := range h.roots {
		inUse[oidc.Hash(h.hook.reveal(t, h.owner, serviceNamed(i)).RefreshToken)] = true
	}
	for _, c := range h.provider.Calls() { // what was stored before may have been used meanwhile
		inUse[c.RefreshToken] = true
	}
	return slices.DeleteFunc(slices.Clone(refreshes), func(c oidc.Call) bool { return inUse[c.Issued] })
}

// killedBeforeTheUpdate: the webhook is killed after it gave its refresh token and before it gets the new
// ones. The server keeps them, where nobody but the webhook can read them, survives its own death with
// them, and delivers them.
func killedBeforeTheUpdate(t *testing.T, p programs, dialect string) {
	h := newHooked(t, p, dialect, true, time.Hour)
	service := serviceNamed(0)
	first := h.hook.connect(t, h.owner, h.provider, service, time.Hour)
	hold := h.provider.Hold()
	asked := make(chan struct{})
	server := h.owner.Server
	go func() {
		defer close(asked)
		// It is answered late, or not at all: the server is killed.
		_, _ = apptest.Call(t.Context(), h.owner.Client, http.MethodPost, server+"/api/tokens/"+service+"/refresh", nil, "Cookie", h.owner.Cookie, "Origin", server)
	}()
	if err := hold.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	h.crash(theWebhook)
	hold.Answer()
	h.untilOutbox(t, 1)

	var secrets []apptest.Secret
	for _, text := range h.way.record() {
		for _, m := range givenTokens.FindAllSubmatch(text, -1) {
			secrets = append(secrets, apptest.Secret{Name: "new " + string(m[1]), Value: m[2]})
		}
	}
	f := found{}
	s := newSearch(append(secrets, apptest.Secret{Name: "first refresh token", Value: []byte(first.RefreshToken)}))
	for _, text := range databaseNow(t, h.site.database) {
		s.in(f, text)
	}
	if s.in(f, []byte(h.process.Log())); len(f) > 0 || len(secrets) < 2 {
		t.Errorf("while the webhook is away, %v can be read in the server's database or log (of %d new tokens)", f, len(secrets))
	}

	h.crash(theServer)
	<-asked
	h.restart(t, theServer)
	h.restart(t, theWebhook)
	h.untilOutbox(t, 0)
	now := h.hook.reveal(t, h.owner, service)
	if state := h.provider.State(now.RefreshToken); state != oidc.Current || now.RefreshToken == first.RefreshToken || now.AccessToken == first.AccessToken {
		t.Errorf("the webhook has a refresh token that is %q at the provider (the first one: %t); want the new one", state, now.RefreshToken == first.RefreshToken)
	}
	var shown struct{ Status, Trust string }
	if h.owner.Must(http.MethodGet, "/api/tokens/"+service, nil, &shown); shown.Status != "active" || shown.Trust != "tv-refresh" {
		t.Errorf("its owner is shown %+v, want it active and tv-refresh", shown)
	}
}

// untilOutbox waits until so many tokens wait for webhooks.
func (h *hooked) untilOutbox(t *testing.T, want int) {
	t.Helper()
	driver, name := driverOf(h.site.database)
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	pause, limit := time.NewTicker(lookPause), time.Now().Add(3*time.Minute)
	defer pause.Stop()
	for {
		got := 0
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM outbox").Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%d tokens wait for a webhook, want %d; the server said:\n%s", got, want, h.process.Log())
		}
		<-pause.C
	}
}
