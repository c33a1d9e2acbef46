package dashboard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/renew"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

func TestATokensPageSaysWhatCameOfRefreshing(t *testing.T) {
	t.Parallel()
	later := now.Add(30 * time.Minute)
	for _, c := range []struct {
		name   string
		row    *models.Refresh
		status string
		sealed bool
		says   []string
		not    []string
	}{
		{"never", nil, "", false, []string{"none yet", "Refresh now", "Connect again", "Disconnect…", "me@acme.example", "mail.send"}, []string{"connect again</span>"}},
		{"scheduled", &models.Refresh{DueAt: &later, Outcome: string(refresh.Rotated), Path: models.PathNotify, TriedAt: &at}, "", false,
			[]string{"Refreshed by your webhook."}, []string{"none yet"}},
		{"through this server", &models.Refresh{Outcome: string(refresh.Rotated), Reason: string(refreshes.ReasonUndelivered), Path: models.PathMediated, TriedAt: &at, MediatedAt: &at}, "", false,
			[]string{"Refreshed through this server; the new tokens wait, sealed, for the webhook."}, nil},
		{"tried again", &models.Refresh{Outcome: string(refresh.RetryAt), Reason: string(refresh.ReasonRateLimited), Path: models.PathNotify, TriedAt: &at, RetryAt: &later}, "", false,
			[]string{"tried again", "Not refreshed: its provider has asked for a pause."}, nil},
		{"its owner is needed", &models.Refresh{Outcome: string(refresh.NeedsReauthorization), Reason: string(refresh.ReasonInvalidGrant), TriedAt: &at}, vaults.StatusNeedsReauthorization, false,
			[]string{"connect again</span>", `<a class="button" href="/connect/acme?service=my&#43;token">Connect again</a>`, "does not accept the refresh token", "not before its account is connected again"}, []string{"about to expire"}},
		{"sealed", nil, "", true, []string{"when it is read and about to expire"}, []string{"What the badge follows from"}},
	} {
		d := open(t)
		if c.sealed {
			d.seal()
		}
		d.oauth()
		d.row, d.health = c.row, c.status
		got := d.get(t, "/token/my%20token").body
		for _, text := range c.says {
			if !strings.Contains(got, text) {
				t.Errorf("%s: the page does not say %q:\n%s", c.name, text, got)
			}
		}
		for _, text := range c.not {
			if strings.Contains(got, text) {
				t.Errorf("%s: the page says %q", c.name, text)
			}
		}
		if c.status == vaults.StatusNeedsReauthorization && !strings.Contains(d.get(t, "/").body, `href="/connect/acme?service=my&#43;token">Connect again</a>`) {
			t.Errorf("%s: the list has no link to connect it again", c.name)
		}
	}
}

func TestATokenOfNoProviderHasNothingToRefresh(t *testing.T) {
	t.Parallel()
	d := open(t)
	if got := d.get(t, "/token/my%20token").body; strings.Contains(got, "Refresh now") || strings.Contains(got, "Disconnect") {
		t.Error("an API key can be refreshed or disconnected, says its page")
	}
}

func TestRefreshingSaysWhatCameOfIt(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.oauth()
	for _, c := range []struct {
		result renew.Result
		says   string
	}{
		{renew.Result{Outcome: refresh.Rotated}, "there is a new access token"},
		{renew.Result{Outcome: refresh.StillValid}, "still good"},
		{renew.Result{Outcome: refresh.Rotated, Reason: refreshes.ReasonUndelivered}, "the new tokens wait for it"},
	} {
		d.renewed = c.result
		got := d.post(t, "/token/my%20token/refresh", nil)
		next := d.call(t, "GET", "/token/my%20token", "", "Cookie", d.cookie()[1]+"; "+flashOf(got))
		if got.status != 303 || !strings.Contains(next.body, c.says) {
			t.Errorf("%+v: %d, then a page without %q", c.result, got.status, c.says)
		}
	}
	for code, status := range map[fault.Code]int{
		fault.ReauthorizationRequired: 409, fault.RefreshFailed: 502, fault.Unavailable: 503, fault.VaultLocked: 423, fault.WebhookNotConfigured: 409, fault.InvalidRequest: 400,
	} {
		d.err = fault.New(code, "This is why it did not work.")
		got := d.post(t, "/token/my%20token/refresh", nil)
		if got.status != status || strings.Count(got.body, "This is why it did not work.") != 1 || !strings.Contains(got.body, "Refresh now") {
			t.Errorf("%s: %d, want %d and the token's page with the reason, once", code, got.status, status)
		}
	}
	d.err = fault.New(fault.TokenNotFound, "It is gone.")
	if got := d.post(t, "/token/my%20token/refresh", nil); got.status != 404 {
		t.Errorf("a token that is gone: %d, want 404", got.status)
	}
}

func TestDisconnectingAsksFirstAndSaysWhatIsLeftToDo(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.oauth()
	if got := d.get(t, "/token/my%20token/disconnect").body; !strings.Contains(got, "Your webhook deletes the credential, and revokes it") || !strings.Contains(got, `action="/token/my%20token/disconnect"`) {
		t.Errorf("the question does not say what the webhook does:\n%s", got)
	}
	d.ended = connect.Disconnected{Note: "End the connection at the provider, too: https://acme.example/apps."}
	got := d.post(t, "/token/my%20token/disconnect", nil)
	if got.status != 200 || !strings.Contains(got.body, d.ended.Note) || d.take() != "Disconnect my token" {
		t.Errorf("got %d %s, want the note", got.status, got.body)
	}
	d.seal()
	if got := d.get(t, "/token/my%20token/disconnect").body; !strings.Contains(got, "revoked at its provider, as far as") {
		t.Errorf("in platform mode the question is:\n%s", got)
	}
	d.err = fault.New(fault.VaultLocked, "Unlock it to disconnect.")
	if got := d.post(t, "/token/my%20token/disconnect", nil); got.status != 423 || !strings.Contains(got.body, "Unlock it to disconnect.") {
		t.Errorf("locked: %d, want 423 and why", got.status)
	}
}
