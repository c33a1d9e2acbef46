package mint_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const goodAnswer = `{"access_token":"ya29.short-lived","token_type":"Bearer","expires_in":3599}`

func TestAServiceAccountBecomesAToken(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
	got, err := e.minter.Mint(context.Background(), e.request(nil, nil))
	if err != nil {
		t.Fatalf("Mint: got %v, want a token", err)
	}
	if got.AccessToken != "ya29.short-lived" || got.TokenType != "Bearer" {
		t.Errorf("got %q, %q, want ya29.short-lived, Bearer", got.AccessToken, got.TokenType)
	}
	if want := now().Add(3599 * time.Second); !got.ExpiresAt.Equal(want) {
		t.Errorf("ExpiresAt: got %v, want %v", got.ExpiresAt, want)
	}
	if want := map[string]any{"projectId": "sample-project", "scopes": []string{mint.DefaultGCPScope}}; !reflect.DeepEqual(got.Extra, want) {
		t.Errorf("Extra: got %v, want %v", got.Extra, want)
	}
}

func TestTheAssertionIsThatOfRFC7523(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, netguard.Policy{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		answers(200, goodAnswer)(w, r)
	})
	if _, err := e.minter.Mint(context.Background(), e.request(nil, nil)); err != nil {
		t.Fatalf("Mint: got %v, want a token", err)
	}
	calls, form := e.seen()
	if calls != 1 || len(form) != 2 || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Fatalf("got %d calls with fields %v, want 1 with grant_type and assertion", calls, reflect.ValueOf(form).MapKeys())
	}
	header, claims := e.verify(t, form.Get("assertion"))
	if header["kid"] != "key-1" || header["typ"] != "JWT" {
		t.Errorf("header: got %v, want kid key-1 and typ JWT", header)
	}
	if claims["scope"] != mint.DefaultGCPScope {
		t.Errorf("scope: got %v, want %s", claims["scope"], mint.DefaultGCPScope)
	}
	if life := claims["exp"].(float64) - claims["iat"].(float64); life != 3600 {
		t.Errorf("life: got %v s, want 3600, the most that Google accepts", life)
	}
	if got, want := claims["iat"].(float64), float64(now().Unix()-10); got != want {
		t.Errorf("iat: got %v, want %v", got, want)
	}
	if len(claims) != 5 {
		t.Errorf("claims: got %v, want iss, aud, scope, iat and exp", claims)
	}
}

func TestScopesAreReadFromTheMetadata(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scopes any
		want   string
	}{
		"a string":           {"https://a/1 https://a/2", "https://a/1 https://a/2"},
		"a string, untidy":   {" https://a/1\t\nhttps://a/2 ", "https://a/1 https://a/2"},
		"a decoded list":     {[]any{"https://a/1", "https://a/2"}, "https://a/1 https://a/2"},
		"a list":             {[]string{"https://a/1"}, "https://a/1"},
		"an empty string":    {"", mint.DefaultGCPScope},
		"an empty list":      {[]any{}, mint.DefaultGCPScope},
		"null":               {nil, mint.DefaultGCPScope},
		"as many as allowed": {strings.Repeat("s ", 64), strings.TrimSpace(strings.Repeat("s ", 64))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
			if _, err := e.minter.Mint(context.Background(), e.request(nil, map[string]any{"scopes": c.scopes})); err != nil {
				t.Fatalf("Mint: got %v, want a token", err)
			}
			_, form := e.seen()
			if _, claims := e.verify(t, form.Get("assertion")); claims["scope"] != c.want {
				t.Errorf("scope: got %v, want %v", claims["scope"], c.want)
			}
		})
	}
}

// mustRefuse checks that Mint fails with a permanent *Error that says why and holds
// no canary, and that nobody was called.
func mustRefuse(t *testing.T, e *tokenEndpoint, r mint.Request, says string) {
	t.Helper()
	token, err := e.minter.Mint(context.Background(), r)
	var failed *mint.Error
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, %v, want an *Error", token, err)
	}
	if failed.Kind != mint.KindGCP || failed.Code != wire.CodeGCPMintFailed || failed.Temporary || failed.Timeout {
		t.Errorf("got %+v, want kind gcp, code gcp_mint_failed, neither temporary nor a timeout", failed)
	}
	if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %q, want it to say %q and to hold no canary", err, says)
	}
	if calls, _ := e.seen(); calls != 0 || token.AccessToken != "" {
		t.Errorf("got %d calls and a token %q, want none", calls, token.AccessToken)
	}
}

func TestABadKeyFileIsRefusedBeforeAnyCall(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := pkcs8(testKey())
	for name, c := range map[string]struct {
		field string
		value any
		says  string
	}{
		"no type":                 {"type", nil, "type is not"},
		"another type":            {"type", "authorized_user", "type is not"},
		"a type that is a number": {"type", 5, "not JSON of the expected form"},
		"no client_email":         {"client_email", nil, "client_email is missing"},
		"a long client_email":     {"client_email", "canary" + strings.Repeat("x", 600), "client_email is too long"},
		"a line break in it":      {"client_email", "canary\n@x", "client_email is too long or has"},
		"no private_key_id":       {"private_key_id", "", "private_key_id is missing"},
		"no token_uri":            {"token_uri", nil, "token_uri is missing"},
		"a long project_id":       {"project_id", strings.Repeat("canary", 100), "project_id is too long"},
		"no private_key":          {"private_key", nil, "private_key is missing"},
		"a key that is not PEM":   {"private_key", "canary", "private_key is not one block"},
		"two keys":                {"private_key", good + good, "private_key is not one block"},
		"something after the key": {"private_key", good + "canary", "private_key is not one block"},
		"a certificate":           {"private_key", strings.ReplaceAll(good, "PRIVATE KEY", "CERTIFICATE"), "neither PKCS #8 nor"},
		"an encrypted key":        {"private_key", strings.ReplaceAll(good, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "neither PKCS #8 nor"},
		"a wrong label":           {"private_key", strings.ReplaceAll(good, "PRIVATE KEY", "RSA PRIVATE KEY"), "private_key cannot be read"},
		"a broken key":            {"private_key", "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n", "private_key cannot be read"},
		"an elliptic key":         {"private_key", pkcs8(elliptic), "not an RSA key"},
		"a key of 1024 bits":      {"private_key", pkcs8(small), "private_key"},
		"more than a file has":    {"client_id", strings.Repeat("canary", 6000), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
			mustRefuse(t, e, e.request(map[string]any{c.field: c.value}, nil), c.says)
		})
	}
	for name, raw := range map[string]string{"empty": "", "not JSON": "canary", "a list": `["canary"]`, "two values": `{}{}`, "not UTF-8": "\xff"} {
		e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
		r := e.request(nil, nil)
		r.Raw = []byte(raw)
		t.Run(name, func(t *testing.T) { mustRefuse(t, e, r, "service account") })
	}
}

func TestBadScopesAreRefusedBeforeAnyCall(t *testing.T) {
	t.Parallel()
	for name, scopes := range map[string]any{
		"a number":              5,
		"an object":             map[string]any{"canary": true},
		"a list with a number":  []any{"https://a", 5},
		"a list with an empty":  []any{""},
		"a scope with a space":  []any{"canary canary"},
		"a scope with a quote":  `canary"`,
		"a scope with a return": []string{"canary\rcanary"},
		"a scope not in ASCII":  "cänary",
		"a long scope":          strings.Repeat("s", 257),
		"a long string":         strings.Repeat("s ", 20_000),
		"65 scopes":             strings.Repeat("s ", 65),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
			mustRefuse(t, e, e.request(nil, map[string]any{"scopes": scopes}), "scope")
		})
	}
}

func TestAKeyFileCannotSteerItsAssertionElsewhere(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]string{
		"another host":                 "https://canary.example/token",
		"a host that ends alike":       "https://canarygoogleapis.com/token",
		"a host that begins alike":     "https://oauth2.googleapis.com.canary.example/token",
		"Google as user information":   "https://oauth2.googleapis.com@canary.example/token",
		"user information":             "https://canary@oauth2.googleapis.com/token",
		"another port of Google's":     "https://oauth2.googleapis.com:8443/token",
		"plain http to Google":         "http://oauth2.googleapis.com/token",
		"another scheme":               "ftp://oauth2.googleapis.com/token",
		"a query":                      "https://oauth2.googleapis.com/token?canary",
		"an empty query":               "https://oauth2.googleapis.com/token?",
		"a fragment":                   "https://oauth2.googleapis.com/token#canary",
		"no host":                      "https:///token",
		"no scheme":                    "oauth2.googleapis.com/token",
		"not a URL":                    "https://[canary",
		"metadata":                     "http://169.254.169.254/token",
		"loopback that is not allowed": "http://127.0.0.1:1/token",
		"a backslash":                  `https://canary.example\.googleapis.com/token`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
			mustRefuse(t, e, e.request(map[string]any{"token_uri": uri}, nil), "token_uri")
		})
	}
}

// hostRecorder notes where a request would have gone, and sends it nowhere.
type hostRecorder struct{ url string }

func (h *hostRecorder) RoundTrip(r *http.Request) (*http.Response, error) {
	h.url = r.URL.String()
	return nil, netguard.ErrBlocked
}

func TestGooglesHostsAndAllowedOnesAreAsked(t *testing.T) {
	t.Parallel()
	minter := mint.GCP{AllowedTokenHosts: []string{"Tokens.example", "other.example:8443"}}
	for _, uri := range []string{
		"https://oauth2.googleapis.com/token", "https://oauth2.googleapis.com:443/token", "https://accounts.google.com/o/oauth2/token",
		"https://www.googleapis.com/oauth2/v4/token", "https://OAuth2.GoogleAPIs.com/token", "https://oauth2.mtls.googleapis.com/token",
		"https://tokens.example/t", "https://tokens.example:443/t", "https://other.example:8443/t",
	} {
		recorder := &hostRecorder{}
		r := mint.Request{Raw: keyFile(map[string]any{"token_uri": uri}), Now: now(), Client: &http.Client{Transport: recorder}}
		_, err := minter.Mint(context.Background(), r)
		if !errors.Is(err, netguard.ErrBlocked) || recorder.url != uri {
			t.Errorf("%s: got a call of %q, %v, want it called", uri, recorder.url, err)
		}
	}
	for _, uri := range []string{"https://other.example/t", "https://tokens.example:8443/t", "https://sub.tokens.example/t"} {
		recorder := &hostRecorder{}
		r := mint.Request{Raw: keyFile(map[string]any{"token_uri": uri}), Now: now(), Client: &http.Client{Transport: recorder}}
		if _, err := minter.Mint(context.Background(), r); err == nil || recorder.url != "" {
			t.Errorf("%s: got a call of %q, %v, want none", uri, recorder.url, err)
		}
	}
}

func TestAStrictClientHoldsEvenAgainstAllowedHosts(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
	r := e.request(nil, nil)
	r.Client = netguard.Policy{}.Client()
	mustRefuse(t, e, r, "netguard")
	r.Raw = keyFile(map[string]any{"token_uri": strings.Replace(e.url, "http:", "https:", 1)})
	mustRefuse(t, e, r, "netguard")
}

func TestAPKCS1KeyIsAccepted(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
	if _, err := e.minter.Mint(context.Background(), e.request(map[string]any{"private_key": pkcs1(testKey())}, nil)); err != nil {
		t.Fatalf("Mint: got %v, want a token", err)
	}
	_, form := e.seen()
	if header, _ := e.verify(t, form.Get("assertion")); header["alg"] != "RS256" {
		t.Errorf("alg: got %v, want RS256", header["alg"])
	}
}

func TestWithoutAClientOrAClockNothingIsMinted(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, netguard.Policy{}, answers(200, goodAnswer))
	r := e.request(nil, nil)
	r.Client = nil
	mustRefuse(t, e, r, "no client")
	r = e.request(nil, nil)
	r.Now = time.Time{}
	mustRefuse(t, e, r, "no clock")
}

func TestRecognizesTellsAServiceAccountFromTheRest(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{"type":"service_account"}`:        true,
		string(keyFile(nil)):                true,
		" \n" + string(keyFile(nil)) + "\n": true,
		`{"type":"authorized_user"}`:        false,
		`{"type":5}`:                        false,
		`{}`:                                false,
		``:                                  false,
		`service_account`:                   false,
		`"service_account"`:                 false,
		`null`:                              false,
		`{"type":"service_account"}x`:       false,
		strings.Repeat(" ", 40<<10) + `{"type":"service_account"}`: false,
	} {
		if got := (mint.GCP{}).Recognizes([]byte(text)); got != want {
			t.Errorf("Recognizes(%.40q): got %v, want %v", text, got, want)
		}
	}
}
