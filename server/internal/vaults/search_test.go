package vaults_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// shelve puts n tokens into the index of w's webhook, as change makes them.
func shelve(w *world, n int, change func(i int, t *models.Token)) {
	w.t.Helper()
	c, err := w.Custody(w.t.Context(), w.user.AccountID)
	if err != nil {
		w.t.Fatal(err)
	}
	now := models.Stamp(time.Now())
	tokens := make([]models.Token, n)
	for i := range tokens {
		tokens[i] = models.Token{
			AccountID: w.user.AccountID, ID: models.NewID(), VaultID: c.Binding.VaultID, ServiceName: fmt.Sprintf("t%05d", i),
			TokenType: wire.TypePlainText, CreationID: "c", CreatedAt: now, UpdatedAt: now,
		}
		change(i, &tokens[i])
	}
	if _, err := w.db.SyncTokens(w.t.Context(), w.user.AccountID, c.Binding.VaultID, tokens, false); err != nil {
		w.t.Fatal(err)
	}
}

// searched is the names of all pages, and of the first its count.
func searched(w *world, in vaults.SearchInput) (names string, count, pages int) {
	w.t.Helper()
	var all []string
	for in.Limit = max(in.Limit, 1); ; pages++ {
		got, err := w.Search(w.t.Context(), w.user, in)
		if err != nil {
			w.t.Fatalf("Search(%+v): %v", in, err)
		}
		if pages == 0 {
			count = got.Count
		}
		if len(got.Tokens) > in.Limit {
			w.t.Fatalf("a page of %d, want at most %d", len(got.Tokens), in.Limit)
		}
		for _, v := range got.Tokens {
			all = append(all, v.Token.ServiceName)
		}
		if in.Cursor = got.Next; got.Next == "" {
			return strings.Join(all, " "), count, pages + 1
		}
	}
}

func TestTokensAreSearchedByWhatIsStoredAndByWhatIsComputed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, _ := bound(t, db)
		past, soon := models.StampPtr(time.Now().Add(-time.Hour)), models.StampPtr(time.Now().Add(time.Hour))
		shelve(w, 8, func(i int, t *models.Token) {
			switch i {
			case 1, 4:
				t.ExpiresAt = past
			case 2:
				t.ExpiresAt = soon
			case 3:
				t.DisplayName, t.Tags = "Mine", []string{"prod"}
			case 5:
				t.TokenType, t.ExpiresAt = wire.TypeJWT, past
			case 6:
				t.StoredAt = past
				t.SeenAt, t.SeenPath, t.SeenCreationID = past, "moved from platform mode", "c"
			}
		})
		for _, c := range []struct {
			in    vaults.SearchInput
			want  string
			count int
		}{
			{vaults.SearchInput{Limit: 3}, "t00000 t00001 t00002 t00003 t00004 t00005 t00006 t00007", 8},
			{vaults.SearchInput{Text: "mine"}, "t00003", 1},
			{vaults.SearchInput{Tag: "prod", Type: wire.TypePlainText}, "t00003", 1},
			{vaults.SearchInput{Status: vaults.StatusExpired}, "t00001 t00004 t00005", 3},
			{vaults.SearchInput{Status: vaults.StatusExpired, Limit: 2}, "t00001 t00004 t00005", 3},
			{vaults.SearchInput{Status: vaults.StatusExpired, Type: wire.TypeJWT}, "t00005", 1},
			{vaults.SearchInput{Status: vaults.StatusExpiring, Limit: 10}, "t00002", 1},
			{vaults.SearchInput{Trust: vaults.TVSeen}, "t00006", 1},
			{vaults.SearchInput{Trust: vaults.TVZero, Status: vaults.StatusExpired, Limit: 2}, "t00001 t00004 t00005", 3},
			{vaults.SearchInput{Trust: vaults.Sealed}, "", 0},
			{vaults.SearchInput{Order: models.OrderExpiry, Limit: 3}, "t00001 t00004 t00005 t00002 t00000 t00003 t00006 t00007", 8},
			{vaults.SearchInput{Order: models.OrderExpiry, Trust: vaults.TVZero, Limit: 2}, "t00001 t00004 t00005 t00002 t00000 t00003 t00007", 7},
			{vaults.SearchInput{Order: models.OrderStored, Status: vaults.StatusActive, Limit: 1}, "t00006 t00000 t00003 t00007", 4},
		} {
			names, count, _ := searched(w, c.in)
			if names != c.want || count != c.count {
				t.Errorf("%+v: %d: %q, want %d: %q", c.in, count, names, c.count, c.want)
			}
		}
		got, err := w.Search(t.Context(), w.user, vaults.SearchInput{Text: "nothing", Limit: 1})
		if err != nil || got.All != 8 || len(got.Types) != 2 || len(got.Tags) != 1 || got.Tags[0] != (models.TokenLabel{Name: "prod", Count: 1}) {
			t.Errorf("what there is: %+v, %v; want 8 tokens of 2 types, and a tag", got, err)
		}
	})
}

// A call looks at 5,000 tokens: the page says so, and the next one goes on.
func TestASearchOfWhatIsComputedIsBounded(t *testing.T) {
	t.Parallel()
	w, _, _ := bound(t, storetest.Open(t, storetest.URL(t, store.SQLite)))
	past := models.StampPtr(time.Now().Add(-time.Hour))
	shelve(w, 5600, func(i int, t *models.Token) {
		if i == 100 || i == 5500 {
			t.ExpiresAt = past
		}
	})
	first, err := w.Search(t.Context(), w.user, vaults.SearchInput{Status: vaults.StatusExpired, Limit: 10})
	if err != nil || len(first.Tokens) != 1 || !first.Partial || first.Count != -1 || first.Next == "" {
		t.Fatalf("the first page: %d tokens, partial %t, count %d, %v; want one, and that more was not looked at", len(first.Tokens), first.Partial, first.Count, err)
	}
	names, _, pages := searched(w, vaults.SearchInput{Status: vaults.StatusExpired, Limit: 10})
	if names != "t00100 t05500" || pages != 2 {
		t.Errorf("%q on %d pages, want both on 2", names, pages)
	}
}

func TestASearchThatCannotBeNamesItsField(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, _ := bound(t, db)
		shelve(w, 2, func(int, *models.Token) {})
		byName, err := w.Search(t.Context(), w.user, vaults.SearchInput{Limit: 1})
		if err != nil || byName.Next == "" {
			t.Fatalf("no next page: %v", err)
		}
		for field, in := range map[string]vaults.SearchInput{
			"limit": {}, "q": {Limit: 1, Text: "a\x00b"}, "tag": {Limit: 1, Tag: strings.Repeat("a", 201)}, "type": {Limit: 1, Type: strings.Repeat("a", 40)},
			"state": {Limit: 1, Status: "well"}, "trust": {Limit: 1, Trust: "blind"}, "sort": {Limit: 1, Order: "size"}, "cursor": {Limit: 1, Cursor: "§"},
		} {
			_, err := w.Search(t.Context(), w.user, in)
			if f := fault.From(err); f.Code != fault.InvalidRequest || f.Field != field {
				t.Errorf("%+v: %q of %q, want INVALID_REQUEST of %q", in, f.Code, f.Field, field)
			}
		}
		_, err = w.Search(t.Context(), w.user, vaults.SearchInput{Limit: 1, Order: models.OrderExpiry, Cursor: byName.Next})
		wantCode(t, err, fault.InvalidRequest)
		agent := w.user
		agent.Kind = models.GrantAgentKey
		_, err = w.Search(t.Context(), agent, vaults.SearchInput{Limit: 1})
		wantCode(t, err, fault.ScopeDenied)
		got, err := w.Search(t.Context(), w.newUser("other@example.com"), vaults.SearchInput{Limit: 1})
		if err != nil || got.All != 0 || len(got.Tokens) != 0 {
			t.Errorf("another account finds %d of %d, %v; want nothing", len(got.Tokens), got.All, err)
		}
	})
}

func TestATokenIsExplainedFromTheRecord(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		ticket, err := w.StoreTicket(t.Context(), w.user, w.client, vaults.StoreTicketInput{ServiceName: "github"})
		if err != nil {
			t.Fatal(err)
		}
		stored := tv.Do(tv.Request(http.MethodPost, wire.PathStore, map[string]any{
			"ticket": ticket.Ticket, "service": "github", "tokenData": map[string]any{"tokenType": wire.TypePlainText, "accessToken": "s3cret"},
		}))
		if stored.Status/100 != 2 {
			t.Fatalf("storing answered %d %s", stored.Status, stored.Body)
		}
		w.sync("github")
		if _, err := w.CredentialTicket(t.Context(), w.user, w.client, vaults.CredentialTicketInput{ServiceName: "github", Purpose: wire.PurposeUserReveal}); err != nil {
			t.Fatal(err)
		}
		e, err := w.Explain(t.Context(), w.user, "github")
		if err != nil {
			t.Fatal(err)
		}
		used := map[string]bool{}
		for _, path := range e.Paths {
			used[path.Name] = path.LastAt != nil
		}
		if e.Trust != vaults.TVZero || !used["store"] || !used["reveal"] || used["agent"] || len(e.Latest) != 3 || e.Latest[0].EventType != string(audit.Reveal) {
			t.Errorf("%s, used %v, %d events; want tv-zero, stored and looked at, and three events, the latest first", e.Trust, used, len(e.Latest))
		}
		_, err = w.Explain(t.Context(), w.user, "none")
		wantCode(t, err, fault.TokenNotFound)
	})
}
