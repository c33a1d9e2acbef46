package webhooktest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// maxAnswer bounds what a TV reads of an answer, in bytes.
const maxAnswer = 64 << 20

// A TV is a Token Vault server, its agents and its users, as a webhook sees them.
// Change its fields before the first call. Methods that return no Answer end the
// test if the webhook refuses.
type TV struct {
	URL    string           // of the webhook
	Owner  string           // of the vault: sub of tickets
	Agent  string           // aid of agents' tickets
	Secret wire.Secret      // of the binding; Bind sets it
	Now    func() time.Time // the clock of signatures and tickets
	Client *http.Client

	t testing.TB
}

// NewTV plays TV for the webhook at url, not bound to it yet.
func NewTV(t testing.TB, url string) *TV {
	return &TV{URL: url, Owner: "owner-1", Agent: "agent-1", Now: time.Now, Client: http.DefaultClient, t: t}
}

// In is the same TV in a subtest or a fuzz target, which then is what ends.
func (tv *TV) In(t testing.TB) *TV {
	copied := *tv
	copied.t = t
	return &copied
}

// An Answer is what a webhook answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Code   wire.ErrorCode // of a refusal
}

// Decode reads the body into v, or ends the test.
func (a Answer) Decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("the answer is not JSON of the expected form: %v\n%.500s", err, a.Body)
	}
}

// Do sends a request as it is.
func (tv *TV) Do(r *http.Request) Answer {
	tv.t.Helper()
	response, err := tv.Client.Do(r)
	if err != nil {
		tv.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		tv.t.Fatalf("%s %s: reading the answer: %v", r.Method, r.URL.Path, err)
	}
	answer := Answer{Status: response.StatusCode, Header: response.Header, Body: body}
	var refusal wire.Error
	if response.StatusCode >= 400 && json.Unmarshal(body, &refusal) == nil {
		answer.Code = refusal.Code
	}
	return answer
}

// Request makes a request with a JSON body. A []byte is sent as it is, nil as no
// body.
func (tv *TV) Request(method, path string, body any) *http.Request {
	tv.t.Helper()
	text, raw := body.([]byte)
	if !raw && body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			tv.t.Fatalf("encoding a request: %v", err)
		}
	}
	r, err := http.NewRequest(method, tv.URL+path, bytes.NewReader(text))
	if err != nil {
		tv.t.Fatalf("making a request: %v", err)
	}
	if len(text) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// Bind pairs with a webhook whose bind page is open: it takes a registration code,
// exchanges it, compares the fingerprint and makes the signed call that closes the
// set-up.
func (tv *TV) Bind() {
	tv.t.Helper()
	var registration wire.RegisterURL
	tv.ok(tv.Do(tv.Request(http.MethodGet, wire.PathRegisterURL, nil))).Decode(tv.t, &registration)
	tv.BindWith(registration.Code, registration.HMACHash)
}

// BindWith is Bind with a code and a fingerprint from elsewhere, such as the page.
func (tv *TV) BindWith(code, fingerprint string) {
	tv.t.Helper()
	tv.Secret = tv.ExchangeSecret(code)
	if tv.Secret.Hash() != fingerprint {
		tv.t.Fatalf("the exchange's secret has the fingerprint %s, want %s", tv.Secret.Hash(), fingerprint)
	}
	tv.ok(tv.Health())
}

// Exchange redeems a registration code.
func (tv *TV) Exchange(code string) Answer {
	tv.t.Helper()
	return tv.Do(tv.Request(http.MethodPost, wire.PathExchange, wire.ExchangeRequest{Code: code}))
}

// ExchangeSecret redeems a registration code and returns the secret that it stands
// for. The TV goes on with the one that it has.
func (tv *TV) ExchangeSecret(code string) wire.Secret {
	tv.t.Helper()
	var exchanged wire.ExchangeResponse
	tv.ok(tv.Exchange(code)).Decode(tv.t, &exchanged)
	secret, err := wire.ParseSecret(exchanged.HMACSecret)
	if err != nil {
		tv.t.Fatalf("the exchange's secret: %v", err)
	}
	return secret
}

// Health makes the signed health call.
func (tv *TV) Health() Answer {
	tv.t.Helper()
	return tv.Signed(wire.PathHealth, nil)
}

// Signed posts body, with a fresh request id in it and in the header, signed.
func (tv *TV) Signed(path string, body map[string]any) Answer {
	tv.t.Helper()
	return tv.Do(tv.SignedRequest(path, body))
}

// SignedRequest makes the request of Signed.
func (tv *TV) SignedRequest(path string, body map[string]any) *http.Request {
	tv.t.Helper()
	id := tv.Random()
	whole := map[string]any{"requestId": id}
	for name, value := range body {
		whole[name] = value
	}
	text, err := json.Marshal(whole)
	if err != nil {
		tv.t.Fatalf("encoding a request: %v", err)
	}
	r := tv.Request(http.MethodPost, path, text)
	wire.Sign(r.Header, tv.Secret, text, id, tv.Now())
	return r
}

// Ticket is a ticket for one call, as TV issues it.
func (tv *TV) Ticket(purpose wire.Purpose, service string) wire.Ticket {
	tv.t.Helper()
	now := tv.Now()
	ticket := wire.Ticket{
		Subject: tv.Owner, Service: service, Purpose: purpose, Nonce: tv.Random(),
		IssuedAt: now.Unix(), ExpiresAt: now.Add(wire.TicketLife).Unix(),
	}
	if purpose == wire.PurposeAgentCredential {
		ticket.AgentID, ticket.ExpiresAt = tv.Agent, now.Add(wire.AgentTicketLife).Unix()
	}
	return ticket
}

// Sign signs a ticket.
func (tv *TV) Sign(ticket wire.Ticket) string { return wire.SignTicket(tv.Secret, ticket) }

// TryStore stores a token the way a browser does.
func (tv *TV) TryStore(ticket wire.Ticket, tokenData map[string]any) Answer {
	tv.t.Helper()
	return tv.Do(tv.Request(http.MethodPost, wire.PathStore, map[string]any{
		"ticket": tv.Sign(ticket), "service": ticket.Service, "tokenData": tokenData,
	}))
}

// Store stores a token and returns the metadata that the webhook derived.
func (tv *TV) Store(service string, tokenData map[string]any) map[string]any {
	tv.t.Helper()
	var stored wire.StoreResponse
	tv.ok(tv.TryStore(tv.Ticket(wire.PurposeStore, service), tokenData)).Decode(tv.t, &stored)
	return stored.Meta
}

// Redeem takes a ticket to /v1/credential or /v1/totp-code, in the query.
func (tv *TV) Redeem(path string, ticket wire.Ticket) Answer {
	tv.t.Helper()
	query := url.Values{"ticket": {tv.Sign(ticket)}, "service": {ticket.Service}}
	return tv.Do(tv.Request(http.MethodGet, path+"?"+query.Encode(), nil))
}

// AgentCredential is what an agent gets.
func (tv *TV) AgentCredential(service string) map[string]any {
	tv.t.Helper()
	return tv.token(tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeAgentCredential, service)))
}

// Reveal is what the owner gets.
func (tv *TV) Reveal(service string) map[string]any {
	tv.t.Helper()
	return tv.token(tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, service)))
}

// TOTPCode is the current code of a TOTP token.
func (tv *TV) TOTPCode(service string) wire.TOTPResponse {
	tv.t.Helper()
	var code wire.TOTPResponse
	tv.ok(tv.Redeem(wire.PathTOTPCode, tv.Ticket(wire.PurposeTOTPCode, service))).Decode(tv.t, &code)
	return code
}

// Proxy has the webhook call an upstream with the credential in a header.
func (tv *TV) Proxy(service string, upstream wire.ProxyUpstream, templates map[string]string) Answer {
	tv.t.Helper()
	return tv.Signed(wire.PathProxy, map[string]any{
		"ticket": tv.Sign(tv.Ticket(wire.PurposeProxy, service)), "service": service,
		"upstream": upstream, "headerTemplates": templates,
	})
}

// RefreshNotify tells the webhook that a token expires soon.
func (tv *TV) RefreshNotify(service string) wire.RefreshNotifyResponse {
	tv.t.Helper()
	return tv.Notify(map[string]any{"service": service, "reason": wire.ReasonExpiring})
}

// Notify is RefreshNotify with fields of wire.RefreshNotifyRequest.
func (tv *TV) Notify(fields map[string]any) wire.RefreshNotifyResponse {
	tv.t.Helper()
	var answer wire.RefreshNotifyResponse
	tv.ok(tv.Signed(wire.PathRefreshNotify, fields)).Decode(tv.t, &answer)
	return answer
}

// TryRefresh makes a call of /v1/refresh; fields are those of wire.RefreshRequest.
func (tv *TV) TryRefresh(fields map[string]any) Answer {
	tv.t.Helper()
	return tv.Signed(wire.PathRefresh, fields)
}

// Refresh is TryRefresh that ends the test if the webhook refuses.
func (tv *TV) Refresh(fields map[string]any) wire.RefreshResponse {
	tv.t.Helper()
	var answer wire.RefreshResponse
	tv.ok(tv.TryRefresh(fields)).Decode(tv.t, &answer)
	return answer
}

// Seal seals tokens to the webhook's key, as TV does while the webhook is away.
func (tv *TV) Seal(service, creationID string, sequence int64, tokens wire.RefreshTokens) wire.Sealed {
	tv.t.Helper()
	var health wire.HealthResponse
	tv.ok(tv.Health()).Decode(tv.t, &health)
	if health.SealKey == nil {
		tv.t.Fatal("the webhook has no seal key")
	}
	sealed, err := wire.Seal(*health.SealKey, health.WebhookID, service, creationID, sequence, tokens)
	if err != nil {
		tv.t.Fatalf("sealing tokens: %v", err)
	}
	return sealed
}

// ConnectURL is where the owner's browser goes to connect an account at a provider of
// the webhook.
func (tv *TV) ConnectURL(provider string, ticket wire.Ticket) string {
	tv.t.Helper()
	return tv.URL + wire.PathConnect + provider + "?" + url.Values{"ticket": {tv.Sign(ticket)}}.Encode()
}

// TryOperate makes one storage operation; fields are those of wire.StorageRequest.
func (tv *TV) TryOperate(fields map[string]any) Answer {
	tv.t.Helper()
	return tv.Signed(wire.PathStorage, fields)
}

// Operate is TryOperate that ends the test if the webhook refuses.
func (tv *TV) Operate(fields map[string]any) wire.StorageResponse {
	tv.t.Helper()
	var answer wire.StorageResponse
	tv.ok(tv.TryOperate(fields)).Decode(tv.t, &answer)
	return answer
}

// Random is 128 random bits in hex: a request id, or a nonce.
func (tv *TV) Random() string {
	tv.t.Helper()
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		tv.t.Fatalf("no randomness: %v", err)
	}
	return hex.EncodeToString(raw[:])
}

func (tv *TV) token(answer Answer) map[string]any {
	tv.t.Helper()
	var wrapped wire.CredentialResponse
	tv.ok(answer).Decode(tv.t, &wrapped)
	return wrapped.Token
}

// ok ends the test unless the answer is 200.
func (tv *TV) ok(answer Answer) Answer {
	tv.t.Helper()
	if answer.Status != http.StatusOK {
		tv.t.Fatalf("the webhook answered %d %s, want 200\n%.500s", answer.Status, answer.Code, answer.Body)
	}
	return answer
}
