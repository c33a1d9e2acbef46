package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestUnusableURLIsRefusedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                    "must be sqlite:PATH or postgres://",
		"mysql://u:hunter2@h/db":              "must be sqlite:PATH or postgres://",
		"sqlite:":                             "sqlite:PATH",
		"sqlite::memory:":                     "loses everything at exit",
		"sqlite:file::memory:?cache=shared":   "loses everything at exit",
		"sqlite:/nowhere/at/all/x.db":         "cannot be opened",
		"postgres://u:hunter2@127.0.0.1:1/db": "does not answer",
		"postgres://u:hunter2@127.0.0.1:1/db?sslmode=what": "sslmode",
		"postgres://u:hunter2@h:port:/db":                  "parse",
	} {
		_, err := store.Open(t.Context(), store.Options{URL: url})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want one with %q", url, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the password is in the error %q", url, err)
		}
	}
}

func TestSQLiteFileIsPrivateAndMayHaveAnyName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain.db", "a b%20?c#d&_pragma=foreign_keys(0).db", "ünïcode:x.db"} {
		dir := t.TempDir()
		s := storetest.Open(t, "sqlite:"+filepath.Join(dir, name))
		ok(t, s.Migrate(t.Context()))
		newAccount(t, s)
		vault := models.Vault{AccountID: models.NewID(), ID: models.NewID()}
		wantErr(t, s.CreateVault(t.Context(), &vault), models.ErrNotFound) // foreign keys are on
		entries, err := os.ReadDir(dir)
		ok(t, err)
		for _, entry := range entries {
			info, err := entry.Info()
			ok(t, err)
			if !strings.HasPrefix(entry.Name(), name) {
				t.Errorf("file %q: want only files of %q", entry.Name(), name)
			}
			if perm := info.Mode() & fs.ModePerm; strings.HasSuffix(entry.Name(), "-migrate") && info.Size() == 0 {
				continue // an empty lock
			} else if perm != 0o600 {
				t.Errorf("%s: got mode %v, want 0600", entry.Name(), perm)
			}
		}
	}
}

func TestDialectIsNamed(t *testing.T) {
	t.Parallel()
	for _, dialect := range storetest.Dialects {
		s := storetest.Open(t, storetest.Blank(t, dialect))
		same(t, "dialect", s.Dialect(), dialect)
	}
}

func TestDataOutlivesTheStore(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), store.Options{URL: url})
		ok(t, err)
		a := newAccount(t, s)
		events := stream(a.ID, 3)
		ok(t, s.AppendAudit(t.Context(), events))
		ok(t, s.Close())
		if err := s.AppendAudit(t.Context(), stream(a.ID, 1)); err == nil {
			t.Fatal("audit after Close: got no error, want one")
		}
		if _, err := s.Account(t.Context(), a.ID); err == nil {
			t.Fatal("read after Close: got no error, want one")
		}

		again := storetest.Open(t, url)
		got, err := again.Account(t.Context(), a.ID)
		ok(t, err)
		same(t, "account", got, a)
		wantEvents(t, again, a.ID, models.AuditFilter{}, newestFirst(events))
	})
}
