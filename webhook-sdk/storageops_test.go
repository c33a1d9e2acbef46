package webhook_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func op(operation, collection string, more map[string]any) map[string]any {
	out := map[string]any{"operation": operation, "collection": collection}
	for name, value := range more {
		out[name] = value
	}
	return out
}

func keysIn(items []wire.StorageItem) string {
	var keys []string
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return strings.Join(keys, " ")
}

func TestAListShowsMetadataAndNoSecret(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	secrets := map[string]any{"tokenType": "OAuth", "note": "kept"}
	for i, field := range wire.SensitiveFields() {
		secrets[field] = fmt.Sprintf("canary-%d", i)
	}
	tv.Store("all", secrets)
	for name, fields := range map[string]map[string]any{
		"list":  op("list", "tokens", nil),
		"get":   op("get", "tokens", map[string]any{"key": "all"}),
		"batch": {"operation": "list_batch", "collections": []string{"tokens", "proxy_configs", "audit", "vault_config"}},
	} {
		got := accepted(t, tv.TryOperate(fields))
		if strings.Contains(string(got.Body), "canary") || strings.Contains(string(got.Body), `"fields"`) {
			t.Errorf("%s shows a secret or ciphertext: %s", name, got.Body)
		}
		if !strings.Contains(string(got.Body), `"note":"kept"`) {
			t.Errorf("%s does not show the metadata: %s", name, got.Body)
		}
	}
	list := tv.Operate(op("list", "tokens", nil))
	if got := keysIn(list.Items); got != "all github" || list.Pagination != nil || list.Items[0].Data != nil {
		t.Errorf("the list is %q, %v, want all and github without pagination or data", got, list.Pagination)
	}
	if list.RequestID == "" {
		t.Error("the answer does not repeat the requestId")
	}
}

func TestAListIsFilteredAndCutIntoPages(t *testing.T) {
	t.Parallel()
	_, tv, _ := bound(t)
	for i := range 5 {
		tv.Store(fmt.Sprintf("s%d", i), map[string]any{"tokenType": "PlainText", "accessToken": "x", "team": i % 2})
	}
	one := tv.Operate(op("list", "tokens", map[string]any{"options": map[string]any{"filters": map[string]any{"serviceName": "s3"}}}))
	if got := keysIn(one.Items); got != "s3" {
		t.Errorf("filtered by serviceName: got %q, want s3", got)
	}
	var keys []string
	after := ""
	for range 10 {
		page := tv.Operate(op("list", "tokens", map[string]any{"options": map[string]any{
			"filters": map[string]any{"team": 0}, "limit": 2, "after": after,
		}}))
		keys = append(keys, keysIn(page.Items))
		if page.Pagination == nil || page.Pagination.TotalCount != 3 {
			t.Fatalf("pagination is %+v, want totalCount 3", page.Pagination)
		}
		if after = page.Pagination.NextCursor; !page.Pagination.HasMore {
			break
		}
	}
	if got := strings.Join(keys, "|"); got != "s0 s2|s4" {
		t.Errorf("pages are %q, want s0 s2|s4", got)
	}
	none := accepted(t, tv.TryOperate(op("list", "proxy_configs", nil)))
	if !strings.Contains(string(none.Body), `"items":[]`) {
		t.Errorf("an empty list is %s, want items to be []", none.Body)
	}
}

func TestTVChangesTheNotesOfATokenAndNothingElse(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	set := func(data map[string]any) webhooktest.Answer {
		return tv.TryOperate(op("set", "tokens", map[string]any{"key": "github", "data": data}))
	}
	check := unchanged(t, wh)
	for name, value := range map[string]any{
		"allowedHosts": []string{"https://attacker.example"}, "provider": "x", "tokenType": "OAuth", "creationId": "x",
		"serviceName": "x", "expiryTime": 1, "accessToken": "x", "scopes": []string{"x"}, "anything": "x", "hasRefreshToken": true,
	} {
		refused(t, set(map[string]any{"displayName": "changed", name: value}), http.StatusForbidden, wire.CodeForbidden)
	}
	for name, value := range map[string]any{
		"displayName": strings.Repeat("x", 300), "notes": 7, "tags": "one",
	} {
		refused(t, set(map[string]any{name: value}), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	for _, tags := range [][]any{{""}, {7}, {strings.Repeat("x", 65)}, {"a\nb"}} {
		refused(t, set(map[string]any{"tags": tags}), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	refused(t, tv.TryOperate(op("set", "tokens", map[string]any{"key": "gone", "data": map[string]any{"notes": "x"}})),
		http.StatusNotFound, wire.CodeTokenNotFound)
	refused(t, tv.TryOperate(op("set", "tokens", map[string]any{"key": "github", "data": []int{1}})),
		http.StatusBadRequest, wire.CodeInvalidRequest)
	check()

	accepted(t, set(map[string]any{"displayName": "GitHub", "notes": "of the team", "tags": []string{"work"}, "tokenType": "PlainText"}))
	accepted(t, set(map[string]any{"notes": nil}))
	var meta map[string]any
	if err := json.Unmarshal(tv.Operate(op("get", "tokens", map[string]any{"key": "github"})).Data, &meta); err != nil {
		t.Fatal(err)
	}
	if meta["displayName"] != "GitHub" || fmt.Sprint(meta["tags"]) != "[work]" {
		t.Errorf("metadata is %v, want the new name and tags", meta)
	}
	if _, there := meta["notes"]; there {
		t.Errorf("notes are %v, want them gone", meta["notes"])
	}
	if got := tv.Reveal("github")["accessToken"]; got != "ghp_canary" {
		t.Errorf("the credential is %v after its notes were changed, want ghp_canary", got)
	}
}

func TestADeletedTokenIsGone(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	tv.Operate(deleteGithub)
	refused(t, tv.Redeem(wire.PathCredential, tv.Ticket(wire.PurposeUserReveal, "github")), http.StatusNotFound, wire.CodeTokenNotFound)
	refused(t, tv.TryOperate(op("get", "tokens", map[string]any{"key": "github"})), http.StatusNotFound, wire.CodeTokenNotFound)
	if got := wh.Storage.Count(storage.CollectionTokens); got != 0 {
		t.Errorf("%d tokens remain, want 0", got)
	}
	tv.Operate(deleteGithub) // sent again because its answer was lost
}

func TestTVKeepsItsConfigurationsHere(t *testing.T) {
	t.Parallel()
	wh, tv, _ := bound(t)
	for _, collection := range []string{"proxy_configs", "vault_config"} {
		tv.Operate(op("set", collection, map[string]any{"key": "c1", "data": map[string]any{"name": "one", "n": 12345678901234567}}))
		got := tv.Operate(op("get", collection, map[string]any{"key": "c1"}))
		if string(got.Data) != `{"n":12345678901234567,"name":"one"}` {
			t.Errorf("%s gave %s, want what was set", collection, got.Data)
		}
		list := tv.Operate(op("list", collection, map[string]any{"options": map[string]any{"filters": map[string]any{"name": "one"}}}))
		if keysIn(list.Items) != "c1" || list.Items[0].Data != nil {
			t.Errorf("%s lists %q with data %s, want c1 without", collection, keysIn(list.Items), list.Items[0].Data)
		}
		check := unchanged(t, wh)
		refused(t, tv.TryOperate(op("set", collection, map[string]any{"key": "c1", "data": map[string]any{"a": []any{map[string]any{"password": "x"}}}})),
			http.StatusBadRequest, wire.CodeInvalidRequest)
		refused(t, tv.TryOperate(op("set", collection, map[string]any{"key": strings.Repeat("k", 600), "data": 1})),
			http.StatusBadRequest, wire.CodeInvalidRequest)
		check()
		tv.Operate(op("delete", collection, map[string]any{"key": "c1"}))
		refused(t, tv.TryOperate(op("get", collection, map[string]any{"key": "c1"})), http.StatusNotFound, wire.CodeTokenNotFound)
	}
}

// A crowded storage says that it holds as many documents as TV may have.
type crowded struct{ webhook.Storage }

func (crowded) Count(string) int { return 10_000 }

func TestAFullCollectionOfTVTakesNothingNewButChanges(t *testing.T) {
	t.Parallel()
	first, tv, c := bound(t)
	set := func(key string, n int) webhooktest.Answer {
		return tv.TryOperate(op("set", "proxy_configs", map[string]any{"key": key, "data": map[string]any{"n": n}}))
	}
	accepted(t, set("there", 1))
	first.Stop()
	wh := webhooktest.Start(t, first.Dir, webhooktest.WithClock(c.now), config(func(c *webhook.Config) { c.Storage = crowded{c.Storage} }))
	tv.URL = wh.URL
	check := unchanged(t, wh)
	refused(t, set("new", 1), http.StatusRequestEntityTooLarge, wire.CodeTooLarge)
	check()
	accepted(t, set("there", 2))
	if got := tv.Operate(op("get", "proxy_configs", map[string]any{"key": "there"})); string(got.Data) != `{"n":2}` {
		t.Errorf("the configuration is %s, want the change", got.Data)
	}
}

func TestTheLogIsOnlyAddedToAndTellsWhoWrote(t *testing.T) {
	t.Parallel()
	wh, tv, c := bound(t)
	since := c.now()
	c.move(10e9)
	tv.AgentCredential("github")
	tv.Operate(op("set", "audit", map[string]any{"key": "tv-1", "data": map[string]any{
		"timestamp": "2030-01-02T03:04:20Z", "recordedBy": "webhook", "eventType": "release",
	}}))
	list := tv.Operate(op("list", "audit", map[string]any{"options": map[string]any{"since": since.Add(5e9).UnixMilli(), "limit": 10}}))
	if len(list.Items) != 2 || list.Pagination == nil || list.Pagination.TotalCount != 2 {
		t.Fatalf("the log since then has %d entries, %+v, want 2", len(list.Items), list.Pagination)
	}
	if newest := string(list.Items[0].Data); !strings.Contains(newest, `"recordedBy":"token-vault"`) || !strings.Contains(newest, `"id":"tv-1"`) {
		t.Errorf("the newest entry is %s, want TV's, marked as such", newest)
	}
	if got := string(list.Items[1].Data); !strings.Contains(got, `"recordedBy":"webhook"`) {
		t.Errorf("the entry before is %s, want the webhook's own", got)
	}
	check := unchanged(t, wh)
	before := wh.Storage.Count(storage.CollectionAudit)
	refused(t, tv.TryOperate(op("delete", "audit", map[string]any{"key": list.Items[1].Key})), http.StatusForbidden, wire.CodeForbidden)
	for _, data := range []any{7, map[string]any{"accessToken": "x"}, map[string]any{"text": strings.Repeat("x", 10_000)}} {
		refused(t, tv.TryOperate(op("set", "audit", map[string]any{"key": "tv-2", "data": data})), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	if got := wh.Storage.Count(storage.CollectionAudit); got != before {
		t.Errorf("the log has %d entries, want %d", got, before)
	}
	check()
}
