package vaults_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// reads is what a browser reads at the webhook, as it posts it to the server.
func (m *mover) reads(service string) map[string]json.RawMessage {
	m.t.Helper()
	text, err := json.Marshal(m.tv.Reveal(service))
	m.must(err)
	return fieldsOf(m.t, string(text))
}

func (m *mover) back(service string) error {
	m.t.Helper()
	_, err := m.MoveBack(m.t.Context(), m.again(), m.client, service, m.reads(service))
	return err
}

// backAll moves back all that the plan says can be.
func (m *mover) backAll() {
	m.t.Helper()
	m.sync("")
	plan, err := m.MoveBackPlan(m.t.Context(), m.again())
	m.must(err)
	for _, b := range plan {
		if b.Movable {
			m.must(m.back(b.Token.ServiceName))
		}
	}
}

// reveals checks what the user's platform vault has.
func (m *mover) reveals(service string, want map[string]any) {
	m.t.Helper()
	got, err := m.platform.Reveal(m.t.Context(), m.again(), m.client, platform.Ref{Service: service})
	if err != nil {
		m.t.Errorf("%s here: %v", service, err)
	}
	for name, value := range want {
		if fmt.Sprint(got[name]) != fmt.Sprint(value) {
			m.t.Errorf("%s here: %s is %v, want %v", service, name, got[name], value)
		}
	}
}

// entitled makes an agent that was granted tokens of the webhook.
func (m *mover) entitled(tokens ...models.Token) (models.Agent, grants.Principal) {
	m.t.Helper()
	a, p := m.agent()
	for _, t := range tokens {
		g := models.CredentialGrant{
			AccountID: a.AccountID, AgentID: a.ID, ServiceName: t.ServiceName, TokenID: t.ID, RefreshPolicy: models.RefreshAuto,
			CreatedAt: models.Stamp(time.Now()),
		}
		m.ring.SignCredentialGrant(&g)
		m.must(m.db.PutCredentialGrant(m.t.Context(), &g))
	}
	return a, p
}

// released checks what an agent is given from the platform vault.
func (m *mover) released(p grants.Principal, a models.Agent, service, want string) {
	m.t.Helper()
	t, err := m.platform.Token(m.t.Context(), m.again(), platform.Ref{Service: service})
	m.must(err)
	m.granted(a, t)
	body, _, err := m.platform.ReleaseTo(m.t.Context(), p, t.ID, models.RefreshAuto, nil)
	var got map[string]any
	if err == nil {
		err = json.Unmarshal(body, &got)
	}
	if err != nil || got["accessToken"] != want {
		m.t.Errorf("the agent's %s: %v, %v, want %q", service, got["accessToken"], err, want)
	}
	if _, there := got["refreshToken"]; there {
		m.t.Errorf("the agent was given a refresh token")
	}
}

func TestAVaultComesBackFromTheWebhook(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		m.webhook()
		m.tv.Store("github", map[string]any{
			"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "provider": "github", "displayName": "Git", "tags": []string{"x"},
			"allowedHosts": []string{"api.github.com"}, "n": 7,
		})
		m.tv.Store("plain", map[string]any{"tokenType": "PlainText", "accessToken": "p"})
		m.tv.Store("totp", map[string]any{"tokenType": "TOTP", "totpSecret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"})
		m.tv.Store("raw", map[string]any{"tokenType": "RawCredential", "accessToken": "{}"})
		agent, asAgent := m.entitled(m.there("github"))

		plan, err := m.MoveBackPlan(t.Context(), m.user)
		m.must(err)
		var said []string
		for _, b := range plan {
			said = append(said, fmt.Sprintf("%s %v %v", b.Token.ServiceName, b.Movable, b.Reason != ""))
		}
		if got := strings.Join(said, " "); got != "github true false plain true false raw false true totp false true" {
			t.Errorf("the plan is %q, want two that can come back, and two with a reason", got)
		}
		m.backAll()
		m.reveals("github", map[string]any{
			"accessToken": "a", "refreshToken": "r", "provider": "github", "displayName": "Git", "tags": []string{"x"},
			"allowedHosts": []string{"https://api.github.com"}, "n": 7, "tokenType": "OAuth",
		})
		m.reveals("plain", map[string]any{"accessToken": "p"})
		m.sync("")
		m.wantNames("raw totp")
		m.released(asAgent, agent, "github", "a")
		m.wantEvents(audit.Delete, "ok github the webhook's copy", "ok plain the webhook's copy")

		m.must(m.Unbind(t.Context(), m.user, m.client))
		m.again()
		m.wantNames("github plain")
		m.released(asAgent, agent, "github", "a")
		if v, err := m.Token(t.Context(), m.user, "github"); err != nil || v.Trust != vaults.Sealed {
			t.Errorf("it is %s, %v, want %s", v.Trust, err, vaults.Sealed)
		}
	})
}

// There and back again, nothing is lost, and no mark of the one way hinders the
// other.
func TestACredentialGoesThereAndBackAndThereAgain(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		token := m.keep("github", `{"tokenType":"OAuth","accessToken":"a","refreshToken":"r","scopes":["s"]}`)
		agent, asAgent := m.agent(token)
		m.webhook()
		for range 2 {
			if done := m.move(); fmt.Sprint(done.Moved) != "[github]" {
				t.Fatalf("moved %v, left %v, want github", done.Moved, done.Left)
			}
			m.granted(agent, m.there("github"))
			m.allSeen(1)
			m.backAll()
			m.reveals("github", map[string]any{"accessToken": "a", "refreshToken": "r", "scopes": []string{"s"}})
			m.released(asAgent, agent, "github", "a")
			m.sync("")
			m.wantNames("")
		}
	})
}

func TestAMoveBackThatIsKilledAnywhereLosesNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		for step := 1; ; step++ {
			m := newMover(t, db)
			m.webhook()
			m.tv.Store("github", map[string]any{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r"})
			agent, asAgent := m.entitled(m.there("github"))
			fields := m.reads("github")
			m.breaks.arm(step)
			_, err := m.MoveBack(t.Context(), m.user, m.client, "github", fields)
			killed := m.breaks.killed()
			m.breaks.arm(0)
			if killed != errors.Is(err, errBroken) {
				t.Fatalf("step %d: killed %v, and MoveBack says %v", step, killed, err)
			}
			held := slices.Contains(m.held(), "github")
			m.sync("")
			if there := slices.Contains(strings.Fields(m.names()), "github"); !there && !held {
				t.Fatalf("step %d: github is in neither place", step)
			}
			m.backAll()
			m.reveals("github", map[string]any{"accessToken": "a", "refreshToken": "r"})
			m.released(asAgent, agent, "github", "a")
			m.sync("")
			m.wantNames("")
			m.wh.Stop()
			if !killed {
				if step < 15 {
					t.Errorf("moving back has %d steps, want at least 15", step-1)
				}
				return
			}
		}
	})
}

func TestAMoveBackThatMayNotBeChangesNothing(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		ctx := t.Context()
		key, err := m.grants.CreateKey(ctx, m.user, m.client, grants.CreateKeyInput{Name: "k", Scopes: []string{grants.TokensWrite}})
		m.must(err)
		small := m.principal(key.Token.Reveal())
		m.keep("taken", plain("mine"))
		_, err = m.MoveBack(ctx, m.user, m.client, "github", fieldsOf(t, plain("x")))
		wantCode(t, err, fault.WebhookNotConfigured)
		_, err = m.MoveBackPlan(ctx, m.user)
		wantCode(t, err, fault.WebhookNotConfigured)
		m.webhook()
		m.tv.Store("github", map[string]any{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r"})
		m.tv.Store("taken", map[string]any{"tokenType": "PlainText", "accessToken": "theirs"})
		m.tv.Store("totp", map[string]any{"tokenType": "TOTP", "totpSecret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"})
		m.tv.Store("raw", map[string]any{"tokenType": "RawCredential", "accessToken": "{}"})
		m.sync("")
		good := m.reads("github")
		with := func(name, value string) map[string]json.RawMessage {
			fields := map[string]json.RawMessage{}
			for k, v := range good {
				fields[k] = v
			}
			fields[name] = json.RawMessage(value)
			return fields
		}
		refused := func(what string, p grants.Principal, service string, fields map[string]json.RawMessage, want fault.Code) {
			t.Helper()
			_, err := m.MoveBack(ctx, p, m.client, service, fields)
			if got := fault.CodeOf(err); got != want {
				t.Errorf("%s: code %q (%v), want %q", what, got, err, want)
			}
			if err != nil && strings.Contains(fault.From(err).Message, "canary") {
				t.Errorf("%s: the message quotes what was sent: %v", what, err)
			}
			if got := m.held(); fmt.Sprint(got) != "[taken]" {
				t.Errorf("%s: the vault holds %v, want what it held", what, got)
			}
			if got := m.tv.Reveal("github"); got["accessToken"] != "a" {
				t.Errorf("%s: the webhook has %v, want what it had", what, got["accessToken"])
			}
		}
		refused("a small key", small, "github", good, fault.ScopeDenied)
		refused("a bad name", m.user, "a/b", good, fault.InvalidRequest)
		refused("an unknown name", m.user, "nobody", good, fault.TokenNotFound)
		refused("no fields", m.user, "github", nil, fault.Conflict)
		refused("another creation", m.user, "github", with("creationId", `"other"`), fault.Conflict)
		refused("another type", m.user, "github", with("tokenType", `"JWT"`), fault.InvalidRequest)
		refused("no secret", m.user, "github", with("accessToken", `""`), fault.InvalidRequest)
		refused("no refresh token, as an agent reads it", m.user, "github", with("refreshToken", `null`), fault.InvalidRequest)
		refused("a secret that is none", m.user, "github", with("accessToken", `["canary"]`), fault.InvalidRequest)
		refused("a TOTP secret", m.user, "totp", m.reads("totp"), fault.Conflict)
		refused("a name that is taken here", m.user, "taken", m.reads("taken"), fault.Conflict)
		m.reveals("taken", map[string]any{"accessToken": "mine"})
		m.record.setAway(true)
		refused("without the record", m.user, "github", good, fault.Unavailable)
		m.record.setAway(false)
		m.must(m.Lock(ctx, m.user, m.client))
		_, err = m.MoveBack(ctx, m.user, m.client, "github", good)
		wantCode(t, err, fault.VaultLocked)
		m.must(m.Unlock(ctx, m.user, m.client))
		// The plan says beforehand what is refused.
		plan, err := m.MoveBackPlan(ctx, m.user)
		m.must(err)
		for _, b := range plan {
			if want := b.Token.ServiceName == "github"; b.Movable != want || want != (b.Reason == "") {
				t.Errorf("the plan says %v (%s) of %s, want %v", b.Movable, b.Reason, b.Token.ServiceName, want)
			}
		}
	})
}

// What was stored at the webhook after it was read there is not deleted.
func TestWhatWasReplacedMeanwhileStaysAtTheWebhook(t *testing.T) {
	t.Parallel()
	eachMover(t, func(t *testing.T, m *mover) {
		m.webhook()
		m.tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "old"})
		fields := m.reads("github")
		m.tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "new"})
		_, err := m.MoveBack(t.Context(), m.user, m.client, "github", fields)
		wantCode(t, err, fault.Conflict)
		if got := m.held(); len(got) != 0 {
			t.Errorf("the vault holds %v, want nothing", got)
		}
		m.hooks.onBack = func() { m.tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "newest"}) }
		wantCode(t, m.back("github"), fault.Conflict)
		m.hooks.onBack = nil
		if got := m.tv.Reveal("github"); got["accessToken"] != "newest" {
			t.Errorf("the webhook has %v, want the newest", got["accessToken"])
		}
	})
}
