package main_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// platformOperations does what can be done before a webhook is bound, so that what
// platform mode leaves in the server cannot hide what webhook mode must not. One
// credential stays in the platform vault, to be moved later.
func (c *cage) platformOperations(t *testing.T) {
	t.Helper()
	type object = map[string]any
	must := func(method, path string, body, out any) { t.Helper(); c.owner.Must(method, path, body, out) }
	sealed := func(o *apptest.Owner, service string) {
		t.Helper()
		data := object{"tokenType": wire.TypePlainText, "accessToken": "sealed-" + rand.Text()}
		o.Must("POST", "/api/tokens", object{"serviceName": service, "tokenData": data}, nil)
	}
	sealed(c.owner, "shared-name")
	sealed(c.owner, "to-be-moved")
	sealed(c.owner, "to-be-dropped")
	must("GET", "/api/tokens/shared-name?reveal=true", nil, nil)

	second := c.owner.In(t, c.serverURL)
	second.Login()
	sealed(second, "shared-name")
	target := ownGrant(t, second)
	must("PATCH", "/api/grants/"+target, object{"label": "the other browser"}, nil)
	share := func() string {
		var escrow struct{ ID string }
		must("POST", "/api/grants/"+target+"/share-vault", nil, &escrow)
		return escrow.ID
	}
	must("POST", "/api/escrows/"+share()+"/cancel", nil, nil)
	second.Must("POST", "/api/escrows/"+share()+"/decline", nil, nil)
	last := share()
	must("GET", "/api/escrows", nil, nil)
	second.Must("GET", "/api/escrows/"+last+"/preview", nil, nil)
	second.Must("POST", "/api/escrows/"+last+"/accept", nil, nil)
	superseded := func() string {
		var list []struct{ ID string }
		must("GET", "/api/tokens?superseded=true", nil, &list)
		if len(list) != 1 {
			t.Fatalf("%d superseded tokens, want one", len(list))
		}
		return list[0].ID
	}
	must("POST", "/api/tokens/superseded/"+superseded()+"/restore", object{"serviceName": "restored"}, nil)
	must("DELETE", "/api/tokens/restored", nil, nil)
	must("DELETE", "/api/grants/"+target, nil, nil)
	c.linkAgain(t, sealed)
	must("DELETE", "/api/tokens/superseded/"+superseded(), nil, nil)

	var key struct{ ID, Key string }
	must("POST", "/api/keys", object{"name": "backup", "scopes": []string{"tokens:read", "audit:read"}}, &key)
	must("POST", "/api/keys/"+key.ID+"/rotate", nil, &key)
	must("GET", "/api/keys", nil, nil)
	must("DELETE", "/api/keys/"+key.ID, nil, nil)
	c.connectHere(t)
	c.platformPages(t)
}

// linkAgain has a third session accept the vault, and end.
func (c *cage) linkAgain(t *testing.T, sealed func(*apptest.Owner, string)) {
	t.Helper()
	third := c.owner.In(t, c.serverURL)
	third.Login()
	sealed(third, "shared-name")
	var escrow struct{ ID string }
	id := ownGrant(t, third)
	c.owner.Must("POST", "/api/grants/"+id+"/share-vault", nil, &escrow)
	third.Must("POST", "/api/escrows/"+escrow.ID+"/accept", nil, nil)
	c.owner.Must("DELETE", "/api/grants/"+id, nil, nil)
}

// ownGrant is the id of a session's grant.
func ownGrant(t *testing.T, o *apptest.Owner) string {
	t.Helper()
	var list struct {
		Items []struct {
			ID      string
			Current bool
		}
	}
	o.Must("GET", "/api/grants", nil, &list)
	for _, g := range list.Items {
		if g.Current {
			return g.ID
		}
	}
	t.Fatal("no grant is the current one")
	return ""
}

// platformPages reads and sends the pages of platform mode.
func (c *cage) platformPages(t *testing.T) {
	t.Helper()
	post := func(path string, form ...string) {
		t.Helper()
		values := url.Values{}
		for i := 0; i+1 < len(form); i += 2 {
			values.Set(form[i], form[i+1])
		}
		if got := c.owner.Post(path, values); got.Status >= 400 {
			t.Errorf("the form at %s: %s, want it taken", path, got)
		}
	}
	post("/tokens/new", "type", wire.TypePlainText, "serviceName", "by-form", "accessToken", "sealed-"+rand.Text())
	post("/token/by-form/reveal")
	post("/keys", "name", "by a form", "tokens:read", "on", "hours", "720")
	for _, path := range []string{"/", "/tokens/new", "/token/by-form", "/keys", "/grants", "/settings/vault", "/grants/" + ownGrant(t, c.owner) + "/revoke"} {
		if got := c.owner.Do(http.MethodGet, path, nil); got.Status != http.StatusOK {
			t.Errorf("page %s: %.300s, want it", path, got)
		}
	}
	post("/token/by-form/delete")
}

// moves takes the one credential that waited to the webhook, and back again by
// what its owner reads there. This server saw it, and says so.
func (c *cage) moves(t *testing.T) {
	t.Helper()
	var waits struct {
		Items []struct {
			Tokens []struct{ ID, ServiceName string }
		}
	}
	c.owner.Must("GET", "/api/vault/move", nil, &waits)
	for _, vault := range waits.Items {
		for _, token := range vault.Tokens {
			if token.ServiceName == "to-be-dropped" {
				c.owner.Must("DELETE", "/api/vault/move/"+token.ID, nil, nil)
			}
		}
	}
	if got := c.owner.Do(http.MethodGet, "/vault/move", nil); got.Status != http.StatusOK {
		t.Errorf("the page of what waits: %.300s", got)
	}
	var moved struct{ Moved []string }
	c.owner.Must("POST", "/api/vault/move", nil, &moved)
	if !slices.Contains(moved.Moved, "to-be-moved") {
		t.Fatalf("moved %v, want to-be-moved among them", moved.Moved)
	}
	var token struct{ Trust string }
	c.owner.Must("GET", "/api/tokens/to-be-moved", nil, &token)
	if token.Trust != "tv-seen" {
		t.Errorf("what was moved is %q, want tv-seen", token.Trust)
	}
	c.owner.Must("GET", "/api/vault/move-back", nil, nil)
	if got := c.owner.Do(http.MethodGet, "/vault/move-back", nil); got.Status != http.StatusOK {
		t.Errorf("the page of what can come back: %.300s", got)
	}
	read := c.owner.Reveal("to-be-moved")
	c.owner.Must("POST", "/api/vault/move-back", map[string]any{"serviceName": "to-be-moved", "tokenData": read}, nil)
}
