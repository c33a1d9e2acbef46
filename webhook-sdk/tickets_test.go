package webhook_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestATicketThatIsNotForThisCallIsRefused(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t)
	tv.Store("gitlab", plain("glpat"))
	check := unchanged(t, wh)
	good := func() wire.Ticket { return tv.Ticket(wire.PurposeAgentCredential, "github") }
	redeem := func(text, service string) webhooktest.Answer {
		query := url.Values{"ticket": {text}, "service": {service}}
		return tv.Do(tv.Request(http.MethodGet, wire.PathCredential+"?"+query.Encode(), nil))
	}
	with := func(change func(*wire.Ticket)) string {
		ticket := good()
		change(&ticket)
		return tv.Sign(ticket)
	}
	for name, text := range map[string]string{
		"none":              "",
		"one part":          strings.ReplaceAll(tv.Sign(good()), ".", ""),
		"three parts":       tv.Sign(good()) + ".x",
		"altered payload":   "A" + tv.Sign(good())[1:],
		"altered MAC":       tv.Sign(good())[:20] + "0" + tv.Sign(good())[21:],
		"too long":          strings.Repeat("a", 5000) + ".b",
		"for another name":  with(func(k *wire.Ticket) { k.Service = "gitlab" }),
		"to store":          with(func(k *wire.Ticket) { k.Purpose = wire.PurposeStore }),
		"for the proxy":     with(func(k *wire.Ticket) { k.Purpose = wire.PurposeProxy }),
		"for a code":        with(func(k *wire.Ticket) { k.Purpose = wire.PurposeTOTPCode }),
		"of no purpose":     with(func(k *wire.Ticket) { k.Purpose = "" }),
		"of another owner":  with(func(k *wire.Ticket) { k.Subject = "owner-2" }),
		"of no owner":       with(func(k *wire.Ticket) { k.Subject = "" }),
		"without a nonce":   with(func(k *wire.Ticket) { k.Nonce = "" }),
		"issued before us":  with(func(k *wire.Ticket) { k.IssuedAt = c.now().Add(-time.Minute).Unix() }),
		"without its issue": with(func(k *wire.Ticket) { k.IssuedAt = 0 }),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, redeem(text, "github"), http.StatusUnauthorized, wire.CodeTicketInvalid)
		})
	}
	for name, exp := range map[string]int64{"expired": c.now().Unix(), "without an end": 0, "of the past": 1} {
		t.Run(name, func(t *testing.T) {
			refused(t, redeem(with(func(k *wire.Ticket) { k.ExpiresAt = exp }), "github"), http.StatusUnauthorized, wire.CodeTicketExpired)
		})
	}
	t.Run("for another service of the request", func(t *testing.T) {
		refused(t, redeem(tv.Sign(good()), "gitlab"), http.StatusUnauthorized, wire.CodeTicketInvalid)
	})
	check()
}

func TestATicketWorksOnceUntilItEnds(t *testing.T) {
	t.Parallel()
	_, tv, c := bound(t)
	ticket := tv.Ticket(wire.PurposeAgentCredential, "github")
	accepted(t, tv.Redeem(wire.PathCredential, ticket))
	refused(t, tv.Redeem(wire.PathCredential, ticket), http.StatusUnauthorized, wire.CodeTicketInvalid)
	c.move(wire.AgentTicketLife - time.Second)
	refused(t, tv.Redeem(wire.PathCredential, ticket), http.StatusUnauthorized, wire.CodeTicketInvalid)
	c.move(time.Second)
	refused(t, tv.Redeem(wire.PathCredential, ticket), http.StatusUnauthorized, wire.CodeTicketExpired)
}

func TestOneOfManyConcurrentUsesOfATicketSucceeds(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	ticket := tv.Ticket(wire.PurposeAgentCredential, "github")
	var mu sync.Mutex
	count := map[int]int{}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			got := tv.Redeem(wire.PathCredential, ticket)
			mu.Lock()
			defer mu.Unlock()
			count[got.Status]++
		})
	}
	group.Wait()
	if count[http.StatusOK] != 1 || count[http.StatusUnauthorized] != 15 {
		t.Errorf("statuses are %v, want one 200 and 15 times 401", count)
	}
}

func TestAWrongTicketSaysNothingOfTheRestOfTheRequest(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	// tokenData of a wrong type would be 400, were it looked at.
	body := map[string]any{"ticket": "forged.ticket", "service": "github", "tokenData": 7}
	refused(t, tv.Do(tv.Request(http.MethodPost, wire.PathStore, body)), http.StatusUnauthorized, wire.CodeTicketInvalid)
	refused(t, tv.Signed(wire.PathProxy, map[string]any{"ticket": "forged.ticket", "service": "github", "upstream": 7}),
		http.StatusUnauthorized, wire.CodeTicketInvalid)
	body["ticket"] = tv.Sign(tv.Ticket(wire.PurposeStore, "github"))
	refused(t, tv.Do(tv.Request(http.MethodPost, wire.PathStore, body)), http.StatusBadRequest, wire.CodeInvalidRequest)
}

func TestTheFirstTicketSaysWhoTheOwnerIsAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	c := newClock()
	first, tv := webhooktest.New(t, webhooktest.WithClock(c.now))
	stranger := *tv
	stranger.Owner = "owner-2"

	// Tickets that fail any check say nothing.
	wrong := stranger.Ticket(wire.PurposeStore, "github")
	refused(t, stranger.Redeem(wire.PathCredential, wrong), http.StatusUnauthorized, wire.CodeTicketInvalid)
	tv.Store("github", plain("one"))
	refused(t, stranger.TryStore(stranger.Ticket(wire.PurposeStore, "github"), plain("two")),
		http.StatusUnauthorized, wire.CodeTicketInvalid)

	first.Stop()
	second := webhooktest.Start(t, first.Dir, webhooktest.WithClock(c.now))
	tv.URL, stranger.URL = second.URL, second.URL
	check := unchanged(t, second)
	refused(t, stranger.TryStore(stranger.Ticket(wire.PurposeStore, "github"), plain("two")),
		http.StatusUnauthorized, wire.CodeTicketInvalid)
	check()
	if got := tv.Reveal("github")["accessToken"]; got != "one" {
		t.Errorf("the token is %v, want one", got)
	}
}

func TestOfManyFirstTicketsOneOwnerRemains(t *testing.T) {
	t.Parallel()
	c := newClock()
	_, tv := webhooktest.New(t, webhooktest.WithClock(c.now))
	owners := []string{"a", "b", "c", "d", "e", "f"}
	won := make(chan string, len(owners))
	var group sync.WaitGroup
	for _, owner := range owners {
		group.Go(func() {
			other := *tv
			other.Owner = owner
			if other.TryStore(other.Ticket(wire.PurposeStore, "s"), plain(owner)).Status == http.StatusOK {
				won <- owner
			}
		})
	}
	group.Wait()
	close(won)
	if len(won) != 1 {
		t.Fatalf("%d owners got through, want 1", len(won))
	}
	tv.Owner = <-won
	if got := tv.Reveal("s")["accessToken"]; got != tv.Owner {
		t.Errorf("the token is %v, want that of the owner who won, %v", got, tv.Owner)
	}
}

func TestATicketsConstraintsHold(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	meta := tv.Store("github", plain("second"))
	check := unchanged(t, wh)

	create := tv.Ticket(wire.PurposeStore, "github")
	create.Mode = wire.ModeCreate
	refused(t, tv.TryStore(create, plain("third")), http.StatusConflict, wire.CodeAlreadyExists)
	stale := tv.Ticket(wire.PurposeStore, "github")
	stale.CreationID = "another"
	refused(t, tv.TryStore(stale, plain("third")), http.StatusConflict, wire.CodeStaleCreation)
	gone := tv.Ticket(wire.PurposeStore, "not-there")
	gone.CreationID = "another"
	refused(t, tv.TryStore(gone, plain("third")), http.StatusConflict, wire.CodeStaleCreation)
	for _, path := range []string{wire.PathCredential, wire.PathTOTPCode} {
		read := tv.Ticket(wire.PurposeUserReveal, "github")
		read.CreationID = "another"
		refused(t, tv.Redeem(path, read), http.StatusConflict, wire.CodeStaleCreation)
	}
	odd := tv.Ticket(wire.PurposeStore, "github")
	odd.Mode = "append"
	refused(t, tv.TryStore(odd, plain("third")), http.StatusUnauthorized, wire.CodeTicketInvalid)
	check()

	read := tv.Ticket(wire.PurposeUserReveal, "github")
	read.CreationID, _ = meta["creationId"].(string)
	accepted(t, tv.Redeem(wire.PathCredential, read))
	over := tv.Ticket(wire.PurposeStore, "github")
	over.CreationID, over.Mode = read.CreationID, wire.ModeOverwrite
	accepted(t, tv.TryStore(over, plain("third")))
	fresh := tv.Ticket(wire.PurposeStore, "new")
	fresh.Mode = wire.ModeCreate
	accepted(t, tv.TryStore(fresh, plain("new")))
}

func TestAnOperatorCanRestrictPurposes(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t, config(func(c *webhook.Config) {
		c.Purposes = []wire.Purpose{wire.PurposeStore, wire.PurposeAgentCredential}
	}))
	check := unchanged(t, wh)
	refused(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "github")), http.StatusForbidden, wire.CodeForbidden)
	refused(t, tv.Proxy("github", wire.ProxyUpstream{URL: "https://example.com", Method: "GET"}, nil), http.StatusForbidden, wire.CodeForbidden)
	check()
	accepted(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeAgentCredential, "github")))
	var health wire.HealthResponse
	tv.Health().Decode(t, &health)
	if got, want := strings.Join(health.Capabilities, " "), "credential mint storage store ticketConstraints totp"; got != want {
		t.Errorf("capabilities are %q, want %q", got, want)
	}
}

func TestATicketRequestIsReadFromQueryOrBody(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	check := unchanged(t, wh)
	body := func() map[string]any {
		return map[string]any{"ticket": tv.Sign(tv.Ticket(wire.PurposeUserReveal, "github")), "service": "github", "unknown": 1}
	}
	accepted(t, tv.Do(tv.Request(http.MethodPost, wire.PathCredential, body())))
	query := url.Values{"ticket": {tv.Sign(tv.Ticket(wire.PurposeUserReveal, "github"))}, "service": {"github"}}
	accepted(t, tv.Do(tv.Request(http.MethodPost, wire.PathCredential+"?"+query.Encode(), nil)))

	query = url.Values{"ticket": {tv.Sign(tv.Ticket(wire.PurposeUserReveal, "github"))}, "service": {"github", "gitlab"}}
	refused(t, tv.Do(tv.Request(http.MethodGet, wire.PathCredential+"?"+query.Encode(), nil)), http.StatusBadRequest, wire.CodeInvalidRequest)
	refused(t, tv.Do(tv.Request(http.MethodGet, wire.PathCredential+"?ticket=%zz", nil)), http.StatusBadRequest, wire.CodeInvalidRequest)
	form := tv.Request(http.MethodPost, wire.PathCredential, []byte(query.Encode()))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	refused(t, tv.Do(form), http.StatusBadRequest, wire.CodeInvalidRequest)
	refused(t, tv.Do(tv.Request(http.MethodPost, wire.PathTOTPCode, []byte(`{"ticket":7}`))), http.StatusBadRequest, wire.CodeInvalidRequest)
	check()
}
