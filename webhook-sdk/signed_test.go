package webhook_test

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// deleteGithub is a signed call that would change something.
var deleteGithub = map[string]any{"operation": "delete", "collection": "tokens", "key": "github"}

func TestAMalformedOrForgedSignatureIsRefused(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t)
	check := unchanged(t, wh)
	other, err := wire.NewSecret(bytes.Repeat([]byte{7}, wire.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) func(http.Header) {
		return func(h http.Header) { h.Set(wire.HeaderTimestamp, strconv.FormatInt(c.now().Add(d).Unix(), 10)) }
	}
	for name, spoil := range map[string]func(http.Header){
		"no timestamp":         func(h http.Header) { h.Del(wire.HeaderTimestamp) },
		"no request id":        func(h http.Header) { h.Del(wire.HeaderRequestID) },
		"no signature":         func(h http.Header) { h.Del(wire.HeaderSignature) },
		"doubled request id":   func(h http.Header) { h.Add(wire.HeaderRequestID, "another") },
		"another request id":   func(h http.Header) { h.Set(wire.HeaderRequestID, "another") },
		"timestamp not a time": func(h http.Header) { h.Set(wire.HeaderTimestamp, "now") },
		"another timestamp":    at(time.Second),
		"upper-case signature": func(h http.Header) {
			h.Set(wire.HeaderSignature, "sha256="+strings.ToUpper(h.Get(wire.HeaderSignature)[7:]))
		},
		"signature of another algorithm": func(h http.Header) {
			h.Set(wire.HeaderSignature, "sha512="+h.Get(wire.HeaderSignature)[7:])
		},
		"signature of zeros": func(h http.Header) { h.Set(wire.HeaderSignature, "sha256="+strings.Repeat("0", 64)) },
	} {
		r := tv.SignedRequest(wire.PathStorage, deleteGithub)
		spoil(r.Header)
		t.Run(name, func(t *testing.T) { refused(t, tv.Do(r), http.StatusUnauthorized, wire.CodeAuthFailed) })
	}
	t.Run("wrong secret", func(t *testing.T) {
		forger := *tv
		forger.Secret = other
		refused(t, forger.Signed(wire.PathStorage, deleteGithub), http.StatusUnauthorized, wire.CodeAuthFailed)
	})
	check()
}

func TestATimestampCountsFor300Seconds(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t)
	c.move(time.Hour) // so that it is not the start that refuses
	check := unchanged(t, wh)
	signedAt := func(d time.Duration) webhooktest.Answer {
		other := *tv
		other.Now = func() time.Time { return c.now().Add(d) }
		return other.Health()
	}
	for _, d := range []time.Duration{-301 * time.Second, 301 * time.Second} {
		refused(t, signedAt(d), http.StatusUnauthorized, wire.CodeAuthFailed)
	}
	for _, d := range []time.Duration{-300 * time.Second, 300 * time.Second} {
		accepted(t, signedAt(d))
	}
	check()
}

func TestASignedCallWorksOnce(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t)
	send := func(r *http.Request) webhooktest.Answer {
		copied := r.Clone(t.Context())
		copied.Body, _ = r.GetBody()
		return tv.Do(copied)
	}
	set := map[string]any{"operation": "set", "collection": "vault_config", "key": "k", "data": map[string]any{"n": 1}}
	first := tv.SignedRequest(wire.PathStorage, set)
	accepted(t, send(first))
	check := unchanged(t, wh)

	refused(t, send(first), http.StatusUnauthorized, wire.CodeAuthFailed)
	// The MAC does not cover the id header: the memory of MACs is what counts.
	renamed := first.Clone(t.Context())
	renamed.GetBody = first.GetBody
	renamed.Header.Set(wire.HeaderRequestID, "another-id")
	refused(t, send(renamed), http.StatusUnauthorized, wire.CodeAuthFailed)
	// Another body under a used id.
	body := []byte(`{"operation":"list","collection":"tokens"}`)
	reused := tv.Request(http.MethodPost, wire.PathStorage, body)
	wire.Sign(reused.Header, tv.Secret, body, first.Header.Get(wire.HeaderRequestID), c.now())
	refused(t, send(reused), http.StatusUnauthorized, wire.CodeAuthFailed)

	c.move(299 * time.Second)
	refused(t, send(first), http.StatusUnauthorized, wire.CodeAuthFailed)
	check()
}

func TestAForgerCannotBurnRequestIDs(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	good := tv.SignedRequest(wire.PathHealth, nil)
	forged := good.Clone(t.Context())
	forged.Body, _ = good.GetBody()
	forged.Header.Set(wire.HeaderSignature, "sha256="+strings.Repeat("1", 64))
	refused(t, tv.Do(forged), http.StatusUnauthorized, wire.CodeAuthFailed)
	accepted(t, tv.Do(good))
}

func TestTheBodysRequestIDMustBeTheHeaders(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t)
	check := unchanged(t, wh)
	send := func(body string) webhooktest.Answer {
		r := tv.Request(http.MethodPost, wire.PathStorage, []byte(body))
		wire.Sign(r.Header, tv.Secret, []byte(body), tv.Random(), c.now())
		return tv.Do(r)
	}
	for _, id := range []string{`"another"`, `""`, `7`, `null`} {
		refused(t, send(`{"requestId":`+id+`,"operation":"delete","collection":"tokens","key":"github"}`),
			http.StatusUnauthorized, wire.CodeAuthFailed)
	}
	// TVs of others repeat it in some bodies only.
	accepted(t, send(`{"operation":"list","collection":"tokens"}`))
	check()
}

func TestASignedBodyThatIsNotAJSONObjectIsRefused(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t)
	check := unchanged(t, wh)
	for name, body := range map[string]string{
		"no JSON":             `delete everything`,
		"half JSON":           `{"operation":"delete"`,
		"an array":            `[1]`,
		"trailing garbage":    `{"operation":"list","collection":"tokens"} x`,
		"two objects":         `{"operation":"list","collection":"tokens"}{}`,
		"not UTF-8":           "{\"operation\":\"list\xff\"}",
		"nested too deep":     `{"data":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
		"wrong type":          `{"operation":7}`,
		"unknown operation":   `{"operation":"drop","collection":"tokens","key":"github"}`,
		"unknown collection":  `{"operation":"get","collection":"binding","key":"state"}`,
		"no key":              `{"operation":"delete","collection":"tokens"}`,
		"nothing in it":       `{}`,
		"set without data":    `{"operation":"set","collection":"vault_config","key":"k"}`,
		"a cursor of nobody":  `{"operation":"list","collection":"tokens","options":{"limit":1,"after":"%%"}}`,
		"negative limit":      `{"operation":"list","collection":"tokens","options":{"limit":-1}}`,
		"since is no time":    `{"operation":"list","collection":"audit","options":{"since":"yesterday"}}`,
		"batch of nothing":    `{"operation":"list_batch"}`,
		"batch with the rest": `{"operation":"list_batch","collections":["tokens","binding"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := tv.Request(http.MethodPost, wire.PathStorage, []byte(body))
			wire.Sign(r.Header, tv.Secret, []byte(body), tv.Random(), c.now())
			refused(t, tv.Do(r), http.StatusBadRequest, wire.CodeInvalidRequest)
		})
	}
	t.Run("wrong content type", func(t *testing.T) {
		for _, kind := range []string{"", "text/plain", "application/jsonp", "application/json; charset=utf-16", ";;"} {
			r := tv.SignedRequest(wire.PathStorage, deleteGithub)
			r.Header.Set("Content-Type", kind)
			refused(t, tv.Do(r), http.StatusBadRequest, wire.CodeInvalidRequest)
		}
	})
	check()
}

func TestABodyOverOneMiBIsTooLarge(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t)
	check := unchanged(t, wh)
	body := []byte(`{"operation":"set","collection":"vault_config","key":"k","data":"` + strings.Repeat("x", wire.MaxBody) + `"}`)
	r := tv.Request(http.MethodPost, wire.PathStorage, body)
	wire.Sign(r.Header, tv.Secret, body, tv.Random(), c.now())
	refused(t, tv.Do(r), http.StatusRequestEntityTooLarge, wire.CodeTooLarge)

	// Without a length that could be refused beforehand.
	chunked := tv.Request(http.MethodPost, wire.PathStore, body)
	chunked.ContentLength = -1
	refused(t, tv.Do(chunked), http.StatusRequestEntityTooLarge, wire.CodeTooLarge)
	check()
}

func TestHeadersAreCheckedBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	check := unchanged(t, wh)
	body := []byte(`{"data":"` + strings.Repeat("x", wire.MaxBody) + `"}`)
	refused(t, tv.Do(tv.Request(http.MethodPost, wire.PathStorage, body)), http.StatusUnauthorized, wire.CodeAuthFailed)
	late := tv.Request(http.MethodPost, wire.PathStorage, body)
	wire.Sign(late.Header, tv.Secret, body, tv.Random(), tv.Now().Add(-time.Hour))
	refused(t, tv.Do(late), http.StatusUnauthorized, wire.CodeAuthFailed)
	check()
}

func TestAnUnboundWebhookServesNoCallOfTV(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	secret, err := wire.NewSecret(make([]byte, wire.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	tv.Secret = secret
	for _, path := range []string{wire.PathHealth, wire.PathStorage, wire.PathProxy} {
		refused(t, tv.Signed(path, nil), http.StatusForbidden, wire.CodeSetupRequired)
	}
	for _, path := range []string{wire.PathCredential, wire.PathTOTPCode} {
		refused(t, tv.Redeem(path, tv.Ticket(wire.PurposeUserReveal, "github")), http.StatusForbidden, wire.CodeSetupRequired)
	}
	refused(t, tv.TryStore(tv.Ticket(wire.PurposeStore, "github"), plain("x")), http.StatusForbidden, wire.CodeSetupRequired)
	if got := snapshot(t, wh); got != "" {
		t.Errorf("an unbound webhook keeps %q, want nothing", got)
	}
}

func TestWhatIsDatedBeforeTheStartIsRefused(t *testing.T) {
	t.Parallel()
	first, tv, c := bound(t)
	early, ticket := tv.SignedRequest(wire.PathStorage, deleteGithub), tv.Ticket(wire.PurposeUserReveal, "github")
	first.Stop()
	c.move(time.Second)
	second := webhooktest.Start(t, first.Dir, webhooktest.WithClock(c.now))
	tv.URL = second.URL
	check := unchanged(t, second)
	late := tv.Request(http.MethodPost, wire.PathStorage, nil)
	late.Header, late.Body, late.ContentLength = early.Header, early.Body, early.ContentLength
	refused(t, tv.Do(late), http.StatusUnauthorized, wire.CodeAuthFailed)
	refused(t, tv.Redeem(wire.PathCredential, ticket), http.StatusUnauthorized, wire.CodeTicketInvalid)
	check()
	// What is dated in the second of the start counts.
	accepted(t, tv.Health())
	accepted(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "github")))
}

func TestAPathOfTheProtocolThatIsNotServedIsForbidden(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	refused(t, tv.Signed(wire.PathRefresh, map[string]any{"action": "get", "service": "github"}), http.StatusForbidden, wire.CodeForbidden)
}
