package main_test

import (
	"context"
	"database/sql"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

const (
	killedTokens = 40              // all read all the time
	killedTTL    = 3 * time.Second // of their access tokens: some 14 refreshes a second
	readPause    = 150 * time.Millisecond
	killRounds   = 8   // of `make test`
	killFull     = 300 // of `make soak`
	calmSamples  = 60  // refreshes by which the window is measured, before the first kill

	// Between rotation and kill of an answer that was lost. Windows are some ten
	// milliseconds; this is for machines that stall.
	longestWindow = 5 * time.Second
)

// randomKills: servers are killed at random moments, amid refreshes. Afterwards each token can be refreshed, or
// says that its account has to be connected again; and the latter only if its new tokens were on their way when
// a server was killed, as docs/refresh.md says.
func randomKills(t *testing.T, p programs, dialect string) {
	b := newBattery(t, p.server, dialect, replicas(dialect, 2))
	random := seeded(t)
	stop := b.readAlways(t)
	b.untilRefreshed(t, 2*killedTokens+calmSamples)
	w := b.window(t)
	t.Logf("from a request at the provider to new tokens with their reader, of %d: %s", len(w), spread(w))

	kills := b.killing(t, random, rounds(t, killRounds, killFull))
	stop()
	for _, s := range b.servers {
		kills = append(kills, kill(s))
	}
	endLeases(t, b.site.database)
	b.settle(t)
	b.account(t, kills, w)
}

// A battery is servers under kill -9, and tokens of which each has a reader.
type battery struct {
	site     *site
	provider *oidc.Provider
	owner    *apptest.Owner
	key      string // of the agent
	client   *http.Client

	mu      sync.Mutex
	servers []*apptest.Process
	urls    []string
	tokens  []*exposed
	all     []*family
	fresh   int           // new access tokens seen
	seen    chan struct{} // holds a value when one was
	wrong   []string      // what should not have been answered
}

// exposed is a token of a battery. Its fields are under the battery's lock.
type exposed struct {
	service string
	access  string    // as last seen
	since   time.Time // readings that began before may be of the family before
	*family
}

// A family is what came of connecting an account once.
type family struct {
	root string      // hash of its first refresh token
	seen []time.Time // when readers first got what each of its refreshes brought
	lost bool        // its account is to be connected again
}

func newBattery(t *testing.T, program, dialect string, servers int) *battery {
	t.Helper()
	b := &battery{
		provider: oidc.Start(t, oidc.Options{AccessTokenTTL: killedTTL}), client: crowd(t, killedTokens), seen: make(chan struct{}, 1),
	}
	b.site = newSite(t, program, storetest.Blank(t, dialect), known(t, b.provider, b.provider.Issuer))
	for range servers {
		p, url := b.site.start(t)
		b.servers, b.urls = append(b.servers, p), append(b.urls, url)
	}
	b.owner = apptest.NewOwner(t, b.urls[0], "owner@example.com", b.client)
	b.owner.Register()
	id, key := b.owner.Agent("reader")
	b.key = key
	for i := range killedTokens {
		token := &exposed{service: serviceNamed(i)}
		b.connect(t, token, killedTTL*time.Duration(i)/killedTokens) // not all at the same time
		b.tokens = append(b.tokens, token)
		b.owner.Grant(id, token.service, 0)
	}
	return b
}

// connect stores a new pair under a token's name, which is refreshed after so long.
func (b *battery) connect(t *testing.T, token *exposed, life time.Duration) {
	t.Helper()
	data, tokens := connected(t, b.provider, token.service, time.Now().Add(life))
	b.owner.Server = b.server(0)
	keep(t, b.owner, token.service, data)
	b.mu.Lock()
	defer b.mu.Unlock()
	token.access, token.since, token.family = tokens.AccessToken, time.Now(), &family{root: oidc.Hash(tokens.RefreshToken)}
	b.all = append(b.all, token.family)
}

func (b *battery) server(i int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.urls[i%len(b.urls)]
}

// readAlways has each token read again and again, at all servers in turn, until stop.
func (b *battery) readAlways(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for n, token := range b.tokens {
		all.Go(func() {
			pace := time.NewTicker(readPause)
			defer pace.Stop()
			for turn := n; ctx.Err() == nil; turn++ {
				began := time.Now()
				if r, err := ask(ctx, b.client, b.server(turn), b.key, token.service); err == nil { // or killed
					b.note(token, r, began)
				}
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// note looks at what a reader was answered.
func (b *battery) note(token *exposed, r reading, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case began.Before(token.since), r.Status == http.StatusOK && r.AccessToken == token.access:
	case r.Status == http.StatusOK && r.ExpiresAt.After(began):
		token.access, token.seen = r.AccessToken, append(token.seen, time.Now())
		b.fresh++
		select {
		case b.seen <- struct{}{}:
		default:
		}
	case r.Status == http.StatusConflict && r.Code == "REAUTHORIZATION_REQUIRED":
		token.lost = true
	case r.Status == http.StatusBadGateway && r.Code == "REFRESH_FAILED" && r.Header.Get("Retry-After") != "":
	default:
		b.wrong = append(b.wrong, fmt.Sprintf("%s: %s", token.service, r.Answer))
	}
}

// untilRefreshed waits until readers have seen so many more new access tokens.
func (b *battery) untilRefreshed(t *testing.T, more int) {
	t.Helper()
	b.mu.Lock()
	goal := b.fresh + more
	b.mu.Unlock()
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	for {
		b.mu.Lock()
		reached, wrong := b.fresh >= goal, b.wrong
		b.mu.Unlock()
		if len(wrong) > 0 {
			t.Fatalf("readers got %d answers that none should get, such as %s", len(wrong), wrong[0])
		}
		if reached {
			return
		}
		select {
		case <-b.seen:
			limit.Reset(2 * time.Minute)
		case <-limit.C:
			t.Fatal("no tokens are refreshed any more")
		}
	}
}

// killing kills servers, each a random moment after some refreshes, and starts others.
func (b *battery) killing(t *testing.T, random *mathrand.Rand, times int) (kills []ending) {
	t.Helper()
	for range times {
		b.untilRefreshed(t, 1+random.IntN(30))
		moment := time.NewTimer(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
		<-moment.C // not only just after an answer
		n := random.IntN(len(b.servers))
		kills = append(kills, kill(b.servers[n]))
		p, url := b.site.start(t)
		b.mu.Lock()
		b.servers[n], b.urls[n] = p, url
		var lost []*exposed
		for _, token := range b.tokens {
			if token.lost {
				lost = append(lost, token)
			}
		}
		b.mu.Unlock()
		for _, token := range lost { // as its owner would
			b.connect(t, token, killedTTL)
		}
	}
	return kills
}

// settle reads each token on a new server until it was refreshed, or says that its
// account has to be connected again.
func (b *battery) settle(t *testing.T) {
	t.Helper()
	_, url := b.site.start(t)
	b.mu.Lock()
	b.urls = []string{url}
	b.mu.Unlock()
	b.owner.Server = url
	limit := time.Now().Add(5 * time.Minute)
	for _, token := range b.tokens {
		first := token.access
		for token.access == first && !token.lost {
			began := time.Now()
			r, err := ask(t.Context(), b.client, url, b.key, token.service)
			if err != nil {
				t.Fatal(err)
			}
			if b.note(token, r, began); time.Now().After(limit) {
				t.Fatalf("%s is neither refreshed nor says that it has to be connected again: %s", token.service, r.Answer)
			}
		}
	}
	if len(b.wrong) > 0 {
		t.Errorf("readers got %d answers that none should get, such as %s", len(b.wrong), b.wrong[0])
	}
}

// A rotation is a refresh that the provider did.
type rotation struct {
	oidc.Call
	of   *family
	seen time.Time // when a reader had it first; zero: never
}

// rotations are all refreshes so far, each with who saw it. Only its reader reads a
// token, so that the families' order is the readers'.
func (b *battery) rotations(t *testing.T) (all []rotation) {
	t.Helper()
	// What readers saw first, then what the provider did: they may go on meanwhile.
	b.mu.Lock()
	families, saw := slices.Clone(b.all), make([][]time.Time, len(b.all))
	for i, f := range families {
		saw[i] = slices.Clone(f.seen)
	}
	b.mu.Unlock()
	next := map[string]oidc.Call{} // by the hash of what was presented
	for _, c := range b.provider.Calls() {
		if c.GrantType == "refresh_token" && c.Status == http.StatusOK {
			next[c.RefreshToken] = c
		}
	}
	for i, f := range families {
		seen := saw[i]
		for c, ok := next[f.root]; ok; c, ok = next[c.Issued] {
			r := rotation{Call: c, of: f}
			if len(seen) > 0 {
				r.seen, seen = seen[0], seen[1:]
			}
			all = append(all, r)
		}
		if len(seen) > 0 {
			t.Errorf("readers got %d access tokens more than the provider gave", len(seen))
		}
	}
	return all
}

// window measures refreshes when nobody is killed: from when a request was with the
// provider to when its reader had the new token.
func (b *battery) window(t *testing.T) (all []time.Duration) {
	t.Helper()
	for _, r := range b.rotations(t) {
		if r.RefreshToken != r.of.root && !r.seen.IsZero() { // the first ones all come at once
			all = append(all, r.seen.Sub(r.Received.Time()))
		}
	}
	return all
}

// account compares what was lost with what the provider knows: whose new tokens were
// never used and are not stored, was lost; and nothing else.
func (b *battery) account(t *testing.T, kills []ending, windows []time.Duration) {
	t.Helper()
	inUse := map[string]bool{} // hashes of refresh tokens that were stored
	for _, token := range b.tokens {
		if token.lost { // and nobody is told what is stored
			continue
		}
		now := revealed(b.owner, token.service).RefreshToken
		inUse[oidc.Hash(now)] = true
		if state := b.provider.State(now); state != oidc.Current {
			t.Errorf("%s was refreshed, and the refresh token that is stored is %q at the provider, want %q", token.service, state, oidc.Current)
		}
	}
	rotations := b.rotations(t)
	presented := map[string]oidc.Call{}
	for _, c := range b.provider.Calls() {
		inUse[c.RefreshToken] = true
		before, again := presented[c.RefreshToken]
		presented[c.RefreshToken] = c
		if again && c.RefreshToken != "" && !slices.ContainsFunc(kills, func(k ending) bool { return k.after.After(before.Received.Time()) && k.before.Before(c.Worked.Time()) }) {
			t.Errorf("a refresh token was presented twice (%+v, %+v), and no server was killed in between", before, c)
		}
	}
	atRisk, lost := 0, 0
	var late []time.Duration // how long before its server's end a token was rotated that got lost
	for _, r := range rotations {
		if slices.ContainsFunc(kills, func(k ending) bool {
			return k.after.After(r.Received.Time()) && (r.seen.IsZero() || k.before.Before(r.seen))
		}) {
			atRisk++
		}
		end, killed := endOf(kills, r.Call)
		if inUse[r.Issued] {
			continue
		}
		switch lost++; {
		case !r.of.lost:
			t.Errorf("new tokens are lost, and nobody is told to connect their account again: %+v", r.Call)
		case !killed:
			t.Errorf("new tokens were lost after the last kill: %+v", r.Call)
		case !r.seen.IsZero():
			t.Errorf("new tokens were lost that a reader had got: %+v", r.Call)
		default:
			late = append(late, end.Sub(r.Worked.Time()))
		}
	}
	wantInWindow(t, "server", late)
	said := 0
	for _, f := range b.all {
		if f.lost {
			said++
		}
	}
	if said != lost {
		t.Errorf("%d accounts have to be connected again, and the new tokens of %d refreshes are lost; want these to be the same", said, lost)
	}
	b.compare(t, rotations, len(kills), lost, windows)
	t.Logf("%d of %d refreshes were under way when their server was killed; those that are lost were rotated before its end by: %s", atRisk, len(rotations), spread(late))
}

// An ending is a kill: the process ended between these times.
type ending struct{ before, after time.Time }

func kill(p *apptest.Process) ending {
	before := time.Now()
	p.Kill()
	return ending{before, time.Now()}
}

// How long a request may be on its way whose sender is killed meanwhile: on a busy machine
// the provider reads it when that is dead. A few may take long, when the machine stalls.
const (
	onTheWay = 10 * time.Second
	usually  = 2 * time.Second
	fewLate  = 3
)

// wantInWindow checks how long before their holder's end tokens that are lost were
// rotated: it had no time to store them. Less than nothing: its request was on the way.
func wantInWindow(t *testing.T, holder string, lost []time.Duration) {
	t.Helper()
	few := 0
	for _, d := range lost {
		if d > longestWindow {
			t.Errorf("tokens were lost that the %s had got %s before it was killed: it had time to store them (limit %s)", holder, d, longestWindow)
		}
		if d < -usually {
			few++
		}
	}
	if few > fewLate {
		t.Errorf("%d tokens were lost that were rotated more than %s after the %s was killed, want %d at most: %s", few, usually, holder, fewLate, spread(lost))
	}
}

// endOf is the kill that can have cost a call its answer: the next one, as a rule; else
// the one just before.
func endOf(kills []ending, c oidc.Call) (end time.Time, killed bool) {
	at := c.Received.Time()
	next := slices.IndexFunc(kills, func(k ending) bool { return k.after.After(at) })
	last := next - 1
	if next < 0 {
		last = len(kills) - 1
	}
	switch {
	case next >= 0 && kills[next].before.Sub(at) < longestWindow:
		return kills[next].before, true
	case last >= 0 && at.Sub(kills[last].after) < onTheWay:
		return kills[last].before, true
	case next >= 0:
		return kills[next].before, true
	}
	return time.Time{}, false
}

// compare holds how many tokens were lost against the window's share: the chance that
// a moment falls into the window of a refresh, as long as that is measured from outside.
func (b *battery) compare(t *testing.T, rotations []rotation, kills, lost int, windows []time.Duration) {
	t.Helper()
	first, last := rotations[0].Received, rotations[0].Received
	for _, r := range rotations {
		first, last = min(first, r.Received), max(last, r.Received)
	}
	rate := float64(len(rotations)) / last.Time().Sub(first.Time()).Seconds() / float64(len(b.servers)) // a second and server
	t.Logf("%d kills at %.1f refreshes a second and server: %d accounts are to be connected again, %.2f a kill, as if the window were %.0f ms long",
		kills, rate, lost, float64(lost)/float64(kills), 1000*float64(lost)/float64(kills)/rate)
	// The machine may have more to do by now than in the calm.
	window := max(mean(windows), median(b.window(t)))
	if most := 3*rate*window.Seconds()*float64(kills) + 10; float64(lost) > most {
		t.Errorf("%d accounts are to be connected again after %d kills, want at most %.0f: three times the window's share, and ten", lost, kills, most)
	}
}

// spread is a few figures of many.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(all))
	at := func(share float64) time.Duration { return s[int(share*float64(len(s)-1))].Round(time.Millisecond) }
	return fmt.Sprintf("median %s, mean %s, 10–90 %% %s–%s, greatest %s", at(0.5), mean(all).Round(time.Millisecond), at(0.1), at(0.9), at(1))
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func mean(all []time.Duration) time.Duration {
	sum := time.Duration(0)
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(max(len(all), 1))
}

// endLeases is the time that leases of dead servers take to end. Nobody may be alive
// who has one.
func endLeases(t *testing.T, database string) {
	t.Helper()
	driver, name := driverOf(database)
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	// What is due comes again when its lease ends.
	if _, err := db.ExecContext(t.Context(), "UPDATE refreshes SET due_at = CASE WHEN due_at = lease_until THEN $1 ELSE due_at END, lease_id = NULL, lease_until = NULL WHERE lease_id IS NOT NULL",
		time.Now().Add(-time.Second).UTC()); err != nil {
		t.Fatal(err)
	}
}

// driverOf is how a database is opened behind the servers' back.
func driverOf(database string) (driver, name string) {
	if path, isSQLite := strings.CutPrefix(database, "sqlite:"); isSQLite {
		return "sqlite", "file:" + path + "?_pragma=busy_timeout(10000)"
	}
	return "pgx", database
}
