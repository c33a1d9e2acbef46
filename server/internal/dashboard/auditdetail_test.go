package dashboard

import (
	"testing"

	"github.com/tvzero/tokenvault/models"
)

// What services write into the record is for programs and for whoever verifies it.
func TestDetailsOfTheRecordAreToldInWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, detail, what, words string }{
		{"ticket", "purpose=store", "Ticket signed for your browser", "To store it at your webhook"},
		{"ticket", "purpose=store mode=create", "Ticket signed for your browser", "To store it at your webhook, under a name that is free"},
		{"ticket", "purpose=store mode=overwrite", "Ticket signed for your browser", "To store it at your webhook, also in place of what it has"},
		{"ticket", "purpose=totp_code", "Ticket signed for your browser", "For a one-time code of your webhook"},
		{"ticket", "purpose=connect", "Ticket signed for your browser", "To connect its account at your webhook"},
		{"ticket", "purpose=agent_credential probe=deny_list (a name that no token has)", "Webhook checked", "With a ticket for a name that no token has: is this server's address refused?"},
		{"ticket", "purpose=novelty", "Ticket signed for your browser", "Purpose=novelty"},
		{"reveal", "purpose=user_reveal", "Shown to you", "By your webhook, with a ticket"},
		{"reveal", "to revoke it at its provider", "Shown to you", "To revoke it at its provider"},
		{"reveal", "", "Shown to you", ""},
		{"lock", "lock", "Vault locked", ""},
		{"lock", "unlock", "Vault unlocked", ""},
		{"lock", "", "Vault locked or unlocked", ""},
		{"bind", "bind url=https://hook.example fingerprint=0123456789abcdef", "Webhook bound", "https://hook.example, fingerprint 01234567…"},
		{"bind", "unbind url=https://hook.example fingerprint=0123456789abcdef", "Webhook unbound", "https://hook.example, fingerprint 01234567…"},
		{"bind", "forget a bind that was interrupted url=https://hook.example fingerprint=0", "Webhook bound or unbound", "Forget a bind that was interrupted: https://hook.example, fingerprint 0…"},
		{"refresh", "path=tv-mediated outcome=rotated", "Refreshed", "Through this server"},
		{"refresh", "path=tv-mediated: the webhook is asked for the refresh token", "Refreshed", "Through this server; the webhook is asked for the refresh token"},
		{"refresh", "path=notify outcome=retry_at reason=unreachable", "Refreshed", "By your webhook"},
		{"refresh", "path=platform outcome=rotated scopes=changed", "Refreshed", "Here, with the key of who read it; other scopes"},
		{"refresh", "unheard of", "Refreshed", "Unheard of"},
		{"grant_given", "until revoked", "Access given", "Until revoked"},
		{"grant_given", "for 12h0m0s", "Access given", "For 12 hours"},
		{"grant_given", "for 168h0m0s", "Access given", "For 7 days"},
		{"grant_given", "for 1h0m0s", "Access given", "For 1 hour"},
		{"grant_given", "for 90m0s", "Access given", "For 90 minutes"},
		{"grant_given", "for ever", "Access given", "For ever"},
		{"agent_changed", "status suspended", "Agent changed", "Suspended"},
		{"agent_changed", "name porter, description", "Agent changed", "Renamed to porter, description"},
		{"store", "the webhook lists it anew or changed", "Stored or changed", "Your webhook lists it as new, or changed"},
		{"store", "metadata changed: displayName, tags", "Stored or changed", "Metadata changed: display name, tags"},
		{"store", "moved from platform mode to the webhook url=https://hook.example: seen by this server", "Stored or changed", "Moved from platform mode to the webhook: seen by this server"},
		{"store", "connected at google as a@b.example", "Stored or changed", "Connected at google as a@b.example"},
		{"key_changed", "über", "Key or session changed", "Über"},
		{"key_changed", "\xff", "Key or session changed", "\xff"},
	} {
		e := models.AuditEvent{EventType: c.kind, Detail: c.detail}
		if got := happened(e); got != c.what {
			t.Errorf("%s %q happened as %q, want %q", c.kind, c.detail, got, c.what)
		}
		if got := detailWords(e); got != c.words {
			t.Errorf("%s %q says %q, want %q", c.kind, c.detail, got, c.words)
		}
	}
}
