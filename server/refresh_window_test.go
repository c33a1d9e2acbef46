package main_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// killedInTheWindow kills a server at the worst moment, on purpose: its provider has rotated the refresh
// token, and keeps its answer back. That token is lost, and says so; no other is.
func killedInTheWindow(t *testing.T, p programs, dialect string) {
	e := newExposure(t, p.server, dialect)
	hold := e.provider.Hold()
	e.begin(t)
	if err := hold.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	e.killAndRestart(t)
	hold.Cut()

	r := e.read(t, 0)
	if r.Status != http.StatusConflict || r.Code != "REAUTHORIZATION_REQUIRED" {
		t.Errorf("the token whose answer was lost: %s, want 409 REAUTHORIZATION_REQUIRED", r.Answer)
	}
	var refusal struct{ ConnectURL string }
	if r.Decode(t, &refusal); refusal.ConnectURL == "" {
		t.Errorf("the refusal does not say where to connect the account again: %s", r.Answer)
	}
	var shown struct{ Status string }
	if e.owner.Must(http.MethodGet, "/api/tokens/"+serviceNamed(0), nil, &shown); shown.Status != "needs_reauthorization" {
		t.Errorf("its owner is shown the status %q, want needs_reauthorization", shown.Status)
	}
	e.wantFresh(t, 1)

	data, _ := connected(t, e.provider, "ada", time.Now().Add(-time.Minute))
	keep(t, e.owner, serviceNamed(0), data)
	e.wantFresh(t, 0)
}

// killedBeforeTheWindow kills a server whose provider has not got the request yet. Nothing is lost,
// and the token is refreshed once the dead server's lease has ended.
func killedBeforeTheWindow(t *testing.T, p programs, dialect string) {
	e := newExposure(t, p.server, dialect)
	held := e.way.silence()
	e.begin(t)
	<-held
	way, base := tapped(t, e.provider.Issuer, false)
	e.way, e.site.providers = way, known(t, e.provider, base)
	e.killAndRestart(t)
	e.wantFresh(t, 0)
	for _, c := range e.provider.Calls() {
		if c.GrantType == "refresh_token" && c.Status != http.StatusOK {
			t.Errorf("the provider refused a call: %+v; want none to be refused", c)
		}
	}
}

// An exposure is a server with a few expired tokens.
type exposure struct {
	site     *site
	provider *oidc.Provider
	way      *tap // to the provider's token endpoint
	process  *apptest.Process
	owner    *apptest.Owner
	client   *http.Client
	key      string
	first    []string // access tokens, expired
}

const exposedTokens = 5

func newExposure(t *testing.T, program, dialect string) *exposure {
	t.Helper()
	e := &exposure{provider: oidc.Start(t, oidc.Options{}), client: crowd(t, exposedTokens)}
	way, base := tapped(t, e.provider.Issuer, false)
	e.way = way
	e.site = newSite(t, program, storetest.Blank(t, dialect), known(t, e.provider, base))
	process, url := e.site.start(t)
	e.process = process
	e.owner = apptest.NewOwner(t, url, "owner@example.com", e.client)
	e.owner.Register()
	id, key := e.owner.Agent("reader")
	e.key = key
	for i := range exposedTokens {
		data, tokens := connected(t, e.provider, "ada", time.Now().Add(-time.Minute))
		keep(t, e.owner, serviceNamed(i), data)
		e.owner.Grant(id, serviceNamed(i), 0)
		e.first = append(e.first, tokens.AccessToken)
	}
	return e
}

// begin has the first token read, whose reader is never answered.
func (e *exposure) begin(t *testing.T) {
	t.Helper()
	server, ended := e.owner.Server, make(chan struct{})
	go func() {
		defer close(ended)
		if r, err := ask(t.Context(), e.client, server, e.key, serviceNamed(0)); err == nil {
			t.Errorf("a killed server answered %s", r.Answer)
		}
	}()
	t.Cleanup(func() { <-ended })
}

// killAndRestart kills the server, and starts another when its leases have ended.
func (e *exposure) killAndRestart(t *testing.T) {
	t.Helper()
	e.process.Kill()
	endLeases(t, e.site.database)
	e.process, e.owner.Server = e.site.start(t)
}

func (e *exposure) read(t *testing.T, i int) reading {
	t.Helper()
	r, err := ask(t.Context(), e.client, e.owner.Server, e.key, serviceNamed(i))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantFresh reads the tokens from one on: each is to be a new one.
func (e *exposure) wantFresh(t *testing.T, from int) {
	t.Helper()
	for i := from; i < exposedTokens; i++ {
		r := e.read(t, i)
		if r.Status != http.StatusOK || r.AccessToken == e.first[i] || r.ExpiresAt.Before(time.Now()) {
			t.Errorf("%s: %s; want a new access token (%t)", serviceNamed(i), r.Answer, r.AccessToken != e.first[i])
		}
	}
}
