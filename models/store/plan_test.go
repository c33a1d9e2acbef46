package store_test

import (
	"fmt"
	"strings"
	"testing"

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
		`INSERT INTO vaults SELECT id, id, 'webhook', now() FROM ids`,
		`INSERT INTO grants SELECT id, id, 'session', '', NULL, NULL, NULL, '', '', now(), NULL, NULL, NULL, 0, NULL FROM ids`,
		`INSERT INTO grant_keys SELECT id, id, 1, 0, NULL, now(), NULL, 0, NULL FROM ids`,
		`INSERT INTO agents SELECT id, id, 'a', '', 'active', id, now(), now(), NULL FROM ids`,
		`INSERT INTO credential_grants SELECT id, id, 'github', id, 'auto', NULL, now(), 0, NULL FROM ids`,
		`INSERT INTO tokens SELECT id, id, id, 'github', '', '', '', NULL, '', '', NULL, false, false, false, false, false, NULL, NULL, '', '', now(), now() FROM ids`,
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
		"AuditEvents":     first(s.AuditEvents(t.Context(), account, models.AuditFilter{ServiceName: "github", Limit: 10})),
		"StreamEvents":    first(s.StreamEvents(t.Context(), account, 0, 10)),
		"LastInStream":    first(s.LastInStream(t.Context(), account)),
		"TouchGrants":     s.TouchGrants(t.Context(), []models.GrantUse{{AccountID: account, GrantID: account, At: at}}),
		"EndGrant":        s.EndGrant(t.Context(), account, account, at),
		"DeleteAgent":     s.DeleteAgent(t.Context(), account, account),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	got := plans(t)
	if len(got) < 13 {
		t.Fatalf("got %d plans, want one for each statement", len(got))
	}
	for _, plan := range got {
		if strings.Contains(plan, "Seq Scan") {
			t.Errorf("no index is used:\n%s", plan)
		}
	}
}

func first[A any](_ A, err error) error { return err }
