package store_test

import (
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// newToken is a token that its service name alone names.
func newToken(t *testing.T, v models.Vault, service string) models.Token {
	t.Helper()
	token := filled[models.Token](t)
	token.AccountID, token.VaultID, token.ServiceName = v.AccountID, v.ID, service
	token.Owner, token.Bridge, token.Scheme, token.SupersededAt = "", "", "", nil
	return token
}

func TestTokenComesBackWholeAndIsReplaced(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		want := newToken(t, vault, "github")
		tells(t, watch(s), vault.AccountID, "put", func() error { return s.PutToken(t.Context(), &want) })
		got, err := s.Token(t.Context(), vault.AccountID, vault.ID, "github")
		ok(t, err)
		same(t, "by name", got, want)
		got, err = s.TokenByID(t.Context(), vault.AccountID, want.ID)
		ok(t, err)
		same(t, "by id", got, want)

		bare := models.Token{
			AccountID: vault.AccountID, ID: want.ID, VaultID: vault.ID, ServiceName: "gitlab",
			CreatedAt: want.CreatedAt, UpdatedAt: want.UpdatedAt,
		}
		ok(t, s.PutToken(t.Context(), &bare))
		got, err = s.TokenByID(t.Context(), vault.AccountID, want.ID)
		ok(t, err)
		same(t, "replaced by one with empty columns", got, bare)
		_, err = s.Token(t.Context(), vault.AccountID, vault.ID, "github")
		wantErr(t, err, models.ErrNotFound)
	})
}

func TestServiceNameIsUniqueInItsVaultOnly(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		errs := together(8, func(int) error {
			token := newToken(t, vault, "github")
			return s.PutToken(t.Context(), &token)
		})
		none, _ := count(t, errs, models.ErrConflict)
		same(t, "tokens of one name", none, 1)

		second := models.Vault{AccountID: vault.AccountID, ID: models.NewID(), Mode: models.ModePlatform}
		ok(t, s.CreateVault(t.Context(), &second))
		token := newToken(t, second, "github")
		ok(t, s.PutToken(t.Context(), &token))
		token.ID, token.VaultID = models.NewID(), models.NewID()
		wantErr(t, s.PutToken(t.Context(), &token), models.ErrNotFound)
	})
}

func TestDeletedTokenIsNotFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		token := newToken(t, vault, "github")
		ok(t, s.PutToken(t.Context(), &token))
		tells(t, watch(s), vault.AccountID, "delete", func() error {
			return s.DeleteToken(t.Context(), vault.AccountID, vault.ID, "github")
		})
		for _, service := range []string{"github", "a\x00b", "a\xffb"} {
			wantErr(t, s.DeleteToken(t.Context(), vault.AccountID, vault.ID, service), models.ErrNotFound)
			_, err := s.Token(t.Context(), vault.AccountID, vault.ID, service)
			wantErr(t, err, models.ErrNotFound)
		}
		_, err := s.TokenByID(t.Context(), vault.AccountID, token.ID)
		wantErr(t, err, models.ErrNotFound)
	})
}

func TestTokensAreListedByTheBytesOfTheirNames(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault := newVault(t, s, models.ModeWebhook)
		sorted := []string{"-x", "A", "Z", "_y", "a", "a b", "a-b", "b", "z", "ä"}
		for i := range sorted {
			token := newToken(t, vault, sorted[(i*7)%len(sorted)])
			ok(t, s.PutToken(t.Context(), &token))
		}
		names := func(after string, limit int) []string {
			tokens, err := s.Tokens(t.Context(), vault.AccountID, vault.ID, after, limit)
			ok(t, err)
			var names []string
			for _, token := range tokens {
				names = append(names, token.ServiceName)
			}
			return names
		}
		same(t, "all", names("", 0), sorted)
		same(t, "page", names("Z", 3), sorted[3:6])
		same(t, "after the last", len(names("ä", 3)), 0)
	})
}
