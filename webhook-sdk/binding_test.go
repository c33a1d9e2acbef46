package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const adminSecret = "correct horse battery staple"

func withAdmin(c *webhook.Config) { c.AdminSecret = adminSecret }

// register asks for a registration code with the admin secret.
func register(tv *webhooktest.TV, secret string) webhooktest.Answer {
	r := tv.Request(http.MethodGet, wire.PathRegisterURL, nil)
	if secret != "" {
		r.Header.Set(wire.HeaderAdminSecret, secret)
	}
	return tv.Do(r)
}

func registration(t *testing.T, answer webhooktest.Answer) wire.RegisterURL {
	t.Helper()
	var out wire.RegisterURL
	accepted(t, answer).Decode(t, &out)
	return out
}

func TestARegistrationURLSaysWhereToGoAndWhatToCompare(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	got := registration(t, register(tv, ""))
	if got.ExpiresIn != 300 || got.WebhookURL != wh.URL || len(got.HMACHash) != 64 {
		t.Errorf("registration is %+v, want 300 s, %s and a SHA-256 in hex", got, wh.URL)
	}
	u, err := url.Parse(got.RegistrationURL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	u.RawQuery = ""
	if want := "http://127.0.0.1:8000/vault/webhook-bind"; u.String() != want {
		t.Errorf("the registration URL leads to %s, want %s", u, want)
	}
	for name, want := range map[string]string{
		"code": got.Code, "hmac_hash": got.HMACHash, "webhook_url": base64.StdEncoding.EncodeToString([]byte(wh.URL)),
	} {
		if query.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, query.Get(name), want)
		}
	}
	other := registration(t, register(tv, ""))
	if other.Code == got.Code || other.HMACHash == got.HMACHash {
		t.Error("two codes share a code or a secret, want one of its own each")
	}
}

func TestACodeWorksOnceFor300SecondsAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	c := newClock()
	wh := webhooktest.Start(t, t.TempDir(), webhooktest.WithClock(c.now))
	tv := webhooktest.NewTV(t, wh.URL)
	tv.Now = c.now

	late := registration(t, register(tv, ""))
	c.move(wire.BindCodeLife)
	refused(t, tv.Exchange(late.Code), http.StatusGone, wire.CodeCodeExpired)
	refused(t, tv.Exchange("of nobody"), http.StatusGone, wire.CodeCodeExpired)

	good := registration(t, register(tv, ""))
	c.move(wire.BindCodeLife - time.Second)
	wh.Stop()
	again := webhooktest.Start(t, wh.Dir, webhooktest.WithClock(c.now))
	tv.URL = again.URL
	tv.BindWith(good.Code, good.HMACHash)
	check := unchanged(t, again)
	refused(t, tv.Exchange(good.Code), http.StatusGone, wire.CodeCodeUsed)
	c.move(time.Hour)
	refused(t, tv.Exchange(good.Code), http.StatusGone, wire.CodeCodeUsed)
	check()
}

func TestAMalformedExchangeIsRefused(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	registration(t, register(tv, ""))
	check := unchanged(t, wh)
	for _, body := range []string{``, `{}`, `{"code":""}`, `{"code":7}`, `[]`, `{"code":"` + strings.Repeat("x", 300) + `"}`} {
		r := tv.Request(http.MethodPost, wire.PathExchange, []byte(body))
		r.Header.Set("Content-Type", "application/json")
		refused(t, tv.Do(r), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	r := tv.Request(http.MethodPost, wire.PathExchange, []byte(`{"code":"x"}`))
	r.Header.Set("Content-Type", "text/plain")
	refused(t, tv.Do(r), http.StatusBadRequest, wire.CodeInvalidRequest)
	check()
}

func TestAnExchangeEndsTheOtherCodes(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	stranger, ours := registration(t, register(tv, "")), registration(t, register(tv, ""))
	tv.Secret = tv.ExchangeSecret(ours.Code)
	refused(t, tv.Exchange(stranger.Code), http.StatusGone, wire.CodeCodeExpired)
	accepted(t, tv.Health())
}

func TestASetUpWhoseAnswerWasLostIsStartedOver(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	lost := tv.ExchangeSecret(registration(t, register(tv, "")).Code)
	again := registration(t, register(tv, "")) // no call was signed with the first one
	pending := registration(t, register(tv, ""))
	tv.BindWith(again.Code, again.HMACHash)
	tv.Secret = lost
	refused(t, tv.Health(), http.StatusUnauthorized, wire.CodeAuthFailed)
	// Bound: codes that were made before, and new ones, are over.
	refused(t, tv.Exchange(pending.Code), http.StatusGone, wire.CodeCodeExpired)
	refused(t, register(tv, ""), http.StatusForbidden, wire.CodeForbidden)
}

func TestRebindingKeepsTheOldSecretUntil120SecondsAfterTheNewOneIsUsed(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t, withAdmin)
	next := *tv
	code := registration(t, register(tv, adminSecret))
	accepted(t, tv.Health()) // a code alone changes nothing
	next.Secret = next.ExchangeSecret(code.Code)
	c.move(time.Hour)
	accepted(t, tv.Health()) // nor does the exchange
	tv.Store("before", plain("x"))

	next.Owner = "owner-2" // each secret has an owner of its own
	next.Store("after", plain("y"))
	accepted(t, tv.Health()) // tickets do not close the set-up
	accepted(t, next.Health())
	c.move(wire.PreviousSecretLife - time.Second)
	accepted(t, tv.Health())
	accepted(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "before")))

	wh.Stop()
	again := webhooktest.Start(t, wh.Dir, webhooktest.WithClock(c.now), withAdmin)
	tv.URL, next.URL = again.URL, again.URL
	accepted(t, tv.Health())
	c.move(time.Second)
	refused(t, tv.Health(), http.StatusUnauthorized, wire.CodeAuthFailed)
	refused(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "before")), http.StatusUnauthorized, wire.CodeTicketInvalid)
	accepted(t, next.Health())
}

func TestABoundWebhookNeedsTheAdminSecret(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t, withAdmin)
	check := unchanged(t, wh)
	refused(t, register(tv, ""), http.StatusForbidden, wire.CodeForbidden)
	refused(t, register(tv, "wrong"), http.StatusForbidden, wire.CodeForbidden)
	check()
	registration(t, register(tv, adminSecret))
}

func TestWithoutAnAdminSecretABoundWebhookNamesTheVariable(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	check := unchanged(t, wh)
	for _, secret := range []string{"", "anything"} {
		got := register(tv, secret)
		refused(t, got, http.StatusForbidden, wire.CodeForbidden)
		if !strings.Contains(string(got.Body), "TV_WEBHOOK_ADMIN_SECRET") {
			t.Errorf("the refusal %s does not name TV_WEBHOOK_ADMIN_SECRET", got.Body)
		}
	}
	check()
}

func TestOffLoopbackTheFirstBindingNeedsASecret(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]webhooktest.Option{
		"listening elsewhere": func(c *webhook.Config) { c.LoopbackListener = false },
		"reached elsewhere":   func(c *webhook.Config) { c.ExternalURL = "https://webhook.example.com" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wh := webhooktest.Start(t, t.TempDir(), option, withAdmin)
			tv := webhooktest.NewTV(t, wh.URL)
			refused(t, register(tv, ""), http.StatusForbidden, wire.CodeForbidden)
			refused(t, register(tv, "wrong"), http.StatusForbidden, wire.CodeForbidden)
			if got := snapshot(t, wh); got != "" {
				t.Errorf("a refused registration left %q, want nothing", got)
			}
			code := registration(t, register(tv, adminSecret))
			tv.BindWith(code.Code, code.HMACHash)
		})
	}
}

func TestAPageUnderAnotherNameForLoopbackGetsNoCode(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	for _, host := range []string{"attacker.example", "attacker.example:8080", "127.0.0.1.attacker.example"} {
		r := tv.Request(http.MethodGet, wire.PathRegisterURL, nil)
		r.Host = host
		refused(t, tv.Do(r), http.StatusForbidden, wire.CodeForbidden)
	}
	for _, host := range []string{"localhost", "localhost:8080", "127.0.0.1", "[::1]:8080", "[::1]"} {
		r := tv.Request(http.MethodGet, wire.PathRegisterURL, nil)
		r.Host = host
		registration(t, tv.Do(r))
	}
}

// A proxy or a tunnel on this machine makes the whole world look like loopback.
func TestWhatAProxyForwardsIsNotFromThisMachine(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Forwarded", "Via"} {
		r := tv.Request(http.MethodGet, wire.PathRegisterURL, nil)
		r.Header.Set(header, "127.0.0.1")
		refused(t, tv.Do(r), http.StatusForbidden, wire.CodeForbidden)
	}
	r := serverSide(tv.Request(http.MethodGet, wire.PathRegisterURL, nil)) // from 192.0.2.1
	answer := httptest.NewRecorder()
	if wh.ServeHTTP(answer, r); answer.Code != http.StatusForbidden {
		t.Errorf("from another machine: answered %d, want 403", answer.Code)
	}
	if got := snapshot(t, wh); got != "" {
		t.Errorf("refused registrations left %q, want nothing", got)
	}
}

func TestTheTVOriginIsChosenByQuery(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir(), config(func(c *webhook.Config) { c.TokenVaultURL = "" }))
	tv := webhooktest.NewTV(t, wh.URL)
	refused(t, register(tv, ""), http.StatusBadRequest, wire.CodeInvalidRequest)
	for _, origin := range []string{"http://tv.example.com", "https://", "https://u@tv.example.com", "https://tv.example.com/path",
		"https://tv.example.com?x", "javascript:alert(1)", "//tv.example.com", "https://tv_ü.example", "https://tv.example.com:0"} {
		r := tv.Request(http.MethodGet, wire.PathRegisterURL+"?tv="+url.QueryEscape(origin), nil)
		refused(t, tv.Do(r), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	if got := snapshot(t, wh); got != "" {
		t.Errorf("refused registrations left %q, want nothing", got)
	}
	for given, want := range map[string]string{
		"https://TV.example.com:443/": "https://tv.example.com/", "http://localhost:8000": "http://localhost:8000/",
	} {
		got := registration(t, tv.Do(tv.Request(http.MethodGet, wire.PathRegisterURL+"?tv="+url.QueryEscape(given), nil)))
		if !strings.HasPrefix(got.RegistrationURL, want+"vault/webhook-bind?") {
			t.Errorf("%s leads to %s, want %svault/webhook-bind", given, got.RegistrationURL, want)
		}
	}
}

func TestASetupLinkWorksOnceAndEndsWithTheBinding(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir(), config(func(c *webhook.Config) { c.LoopbackListener = false }))
	tv := webhooktest.NewTV(t, wh.URL)
	if !wh.NeedsSetupLink() {
		t.Error("NeedsSetupLink is false, want true off loopback")
	}
	replaced, err := wh.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	link, err := wh.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	query := func(link string) string { return link[strings.Index(link, "?"):] }
	open := func(link string) webhooktest.Answer {
		return tv.Do(tv.Request(http.MethodGet, wire.PathRegisterURL+query(link), nil))
	}
	refused(t, open(replaced), http.StatusForbidden, wire.CodeForbidden)
	first := open(link)
	registration(t, first)
	refused(t, open(link), http.StatusForbidden, wire.CodeForbidden)
	refused(t, register(tv, ""), http.StatusForbidden, wire.CodeForbidden)

	// The browser that opened it goes on.
	cookie := first.Header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie is %q, want %s in it", cookie, want)
		}
	}
	withCookie := func() webhooktest.Answer {
		r := tv.Request(http.MethodGet, wire.PathRegisterURL, nil)
		r.Header.Set("Cookie", strings.Split(cookie, ";")[0])
		return tv.Do(r)
	}
	code := registration(t, withCookie())
	tv.BindWith(code.Code, code.HMACHash)
	refused(t, withCookie(), http.StatusForbidden, wire.CodeForbidden)
	if _, err := wh.SetupLink(t.Context()); !errors.Is(err, webhook.ErrBound) {
		t.Errorf("a set-up link of a bound webhook: got %v, want ErrBound", err)
	}
	if wh.NeedsSetupLink() {
		t.Error("NeedsSetupLink is true, want false once bound")
	}
}

func TestHealthReportsWhatIsPinnedAtBinding(t *testing.T) {
	t.Parallel()
	_, tv, c := bound(t)
	c.move(90 * time.Second)
	var open, signed wire.HealthResponse
	accepted(t, tv.Do(tv.Request(http.MethodGet, wire.PathHealth, nil))).Decode(t, &open)
	accepted(t, tv.Health()).Decode(t, &signed)
	for name, got := range map[string]wire.HealthResponse{"GET": open, "POST": signed} {
		if got.Status != "healthy" || got.Version != "2.4.0" || !got.KeyConfigured || got.TokenCount != 1 || got.Uptime != 90 {
			t.Errorf("%s health is %+v, want healthy, 2.4.0, configured, 1 token, 90 s", name, got)
		}
		if got.WebhookID == "" || got.SealKey == nil || got.SignKey == "" {
			t.Errorf("%s health is %+v, want webhookId, sealKey and signKey", name, got)
		}
	}
	if signed.RequestID == "" || open.RequestID != "" {
		t.Errorf("requestId is %q and %q, want it on the signed call alone", signed.RequestID, open.RequestID)
	}
}

func TestManyCodesAreBoundedAndTheNewestWorks(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	first := registration(t, register(tv, ""))
	var last wire.RegisterURL
	for range 70 {
		last = registration(t, register(tv, ""))
	}
	refused(t, tv.Exchange(first.Code), http.StatusGone, wire.CodeCodeExpired)
	tv.BindWith(last.Code, last.HMACHash)
}

func TestStateSealedWithOtherKeysIsNotLost(t *testing.T) {
	t.Parallel()
	wh, _, _ := bound(t)
	other := webhooktest.Start(t, t.TempDir())
	_, err := webhook.New(webhook.Config{Keys: keysOf(t, other.Dir), Storage: wh.Storage, ExternalURL: wh.URL})
	if err == nil || !strings.Contains(err.Error(), "other keys") {
		t.Errorf("a webhook with other keys: got %v, want an error that says so", err)
	}
}

func TestAWrongConfigurationIsReportedWhole(t *testing.T) {
	t.Parallel()
	_, err := webhook.New(webhook.Config{
		ExternalURL: "http://webhook.example.com", TokenVaultURL: "http://tv.example.com", AdminSecret: "short",
		Purposes: []wire.Purpose{"everything"},
	})
	if err == nil {
		t.Fatal("New succeeded, want all problems")
	}
	for _, want := range []string{"Keys", "Storage", "ExternalURL", "TokenVaultURL", "AdminSecret", "everything"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not speak of %s", err, want)
		}
	}
}

func TestTheAdminSecretIsNotPrinted(t *testing.T) {
	t.Parallel()
	config := webhook.Config{AdminSecret: "hush-hush-hush"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, value := range []any{config, &config, config.AdminSecret} {
			if got := fmt.Sprintf(verb, value); strings.Contains(got, "hush") || strings.Contains(got, "687573682d") {
				t.Errorf("%s of %T prints the secret: %s", verb, value, got)
			}
		}
	}
	if text, err := json.Marshal(config.AdminSecret); err == nil {
		t.Errorf("the secret marshals to %s, want an error", text)
	}
}
