package dashboard_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/totp"
)

const factorSecret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

func (s *services) LoginCode(_ context.Context, in accounts.CodeInput, _ audit.Client) (accounts.SignIn, error) {
	return s.signIn(), s.called("LoginCode %s %s", in.Challenge, in.Code)
}

func (s *services) UpdateProfile(_ context.Context, _ grants.Principal, _ audit.Client, in accounts.ProfileInput) (models.Account, error) {
	if in.Email != nil {
		return models.Account{}, s.called("Email %s %s", *in.Email, in.CurrentPassword)
	}
	return models.Account{}, s.called("Name %s", *in.DisplayName)
}

func (s *services) ChangePassword(_ context.Context, _ grants.Principal, _ audit.Client, in accounts.PasswordInput) error {
	return s.called("ChangePassword %s %s", in.CurrentPassword, in.NewPassword)
}

func (s *services) Security(context.Context, grants.Principal) (accounts.SecurityView, error) {
	return s.security, s.read
}

func (s *services) LossOfSessions(context.Context, grants.Principal, bool) (grants.Loss, error) {
	return s.loss, s.read
}

func (s *services) RevokeOthers(context.Context, grants.Principal, audit.Client) (int, error) {
	return s.loss.Sessions, s.called("RevokeOthers")
}

func (s *services) BeginSecondFactor(_ context.Context, _ grants.Principal, _ audit.Client, password string) (totp.Key, error) {
	if err := s.called("BeginSecondFactor %s", password); err != nil {
		return totp.Key{}, err
	}
	return totp.New(factorSecret, totp.Options{Issuer: "Token Vault", Account: "owner@b.example"})
}

func (s *services) ConfirmSecondFactor(_ context.Context, _ grants.Principal, _ audit.Client, code string) (accounts.Codes, error) {
	return s.codes, s.called("ConfirmSecondFactor %s", code)
}

func (s *services) DisableSecondFactor(_ context.Context, _ grants.Principal, _ audit.Client, password, code string) error {
	return s.called("DisableSecondFactor %s %s", password, code)
}

func (s *services) NewRecoveryCodes(_ context.Context, _ grants.Principal, _ audit.Client, password, code string) (accounts.Codes, error) {
	return s.codes, s.called("NewRecoveryCodes %s %s", password, code)
}

func TestSettingsCallWhatTheySay(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.loss = grants.Loss{Sessions: 2}
	for _, tt := range []struct {
		path       string
		form       url.Values
		call, back string
		says       string
	}{
		{"/settings/name", url.Values{"displayName": {"Ann"}}, "Name Ann", "/settings", "Saved."},
		{"/settings/email", url.Values{"email": {"a@b.example"}, "currentPassword": {"s3cret-typed"}}, "Email a@b.example s3cret-typed", "/settings", "Saved."},
		{"/settings/password", url.Values{"currentPassword": {"s3cret-typed"}, "newPassword": {"s3cret-new"}}, "ChangePassword s3cret-typed s3cret-new", "/settings/security", "stays signed in"},
		{"/settings/sessions/end-others", nil, "RevokeOthers", "/settings/security", "All other sessions are signed out."},
		{"/settings/factor/off", url.Values{"password": {"s3cret-typed"}, "code": {"123456"}}, "DisableSecondFactor s3cret-typed 123456", "/settings/security", "The second factor is off"},
	} {
		got := d.post(t, tt.path, tt.form)
		if calls := d.take(); got.status != http.StatusSeeOther || got.header.Get("Location") != tt.back || calls != tt.call {
			t.Errorf("%s: %d to %q, called %q, want 303 to %q and %q", tt.path, got.status, got.header.Get("Location"), calls, tt.back, tt.call)
			continue
		}
		cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
		page := d.call(t, "GET", tt.back, "", "Cookie", "tv_session="+d.session.Reveal()+"; "+cookie)
		if !strings.Contains(page.body, tt.says) {
			t.Errorf("%s: the next page does not say %q", tt.path, tt.says)
		}
	}
}

func TestSettingsKeepWhatWasTypedButSecretsAndMarkTheField(t *testing.T) {
	t.Parallel()
	d := open(t)
	taken := fault.New(fault.Conflict, "Another account has this e-mail address.")
	taken.Field = "email"
	wrong := fault.Field("code", "This code is wrong.")
	for _, tt := range []struct {
		path   string
		form   url.Values
		err    error
		status int
		has    []string
	}{
		{"/settings/name", url.Values{"displayName": {"A typed name"}}, fault.Field("displayName", "Too long."), 400,
			[]string{`value="A typed name"`, `id="e-displayName">Too long.`}},
		{"/settings/email", url.Values{"email": {"typed@b.example"}, "currentPassword": {"s3cret-typed"}}, taken, 409,
			[]string{`value="typed@b.example"`, `id="e-email">Another account`}},
		{"/settings/email", url.Values{"email": {"typed@b.example"}, "currentPassword": {"s3cret-typed"}}, fault.Field("currentPassword", "Not your password."), 400,
			[]string{`value="typed@b.example"`, `id="e-currentPassword">Not your`}},
		{"/settings/password", url.Values{"currentPassword": {"s3cret-typed"}, "newPassword": {"s3cret-typed"}}, fault.Field("newPassword", "Choose another one."), 400,
			[]string{`id="e-newPassword">Choose another one.`}},
		{"/settings/password", url.Values{"currentPassword": {"s3cret-typed"}, "newPassword": {"s3cret-typed"}}, fault.New(fault.RateLimited, "Try again in 15 minutes."), 429,
			[]string{`role="alert"`, "Try again in 15 minutes."}},
		{"/settings/factor", url.Values{"password": {"s3cret-typed"}}, fault.Field("password", "Not your password."), 400, []string{`id="e-password">Not your`}},
		{"/settings/factor/confirm", url.Values{"code": {"654321"}}, wrong, 400, []string{`id="e-code">This code is wrong.`, "begin again"}},
		{"/settings/factor/off", url.Values{"password": {"s3cret-typed"}, "code": {"654321"}}, wrong, 400, []string{`id="e-code">This code is wrong.`, "Turn it off"}},
		{"/settings/factor/codes", url.Values{"password": {"s3cret-typed"}, "code": {"654321"}}, wrong, 400, []string{`id="e-code">This code is wrong.`, "Make new ones"}},
	} {
		d.err = tt.err
		got := d.post(t, tt.path, tt.form)
		if got.status != tt.status || got.header.Get("Location") != "" {
			t.Errorf("%s: %d to %q, want %d", tt.path, got.status, got.header.Get("Location"), tt.status)
		}
		for _, want := range tt.has {
			if !strings.Contains(got.body, want) {
				t.Errorf("%s: the page lacks %q", tt.path, want)
			}
		}
		if strings.Contains(got.body, "s3cret-typed") {
			t.Errorf("%s: the page shows the password again", tt.path)
		}
	}
}

func TestTheSecretIsShownOnceWithACodeForTheCamera(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.post(t, "/settings/factor", url.Values{"password": {"s3cret-typed"}})
	for _, want := range []string{"JBSW", "otpauth://totp/Token%20Vault:owner@b.example?secret=" + factorSecret, `<svg class="qr"`, `<path d="M4 4h1v1h-1z`, `action="/settings/factor/confirm"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if got.status != 200 || strings.Contains(got.body, "s3cret-typed") {
		t.Errorf("got %d, want 200 without the password", got.status)
	}
	d.err = fault.Field("code", "This code is wrong.")
	again := d.post(t, "/settings/factor/confirm", url.Values{"code": {"000000"}})
	if strings.Contains(again.body, "JBSW") || strings.Contains(again.body, "<svg class") {
		t.Error("the secret is shown again")
	}
	d.err = nil
	for _, path := range []string{"/settings/factor/confirm", "/settings/factor/codes"} {
		if page := d.post(t, path, url.Values{"password": {"s3cret-typed"}, "code": {"000000"}}); page.status != 200 || !strings.Contains(page.body, "Keep these recovery codes now.") {
			t.Errorf("%s: %d, want the recovery codes", path, page.status)
		}
	}
}

func TestTheSecurityPageSaysHowTheAccountIsGuarded(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.loss = grants.Loss{}
	body := d.get(t, "/settings/security").body
	for _, want := range []string{`<span class="badge plain">off</span>`, `href="/settings/factor"`, "There is no other session."} {
		if !strings.Contains(body, want) {
			t.Errorf("without a second factor the page lacks %q", want)
		}
	}
	since := at
	d.security = accounts.SecurityView{SecondFactor: true, Since: &since, RecoveryCodes: 2}
	d.loss = grants.Loss{Sessions: 3, Vaults: 2, Credentials: 5}
	body = d.get(t, "/settings/security").body
	for _, want := range []string{`<span class="badge good">on</span>`, "2 of 10", "make new ones", "Sign out all other sessions (3)"} {
		if !strings.Contains(body, want) {
			t.Errorf("with a second factor the page lacks %q", want)
		}
	}
	body = d.get(t, "/settings/sessions/end-others").body
	for _, want := range []string{"3 other sessions are signed out", "2 vaults that nothing else opens end", "credentials (5) are deleted"} {
		if !strings.Contains(body, want) {
			t.Errorf("the question before sessions end lacks %q", want)
		}
	}
	d.loss = grants.Loss{}
	if got := d.get(t, "/settings/sessions/end-others"); got.status != http.StatusSeeOther {
		t.Errorf("without other sessions: %d, want 303", got.status)
	}
}

func TestSigningInAsksForTheCodeWithoutThePassword(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.challenge = "sealed-challenge"
	got := d.post(t, "/login", url.Values{"email": {"a@b.example"}, "password": {"s3cret-typed"}, "next": {"/agents"}})
	for _, want := range []string{`name="challenge" value="sealed-challenge"`, `name="next" value="/agents"`, `autocomplete="one-time-code"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the second step lacks %q", want)
		}
	}
	if got.status != 200 || got.header.Get("Set-Cookie") != "" || strings.Contains(got.body, "s3cret-typed") {
		t.Errorf("the second step: %d with cookie %q; want 200, no session, no password", got.status, got.header.Get("Set-Cookie"))
	}
	d.take()
	form := url.Values{"challenge": {"sealed-challenge"}, "code": {"123 456"}, "next": {"/agents"}}
	got = d.post(t, "/login/code", form)
	if calls := d.take(); got.status != 303 || got.header.Get("Location") != "/agents" || calls != "LoginCode sealed-challenge 123 456" || !strings.HasPrefix(got.header.Get("Set-Cookie"), "tv_session="+d.session.Reveal()) {
		t.Errorf("the right code: %d to %q, called %q", got.status, got.header.Get("Location"), calls)
	}
	wrong := fault.New(fault.LoginFailed, "This code is wrong.")
	wrong.Field = "code"
	d.err = wrong
	got = d.post(t, "/login/code", form)
	if got.status != 401 || !strings.Contains(got.body, `id="e-code">This code is wrong.`) || !strings.Contains(got.body, `value="sealed-challenge"`) || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a wrong code: %d, want 401 and the second step again", got.status)
	}
	d.err = fault.New(fault.LoginFailed, "This took too long.")
	got = d.post(t, "/login/code", form)
	if got.status != 401 || !strings.Contains(got.body, `name="password"`) || strings.Contains(got.body, "sealed-challenge") {
		t.Errorf("too late: %d, want 401 and the first step", got.status)
	}
	limited := fault.New(fault.RateLimited, "Try again in 15 minutes.")
	limited.RetryAfter = time.Minute
	d.err = limited
	if got = d.post(t, "/login/code", form); got.status != 429 || !strings.Contains(got.body, "Try again in 15 minutes.") {
		t.Errorf("too often: %d, want 429", got.status)
	}
	if got := d.call(t, "GET", "/login/code", ""); got.status != 303 || got.header.Get("Location") != "/login" {
		t.Errorf("reading the second step: %d to %q, want 303 to the first", got.status, got.header.Get("Location"))
	}
}
