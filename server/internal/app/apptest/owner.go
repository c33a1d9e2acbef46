package apptest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Password is what every owner signs in with.
const Password = "correct horse battery staple"

// An Owner does over HTTP what a person does in a browser. Its methods end the
// test when a request cannot be made; those that return no Answer do so, too,
// when it is refused. In is for subtests.
type Owner struct {
	Server string // base URL
	Email  string
	Client *http.Client
	Cookie string // of the session

	t testing.TB
}

// NewOwner makes a person who has no account yet.
func NewOwner(t testing.TB, server, email string, client *http.Client) *Owner {
	return &Owner{Server: server, Email: email, Client: client, t: t}
}

// In is the same person in another test, or at another replica.
func (o *Owner) In(t testing.TB, server string) *Owner {
	copied := *o
	copied.t, copied.Server = t, server
	return &copied
}

// Do sends a request to the server, with the session.
func (o *Owner) Do(method, path string, body any, headers ...string) Answer {
	o.t.Helper()
	if o.Cookie != "" {
		headers = append([]string{"Cookie", o.Cookie}, headers...)
	}
	return o.send(method, o.Server+path, body, headers...)
}

// send sends a request to anybody, without the session.
func (o *Owner) send(method, address string, body any, headers ...string) Answer {
	o.t.Helper()
	answer, err := Call(o.t.Context(), o.Client, method, address, body, headers...)
	if err != nil {
		o.t.Fatalf("%s %s: %v", method, address, err)
	}
	return answer
}

// Must is Do for what has to succeed; it decodes the answer into out unless that
// is nil.
func (o *Owner) Must(method, path string, body, out any) {
	o.t.Helper()
	answer := o.Do(method, path, body)
	if answer.Status >= 300 {
		o.t.Fatalf("%s %s answered %s", method, path, answer)
	}
	if out != nil {
		answer.Decode(o.t, out)
	}
}

// Register makes the account and keeps the session's cookie.
func (o *Owner) Register() {
	o.t.Helper()
	o.enter("/api/auth/register", http.StatusCreated)
}

// Login signs in anew.
func (o *Owner) Login() {
	o.t.Helper()
	o.Cookie = ""
	o.enter("/api/auth/login", http.StatusOK)
}

func (o *Owner) enter(path string, status int) {
	o.t.Helper()
	answer := o.Do(http.MethodPost, path, map[string]string{"email": o.Email, "password": Password})
	cookies := (&http.Response{Header: answer.Header}).Cookies()
	if answer.Status != status || len(cookies) != 1 {
		o.t.Fatalf("%s answered %s with %d cookies, want %d with one", path, answer, len(cookies), status)
	}
	o.Cookie = cookies[0].Name + "=" + cookies[0].Value
}

// Token is the session's token, as the cookie has it.
func (o *Owner) Token() string {
	_, token, _ := strings.Cut(o.Cookie, "=")
	return token
}

// A Link is what a webhook's registration URL carries, as the body of a bind.
type Link struct {
	Code       string `json:"code"`
	WebhookURL string `json:"webhookUrl"`
	Hash       string `json:"hmacSecretHash"`
}

// Link asks a webhook for a registration URL and takes it apart like the consent
// page does. adminSecret may be empty for a webhook that was never bound.
func (o *Owner) Link(webhook, adminSecret string) Link {
	o.t.Helper()
	var headers []string
	if adminSecret != "" {
		headers = []string{wire.HeaderAdminSecret, adminSecret}
	}
	answer := o.send(http.MethodGet, webhook+wire.PathRegisterURL, nil, headers...)
	if answer.Status != http.StatusOK {
		o.t.Fatalf("the webhook's registration URL: %s", answer)
	}
	var registration wire.RegisterURL
	answer.Decode(o.t, &registration)
	u, err := url.Parse(registration.RegistrationURL)
	if err != nil || u.Path != wire.PathConsent {
		o.t.Fatalf("the registration URL is %q (%v), want one to %s", registration.RegistrationURL, err, wire.PathConsent)
	}
	return Link{Code: u.Query().Get("code"), WebhookURL: registration.WebhookURL, Hash: u.Query().Get("hmac_hash")}
}

// TryBind consents to a link.
func (o *Owner) TryBind(link Link) Answer {
	o.t.Helper()
	return o.Do(http.MethodPost, "/api/vault/webhook-bind", link)
}

// Bind pairs a webhook with the account.
func (o *Owner) Bind(webhook, adminSecret string) {
	o.t.Helper()
	if answer := o.TryBind(o.Link(webhook, adminSecret)); answer.Status != http.StatusOK {
		o.t.Fatalf("bind answered %s, want 200", answer)
	}
}

// A Ticket permits one call to a webhook.
type Ticket struct {
	Ticket     string
	WebhookURL string
	ExpiresIn  int
}

// StoreTicket asks for permission to store.
func (o *Owner) StoreTicket(service string) (t Ticket) {
	o.t.Helper()
	o.Must(http.MethodPost, "/api/vault/store-ticket", map[string]string{"serviceName": service}, &t)
	return t
}

// CredentialTicket asks for permission to see a credential or its code.
func (o *Owner) CredentialTicket(service string, purpose wire.Purpose) (t Ticket) {
	o.t.Helper()
	o.Must(http.MethodPost, "/api/vault/credential-ticket", map[string]any{"serviceName": service, "purpose": purpose}, &t)
	return t
}

// TryStore posts a credential to the webhook with a ticket, past the server.
func (o *Owner) TryStore(t Ticket, service string, data map[string]any) Answer {
	o.t.Helper()
	return o.send(http.MethodPost, t.WebhookURL+wire.PathStore, map[string]any{"ticket": t.Ticket, "service": service, "tokenData": data})
}

// Store puts a credential into the webhook and has the server read its metadata.
func (o *Owner) Store(service string, data map[string]any) {
	o.t.Helper()
	if answer := o.TryStore(o.StoreTicket(service), service, data); answer.Status != http.StatusOK {
		o.t.Fatalf("storing %s answered %s, want 200", service, answer)
	}
	var synced struct{ Synced int }
	o.Must(http.MethodPost, "/api/vault/sync", map[string]string{"serviceName": service}, &synced)
	if synced.Synced != 1 {
		o.t.Fatalf("after storing %s the server read %d tokens, want 1", service, synced.Synced)
	}
}

// Reveal shows a stored credential to its owner, straight from the webhook.
func (o *Owner) Reveal(service string) map[string]any {
	o.t.Helper()
	t := o.CredentialTicket(service, wire.PurposeUserReveal)
	answer := o.send(http.MethodPost, t.WebhookURL+wire.PathCredential, map[string]string{"ticket": t.Ticket, "service": service})
	if answer.Status != http.StatusOK {
		o.t.Fatalf("revealing %s answered %s, want 200", service, answer)
	}
	var shown struct{ Token map[string]any }
	answer.Decode(o.t, &shown)
	return shown.Token
}

// Agent makes an agent and returns its id and key.
func (o *Owner) Agent(name string) (id, key string) {
	o.t.Helper()
	var made struct{ ID, APIKey string }
	o.Must(http.MethodPost, "/api/agents", map[string]string{"name": name}, &made)
	return made.ID, made.APIKey
}

// Grant permits an agent to use a token, until revoked or for hours.
func (o *Owner) Grant(agentID, service string, hours int) {
	o.t.Helper()
	body := map[string]any{"serviceName": service}
	if hours > 0 {
		body["expiresInHours"] = hours
	}
	o.Must(http.MethodPost, "/api/agents/"+agentID+"/grants", body, nil)
}

// Post sends a page's form, as a browser does.
func (o *Owner) Post(path string, form url.Values) Answer {
	o.t.Helper()
	return o.Do(http.MethodPost, path, []byte(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Origin", o.Server, "Sec-Fetch-Site", "same-origin")
}
