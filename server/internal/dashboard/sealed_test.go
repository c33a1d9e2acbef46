package dashboard_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

func sealedDoor(t *testing.T) *door {
	t.Helper()
	d := open(t)
	d.seal()
	return d
}

func TestInPlatformModeThePagesSayWhatIsProtectedAndWhatIsNot(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	for _, page := range []string{"/tokens/new?type=PlainText", "/settings/vault"} {
		body := d.get(t, page).body
		for _, want := range []string{"no credential. Service names", "no credential either", "that whole vault", "lost for good"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not say %q", page, want)
			}
		}
	}
	if body := d.get(t, "/settings/vault").body; !strings.Contains(body, "Platform mode:") {
		t.Error("the settings do not name the mode")
	}
	if body := d.get(t, "/").body; !strings.Contains(body, `class="trust sealed"`) || !strings.Contains(body, "/tokens/new") || strings.Contains(body, "/tokens/sync") {
		t.Error("the list of tokens shows no sealed badge, or is that of a webhook")
	}
	d.bind()
	if body := d.get(t, "/settings/vault").body; !strings.Contains(body, "Webhook mode:") {
		t.Error("the settings do not name the webhook mode")
	}
}

func TestTheFormForACredentialHasTheFieldsOfItsType(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	name := regexp.MustCompile(`<(?:input|textarea)[^>]* name="([^"]+)"`)
	for kind, want := range map[string]string{
		"PlainText": "accessToken", "OAuth": "accessToken refreshToken expiresAt provider", "JWT": "accessToken expiresAt", "TOTP": "totpSecret",
		"SSHKey": "sshPrivateKey passphrase", "Certificate": "certificateData privateKeyData certificateChain passphrase", "RawCredential": "accessToken scopes",
		"Basic": "username password", "Bearer": "accessToken expiresAt", "OpenIDConnect": "accessToken refreshToken idToken expiresAt provider",
	} {
		body := d.get(t, "/tokens/new?type="+kind).body
		form := regexp.MustCompile(`(?s)<form id="add".*?</form>`).FindString(body)
		var got []string
		for _, m := range name.FindAllStringSubmatch(form, -1) {
			got = append(got, m[1])
		}
		if all := strings.Join(got, " "); all != "type serviceName "+want+" displayName tags allowedHosts replace" {
			t.Errorf("%s: the form has %s, want %s", kind, all, want)
		}
		if !strings.Contains(body, `aria-current="true">`) || !strings.Contains(form, `method="post" action="/tokens/new"`) {
			t.Errorf("%s: the page does not show which type it is for, or its form goes elsewhere", kind)
		}
	}
}

func TestACredentialIsStoredAsItsTypeHasIt(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	for _, tt := range []struct {
		name  string
		form  url.Values
		calls string
	}{
		{"an API key", values("type", "PlainText", "serviceName", "new", "accessToken", " s3cret \r\n", "refreshToken", "not of this type"),
			`Store new {"accessToken":"s3cret","tokenType":"PlainText"}`},
		{"an SSH key", values("type", "SSHKey", "serviceName", "new", "sshPrivateKey", "-----\r\nx\r\n-----\r\n", "passphrase", " p "),
			`Store new {"passphrase":" p ","sshPrivateKey":"-----\nx\n-----","tokenType":"SSHKey"}`},
		{"OAuth", values("type", "OAuth", "serviceName", "new", "accessToken", "a", "refreshToken", "r", "expiresAt", "2026-02-03T04:05", "tags", "x, y", "allowedHosts", "https://a.example  https://b.example"),
			`Store new {"accessToken":"a","allowedHosts":["https://a.example","https://b.example"],"expiresAt":"2026-02-03T04:05:00Z","refreshToken":"r","tags":["x","y"],"tokenType":"OAuth"}`},
		{"a user name", values("type", "Basic", "serviceName", "new", "username", "u", "password", " p "), `Store new {"password":" p ","tokenType":"Basic","username":"u"}`},
		{"a replacement", values("type", "PlainText", "serviceName", "my token", "accessToken", "s", "replace", "on"), `Store my token {"accessToken":"s","tokenType":"PlainText"}`},
	} {
		got := d.post(t, "/tokens/new", tt.form)
		if got.status != http.StatusSeeOther || got.header.Get("Location") != "/token/my%20token" && got.header.Get("Location") != "/token/new" {
			t.Errorf("%s: %d to %q, want 303 to the token", tt.name, got.status, got.header.Get("Location"))
		}
		if calls := d.take(); calls != tt.calls {
			t.Errorf("%s: called %s\nwant %s", tt.name, calls, tt.calls)
		}
	}
}

func TestARefusedCredentialIsNotShownAgain(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	full := values("type", "Certificate", "serviceName", "kept", "certificateData", "s3cret1", "privateKeyData", "s3cret2", "passphrase", "s3cret3", "displayName", "kept too", "replace", "on")
	for _, tt := range []struct {
		name   string
		form   url.Values
		err    error
		status int
		says   string
		calls  bool
	}{
		{"by the service", full, fault.Field("tokenData.privateKeyData", "tokenData.privateKeyData is not the certificate's own."), 400, `id="e-privateKeyData">“Private key” is not the`, true},
		{"while locked", full, fault.New(fault.VaultLocked, "The vault is locked."), 423, "The vault is locked.", true},
		{"a webhook was bound meanwhile", full, fault.New(fault.WrongVaultMode, "A webhook keeps them."), 400, "A webhook keeps them.", true},
		{"the name is taken", values("type", "TOTP", "serviceName", "my token", "totpSecret", "s3cret"), nil, 409, `id="e-serviceName">There is a token of this name`, false},
		{"a type that is none", values("type", "Carrier pigeon", "serviceName", "kept", "accessToken", "s3cret"), nil, 400, "choose one of the types", false},
		{"no type", values("serviceName", "kept", "accessToken", "s3cret"), nil, 400, "choose one of the types", false},
		{"a date that is none", values("type", "JWT", "serviceName", "kept", "accessToken", "s3cret", "expiresAt", "tomorrow"), nil, 400, `id="e-expiresAt">This is no date`, false},
	} {
		d.err = tt.err
		got := d.post(t, "/tokens/new", tt.form)
		if got.status != tt.status || !strings.Contains(got.body, tt.says) || !strings.Contains(got.body, `value="`+tt.form.Get("serviceName")+`"`) {
			t.Errorf("%s: %d; want the form with %d, the name, and %q", tt.name, got.status, tt.status, tt.says)
		}
		if strings.Contains(got.body, "s3cret") {
			t.Errorf("%s: the page shows the secret again", tt.name)
		}
		if calls := d.take(); strings.Contains(calls, "Store") != tt.calls {
			t.Errorf("%s: called %q, want Store: %v", tt.name, calls, tt.calls)
		}
	}
}

func TestAFormForSecretsIsRefusedBeforeAnythingIsStored(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	for name, form := range map[string]url.Values{
		"too long":       values("type", "PlainText", "serviceName", "a", "accessToken", strings.Repeat("s3cret", 50_000)),
		"not text":       values("type", "PlainText", "serviceName", "a", "accessToken", "s3cret\xff"),
		"a name's bytes": values("type", "PlainText", "serviceName", "a\x00", "accessToken", "s3cret"),
		"a field twice":  {"type": {"PlainText"}, "serviceName": {"a"}, "accessToken": {"s3cret", "s3cret"}},
		"a long name":    values("type", "PlainText", "serviceName", strings.Repeat("a", 2000), "accessToken", "s3cret"),
	} {
		got := d.post(t, "/tokens/new", form)
		if got.status != http.StatusBadRequest || strings.Contains(got.body, "s3cret") {
			t.Errorf("%s: %d; want 400 without the secret", name, got.status)
		}
		if calls := d.take(); calls != "" {
			t.Errorf("%s: called %q, want nothing called", name, calls)
		}
	}
	d.bind()
	got := d.post(t, "/tokens/new", values("type", "PlainText", "serviceName", "a", "accessToken", "s3cret"))
	if calls := d.take(); got.status != 400 || strings.Contains(got.body, "s3cret") || calls != "" {
		t.Errorf("in webhook mode: %d, called %q; want a refusal and nothing stored", got.status, calls)
	}
}

func TestACredentialIsShownToWhoAskedAndNowhereElse(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	if body := d.get(t, "/token/my%20token").body; strings.Contains(body, "s3cret") || !strings.Contains(body, `action="/token/my%20token/reveal"`) {
		t.Error("the page shows the secret unasked, or offers no way to see it")
	}
	got := d.post(t, "/token/my%20token/reveal", nil)
	for _, want := range []string{"<code>s3cret</code>", "<code>r3fresh</code>", "<code>https://a.example</code>"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the answer lacks %s", want)
		}
	}
	if got.status != 200 || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d, Cache-Control %q; want 200 and no-store", got.status, got.header.Get("Cache-Control"))
	}
	if calls := d.take(); calls != "Reveal my token" {
		t.Errorf("called %q, want Reveal", calls)
	}
	if got := d.post(t, "/token/none/reveal", nil); got.status != 404 || d.take() != "" {
		t.Errorf("a token that is none: %d, want 404 and nothing revealed", got.status)
	}
	d.err = fault.New(fault.VaultLocked, "The vault is locked.")
	if got := d.post(t, "/token/my%20token/reveal", nil); got.status != 423 || strings.Contains(got.body, "s3cret") || !strings.Contains(got.body, "The vault is locked.") {
		t.Errorf("while locked: %d; want 423 and no secret", got.status)
	}
	got = d.call(t, "POST", "/token/my%20token/reveal", "", append(d.cookie(), "Sec-Fetch-Site", "cross-site")...)
	if got.status != 403 || strings.Contains(got.body, "s3cret") {
		t.Errorf("from another site: %d, want 403", got.status)
	}
}

func TestOfATOTPTokenTheCodeIsShownWithItsTime(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	d.token.TokenType = "TOTP"
	d.secret = map[string]any{"accessToken": "123456", "tokenType": "TOTP", "remainingSeconds": 20, "period": 30, "digits": 6, "totpGenerated": true}
	if body := d.get(t, "/token/my%20token").body; !strings.Contains(body, `<form method="post" action="/token/my%20token/code">`) || strings.Contains(body, "/reveal") {
		t.Error("the page of a TOTP token does not offer its code alone")
	}
	got := d.post(t, "/token/my%20token/code", nil)
	if got.status != 200 || !strings.Contains(got.body, ">123456</p>") || !strings.Contains(got.body, "Good for 20 more seconds.") {
		t.Errorf("%d; want the code and for how long it is good", got.status)
	}
	if calls := d.take(); calls != "Reveal my token" {
		t.Errorf("called %q, want Reveal", calls)
	}
	json := func() answer {
		return d.call(t, "POST", "/token/my%20token/code", "", append(d.cookie(), "Accept", "application/json", "Sec-Fetch-Site", "same-origin")...)
	}
	got = json()
	if want := `{"code":"123456","remainingSeconds":20,"period":30}`; got.status != 200 || got.body != want || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("to a script: %d %q %s; want 200 %s, not kept", got.status, got.header.Get("Cache-Control"), got.body, want)
	}
	d.take()
	d.err = fault.New(fault.VaultLocked, "The vault is locked.")
	for _, got := range []answer{d.post(t, "/token/my%20token/code", nil), json()} {
		if got.status != 423 || strings.Contains(got.body, "123456") || !strings.Contains(got.body, "The vault is locked.") {
			t.Errorf("while it is locked: %d %s; want 423 and no code", got.status, got.body)
		}
	}
	if got := d.call(t, "GET", "/token/my%20token/code", "", d.cookie()...); got.status != 405 && got.status != 404 {
		t.Errorf("GET: %d, want that nothing is shown by reading", got.status)
	}
}

// What has no codes, or keeps them elsewhere, is not even opened.
func TestOnlyACodeIsAnsweredWhereACodeWasAskedFor(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	ask := func(path string) answer {
		return d.call(t, "POST", path, "", append(d.cookie(), "Accept", "application/json", "Sec-Fetch-Site", "same-origin")...)
	}
	if got := ask("/token/my%20token/code"); got.status != 409 || d.take() != "" || strings.Contains(got.body, "s3cret") {
		t.Errorf("of an API key: %d %s, want 409 and nothing opened", got.status, got.body)
	}
	if got := d.post(t, "/token/my%20token/code", nil); got.status != 409 || d.take() != "" || strings.Contains(got.body, "s3cret") {
		t.Errorf("of an API key, as a form: %d, want 409 and nothing opened", got.status)
	}
	if got := ask("/token/none/code"); got.status != 404 || d.take() != "" {
		t.Errorf("of nothing: %d, want 404", got.status)
	}
	d.token.TokenType = "TOTP" // and the secret was replaced by something else since
	if got := ask("/token/my%20token/code"); got.status != 409 || strings.Contains(got.body, "s3cret") {
		t.Errorf("replaced meanwhile: %d %s, want 409 and no secret", got.status, got.body)
	}
	d.take()
	d.sealed = false
	d.bind()
	if got := ask("/token/my%20token/code"); got.status != 400 && got.status != 409 || d.take() != "" {
		t.Errorf("of a webhook's token: %d, want a refusal and nothing opened", got.status)
	}
	if got := d.call(t, "POST", "/token/my%20token/code", "", "Accept", "application/json"); got.status == 200 || d.take() != "" {
		t.Errorf("without a session: %d, want to be sent to sign in", got.status)
	}
	if got := d.call(t, "POST", "/token/my%20token/code", "", append(d.cookie(), "Accept", "application/json", "Sec-Fetch-Site", "cross-site")...); got.status != 403 || d.take() != "" {
		t.Errorf("from another site: %d, want 403", got.status)
	}
}

func TestWhatLinkingKeptBesideCanBeRestoredOrDeleted(t *testing.T) {
	t.Parallel()
	d := sealedDoor(t)
	path := "/tokens/superseded/" + agentID.String()
	if body := d.get(t, "/").body; !strings.Contains(body, "Kept beside others of their name") || !strings.Contains(body, `value="github older"`) {
		t.Error("the list does not show what was superseded, with a name to restore it under")
	}
	if got := d.post(t, path+"/restore", values("serviceName", "github 2")); got.status != 303 || got.header.Get("Location") != "/token/github%202" || d.take() != "Restore "+agentID.String()+" github 2" {
		t.Errorf("restore: %d to %q", got.status, got.header.Get("Location"))
	}
	if got := d.post(t, path+"/delete", nil); got.status != 303 || d.take() != "Discard "+agentID.String() {
		t.Errorf("delete: %d, want 303 and Discard", got.status)
	}
	if got := d.post(t, "/tokens/superseded/x/restore", values("serviceName", "a")); got.status != 404 || d.take() != "" {
		t.Errorf("an id that is none: %d, want 404 and nothing called", got.status)
	}
	d.err = fault.New(fault.Conflict, "There is a token of this name already.")
	if got := d.post(t, path+"/restore", values("serviceName", "my token")); got.status != 409 || !strings.Contains(got.body, "of this name already") {
		t.Errorf("a name that is taken: %d, want 409 with the reason", got.status)
	}
}
