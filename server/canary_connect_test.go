package main_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// Names of tokens that are connected: by the server while it keeps them sealed, and by
// the webhook.
const (
	here      = "ours"
	atWebhook = "theirs"
)

// providers starts an authorization server whose client is the server, and one whose
// client is the webhook. Their tokens have nothing in common; those of the latter fall
// due for a refresh all the time.
func (c *cage) providers(t *testing.T) {
	t.Helper()
	c.ours = refreshtest.StartProvider(t, &refreshtest.Grants{Prefix: "ours-" + rand.Text() + "-"})
	c.theirs = refreshtest.StartProvider(t, &refreshtest.Grants{Prefix: "theirs-" + rand.Text() + "-", Lifetime: 4 * time.Second})
}

// provider is the configuration of either side.
func provider(id string, p *refreshtest.Provider) string {
	text, _ := json.Marshal([]map[string]string{{
		"id": id, "issuer": p.Issuer(), "clientId": refreshtest.ClientID, "clientSecret": string(refreshtest.ClientSecret),
	}})
	return string(text)
}

// connected are the tokens of accounts that the webhook has connected: the server gets
// none of them, ever.
func (c *cage) connected() []apptest.Secret {
	access, refreshing := c.theirs.Issued()
	return named("token at the webhook", append(access, refreshing...))
}

// sealed are the refresh tokens of accounts that were connected in platform mode. They pass
// through the server's memory, and stand nowhere else as they are.
func (c *cage) sealed() []apptest.Secret {
	_, refreshing := c.ours.Issued()
	return named("refresh token of a platform vault", refreshing)
}

func named(what string, values []refresh.Secret) (all []apptest.Secret) {
	for i, value := range values {
		all = append(all, apptest.Secret{Name: fmt.Sprintf("%s, %d", what, i), Value: []byte(value), Derived: true})
	}
	return all
}

// browse follows a link of the server to the page where that ends.
func (c *cage) browse(t *testing.T, path string) (at *url.URL, page string) {
	t.Helper()
	got := c.owner.In(t, c.serverURL).Browse(path)
	if got.Status != http.StatusOK {
		t.Fatalf("%s ended at %s: %d\n%.2000s", path, got.URL, got.Status, got.Body)
	}
	return got.URL, got.Body
}

// refreshed refreshes a token at once. When it was refreshed a moment ago, it is still
// good.
func (c *cage) refreshed(t *testing.T, service, path string) {
	t.Helper()
	var r struct{ Path, Outcome string }
	c.owner.Must("POST", "/api/tokens/"+service+"/refresh", nil, &r)
	if r.Path != path || r.Outcome != "rotated" && r.Outcome != "still_valid" {
		t.Errorf("refreshing %s: %+v, want it fresh by %s", service, r, path)
	}
}

// arrived waits until an authorization server is asked for tokens.
func arrived(t *testing.T, p *refreshtest.Provider, why string) {
	t.Helper()
	select {
	case <-p.Arrived():
	case <-time.After(time.Minute):
		t.Fatalf("the provider was not asked for tokens: %s", why)
	}
}

// connectHere connects an account in platform mode, has it read and refreshed, and
// disconnects it.
func (c *cage) connectHere(t *testing.T) {
	t.Helper()
	c.owner.Must("GET", "/api/providers", nil, nil)
	if at, page := c.browse(t, "/connect/ours"); at.Path != "/token/ours" || !strings.Contains(page, "user-1") {
		t.Errorf("connecting ended at %s, want the token's page with whose account it is", at)
	}
	id, key := c.owner.Agent("reader")
	c.owner.Grant(id, here, 1)
	for range 2 {
		answer, err := apptest.Call(t.Context(), c.client, "GET", c.serverURL+"/api/agents/credentials?service="+here, nil, "X-Agent-Key", key)
		if err != nil || answer.Status != http.StatusOK {
			t.Errorf("the agent reads: %v %s, want 200", err, answer)
		}
		c.refreshed(t, here, "platform")
	}
	if answer := c.owner.Post("/token/"+here+"/refresh", nil); answer.Status != http.StatusSeeOther {
		t.Errorf("the button: %s, want 303", answer)
	}
	var done struct{ Revoked bool }
	c.owner.Must("POST", "/api/tokens/"+here+"/disconnect", nil, &done)
	if c.ours.Calls() == 0 {
		t.Error("no refresh has reached the provider")
	}
	if !done.Revoked || len(c.ours.Revoked()) != 1 {
		t.Errorf("disconnecting: revoked %t, %d calls at the provider; want one", done.Revoked, len(c.ours.Revoked()))
	}
	c.owner.Must("DELETE", "/api/agents/"+id, nil, nil)
}

// connectAtWebhook has the webhook connect an account, and refresh it when it is told to.
func (c *cage) connectAtWebhook(t *testing.T) {
	t.Helper()
	if at, page := c.browse(t, "/connect/theirs"); "http://"+at.Host != c.webhookURL || !strings.Contains(page, c.serverURL+"/token/theirs/connected") {
		t.Errorf("connecting ended at %s, want the webhook's page with a link back:\n%s", at, page)
	}
	if at, _ := c.browse(t, "/token/theirs/connected"); at.Path != "/token/theirs" {
		t.Errorf("the way back ended at %s, want the token's page", at)
	}
	arrived(t, c.theirs, "the code was not exchanged")
	c.refreshed(t, atWebhook, "notify")
	arrived(t, c.theirs, "nothing was refreshed when it was due")
	c.refreshed(t, atWebhook, "notify")
	var token struct {
		Trust   string
		Refresh struct{ LastPath string }
	}
	c.owner.Must("GET", "/api/tokens/"+atWebhook, nil, &token)
	if token.Trust != "tv-zero" || token.Refresh.LastPath != "notify" {
		t.Errorf("the token says %+v, want tv-zero, refreshed by notification", token)
	}
}
