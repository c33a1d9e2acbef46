package vaults_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// issued is what a provider gave the server.
func issued(id, secret, replaces string) vaults.Connected {
	return vaults.Connected{
		Service: "mail", Replaces: replaces, ID: id, Name: "Mail (ada)", Detail: "connected at mail",
		Data: map[string]any{
			"tokenType": "OAuth", "accessToken": secret, "refreshToken": "r-" + secret, "provider": "mail", "subject": "ada",
			"scopes": []string{"read", "send"}, "issuedAt": "2026-03-04T05:06:07.000Z", "expiresAt": "2036-03-04T05:06:07.000Z",
		},
	}
}

func eachBound(t *testing.T, body func(m *mover)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		m := newMover(t, s)
		m.webhook()
		body(m)
	})
}

// connectOnce is what must work.
func (m *mover) connectOnce(in vaults.Connected) models.Token {
	m.t.Helper()
	given := maps.Clone(in.Data)
	row, err := m.StoreConnected(m.t.Context(), m.again(), m.client, in)
	if err != nil {
		m.t.Fatalf("StoreConnected: %v", err)
	}
	if len(in.Data) != len(given) {
		m.t.Error("the caller's data was changed")
	}
	return row
}

func TestWhatTheServerWasIssuedIsHandedOverAndMarked(t *testing.T) {
	t.Parallel()
	eachBound(t, func(m *mover) {
		row := m.connectOnce(issued("flow-1", "one", ""))
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		if !row.SeenByServer() || row.SeenPath != "connected through this server" || row.Subject != "ada" || row.Scope != "read send" || row.IssuedAt == nil || !row.IssuedAt.Equal(at) || row.DisplayName != "Mail (ada)" {
			t.Errorf("the index has %+v", row)
		}
		if got := m.tv.Reveal("mail"); got["accessToken"] != "one" || got["refreshToken"] != "r-one" {
			t.Errorf("the webhook has %v", got)
		}
		m.wantEvents(audit.Store, "ok mail connected at mail, and stored at the webhook url="+m.wh.URL+": seen by this server")

		// Called again with the same, as after an answer that was lost: it is there.
		if again := m.connectOnce(issued("flow-1", "one", "")); again.CreationID != row.CreationID {
			t.Errorf("the same connection was stored twice: %s, then %s", row.CreationID, again.CreationID)
		}
		next := m.connectOnce(issued("flow-2", "two", row.CreationID))
		if next.ID != row.ID || next.CreationID == row.CreationID || m.tv.Reveal("mail")["accessToken"] != "two" {
			t.Errorf("replaced by %+v after %+v", next, row)
		}
		for what, in := range map[string]vaults.Connected{"a name that is taken": issued("flow-3", "three", ""), "a creation that is gone": issued("flow-4", "four", row.CreationID)} {
			if _, err := m.StoreConnected(m.t.Context(), m.user, m.client, in); fault.CodeOf(err) != fault.Conflict {
				t.Errorf("%s: got %v, want CONFLICT", what, err)
			}
		}
		if got := m.tv.Reveal("mail")["accessToken"]; got != "two" {
			t.Errorf("the webhook has %v, want two", got)
		}
	})
}

func TestAnAnswerThatIsLostIsLookedFor(t *testing.T) {
	t.Parallel()
	eachBound(t, func(m *mover) {
		lost := fault.New(fault.WebhookUnavailable, "It broke off.")
		m.hooks.refuse = func(service string, data map[string]any) error {
			m.tv.Store(service, data)
			return lost
		}
		if row := m.connectOnce(issued("flow-1", "one", "")); !row.SeenByServer() {
			t.Errorf("the index has %+v", row)
		}
		m.hooks.refuse = func(string, map[string]any) error { return lost }
		in := issued("flow-2", "two", "")
		in.Service = "other"
		if _, err := m.StoreConnected(t.Context(), m.user, m.client, in); fault.CodeOf(err) != fault.WebhookUnavailable {
			t.Errorf("what is not there: got %v, want WEBHOOK_UNAVAILABLE", err)
		}
		m.wantNames("mail")
	})
}

func TestAWebhookThatForgetsTheMarkIsSeenAllTheSame(t *testing.T) {
	t.Parallel()
	eachBound(t, func(m *mover) {
		m.hooks.alter = func(item wire.StorageItem) wire.StorageItem {
			item.Meta = bytes.ReplaceAll(item.Meta, []byte("connectedThrough"), []byte("unknown"))
			return item
		}
		if row := m.connectOnce(issued("flow-1", "one", "")); !row.SeenByServer() || row.SeenPath != "connected through this server" {
			t.Errorf("the index has %+v", row)
		}
	})
}

func TestAWebhookThatOnlySaysThatItStoredIsNotBelieved(t *testing.T) {
	t.Parallel()
	eachBound(t, func(m *mover) {
		first := m.connectOnce(issued("flow-1", "one", ""))
		m.hooks.refuse = func(string, map[string]any) error { return nil }
		other := issued("flow-2", "two", "")
		other.Service = "other"
		for what, in := range map[string]vaults.Connected{"a new token": other, "one in the place of another": issued("flow-3", "three", first.CreationID)} {
			_, err := m.StoreConnected(t.Context(), m.user, m.client, in)
			if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "does not list it") {
				t.Errorf("%s: got %v, want CONFLICT", what, err)
			}
		}
		m.wantNames("mail")
	})
}

func TestNothingIsHandedOverWhereItMustNot(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		m := newMover(t, s)
		ctx := t.Context()
		_, err := m.StoreConnected(ctx, m.user, m.client, issued("f", "one", ""))
		refusedWith(t, "without a webhook", err, fault.WebhookNotConfigured)
		_, err = m.ConnectTicket(ctx, m.user, m.client, "mail", "")
		refusedWith(t, "a ticket without a webhook", err, fault.WrongVaultMode)
		m.webhook()
		agent := m.user
		agent.Kind = models.GrantAgentKey
		_, err = m.StoreConnected(ctx, agent, m.client, issued("f", "one", ""))
		refusedWith(t, "for an agent", err, fault.ScopeDenied)
		_, err = m.ConnectTicket(ctx, agent, m.client, "mail", "")
		refusedWith(t, "a ticket for an agent", err, fault.ScopeDenied)
		bad := issued("f", "one", "")
		bad.Service = "/"
		_, err = m.StoreConnected(ctx, m.user, m.client, bad)
		refusedWith(t, "under no name", err, fault.InvalidRequest)
		if err := m.Lock(ctx, m.user, m.client); err != nil {
			t.Fatal(err)
		}
		_, err = m.StoreConnected(ctx, m.user, m.client, issued("f", "one", ""))
		refusedWith(t, "into a locked vault", err, fault.VaultLocked)
		_, err = m.ConnectTicket(ctx, m.user, m.client, "mail", "")
		refusedWith(t, "a ticket for a locked vault", err, fault.VaultLocked)
		m.wantNames("")
		if slices.Contains(m.events(audit.TicketIssued), "ok mail") {
			t.Error("a ticket was recorded")
		}
	})
}

func refusedWith(t *testing.T, what string, err error, want fault.Code) {
	t.Helper()
	if got := fault.CodeOf(err); got != want {
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}
