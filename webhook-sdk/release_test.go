package webhook_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A coin is a minter whose raw credentials begin with "coin:".
type coin struct {
	fail error
	same bool
}

func (coin) Kind() string               { return "coin" }
func (coin) Recognizes(raw []byte) bool { return strings.HasPrefix(string(raw), "coin:") }
func (c coin) Mint(_ context.Context, r mint.Request) (mint.Token, error) {
	if c.fail != nil {
		return mint.Token{}, c.fail
	}
	token := mint.Token{AccessToken: "minted", TokenType: "Bearer", ExpiresAt: r.Now.Add(time.Hour), Extra: map[string]any{
		"scopes": r.Meta["scopes"], "accessToken": "extra", "password": "extra",
	}}
	if c.same {
		token.AccessToken = string(r.Raw)
	}
	return token, nil
}

func withMinter(m mint.Minter) webhooktest.Option {
	return func(c *webhook.Config) { c.Minters = mint.Set{m} }
}

func TestTheRefreshTokenIsForTheOwnerAlone(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	tv.Store("oauth", map[string]any{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "clientSecret": "c", "scope": "x y", "n": 1})
	want := map[string]any{"tokenType": "OAuth", "accessToken": "a", "clientSecret": "c", "scope": "x y", "n": 1.0, "serviceName": "oauth"}
	agent := tv.AgentCredential("oauth")
	for name, value := range want {
		if agent[name] != value {
			t.Errorf("the agent got %s %v, want %v", name, agent[name], value)
		}
	}
	if _, given := agent["refreshToken"]; given || agent["hasRefreshToken"] != true {
		t.Errorf("the agent got %v, want no refreshToken", agent)
	}
	if got := tv.Reveal("oauth")["refreshToken"]; got != "r" {
		t.Errorf("the owner got the refreshToken %v, want r", got)
	}
}

func TestATOTPSecretIsReleasedAsACode(t *testing.T) {
	t.Parallel()
	_, tv, c := bound(t)
	c.move(time.Unix(1_234_567_890+86_400*10_000, 0).Sub(c.now())) // 20 s into a period
	tv.Store("totp", map[string]any{"tokenType": "TOTP", "totpSecret": "gezd gnbv-GY3TQOJQGEZDGNBVGY3TQOJQ", "digits": 8})
	code := tv.TOTPCode("totp")
	if len(code.Code) != 8 || code.Digits != 8 || code.Period != 30 || code.RemainingSeconds < 1 || code.RemainingSeconds > 30 {
		t.Errorf("the code is %+v, want 8 digits, 30 s", code)
	}
	for name, got := range map[string]map[string]any{"agent": tv.AgentCredential("totp"), "owner": tv.Reveal("totp")} {
		want := map[string]any{
			"accessToken": code.Code, "tokenType": "TOTP", "serviceName": "totp", "remainingSeconds": float64(code.RemainingSeconds),
			"period": 30.0, "digits": 8.0, "totpGenerated": true,
		}
		if !maps.Equal(got, want) {
			t.Errorf("the %s got %v, want %v", name, got, want)
		}
	}
	for _, purpose := range []wire.Purpose{wire.PurposeAgentCredential, wire.PurposeUserReveal} {
		accepted(t, tv.Redeem(wire.PathTOTPCode, tv.Ticket(purpose, "totp")))
		refused(t, tv.Redeem(wire.PathTOTPCode, tv.Ticket(purpose, "github")), http.StatusBadRequest, wire.CodeNotTOTP)
	}
	refused(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeTOTPCode, "totp")), http.StatusUnauthorized, wire.CodeTicketInvalid)
}

func TestTOTPCodesAreThoseOfRFC6238(t *testing.T) {
	t.Parallel()
	c := newClock()
	c.move(time.Unix(1_000_000_000, 0).Sub(c.now()))
	_, tv := webhooktest.New(t, webhooktest.WithClock(c.now))
	tv.Store("totp", map[string]any{"tokenType": "TOTP", "totpSecret": "otpauth://totp/x?digits=8&secret=" + totpSecret})
	for _, test := range []struct {
		at   int64
		want string
	}{{1111111109, "07081804"}, {1111111111, "14050471"}, {1234567890, "89005924"}, {2000000000, "69279037"}} {
		c.move(time.Unix(test.at, 0).Sub(c.now()))
		if got := tv.TOTPCode("totp").Code; got != test.want {
			t.Errorf("the code at %d is %s, want %s", test.at, got, test.want)
		}
	}
}

func TestARawCredentialNeverLeaves(t *testing.T) {
	t.Parallel()
	_, tv, c := bound(t, withMinter(coin{}))
	tv.Store("raw", map[string]any{"tokenType": "RawCredential", "accessToken": "coin:canary", "scopes": "x", "password": "canary"})
	tv.Store("unknown", map[string]any{"tokenType": "RawCredential", "accessToken": "canary of another kind"})
	for _, purpose := range []wire.Purpose{wire.PurposeAgentCredential, wire.PurposeUserReveal} {
		got := accepted(t, tv.Redeem(wire.PathCredential, tv.Ticket(purpose, "raw")))
		var token wire.CredentialResponse
		got.Decode(t, &token)
		want := map[string]any{
			"accessToken": "minted", "tokenType": "Bearer", "serviceName": "raw", "scopes": "x",
			"expiresAt": c.now().Add(time.Hour).Format(time.RFC3339),
		}
		if !maps.Equal(token.Token, want) {
			t.Errorf("%s got %v, want %v", purpose, token.Token, want)
		}
		unknown := tv.Redeem(wire.PathCredential, tv.Ticket(purpose, "unknown"))
		refused(t, unknown, http.StatusInternalServerError, wire.CodeMintFailed)
		if strings.Contains(string(got.Body)+string(unknown.Body), "canary") {
			t.Errorf("the raw credential left: %s %s", got.Body, unknown.Body)
		}
	}
}

func TestAMintThatFailsIsSaidWithoutTheCredential(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		minter coin
		code   wire.ErrorCode
	}{
		"GCP":                  {coin{fail: &mint.Error{Kind: "gcp", Code: wire.CodeGCPMintFailed, Problem: "no"}}, wire.CodeGCPMintFailed},
		"another":              {coin{fail: &mint.Error{Kind: "x", Code: wire.CodeMintFailed, Problem: "no"}}, wire.CodeMintFailed},
		"an unknown code":      {coin{fail: &mint.Error{Kind: "x", Code: wire.CodeAuthFailed, Problem: "no"}}, wire.CodeMintFailed},
		"an error that quotes": {coin{fail: errors.New("cannot parse coin:canary")}, wire.CodeMintFailed},
		"the raw one itself":   {coin{same: true}, wire.CodeMintFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logBuffer
			wh, tv, _ := bound(t, withMinter(test.minter), log.option())
			tv.Store("raw", map[string]any{"tokenType": "RawCredential", "accessToken": "coin:canary"})
			check := unchanged(t, wh)
			got := tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeAgentCredential, "raw"))
			refused(t, got, http.StatusInternalServerError, test.code)
			if strings.Contains(string(got.Body)+log.text(), "canary") {
				t.Errorf("the raw credential shows:\n%s\n%s", got.Body, log.text())
			}
			check()
		})
	}
}

func TestATokenThatIsNotThereIsNotFound(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	for _, path := range []string{wire.PathCredential, wire.PathTOTPCode} {
		refused(t, tv.Redeem(path, tv.Ticket(wire.PurposeUserReveal, "gone")), http.StatusNotFound, wire.CodeTokenNotFound)
	}
}

func TestTheDenyListKeepsAddressesFromCredentialsButNotFromStoring(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t, config(func(c *webhook.Config) {
		c.Deny = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	}))
	check := unchanged(t, wh)
	from := func(path string, forwarded ...string) webhooktest.Answer {
		r := tv.Request(http.MethodGet, path+"?service=github&ticket="+tv.Sign(tv.Ticket(wire.PurposeUserReveal, "github")), nil)
		r.Header["X-Forwarded-For"] = forwarded
		return tv.Do(r)
	}
	for _, path := range []string{wire.PathCredential, wire.PathTOTPCode} {
		for _, denied := range [][]string{
			{"198.51.100.7"}, {"203.0.113.1, 198.51.100.7"}, {"198.51.100.7, 10.0.0.1"}, {"198.51.100.7:1234"}, {"2001:db8::1"},
			{"[2001:db8::1]:443"}, {"::ffff:198.51.100.7"}, {"203.0.113.1", "198.51.100.7"}, {"garbage"}, {"203.0.113.1, unknown"},
			nil, {""}, {" , "}, // a proxy that does not say for whom it asks
		} {
			refused(t, from(path, denied...), http.StatusForbidden, wire.CodeForbidden)
		}
	}
	// A denied address with a forged ticket learns nothing either.
	forged := tv.Request(http.MethodGet, wire.PathCredential+"?service=github&ticket=x.y", nil)
	forged.Header.Set("X-Forwarded-For", "198.51.100.7")
	refused(t, tv.Do(forged), http.StatusForbidden, wire.CodeForbidden)
	check()
	// What a client wrote itself, to the left of its own address, counts for nothing.
	for _, allowed := range [][]string{{"203.0.113.1"}, {"198.51.100.7, 203.0.113.1"}, {"198.51.100.7", "203.0.113.1, 10.1.2.3"}, {"127.0.0.1"}} {
		accepted(t, from(wire.PathCredential, allowed...))
	}
	store := tv.Request(http.MethodPost, wire.PathStore, map[string]any{
		"ticket": tv.Sign(tv.Ticket(wire.PurposeStore, "github")), "service": "github", "tokenData": plain("x"),
	})
	store.Header.Set("X-Forwarded-For", "198.51.100.7")
	accepted(t, tv.Do(store))
}

func TestXForwardedForCountsOnlyFromTrustedProxies(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t, config(func(c *webhook.Config) { c.Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }))
	r := tv.Request(http.MethodGet, wire.PathCredential+"?service=github&ticket="+tv.Sign(tv.Ticket(wire.PurposeUserReveal, "github")), nil)
	r.Header.Set("X-Forwarded-For", "203.0.113.1")
	refused(t, tv.Do(r), http.StatusForbidden, wire.CodeForbidden)
}

func TestNetworksAndAddressesOfTheConfigurationAreChecked(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t, config(func(c *webhook.Config) { c.Deny = []netip.Prefix{netip.MustParsePrefix("::ffff:127.0.0.0/104")} }))
	refused(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "github")), http.StatusForbidden, wire.CodeForbidden)
	invalid := webhook.Config{ExternalURL: "https://webhook.example.com", Deny: []netip.Prefix{{}}}
	var problem *webhook.ConfigError
	if err := invalid.Validate(); !errors.As(err, &problem) || problem.Field != "Deny" {
		t.Errorf("a deny list with an entry that is no network: got %v, want a ConfigError for Deny", err)
	}
	for _, external := range []string{"https://webhook.example.com:99999", "https://a..example.com", "https://bücher.example"} {
		if err := (webhook.Config{ExternalURL: external}).Validate(); !errors.As(err, &problem) || problem.Field != "ExternalURL" {
			t.Errorf("%s: got %v, want a ConfigError for ExternalURL", external, err)
		}
	}
}

// records are the webhook's own, newest first.
func records(t *testing.T, wh *webhooktest.Webhook) []map[string]any {
	t.Helper()
	page, err := wh.Storage.ListAudit(t.Context(), storage.Query{})
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for _, item := range page.Items {
		var record map[string]any
		if err := json.Unmarshal(item.Data, &record); err != nil {
			t.Fatal(err)
		}
		out = append(out, record)
	}
	return out
}

func TestEveryUseOfATicketIsOnRecord(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	ticket := tv.Ticket(wire.PurposeAgentCredential, "github")
	accepted(t, tv.Redeem(wire.PathCredential, ticket))
	tv.Redeem(wire.PathTOTPCode, tv.Ticket(wire.PurposeTOTPCode, "github"))
	tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "gone"))
	tv.Redeem(wire.PathCredential, ticket) // used before: no new record
	tv.Operate(deleteGithub)
	var got []string
	for _, r := range records(t, wh) {
		got = append(got, strings.TrimSpace(r["action"].(string)+" "+r["serviceName"].(string)+" "+r["outcome"].(string)))
		if r["clientAddress"] != "127.0.0.1" || r["timestamp"] != "2030-01-02T03:04:05.000Z" || r["recordedBy"] != "webhook" {
			t.Errorf("the record %v lacks address, time or author", r)
		}
	}
	slices.Reverse(got)
	want := []string{"store github ok", "credential github ok", "totp_code github not_totp", "credential gone token_not_found", "delete github ok"}
	if !slices.Equal(got, want) {
		t.Errorf("records are %q, want %q", got, want)
	}
	release := records(t, wh)[3]
	for name, want := range map[string]any{"purpose": "agent_credential", "agentId": tv.Agent, "ticketNonce": ticket.Nonce} {
		if release[name] != want {
			t.Errorf("the release's %s is %v, want %v", name, release[name], want)
		}
	}
}

// A broken log takes no record.
type brokenLog struct{ webhook.Storage }

func (brokenLog) AppendAudit(context.Context, storage.Audit) error { return errors.New("disk full") }

func TestNoRecordNoRelease(t *testing.T) {
	t.Parallel()
	first, tv, c := bound(t)
	upstream, calls := countingUpstream(t)
	tv.Store("api", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_canary", "allowedHosts": []string{upstream}})
	first.Stop()
	wh := webhooktest.Start(t, first.Dir, webhooktest.WithClock(c.now), config(func(c *webhook.Config) { c.Storage = brokenLog{c.Storage} }))
	tv.URL = wh.URL
	check := unchanged(t, wh)
	got := tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeAgentCredential, "github"))
	refused(t, got, http.StatusInternalServerError, wire.CodeInternal)
	proxied := tv.Proxy("api", wire.ProxyUpstream{URL: upstream, Method: "GET"}, map[string]string{"Authorization": "Bearer ${TOKEN}"})
	refused(t, proxied, http.StatusInternalServerError, wire.CodeInternal)
	if strings.Contains(string(got.Body)+string(proxied.Body), "canary") || strings.Contains(string(got.Body), "disk full") {
		t.Errorf("the answer shows the credential or the cause: %s", got.Body)
	}
	if n := calls(); n != 0 {
		t.Errorf("the upstream was called %d times, want 0", n)
	}
	refused(t, tv.TryOperate(deleteGithub), http.StatusInternalServerError, wire.CodeInternal)
	check()
}

// A hangUp is a storage at whose next change the caller breaks the connection off.
type hangUp struct {
	webhook.Storage
	cancel *context.CancelFunc
}

func (h hangUp) Put(ctx context.Context, collection string, item storage.Item, condition storage.Condition) error {
	err := h.Storage.Put(ctx, collection, item, condition)
	(*h.cancel)()
	return err
}

func (h hangUp) Delete(ctx context.Context, collection, key string) error {
	err := h.Storage.Delete(ctx, collection, key)
	(*h.cancel)()
	return err
}

func TestAChangeIsOnRecordAlsoIfItsCallerHasGone(t *testing.T) {
	t.Parallel()
	cancel := context.CancelFunc(func() {})
	wh, tv, _ := bound(t, config(func(c *webhook.Config) { c.Storage = hangUp{c.Storage, &cancel} }))
	send := func(r *http.Request) {
		ctx, stop := context.WithCancel(t.Context())
		cancel = stop
		wh.ServeHTTP(httptest.NewRecorder(), serverSide(r.WithContext(ctx)))
	}
	ticket := tv.Ticket(wire.PurposeStore, "github")
	send(tv.Request(http.MethodPost, wire.PathStore, map[string]any{"ticket": tv.Sign(ticket), "service": "github", "tokenData": plain("second")}))
	if r := records(t, wh)[0]; r["action"] != "store" || r["ticketNonce"] != ticket.Nonce {
		t.Errorf("the newest record is %v, want that of the store", r)
	}
	send(tv.SignedRequest(wire.PathStorage, deleteGithub))
	if r := records(t, wh)[0]; r["action"] != "delete" || r["serviceName"] != "github" {
		t.Errorf("the newest record is %v, want that of the deletion", r)
	}
	if got := wh.Storage.Count(storage.CollectionTokens); got != 0 {
		t.Errorf("%d tokens remain, want 0", got)
	}
}

// A worn storage deletes nothing.
type worn struct{ webhook.Storage }

func (worn) Delete(context.Context, string, string) error { return errors.New("disk failure") }

func TestADeletionThatFailsIsOnRecordAsSuch(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t, config(func(c *webhook.Config) { c.Storage = worn{c.Storage} }))
	check := unchanged(t, wh)
	refused(t, tv.TryOperate(deleteGithub), http.StatusInternalServerError, wire.CodeInternal)
	if r := records(t, wh)[0]; r["action"] != "delete" || r["outcome"] != "internal_error" {
		t.Errorf("the newest record is %v, want a deletion that failed", r)
	}
	check()
}

// A document of version 1, as others' webhooks wrote them: no associated data, a
// data key of its own, no creationId.
func TestADocumentOfVersion1IsReadAndBoundAtItsNextWrite(t *testing.T) {
	t.Parallel()
	first, tv, c := bound(t)
	first.Stop()
	key := bytes.Repeat([]byte{9}, 32)
	addV1Key(t, filepath.Join(first.Dir, "keys.json"), key)
	wh := webhooktest.Start(t, first.Dir, webhooktest.WithClock(c.now))
	tv.URL = wh.URL
	putV1(t, wh, "old", key, "ghp_old")
	putV1(t, wh, "damaged", bytes.Repeat([]byte{8}, 32), "ghp_damaged")

	if got := tv.AgentCredential("old")["accessToken"]; got != "ghp_old" {
		t.Errorf("the token of version 1 is %v, want ghp_old", got)
	}
	check := unchanged(t, wh)
	notes := func(key string) map[string]any {
		return op("set", "tokens", map[string]any{"key": key, "data": map[string]any{"notes": "x"}})
	}
	// A field that does not open is an error, and stays as it is.
	refused(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "damaged")), http.StatusInternalServerError, wire.CodeInternal)
	refused(t, tv.TryOperate(notes("damaged")), http.StatusInternalServerError, wire.CodeInternal)
	check()

	tv.Operate(notes("old"))
	item, err := wh.Storage.Get(t.Context(), storage.CollectionTokens, "old")
	if err != nil {
		t.Fatal(err)
	}
	document, err := custody.ParseDocument(item.Data)
	if err != nil || document.V != 2 || document.CreationID() == "" {
		t.Errorf("after a write the document is of version %d with creationId %q (%v), want 2 and one", document.V, document.CreationID(), err)
	}
	if got := tv.AgentCredential("old")["accessToken"]; got != "ghp_old" {
		t.Errorf("after a write the token is %v, want ghp_old", got)
	}
}

func addV1Key(t *testing.T, path string, key []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := json.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	content["v1Keys"] = []string{base64.StdEncoding.EncodeToString(key)}
	if text, err = json.Marshal(content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func putV1(t *testing.T, wh *webhooktest.Webhook, service string, key []byte, secret string) {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	meta := map[string]any{"serviceName": service, "tokenType": "PlainText"}
	data, err := json.Marshal(map[string]any{"v": 1, "alg": "AES-256-GCM", "meta": meta, "fields": map[string]string{
		"accessToken": base64.StdEncoding.EncodeToString(aead.Seal(nil, nil, []byte(secret), nil)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Storage.Put(t.Context(), storage.CollectionTokens, storage.Item{Key: service, Meta: meta, Data: data}, storage.Condition{}); err != nil {
		t.Fatal(err)
	}
}
