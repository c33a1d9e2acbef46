package mint

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// nowhere fails the test that makes a call.
type nowhere struct{ t *testing.T }

func (n nowhere) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("a call of %s, want none: no input has a whole private key", r.URL)
	return nil, errors.New("nowhere")
}

// FuzzMint has no good key among its seeds: signing with one is so slow, and takes
// so many different ways, that the fuzzer would not get anywhere.
func FuzzMint(f *testing.F) {
	const pem = "-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----\\n"
	f.Add([]byte(`{"type":"service_account","project_id":"p","private_key_id":"k","private_key":"`+pem+`","client_email":"a@b","token_uri":"https://oauth2.googleapis.com/token"}`), "https://a https://b")
	f.Add([]byte(`{"type":"service_account","token_uri":5}`), "")
	f.Add([]byte(`[]`), "\x00")
	f.Fuzz(func(t *testing.T, raw []byte, scopes string) {
		client := &http.Client{Transport: nowhere{t}}
		token, err := GCP{}.Mint(context.Background(), Request{Raw: raw, Meta: map[string]any{MetaScopes: scopes}, Now: time.Unix(1, 0), Client: client})
		var failed *Error
		if !errors.As(err, &failed) || failed.Problem == "" || token.AccessToken != "" {
			t.Fatalf("got %v, %v, want an *Error that says what is wrong", token, err)
		}
	})
}

func FuzzTokenEndpoint(f *testing.F) {
	for _, seed := range []string{
		"https://oauth2.googleapis.com/token", "https://accounts.google.com:443/o/oauth2/token", "http://tokens.example/t",
		"https://oauth2.googleapis.com@evil.example/", "https://evil.example/#.googleapis.com", "https://[::1%25.googleapis.com]/", "//x", "https:x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := GCP{AllowedTokenHosts: []string{"tokens.example"}}.tokenEndpoint(uri)
		if err != nil {
			return
		}
		host := strings.ToLower(u.Hostname())
		google := host == "accounts.google.com" || strings.HasSuffix(host, ".googleapis.com")
		if !google && host != "tokens.example" || google && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q: got %v accepted, want it refused", uri, u)
		}
		if strings.ContainsAny(host, "/@?#\\ ") || u.Port() != "" && u.Port() != "443" {
			t.Fatalf("%q: got host %q, port %q, want a plain host on port 443", uri, host, u.Port())
		}
	})
}

func FuzzScopes(f *testing.F) {
	f.Add("https://a https://b")
	f.Add(" \t\"")
	f.Fuzz(func(t *testing.T, text string) {
		scopes, err := readScopes(text, DefaultGCPScope)
		if err != nil {
			return
		}
		for _, scope := range scopes {
			if scope == "" || strings.ContainsAny(scope, " \t\r\n\"\\") {
				t.Fatalf("%q: got the scope %q, want it refused", text, scope)
			}
		}
		if again, err := readScopes(strings.Join(scopes, " "), DefaultGCPScope); err != nil || len(again) != len(scopes) {
			t.Fatalf("%q: got %q and, joined and read again, %q, %v", text, scopes, again, err)
		}
	})
}
