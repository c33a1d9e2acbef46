package dashboard_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

func TestWhoIsNotSignedInIsSentThereAndComesBack(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/", "/login"},
		{"GET", "/agents", "/login?next=%2Fagents"},
		{"GET", link("c0de", hook, fingerprint), "/login?next=" + url.QueryEscape(link("c0de", hook, fingerprint))},
		{"POST", "/settings/lock", "/login"},
		{"POST", agentPath + "/delete", "/login"},
	} {
		got := d.call(t, tt.method, tt.path, "")
		if got.status != http.StatusSeeOther || got.header.Get("Location") != tt.want {
			t.Errorf("%s %s: %d to %q, want 303 to %q", tt.method, tt.path, got.status, got.header.Get("Location"), tt.want)
		}
	}
	got := d.call(t, "GET", "/agents", "", "Cookie", "tv_session=tcs_over")
	if got.status != http.StatusSeeOther || !strings.Contains(got.header.Get("Set-Cookie"), "tv_session=; Path=/; Max-Age=0") {
		t.Errorf("with a session that is over: %d %v, want 303 and the cookie gone", got.status, got.header)
	}
	if got := d.call(t, "GET", "/agents", "", "Authorization", "Bearer "+d.session.Reveal()); got.status != http.StatusSeeOther {
		t.Errorf("pages take the cookie alone, but a header got %d", got.status)
	}
	if calls := d.take(); calls != "" {
		t.Errorf("called %q, want nothing called", calls)
	}
}

func TestTheWayBackStaysOnThisServer(t *testing.T) {
	t.Parallel()
	d := open(t)
	for next, want := range map[string]string{
		"/agents": "/agents", "/audit?service=a%20b": "/audit?service=a%20b", "": "/", "agents": "/",
		"//evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/", "https://evil.example": "/", "/%09/evil.example": "/%09/evil.example",
		"/\t/evil.example": "/", "javascript:alert(1)": "/", "/login": "/", "/logout": "/", "/api/vault/status": "/", "/a\r\nSet-Cookie: x": "/",
		// A link of another site must not begin to connect an account, in whatever way it is
		// written: after signing in it would look like a link of our own.
		"/connect/github?service=mine&scope=all": "/tokens/connect?provider=github&scope=all&service=mine", "/connect?bridge=b": "/tokens/connect?bridge=b",
		"/oauth/callback?state=x&code=y": "/tokens/connect", "/a/../connect/github": "/", "/./connect/github": "/", "/a/%2e%2e/connect/github": "/", "/%63onnect/github": "/tokens/connect?provider=github",
		"///evil.example": "/", "/" + strings.Repeat("a", 5000): "/",
	} {
		got := d.post(t, "/login", url.Values{"email": {"a@b.example"}, "password": {"x"}, "next": {next}})
		if next == "/a\r\nSet-Cookie: x" || next == "/\t/evil.example" || len(next) > 1000 {
			// Such a field is refused before anything is done with it.
			if got.status != http.StatusBadRequest || got.header.Get("Location") != "" {
				t.Errorf("next %.20q: %d to %q, want 400", next, got.status, got.header.Get("Location"))
			}
		} else if got.status != http.StatusSeeOther || got.header.Get("Location") != want {
			t.Errorf("next %q: %d to %q, want 303 to %q", next, got.status, got.header.Get("Location"), want)
		}
		got = d.get(t, "/login?"+url.Values{"next": {next}}.Encode())
		if location := got.header.Get("Location"); got.status != http.StatusSeeOther || location != want {
			t.Errorf("signed in already, next %q: %d to %q, want 303 to %q", next, got.status, location, want)
		}
	}
}

func TestSigningInKeepsWhatWasTypedButTheSecret(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.post(t, "/login", url.Values{"email": {"a@b.example"}, "password": {"s3cret-typed"}, "next": {"/agents"}})
	if cookie := got.header.Get("Set-Cookie"); got.status != 303 || !strings.HasPrefix(cookie, "tv_session="+d.session.Reveal()) || !strings.Contains(cookie, "HttpOnly") {
		t.Errorf("signing in: %d with cookie %q, want 303 and the session", got.status, cookie)
	}
	if calls := d.take(); calls != "Login a@b.example s3cret-typed" {
		t.Errorf("called %q", calls)
	}
	d.err = fault.New(fault.LoginFailed, "E-mail address or password is wrong.")
	got = d.post(t, "/login", url.Values{"email": {"a@b.example"}, "password": {"s3cret-typed"}, "next": {"/agents"}})
	if got.status != 401 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a wrong password: %d with cookie %q, want 401 and none", got.status, got.header.Get("Set-Cookie"))
	}
	for _, want := range []string{`value="a@b.example"`, `role="alert"`, "E-mail address or password is wrong.", `name="next" value="/agents"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page after a wrong password lacks %q", want)
		}
	}
	if strings.Contains(got.body, "s3cret-typed") {
		t.Error("the page after a wrong password shows the password")
	}
}

func TestRegistrationMarksTheFieldAndSaysWhy(t *testing.T) {
	t.Parallel()
	d := open(t)
	form := url.Values{"email": {"a@b.example"}, "password": {"s3cret-typed"}, "displayName": {"Ann"}, "next": {"/"}}
	if got := d.post(t, "/register", form); got.status != 303 || !strings.Contains(got.header.Get("Set-Cookie"), d.session.Reveal()) {
		t.Errorf("registering: %d, want 303 and a session", got.status)
	}
	if calls := d.take(); calls != "Register a@b.example s3cret-typed Ann" {
		t.Errorf("called %q", calls)
	}
	d.err = fault.Field("password", "A password has at least 10 characters.")
	got := d.post(t, "/register", form)
	for _, want := range []string{`value="a@b.example"`, `value="Ann"`, `aria-invalid="true" aria-describedby="h-password e-password"`, `id="e-password">A password has at least 10`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the refused form lacks %q:\n%s", want, got.body)
		}
	}
	if got.status != 400 || strings.Contains(got.body, "s3cret-typed") || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a refused form: %d; want 400, without the password and without a session", got.status)
	}
	d.open, d.err = false, fault.New(fault.RegistrationClosed, "Registration is closed.")
	if got := d.call(t, "GET", "/register", ""); got.status != 403 || strings.Contains(got.body, "<form") {
		t.Errorf("closed: %d; want 403 without a form", got.status)
	}
	if got := d.post(t, "/register", form); got.status != 403 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("registering while closed: %d with cookie %q, want 403 and none", got.status, got.header.Get("Set-Cookie"))
	}
	if got := d.call(t, "GET", "/login", ""); strings.Contains(got.body, "/register") {
		t.Error("the sign-in page offers to register while that is closed")
	}
}

func TestSigningOutEndsTheSessionHereAndInTheBrowser(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.post(t, "/logout", nil)
	if got.status != 303 || got.header.Get("Location") != "/login" || !strings.Contains(strings.Join(got.header.Values("Set-Cookie"), ";"), "tv_session=; Path=/; Max-Age=0") {
		t.Errorf("signing out: %d %v", got.status, got.header)
	}
	if calls := d.take(); calls != "Logout" {
		t.Errorf("called %q, want Logout", calls)
	}
	if got := d.call(t, "POST", "/logout", "", "Cookie", "tv_session=over"); got.status != 303 || d.take() != "" {
		t.Errorf("signing out of a session that is over: %d, want 303 and nothing called", got.status)
	}
	d.err = errors.New("the database is away")
	if got := d.post(t, "/logout", nil); got.status != 500 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a session that could not be ended: %d; want 500 and the cookie kept, for it still works", got.status)
	}
}
