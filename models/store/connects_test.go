package store_test

import (
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestAConnectionComesBackOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		account, other := newAccount(t, s).ID, newAccount(t, s).ID
		id, until := models.NewID(), time.Now().Add(time.Minute)
		errs := together(8, func(int) error { return s.UseConnect(t.Context(), account, id, until) })
		none, _ := count(t, errs, models.ErrConflict)
		same(t, "callers for whom it was the first time", none, 1)
		wantErr(t, s.UseConnect(t.Context(), account, id, until), models.ErrConflict)
		ok(t, s.UseConnect(t.Context(), account, models.NewID(), until))
		ok(t, s.UseConnect(t.Context(), other, id, until))
		wantErr(t, s.UseConnect(t.Context(), models.NewID(), id, until), models.ErrNotFound)
	})
}

func TestUsedConnectionsGoWhenTheyAreOver(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		dialect := store.Postgres
		if url[:7] == "sqlite:" {
			dialect = store.SQLite
		}
		account, other := newAccount(t, s).ID, newAccount(t, s).ID
		ok(t, s.UseConnect(t.Context(), other, models.NewID(), time.Now().Add(-time.Minute)))
		for range 3 { // each takes the one before along
			ok(t, s.UseConnect(t.Context(), account, models.NewID(), time.Now().Add(-time.Minute)))
		}
		live := models.NewID()
		ok(t, s.UseConnect(t.Context(), account, live, time.Now().Add(time.Minute)))
		left := texts(t, rawDB(t, dialect, url), "SELECT CAST(id AS text) FROM used_connects WHERE account_id = '"+account.String()+"'")
		same(t, "rows left of the account", left, []string{live.String()})
	})
}
