package vaults

import (
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestTimesOfAnItem(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)
	for raw, want := range map[string]*time.Time{
		`1772600767089`: &at, `"1772600767089"`: &at, `1.772600767089e12`: &at, `"2026-03-04T05:06:07.089Z"`: &at,
		`"2026-03-04T06:06:07.089+01:00"`: &at, `0`: nil, `-1`: nil, `1e30`: nil, `"NaN"`: nil, `"tomorrow"`: nil, `null`: nil, `{}`: nil,
		`"0001-01-01T00:00:00Z"`: nil,
	} {
		var got when
		if err := json.Unmarshal([]byte(raw), &got); err != nil {
			t.Errorf("%s: %v, want no error", raw, err)
		}
		if (got.at == nil) != (want == nil) || want != nil && !got.at.Equal(*want) {
			t.Errorf("%s = %v, want %v", raw, got.at, want)
		}
	}
}

func TestStatusOfAToken(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name        string
		in          time.Duration // until its expiry, 0: none
		refreshable bool
		want        string
	}{
		{"without an expiry", 0, false, StatusActive},
		{"for a day", 24 * time.Hour, false, StatusActive},
		{"for less than a day", 24*time.Hour - 1, false, StatusExpiring},
		{"for less than a day, and refreshable", time.Minute, true, StatusActive},
		{"at its last moment", 1, false, StatusExpiring},
		{"just over", -1, false, StatusExpired},
		{"over, and refreshable", -time.Hour, true, StatusExpired},
	} {
		token := models.Token{HasRefreshToken: c.refreshable}
		if c.in != 0 {
			at := now.Add(c.in)
			token.ExpiresAt = &at
		}
		if got := (lens{mode: models.ModeWebhook, now: now}).view(token, nil).Status; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	ends := now
	if got := (lens{mode: models.ModeWebhook, now: now}).view(models.Token{ExpiresAt: &ends}, nil).Status; got != StatusExpired {
		t.Errorf("at the moment of expiry: %q, want %q", got, StatusExpired)
	}
}

// FuzzIndexed: whatever a webhook lists, a row fits the database and its limits.
func FuzzIndexed(f *testing.F) {
	f.Add("github", []byte(`{"serviceName":"github","tags":["a","b"],"expiryTime":1772600767089,"hasRefreshToken":true}`))
	f.Add("", []byte(`{"serviceName":"x","notes":"\u0000\ud800","displayName":"\u202e","tags":[1,null,"  "]}`))
	f.Add("k", []byte(`[]`))
	f.Add("k", []byte(`{"createdAt":"9999-12-31T23:59:59Z","expiryTime":253402300799999}`))
	f.Fuzz(func(t *testing.T, key string, meta []byte) {
		token, ok := indexed(wire.StorageItem{Key: key, Meta: meta})
		if !ok {
			return
		}
		if !wire.ValidServiceName(token.ServiceName) {
			t.Fatalf("service %q", token.ServiceName)
		}
		texts := append([]string{token.TokenType, token.DisplayName, token.Notes, token.Provider, token.CreationID}, token.Tags...)
		for _, s := range texts {
			if !readable(s, maxListedNotes, true) {
				t.Fatalf("text %q", s)
			}
		}
		if utf8.RuneCountInString(token.DisplayName) > maxListedName || len(token.Tags) > maxListedTags {
			t.Fatalf("%d characters, %d tags", utf8.RuneCountInString(token.DisplayName), len(token.Tags))
		}
		for _, at := range []*time.Time{token.ExpiresAt, token.StoredAt} {
			if at != nil && (at.Year() < 1970 || at.Year() > 9999) {
				t.Fatalf("time %v", at)
			}
		}
	})
}

func TestWhatAnItemSaysOfItsIssue(t *testing.T) {
	t.Parallel()
	for meta, want := range map[string]models.Token{
		`{"subject": "ada", "scopes": ["read", "send"], "scope": "other"}`:   {Subject: "ada", Scope: "read send"},
		`{"subject": 5, "scopes": "read", "scope": "read,send"}`:             {Scope: "read send"},
		`{"subject": "a\u0000b", "scopes": [], "scope": "read  send read"}`:  {Subject: "ab", Scope: "read send"},
		`{"scopes": ["a b", 5, "c\u0000", ""], "issuedAt": "2026-03-04 at"}`: {Scope: "a b"},
	} {
		got, ok := indexed(wire.StorageItem{Key: "x", Meta: json.RawMessage(meta)})
		if !ok || got.Subject != want.Subject || got.Scope != want.Scope || got.IssuedAt != nil {
			t.Errorf("%s: got %q, %q, %v; want %q, %q", meta, got.Subject, got.Scope, got.IssuedAt, want.Subject, want.Scope)
		}
	}
}
