package vaults_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// boundLiar is a world whose account is bound to a liar.
func boundLiar(t *testing.T, db *store.Store, change ...func(*vaults.Deps)) (*world, *liar) {
	t.Helper()
	w, l := newWorld(t, db, change...), newLiar(t, canarySecret(t, 1))
	w.bind(l.input())
	return w, l
}

func TestSyncFollowsTheWebhook(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		expires := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x", "displayName": "GitHub", "notes": "work", "tags": []string{"ci", "prod"}})
		tv.Store("oauth", map[string]any{
			"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "provider": "google", "expiresAt": expires.Format(time.RFC3339Nano),
		})
		if n := w.sync(""); n != 2 {
			t.Errorf("synced %d, want 2", n)
		}
		w.wantNames("github oauth")
		github, err := w.Token(t.Context(), w.user, "github")
		if err != nil {
			t.Fatal(err)
		}
		got := github.Token
		if got.TokenType != wire.TypePlainText || got.DisplayName != "GitHub" || got.Notes != "work" || !slices.Equal(got.Tags, []string{"ci", "prod"}) ||
			got.CreationID == "" || got.StoredAt == nil || got.ExpiresAt != nil {
			t.Errorf("github = %+v, want what was stored", got)
		}
		if github.Status != vaults.StatusActive || github.Trust != vaults.TVZero || github.TrustReason == "" {
			t.Errorf("github is %s, %s (%s); want active and tv-zero with a reason", github.Status, github.Trust, github.TrustReason)
		}
		oauth, err := w.Token(t.Context(), w.user, "oauth")
		if err != nil || !oauth.Token.HasRefreshToken || oauth.Token.Provider != "google" || oauth.Token.ExpiresAt == nil || !oauth.Token.ExpiresAt.Equal(expires) {
			t.Errorf("oauth = %+v, %v; want a refreshable token of google until %s", oauth.Token, err, expires)
		}

		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_y"})
		if n := w.sync("github"); n != 1 {
			t.Errorf("synced %d, want 1", n)
		}
		replaced, err := w.Find(t.Context(), w.user, "github")
		if err != nil || replaced.ID != got.ID || replaced.CreationID == got.CreationID {
			t.Errorf("after replacing: id %s creation %s, %v; want id %s and another creation", replaced.ID, replaced.CreationID, err, got.ID)
		}
		tv.Signed(wire.PathStorage, map[string]any{"operation": "delete", "collection": "tokens", "key": "oauth"})
		if n := w.sync("oauth"); n != 0 {
			t.Errorf("synced %d of a deleted token, want 0", n)
		}
		w.wantNames("github")
	})
}

func TestFindLooksAnUnknownNameUpOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		before := len(l.seen())
		_, err := w.Find(t.Context(), w.user, "github")
		wantCode(t, err, fault.TokenNotFound)
		if got := l.seen()[before:]; !slices.Equal(got, []string{"/v1/storage list"}) {
			t.Errorf("the webhook was asked %q, want one list", got)
		}
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
				if r.Options == nil || r.Options.Filters["serviceName"] != "github" {
					t.Errorf("list with %+v, want a filter for github", r.Options)
				}
				lists(w, `{"serviceName":"gitlab"}`, `{"serviceName":"github","tokenType":"JWT"}`) // ignores filters
			}
		})
		found, err := w.Find(t.Context(), w.user, "github")
		if err != nil || found.TokenType != "JWT" {
			t.Fatalf("Find = %+v, %v; want the JWT", found, err)
		}
		before = len(l.seen())
		view, err := w.View(t.Context(), w.user.AccountID, found.ID)
		if err != nil || view.Token.ServiceName != "github" {
			t.Errorf("View = %+v, %v; want github", view, err)
		}
		if _, err := w.Find(t.Context(), w.user, "github"); err != nil || len(l.seen()) != before {
			t.Errorf("a known name: %v after %d calls, want none", err, len(l.seen())-before)
		}
		w.wantNames("github") // what the webhook listed beside it was not asked for
		_, err = w.Find(t.Context(), w.user, "../x")
		wantCode(t, err, fault.InvalidRequest)
	})
}

func TestSecretFieldsOfAForeignListAreStoredNowhere(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		const canary = "CANARY-7f3a"
		w, l := boundLiar(t, db)
		var fields []string
		for _, field := range append(wire.SensitiveFields(), "ACCESSTOKEN", "apiKey", "value") {
			fields = append(fields, fmt.Sprintf("%q:%q", field, canary))
		}
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
				if r.Operation != wire.OpList {
					t.Errorf("the webhook was asked to %s, want lists only", r.Operation)
				}
				lists(w, `{"serviceName":"github","displayName":"GitHub",`+strings.Join(fields, ",")+`}`)
			}
		})
		w.sync("")
		w.sync("github")
		view, err := w.Token(t.Context(), w.user, "github")
		if err != nil || view.Token.DisplayName != "GitHub" {
			t.Fatalf("Token = %+v, %v; want its metadata", view, err)
		}
		text, err := json.Marshal(view.Token)
		if err != nil || strings.Contains(string(text), canary) {
			t.Errorf("the index holds %s (%v), want no secret field", text, err)
		}
	})
}

func TestWhatAWebhookMayPutInAList(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) {
				lists(w,
					`{"serviceName":"odd","tokenType":7,"tags":"x","expiryTime":"soon","hasRefreshToken":"yes","notes":null}`,
					`{"serviceName":"bulk"}`, `{"serviceName":"../etc"}`, `{"serviceName":""}`, `["no object"]`, `null`,
					`{"serviceName":"twice","displayName":"first"}`, `{"serviceName":"twice","displayName":"second"}`,
					`{"serviceName":"long","displayName":"`+strings.Repeat("x", 9000)+`\u0000\u001b","tags":["`+strings.Repeat("t", 900)+`"," ","a","a"]}`,
				)
			}
		})
		if n := w.sync(""); n != 3 {
			t.Errorf("synced %d, want 3", n)
		}
		w.wantNames("long odd twice")
		odd, _ := w.Find(t.Context(), w.user, "odd")
		if odd.TokenType != "" || len(odd.Tags) != 0 || odd.ExpiresAt != nil || odd.HasRefreshToken {
			t.Errorf("odd = %+v, want fields of a wrong type absent", odd)
		}
		twice, _ := w.Find(t.Context(), w.user, "twice")
		if twice.DisplayName != "first" {
			t.Errorf("twice is %q, want the first of two", twice.DisplayName)
		}
		long, _ := w.Find(t.Context(), w.user, "long")
		if len(long.DisplayName) != 256 || len(long.Tags) != 2 || len(long.Tags[0]) != 128 {
			t.Errorf("long has a name of %d and tags %q, want them cut", len(long.DisplayName), long.Tags)
		}
	})
}

func TestAFailedSyncChangesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) { lists(w, `{"serviceName":"github"}`) }
		})
		w.sync("")
		failures := map[string]func(w http.ResponseWriter, r wire.StorageRequest){
			"breaks off after a page": func(w http.ResponseWriter, r wire.StorageRequest) {
				if r.Options.After != "" {
					refuses(w, wire.CodeInternal)
					return
				}
				says(w, 200, wire.StorageResponse{Items: []wire.StorageItem{{Key: "new"}}, Pagination: &wire.Pagination{HasMore: true, NextCursor: "2"}})
			},
			"garbage": func(w http.ResponseWriter, _ wire.StorageRequest) { says(w, 200, "tokens") },
		}
		for name, storage := range failures {
			l.change(func(l *liar) { l.storage = storage })
			n, err := w.Sync(t.Context(), w.user, w.client, "")
			if fault.CodeOf(err) != fault.WebhookUnavailable || n != 0 {
				t.Errorf("%s: Sync = %d, %v; want WEBHOOK_UNAVAILABLE", name, n, err)
			}
			w.wantNames("github")
		}
		l.change(func(l *liar) { l.accepts = []wire.Secret{canarySecret(t, 77)} })
		_, err := w.Sync(t.Context(), w.user, w.client, "")
		wantCode(t, err, fault.WebhookAuthFailed)
		w.wantNames("github")
	})
}

// On one database alone: what is refused never gets there.
func TestAListOfMoreTextThanThisServerTakesIsRefused(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	w, l := boundLiar(t, storetest.Open(t, storetest.URL(t, store.SQLite)), func(d *vaults.Deps) { d.MaxListText = limit })
	notes := strings.Repeat("n", 8000) // of 2 items a page: the 13th is too much
	l.change(func(l *liar) {
		l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
			n := 0
			_, _ = fmt.Sscan(r.Options.After, &n)
			page := wire.StorageResponse{Items: []wire.StorageItem{}, Pagination: &wire.Pagination{HasMore: true, NextCursor: fmt.Sprint(n + 1)}}
			for i := range 2 {
				page.Items = append(page.Items, wire.StorageItem{Key: fmt.Sprintf("t%d-%d", n, i), Meta: json.RawMessage(`{"notes":"` + notes + `"}`)})
			}
			says(w, 200, page)
		}
	})
	before := len(l.seen())
	_, err := w.Sync(t.Context(), w.user, w.client, "")
	if fault.CodeOf(err) != fault.WebhookUnavailable || !strings.Contains(err.Error(), "100000 bytes") {
		t.Errorf("Sync: %v, want WEBHOOK_UNAVAILABLE that names the limit", err)
	}
	if got := len(l.seen()) - before; got != 7 {
		t.Errorf("%d pages were read, want it to stop in the 7th", got)
	}
	w.wantNames("")
}

// A token that is stored and indexed while a whole list is being read is not in
// that list, and must neither vanish nor change its id, which agents were granted.
func TestATokenIndexedDuringAWholeSyncStaysItself(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		reading, goOn := make(chan struct{}), make(chan struct{})
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
				if r.Options.Filters != nil {
					lists(w, `{"serviceName":"fresh"}`)
					return
				}
				close(reading)
				<-goOn
				lists(w, `{"serviceName":"old"}`)
			}
		})
		ended := make(chan error, 1)
		go func() {
			_, err := w.Sync(t.Context(), w.user, w.client, "")
			ended <- err
		}()
		<-reading
		w.sync("fresh")
		before, err := w.Find(t.Context(), w.user, "fresh")
		if err != nil {
			t.Fatal(err)
		}
		close(goOn)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.wantNames("fresh old")
		if after, err := w.Find(t.Context(), w.user, "fresh"); err != nil || after.ID != before.ID {
			t.Errorf("fresh has the id %s (%v), want still %s", after.ID, err, before.ID)
		}
	})
}

func TestAListOfMoreThanOnePageOfTheIndexIsFollowed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		serve := func(n int) {
			items := make([]wire.StorageItem, n)
			for i := range items {
				items[i].Key = fmt.Sprintf("t%05d", i)
			}
			l.change(func(l *liar) {
				l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) { says(w, 200, wire.StorageResponse{Items: items}) }
			})
		}
		for _, n := range []int{1100, 1050, 3} { // removed one by one, and then nearly all at once
			serve(n)
			if got := w.sync(""); got != n {
				t.Errorf("synced %d, want %d", got, n)
			}
			list, _, err := w.Tokens(t.Context(), w.user, vaults.Page{})
			if err != nil || len(list) != n {
				t.Errorf("the index holds %d, %v; want %d", len(list), err, n)
			}
		}
	})
}

func TestTokensArePaged(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) {
				lists(w, `{"serviceName":"a"}`, `{"serviceName":"b"}`, `{"serviceName":"c"}`, `{"serviceName":"B x"}`)
			}
		})
		w.sync("")
		var got []string
		page := vaults.Page{Limit: 3}
		for {
			list, next, err := w.Tokens(t.Context(), w.user, page)
			if err != nil || len(list) > 3 {
				t.Fatalf("page of %d, %v; want at most 3", len(list), err)
			}
			for _, v := range list {
				got = append(got, v.Token.ServiceName)
			}
			if page.Cursor = next; next == "" {
				break
			}
		}
		if want := []string{"B x", "a", "b", "c"}; !slices.Equal(got, want) {
			t.Errorf("pages hold %q, want %q", got, want)
		}
		for _, bad := range []vaults.Page{{Limit: -1}, {Limit: 1001}, {Cursor: "§"}, {Cursor: "Li4vLi4"}, {Cursor: "YQ=="}} {
			_, _, err := w.Tokens(t.Context(), w.user, bad)
			wantCode(t, err, fault.InvalidRequest)
		}
		if list, next, err := w.Tokens(t.Context(), w.newUser("other@example.com"), vaults.Page{}); err != nil || list == nil || len(list) != 0 || next != "" {
			t.Errorf("another account's tokens: %v, %q, %v; want an empty list", list, next, err)
		}
	})
}

func TestWhatTheServerSawOnceIsNotTVZero(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		var creation atomic.Value
		creation.Store("c1")
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) {
				lists(w, `{"serviceName":"github","creationId":"`+creation.Load().(string)+`"}`)
			}
		})
		w.sync("")
		token, err := w.Find(t.Context(), w.user, "github")
		if err != nil {
			t.Fatal(err)
		}
		seen := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		token.SeenAt, token.SeenPath, token.SeenCreationID = &seen, "connect", "c1"
		if err := db.PutToken(t.Context(), &token.Token); err != nil {
			t.Fatal(err)
		}
		w.sync("")
		view, err := w.Token(t.Context(), w.user, "github")
		if err != nil || view.Trust != vaults.TVSeen || !strings.Contains(view.TrustReason, "2026-03-04 (connect)") {
			t.Errorf("trust %s (%s), %v; want tv-seen with the day", view.Trust, view.TrustReason, err)
		}
		creation.Store("c2") // replaced since
		w.sync("github")
		if view, err = w.Token(t.Context(), w.user, "github"); err != nil || view.Trust != vaults.TVZero {
			t.Errorf("trust %s after replacing, %v; want tv-zero", view.Trust, err)
		}
	})
}

func TestAgentsHaveNoSayInVaults(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		before := len(l.seen())
		agent := w.user
		agent.Kind = models.GrantAgentKey
		ctx := t.Context()
		calls := map[string]func() error{
			"Status":      func() error { _, err := w.Status(ctx, agent); return err },
			"Lock":        func() error { return w.Lock(ctx, agent, w.client) },
			"Unlock":      func() error { return w.Unlock(ctx, agent, w.client) },
			"PreviewBind": func() error { _, err := w.PreviewBind(ctx, agent, l.input()); return err },
			"Bind":        func() error { _, err := w.Bind(ctx, agent, w.client, l.input()); return err },
			"Unbind":      func() error { return w.Unbind(ctx, agent, w.client) },
			"Sync":        func() error { _, err := w.Sync(ctx, agent, w.client, ""); return err },
			"Tokens":      func() error { _, _, err := w.Tokens(ctx, agent, vaults.Page{}); return err },
			"Token":       func() error { _, err := w.Token(ctx, agent, "x"); return err },
			"UpdateMetadata": func() error {
				_, err := w.UpdateMetadata(ctx, agent, w.client, "x", vaults.MetadataInput{})
				return err
			},
			"DeleteTokens": func() error { _, err := w.DeleteTokens(ctx, agent, w.client, "x"); return err },
			"CheckWebhook": func() error { _, err := w.CheckWebhook(ctx, agent, w.client); return err },
		}
		for name, call := range calls {
			if got := fault.CodeOf(call()); got != fault.ScopeDenied {
				t.Errorf("%s by an agent: %q, want SCOPE_DENIED", name, got)
			}
		}
		if got := l.seen()[before:]; len(got) != 0 {
			t.Errorf("the webhook was called: %q", got)
		}
	})
}
