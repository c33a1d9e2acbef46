package dashboard_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func values(pairs ...string) url.Values {
	out := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		out.Set(pairs[i], pairs[i+1])
	}
	return out
}

func TestFormsCallTheirServiceThenRedirect(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, tt := range []struct {
		path  string
		form  url.Values
		calls string
		to    string
		says  string
	}{
		{"/tokens/sync", nil, `Sync ""`, "/", "what your webhook has now"},
		{"/token/my%20token", values("displayName", "New", "notes", "a\r\nb", "tags", " x, ,y "), `UpdateMetadata my token "New" "a\nb" ["x" "y"]`, "/token/my%20token", "Saved"},
		{"/token/my%20token/delete", nil, "DeleteTokens my token", "/", "deleted"},
		{"/token/my%20token/refresh", nil, "Refresh my token", "/token/my%20token", "there is a new access token"},
		{agentPath, values("name", "n", "description", "a\r\nb"), `Update "n" "a\nb"`, agentPath, "Saved"},
		{agentPath + "/status", values("status", "suspended"), "Update suspended", agentPath, "suspended"},
		{agentPath + "/status", values("status", "active"), "Update active", agentPath, "may act again"},
		{agentPath + "/delete", nil, "Delete [" + agentID.String() + "]", "/agents", "deleted"},
		{agentPath + "/grants", values("serviceName", "my token", "hours", "24"), "Grant my token 24h0m0s auto", agentPath, "Granted"},
		{agentPath + "/grants", values("serviceName", "my token", "hours", "0", "refreshPolicy", "never"), "Grant my token 0s never", agentPath, "Granted"},
		{agentPath + "/revoke", values("serviceName", "my token"), "Revoke my token", agentPath, "Revoked"},
		{"/vault/webhook-bind", values("code", "c", "webhookUrl", "u", "hash", "h"), "Bind c u h", "/setup/bound", "bound"},
		{"/settings/lock", nil, "Lock", "/settings/vault", ""},
		{"/settings/unlock", nil, "Unlock", "/settings/vault", "unlocked"},
		{"/settings/make-keys", nil, "MakeDueKeys", "/settings/vault", "new keys"},
		{"/settings/unbind", nil, "Unbind", "/settings/vault", "unbound"},
	} {
		got := d.post(t, tt.path, tt.form)
		if got.status != http.StatusSeeOther || got.header.Get("Location") != tt.to {
			t.Errorf("POST %s: %d to %q, want 303 to %q", tt.path, got.status, got.header.Get("Location"), tt.to)
		}
		if calls := d.take(); calls != tt.calls {
			t.Errorf("POST %s: called %q, want %q", tt.path, calls, tt.calls)
		}
		if tt.says == "" {
			continue
		}
		cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
		next := d.call(t, "GET", tt.to, "", "Cookie", d.cookie()[1]+"; "+cookie)
		if !regexp.MustCompile(`<div class="notice good" role="status">[^<]*` + tt.says).MatchString(next.body) {
			t.Errorf("POST %s: the page afterwards does not say %q (cookie %q)", tt.path, tt.says, cookie)
		}
		if !strings.Contains(next.header.Get("Set-Cookie"), "tv_flash=; Path=/; Max-Age=0") {
			t.Errorf("POST %s: what was said once is kept: %q", tt.path, next.header.Get("Set-Cookie"))
		}
	}
}

func TestReadingAPageChangesNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, page := range pages() {
		d.get(t, page)
		if calls := d.take(); calls != "" && !strings.HasPrefix(calls, "PreviewBind") {
			t.Errorf("GET %s called %q", page, calls)
		}
	}
}

func TestAFlashIsOneOfOurWords(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.call(t, "GET", "/", "", "Cookie", d.cookie()[1]+"; tv_flash=Send-your-password-to-evil.example")
	if strings.Contains(got.body, "evil.example") || strings.Contains(got.body, "notice good") {
		t.Error("a page shows what a cookie says")
	}
}

func TestFormsAreRefusedBeforeAnyServiceIsCalled(t *testing.T) {
	t.Parallel()
	d := open(t)
	const form = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name, path, body string
		headers          []string
		status           int
		says             string
	}{
		{"another site", "/settings/lock", "", []string{"Sec-Fetch-Site", "cross-site"}, 403, "another site"},
		{"another origin", "/settings/unbind", "", []string{"Origin", "https://evil.example"}, 403, "another site"},
		{"JSON", agentPath + "/grants", `{}`, []string{"Content-Type", "application/json"}, 415, "x-www-form-urlencoded"},
		{"no content type", agentPath + "/grants", `serviceName=a&hours=1`, nil, 415, "x-www-form-urlencoded"},
		{"too large", "/agents", "name=" + strings.Repeat("a", 2<<20), []string{"Content-Type", form}, 413, "1 MiB"},
		{"a line too long", "/agents", "name=" + strings.Repeat("a", 2000), []string{"Content-Type", form}, 400, "longer than"},
		{"a control character", "/agents", "name=a%00b", []string{"Content-Type", form}, 400, "control character"},
		{"a field twice", "/agents", "name=a&name=b", []string{"Content-Type", form}, 400, "twice"},
		{"a field with a huge name", "/agents", strings.Repeat("n", 100) + "=1", []string{"Content-Type", form}, 400, "no form of ours"},
		{"broken encoding", "/agents", "name=%zz", []string{"Content-Type", form}, 400, "encoded"},
		{"hours that are none", agentPath + "/grants", "serviceName=a&hours=x", []string{"Content-Type", form}, 400, "hours"},
		{"too many hours", agentPath + "/grants", "serviceName=a&hours=721", []string{"Content-Type", form}, 400, "hours"},
		{"an unknown refresh policy", agentPath + "/grants", "serviceName=a&hours=1&refreshPolicy=maybe", []string{"Content-Type", form}, 400, "refresh policy"},
		{"a status that is none", agentPath + "/status", "status=asleep", []string{"Content-Type", form}, 400, "suspended"},
		{"an id that is none", "/agents/x/delete", "", []string{"Content-Type", form}, 404, "no agent"},
		{"an id in another form", "/agents/01890000000070008000000000000000/delete", "", []string{"Content-Type", form}, 404, "no agent"},
		{"a name too long", "/token/" + strings.Repeat("a", 129) + "/delete", "", []string{"Content-Type", form}, 404, "no token"},
		{"a method that is none", "/settings", "", nil, 405, "does not take POST"},
	} {
		got := d.call(t, "POST", tt.path, tt.body, append(d.cookie(), tt.headers...)...)
		if got.status != tt.status || !strings.Contains(got.body, tt.says) || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: got %d, want a page with %d that says %q:\n%s", tt.name, got.status, tt.status, tt.says, got.body)
		}
		if calls := d.take(); calls != "" {
			t.Errorf("%s: called %q, want nothing called", tt.name, calls)
		}
	}
}

func TestARefusedFormComesBackFilledInAndMarked(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, tt := range []struct {
		name, path string
		form       url.Values
		err        *fault.Error
		status     int
		want       []string
	}{
		{"agent", "/agents", values("name", "taken", "description", "kept text"), fault.New(fault.Conflict, "There is an agent of this name."), 409,
			[]string{`value="taken"`, ">kept text</textarea>", "There is an agent of this name."}},
		{"agent's name", "/agents", values("name", "<b>", "description", ""), fault.Field("name", "A name has 1 to 100 characters."), 400,
			[]string{`value="&lt;b&gt;"`, `id="e-name">A name has 1 to 100`, `aria-invalid="true"`}},
		{"edited agent", agentPath, values("name", "taken", "description", "kept text"), fault.Field("name", "Taken."), 400,
			[]string{`value="taken"`, ">kept text</textarea>", `id="e-name">Taken.`}},
		{"grant", agentPath + "/grants", values("serviceName", "gone", "hours", "168"), fault.New(fault.TokenNotFound, "There is no such token."), 404,
			[]string{`value="gone"`, `id="e-serviceName">There is no such token.`, `<option value="168" selected>`}},
		{"metadata", "/token/my%20token", values("displayName", "kept", "notes", "kept notes", "tags", "a,b"), fault.Field("tags", "Too many tags."), 400,
			[]string{`value="kept"`, ">kept notes</textarea>", `value="a, b"`, `id="e-tags">Too many tags.`}},
		{"metadata while the webhook is away", "/token/my%20token", values("displayName", "kept", "notes", "", "tags", ""), fault.New(fault.WebhookUnavailable, "The webhook is away."), 502,
			[]string{`value="kept"`, "The webhook is away."}},
		{"bind", "/vault/webhook-bind", values("code", "c", "webhookUrl", "https://new.example", "hash", "h"), fault.New(fault.WebhookMismatch, "Another secret."), 422,
			[]string{"was not bound", "Another secret.", "<strong>new.example</strong>"}},
		{"check", "/settings/check", nil, fault.New(fault.WebhookNotConfigured, "No webhook is bound."), 409, []string{"No webhook is bound.", "Kill switch"}},
	} {
		d.err = tt.err
		got := d.post(t, tt.path, tt.form)
		if got.status != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, got.status, tt.status)
		}
		for _, want := range tt.want {
			if !strings.Contains(got.body, want) {
				t.Errorf("%s: the page lacks %q", tt.name, want)
			}
		}
	}
}

func TestAnAgentKeyIsShownOnceAndNeverKept(t *testing.T) {
	t.Parallel()
	d := open(t)
	key := d.agentKey.Reveal()
	got := d.post(t, "/agents", values("name", "deployer", "description", ""))
	if got.status != http.StatusCreated || !strings.Contains(got.body, "<code>"+key+"</code>") || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a new agent: %d, Cache-Control %q; want 201 with the key, kept nowhere", got.status, got.header.Get("Cache-Control"))
	}
	if !strings.Contains(got.body, "&#39;http://127.0.0.1:8000/api/agents/credentials&#39;") {
		t.Error("the page of a new key shows no command line")
	}
	if strings.Contains(strings.Join(got.header.Values("Set-Cookie"), ""), key) || got.header.Get("Location") != "" {
		t.Errorf("the key went into headers: %v", got.header)
	}
	if got := d.post(t, agentPath+"/rotate-key", nil); got.status != 200 || !strings.Contains(got.body, key) || !strings.Contains(got.body, "old key is refused") {
		t.Errorf("a replaced key: %d; want the new one, and that the old one is refused", got.status)
	}
	for _, page := range pages() {
		if got := d.get(t, page); strings.Contains(got.body, key) {
			t.Errorf("%s shows the key", page)
		}
	}
}

// A credential that nobody else can open goes with what an agent has of it, and a new
// key opens no more than the session that made it.
func TestWhatEndsWithAnAgentsKeyIsSaidBefore(t *testing.T) {
	t.Parallel()
	d := open(t)
	for path, want := range map[string]string{
		agentPath + "/rotate-key": "Only of what this server still keeps sealed, it loses what this session does not open",
		agentPath + "/delete":     "A credential that nobody but this agent can open is deleted.",
		"/keys":                   "bind and unbind the webhook, which is as good as reading every token",
	} {
		if got := d.get(t, path); !strings.Contains(got.body, want) {
			t.Errorf("%s does not say %q", path, want)
		}
	}
}

// Whatever goes wrong in a browser, what is typed into these fields cannot be
// sent to this server: fields without a name are in no form's data.
func TestTheFormForSecretsCannotBeSentHere(t *testing.T) {
	t.Parallel()
	d := open(t)
	fields := map[string]bool{}
	for _, kind := range []string{"PlainText", "OAuth", "JWT", "TOTP", "SSHKey", "Certificate", "RawCredential"} {
		body := d.get(t, "/tokens/new?type="+kind).body
		form := regexp.MustCompile(`(?s)<form id="add".*?</form>`).FindString(body)
		controls := regexp.MustCompile(`<(?:input|textarea|select)[^>]*>`).FindAllString(form, -1)
		if len(controls) < 6 {
			t.Fatalf("%s: found %d controls in the form, want all of them", kind, len(controls))
		}
		for _, control := range controls {
			if strings.Contains(control, " name=") {
				t.Errorf("%s: %s has a name", kind, control)
			}
		}
		for _, m := range regexp.MustCompile(`data-name="([^"]+)" data-kind="secret"`).FindAllStringSubmatch(form, -1) {
			fields[m[1]] = true
		}
		if strings.Contains(form, "action=") || strings.Contains(form, "method=") || !strings.Contains(form, `<button id="send" disabled>`) {
			t.Errorf("%s: the form can be sent without the script: %.200s", kind, form)
		}
		if !strings.Contains(body, `<noscript><div class="notice warn"`) || !strings.Contains(form, `class="scripted"`) {
			t.Errorf("%s: the page does not say why it needs JavaScript", kind)
		}
	}
	for _, field := range []string{"accessToken", "refreshToken", "totpSecret", "sshPrivateKey", "certificateData", "privateKeyData", "certificateChain", "passphrase"} {
		if !fields[field] {
			t.Errorf("no form has a control for %s", field)
		}
	}
}

// link is a registration link as webhooks make it.
func link(code, webhook, hash string) string {
	return "/vault/webhook-bind?" + url.Values{
		"code": {code}, "webhook_url": {base64.StdEncoding.EncodeToString([]byte(webhook))}, "hmac_hash": {hash},
	}.Encode()
}

func TestTheConsentPageNamesHostAndFingerprint(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.get(t, link("c0de", "https://new.example", fingerprint))
	for _, want := range []string{"Bind new.example?", "<code>0011</code>", "<code>eeff</code>", `name="code" value="c0de"`, `name="webhookUrl" value="https://new.example"`, `name="hash" value="` + fingerprint + `"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the consent page lacks %q", want)
		}
	}
	if calls := d.take(); calls != "PreviewBind c0de https://new.example "+fingerprint {
		t.Errorf("called %q, want the preview alone", calls)
	}
	if strings.Contains(got.body, "is bound already") || strings.Contains(got.body, "This replaces") {
		t.Error("the consent page warns of a binding that is not there")
	}
	d.preview.Replaces = &models.Binding{URL: "https://old.example"}
	if got := d.get(t, link("c0de", "https://new.example", fingerprint)); !strings.Contains(got.body, "This replaces old.example.") {
		t.Error("the consent page does not say that it replaces another webhook")
	}
	d.preview.Replaces = &models.Binding{URL: "https://new.example"}
	if got := d.get(t, link("c0de", "https://new.example", fingerprint)); !strings.Contains(got.body, "new.example is bound already.") {
		t.Error("the consent page does not say that this webhook is bound already")
	}
}

func TestALinkThatCannotBeUsedSaysWhy(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, tt := range []struct{ name, query string }{
		{"nothing", ""}, {"no code", "webhook_url=aHR0cHM6Ly9h&hmac_hash=ab"}, {"no address", "code=c&hmac_hash=ab"}, {"no hash", "code=c&webhook_url=aHR0cHM6Ly9h"},
		{"empty code", "code=&webhook_url=aHR0cHM6Ly9h&hmac_hash=ab"}, {"two codes", "code=a&code=b&webhook_url=aHR0cHM6Ly9h&hmac_hash=ab"},
		{"no base64", "code=c&webhook_url=!!!&hmac_hash=ab"}, {"base64 of nothing", "code=c&webhook_url====&hmac_hash=ab"},
		{"base64 of garbage", "code=c&webhook_url=AAECAw&hmac_hash=ab"}, {"broken encoding", "code=%zz&webhook_url=aHR0cHM6Ly9h&hmac_hash=ab"},
		{"control character", "code=a%0Ab&webhook_url=aHR0cHM6Ly9h&hmac_hash=ab"}, {"huge", "code=" + strings.Repeat("c", 5000) + "&webhook_url=aHR0cHM6Ly9h&hmac_hash=ab"},
	} {
		got := d.get(t, "/vault/webhook-bind?"+tt.query)
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, "This link cannot be used") || strings.Contains(got.body, `name="code"`) {
			t.Errorf("%s: %d; want a page with 400 and no form to go on", tt.name, got.status)
		}
		if calls := d.take(); calls != "" {
			t.Errorf("%s: called %q, want nothing called", tt.name, calls)
		}
	}
	d.err = fault.Field("webhookUrl", "The address must begin with https://.")
	if got := d.get(t, link("c", "http://a.example", "ab")); got.status != 400 || !strings.Contains(got.body, "must begin with https") || strings.Contains(got.body, `name="code"`) {
		t.Errorf("an address that is refused: %d; want 400 with the reason and no form", got.status)
	}
}

func TestLinksOfOtherWebhooksAreRead(t *testing.T) {
	t.Parallel()
	d := open(t)
	const address = "https://hook.example/?>~" // its base64 has + and / and padding
	std := base64.StdEncoding.EncodeToString([]byte(address))
	for name, text := range map[string]string{
		"standard, escaped": url.QueryEscape(std), "plus as it is": std, "no padding": url.QueryEscape(strings.TrimRight(std, "=")),
		"URL alphabet": base64.URLEncoding.EncodeToString([]byte(address)),
	} {
		d.get(t, "/vault/webhook-bind?code=c&hmac_hash=ab&webhook_url="+text)
		if calls := d.take(); calls != "PreviewBind c "+address+" ab" {
			t.Errorf("%s (%s): called %q, want the preview of %s", name, text, calls, address)
		}
	}
}

func TestSettingsShowWhatTheCheckFound(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.post(t, "/settings/check", nil)
	for _, want := range []string{"The webhook answers.", "1.5 ms", ">passes</span>", ">look at it</span>", ">fails</span>", ">none</span></td>", "One check fails."} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the results lack %q", want)
		}
	}
	d.status.Locked, d.status.LockedAt = true, &at
	for _, page := range pages() {
		if got := d.get(t, page); got.status != http.StatusSeeOther && !strings.Contains(got.body, "The vault is locked.") {
			t.Errorf("%s does not say that the vault is locked", page)
		}
	}
}

func TestFailuresOfOursLeakNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.read = errors.New("secret detail")
	for _, page := range append(append(pages(), sealedPages()...), "/login", "/register") {
		got := d.get(t, page)
		if (got.status != 500 || !strings.Contains(got.body, "Request id")) && got.status != 303 || strings.Contains(got.body, "secret detail") {
			t.Errorf("%s: %d; want a page with 500 and a request id, without the cause", page, got.status)
		}
	}
	d.read, d.err = nil, errors.New("secret detail")
	for _, path := range []string{"/agents", agentPath, agentPath + "/delete", "/settings/lock", "/settings/check", "/vault/webhook-bind", "/tokens/sync", "/token/my%20token"} {
		got := d.post(t, path, values("name", "a", "description", "", "code", "c", "webhookUrl", "u", "hash", "h"))
		if got.status != 500 || strings.Contains(got.body, "secret detail") {
			t.Errorf("POST %s: %d; want a page with 500, without the cause", path, got.status)
		}
	}
}

func TestWhatIsGoneIsNotFound(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, path := range []string{"/nowhere", "/token/none", "/token/none/delete", "/agents/x", "/agents/01890000-0000-7000-8000-0000000000ff", "/token/a%00b"} {
		got := d.get(t, path)
		if got.status != 404 || !strings.Contains(got.body, "<h1>Not found</h1>") {
			t.Errorf("%s: %d, want a page with 404", path, got.status)
		}
	}
	if got := d.get(t, "/audit?type=gossip"); got.status != 400 {
		t.Errorf("a filter that is none: %d, want 400", got.status)
	}
	if got := d.call(t, "HEAD", "/", "", d.cookie()...); got.status != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q, want the headers alone", got.status, got.body)
	}
	// Revoking what somebody else has revoked meanwhile is done.
	d.err = fault.New(fault.NotFound, "No such credential grant.")
	if got := d.post(t, agentPath+"/revoke", values("serviceName", "my token")); got.status != 303 {
		t.Errorf("revoking twice: %d, want 303", got.status)
	}
}
