package store_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// The record of an account stays: it only grows.
var outlives = []string{"audit_events", "audit_blocks", "audit_checkpoints"}

// accountTables are all tables of which rows belong to an account.
func accountTables(t *testing.T, dialect string, db *sql.DB) (names []string) {
	t.Helper()
	query := "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'account_id'"
	if dialect == store.SQLite {
		query = "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'account_id'"
	}
	for _, name := range texts(t, db, query) {
		if !slices.Contains(outlives, name) {
			names = append(names, name)
		}
	}
	return names
}

func TestADeletedAccountLeavesNothingButItsRecord(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		fillPlatform(t, s)
		db := rawDB(t, s.Dialect(), url)
		account := uuid.MustParse(texts(t, db, "SELECT CAST(account_id AS text) FROM escrows")[0])
		f := newFactor(t, account)
		ok(t, s.PutSecondFactor(t.Context(), &f))
		ok(t, s.ReplaceRecoveryCodes(t.Context(), account, []models.RecoveryCode{{AccountID: account, Hash: models.Opaque("a"), CreatedAt: at}}))
		p := filled[models.Passkey](t)
		p.AccountID = account
		ok(t, s.CreatePasskey(t.Context(), &p))
		ok(t, s.UseConnect(t.Context(), account, models.NewID(), at))
		ok(t, s.AppendAudit(t.Context(), stream(account, 2)))
		agent := newAgent(t, s, account)
		granted := filled[models.CredentialGrant](t)
		granted.AccountID, granted.AgentID = account, agent.ID
		ok(t, s.PutCredentialGrant(t.Context(), &granted))
		other := newAccount(t, s)

		var told []uuid.UUID
		s.OnChange(func(id uuid.UUID) { told = append(told, id) })
		ok(t, s.DeleteAccount(t.Context(), account))
		same(t, "who is told", told, []uuid.UUID{account})
		for _, table := range accountTables(t, s.Dialect(), db) {
			if left := texts(t, db, "SELECT CAST(account_id AS text) FROM "+table+" WHERE CAST(account_id AS text) = '"+account.String()+"'"); len(left) > 0 {
				t.Errorf("%s has %d rows of the deleted account", table, len(left))
			}
		}
		_, err := s.Account(t.Context(), account)
		wantErr(t, err, models.ErrNotFound)
		wantErr(t, s.DeleteAccount(t.Context(), account), models.ErrNotFound)
		page, err := s.AuditEvents(t.Context(), account, models.AuditFilter{Limit: 10})
		ok(t, err)
		same(t, "events on record", len(page), 2)
		_, err = s.Account(t.Context(), other.ID)
		ok(t, err)
	})
}

// Deleting an account deletes its rows of every table there is: one that is new either
// goes with its account by itself, or is named where accounts are deleted.
func TestEveryTableOfAnAccountGoesWithIt(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t, store.SQLite)
	db := rawDB(t, store.SQLite, url)
	for _, table := range accountTables(t, store.SQLite, db) {
		cascades := texts(t, db, "SELECT on_delete FROM pragma_foreign_key_list('"+table+"')")
		if !slices.Contains(store.Owned(), table) && !strings.Contains(strings.Join(cascades, " "), "CASCADE") {
			t.Errorf("rows of %s would stay when their account is deleted, or keep it from being deleted", table)
		}
	}
}
