package browser_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/agent"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// A person who was never here does all of it in the browser, from registering to the
// kill switch; the agent alone is a program.
func TestTheWholeWayFromRegisteringToTheKillSwitch(t *testing.T) {
	t.Parallel()
	browsertest.Each(t, func(t *testing.T, w *browsertest.World) {
		p := w.Page(t, w.Profile(t))
		registers(p, w)
		sealsOne(p)
		binds(t, p, w)
		storesEachType(p, w)
		movesOne(p)
		readsBadges(t, p, w)
		client := makesAgent(t, p, w)
		fetchesEach(t, client, w)
		readsRecord(t, p, w)
		locks(t, p, client)
	})
}

func registers(p *browsertest.Page, w *browsertest.World) {
	p.Open("/")
	p.Follow("Create one.")
	p.Fill("E-mail address", w.Owner.Email)
	p.Fill("Your name", "Ada Lovelace")
	p.Fill("Password", apptest.Password)
	p.Follow("Create the account")
	p.WantsAt("/setup")
	p.Wants("Who keeps your credentials?", "Ada Lovelace")
}

// sealsOne stores a token while this server still keeps them, and reads its badge.
func sealsOne(p *browsertest.Page) {
	p.Follow("Go on in platform mode")
	p.Follow("Add a token")
	p.Open("/tokens/new?type=PlainText")
	p.WantsElement("#send:not([disabled])")
	p.Fill("Service name", "weather")
	p.Fill("Key or token", "wx_4711_sealed")
	p.Follow("Seal and store")
	p.Open("/")
	p.In("#tokens").Follow("css:a.trust")
	p.WantsAt("/token/weather/trust")
	p.In("#verdict").WantsElement("p")
	p.Wants("Who can see weather?", "Sealed", "Every way it can go", "What this does not protect from")
}

// binds goes through the wizard and the webhook's own page.
func binds(t *testing.T, p *browsertest.Page, w *browsertest.World) {
	p.Open("/setup")
	p.Follow("Set up a webhook")
	p.In("#address").Fill("css:input", w.Webhook.URL)
	p.Follow("Check the address")
	p.Wants("The webhook answers. Go on to its bind page.")
	p.In("#browser-reach").WantsElement(".badge.good")
	p.Follow("Open its bind page")
	shown := p.In(".fingerprint").Text()
	p.Follow("Continue to")
	if got := p.In(".fingerprint").Text(); strings.Join(strings.Fields(got), "") != strings.Join(strings.Fields(shown), "") || len(got) < 32 {
		t.Errorf("this server shows the fingerprint %q, the webhook %q: want the same", got, shown)
	}
	p.Wants(strings.TrimPrefix(w.Webhook.URL, "http://"))
	p.Follow("The fingerprints are the same")
	p.WantsAt("/setup/bound")
	p.WantsElement("#summary.warn, #summary.good") // that this server is on the deny list is for an operator to say
	if got := p.Count("#probes tr"); got < 5 {
		t.Errorf("the check shows %d probes, want every one", got)
	}
}

func storesEachType(p *browsertest.Page, w *browsertest.World) {
	for _, sample := range w.Samples {
		enter(p, sample)
		p.Click("Store at the webhook")
		p.Wants("Stored at your webhook. This server never saw it.")
	}
}

func movesOne(p *browsertest.Page) {
	p.Open("/")
	p.Follow("See what waits to be moved to your webhook.")
	p.Follow("Move what this session opens")
	p.Wants("Moved, and deleted here: weather")
}

// readsBadges reads the badge of each token, and the explanation behind it.
func readsBadges(t *testing.T, p *browsertest.Page, w *browsertest.World) {
	p.Open("/")
	if got := p.Count("#tokens > li"); got != len(w.Samples)+1 {
		t.Fatalf("%d cards are shown, want %d:\n%s", got, len(w.Samples)+1, p.Text())
	}
	for _, sample := range w.Samples {
		path := "/token/" + url.PathEscape(sample.Service)
		p.Open(path + "/trust")
		p.Wants("Who can see "+sample.Service+"?", "TV Zero", "Every way it can go", "Who holds the key", "What this does not protect from", w.Webhook.URL)
		if got := p.Count("#paths li"); got < 3 {
			t.Errorf("the explanation of %s shows %d paths, want each that exists", sample.Service, got)
		}
	}
	p.Open("/")
	p.Follow("css:a.trust[href='/token/weather/trust']")
	p.Wants("TV Seen", "Seen by this server:")
}

// makesAgent makes an agent that may use each of the samples, with the key that the
// page shows once.
func makesAgent(t *testing.T, p *browsertest.Page, w *browsertest.World) *agent.Client {
	p.Open("/agents")
	p.Fill("css:form[action='/agents'] [name=name]", "release-bot")
	p.Follow("Create the agent")
	key := strings.TrimSpace(p.In("#key pre").Text())
	client, err := agent.New(w.URL, key, agent.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatalf("the key that the page shows is %q: %v", key, err)
	}
	p.Follow("I have copied it")
	for _, sample := range w.Samples {
		p.In("#grant").Fill("Token", sample.Service)
		p.In("#grant").Select("For", "24")
		p.Follow("css:#grant button")
		p.In("#grants").Wants(sample.Service)
	}
	return client
}

func fetchesEach(t *testing.T, client *agent.Client, w *browsertest.World) {
	for _, sample := range w.Samples {
		got, err := client.Credential(t.Context(), sample.Service)
		if err != nil {
			t.Errorf("the agent fetches %s: %v", sample.Service, err)
			continue
		}
		want := sample.Text(wire.FieldAccessToken)
		switch {
		case sample.Service == apptest.ServiceAccount:
			want = w.Endpoint.Minted()[len(w.Endpoint.Minted())-1]
		case want == "":
			continue // other fields hold what it is
		}
		if got.AccessToken() != want {
			t.Errorf("the agent fetches %.6s… of %s, want what was typed", got.AccessToken(), sample.Service)
		}
	}
}

func readsRecord(t *testing.T, p *browsertest.Page, w *browsertest.World) {
	p.Open("/audit?type=release")
	for _, sample := range w.Samples {
		p.In("#events").Wants(sample.Service, "release-bot")
	}
	if got := p.Count("#events tbody tr"); got < len(w.Samples) {
		t.Errorf("the record shows %d releases, want %d", got, len(w.Samples))
	}
	p.Open("/token/" + url.PathEscape(apptest.APIKey) + "/trust")
	p.In("#latest").Wants("Released to an agent")
}

// locks stops the agent with the kill switch, and lets it go on.
func locks(t *testing.T, p *browsertest.Page, client *agent.Client) {
	p.Open("/settings/vault")
	p.Follow("Lock the vault…")
	p.Follow("css:form[action='/settings/lock'] button")
	p.Open("/")
	p.Wants("The vault is locked.")
	if _, err := client.Credential(t.Context(), apptest.APIKey); status(err) != http.StatusLocked {
		t.Errorf("while the vault is locked the agent gets %v, want 423", err)
	}
	p.Open("/audit?type=refusal")
	p.In("#events").Wants(apptest.APIKey, "release-bot")
	p.Open("/settings/vault")
	p.Follow("Unlock the vault")
	p.Lacks("The vault is locked.")
	if _, err := client.Credential(t.Context(), apptest.APIKey); err != nil {
		t.Errorf("once the vault is unlocked the agent gets %v, want the credential", err)
	}
}

// status is that of a refusal; 0 if there was none.
func status(err error) int {
	var refused *agent.Error
	if errors.As(err, &refused) {
		return refused.Status
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return http.StatusGatewayTimeout
	}
	return 0
}
