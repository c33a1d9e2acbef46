package webhook_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func throughTV(c *webhook.Config) { c.TVRefresh = true }

// theirs stores a token of a provider whose client secret TV holds, and returns its
// creation.
func (s *providerStage) theirs(t *testing.T, service string) string {
	t.Helper()
	meta := s.tv.Store(service, map[string]any{
		"tokenType": "OAuth", "provider": "google", "accessToken": "access-0-canary", "refreshToken": "refresh-0-canary",
		"expiresAt": s.clock.now().Add(-time.Minute).Format(time.RFC3339), "scopes": []string{"calendar"}, "displayName": "Mine",
	})
	id, _ := meta["creationId"].(string)
	return id
}

func updated(tokens map[string]any, more map[string]any) map[string]any {
	out := map[string]any{"action": "update", "service": "google", "tokens": tokens}
	maps.Copy(out, more)
	return out
}

// holds checks the tokens that are stored.
func (s *providerStage) holds(t *testing.T, service, access, refresh string) {
	t.Helper()
	if got := s.tv.Reveal(service); got["accessToken"] != access || got["refreshToken"] != refresh {
		t.Errorf("stored are %v and %v, want %s and %s", got["accessToken"], got["refreshToken"], access, refresh)
	}
}

func TestTVGetsNoRefreshTokenUnlessItsOperatorPermitsIt(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.theirs(t, "google")
	check := unchanged(t, s.wh)
	refused(t, s.tv.TryRefresh(map[string]any{"action": "get", "service": "google"}), http.StatusForbidden, wire.CodeForbidden)
	refused(t, s.tv.TryRefresh(updated(map[string]any{"accessToken": "x"}, nil)), http.StatusForbidden, wire.CodeForbidden)
	check()
}

func TestTVRefreshesATokenOfItsOwnProvider(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil, config(throughTV))
	creation := s.theirs(t, "google")
	got := s.tv.Refresh(map[string]any{"action": "get", "service": "google"})
	if got.Status != "ok" || got.RefreshToken != "refresh-0-canary" || got.Meta["creationId"] != creation || got.Meta["provider"] != "google" ||
		got.RequestID == "" || got.Meta["accessToken"] != nil {
		t.Errorf("get: %+v, want the refresh token and the metadata", got)
	}
	if !s.recorded(t, "refresh_get", "ok") {
		t.Errorf("giving the refresh token away is not in the record: %v", s.records(t))
	}
	expires := s.clock.now().Add(time.Hour)
	answer := s.tv.Refresh(updated(map[string]any{
		"accessToken": "access-1-canary", "refreshToken": "refresh-1-canary", "expiryTime": expires.UnixMilli(), "scopes": []string{"calendar", "mail"},
		"tokenType": "Bearer", "idToken": "id-canary",
	}, map[string]any{"creationId": creation, "sequence": 1}))
	if answer.Status != "updated" || answer.NewExpiresAt != expires.Format("2006-01-02T15:04:05.000Z07:00") {
		t.Errorf("update: %+v, want updated until %v", answer, expires)
	}
	s.holds(t, "google", "access-1-canary", "refresh-1-canary")
	meta := s.meta(t, "google")
	if meta["creationId"] != creation || meta["refreshSequence"] != float64(1) || meta["expiryTime"] != float64(expires.UnixMilli()) ||
		meta["expiresAt"] != answer.NewExpiresAt || meta["hasRefreshToken"] != true || meta["displayName"] != "Mine" || meta["tokenType"] != "OAuth" || meta["idToken"] != nil {
		t.Errorf("metadata is %v, want the new expiry and sequence, and the rest as before", meta)
	}
	if !s.recorded(t, "refresh_update", "ok") {
		t.Errorf("the update is not in the record: %v", s.records(t))
	}
	// Without a refresh token the stored one stays; without an expiry none is known.
	s.tv.Refresh(updated(map[string]any{"accessToken": "access-2-canary"}, nil))
	s.holds(t, "google", "access-2-canary", "refresh-1-canary")
	if meta := s.meta(t, "google"); meta["expiryTime"] != nil || meta["expiresAt"] != nil || meta["refreshSequence"] != float64(2) || meta["hasRefreshToken"] != true {
		t.Errorf("metadata is %v, want no expiry, and sequence 2", meta)
	}
}

func TestAnUpdateThatIsLateOrOfAnotherTokenChangesNothing(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil, config(throughTV))
	creation := s.theirs(t, "google")
	first := updated(map[string]any{"accessToken": "access-5-canary", "refreshToken": "refresh-5-canary"}, map[string]any{"creationId": creation, "sequence": 5})
	s.tv.Refresh(first)
	check := unchanged(t, s.wh)
	if got := s.tv.Refresh(first); got.Status != "updated" { // its answer was lost
		t.Errorf("the same update again: %+v, want updated", got)
	}
	tokens := map[string]any{"accessToken": "late", "refreshToken": "late"}
	for name, more := range map[string]map[string]any{
		"the same number":       {"creationId": creation, "sequence": 5},
		"an older number":       {"creationId": creation, "sequence": 4},
		"without a creation":    {"sequence": 3},
		"of another creation":   {"creationId": "another", "sequence": 6},
		"creation alone":        {"creationId": "another"},
		"of a token that isn't": {"creationId": creation, "sequence": 6, "service": "gone"},
	} {
		t.Log(name)
		refused(t, s.tv.TryRefresh(updated(tokens, more)), http.StatusConflict, wire.CodeStaleCreation)
	}
	check()
	if !s.recorded(t, "refresh_update", "stale_creation") {
		t.Errorf("what was refused is not in the record: %v", s.records(t))
	}
	// A token that was stored anew begins to count from the start.
	s.theirs(t, "google")
	refused(t, s.tv.TryRefresh(updated(tokens, map[string]any{"creationId": creation, "sequence": 6})), http.StatusConflict, wire.CodeStaleCreation)
	s.holds(t, "google", "access-0-canary", "refresh-0-canary")
}

func TestWhatTVMayNotRefreshIsSaidAndStaysAsItIs(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil, config(throughTV))
	s.theirs(t, "google")
	s.store("ours", s.expired(), nil)
	s.tv.Store("key", plain("ghp_canary"))
	check := unchanged(t, s.wh)
	for service, want := range map[string]string{"missing": "no_token", "key": "no_refresh_token"} {
		if got := s.tv.Refresh(map[string]any{"action": "get", "service": service}); got.Status != want || got.RefreshToken != "" || got.Meta != nil {
			t.Errorf("get of %s: %+v, want %s", service, got, want)
		}
		if got := s.tv.Refresh(updated(map[string]any{"accessToken": "x"}, map[string]any{"service": service})); got.Status != want {
			t.Errorf("update of %s: %+v, want %s", service, got, want)
		}
	}
	// Whose client secret is here, does not go through TV.
	refused(t, s.tv.TryRefresh(map[string]any{"action": "get", "service": "ours"}), http.StatusForbidden, wire.CodeForbidden)
	refused(t, s.tv.TryRefresh(updated(map[string]any{"accessToken": "x"}, map[string]any{"service": "ours"})), http.StatusForbidden, wire.CodeForbidden)
	if !s.recorded(t, "refresh_get", "forbidden") || !s.recorded(t, "refresh_update", "forbidden") {
		t.Errorf("the refusals are not in the record: %v", s.records(t))
	}
	long := strings.Repeat("x", 256<<10+1)
	for name, fields := range map[string]map[string]any{
		"no action":               {"service": "google"},
		"unknown action":          {"action": "delete", "service": "google"},
		"no service":              {"action": "get"},
		"a service as a path":     {"action": "get", "service": "../google"},
		"neither form":            {"action": "update", "service": "google"},
		"both forms":              updated(map[string]any{"accessToken": "x"}, map[string]any{"sealed": map[string]any{"creationId": "c", "sequence": 1}}),
		"no access token":         updated(map[string]any{"refreshToken": "x"}, nil),
		"an empty access token":   updated(map[string]any{"accessToken": ""}, nil),
		"a long access token":     updated(map[string]any{"accessToken": long}, nil),
		"a long refresh token":    updated(map[string]any{"accessToken": "x", "refreshToken": long}, nil),
		"tokens of another type":  updated(map[string]any{"accessToken": 7}, nil),
		"a negative expiry":       updated(map[string]any{"accessToken": "x", "expiryTime": -1}, nil),
		"an expiry of far away":   updated(map[string]any{"accessToken": "x", "expiryTime": 1 << 60}, nil),
		"an expiry in words":      updated(map[string]any{"accessToken": "x", "expiryTime": "tomorrow"}, nil),
		"a negative sequence":     updated(map[string]any{"accessToken": "x"}, map[string]any{"sequence": -1}),
		"a sequence out of range": updated(map[string]any{"accessToken": "x"}, map[string]any{"sequence": 1<<53 + 1}),
		"sealed with a creation":  {"action": "update", "service": "google", "creationId": "c", "sealed": map[string]any{"creationId": "c", "sequence": 1}},
		"sealed without one":      {"action": "update", "service": "google", "sealed": map[string]any{"sequence": 1}},
		"sealed without a number": {"action": "update", "service": "google", "sealed": map[string]any{"creationId": "c"}},
	} {
		t.Log(name)
		refused(t, s.tv.TryRefresh(fields), http.StatusBadRequest, wire.CodeInvalidRequest)
	}
	check()
	unsigned := s.tv.Request(http.MethodPost, wire.PathRefresh, map[string]any{"action": "get", "service": "google"})
	refused(t, s.tv.Do(unsigned), http.StatusUnauthorized, wire.CodeAuthFailed)
}

func TestWhatWaitedSealedIsAppliedOnceAndInOrder(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil, config(throughTV))
	creation := s.theirs(t, "google")
	seal := func(service, creation string, sequence int64, n string) map[string]any {
		return map[string]any{"action": "update", "service": "google", "sealed": s.tv.Seal(service, creation, sequence, wire.RefreshTokens{
			AccessToken: "access-" + n + "-canary", RefreshToken: "refresh-" + n + "-canary", ExpiryTime: s.clock.now().Add(time.Hour).UnixMilli(),
		})}
	}
	late, next := seal("google", creation, 1, "1"), seal("google", creation, 2, "2")
	if got := s.tv.Refresh(next); got.Status != "updated" || got.NewExpiresAt == "" {
		t.Errorf("sealed tokens: %+v, want updated", got)
	}
	s.holds(t, "google", "access-2-canary", "refresh-2-canary")
	check := unchanged(t, s.wh)
	for name, entry := range map[string]map[string]any{
		"an older one":        late,
		"the same again":      next,
		"of another creation": seal("google", "another", 3, "3"),
	} {
		t.Log(name)
		refused(t, s.tv.TryRefresh(entry), http.StatusConflict, wire.CodeStaleCreation)
	}
	refused(t, s.tv.TryRefresh(seal("gitlab", creation, 3, "3")), http.StatusBadRequest, wire.CodeInvalidRequest)
	altered, _ := seal("google", creation, 3, "3")["sealed"].(wire.Sealed)
	altered.Sequence = 4
	refused(t, s.tv.TryRefresh(map[string]any{"action": "update", "service": "google", "sealed": altered}), http.StatusBadRequest, wire.CodeInvalidRequest)
	empty := s.tv.Seal("google", creation, 3, wire.RefreshTokens{})
	refused(t, s.tv.TryRefresh(map[string]any{"action": "update", "service": "google", "sealed": empty}), http.StatusBadRequest, wire.CodeInvalidRequest)
	check()
	// A change that came another way is newer than what still waits.
	waiting := seal("google", creation, 3, "3")
	s.tv.Refresh(updated(map[string]any{"accessToken": "access-4-canary", "refreshToken": "refresh-4-canary"}, nil))
	refused(t, s.tv.TryRefresh(waiting), http.StatusConflict, wire.CodeStaleCreation)
	s.holds(t, "google", "access-4-canary", "refresh-4-canary")
	// Deleted: there is nothing to apply it to.
	s.tv.Operate(map[string]any{"operation": "delete", "collection": "tokens", "key": "google"})
	refused(t, s.tv.TryRefresh(seal("google", creation, 5, "5")), http.StatusConflict, wire.CodeStaleCreation)
}

func TestWhatWasAppliedLastSurvivesARestart(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil, config(throughTV))
	creation := s.theirs(t, "google")
	entry := map[string]any{"action": "update", "service": "google", "sealed": s.tv.Seal("google", creation, 3, wire.RefreshTokens{AccessToken: "access-3-canary"})}
	s.tv.Refresh(entry)
	s.wh.Stop()
	s.clock.move(time.Second)
	s.wh = webhooktest.Start(t, s.wh.Dir, webhooktest.WithClock(s.clock.now), s.log.option(), config(throughTV))
	s.tv.URL = s.wh.URL
	refused(t, s.tv.TryRefresh(entry), http.StatusConflict, wire.CodeStaleCreation)
	s.holds(t, "google", "access-3-canary", "refresh-0-canary")
}
