package webhook_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A browser keeps cookies and follows redirects.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{t: t, client: &http.Client{Jar: jar}}
}

// page is what a person sees, and where.
type page struct {
	status int
	text   string
	header http.Header
	url    *url.URL
}

func (b browser) read(response *http.Response, err error) page {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	p := page{status: response.StatusCode, text: string(text), header: response.Header, url: response.Request.URL}
	if kind := p.header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
		b.t.Errorf("the page has the Content-Type %q, want text/html", kind)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
	} {
		if got := p.header.Get(name); got != want {
			b.t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if strings.Contains(p.text, "<script") || strings.Contains(p.text, "style=") || strings.Contains(p.text, "<style") {
		b.t.Error("the page has inline script or style, which its policy forbids")
	}
	return p
}

func (b browser) open(url string) page { b.t.Helper(); return b.read(b.client.Get(url)) }

func (p page) wants(t *testing.T, status int, texts ...string) {
	t.Helper()
	if p.status != status {
		t.Errorf("the page has the status %d, want %d", p.status, status)
	}
	for _, text := range texts {
		if !strings.Contains(p.text, text) {
			t.Errorf("the page does not say %q:\n%s", text, p.text)
		}
	}
}

var (
	linkPattern = regexp.MustCompile(`href="(http[^"]*/vault/webhook-bind[^"]*)"`)
	codePattern = regexp.MustCompile(`<code>([0-9a-f]{4})</code>`)
)

// consent is the link of the page, and the fingerprint that it shows.
func (p page) consent(t *testing.T) (link *url.URL, fingerprint string) {
	t.Helper()
	found := linkPattern.FindStringSubmatch(p.text)
	if found == nil {
		t.Fatalf("the page has no link to TV:\n%s", p.text)
	}
	link, err := url.Parse(strings.ReplaceAll(found[1], "&amp;", "&"))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range codePattern.FindAllStringSubmatch(p.text, -1) {
		fingerprint += group[1]
	}
	return link, fingerprint
}

func TestTheBindPageLeadsToABinding(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	p := newBrowser(t).open(wh.URL + wire.PathBind)
	p.wants(t, http.StatusOK, "Bind this webhook to your vault", wh.URL, "Continue to http://127.0.0.1:8000",
		`http-equiv="refresh" content="300;url=/bind?expired=1"`)
	link, fingerprint := p.consent(t)
	if fingerprint != link.Query().Get("hmac_hash") {
		t.Errorf("the page shows the fingerprint %s, want that of the link, %s", fingerprint, link.Query().Get("hmac_hash"))
	}
	webhooktest.NewTV(t, wh.URL).BindWith(link.Query().Get("code"), fingerprint)
}

func TestTheBindPageShowsTheChosenTVBeforeGoingOn(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	b := newBrowser(t)
	p := b.open(wh.URL + "/bind?tv=https://Other.example.com")
	p.wants(t, http.StatusOK, "https://other.example.com", "this webhook was set up for", "content=\"300;url=/bind?expired=1&amp;tv=")
	if link, _ := p.consent(t); link.Host != "other.example.com" {
		t.Errorf("the link leads to %s, want other.example.com", link.Host)
	}
	b.open(wh.URL+"/bind?tv=http://other.example.com").wants(t, http.StatusBadRequest, "Which Token Vault?", "must begin with https://")
	b.open(wh.URL+"/bind?expired=1").wants(t, http.StatusOK, "The code has expired", `href="/bind"`)
	escaped := b.open(wh.URL + "/bind?tv=" + url.QueryEscape(`https://"><script>alert(1)</script>`))
	escaped.wants(t, http.StatusBadRequest, "Which Token Vault?")
}

func TestTheBindPageAsksWhichTVIfNobodySaidSo(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir(), config(func(c *webhook.Config) { c.TokenVaultURL = "" }))
	newBrowser(t).open(wh.URL+"/bind").wants(t, http.StatusOK, "Which Token Vault?", `name="tv"`)
	if got := snapshot(t, wh); got != "" {
		t.Errorf("the question left %q, want nothing", got)
	}
}

func TestTheBindPageOfABoundWebhookAsksForTheAdminSecret(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t, withAdmin)
	check := unchanged(t, wh)
	b := newBrowser(t)
	b.open(wh.URL+"/bind").wants(t, http.StatusForbidden, "Admin secret", "bound already", `type="password"`)
	post := func(header http.Header, form url.Values) page {
		r, err := http.NewRequest(http.MethodPost, wh.URL+"/bind", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return b.read(b.client.Do(r))
	}
	post(http.Header{}, url.Values{"secret": {"wrong"}}).wants(t, http.StatusForbidden, "That is not the admin secret")
	post(http.Header{}, url.Values{}).wants(t, http.StatusForbidden, "Enter the admin secret")
	r := tv.Request(http.MethodPost, "/bind", []byte("secret="+url.QueryEscape(adminSecret)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://attacker.example")
	refused(t, tv.Do(r), http.StatusForbidden, wire.CodeForbidden)
	refused(t, tv.Do(tv.Request(http.MethodPost, "/bind", map[string]string{"secret": adminSecret})), http.StatusBadRequest, wire.CodeInvalidRequest)
	long := tv.Request(http.MethodPost, "/bind", []byte("secret="+strings.Repeat("x", 5000)))
	long.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	refused(t, tv.Do(long), http.StatusRequestEntityTooLarge, wire.CodeTooLarge)
	check()
	p := post(http.Header{}, url.Values{"secret": {adminSecret}})
	p.wants(t, http.StatusOK, "Bind this webhook again", "goes on working until the new one is in use")
	if strings.Contains(p.text, adminSecret) {
		t.Error("the page shows the admin secret")
	}
}

func TestTheBindPagesFormWorksBehindAProxyThatChangesTheHost(t *testing.T) {
	t.Parallel()
	var log logBuffer
	wh := webhooktest.Start(t, t.TempDir(), withAdmin, log.option(),
		config(func(c *webhook.Config) { c.ExternalURL = "https://Webhook.example.com:443/vault" }))
	post := func(origin, secret string) page {
		b := newBrowser(t)
		r, err := http.NewRequest(http.MethodPost, wh.URL+"/bind", strings.NewReader(url.Values{"secret": {secret}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
		return b.read(b.client.Do(r))
	}
	post("https://webhook.example.com", adminSecret).wants(t, http.StatusOK, "Bind this webhook to your vault")
	post("https://webhook.example.com", "canary, a wrong one").wants(t, http.StatusForbidden, "That is not the admin secret")
	if !strings.Contains(log.text(), "binding refused") || strings.Contains(log.text(), "canary") {
		t.Errorf("the log is %q, want that a wrong admin secret was given, and not which", log.text())
	}
	tv := webhooktest.NewTV(t, wh.URL)
	for _, origin := range []string{"null", "https://webhook.example.com.attacker.example", "http://webhook.example.com"} {
		r := tv.Request(http.MethodPost, "/bind", []byte("secret="+url.QueryEscape(adminSecret)))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
		refused(t, tv.Do(r), http.StatusForbidden, wire.CodeForbidden)
	}
}

func TestASetupLinkOpensTheBindPageInOneBrowser(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir(), config(func(c *webhook.Config) { c.LoopbackListener = false }))
	link, err := wh.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	operator, stranger := newBrowser(t), newBrowser(t)
	stranger.open(wh.URL+"/bind").wants(t, http.StatusForbidden, "cannot be bound from here", "set-up link")
	p := operator.open(link)
	p.wants(t, http.StatusOK, "Bind this webhook to your vault")
	if p.url.RawQuery != "" {
		t.Errorf("the page is at %s, want the link's secret gone from the address", p.url)
	}
	stranger.open(link).wants(t, http.StatusForbidden, "was used before")
	operator.open(wh.URL+"/bind").wants(t, http.StatusOK, "Bind this webhook to your vault") // reload
}

func TestTheStyleSheetIsServedToThePage(t *testing.T) {
	t.Parallel()
	wh := webhooktest.Start(t, t.TempDir())
	tv := webhooktest.NewTV(t, wh.URL)
	got := tv.Do(tv.Request(http.MethodGet, "/bind/style.css", nil))
	if got.Status != http.StatusOK || got.Header.Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(string(got.Body), "light-dark") {
		t.Errorf("the style sheet was answered %d %s", got.Status, got.Header.Get("Content-Type"))
	}
}
