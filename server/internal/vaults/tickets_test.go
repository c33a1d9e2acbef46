package vaults_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// present takes a ticket to the webhook, as a browser does.
func present(t *testing.T, ticket vaults.Ticket, path, service string, tokenData map[string]any) webhooktest.Answer {
	t.Helper()
	browser := webhooktest.NewTV(t, ticket.WebhookURL)
	body := map[string]any{"ticket": ticket.Ticket, "service": service}
	if tokenData != nil {
		body["tokenData"] = tokenData
	}
	return browser.Do(browser.Request(http.MethodPost, path, body))
}

func TestTicketsStoreAndRevealAtTheWebhookItself(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, wh, _ := bound(t, db)
		in := vaults.StoreTicketInput{ServiceName: "totp site", Mode: wire.ModeCreate}
		ticket, err := w.StoreTicket(t.Context(), w.user, w.client, in)
		if err != nil || ticket.WebhookURL != wh.URL || ticket.ExpiresIn != time.Minute {
			t.Fatalf("StoreTicket = %+v, %v; want 60 s at %s", ticket.ExpiresIn, err, wh.URL)
		}
		data := map[string]any{"tokenType": "TOTP", "totpSecret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}
		if got := present(t, ticket, wire.PathStore, in.ServiceName, data); got.Status != http.StatusOK {
			t.Fatalf("the webhook answered %d %s", got.Status, got.Body)
		}
		if n := w.sync(in.ServiceName); n != 1 {
			t.Errorf("synced %d, want 1", n)
		}
		second, err := w.StoreTicket(t.Context(), w.user, w.client, in)
		if err != nil {
			t.Fatal(err)
		}
		if got := present(t, second, wire.PathStore, in.ServiceName, data); got.Code != wire.CodeAlreadyExists {
			t.Errorf("creating again: %d %s, want already_exists", got.Status, got.Body)
		}
		for purpose, path := range map[wire.Purpose]string{wire.PurposeTOTPCode: wire.PathTOTPCode, wire.PurposeUserReveal: wire.PathCredential} {
			ticket, err := w.CredentialTicket(t.Context(), w.user, w.client, vaults.CredentialTicketInput{ServiceName: in.ServiceName, Purpose: purpose})
			if err != nil {
				t.Fatal(err)
			}
			if got := present(t, ticket, path, in.ServiceName, nil); got.Status != http.StatusOK {
				t.Errorf("%s: the webhook answered %d %s", purpose, got.Status, got.Body)
			}
		}
		w.wantEvents(audit.Reveal, "ok totp site purpose=user_reveal")
		if got := w.events(audit.TicketIssued); len(got) != 3 {
			t.Errorf("ticket events %q, want two stores and a code", got)
		}
		w.wantEvents(audit.Store, "ok totp site")
	})
}

func TestTicketsNameTheAccountAndLiveOneMinute(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x"})
		nonces := map[string]bool{}
		for range 3 {
			issued, err := w.CredentialTicket(t.Context(), w.user, w.client, vaults.CredentialTicketInput{ServiceName: "github", Purpose: wire.PurposeUserReveal})
			if err != nil {
				t.Fatal(err)
			}
			ticket, _, err := wire.OpenTicket([]wire.Secret{w.secret()}, issued.Ticket, time.Now())
			if err != nil || ticket.Subject != w.user.AccountID.String() || ticket.Service != "github" || ticket.Purpose != wire.PurposeUserReveal {
				t.Fatalf("ticket %+v, %v; want a reveal of github by its owner", ticket, err)
			}
			if life := ticket.ExpiresAt - ticket.IssuedAt; life != 60 || len(ticket.Nonce) != 32 || nonces[ticket.Nonce] {
				t.Errorf("life %d s, nonce %q; want 60 s and a fresh one of 128 bits", life, ticket.Nonce)
			}
			nonces[ticket.Nonce] = true
		}
	})
}

func TestTicketsAreRefusedWithoutTouchingAnything(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x"})
		platform := w.newUser("platform@example.com")
		agent := grants.Principal{AccountID: w.user.AccountID, GrantID: models.NewID(), Kind: models.GrantAgentKey}
		const reveal = wire.PurposeUserReveal
		cases := []struct {
			name    string
			by      grants.Principal
			service string
			purpose wire.Purpose // empty: a store ticket
			mode    string
			code    fault.Code
		}{
			{"store in platform mode", platform, "github", "", "", fault.WrongVaultMode},
			{"reveal in platform mode", platform, "github", reveal, "", fault.WrongVaultMode},
			{"store by an agent", agent, "github", "", "", fault.ScopeDenied},
			{"reveal by an agent", agent, "github", reveal, "", fault.ScopeDenied},
			{"store of a reserved name", w.user, "audit-log", "", "", fault.InvalidRequest},
			{"reveal of no name", w.user, "", reveal, "", fault.InvalidRequest},
			{"unknown mode", w.user, "github", "", "replace", fault.InvalidRequest},
			{"a purpose of agents", w.user, "github", wire.PurposeAgentCredential, "", fault.InvalidRequest},
			{"reveal of what is not there", w.user, "gitlab", reveal, "", fault.TokenNotFound},
		}
		for _, c := range cases {
			var err error
			var got vaults.Ticket
			if c.purpose == "" {
				got, err = w.StoreTicket(t.Context(), c.by, w.client, vaults.StoreTicketInput{ServiceName: c.service, Mode: c.mode})
			} else {
				got, err = w.CredentialTicket(t.Context(), c.by, w.client, vaults.CredentialTicketInput{ServiceName: c.service, Purpose: c.purpose})
			}
			if code := fault.CodeOf(err); code != c.code || got.Ticket != "" {
				t.Errorf("%s: code %q (%v), a ticket: %v; want %q and none", c.name, code, err, got.Ticket != "", c.code)
			}
		}
		w.wantEvents(audit.TicketIssued)
		w.wantEvents(audit.Reveal)
	})
}

func TestALockedVaultGivesNoTicketAtAll(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x"})
		store := func() error {
			_, err := w.StoreTicket(t.Context(), w.user, w.client, vaults.StoreTicketInput{ServiceName: "github"})
			return err
		}
		reveal := func() error {
			_, err := w.CredentialTicket(t.Context(), w.user, w.client, vaults.CredentialTicketInput{ServiceName: "github", Purpose: wire.PurposeUserReveal})
			return err
		}
		if err := reveal(); err != nil { // custody is remembered now
			t.Fatal(err)
		}
		for range 2 { // locking twice is locking once
			if err := w.Lock(t.Context(), w.user, w.client); err != nil {
				t.Fatal(err)
			}
		}
		wantCode(t, store(), fault.VaultLocked)
		wantCode(t, reveal(), fault.VaultLocked)
		status, err := w.Status(t.Context(), w.user)
		if err != nil || !status.Locked || status.LockedAt == nil {
			t.Errorf("Status = %+v, %v; want locked", status, err)
		}
		for range 2 {
			if err := w.Unlock(t.Context(), w.user, w.client); err != nil {
				t.Fatal(err)
			}
		}
		if err := store(); err != nil {
			t.Errorf("StoreTicket after unlocking: %v", err)
		}
		w.wantEvents(audit.Lock, "ok  lock", "ok  unlock")
		w.wantEvents(audit.TicketIssued, "ok github")
	})
}

func TestNoRowNoTicketAndNoUnlocking(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x"})
		w.sync("")
		if err := w.Lock(t.Context(), w.user, w.client); err != nil {
			t.Fatal(err)
		}
		w.record.setAway(true)
		wantCode(t, w.Unlock(t.Context(), w.user, w.client), fault.Unavailable)
		if account, err := db.Account(t.Context(), w.user.AccountID); err != nil || !account.Locked() {
			t.Errorf("locked %v, %v; want it still locked", account.Locked(), err)
		}
		w.record.setAway(false)
		if err := w.Unlock(t.Context(), w.user, w.client); err != nil {
			t.Fatal(err)
		}
		w.record.setAway(true)
		store, err := w.StoreTicket(t.Context(), w.user, w.client, vaults.StoreTicketInput{ServiceName: "github"})
		wantCode(t, err, fault.Unavailable)
		reveal, err := w.CredentialTicket(t.Context(), w.user, w.client, vaults.CredentialTicketInput{ServiceName: "github", Purpose: wire.PurposeUserReveal})
		wantCode(t, err, fault.Unavailable)
		if store.Ticket != "" || reveal.Ticket != "" {
			t.Error("a ticket was issued without a row")
		}
		w.wantEvents(audit.TicketIssued)
	})
}

func TestCreateIsHeldHereWhereTheWebhookCannot(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		l := newLiar(t, canarySecret(t, 1)) // knows no ticketConstraints
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) { lists(w, `{"serviceName":"github"}`) }
		})
		w.bind(l.input())
		issue := func(service, mode string) error {
			_, err := w.StoreTicket(t.Context(), w.user, w.client, vaults.StoreTicketInput{ServiceName: service, Mode: mode})
			return err
		}
		wantCode(t, issue("github", wire.ModeCreate), fault.Conflict)
		wantCode(t, issue("github", wire.ModeOverwrite), "")
		wantCode(t, issue("gitlab", wire.ModeCreate), "")
		w.wantEvents(audit.TicketIssued, "ok github", "ok gitlab")
	})
}

func TestCustodyCostsNoAllocationOnceRemembered(t *testing.T) {
	// Not parallel, since allocations are counted in the whole process; the database
	// behind the cache does not matter.
	w, _, _ := bound(t, storetest.Open(t, storetest.URL(t, store.SQLite)))
	ctx, id := t.Context(), w.user.AccountID
	first, err := w.Custody(ctx, id)
	if err != nil || first.Mode != models.ModeWebhook || first.Secret.IsZero() {
		t.Fatalf("Custody = %+v, %v; want webhook mode", first, err)
	}
	again, err := w.Custody(ctx, id)
	if err != nil || again != first {
		t.Errorf("Custody was read twice, want it remembered (%v)", err)
	}
	allocations := testing.AllocsPerRun(100, func() { _, _ = w.Custody(ctx, id) })
	if allocations != 0 {
		t.Errorf("%v allocations for a remembered custody, want 0", allocations)
	}
	_, err = w.Custody(ctx, models.NewID())
	wantCode(t, err, fault.NotFound)
}

func BenchmarkCustody(b *testing.B) {
	w, _, _ := bound(b, storetest.Open(b, storetest.URL(b, store.SQLite)))
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Custody(ctx, w.user.AccountID); err != nil {
			b.Fatal(err)
		}
	}
}
