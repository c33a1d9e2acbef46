package store_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// reported is a token as a webhook reports it: without what the index adds.
func reported(service, creation string) models.Token {
	return models.Token{
		ServiceName: service, TokenType: "ApiKey", DisplayName: "the " + service, Tags: []string{"prod"},
		CreationID: creation, StoredAt: models.StampPtr(at),
	}
}

func TestSyncKeepsWhatTheIndexAlreadyKnows(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		known := newToken(t, vault, "github")
		ok(t, s.PutToken(t.Context(), &known))
		c := watch(s)
		tells(t, c, vault.AccountID, "sync", func() error {
			n, err := s.SyncTokens(t.Context(), vault.AccountID, vault.ID, []models.Token{reported("github", "2")}, false)
			same(t, "changed", n, 1)
			return err
		})
		got, err := s.Token(t.Context(), vault.AccountID, vault.ID, "github")
		ok(t, err)
		want := reported("github", "2")
		want.AccountID, want.VaultID, want.ID, want.CreatedAt = known.AccountID, known.VaultID, known.ID, known.CreatedAt
		want.SeenAt, want.SeenPath, want.SeenCreationID = known.SeenAt, known.SeenPath, known.SeenCreationID
		if !got.UpdatedAt.After(known.UpdatedAt) {
			t.Fatalf("updated at: got %v, want after %v", got.UpdatedAt, known.UpdatedAt)
		}
		want.UpdatedAt = got.UpdatedAt
		same(t, "token", got, want)

		silent(t, c, "the same once more", func() error {
			n, err := s.SyncTokens(t.Context(), vault.AccountID, vault.ID, []models.Token{reported("github", "2")}, true)
			same(t, "changed", n, 0)
			return err
		})
		again, err := s.Token(t.Context(), vault.AccountID, vault.ID, "github")
		ok(t, err)
		same(t, "token after a sync without news", again, want)
	})
}

func TestAReportMayAddThatTheServerSawAToken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		sync := func(found models.Token, changed int) models.Token {
			n, err := s.SyncTokens(t.Context(), vault.AccountID, vault.ID, []models.Token{found}, true)
			ok(t, err)
			same(t, "changed", n, changed)
			got, err := s.Token(t.Context(), vault.AccountID, vault.ID, "github")
			ok(t, err)
			return got
		}
		seen := func(creation, path string) models.Token {
			x := reported("github", creation)
			x.SeenAt, x.SeenPath, x.SeenCreationID = models.StampPtr(at), path, creation
			return x
		}
		same(t, "a new token", sync(reported("github", "1"), 1).SeenByServer(), false)
		got := sync(seen("1", "moved"), 1)
		same(t, "the same, seen", got.SeenByServer(), true)
		same(t, "path", got.SeenPath, "moved")
		later := seen("1", "otherwise")
		later.SeenAt = models.StampPtr(at.Add(time.Hour))
		same(t, "what is known of a creation stays", sync(later, 0), got)
		same(t, "a report that says nothing takes nothing back", sync(reported("github", "1"), 0), got)
		same(t, "replaced", sync(reported("github", "2"), 1).SeenByServer(), false)
		same(t, "replaced by one that was seen", sync(seen("3", "moved"), 1).SeenByServer(), true)
	})
}

func TestSyncNoticesEachReportedField(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		full := newToken(t, vault, "github")
		ok(t, s.PutToken(t.Context(), &full))
		for name, alter := range map[string]func(*models.Token){
			"type": func(x *models.Token) { x.TokenType = "" }, "display name": func(x *models.Token) { x.DisplayName = "" },
			"notes": func(x *models.Token) { x.Notes = "" }, "tags": func(x *models.Token) { x.Tags = nil },
			"provider": func(x *models.Token) { x.Provider = "" }, "creation": func(x *models.Token) { x.CreationID = "" },
			"expiry": func(x *models.Token) { x.ExpiresAt = nil }, "stored": func(x *models.Token) { x.StoredAt = &at },
			"refresh token": func(x *models.Token) { x.HasRefreshToken = false }, "certificate": func(x *models.Token) { x.HasCertificate = false },
			"private key": func(x *models.Token) { x.HasPrivateKey = false }, "ssh key": func(x *models.Token) { x.HasSSHKey = false },
			"totp": func(x *models.Token) { x.HasTOTPSecret = false },
		} {
			altered := full
			alter(&altered)
			for _, found := range []models.Token{altered, full} {
				n, err := s.SyncTokens(t.Context(), vault.AccountID, vault.ID, []models.Token{found}, true)
				ok(t, err)
				same(t, "rows changed by another "+name, n, 1)
			}
		}
	})
}

func TestSyncRefusesWhatCannotBeKept(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		good := reported("good", "1")
		for _, bad := range []models.Token{reported("", "1"), reported("a\x00b", "1"), reported("b", "\xff")} {
			n, err := s.SyncTokens(t.Context(), vault.AccountID, vault.ID, []models.Token{good, bad}, true)
			wantErr(t, err, models.ErrInvalid)
			same(t, "changed", n, 0)
		}
		_, err := s.SyncTokens(t.Context(), vault.AccountID, models.NewID(), []models.Token{good}, true)
		wantErr(t, err, models.ErrNotFound)
		tokens, err := s.Tokens(t.Context(), vault.AccountID, vault.ID, "", 0)
		ok(t, err)
		same(t, "tokens", len(tokens), 0)
	})
}

// The index follows a webhook through any sequence of whole and partial reports,
// with duplicates, and never gives a known name another id.
func TestSyncFollowsTheWebhook(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		s.SetSyncBatch(4)
		rapid.Check(t, func(r *rapid.T) {
			vault := newVault(t, s, models.ModeWebhook)
			model := map[string]string{} // service name → creation id
			ids := map[string]uuid.UUID{}
			for range rapid.IntRange(1, 4).Draw(r, "syncs") {
				complete := rapid.Bool().Draw(r, "complete")
				report := rapid.SliceOfN(rapid.IntRange(0, 12), 0, 10).Draw(r, "report")
				var found []models.Token
				next := map[string]string{}
				for i, n := range report {
					name, creation := "s"+strconv.Itoa(n), strconv.Itoa(i%3)
					found = append(found, reported(name, creation))
					next[name] = creation
				}
				changed := 0
				for name, creation := range next {
					if old, known := model[name]; !known || old != creation {
						changed++
					}
				}
				for name, creation := range model {
					if _, reported := next[name]; reported {
						continue
					}
					if complete {
						changed++
						delete(ids, name)
					} else {
						next[name] = creation
					}
				}
				model = next
				n, err := s.SyncTokens(t.Context(), vault.AccountID, vault.ID, found, complete)
				if err != nil || n != changed {
					r.Fatalf("sync: got %d changed, %v; want %d", n, err, changed)
				}
				checkIndex(r, t, s, vault, model, ids)
			}
		})
	})
}

func checkIndex(r *rapid.T, t *testing.T, s *store.Store, vault models.Vault, model map[string]string, ids map[string]uuid.UUID) {
	tokens, err := s.Tokens(t.Context(), vault.AccountID, vault.ID, "", 0)
	if err != nil || len(tokens) != len(model) {
		r.Fatalf("index: got %d tokens, %v; want %d", len(tokens), err, len(model))
	}
	for _, token := range tokens {
		if creation, known := model[token.ServiceName]; !known || creation != token.CreationID {
			r.Fatalf("token %q: got creation %q, want %q", token.ServiceName, token.CreationID, creation)
		}
		if id, known := ids[token.ServiceName]; known && id != token.ID {
			r.Fatalf("token %q: got id %v, want the old one, %v", token.ServiceName, token.ID, id)
		}
		ids[token.ServiceName] = token.ID
	}
}

func TestSyncOfALargeVaultWorksInBatches(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		s.SetSyncBatch(10)
		const size = 52 // more than five batches
		var found []models.Token
		for i := range size {
			found = append(found, reported(fmt.Sprintf("s%05d", i), "1"))
		}
		sync := func(found []models.Token, complete bool, want int) {
			n, err := s.SyncTokens(t.Context(), vault.AccountID, vault.ID, found, complete)
			ok(t, err)
			same(t, "changed", n, want)
		}
		c := watch(s)
		sync(found, true, size)
		same(t, "told once a batch", len(c.take()), 6)
		sync(found, true, 0)
		same(t, "told of nothing new", len(c.take()), 0)

		kept := slices.DeleteFunc(slices.Clone(found), func(t models.Token) bool { return t.ServiceName >= "s00005" && t.ServiceName < "s00040" })
		kept[3].CreationID = "2"
		sync(kept, false, 1)
		sync(kept, true, 35)
		sync(nil, false, 0)
		sync(nil, true, size-35)
	})
}

func TestConcurrentSyncsOfOneVaultAgree(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		s.SetSyncBatch(10)
		errs := together(6, func(i int) error {
			var found []models.Token
			for n := range 35 {
				found = append(found, reported(fmt.Sprintf("s%05d", n), strconv.Itoa(i)))
			}
			_, err := s.SyncTokens(t.Context(), vault.AccountID, vault.ID, found, i%2 == 0)
			return err
		})
		for _, err := range errs {
			ok(t, err)
		}
		tokens, err := s.Tokens(t.Context(), vault.AccountID, vault.ID, "", 0)
		ok(t, err)
		same(t, "tokens", len(tokens), 35)
	})
}

func BenchmarkSyncOfAHundredThousandTokens(b *testing.B) {
	var found []models.Token
	for i := range 100_000 {
		found = append(found, reported(fmt.Sprintf("s%06d", i), "1"))
	}
	for _, dialect := range storetest.Dialects {
		b.Run(dialect, func(b *testing.B) {
			s := storetest.Open(b, storetest.URL(b, dialect))
			account := models.Account{ID: models.NewID(), Email: "a@example.com"}
			vault := models.Vault{AccountID: account.ID, ID: models.NewID(), Mode: models.ModeWebhook}
			if err := s.CreateAccount(b.Context(), &account); err != nil {
				b.Fatal(err)
			}
			if err := s.CreateVault(b.Context(), &vault); err != nil {
				b.Fatal(err)
			}
			for _, want := range []int{100_000, 0} {
				b.Run(fmt.Sprintf("%d new", want), func(b *testing.B) {
					n, err := s.SyncTokens(b.Context(), account.ID, vault.ID, found, true)
					if err != nil || n != want {
						b.Fatalf("got %d changed, %v; want %d", n, err, want)
					}
				})
			}
		})
	}
}
