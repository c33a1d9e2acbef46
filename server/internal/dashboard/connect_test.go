package dashboard_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/providers"
)

const elsewhere = "https://acme.example/authorize?state=s"

// oauth makes the token one of a provider, which can be connected again.
func (d *door) oauth() {
	d.token.TokenType, d.token.Provider, d.token.HasRefreshToken = "OAuth", "acme", true
	d.token.Subject, d.token.Scope = "me@acme.example", "mail.read mail.send"
	d.connectable = true
	d.known = []providers.Summary{{ID: "acme", Name: "Acme", HoldsSecret: true}, {ID: "away", Name: "Away", HoldsSecret: true, Problem: "its issuer could not be reached"}}
}

func TestALinkBeginsAConnectionAndTheBrowserKeepsWhereItStands(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.redirect = connect.Redirect{URL: elsewhere, Cookie: "sealed.state"}
	for path, calls := range map[string]string{
		"/connect/acme": `Start "acme" "" ""/"" [] /token/acme/connected`,
		"/connect/acme?service=my+mail&scope=a+b&return=/x":  `Start "acme" "my mail" ""/"" ["a" "b"] /x`,
		"/connect?service=my+mail":                           `Start "" "my mail" ""/"" [] /token/my%20mail/connected`,
		"/connect?owner=o&bridge=b&scope=c":                  `Start "" "" "o"/"b" ["c"] /`,
		"/connect?provider=acme&owner=o&bridge=b&service=it": `Start "acme" "it" "o"/"b" [] /`,
		"/connect/acme?provider=other":                       `Start "acme" "" ""/"" [] /token/acme/connected`,
	} {
		got := d.get(t, path)
		if got.status != http.StatusSeeOther || got.header.Get("Location") != elsewhere {
			t.Errorf("%s: %d to %q, want 303 to the provider", path, got.status, got.header.Get("Location"))
		}
		if want := "tv_connect=sealed.state; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"; got.header.Get("Set-Cookie") != want {
			t.Errorf("%s: Set-Cookie %q, want %q", path, got.header.Get("Set-Cookie"), want)
		}
		if called := d.take(); called != calls {
			t.Errorf("%s: called %s, want %s", path, called, calls)
		}
	}
	d.redirect.Cookie = "" // the webhook does it
	if got := d.get(t, "/connect/acme"); got.status != http.StatusSeeOther || got.header.Get("Set-Cookie") != "" {
		t.Errorf("through a webhook: %d, Set-Cookie %q; want 303 and no cookie", got.status, got.header.Get("Set-Cookie"))
	}
}

func TestALinkOnAnotherSiteBeginsNoConnection(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.redirect = connect.Redirect{URL: elsewhere, Cookie: "sealed.state"}
	got := d.call(t, "GET", "/connect/acme?service=mail", "", append(d.cookie(), "Sec-Fetch-Site", "cross-site")...)
	if to := got.header.Get("Location"); got.status != http.StatusSeeOther || to != "/tokens/connect?provider=acme&service=mail" || got.header.Get("Set-Cookie") != "" || d.take() != "" {
		t.Errorf("got %d to %q with cookie %q, want the page that asks first, and nothing called", got.status, to, got.header.Get("Set-Cookie"))
	}
}

func TestAConnectionThatCannotBeginIsAPageThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, c := range []struct {
		path    string
		failure error
		status  int
		says    string
		called  bool
	}{
		{"/connect/acme", fault.New(fault.NotFound, "There is no provider named acme here."), 404, "There is no provider named acme here.", true},
		{"/connect/acme", fault.New(fault.Conflict, "The name is another token’s."), 409, "another token", true},
		{"/connect/acme", fault.New(fault.VaultLocked, "Unlock it first."), 423, "Unlock it first.", true},
		{"/connect/acme", fault.New(fault.Unavailable, "Its issuer is away."), 503, "Its issuer is away.", true},
		{"/connect/acme", errors.New("s3cret detail"), 500, "Something went wrong on our side", true},
		{"/connect/acme?scope=a&scope=b", nil, 400, "given twice", false},
		{"/connect/acme?%zz", nil, 400, "not encoded", false},
	} {
		d.err = c.failure
		got := d.get(t, c.path)
		if got.status != c.status || !strings.Contains(got.body, c.says) || !strings.Contains(got.body, `href="/tokens/connect"`) {
			t.Errorf("%s with %v: %d %s\nwant %d with %q and a way on", c.path, c.failure, got.status, got.body, c.status, c.says)
		}
		if strings.Contains(got.body, "s3cret") || got.header.Get("Set-Cookie") != "" || got.header.Get("Location") != "" {
			t.Errorf("%s with %v: a cookie, a redirect or a cause in %v %s", c.path, c.failure, got.header, got.body)
		}
		if called := d.take() != ""; called != c.called {
			t.Errorf("%s with %v: the service was called: %t, want %t", c.path, c.failure, called, c.called)
		}
	}
}

func TestWhatAProviderSendsBackIsFinishedOnce(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.finished = connect.Connected{ReturnTo: "/token/mail"}
	with := func(cookie string) []string { return []string{"Cookie", d.cookie()[1] + "; " + cookie} }
	for _, c := range []struct {
		name, query, calls string
		done               connect.Connected
		says               string
	}{
		{"a code", "code=c0de&state=s&iss=https%3A%2F%2Facme.example&session_state=x", `Finish "sealed" "s" "c0de" "https://acme.example" ""`, connect.Connected{}, "The account is connected.</div>"},
		{"another account", "code=c&state=s", `Finish "sealed" "s" "c" "" ""`, connect.Connected{AccountChanged: true}, "another one than before.</div>"},
		{"less than was asked for", "code=c&state=s", `Finish "sealed" "s" "c" "" ""`, connect.Connected{Missing: []string{"a"}}, "Not all that was asked for was allowed"},
		{"both", "code=c&state=s", `Finish "sealed" "s" "c" "" ""`, connect.Connected{AccountChanged: true, Missing: []string{"a"}}, "another one than before, and not all"},
	} {
		d.finished = c.done
		d.finished.ReturnTo = "/token/my%20token"
		got := d.call(t, "GET", "/oauth/callback?"+c.query, "", with("tv_connect=sealed")...)
		if got.status != http.StatusSeeOther || got.header.Get("Location") != "/token/my%20token" {
			t.Errorf("%s: %d to %q, want 303 to the token", c.name, got.status, got.header.Get("Location"))
		}
		cookies := strings.Join(got.header.Values("Set-Cookie"), "\n")
		if !strings.Contains(cookies, "tv_connect=; Path=/; Max-Age=0") {
			t.Errorf("%s: cookies %q, want that of the flow gone", c.name, cookies)
		}
		if called := d.take(); called != c.calls {
			t.Errorf("%s: called %s, want %s", c.name, called, c.calls)
		}
		if next := d.call(t, "GET", "/token/my%20token", "", with(flashOf(got))...); !strings.Contains(next.body, c.says) {
			t.Errorf("%s: the next page does not say %q", c.name, c.says)
		}
	}
	if got := d.call(t, "HEAD", "/oauth/callback?code=c&state=s", "", with("tv_connect=sealed")...); got.status != http.StatusMethodNotAllowed || d.take() != "" {
		t.Errorf("HEAD of the callback: %d, want 405 and nothing called", got.status)
	}
}

// flashOf is the cookie of the word that is left for the next page.
func flashOf(a answer) string {
	for _, c := range a.header.Values("Set-Cookie") {
		if cookie, _, _ := strings.Cut(c, ";"); strings.HasPrefix(cookie, "tv_flash=") {
			return cookie
		}
	}
	return ""
}

func TestAnAnswerOfAProviderThatIsRefusedConnectsNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	d := open(t)
	cookies := d.cookie()[1] + "; tv_connect=sealed"
	d.err = fault.Field("state", "This is not the answer to the connection that this browser began last.")
	got := d.call(t, "GET", "/oauth/callback?code=c0de&state=forged", "", "Cookie", cookies)
	if got.status != 400 || !strings.Contains(got.body, "not the answer to the connection") || !strings.Contains(got.body, "What was stored before is as it was.") {
		t.Errorf("a forged state: %d %s", got.status, got.body)
	}
	if strings.Contains(got.body, "c0de") || !strings.Contains(strings.Join(got.header.Values("Set-Cookie"), " "), "tv_connect=; Path=/; Max-Age=0") {
		t.Errorf("a forged state: the page shows the code, or the cookie stays: %v", got.header)
	}
	d.take()
	for _, query := range []string{"code=a&code=b&state=s", "code=a&state=s&state=t", "code=a&state=s&iss=x&iss=y", "error=a&error=b&state=s", "%zz"} {
		if got := d.call(t, "GET", "/oauth/callback?"+query, "", "Cookie", cookies); got.status != 400 || d.take() != "" {
			t.Errorf("%s: %d, want 400 and nothing called", query, got.status)
		}
	}
}

func TestWhoIsNotSignedInConnectsNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.call(t, "GET", "/oauth/callback?code=c0de&state=s", "", "Cookie", "tv_connect=sealed")
	if got.status != 401 || !strings.Contains(got.body, "not signed in any more") || !strings.Contains(got.body, `href="/login?next=%2ftokens%2fconnect"`) && !strings.Contains(got.body, `href="/login?next=%2Ftokens%2Fconnect"`) {
		t.Errorf("without a session: %d %s", got.status, got.body)
	}
	for path, next := range map[string]string{
		"/connect/acme?service=my+mail&scope=a": "/tokens/connect?provider=acme&scope=a&service=my+mail",
		"/connect?owner=o&bridge=b":             "/tokens/connect?owner=o&bridge=b",
	} {
		got := d.call(t, "GET", path, "")
		want := "/login?" + url.Values{"next": {next}}.Encode()
		if got.status != http.StatusSeeOther || got.header.Get("Location") != want {
			t.Errorf("%s: %d to %q, want 303 to %q", path, got.status, got.header.Get("Location"), want)
		}
	}
	got = d.call(t, "GET", "/oauth/callback?code=c0de&state=s", "", "Cookie", "tv_session=tcs_old; tv_connect=sealed")
	if to := got.header.Get("Location"); got.status != http.StatusSeeOther || to != "/login?next=%2Ftokens%2Fconnect" {
		t.Errorf("with an old session: %d to %q, want the sign-in without the code", got.status, to)
	}
	if called := d.take(); called != "" {
		t.Errorf("called %q, want nothing called", called)
	}
}

// A page of another site must not begin a connection in somebody's name: an account of
// that site's choice, or one with more scopes, could take the place of what is there.
func TestWhoComesFromAnotherSiteIsAskedFirst(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.oauth()
	d.redirect = connect.Redirect{URL: elsewhere, Cookie: "sealed.state"}
	for path, asks := range map[string]string{
		"/connect/acme?service=my+token&scope=admin&return=/x": "/tokens/connect?provider=acme&return=%2Fx&scope=admin&service=my+token",
		"/connect?owner=o&bridge=b":                            "/tokens/connect?owner=o&bridge=b",
	} {
		for _, site := range []string{"cross-site", "same-site"} {
			got := d.call(t, "GET", path, "", append(d.cookie(), "Sec-Fetch-Site", site)...)
			if got.status != http.StatusSeeOther || got.header.Get("Location") != asks || got.header.Get("Set-Cookie") != "" || d.take() != "" {
				t.Errorf("%s from %s: %d to %q, want the page that asks, and nothing begun", path, site, got.status, got.header.Get("Location"))
			}
		}
		if page := d.get(t, asks); page.status != http.StatusOK || !strings.Contains(page.body, "Go on") || d.take() != "" {
			t.Errorf("%s: %d, want a page with a link that goes on", asks, page.status)
		}
		for _, site := range []string{"same-origin", "none"} {
			got := d.call(t, "GET", path, "", append(d.cookie(), "Sec-Fetch-Site", site)...)
			if got.header.Get("Location") != elsewhere || d.take() == "" {
				t.Errorf("%s from %s: %d to %q, want the provider", path, site, got.status, got.header.Get("Location"))
			}
		}
	}
}

func TestThePageOfConnectionsLeadsOnByALink(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.oauth()
	got := d.get(t, "/tokens/connect").body
	if !strings.Contains(got, `href="/connect/acme"`) || strings.Contains(got, `href="/connect/away"`) || !strings.Contains(got, "Away at the moment") {
		t.Errorf("the page has no button for Acme, or one for a provider that is away:\n%s", got)
	}
	if !strings.Contains(got, "it sees it once") {
		t.Error("the page does not say that this server sees what it is issued")
	}
	got = d.get(t, "/tokens/connect?provider=acme&service=my+mail&scope=a+b").body
	if !strings.Contains(got, `href="/connect?provider=acme&amp;scope=a&#43;b&amp;service=my&#43;mail"`) || !strings.Contains(got, "<h2>Acme</h2>") {
		t.Errorf("what was entered is no link:\n%s", got)
	}
	d.status.Binding.Capabilities = []string{"connect"}
	if got := d.get(t, "/tokens/connect").body; !strings.Contains(got, "connects accounts by itself") {
		t.Error("the page does not say that the webhook connects accounts")
	}
	if got := d.get(t, "/tokens/connect?scope="+strings.Repeat("a", 3000)); got.status != 400 {
		t.Errorf("a scope of 3000 bytes: %d, want 400", got.status)
	}
	d.known = nil
	d.seal()
	if got := d.get(t, "/tokens/connect").body; !strings.Contains(got, "This server has no providers") {
		t.Error("the page does not say that there are no providers")
	}
	if called := d.take(); called != "" {
		t.Errorf("called %q, want nothing called", called)
	}
}

func TestComingBackFromAWebhookReadsItsList(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.get(t, "/token/my%20token/connected")
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/token/my%20token" || d.take() != `Sync "my token"` {
		t.Errorf("got %d to %q, want the token's page after one look at the webhook", got.status, got.header.Get("Location"))
	}
	d.seal()
	if got := d.get(t, "/token/my%20token/connected"); got.status != http.StatusSeeOther || d.take() != "" {
		t.Errorf("in platform mode: %d, want 303 and nothing called", got.status)
	}
}
