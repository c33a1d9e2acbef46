package refresh_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
)

func client(p *refreshtest.Provider) *refresh.Client {
	return refresh.NewClient(p.HTTP(), func() time.Time { return noon })
}

func wantRefusal(t *testing.T, what string, err error, want refresh.Reason) *refresh.Refusal {
	t.Helper()
	var refusal *refresh.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("%s: got %v, want a *Refusal", what, err)
	}
	if refusal.Reason != want || refusal.Permanent != want.Permanent() {
		t.Errorf("%s: got %s (permanent: %t, status %d, %q), want %s", what, refusal.Reason, refusal.Permanent, refusal.Status, refusal.Description, want)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("%s: the error holds a secret: %v", what, err)
	}
	return refusal
}

func TestRefreshRotatesWithEveryWayToAuthenticate(t *testing.T) {
	t.Parallel()
	for _, method := range []refresh.AuthMethod{"", refresh.AuthBasic, refresh.AuthPost} {
		provider := refreshtest.StartProvider(t, nil)
		config := provider.Config()
		config.AuthMethod = method
		first := provider.Issue("repo", "gist")
		got, err := client(provider).Refresh(t.Context(), config, first.RefreshToken, nil)
		if err != nil {
			t.Fatalf("method %q: %v", method, err)
		}
		if !provider.Usable(got.RefreshToken) || !provider.Newest(got.AccessToken) || got.RefreshToken == first.RefreshToken {
			t.Errorf("method %q: the answer's tokens are not the provider's newest", method)
		}
		if want := noon.Add(time.Hour); !got.ExpiresAt.Equal(want) || !slices.Equal(got.Scopes, []string{"repo", "gist"}) || got.TokenType != "Bearer" {
			t.Errorf("method %q: expires %v, scopes %q, type %s; want %v, repo gist, Bearer", method, got.ExpiresAt, got.Scopes, got.TokenType, want)
		}
	}
}

func TestAUsedRefreshTokenEndsTheFamilyAtTheTestsProvider(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	c, first := client(provider), provider.Issue()
	second, err := c.Refresh(t.Context(), provider.Config(), first.RefreshToken, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Refresh(t.Context(), provider.Config(), first.RefreshToken, nil)
	wantRefusal(t, "reuse", err, refresh.ReasonInvalidGrant)
	_, err = c.Refresh(t.Context(), provider.Config(), second.RefreshToken, nil)
	wantRefusal(t, "the successor after reuse", err, refresh.ReasonInvalidGrant)
	if got := provider.CallsWith(first.RefreshToken); got != 2 || provider.Reused() != 1 {
		t.Errorf("counted %d calls with the first, %d reuses, want 2 and 1", got, provider.Reused())
	}
}

func TestRefreshSendsWhatRFC6749SaysAndNoMore(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		seen <- r
		_, _ = w.Write([]byte(`{"access_token":"a"}`))
	}))
	defer server.Close()
	c := refresh.NewClient(server.Client(), nil)
	for _, x := range []struct {
		method refresh.AuthMethod
		basic  string
		want   url.Values
	}{
		{refresh.AuthBasic, "us%3A1:s%2B%2F", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"r"}, "scope": {"a b"}}},
		{refresh.AuthPost, "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"r"}, "scope": {"a b"}, "client_id": {"us:1"}, "client_secret": {"s+/"}}},
		{refresh.AuthNone, "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"r"}, "scope": {"a b"}, "client_id": {"us:1"}}},
	} {
		p := refresh.Provider{TokenURL: server.URL + "/t?tenant=1", ClientID: "us:1", ClientSecret: "s+/", AuthMethod: x.method}
		if _, err := c.Refresh(t.Context(), p, "r", []string{"a", "b"}); err != nil {
			t.Fatalf("%s: %v", x.method, err)
		}
		r := <-seen
		if r.PostForm.Encode() != x.want.Encode() || r.Method != http.MethodPost || r.URL.RawQuery != "tenant=1" {
			t.Errorf("%s: sent %s ?%s %s, want POST ?tenant=1 %s", x.method, r.Method, r.URL.RawQuery, r.PostForm.Encode(), x.want.Encode())
		}
		basic := ""
		if x.basic != "" {
			basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(x.basic))
		}
		if got := r.Header.Get("Authorization"); got != basic {
			t.Errorf("%s: Authorization %q, want %q", x.method, got, basic)
		}
		if got := r.Header.Get("Accept"); got != "application/json" {
			t.Errorf("%s: Accept %q, want application/json", x.method, got)
		}
	}
}

func TestHostileAnswersAreRefusedAsWhatTheyAre(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault refreshtest.Fault
		want  refresh.Reason
		after time.Duration
	}{
		"rate limiting":                     {refreshtest.RateLimited(""), refresh.ReasonRateLimited, 0},
		"rate limiting, seconds":            {refreshtest.RateLimited("90"), refresh.ReasonRateLimited, 90 * time.Second},
		"rate limiting, a date of its own":  {refreshtest.Status(429, "", "Retry-After", "Wed, 04 Mar 2026 12:01:00 GMT", "Date", "Wed, 04 Mar 2026 12:00:00 GMT"), refresh.ReasonRateLimited, time.Minute},
		"503 with Retry-After":              {refreshtest.Status(503, "", "Retry-After", "5"), refresh.ReasonProviderError, 5 * time.Second},
		"flapping":                          {refreshtest.Flapping(), refresh.ReasonProviderError, 0},
		"garbage":                           {refreshtest.Garbage, refresh.ReasonBrokenAnswer, 0},
		"huge":                              {refreshtest.Huge, refresh.ReasonBrokenAnswer, 0},
		"half an answer":                    {refreshtest.HalfThenGone, refresh.ReasonBrokenAnswer, 0},
		"no answer":                         {refreshtest.RotatedAndGone, refresh.ReasonProviderUnreachable, 0},
		"a redirect":                        {refreshtest.Redirected("/token"), refresh.ReasonBrokenAnswer, 0},
		"200 with an error":                 {refreshtest.OKWithError("bad_refresh_token", "no such token"), refresh.ReasonInvalidGrant, 0},
		"200 with an error of ours":         {refreshtest.OKWithError("incorrect_client_credentials", ""), refresh.ReasonClientRejected, 0},
		"a description with our secret":     {refreshtest.Refused(400, "odd", "secret "+string(refreshtest.ClientSecret)+" is wrong"), refresh.ReasonProviderError, 0},
		"a token that is an object":         {refreshtest.With(map[string]any{"access_token": map[string]any{"v": "canary"}}), refresh.ReasonBrokenAnswer, 0},
		"a body of the wrong compression":   {refreshtest.Status(200, "not gzip", "Content-Encoding", "gzip"), refresh.ReasonBrokenAnswer, 0},
		"a lifetime that is a list, broken": {refreshtest.Status(200, `{"access_token":"a","expires_in":[}`), refresh.ReasonBrokenAnswer, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider := refreshtest.StartProvider(t, nil)
			provider.Next(c.fault)
			_, err := client(provider).Refresh(t.Context(), provider.Config(), provider.Issue().RefreshToken, nil)
			if got := wantRefusal(t, name, err, c.want); got.RetryAfter != c.after {
				t.Errorf("retry after %v, want %v", got.RetryAfter, c.after)
			}
			if n := provider.Requests(); n != 1 {
				t.Errorf("%d requests, want 1: nothing is followed or repeated", n)
			}
		})
	}
}

func TestOddAnswersGiveTokensNevertheless(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault   refreshtest.Fault
		expires time.Time
		scopes  []string
		keeps   bool
	}{
		"form-encoded":          {refreshtest.FormEncoded, noon.Add(time.Hour), []string{"repo"}, false},
		"expires_in a string":   {refreshtest.With(map[string]any{"expires_in": "60"}), noon.Add(time.Minute), []string{"repo"}, false},
		"no expires_in":         {refreshtest.With(map[string]any{"expires_in": nil}), noon.Add(2 * time.Hour), []string{"repo"}, false},
		"no refresh token":      {refreshtest.With(map[string]any{"refresh_token": nil}), noon.Add(time.Hour), []string{"repo"}, true},
		"other scopes":          {refreshtest.With(map[string]any{"scope": "repo,gist"}), noon.Add(time.Hour), []string{"repo", "gist"}, false},
		"no token_type, no say": {refreshtest.With(map[string]any{"token_type": nil, "scope": nil}), noon.Add(time.Hour), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider := refreshtest.StartProvider(t, nil)
			provider.Next(c.fault)
			config := provider.Config()
			config.DefaultLifetime = 2 * time.Hour
			got, err := client(provider).Refresh(t.Context(), config, provider.Issue("repo").RefreshToken, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !provider.Newest(got.AccessToken) || got.TokenType != "Bearer" || !got.ExpiresAt.Equal(c.expires) || !slices.Equal(got.Scopes, c.scopes) || (got.RefreshToken == "") != c.keeps {
				t.Errorf("got type %s, expires %v, scopes %q, refresh token kept: %t; want Bearer, %v, %q, %t", got.TokenType, got.ExpiresAt, got.Scopes, got.RefreshToken == "", c.expires, c.scopes, c.keeps)
			}
		})
	}
}

func TestAProviderThatTakesItsTimeTimesOut(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]refreshtest.Fault{"no answer": refreshtest.Silent, "half an answer": refreshtest.HalfThenHang} {
		provider := refreshtest.StartProvider(t, nil)
		provider.Next(fault)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := client(provider).Refresh(ctx, provider.Config(), provider.Issue().RefreshToken, nil)
		cancel()
		wantRefusal(t, name, err, refresh.ReasonProviderTimeout)
	}
}

func TestACancelledCallIsNoRefusal(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	provider.Next(refreshtest.Silent)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-provider.Arrived()
		cancel()
	}()
	_, err := client(provider).Refresh(ctx, provider.Config(), provider.Issue().RefreshToken, nil)
	var refusal *refresh.Refusal
	if !errors.Is(err, context.Canceled) || errors.As(err, &refusal) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestWhatCannotBeCalledIsNotCalled(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	c, good := client(provider), provider.Config()
	_, err := c.Refresh(t.Context(), good, "", nil)
	wantRefusal(t, "no refresh token", err, refresh.ReasonNoRefreshToken)
	_, err = c.Refresh(t.Context(), refresh.Provider{}, "r", nil)
	wantRefusal(t, "no provider", err, refresh.ReasonMisconfigured)
	bad := good
	bad.AuthMethod = "private_key_jwt"
	_, err = c.Refresh(t.Context(), bad, "r", nil)
	wantRefusal(t, "a method that there is not", err, refresh.ReasonMisconfigured)
	_, err = c.Exchange(t.Context(), good, refresh.CodeExchange{})
	wantRefusal(t, "no code", err, refresh.ReasonRequestRejected)
	wantRefusal(t, "nothing to revoke", c.Revoke(t.Context(), good, "", ""), refresh.ReasonRequestRejected)
	if n := provider.Requests(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
	gone := good
	gone.TokenURL = "http://127.0.0.1:1/token"
	_, err = c.Refresh(t.Context(), gone, "sent-canary-token", nil)
	if got := wantRefusal(t, "nobody there", err, refresh.ReasonProviderUnreachable); got.Status != 0 || got.Description == "" {
		t.Errorf("nobody there: status %d, %q, want 0 and why", got.Status, got.Description)
	}
}

func TestClientsAreNotMadeWithoutATransport(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("got a client")
		}
	}()
	refresh.NewClient(nil, nil)
}
