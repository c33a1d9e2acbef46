package wire_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestTokensOfOthersAreReadWhateverStandsBesideThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]wire.RefreshTokens{
		`{"accessToken":"a"}`: {AccessToken: "a"},
		`{"accessToken":"a","refreshToken":"r","expiryTime":1893553385000}`:         {AccessToken: "a", RefreshToken: "r", ExpiryTime: 1893553385000},
		`{"accessToken":"a","refreshToken":null,"expiryTime":null,"scopes":null}`:   {AccessToken: "a"},
		`{"accessToken":"a","expiryTime":1893553385000.9}`:                          {AccessToken: "a", ExpiryTime: 1893553385000},
		`{"accessToken":"a","expiryTime":1.893553385e12}`:                           {AccessToken: "a", ExpiryTime: 1893553385000},
		`{"accessToken":"a","expiryTime":"1893553385000"}`:                          {AccessToken: "a", ExpiryTime: 1893553385000},
		`{"accessToken":"a","expiryTime":-1}`:                                       {AccessToken: "a", ExpiryTime: -1},
		`{"accessToken":"a","scopes":["x","y","x"]}`:                                {AccessToken: "a", Scopes: []string{"x", "y"}},
		`{"accessToken":"a","scopes":" x  y "}`:                                     {AccessToken: "a", Scopes: []string{"x", "y"}},
		`{"accessToken":"a","scopes":["x",1,null,"","a b","é","\"","\\",["z"]]}`:    {AccessToken: "a", Scopes: []string{"x"}},
		`{"accessToken":"a","scopes":{"x":1}}`:                                      {AccessToken: "a"},
		`{"accessToken":"a","scopes":7,"scope":"b","tokenType":"Bearer","more":{}}`: {AccessToken: "a"},
	} {
		var got wire.RefreshTokens
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got.AccessToken != want.AccessToken || got.RefreshToken != want.RefreshToken || got.ExpiryTime != want.ExpiryTime || !slices.Equal(got.Scopes, want.Scopes) {
			t.Errorf("%s: got %q %q %d %q, want %q %q %d %q", text, got.AccessToken, got.RefreshToken, got.ExpiryTime, got.Scopes,
				want.AccessToken, want.RefreshToken, want.ExpiryTime, want.Scopes)
		}
	}
	for _, text := range []string{`{"accessToken":7}`, `{"accessToken":"a","refreshToken":[]}`, `{"accessToken":"a","expiryTime":"tomorrow"}`,
		`{"accessToken":"a","expiryTime":true}`, `{"accessToken":"a","expiryTime":1e300}`, `{"accessToken":"a","expiryTime":-1e17}`, `[]`, `"x"`} {
		got := wire.RefreshTokens{AccessToken: "before"}
		if err := json.Unmarshal([]byte(text), &got); err == nil || got.AccessToken != "before" {
			t.Errorf("%s: got no error, or half of it", text)
		}
	}
}

// FuzzRefreshTokens reads tokens from outside, and again what it made of them.
func FuzzRefreshTokens(f *testing.F) {
	f.Add([]byte(`{"accessToken":"a","refreshToken":"r","expiryTime":1893553385000.5,"scopes":["x","y"]}`))
	f.Add([]byte(`{"accessToken":"a","expiryTime":"1e9","scopes":"x y"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var once, twice wire.RefreshTokens
		if json.Unmarshal(text, &once) != nil {
			return
		}
		again, err := json.Marshal(once)
		if err != nil || json.Unmarshal(again, &twice) != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if once.AccessToken != twice.AccessToken || once.RefreshToken != twice.RefreshToken || once.ExpiryTime != twice.ExpiryTime || !slices.Equal(once.Scopes, twice.Scopes) {
			t.Fatal("what was read is read otherwise the second time")
		}
	})
}
