package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/api/apitest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

func TestARefreshThatDidNotWorkSaysWhatToDoNext(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	again := fault.New(fault.ReauthorizationRequired, "Connect the account again.")
	again.ConnectURL = "https://tv.example/connect/acme?service=github"
	later := fault.New(fault.RefreshFailed, "Its provider has asked for a pause.")
	later.RetryAfter = 1500 * time.Millisecond
	for _, c := range []struct {
		failure *fault.Error
		status  int
		retry   string
		connect string
	}{
		{again, 409, "", again.ConnectURL},
		{later, 502, "2", ""},
		{fault.New(fault.RefreshFailed, "No."), 502, "", ""},
		{fault.New(fault.TokenNotFound, "No."), 404, "", ""},
		{fault.New(fault.VaultLocked, "No."), 423, "", ""},
		{fault.New(fault.WebhookNotConfigured, "No."), 409, "", ""},
		{fault.New(fault.WrongVaultMode, "No."), 400, "", ""},
		{fault.Field("service", "It is no OAuth token."), 400, "", ""},
		{fault.New(fault.Unavailable, "No."), 503, "", ""},
	} {
		d.err = c.failure
		got := d.call(t, "POST", "/api/tokens/github/refresh", "", d.user()...)
		wantRefusal(t, string(c.failure.Code), got, c.status, c.failure.Code, c.failure.Field)
		var p web.ProblemBody
		if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Connect != c.connect || got.header.Get("Retry-After") != c.retry {
			t.Errorf("%s: connectUrl %q, Retry-After %q (%v); want %q and %q", c.failure.Code, p.Connect, got.header.Get("Retry-After"), err, c.connect, c.retry)
		}
	}
}

func TestDisconnectingPassesOnWhatIsRefused(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	for code, status := range map[fault.Code]int{
		fault.TokenNotFound: 404, fault.VaultLocked: 423, fault.InvalidRequest: 400, fault.WebhookUnavailable: 502, fault.Conflict: 409, fault.Unavailable: 503,
	} {
		d.err = fault.New(code, "No.")
		wantRefusal(t, string(code), d.call(t, "POST", "/api/tokens/github/disconnect", "", d.user()...), status, code, "")
	}
}

func TestWhoMayRefreshAndDisconnect(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.scopes = []string{grants.TokensRead}
	for _, path := range []string{"/api/tokens/github/refresh", "/api/tokens/github/disconnect"} {
		wantRefusal(t, path+" by a key that reads", d.call(t, "POST", path, "", d.key()...), 403, fault.ScopeDenied, "")
		wantRefusal(t, path+" by an agent", d.call(t, "POST", path, "", d.agent()...), 401, fault.InvalidKey, "")
		wantRefusal(t, path+" by nobody", d.call(t, "POST", path, ""), 401, fault.SignInRequired, "")
		got := d.call(t, "POST", path, "", "Cookie", "tv_session="+d.session.Reveal(), "Sec-Fetch-Site", "cross-site")
		wantRefusal(t, path+" from another site", got, 403, fault.CrossOrigin, "")
		if calls := d.take(); calls != "" {
			t.Errorf("%s: called %q, want nothing called", path, calls)
		}
	}
	d.scopes = []string{grants.TokensWrite}
	wantRefusal(t, "providers by a key that only writes", d.call(t, "GET", "/api/providers", "", d.key()...), 403, fault.ScopeDenied, "")
}

func TestProvidersSayWhoHoldsTheSecret(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	d.status.Binding.Capabilities = []string{"connect"}
	got := d.call(t, "GET", "/api/providers", "", d.user()...).body
	if !strings.Contains(got, `"id":"acme","name":"Acme","scopes":["openid"],"clientSecretAt":"server","available":true`) ||
		!strings.Contains(got, `"id":"public","name":"Public","scopes":[],"clientSecretAt":"webhook","available":true`) {
		t.Errorf("got %s; want acme's secret here, and the webhook to connect the other", got)
	}
	if strings.Contains(got, "issuer") {
		t.Errorf("%s tells what is for the operator", got)
	}
}

func TestWhereToConnectIsSaidWhileItIsNeededAlone(t *testing.T) {
	t.Parallel()
	d := open(t, apitest.Load(t))
	for _, c := range []struct {
		status      string
		connectable bool
		want        bool
	}{
		{vaults.StatusNeedsReauthorization, true, true}, {vaults.StatusExpired, true, true}, {vaults.StatusNeedsReauthorization, false, false},
		{vaults.StatusActive, true, false}, {vaults.StatusNeedsAttention, true, false},
	} {
		d.tokens[0] = vaults.TokenView{
			Token: models.Token{ServiceName: "github", Provider: "acme", CreatedAt: at, UpdatedAt: at}, Status: c.status, Connectable: c.connectable,
			Trust: vaults.Sealed, TrustReason: "Sealed.", Mode: models.ModePlatform,
		}
		if got := d.call(t, "GET", "/api/tokens/github", "", d.user()...).body; strings.Contains(got, `"connectUrl"`) != c.want {
			t.Errorf("%s, connectable %t: %s; want connectUrl there: %t", c.status, c.connectable, got, c.want)
		}
	}
}
