package dashboard_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

func TestBothModesAreExplainedSideBySide(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.seal()
	d.status.Binding = nil
	body := d.get(t, "/setup").body
	for _, want := range []string{
		"Platform mode", "Webhook mode", "there is no copy here", "the vault is gone", "change the running server", "ask your webhook for a credential as if an agent had",
		`href="/setup/platform"`, `href="/setup/webhook"`, `href="/">Decide later`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(body, "You are in webhook mode") {
		t.Error("the page says that a webhook is bound")
	}
}

func TestAWebhookThatAnswersLeadsToItsOwnBindPage(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.post(t, "/setup/webhook", values("webhookUrl", " https://hook.example:8443/ "))
	if calls := d.take(); got.status != http.StatusOK || calls != "Preflight  https://hook.example:8443/ " {
		t.Errorf("%d, called %q; want 200 and the address looked at", got.status, calls)
	}
	for _, want := range []string{
		`href="` + hook + `/bind?tv=http%3A%2F%2F127.0.0.1%3A8000"`, `rel="noreferrer"`, "This server reaches it", ">passes</span>", "1.0 ms", `data-url="` + hook + `"`, `aria-current="step"`,
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(got.body, "data-live") {
		t.Error("the page goes on looking, though all is well")
	}
	if csp := got.header.Get("Content-Security-Policy"); !strings.Contains(csp, "connect-src 'self' "+hook+";") {
		t.Errorf("the policy is %q, want the browser to be allowed to look at %s", csp, hook)
	}
}

func TestAWebhookThatIsNotReadyIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.notReady = true
	body := d.post(t, "/setup/webhook", values("webhookUrl", hook)).body
	for _, want := range []string{
		`data-live="5" data-live-form="again"`, `<form method="post" action="/setup/webhook" id="again"><input type="hidden" name="webhookUrl" value="` + hook + `">`, `>not tried</span>`, "Check again",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(body, "/bind?tv=") {
		t.Error("the page leads to a bind page that is not there")
	}
}

func TestAnAddressThatIsRefusedComesBackMarked(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.err = fault.Field("webhookUrl", "The webhook's URL must begin with https://.")
	got := d.post(t, "/setup/webhook", values("webhookUrl", "http://hook.example"))
	for _, want := range []string{`value="http://hook.example"`, `id="e-webhookUrl">The webhook&#39;s URL must begin with https://.`, `aria-invalid="true"`} {
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, want) {
			t.Errorf("%d; want 400 and %q", got.status, want)
		}
	}
	d.err = fault.New(fault.RateLimited, "You have checked 20 times within a minute.")
	if got := d.post(t, "/setup/webhook", values("webhookUrl", hook)); got.status != http.StatusTooManyRequests || !strings.Contains(got.body, "You have checked 20 times") {
		t.Errorf("%d; want 429 and how often", got.status)
	}
	d.take()
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		got := d.call(t, http.MethodPost, "/setup/webhook", "webhookUrl=https://victim.example",
			append(append(d.cookie(), "Content-Type", "application/x-www-form-urlencoded"), headers...)...)
		if calls := d.take(); got.status != http.StatusForbidden || calls != "" {
			t.Errorf("from another site: %d, called %q; want 403 and nothing called", got.status, calls)
		}
	}
}

func TestWhatABoundWebhookDoesIsCheckedAndSummedUp(t *testing.T) {
	t.Parallel()
	d := open(t)
	before := d.get(t, "/setup/bound")
	for _, want := range []string{`data-live="0" data-live-form="check"`, "Check it now", ">not tried</span>", "Forged ticket is refused"} {
		if before.status != http.StatusOK || !strings.Contains(before.body, want) {
			t.Errorf("before: %d; want 200 and %q", before.status, want)
		}
	}
	after := d.post(t, "/setup/bound", nil)
	if calls := d.take(); calls != "CheckWebhook" {
		t.Errorf("called %q, want the check", calls)
	}
	for _, want := range []string{"One check fails.", "1.5 ms", ">look at it</span>", "Put it on the list.", "Check again"} {
		if !strings.Contains(after.body, want) {
			t.Errorf("after: the page lacks %q", want)
		}
	}
	if strings.Contains(after.body, "data-live") {
		t.Error("the checks run again and again by themselves")
	}
	d.err = fault.New(fault.WebhookNotConfigured, "No webhook is bound.")
	if got := d.post(t, "/setup/bound", nil); got.status != http.StatusConflict || !strings.Contains(got.body, "No webhook is bound.") || strings.Contains(got.body, "data-live") {
		t.Errorf("%d; want 409 with the reason, and no check that runs by itself", got.status)
	}
	d.seal()
	d.status.Binding = nil
	if got := d.get(t, "/setup/bound"); got.status != http.StatusSeeOther || got.header.Get("Location") != "/setup" {
		t.Errorf("without a webhook: %d to %q, want 303 to /setup", got.status, got.header.Get("Location"))
	}
}

// A command that names a variable that the webhook does not have would start it
// otherwise than it says; configuration.md has them all, held by a test of its own.
func TestTheCommandsNameThisServerAndVariablesThatExist(t *testing.T) {
	t.Parallel()
	d := open(t)
	body := d.get(t, "/setup/webhook").body
	if n := strings.Count(body, "TV_WEBHOOK_TOKENVAULT_URL=http://127.0.0.1:8000"); n != 2 {
		t.Errorf("the commands name this server %d times, want twice", n)
	}
	known, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\b(?:TV_WEBHOOK|TOKENVAULT)_[A-Z_]+`).FindAllString(body, -1)
	if len(names) < 6 {
		t.Errorf("the commands set %q, want what a webhook needs", names)
	}
	for _, name := range names {
		if !strings.Contains(string(known), strings.TrimSuffix(name, "_FILE")) {
			t.Errorf("the page names %s, which docs/configuration.md does not know", name)
		}
	}
}

func TestKeysThatAreDueAreShownWithWhoCanMakeThem(t *testing.T) {
	t.Parallel()
	d := open(t)
	if body := d.get(t, "/settings/vault").body; strings.Contains(body, `<span class="badge warn">rotation pending`) || !strings.Contains(body, "up to date") {
		t.Error("the page says that keys are due, and none are")
	}
	d.keysDue, d.rekeyDue = &at, 2
	body := d.get(t, "/settings/vault").body
	if n := strings.Count(body, `>rotation pending</span>`); n != 2 {
		t.Errorf("rotation is pending %d times, want in both vaults", n)
	}
	for _, want := range []string{"since <time", "2 credentials are to get new keys.", "It waits for one of those who open it."} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(body, `action="/settings/make-keys"`); n != 1 {
		t.Errorf("%d buttons make keys, want one: of the vault that this session opens", n)
	}
	d.err = fault.New(fault.Unavailable, "A refresh takes too long.")
	if got := d.post(t, "/settings/make-keys", nil); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "A refresh takes too long.") {
		t.Errorf("%d; want 503 and why", got.status)
	}
}

func TestThePageOfTheLockSaysWhatItStopsAndWhatNot(t *testing.T) {
	t.Parallel()
	d := open(t)
	body := d.get(t, "/settings/lock").body
	for _, want := range []string{"It stops every agent", "It does not stop", "Nothing is deleted", `action="/settings/lock"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	d.status.Locked, d.status.LockedAt = true, &at
	if got := d.get(t, "/settings/lock"); got.status != http.StatusSeeOther || got.header.Get("Location") != "/settings/vault" {
		t.Errorf("locked already: %d to %q, want 303 to the settings", got.status, got.header.Get("Location"))
	}
	if d.status.Mode != models.ModeWebhook {
		t.Errorf("the mode is %s, want it as it was", d.status.Mode)
	}
}
