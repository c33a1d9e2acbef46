package vaults_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func ptr[T any](v T) *T { return &v }

func TestMetadataChangesAtTheWebhookAndInTheIndex(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		tv.Store("github", map[string]any{"tokenType": "PlainText", "accessToken": "ghp_x", "displayName": "GitHub", "notes": "old", "tags": []string{"a"}})
		in := vaults.MetadataInput{Notes: ptr("line 1\r\nline 2"), Tags: ptr([]string{" ci ", "ci", "prod"})}
		got, err := w.UpdateMetadata(t.Context(), w.user, w.client, "github", in)
		if err != nil {
			t.Fatal(err)
		}
		if got.Token.DisplayName != "GitHub" || got.Token.Notes != "line 1\nline 2" || !slices.Equal(got.Token.Tags, []string{"ci", "prod"}) {
			t.Errorf("metadata %q, %q, %q; want the name as it was and the rest changed", got.Token.DisplayName, got.Token.Notes, got.Token.Tags)
		}
		if token := tv.Reveal("github"); token["notes"] != "line 1\nline 2" || token["accessToken"] != "ghp_x" {
			t.Errorf("the webhook holds %v, want the new notes beside the same credential", token)
		}
		w.wantEvents(audit.Store, "ok github metadata changed: notes, tags")
	})
}

func TestMetadataIsCheckedBeforeAnythingIsCalled(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) {
				lists(w, `{"serviceName":"github","notes":"kept"}`)
			}
		})
		w.sync("")
		before := len(l.seen())
		for _, c := range []struct {
			name, field string
			in          vaults.MetadataInput
		}{
			{"nothing", "displayName", vaults.MetadataInput{}},
			{"a long name", "displayName", vaults.MetadataInput{DisplayName: ptr(strings.Repeat("ä", 101))}},
			{"a name of two lines", "displayName", vaults.MetadataInput{DisplayName: ptr("a\nb")}},
			{"a name that is no text", "displayName", vaults.MetadataInput{DisplayName: ptr("a\xff")}},
			{"long notes", "notes", vaults.MetadataInput{Notes: ptr(strings.Repeat("n", 2001))}},
			{"notes with an escape", "notes", vaults.MetadataInput{Notes: ptr("\x1b[2J")}},
			{"an empty tag", "tags", vaults.MetadataInput{Tags: ptr([]string{" "})}},
			{"a long tag", "tags", vaults.MetadataInput{Tags: ptr([]string{strings.Repeat("t", 41)})}},
			{"many tags", "tags", vaults.MetadataInput{Tags: ptr(strings.Split("abcdefghijklmnopqrstu", ""))}},
		} {
			_, err := w.UpdateMetadata(t.Context(), w.user, w.client, "github", c.in)
			if refusal := fault.From(err); refusal == nil || refusal.Code != fault.InvalidRequest || refusal.Field != c.field {
				t.Errorf("%s: %v, want INVALID_REQUEST for %s", c.name, err, c.field)
			}
		}
		_, err := w.UpdateMetadata(t.Context(), w.user, w.client, "audit-log", vaults.MetadataInput{Notes: ptr("x")})
		wantCode(t, err, fault.InvalidRequest)
		_, err = w.UpdateMetadata(t.Context(), w.newUser("platform@example.com"), w.client, "github", vaults.MetadataInput{Notes: ptr("x")})
		wantCode(t, err, fault.TokenNotFound)
		if got := l.seen()[before:]; len(got) != 0 {
			t.Errorf("the webhook was called: %q", got)
		}
		w.wantEvents(audit.Store)
	})
}

func TestMetadataOfATokenThatIsGone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) { lists(w, `{"serviceName":"github"}`) }
		})
		w.sync("")
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
				if r.Operation == wire.OpSet {
					refuses(w, wire.CodeTokenNotFound)
					return
				}
				lists(w)
			}
		})
		_, err := w.UpdateMetadata(t.Context(), w.user, w.client, "github", vaults.MetadataInput{Notes: ptr("x")})
		wantCode(t, err, fault.TokenNotFound)
		w.wantNames("")
		w.wantEvents(audit.Store, "ok github", "TOKEN_NOT_FOUND github")
	})
}

func TestDeletingTakesTheCredentialWithIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, _, tv := bound(t, db)
		for _, name := range []string{"a", "b", "c", "d"} {
			tv.Store(name, map[string]any{"tokenType": "PlainText", "accessToken": "x"})
		}
		w.sync("")
		tv.Signed(wire.PathStorage, map[string]any{"operation": "delete", "collection": "tokens", "key": "d"})
		if got, err := w.DeleteTokens(t.Context(), w.user, w.client, "a"); err != nil || !slices.Equal(got, []string{"a"}) {
			t.Fatalf("DeleteTokens(a) = %q, %v; want a", got, err)
		}
		if answer := tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "a")); answer.Code != wire.CodeTokenNotFound {
			t.Errorf("the webhook answered %d %s, want token_not_found", answer.Status, answer.Body)
		}
		got, err := w.DeleteTokens(t.Context(), w.user, w.client, "b", "nope", "b", "d")
		if err != nil || !slices.Equal(got, []string{"b", "d"}) {
			t.Errorf("DeleteTokens = %q, %v; want b, and d, which was gone", got, err)
		}
		w.wantNames("c")
		got, err = w.DeleteTokens(t.Context(), w.user, w.client, "nope")
		wantCode(t, err, fault.TokenNotFound)
		if len(got) != 0 {
			t.Errorf("deleted %q, want nothing", got)
		}
		w.wantEvents(audit.Delete, "ok a", "ok b", "ok d")
	})
}

func TestDeletingStopsWhereTheWebhookDoes(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, r wire.StorageRequest) {
				switch {
				case r.Operation == wire.OpDelete && r.Key == "b":
					refuses(w, wire.CodeInternal)
				case r.Operation == wire.OpDelete:
					says(w, 200, wire.StorageResponse{Status: "ok"})
				default:
					lists(w, `{"serviceName":"a"}`, `{"serviceName":"b"}`, `{"serviceName":"c"}`)
				}
			}
		})
		w.sync("")
		got, err := w.DeleteTokens(t.Context(), w.user, w.client, "a", "b", "c")
		if fault.CodeOf(err) != fault.WebhookUnavailable || !slices.Equal(got, []string{"a"}) {
			t.Errorf("DeleteTokens = %q, %v; want a and WEBHOOK_UNAVAILABLE", got, err)
		}
		w.wantNames("b c")
		before := len(l.seen())
		for _, bad := range [][]string{nil, {"a", "../b"}, make([]string, 101)} {
			_, err := w.DeleteTokens(t.Context(), w.user, w.client, bad...)
			wantCode(t, err, fault.InvalidRequest)
		}
		w.record.setAway(true)
		_, err = w.DeleteTokens(t.Context(), w.user, w.client, "c")
		wantCode(t, err, fault.Unavailable)
		if got := l.seen()[before:]; len(got) != 0 {
			t.Errorf("the webhook was called: %q", got)
		}
		w.wantNames("b c")
	})
}
