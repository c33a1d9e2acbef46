package connect

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Whatever a provider writes into an ID token, a page can show what is made of it, and
// only one for this flow is believed.
func FuzzIDToken(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	f.Add(`{"iss":"https://id.example","aud":"c","sub":"u","exp":1800000100,"nonce":"n","email":"a@example.com"}`)
	f.Add(`{"iss":"https://id.example","aud":["c"],"sub":"\u0000","exp":1e300,"nonce":"n","id":12,"login":"x"}`)
	f.Add(`[]`)
	p := refresh.Provider{Issuer: "https://id.example", ClientID: "c"}
	fl := &flow{Nonce: "n", Scopes: []string{"openid"}}
	f.Fuzz(func(t *testing.T, payload string) {
		c, err := readIDToken("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".x")
		if err == nil {
			err = c.check(p, fl, now)
		}
		if err == nil && (c.Issuer != p.Issuer || c.Nonce != "n" || c.Expires < float64(now.Add(-skew).Unix()) || c.Subject == "") {
			t.Errorf("%q is believed", payload)
		}
		who := c.identity()
		for _, text := range []string{who.id, who.name} {
			if len(text) > 4*maxSubject || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q becomes %q", payload, text)
			}
		}
	})
}

// What stands in the address of an answer is repeated only if it is an error's name.
func FuzzProviderError(f *testing.F) {
	f.Add("access_denied")
	f.Add("<b>")
	f.Fuzz(func(t *testing.T, code string) {
		err := fault.From(providerError(code, "Test"))
		if err.Code != fault.InvalidRequest && err.Code != fault.Unavailable {
			t.Errorf("%q: %s", code, err.Code)
		}
		if !errorCode.MatchString(code) && len(code) > 3 && strings.Contains(err.Message, code) && !strings.Contains("Test refused: an error without a proper name. Nothing was connected.", code) {
			t.Errorf("%q is shown: %s", code, err.Message)
		}
	})
}
