package app_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// A shiftedClock is the real one, ahead by as much as a test says.
type shiftedClock struct{ ahead atomic.Int64 }

func (c *shiftedClock) now() time.Time        { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *shiftedClock) shift(d time.Duration) { c.ahead.Store(int64(d)) }

func TestTicketsThatAreNotGoodStoreAndShowNothing(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		clock := &shiftedClock{}
		h := newHouse(t, database, webhooktest.WithClock(clock.now))
		secret := map[string]any{"tokenType": wire.TypePlainText, "accessToken": "ghp_other"}
		refused := func(name string, answer apptest.Answer, status int, code wire.ErrorCode) {
			t.Helper()
			if answer.Status != status || answer.Code != string(code) {
				t.Errorf("%s: got %s, want %d %s", name, answer, status, code)
			}
			if n := h.webhook.Storage.Count(wire.CollectionTokens); n != 1 {
				t.Fatalf("%s: the webhook holds %d tokens, want the one from before", name, n)
			}
			if got := h.owner.Reveal("github")["accessToken"]; got != "ghp_value" {
				t.Fatalf("%s: the stored value is another one", name)
			}
		}
		store := func(t apptest.Ticket, service string) apptest.Answer { return h.owner.TryStore(t, service, secret) }
		altered := func(change func(string) string) apptest.Ticket {
			ticket := h.owner.StoreTicket("gitlab")
			ticket.Ticket = change(ticket.Ticket)
			return ticket
		}
		for name, ticket := range map[string]apptest.Ticket{
			"no ticket": altered(func(string) string { return "" }), "one part": altered(func(s string) string { return strings.SplitN(s, ".", 2)[0] }),
			"three parts": altered(func(s string) string { return s + ".x" }), "padded": altered(func(s string) string { return strings.Replace(s, ".", "=.", 1) }),
			"signature of another": altered(func(s string) string {
				return strings.SplitN(s, ".", 2)[0] + "." + strings.SplitN(h.owner.StoreTicket("other").Ticket, ".", 2)[1]
			}),
			"upper-case signature": altered(func(s string) string {
				parts := strings.SplitN(s, ".", 2)
				return parts[0] + "." + strings.ToUpper(parts[1])
			}),
			"for seeing": h.owner.CredentialTicket("github", wire.PurposeUserReveal),
		} {
			refused(name, store(ticket, "gitlab"), 401, wire.CodeTicketInvalid)
		}
		refused("for another service", store(h.owner.StoreTicket("gitlab"), "github"), 401, wire.CodeTicketInvalid)

		late := h.owner.StoreTicket("gitlab")
		clock.shift(wire.TicketLife + 2*time.Second)
		got := store(late, "gitlab")
		clock.shift(0)
		refused("expired", got, 401, wire.CodeTicketExpired)

		create := func() (ticket apptest.Ticket) {
			h.owner.Must(http.MethodPost, "/api/vault/store-ticket", map[string]string{"serviceName": "github", "mode": wire.ModeCreate}, &ticket)
			return ticket
		}
		refused("creating what exists", store(create(), "github"), 409, wire.CodeAlreadyExists)
		for name, data := range map[string]map[string]any{
			"no type": {"accessToken": "x"}, "no secret": {"tokenType": wire.TypePlainText}, "a secret that is no text": {"tokenType": wire.TypePlainText, "accessToken": 1},
			"TOTP that is none": {"tokenType": wire.TypeTOTP, "totpSecret": "!"}, "a certificate that is none": {"tokenType": wire.TypeCertificate, "certificateData": "x"},
			"an SSH key that is none": {"tokenType": wire.TypeSSHKey, "sshPrivateKey": "x"},
		} {
			refused(name, h.owner.TryStore(h.owner.StoreTicket("gitlab"), "gitlab", data), 400, wire.CodeInvalidRequest)
		}
		used := h.owner.StoreTicket("github")
		if answer := h.owner.TryStore(used, "github", map[string]any{"tokenType": wire.TypePlainText, "accessToken": "ghp_value"}); answer.Status != 200 {
			t.Fatalf("a good ticket: %s, want 200", answer)
		}
		refused("used twice", store(used, "github"), 401, wire.CodeTicketInvalid)
	})
}

func TestAnAgentsTicketWorksOnceAndNotForLong(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		clock := &shiftedClock{}
		h := newHouse(t, database, webhooktest.WithClock(clock.now))
		plain := apptest.NewClient(t, nil)
		address := func() string {
			answer := h.owner.In(t, h.server.URL()).Do(http.MethodGet, release, nil, bearer(h.agentKey)...)
			if answer.Status != http.StatusTemporaryRedirect {
				t.Fatalf("a release answered %s, want 307", answer)
			}
			return answer.Header.Get("Location")
		}
		fetch := func(address string) apptest.Answer {
			answer, err := apptest.Call(t.Context(), plain, http.MethodGet, address, nil)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		for name, tt := range map[string]struct {
			address string
			code    wire.ErrorCode
		}{
			"another service": {strings.Replace(address(), "service=github", "service=gitlab", 1), wire.CodeTicketInvalid},
			"one bit off":     {strings.Replace(address(), "ticket=e", "ticket=f", 1), wire.CodeTicketInvalid},
			"no ticket":       {h.webhook.URL + wire.PathCredential + "?service=github", wire.CodeTicketInvalid},
		} {
			if got := fetch(tt.address); got.Status != 401 || got.Code != string(tt.code) {
				t.Errorf("%s: got %s, want 401 %s", name, got, tt.code)
			}
		}
		late := address()
		clock.shift(wire.AgentTicketLife + 2*time.Second)
		if got := fetch(late); got.Status != 401 || got.Code != string(wire.CodeTicketExpired) {
			t.Errorf("expired: got %s, want 401 ticket_expired", got)
		}
		clock.shift(0)
		good := address()
		if got := fetch(good); got.Status != 200 {
			t.Errorf("first use: got %s, want 200", got)
		}
		if got := fetch(good); got.Status != 401 || got.Code != string(wire.CodeTicketInvalid) || strings.Contains(string(got.Body), "ghp_") {
			t.Errorf("second use: got %s, want 401 ticket_invalid", got)
		}
	})
}

// What is wrong with a code is found by the real webhook, not by a fake.
func TestARegistrationCodeWorksOnceAndNotForLong(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		clock := &shiftedClock{}
		h := newHouse(t, database, webhooktest.WithClock(clock.now))
		bind := func(name string, link apptest.Link, status int, code string) {
			t.Helper()
			before := dump(t, h.db)
			if got := h.owner.TryBind(link); got.Status != status || got.Code != code {
				t.Errorf("%s: got %s, want %d %s", name, got, status, code)
			}
			wantUnchanged(t, name, before, dump(t, h.db))
		}
		link := h.owner.Link(h.webhook.URL, adminSecret)
		clock.shift(wire.BindCodeLife + time.Second)
		bind("expired", link, 400, "BIND_CODE_INVALID")
		clock.shift(0)

		link = h.owner.Link(h.webhook.URL, adminSecret)
		wrong := link
		wrong.Code = strings.Repeat("A", len(link.Code))
		bind("unknown", wrong, 400, "BIND_CODE_INVALID")
		wrong = link
		wrong.Hash = strings.Repeat("ab", 32)
		bind("another hash", wrong, 422, "WEBHOOK_MISMATCH")
		bind("used", link, 400, "BIND_CODE_INVALID")

		h.owner.Bind(h.webhook.URL, adminSecret) // none of it stands in the way of a new code
		wantFetched(t, newAgent(t, h.server.URL(), h.agentKey), apptest.Sample{Service: "github", Data: map[string]any{"accessToken": "ghp_value"}})
	})
}
