package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// The statements that requests wait for go through an index, also when the
// planner knows of many rows.
func TestHotStatementsUseTheirIndexes(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.Postgres)
	s := storetest.Open(t, url)
	db := rawDB(t, store.Postgres, url)
	const many = 3000
	for _, statement := range []string{
		`INSERT INTO accounts SELECT id, id::text, '', NULL, NULL, now(), now() FROM ids`,
		`INSERT INTO vaults SELECT id, id, 'webhook', now(), 1, NULL, 0, NULL FROM ids`,
		`INSERT INTO grants SELECT id, id, 'session', '', NULL, NULL, NULL, '', '', now(), NULL, NULL, NULL, 0, NULL, NULL FROM ids`,
		`INSERT INTO grant_keys SELECT id, id, 1, 0, NULL, now(), NULL, 0, NULL FROM ids`,
		`INSERT INTO agents SELECT id, id, 'a', '', 'active', id, now(), now(), NULL FROM ids`,
		`INSERT INTO credential_grants SELECT id, id, 'github', id, 'auto', NULL, now(), 0, NULL FROM ids`,
		`INSERT INTO tokens SELECT id, id, id, 'github', '', '', '', NULL, '', '', NULL, false, false, false, false, false, NULL, NULL, '', '', now(), now() FROM ids`,
		`INSERT INTO credentials SELECT id, id, id, 1, 1, 1, '\x00', NULL, now() FROM ids`,
		`INSERT INTO credential_keys SELECT id, id, id, -1, 1, 'shared', NULL, '\x00', now(), 0, '\x00' FROM ids`,
		`INSERT INTO vault_keys SELECT id, id, id, 1, 1, 'slot', NULL, '\x00', now(), 0, '\x00' FROM ids`,
		`INSERT INTO successors SELECT id, id, 1, 2, '\x00', now(), NULL FROM ids`,
		`INSERT INTO escrows SELECT id, id, id, 1, id, id, '\x00', 'pending', now(), now() + interval '1 day', NULL, 0, '\x00' FROM ids`,
		`INSERT INTO refreshes SELECT id, id FROM ids`,
		`INSERT INTO outbox SELECT id, id, '1', 1, '', '\x00', now(), now() FROM ids`,
		`INSERT INTO audit_events SELECT id, id, id, 1, now(), '', '', '', '', NULL, NULL, '', '', '', '', '\x00' FROM ids`,
	} {
		with := fmt.Sprintf("WITH ids AS (SELECT md5(n::text)::uuid AS id FROM generate_series(1, %d) AS n) ", many)
		_, err := db.ExecContext(t.Context(), with+statement)
		ok(t, err)
	}
	_, err := db.ExecContext(t.Context(), "ANALYZE")
	ok(t, err)
	var id string
	ok(t, db.QueryRowContext(t.Context(), "SELECT id FROM accounts LIMIT 1").Scan(&id))

	account, plans := uuid.MustParse(id), s.CapturePlans()
	for name, err := range map[string]error{
		"GrantWithKey":    second(s.GrantWithKey(t.Context(), account, account, 1)),
		"AgentWithGrants": second(s.AgentWithGrants(t.Context(), account, account)),
		"Account":         first(s.Account(t.Context(), account)),
		"AccountByEmail":  first(s.AccountByEmail(t.Context(), id)),
		"WebhookVault":    first(s.WebhookVault(t.Context(), account)),
		"Token":           first(s.Token(t.Context(), account, account, "github")),
		"Tokens":          first(s.Tokens(t.Context(), account, account, "a", 10)),
		"FindTokens":      first(s.FindTokens(t.Context(), account, account, models.TokenFilter{Text: "a", Tag: "b", Order: models.OrderExpiry, Limit: 10})),
		"TokenLabels":     second(s.TokenLabels(t.Context(), account, account)),
		"AuditHistory":    first(s.AuditHistory(t.Context(), account, "github", []string{"release", "reveal"}, 10)),
		"AuditEvents":     first(s.AuditEvents(t.Context(), account, models.AuditFilter{ServiceName: "github", Limit: 10})),
		"AuditSeries":     first(s.AuditSeries(t.Context(), account, models.AuditSeries{Since: at, Until: at.Add(time.Hour), Bucket: time.Minute})),
		"StreamEvents":    first(s.StreamEvents(t.Context(), account, 0, 10)),
		"TouchGrants":     s.TouchGrants(t.Context(), []models.GrantUse{{AccountID: account, GrantID: account, At: at}}),
		"Vault":           first(s.Vault(t.Context(), account, account)),
		"VaultKeys":       first(s.VaultKeys(t.Context(), account, account, account, 1)),
		"VaultGrants":     first(s.VaultGrants(t.Context(), account, account)),
		"Grant":           first(s.Grant(t.Context(), account, account)),
		"GrantKeys":       first(s.GrantKeys(t.Context(), account, account)),
		"TokenByRef":      first(s.TokenByRef(t.Context(), account, account, "", "", "github", "")),
		"VaultTokens":     first(s.VaultTokens(t.Context(), account, account)),
		"Credential":      first(s.Credential(t.Context(), account, account)),
		"Credentials":     first(s.Credentials(t.Context(), account, account)),
		"CredentialKeys":  first(s.CredentialKeys(t.Context(), account, account)),
		"AgentKeys":       first(s.AgentKeys(t.Context(), account, account)),
		"VaultAgents":     first(s.VaultAgentGrants(t.Context(), account, account)),
		"TokenGrants":     first(s.TokenGrants(t.Context(), account, account)),
		"Successor":       first(s.Successor(t.Context(), account, account, 1)),
		"SuccessorSeen":   s.SuccessorSeen(t.Context(), account, account, 1, at),
		"Escrow":          first(s.Escrow(t.Context(), account, account)),
		"Escrows":         first(s.Escrows(t.Context(), account)),
		"PendingEscrows":  first(s.PendingEscrows(t.Context(), account)),
		"ExpiredEscrows":  first(s.ExpiredEscrows(t.Context(), at, 10)),
		"Refresh":         first(s.Refresh(t.Context(), account, account)),
		"Refreshes":       first(s.Refreshes(t.Context(), account, []uuid.UUID{account})),
		"ScheduleRefresh": s.ScheduleRefresh(t.Context(), account, account, &at),
		"TakeLease":       first(s.TakeLease(t.Context(), account, account, 0)),
		"TakeLeases":      second(s.TakeLeases(t.Context(), account, []uuid.UUID{account}, 0)),
		"FinishLease":     lost(s.FinishLease(t.Context(), models.Lease{AccountID: account, TokenID: account}, models.Refresh{})),
		"EndLease":        s.EndLease(t.Context(), models.Lease{AccountID: account, TokenID: account}),
		"Outbox":          first(s.Outbox(t.Context(), account, account)),
		"DeleteOutbox":    s.DeleteOutbox(t.Context(), account, account, "2", 1),
		"CredentialForAgent": s.InTx(t.Context(), func(ctx context.Context) error { // as SQLite asks it
			return fourth(s.CredentialForAgent(ctx, account, account, account))
		}),
		"EndGrant":    s.EndGrant(t.Context(), account, account, at),
		"DeleteAgent": s.DeleteAgent(t.Context(), account, account),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	got := append(plans(t), s.ReleasePlan(t, account))
	if len(got) < 46 {
		t.Fatalf("got %d plans, want one for each statement", len(got))
	}
	for _, plan := range got {
		if strings.Contains(plan, "Seq Scan") {
			t.Errorf("no index is used:\n%s", plan)
		}
	}
}

// lost expects that a lease was not the caller's.
func lost(err error) error {
	if errors.Is(err, models.ErrLeaseLost) {
		return nil
	}
	return fmt.Errorf("got %w, want ErrLeaseLost", err)
}

func fourth[A, B, C any](_ A, _ B, _ C, err error) error { return err }

func first[A any](_ A, err error) error { return err }
