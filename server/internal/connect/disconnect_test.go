package connect_test

import (
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

func (w *world) disconnect(service string) connect.Disconnected {
	w.t.Helper()
	out, err := w.Disconnect(w.t.Context(), w.user, audit.Client{}, service)
	if err != nil {
		w.t.Fatalf("Disconnect: %v", err)
	}
	return out
}

func TestDisconnectingRevokesAndDeletes(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		w.connect(connect.StartInput{Provider: "test"})
		held := w.reveal("test")["refreshToken"].(string)
		w.audit.take()
		if out := w.disconnect("test"); !out.Revoked || !strings.Contains(out.Note, "revoked at its provider") {
			t.Errorf("got %+v, want it revoked", out)
		}
		if got := w.provider.Revoked(); len(got) != 1 || string(got[0]) != held {
			t.Errorf("revoked %d tokens, want the refresh token", len(got))
		}
		w.holds(0)
		events := w.audit.take()
		if len(events) != 2 || events[0].Type != audit.Reveal || events[0].Detail != "to revoke it at test" || events[1].Type != audit.Delete {
			t.Errorf("recorded %+v, want what was opened for what, and the end", events)
		}
		_, err := w.Disconnect(t.Context(), w.user, audit.Client{}, "test")
		w.refused("once more", err, fault.TokenNotFound, "no token named")
		w.quiet(held)
	})
}

func TestWithoutARefreshTokenTheAccessTokenIsRevoked(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		c := w.provider.Config()
		w.keep(t, `{"tokenType": "OAuth", "accessToken": "only this", "provider": "test", "tokenUrl": "`+c.TokenURL+`", "clientId": "`+c.ClientID+`"}`)
		out := w.disconnect("x")
		if got := w.provider.Revoked(); !out.Revoked || len(got) != 1 || got[0] != "only this" {
			t.Errorf("got %+v with %d revoked, want the access token", out, len(got))
		}
	})
}

func (w *world) keep(t testing.TB, text string) {
	t.Helper()
	_, err := w.platform.Store(t.Context(), w.user, audit.Client{}, platform.Ref{Service: "x"}, fields(t, text))
	w.must(err)
	w.again()
}

// What cannot be revoked is deleted, and that it was not revoked is said.
func TestWhatCannotBeRevokedIsDeletedAndSaid(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		extra  string // of the token
		saying string
	}{
		"an unknown provider":    {`"provider": "nobody"`, "no client of its provider"},
		"no provider":            {`"notes": ""`, "no client of its provider"},
		"one without revocation": {`"provider": "plain"`, "does not offer that"},
		"another token endpoint": {`"provider": "test", "tokenUrl": "https://evil.example/token"`, "another provider than the one of this name"},
		"no token endpoint":      {`"provider": "test"`, "another provider than the one of this name"},
		"another client":         {`"provider": "test", "tokenUrl": "TOKENURL", "clientId": "other"`, "another provider than the one of this name"},
		"a provider in trouble":  {`"provider": "stuck", "tokenUrl": "TOKENURL"`, "did not do it"},
		"one without discovery":  {`"provider": "late", "tokenUrl": "TOKENURL"`, "cannot be reached"},
	}
	each(t, func(w *world) {
		for name, c := range cases {
			w.keep(w.t, `{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r-canary", `+strings.ReplaceAll(c.extra, "TOKENURL", w.provider.Config().TokenURL)+`}`)
			if out := w.disconnect("x"); out.Revoked || !strings.Contains(out.Note, c.saying) {
				w.t.Errorf("%s: got %+v, want it said: %s", name, out, c.saying)
			}
			if got := w.provider.Revoked(); len(got) != 0 {
				w.t.Errorf("%s: the provider was sent %d tokens, want none", name, len(got))
			}
			w.holds(0)
		}
		w.quiet()
	})
}

func TestDisconnectingAWebhooksTokenDeletesItThere(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		w.bind(connecting(w.provider))
		w.browse(w.start(connect.StartInput{Provider: "own"}).URL)
		w.vaultsSync("own")
		out := w.disconnect("own")
		if out.Revoked || !strings.Contains(out.Note, "Your webhook has deleted it") {
			t.Errorf("got %+v", out)
		}
		w.holds(0)
		if got := w.provider.Revoked(); len(got) == 0 {
			t.Error("the webhook revoked nothing at its provider")
		}
	})
}

func TestWhatIsNotConnectedOrNotPermittedIsNotDisconnected(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		w.connect(connect.StartInput{Provider: "test"})
		w.keep(t, `{"tokenType": "PlainText", "accessToken": "kept"}`)
		_, err := w.Disconnect(t.Context(), w.user, audit.Client{}, "x")
		w.refused("an API key", err, fault.InvalidRequest, "Delete it")
		_, err = w.Disconnect(t.Context(), w.user, audit.Client{}, "/")
		w.refused("no name", err, fault.InvalidRequest, "service name")
		agent := w.user
		agent.Kind = models.GrantAgentKey
		_, err = w.Disconnect(t.Context(), agent, audit.Client{}, "test")
		w.refused("an agent", err, fault.ScopeDenied, "tokens:write")
		w.must(w.vaults.Lock(t.Context(), w.user, audit.Client{}))
		_, err = w.Disconnect(t.Context(), w.user, audit.Client{}, "test")
		w.refused("a locked vault", err, fault.VaultLocked, "unlock it")
		w.holds(2)
		if got := w.provider.Revoked(); len(got) != 0 {
			t.Errorf("revoked %d tokens, want none", len(got))
		}
	})
}
