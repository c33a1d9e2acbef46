package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

// shelf puts tokens into a vault, each as change makes it, and returns what finds them.
func shelf(t *testing.T, s *store.Store, tokens map[string]func(*models.Token)) (models.Vault, func(models.TokenFilter) string) {
	t.Helper()
	vault := newVault(t, s, models.ModeWebhook)
	for name, change := range tokens {
		token := newToken(t, vault, name)
		token.TokenType, token.DisplayName, token.Notes, token.Tags = "PlainText", "", "", nil
		token.ExpiresAt, token.StoredAt = nil, nil
		change(&token)
		ok(t, s.PutToken(t.Context(), &token))
	}
	return vault, func(f models.TokenFilter) string {
		t.Helper()
		found, err := s.FindTokens(t.Context(), vault.AccountID, vault.ID, f)
		ok(t, err)
		names := make([]string, len(found))
		for i, token := range found {
			names[i] = token.ServiceName
		}
		n, err := s.CountFoundTokens(t.Context(), vault.AccountID, vault.ID, f)
		ok(t, err)
		if f.Limit == 0 && f.After == nil && n != len(found) {
			t.Errorf("%+v: counted %d, found %d", f, n, len(found))
		}
		return strings.Join(names, " ")
	}
}

func TestTokensAreFoundByTheirTextsTypesAndTags(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		_, find := shelf(t, s, map[string]func(*models.Token){
			"github":     func(t *models.Token) { t.DisplayName, t.Tags = "Work account", []string{"ci", "prod"} },
			"gitlab":     func(t *models.Token) { t.Notes, t.Tags = "line one\nsecond LINE", []string{"CI"} },
			"google":     func(t *models.Token) { t.TokenType, t.Tags = "OAuth", []string{`a","ci`, "100%"} },
			"mail":       func(t *models.Token) { t.TokenType, t.DisplayName = "OAuth", "Überall 100 percent" },
			"under_dash": func(t *models.Token) { t.Tags = []string{} },
			"odd":        func(t *models.Token) { t.Tags = []string{`quote"back\slash`, "<b>", "o'hara", "!"} },
		})
		for _, c := range []struct {
			filter models.TokenFilter
			want   string
		}{
			{models.TokenFilter{}, "github gitlab google mail odd under_dash"},
			{models.TokenFilter{Text: "GIT"}, "github gitlab"},
			{models.TokenFilter{Text: "work ACC"}, "github"},
			{models.TokenFilter{Text: "second line"}, "gitlab"},
			{models.TokenFilter{Text: "prod"}, "github"},
			{models.TokenFilter{Text: "ci"}, "github gitlab google"},
			{models.TokenFilter{Text: "%"}, "google"},
			{models.TokenFilter{Text: "_"}, "under_dash"},
			{models.TokenFilter{Text: "!"}, "odd"},
			{models.TokenFilter{Text: `"back\s`}, "odd"},
			{models.TokenFilter{Text: "Über"}, "mail"},
			{models.TokenFilter{Text: "ÜBER"}, "mail"},
			{models.TokenFilter{Text: "über"}, ""},
			{models.TokenFilter{Text: "' OR 1=1 --"}, ""},
			{models.TokenFilter{Type: "OAuth"}, "google mail"},
			{models.TokenFilter{Type: "oauth"}, ""},
			{models.TokenFilter{Tag: "ci"}, "github"},
			{models.TokenFilter{Tag: "CI"}, "gitlab"},
			{models.TokenFilter{Tag: "<b>"}, "odd"},
			{models.TokenFilter{Tag: `quote"back\slash`}, "odd"},
			{models.TokenFilter{Tag: "c%"}, ""},
			{models.TokenFilter{Tag: "ci", Type: "PlainText", Text: "hub"}, "github"},
			{models.TokenFilter{Tag: "ci", Type: "OAuth"}, ""},
		} {
			if got := find(c.filter); got != c.want {
				t.Errorf("%+v: found %q, want %q", c.filter, got, c.want)
			}
		}
	})
}

func TestTokensAreSortedAndPagedByWhatOneWants(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		hour := func(n int) *time.Time { return models.StampPtr(at.Add(time.Duration(n) * time.Hour)) }
		vault, find := shelf(t, s, map[string]func(*models.Token){
			"a": func(t *models.Token) { t.ExpiresAt, t.StoredAt = hour(3), hour(1) },
			"b": func(t *models.Token) { t.ExpiresAt, t.StoredAt = hour(1), nil },
			"c": func(t *models.Token) { t.ExpiresAt, t.StoredAt = nil, hour(2) },
			"d": func(t *models.Token) { t.ExpiresAt, t.StoredAt = hour(1), hour(2) },
			"e": func(t *models.Token) { t.ExpiresAt, t.StoredAt = nil, nil },
		})
		for order, want := range map[models.TokenOrder]string{
			models.OrderName: "a b c d e", models.OrderExpiry: "b d a c e", models.OrderStored: "c d a b e",
		} {
			if got := find(models.TokenFilter{Order: order}); got != want {
				t.Errorf("sorted by %q: %q, want %q", order, got, want)
			}
			for size := 1; size <= 3; size++ {
				var pages []string
				f := models.TokenFilter{Order: order, Limit: size}
				for {
					list, err := s.FindTokens(t.Context(), vault.AccountID, vault.ID, f)
					ok(t, err)
					if len(list) == 0 {
						break
					}
					for _, token := range list {
						pages = append(pages, token.ServiceName)
					}
					mark := order.Mark(list[len(list)-1])
					f.After = &mark
				}
				if got := strings.Join(pages, " "); got != want {
					t.Errorf("sorted by %q in pages of %d: %q, want %q", order, size, got, want)
				}
			}
		}
	})
}

func TestSupersededAndBridgedTokensAreNotFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault, find := shelf(t, s, map[string]func(*models.Token){
			"plain":      func(*models.Token) {},
			"bridged":    func(t *models.Token) { t.Owner, t.Bridge, t.Tags = "o", "b", []string{"x"} },
			"superseded": func(t *models.Token) { t.SupersededAt, t.TokenType, t.Tags = models.StampPtr(at), "JWT", []string{"x"} },
		})
		if got := find(models.TokenFilter{}); got != "plain" {
			t.Errorf("found %q, want what its name alone names", got)
		}
		types, tags, err := s.TokenLabels(t.Context(), vault.AccountID, vault.ID)
		ok(t, err)
		same(t, "types", types, []models.TokenLabel{{Name: "PlainText", Count: 1}})
		same(t, "tags", len(tags), 0)
	})
}

func TestLabelsAreCountedInOneVault(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		vault, _ := shelf(t, s, map[string]func(*models.Token){
			"a": func(t *models.Token) { t.Tags = []string{"prod", "Ä", `"`} },
			"b": func(t *models.Token) { t.Tags = []string{"prod"} },
			"c": func(t *models.Token) { t.TokenType = "OAuth" },
		})
		shelf(t, s, map[string]func(*models.Token){"a": func(t *models.Token) { t.TokenType, t.Tags = "JWT", []string{"other"} }})
		types, tags, err := s.TokenLabels(t.Context(), vault.AccountID, vault.ID)
		ok(t, err)
		same(t, "types", types, []models.TokenLabel{{Name: "OAuth", Count: 1}, {Name: "PlainText", Count: 2}})
		same(t, "tags", tags, []models.TokenLabel{{Name: `"`, Count: 1}, {Name: "prod", Count: 2}, {Name: "Ä", Count: 1}})
	})
}
