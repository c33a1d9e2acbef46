package dashboard_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

func asked() accounts.PasskeyRequest {
	return accounts.PasskeyRequest{Options: json.RawMessage(`{"challenge":"abc","rpId":"vault.example"}`), Challenge: "sealed-challenge"}
}

func (s *services) PasskeyHost() (host, why string) {
	if s.noKeys != "" {
		return "", s.noKeys
	}
	return "vault.example", ""
}

func (s *services) BeginPasskeyLogin(context.Context) (accounts.PasskeyRequest, error) {
	return asked(), s.called("BeginPasskeyLogin")
}

func (s *services) LoginPasskey(_ context.Context, answer accounts.PasskeyAnswer, _ audit.Client) (accounts.SignIn, error) {
	return s.signIn(), s.called("LoginPasskey %s %s", answer.Challenge, answer.Credential)
}

func (s *services) BeginPasskey(_ context.Context, _ grants.Principal, _ audit.Client, name, password, code string) (accounts.PasskeyRequest, error) {
	return asked(), s.called("BeginPasskey %s %s %s", name, password, code)
}

func (s *services) AddPasskey(_ context.Context, _ grants.Principal, _ audit.Client, name string, answer accounts.PasskeyAnswer) error {
	return s.called("AddPasskey %s %s %s", name, answer.Challenge, answer.Credential)
}

func (s *services) RenamePasskey(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID, name string) error {
	return s.called("RenamePasskey %s %s", id, name)
}

func (s *services) DeletePasskey(_ context.Context, _ grants.Principal, _ audit.Client, id uuid.UUID) error {
	return s.called("DeletePasskey %s", id)
}

func (s *services) BeginDeletion(context.Context, grants.Principal) (accounts.PasskeyRequest, error) {
	return asked(), s.called("BeginDeletion")
}

func (s *services) DeleteAccount(_ context.Context, _ grants.Principal, _ audit.Client, in accounts.DeletionInput) error {
	return s.called("DeleteAccount %s %s %s", in.Email, in.Password, in.Passkey.Credential)
}

// credential is about as long as what devices answer.
var credential = `{"id":"` + strings.Repeat("a", 3000) + `"}`

func TestAPasskeySignsInFromTheSignInPage(t *testing.T) {
	t.Parallel()
	d := open(t)
	page := d.call(t, "GET", "/login?next=/agents", "")
	for _, want := range []string{`data-passkey="get"`, `data-url="/login/passkey/options"`, `data-host="vault.example"`, "passkey.", `name="next" value="/agents"`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the sign-in page lacks %q", want)
		}
	}
	got := d.call(t, "POST", "/login/passkey/options", "", "Sec-Fetch-Site", "same-origin")
	if calls := d.take(); got.status != 200 || calls != "BeginPasskeyLogin" || got.body != `{"options":{"challenge":"abc","rpId":"vault.example"},"challenge":"sealed-challenge"}` {
		t.Errorf("options: %d %s, called %q", got.status, got.body, calls)
	}
	got = d.post(t, "/login/passkey", url.Values{"challenge": {"sealed-challenge"}, "credential": {credential}, "next": {"/agents"}})
	if calls := d.take(); got.status != 303 || got.header.Get("Location") != "/agents" || calls != "LoginPasskey sealed-challenge "+credential || !strings.HasPrefix(got.header.Get("Set-Cookie"), "tv_session="+d.session.Reveal()) {
		t.Errorf("signing in: %d to %q, called %.60q", got.status, got.header.Get("Location"), calls)
	}
	got = d.post(t, "/login/passkey", url.Values{"challenge": {""}, "credential": {""}, "next": {"/agents"}})
	if calls := d.take(); got.status != 400 || calls != "" || !strings.Contains(got.body, "needs JavaScript") || !strings.Contains(got.body, `name="next" value="/agents"`) {
		t.Errorf("without a script: %d, called %q, want 400 that says why", got.status, calls)
	}
	d.err = fault.New(fault.LoginFailed, "This passkey was not accepted.")
	got = d.post(t, "/login/passkey", url.Values{"challenge": {"sealed-challenge"}, "credential": {credential}})
	if got.status != 401 || !strings.Contains(got.body, "This passkey was not accepted.") || got.header.Get("Set-Cookie") != "" || strings.Contains(got.body, "aaaa") {
		t.Errorf("refused: %d with cookie %q, want 401 and none", got.status, got.header.Get("Set-Cookie"))
	}
	got = d.call(t, "POST", "/login/passkey/options", "", "Sec-Fetch-Site", "same-origin")
	if got.status != 401 || !strings.Contains(got.body, `"detail":"This passkey was not accepted."`) {
		t.Errorf("refused options: %d %s, want what the script can say", got.status, got.body)
	}
	d.err, d.noKeys = nil, "This server is reached at an IP address."
	if body := d.call(t, "GET", "/login", "").body; strings.Contains(body, "passkey") {
		t.Error("passkeys are offered where there are none")
	}
	body := d.get(t, "/settings/security").body
	if !strings.Contains(body, d.noKeys) || strings.Contains(body, "/settings/passkeys/new") {
		t.Error("the settings do not say why there are no passkeys, or offer them")
	}
}

func TestAPasskeyIsAddedInTwoSteps(t *testing.T) {
	t.Parallel()
	d := open(t)
	if body := d.get(t, "/settings/passkeys/new").body; strings.Contains(body, `name="code"`) {
		t.Error("a code is asked for without a second factor")
	}
	d.security.SecondFactor = true
	if body := d.get(t, "/settings/passkeys/new").body; !strings.Contains(body, `name="code"`) {
		t.Error("no code is asked for with a second factor")
	}
	got := d.post(t, "/settings/passkeys/new", url.Values{"name": {"my phone"}, "password": {"s3cret-typed"}, "code": {"123456"}})
	if calls := d.take(); got.status != 200 || calls != "BeginPasskey my phone s3cret-typed 123456" {
		t.Fatalf("the first step: %d, called %q", got.status, calls)
	}
	for _, want := range []string{`data-options="{&#34;challenge&#34;:&#34;abc&#34;`, `name="challenge" value="sealed-challenge"`, `name="name" value="my phone"`, `action="/settings/passkeys"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the second step lacks %q", want)
		}
	}
	if strings.Contains(got.body, "s3cret-typed") || strings.Contains(got.body, "123456") {
		t.Error("the second step shows the password or the code")
	}
	answer := url.Values{"name": {"my phone"}, "challenge": {"sealed-challenge"}, "credential": {credential}}
	got = d.post(t, "/settings/passkeys", answer)
	if calls := d.take(); got.status != 303 || got.header.Get("Location") != "/settings/security" || calls != "AddPasskey my phone sealed-challenge "+credential {
		t.Errorf("the second step: %d to %q, called %.60q", got.status, got.header.Get("Location"), calls)
	}
	got = d.post(t, "/settings/passkeys", url.Values{"name": {"my phone"}, "challenge": {"sealed-challenge"}, "credential": {""}})
	if calls := d.take(); got.status != 400 || calls != "" || !strings.Contains(got.body, "needs JavaScript") || !strings.Contains(got.body, `value="my phone"`) {
		t.Errorf("without a script: %d, called %q, want 400 with the name kept", got.status, calls)
	}
	for _, tt := range []struct {
		path string
		form url.Values
		err  error
		has  string
	}{
		{"/settings/passkeys/new", url.Values{"name": {"my phone"}, "password": {"s3cret-typed"}}, fault.Field("password", "Not your password."), `id="e-password">Not your password.`},
		{"/settings/passkeys/new", url.Values{"name": {"my phone"}, "password": {"s3cret-typed"}}, fault.Field("code", "Not the code."), `id="e-code">Not the code.`},
		{"/settings/passkeys/new", url.Values{"name": {"my phone"}, "password": {"s3cret-typed"}}, fault.Field("name", "Name it."), `id="e-name">Name it.`},
		{"/settings/passkeys", answer, fault.New(fault.LoginFailed, "It was not accepted."), "It was not accepted."},
		{"/settings/passkeys", answer, fault.New(fault.Conflict, "It was added before."), "It was added before."},
	} {
		d.err = tt.err
		got := d.post(t, tt.path, tt.form)
		if got.status < 400 || got.status > 409 || !strings.Contains(got.body, tt.has) || !strings.Contains(got.body, `value="my phone"`) || strings.Contains(got.body, "s3cret-typed") {
			t.Errorf("%s with %v: %d; want the name kept, the password not, and %q", tt.path, tt.err, got.status, tt.has)
		}
	}
}

func TestPasskeysAreRenamedAndDeleted(t *testing.T) {
	t.Parallel()
	d := open(t)
	rename, remove := "/settings/passkeys/rename/"+keyID.String(), "/settings/passkeys/delete/"+keyID.String()
	got := d.post(t, rename, url.Values{"name": {"laptop"}})
	if calls := d.take(); got.status != 303 || calls != "RenamePasskey "+keyID.String()+" laptop" {
		t.Errorf("renaming: %d, called %q", got.status, calls)
	}
	got = d.post(t, remove, nil)
	if calls := d.take(); got.status != 303 || got.header.Get("Location") != "/settings/security" || calls != "DeletePasskey "+keyID.String() {
		t.Errorf("deleting: %d, called %q", got.status, calls)
	}
	d.err = fault.Field("name", "Name it.")
	if got := d.post(t, rename, url.Values{"name": {"typed name"}}); got.status != 400 || !strings.Contains(got.body, `value="typed name"`) || !strings.Contains(got.body, `id="e-name">Name it.`) {
		t.Errorf("a bad name: %d, want 400 with the field marked", got.status)
	}
	d.err = fault.New(fault.NotFound, "There is no such passkey.")
	if got := d.post(t, remove, nil); got.status != 303 {
		t.Errorf("one that is gone already: %d, want 303", got.status)
	}
	d.take()
	for _, path := range []string{"/settings/passkeys/rename/" + otherID.String(), "/settings/passkeys/delete/" + otherID.String(), "/settings/passkeys/delete/x"} {
		if got := d.get(t, path); got.status != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, got.status)
		}
	}
}

func TestDeletingTheAccountSaysWhatIsLostAndAsksForProof(t *testing.T) {
	t.Parallel()
	d := open(t)
	body := d.get(t, "/settings/danger/delete").body
	for _, want := range []string{"All sessions (2), API keys (1) and agents (1)", "What your webhook keeps", "The audit record", "owner@b.example", `data-url="/settings/danger/passkey"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	d.seal()
	if body := d.get(t, "/settings/danger/delete").body; !strings.Contains(body, "this server cannot bring them back") || strings.Contains(body, "What your webhook keeps") {
		t.Error("in platform mode the page does not say that credentials are lost, or speaks of a webhook")
	}
	d.err = fault.Field("email", "This is not the address.")
	got := d.post(t, "/settings/danger/delete", url.Values{"email": {"typed@b.example"}, "password": {"s3cret-typed"}})
	if got.status != 400 || !strings.Contains(got.body, `value="typed@b.example"`) || !strings.Contains(got.body, `id="e-email">This is not`) || strings.Contains(got.body, "s3cret-typed") || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a wrong address: %d with cookie %q; want 400, the address kept, the password not", got.status, got.header.Get("Set-Cookie"))
	}
	d.err = nil
	d.take()
	got = d.post(t, "/settings/danger/delete", url.Values{"email": {"owner@b.example"}, "password": {"s3cret-typed"}})
	if calls := d.take(); got.status != 303 || got.header.Get("Location") != "/login" || calls != "DeleteAccount owner@b.example s3cret-typed " ||
		!strings.Contains(strings.Join(got.header.Values("Set-Cookie"), ";"), "tv_session=; Path=/; Max-Age=0") {
		t.Errorf("deleting: %d to %q, called %q", got.status, got.header.Get("Location"), calls)
	}
	got = d.post(t, "/settings/danger/delete", url.Values{"email": {"owner@b.example"}, "challenge": {"sealed-challenge"}, "credential": {credential}})
	if calls := d.take(); got.status != 303 || calls != "DeleteAccount owner@b.example  "+credential {
		t.Errorf("with a passkey: %d, called %.60q", got.status, calls)
	}
	if got := d.post(t, "/settings/danger/passkey", nil); got.status != 200 || !strings.Contains(got.body, "sealed-challenge") || d.take() != "BeginDeletion" {
		t.Errorf("asking for a passkey: %d %s", got.status, got.body)
	}
}

func TestSigningOutEverywhereEndsAllSessionsAndThenThisOne(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.loss = grants.Loss{Sessions: 3, Vaults: 1, Credentials: 2}
	body := d.get(t, "/settings/sessions/end-all").body
	for _, want := range []string{"All 3 sessions are signed out", "a vault that nothing else opens ends", "credentials (2) are deleted"} {
		if !strings.Contains(body, want) {
			t.Errorf("the question lacks %q", want)
		}
	}
	got := d.post(t, "/settings/sessions/end-all", nil)
	if calls := d.take(); got.status != 303 || got.header.Get("Location") != "/login" || calls != "RevokeOthers; Logout" ||
		!strings.Contains(strings.Join(got.header.Values("Set-Cookie"), ";"), "tv_session=; Path=/; Max-Age=0") {
		t.Errorf("signing out: %d to %q, called %q", got.status, got.header.Get("Location"), calls)
	}
	d.err = fault.New(fault.Unavailable, "The database is away.")
	if got := d.post(t, "/settings/sessions/end-all", nil); got.status != 503 || got.header.Get("Set-Cookie") != "" || d.take() != "RevokeOthers" {
		t.Errorf("when that fails: %d with cookie %q; want 503 and this session kept", got.status, got.header.Get("Set-Cookie"))
	}
}
