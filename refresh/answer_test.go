package refresh

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var asked = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

const (
	jsonType = "application/json;charset=UTF-8"
	formType = "application/x-www-form-urlencoded"
)

func answered(status int, contentType, body string) answer {
	return answer{
		status: status, header: http.Header{"Content-Type": {contentType}}, body: []byte(body),
		now: func() time.Time { return asked }, secrets: []Secret{"sent-refresh-token-canary"},
	}
}

func TestAnswersThatGiveTokens(t *testing.T) {
	t.Parallel()
	hour := asked.Add(time.Hour)
	cases := map[string]struct {
		contentType, body string
		want              Tokens
	}{
		"RFC 6749 §5.1": {jsonType, `{"access_token":"a","token_type":"example","expires_in":3600,"refresh_token":"r","example_parameter":"v"}`,
			Tokens{AccessToken: "a", RefreshToken: "r", TokenType: "example", ExpiresAt: hour}},
		"only an access token":              {jsonType, `{"access_token":"a"}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"OpenID Connect":                    {jsonType, `{"access_token":"a","id_token":"x.y.z","token_type":"bearer"}`, Tokens{AccessToken: "a", IDToken: "x.y.z", TokenType: "bearer"}},
		"form":                              {formType, `access_token=a&scope=repo%2Cgist&token_type=bearer&expires_in=3600&refresh_token=r`, Tokens{AccessToken: "a", RefreshToken: "r", TokenType: "bearer", Scopes: []string{"repo", "gist"}, ExpiresAt: hour}},
		"form that says text":               {"text/plain", `access_token=a`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"JSON that says form":               {formType, ` {"access_token":"a"}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"JSON that says nothing":            {"", "\xef\xbb\xbf{\"access_token\":\"a\"}", Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in as a string":            {jsonType, `{"access_token":"a","expires_in":" 3600 "}`, Tokens{AccessToken: "a", TokenType: "Bearer", ExpiresAt: hour}},
		"expires_in as a fraction":          {jsonType, `{"access_token":"a","expires_in":3600.0}`, Tokens{AccessToken: "a", TokenType: "Bearer", ExpiresAt: hour}},
		"expires_in with an exponent":       {jsonType, `{"access_token":"a","expires_in":"3.6e3"}`, Tokens{AccessToken: "a", TokenType: "Bearer", ExpiresAt: hour}},
		"expires_in null":                   {jsonType, `{"access_token":"a","expires_in":null}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in negative":               {jsonType, `{"access_token":"a","expires_in":-1}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in zero":                   {jsonType, `{"access_token":"a","expires_in":0}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in absurd":                 {jsonType, `{"access_token":"a","expires_in":1e308}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in beyond numbers":         {jsonType, `{"access_token":"a","expires_in":1e9999}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in not a number":           {jsonType, `{"access_token":"a","expires_in":"NaN"}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in infinite":               {jsonType, `{"access_token":"a","expires_in":"Inf"}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in in words":               {jsonType, `{"access_token":"a","expires_in":"one hour"}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in a list":                 {jsonType, `{"access_token":"a","expires_in":[3600]}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"expires_in twice, different":       {jsonType, `{"access_token":"a","expires_in":1,"expires_in":3600}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"everything twice, equal":           {jsonType, `{"access_token":"a","access_token":"a","expires_in":3600,"expires_in":3600}`, Tokens{AccessToken: "a", TokenType: "Bearer", ExpiresAt: hour}},
		"scope as a list":                   {jsonType, `{"access_token":"a","scope":["x","y","x"]}`, Tokens{AccessToken: "a", TokenType: "Bearer", Scopes: []string{"x", "y"}}},
		"scope empty":                       {jsonType, `{"access_token":"a","scope":""}`, Tokens{AccessToken: "a", TokenType: "Bearer", Scopes: []string{}}},
		"scope a number":                    {jsonType, `{"access_token":"a","scope":7}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"scope with commas and spaces":      {jsonType, `{"access_token":"a","scope":"x, y,z"}`, Tokens{AccessToken: "a", TokenType: "Bearer", Scopes: []string{"x", "y,z"}}},
		"refresh token null":                {jsonType, `{"access_token":"a","refresh_token":null}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"refresh token empty":               {jsonType, `{"access_token":"a","refresh_token":""}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"an id_token that is none":          {jsonType, `{"access_token":"a","id_token":{"sub":1}}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"error null":                        {jsonType, `{"access_token":"a","error":null}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"an error beside an access token":   {jsonType, `{"access_token":"a","refresh_token":"r","error":"warning"}`, Tokens{AccessToken: "a", RefreshToken: "r", TokenType: "Bearer"}},
		"something behind the object":       {jsonType, `{"access_token":"a"} trailing`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"unknown fields of every kind":      {jsonType, `{"x":{"access_token":"no"},"y":[1,{"z":null}],"access_token":"a","Access_Token":"no"}`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
		"a form with a pair that is broken": {formType, `broken=%zz&access_token=a`, Tokens{AccessToken: "a", TokenType: "Bearer"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := answered(200, c.contentType, c.body).tokens(Provider{}, asked)
			if err != nil {
				t.Fatalf("got %v, want tokens", err)
			}
			if got.AccessToken != c.want.AccessToken || got.RefreshToken != c.want.RefreshToken || got.IDToken != c.want.IDToken || got.TokenType != c.want.TokenType {
				t.Errorf("got %q %q %q %s, want %q %q %q %s", string(got.AccessToken), string(got.RefreshToken), string(got.IDToken), got.TokenType,
					string(c.want.AccessToken), string(c.want.RefreshToken), string(c.want.IDToken), c.want.TokenType)
			}
			if !got.ExpiresAt.Equal(c.want.ExpiresAt) {
				t.Errorf("expires %v, want %v", got.ExpiresAt, c.want.ExpiresAt)
			}
			if !slices.Equal(got.Scopes, c.want.Scopes) || (got.Scopes == nil) != (c.want.Scopes == nil) {
				t.Errorf("scopes %#v, want %#v", got.Scopes, c.want.Scopes)
			}
		})
	}
}

func TestTheProvidersDefaultLifetimeStandsInForExpiresIn(t *testing.T) {
	t.Parallel()
	p := Provider{DefaultLifetime: 8 * time.Hour}
	for body, want := range map[string]time.Time{
		`{"access_token":"a"}`:                   asked.Add(8 * time.Hour),
		`{"access_token":"a","expires_in":-5}`:   asked.Add(8 * time.Hour),
		`{"access_token":"a","expires_in":"60"}`: asked.Add(time.Minute),
	} {
		got, err := answered(200, jsonType, body).tokens(p, asked)
		if err != nil || !got.ExpiresAt.Equal(want) {
			t.Errorf("%s: expires %v (%v), want %v", body, got.ExpiresAt, err, want)
		}
	}
}

func TestAnswersThatRefuse(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		status            int
		contentType, body string
		want              Reason
	}{
		"RFC 6749 §5.2 invalid_grant":        {400, jsonType, `{"error":"invalid_grant"}`, ReasonInvalidGrant},
		"invalid_grant with another 4xx":     {403, jsonType, `{"error":"invalid_grant"}`, ReasonInvalidGrant},
		"invalid_grant as a form":            {400, formType, `error=invalid_grant&error_description=gone`, ReasonInvalidGrant},
		"GitHub: 200 with an error":          {200, jsonType, `{"error":"bad_refresh_token","error_description":"x","error_uri":"y"}`, ReasonInvalidGrant},
		"GitHub: 200, a form":                {200, formType, `error=bad_verification_code`, ReasonInvalidGrant},
		"GitHub: our client":                 {200, jsonType, `{"error":"incorrect_client_credentials"}`, ReasonClientRejected},
		"Slack: 200 with an error":           {200, jsonType, `{"ok":false,"error":"token_revoked"}`, ReasonInvalidGrant},
		"invalid_client":                     {401, jsonType, `{"error":"invalid_client"}`, ReasonClientRejected},
		"unauthorized_client":                {400, jsonType, `{"error":"unauthorized_client"}`, ReasonClientRejected},
		"invalid_request":                    {400, jsonType, `{"error":"invalid_request"}`, ReasonRequestRejected},
		"unsupported_grant_type":             {400, jsonType, `{"error":"unsupported_grant_type"}`, ReasonRequestRejected},
		"invalid_scope":                      {400, jsonType, `{"error":"invalid_scope"}`, ReasonScopeRejected},
		"interaction_required":               {400, jsonType, `{"error":"interaction_required"}`, ReasonInteractionRequired},
		"slow_down":                          {400, jsonType, `{"error":"slow_down"}`, ReasonRateLimited},
		"temporarily_unavailable":            {400, jsonType, `{"error":"temporarily_unavailable"}`, ReasonProviderError},
		"an unknown code":                    {400, jsonType, `{"error":"invalid_grants"}`, ReasonProviderError},
		"another case of a code":             {400, jsonType, `{"error":"INVALID_GRANT"}`, ReasonProviderError},
		"an error object":                    {400, jsonType, `{"error":{"code":400,"status":"INVALID_ARGUMENT"}}`, ReasonProviderError},
		"two different errors":               {400, jsonType, `{"error":"invalid_grant","error":"server_error"}`, ReasonProviderError},
		"two different errors the other way": {400, jsonType, `{"error":"server_error","error":"invalid_grant"}`, ReasonProviderError},
		"tokens with a status of failure":    {400, jsonType, `{"access_token":"a"}`, ReasonProviderError},
		"401 without a word":                 {401, "text/html", `<h1>401</h1>`, ReasonClientRejected},
		"403 of a gateway":                   {403, "text/html", `<h1>blocked</h1>`, ReasonProviderError},
		"404":                                {404, "text/plain", `not found`, ReasonProviderError},
		"408":                                {408, jsonType, `{"error":"invalid_grant"}`, ReasonProviderTimeout},
		"425":                                {425, "", ``, ReasonProviderError},
		"429 that says invalid_grant":        {429, jsonType, `{"error":"invalid_grant"}`, ReasonRateLimited},
		"500 that says invalid_grant":        {500, jsonType, `{"error":"invalid_grant"}`, ReasonProviderError},
		"503 with a page":                    {503, "text/html", `<h1>down</h1>`, ReasonProviderError},
		"599":                                {599, "", ``, ReasonProviderError},
		"a redirect":                         {302, jsonType, `{"error":"invalid_grant"}`, ReasonBrokenAnswer},
		"an empty success":                   {200, jsonType, ``, ReasonBrokenAnswer},
		"204":                                {204, "", ``, ReasonBrokenAnswer},
		"a page":                             {200, "text/html", `<form action="login?a=b">`, ReasonBrokenAnswer},
		"a success without a token":          {200, jsonType, `{"token_type":"bearer"}`, ReasonBrokenAnswer},
		"an empty access token":              {200, jsonType, `{"access_token":""}`, ReasonBrokenAnswer},
		"an empty access token, and why":     {200, jsonType, `{"access_token":"","error":"bad_refresh_token"}`, ReasonInvalidGrant},
		"an access token that is a number":   {200, jsonType, `{"access_token":1}`, ReasonBrokenAnswer},
		"an access token with a line break":  {200, jsonType, `{"access_token":"a\r\nX: y"}`, ReasonBrokenAnswer},
		"an access token beyond ASCII":       {200, jsonType, `{"access_token":"å"}`, ReasonBrokenAnswer},
		"an access token that is too long":   {200, jsonType, `{"access_token":"` + strings.Repeat("a", maxToken+1) + `"}`, ReasonBrokenAnswer},
		"two different access tokens":        {200, jsonType, `{"access_token":"a","access_token":"b"}`, ReasonBrokenAnswer},
		"two different refresh tokens":       {200, formType, `access_token=a&refresh_token=r&refresh_token=s`, ReasonBrokenAnswer},
		"a refresh token that is none":       {200, jsonType, `{"access_token":"a","refresh_token":{}}`, ReasonBrokenAnswer},
		"half an answer":                     {200, jsonType, `{"access_token":"a","refresh_tok`, ReasonBrokenAnswer},
		"an object without its end":          {200, jsonType, `{"access_token":"a"`, ReasonBrokenAnswer},
		"a list":                             {200, jsonType, `[{"access_token":"a"}]`, ReasonBrokenAnswer},
		"garbage":                            {200, jsonType, "\x00\x01", ReasonBrokenAnswer},
		"nested too deeply":                  {200, jsonType, `{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `,"access_token":"a"}`, ReasonBrokenAnswer},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := answered(c.status, c.contentType, c.body).tokens(Provider{}, asked)
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v and tokens %v, want a *Refusal", err, got)
			}
			if refusal.Reason != c.want || refusal.Permanent != c.want.Permanent() || refusal.Status != c.status {
				t.Errorf("got %s, permanent %t, status %d; want %s, %t, %d", refusal.Reason, refusal.Permanent, refusal.Status, c.want, c.want.Permanent(), c.status)
			}
		})
	}
}

func TestEveryCodeHasAReasonOfTheClosedSetAndFewArePermanent(t *testing.T) {
	t.Parallel()
	permanent := []string{}
	for code, reason := range codes {
		if !slices.Contains(Reasons(), reason) {
			t.Errorf("%s means %s, which is not in Reasons()", code, reason)
		}
		if reason.Permanent() {
			permanent = append(permanent, code)
		}
	}
	slices.Sort(permanent)
	want := []string{
		"account_selection_required", "bad_refresh_token", "bad_verification_code", "consent_required", "interaction_required", "invalid_code",
		"invalid_grant", "invalid_refresh_token", "login_required", "token_expired", "token_revoked",
	}
	if !slices.Equal(permanent, want) {
		t.Errorf("permanent codes are %q, want %q", permanent, want)
	}
}

func TestRetryAfterIsReadAsSecondsAndAsDate(t *testing.T) {
	t.Parallel()
	date := func(d time.Duration) string { return asked.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"120", "", 2 * time.Minute},
		{" 7 ", "", 7 * time.Second},
		{"0", "", 0},
		{"-5", "", 0},
		{"1.5", "", 0},
		{"soon", "", 0},
		{"999999", "", MaxRetryAfter},
		{"99999999999999999999999999", "", MaxRetryAfter},
		{strings.Repeat("9", 100), "", 0},
		{date(90 * time.Second), "", 90 * time.Second},
		{date(-time.Hour), "", 0},
		{date(1000 * time.Hour), "", MaxRetryAfter},
		{asked.Add(time.Minute).Format(time.RFC850), "", time.Minute},
		{asked.Add(time.Minute).Format(time.ANSIC), "", time.Minute},
		{date(time.Hour + 30*time.Second), date(time.Hour), 30 * time.Second}, // the provider's clock is an hour ahead
		{date(30 * time.Second), "yesterday", 30 * time.Second},
	} {
		a := answered(429, "", "")
		if c.value != "" {
			a.header.Set("Retry-After", c.value)
		}
		if c.date != "" {
			a.header.Set("Date", c.date)
		}
		var refusal *Refusal
		if _, err := a.tokens(Provider{}, asked); !errors.As(err, &refusal) {
			t.Fatalf("got %v, want a *Refusal", err)
		}
		if refusal.RetryAfter != c.want {
			t.Errorf("Retry-After %q, Date %q: got %v, want %v", c.value, c.date, refusal.RetryAfter, c.want)
		}
	}
}

func TestDescriptionsHoldNoSecretAndAreFitToPrint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                     "",
		"token expired":                        "token expired",
		"unknown: sent-refresh-token-canary!":  "unknown: [redacted]!",
		"begins with sent-refresh-…":           "begins with [redacted]…",
		"c2VudC1yZWZyZXNoLXRva2VuLWNhbmFyeQ==": "[redacted]",
		"got-access-token-canary, too":         "[redacted], too",
		"a\x00b\r\nc\x1b[31m\u202ed":           "a b c [31m d",
		"\xff\xfe":                             "",
		strings.Repeat("é", 300):               strings.Repeat("é", 199) + "…",
	} {
		if got := describe(text, "sent-refresh-token-canary", "got-access-token-canary", ""); got != want {
			t.Errorf("describe(%q): got %q, want %q", text, got, want)
		}
	}
	if got := describe("the pin is 1234", "1234"); got != "the pin is [redacted]" {
		t.Errorf("a short secret: got %q", got)
	}
}

func TestScopesAreSplitAtSpacesOrElseAtCommas(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                       {},
		"a":                      {"a"},
		" a  b\ta ":              {"a", "b"},
		"repo,gist,user:email":   {"repo", "gist", "user:email"},
		",,a,":                   {"a"},
		"https://x/a,b https:y":  {"https://x/a,b", "https:y"},
		"a\x00b ok":              {"ok"},
		strings.Repeat("x", 600): {},
	} {
		if got := SplitScopes(text); !slices.Equal(got, want) {
			t.Errorf("SplitScopes(%.40q): got %q, want %q", text, got, want)
		}
	}
	if got := len(SplitScopes(strings.Join(numbered(1000), " "))); got != maxScopes {
		t.Errorf("of 1000 scopes %d are kept, want %d", got, maxScopes)
	}
}

func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = "s" + strings.Repeat("i", i%500) + string(rune('a'+i%26)) + strings.Repeat("j", i/500)
	}
	return list
}

func TestAnHTTPSIssuerHasNoPlainEndpoint(t *testing.T) {
	t.Parallel()
	const issuer = "https://issuer.example"
	for body, want := range map[string]bool{
		`{"issuer":"https://issuer.example","token_endpoint":"https://other.example/t"}`:                                              true,
		`{"issuer":"https://issuer.example","token_endpoint":"http://issuer.example/t"}`:                                              false,
		`{"issuer":"https://issuer.example","token_endpoint":"https://issuer.example/t","userinfo_endpoint":"http://issuer.example"}`: false,
	} {
		if _, err := answered(200, jsonType, body).provider(issuer, true); (err == nil) != want {
			t.Errorf("%s: got %v, want taken: %t", body, err, want)
		}
	}
}
