package refresh

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, "application/json", `{"access_token":"a","refresh_token":"r","expires_in":"3600","scope":["x"]}`)
	f.Add(200, "application/x-www-form-urlencoded", `access_token=a&scope=repo,gist&expires_in=1e3`)
	f.Add(200, "application/json", `{"error":"bad_refresh_token","error_description":"sent-refresh-token-canary"}`)
	f.Add(400, "text/html", `{"error":"invalid_grant"}`)
	f.Add(503, "", "")
	const sent = "sent-refresh-token-canary"
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		got, err := answered(status, contentType, body).tokens(Provider{DefaultLifetime: time.Minute}, asked)
		if err == nil {
			for _, token := range []Secret{got.AccessToken, got.RefreshToken, got.IDToken} {
				if len(token) > maxToken || !isVisible(strings.ReplaceAll(string(token), " ", "")) {
					t.Errorf("a token that is none: %q", string(token))
				}
			}
			if got.AccessToken == "" || status < 200 || status > 299 {
				t.Errorf("tokens %q with status %d", string(got.AccessToken), status)
			}
			if !got.ExpiresAt.After(asked) || got.ExpiresAt.Sub(asked) > maxLifetime {
				t.Errorf("expires %v, asked %v", got.ExpiresAt, asked)
			}
			if len(got.Scopes) > maxScopes || slices.ContainsFunc(got.Scopes, func(s string) bool { return s == "" || !isVisible(s) }) {
				t.Errorf("scopes %q", got.Scopes)
			}
			return
		}
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Fatalf("got %T, want a *Refusal", err)
		}
		if !slices.Contains(Reasons(), refusal.Reason) || refusal.Permanent != refusal.Reason.Permanent() {
			t.Errorf("reason %q, permanent %t", refusal.Reason, refusal.Permanent)
		}
		if refusal.Permanent && (status >= 500 || status == 429 || status == 408 || status == 425 || !strings.Contains(body, "error")) {
			t.Errorf("permanent by status %d and body %q", status, body)
		}
		checkDescription(t, refusal.Description, sent)
	})
}

func checkDescription(t *testing.T, text, secret string) {
	t.Helper()
	if utf8.RuneCountInString(text) > maxDescription || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("description %q is not fit to print", text)
	}
	for i := 0; i+gram <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+gram]) {
			t.Errorf("description %q holds %q of a secret", text, secret[i:i+gram])
		}
	}
}

func FuzzDescriptionHoldsNoSecret(f *testing.F) {
	f.Add("unknown refresh token abcdefghijkl", "abcdefghijklmnop")
	f.Add("abcdefg\x00h", "abcdefgh")
	f.Fuzz(func(t *testing.T, text, secret string) {
		if len(secret) < gram || strings.Contains(redacted, secret) {
			return // short ones are found whole
		}
		for _, r := range secret {
			if r <= ' ' || r > '~' || strings.ContainsRune(redacted, r) {
				return // not what a token looks like, or like the mask
			}
		}
		checkDescription(t, describe(text+secret+text, Secret(secret)), secret)
	})
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "")
	f.Add("Wed, 04 Mar 2026 05:07:07 GMT", "Wed, 04 Mar 2026 05:06:07 GMT")
	f.Add("-1", "x")
	f.Fuzz(func(t *testing.T, value, date string) {
		h := http.Header{"Retry-After": {value}, "Date": {date}}
		if got := retryAfter(h, func() time.Time { return asked }); got < 0 || got > MaxRetryAfter {
			t.Errorf("Retry-After %q: got %v", value, got)
		}
	})
}

func FuzzDiscovery(f *testing.F) {
	f.Add("https://issuer.example", `{"issuer":"https://issuer.example","token_endpoint":"https://issuer.example/token"}`)
	f.Add("https://issuer.example/t", `{"issuer":"https://issuer.example/t","token_endpoint":"http://issuer.example/token"}`)
	f.Add("http://127.0.0.1:1", `{"issuer":"http://127.0.0.1:1","token_endpoint":"http://127.0.0.1:1/#x"}`)
	f.Fuzz(func(t *testing.T, issuer, body string) {
		p, err := answered(http.StatusOK, "application/json", body).provider(issuer, strings.HasPrefix(issuer, "https:"))
		if err != nil {
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Permanent {
				t.Errorf("got %v, want a transient *Refusal", err)
			}
			return
		}
		if p.Issuer != issuer || p.TokenURL == "" {
			t.Errorf("issuer %q, token endpoint %q", p.Issuer, p.TokenURL)
		}
		for _, endpoint := range []string{p.AuthorizationURL, p.TokenURL, p.RevocationURL, p.UserInfoURL} {
			u, err := url.Parse(endpoint)
			if err != nil || endpoint != "" && (u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(issuer, "https:"))) {
				t.Errorf("endpoint %q of issuer %q", endpoint, issuer)
			}
		}
	})
}
