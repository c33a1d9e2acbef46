package vaults_test

import (
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A ticket is good at the webhook that shares the secret, and is sent to the
// address of the binding: who could change that address in the database would be
// handed tickets that open credentials elsewhere.
func TestABindingThatWasChangedInTheDatabaseSignsNothing(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*models.Binding){
		"address":     func(b *models.Binding) { b.URL = "https://attacker.example" },
		"webhook id":  func(b *models.Binding) { b.WebhookID = "another" },
		"fingerprint": func(b *models.Binding) { b.Fingerprint = canarySecret(t, 3).Hash() },
		"seal key":    func(b *models.Binding) { b.SealKey = "1 X25519 AAAA" },
		"sign key":    func(b *models.Binding) { b.SignKey = "" },
	}
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x"})
		w.sync("")
		genuine, _ := w.binding(models.BindingActive)
		ask := func() (vaults.Ticket, error) {
			return w.CredentialTicket(t.Context(), w.user, w.client, vaults.CredentialTicketInput{ServiceName: "github", Purpose: wire.PurposeUserReveal})
		}
		for name, change := range changes {
			forged := genuine
			change(&forged)
			if err := db.PutBinding(t.Context(), &forged); err != nil {
				t.Fatal(err)
			}
			if ticket, err := ask(); fault.CodeOf(err) != fault.Unavailable || ticket.Ticket != "" {
				t.Errorf("changed %s: a ticket for %q, %v; want UNAVAILABLE and none", name, ticket.WebhookURL, err)
			}
		}
		w.wantEvents(audit.Reveal)
		if err := db.PutBinding(t.Context(), &genuine); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(); err != nil {
			t.Errorf("as it was bound: %v, want a ticket", err)
		}
	})
}
