package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh/refreshtest"
	webhook "github.com/tvzero/tokenvault/webhook-sdk"
	"github.com/tvzero/tokenvault/webhook-sdk/webhooktest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A visitor is a person's browser on the way to a provider, one step at a time.
type visitor struct {
	browser
	s *providerStage
}

func (s *providerStage) visitor(t *testing.T) visitor {
	b := newBrowser(t)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return visitor{browser: b, s: s}
}

// step opens an address that leads elsewhere, and returns where.
func (v visitor) step(from string) *url.URL {
	v.t.Helper()
	response, err := v.client.Get(from)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	to, err := response.Location()
	if err != nil {
		v.t.Fatalf("%d, want a redirect", response.StatusCode)
	}
	return to
}

// start goes to the provider with a ticket.
func (v visitor) start(service string, more url.Values) *url.URL {
	v.t.Helper()
	return v.step(v.s.connectURL(v.s.tv.Ticket(wire.PurposeConnect, service), more))
}

// back is the address under which the provider sends the person back.
func (v visitor) back(service string) *url.URL {
	v.t.Helper()
	return v.step(v.start(service, nil).String())
}

// arrive opens an address of the callback, and the last page.
func (v visitor) arrive(callback *url.URL) page {
	v.t.Helper()
	return v.open(v.step(callback.String()).String())
}

func (s *providerStage) connectURL(ticket wire.Ticket, more url.Values) string {
	address := s.tv.ConnectURL("test", ticket)
	if len(more) > 0 {
		address += "&" + more.Encode()
	}
	return address
}

func with(u *url.URL, change func(url.Values)) *url.URL {
	query := u.Query()
	change(query)
	out := *u
	out.RawQuery = query.Encode()
	return &out
}

func TestAnAccountIsConnectedAndItsTokensStayInTheWebhook(t *testing.T) {
	t.Parallel()
	s := withProvider(t, func(p *webhook.Provider) {
		p.Name, p.Scopes, p.AllowedHosts = "Example <Accounts>", []string{"repo"}, []string{"api.example.com"}
		p.AuthorizationParams = map[string]string{"access_type": "offline"}
	})
	v := s.visitor(t)
	to := v.start("git hub", url.Values{"scope": {"user repo"}, "return": {"/tokens?connected=git+hub"}})
	query := to.Query()
	if got := query.Get("scope"); got != "repo user" {
		t.Errorf("scopes asked for are %q, want those of the configuration and the ticket's page", got)
	}
	if query.Get("redirect_uri") != s.wh.URL+"/connect/test/callback" || query.Get("code_challenge_method") != "S256" || query.Get("access_type") != "offline" ||
		query.Get("client_id") != refreshtest.ClientID || len(query.Get("state")) < 32 {
		t.Errorf("the provider is asked %v", query)
	}
	last := v.arrive(v.step(to.String()))
	last.wants(t, http.StatusOK, "Example &lt;Accounts&gt; is connected", "git hub", "user@example.com", `href="http://127.0.0.1:8000/tokens?connected=git&#43;hub"`)
	if text := last.url.String(); strings.Contains(text, "code") || strings.Contains(text, "state") || strings.Contains(text, "ticket") {
		t.Errorf("the last page's address is %s, want no secret in it", last.url)
	}
	if strings.Contains(last.text, "canary") {
		t.Error("the last page shows a token")
	}
	agent, owner := s.tv.AgentCredential("git hub"), s.tv.Reveal("git hub")
	if access, _ := agent["accessToken"].(string); access == "" || owner["accessToken"] != access || owner["refreshToken"] == nil || agent["refreshToken"] != nil {
		t.Error("the agent does not get the access token, or the owner not the refresh token")
	}
	meta := s.meta(t, "git hub")
	now := s.clock.now()
	for name, want := range map[string]any{
		"tokenType": "OAuth", "provider": "test", "clientId": refreshtest.ClientID, "issuer": s.Issuer(), "subject": "user-1", "serviceName": "git hub",
		"issuedAt": now.Format("2006-01-02T15:04:05.000Z07:00"), "expiryTime": float64(now.Add(time.Hour).UnixMilli()), "hasRefreshToken": true,
	} {
		if meta[name] != want {
			t.Errorf("%s is %v, want %v", name, meta[name], want)
		}
	}
	if text, _ := json.Marshal([]any{meta["scopes"], meta["allowedHosts"]}); string(text) != `[["repo","user"],["https://api.example.com"]]` {
		t.Errorf("scopes and allowedHosts are %s", text)
	}
	if !s.recorded(t, "connect", "ok") {
		t.Errorf("connecting is not in the record: %v", s.records(t))
	}
	// The page stays for who reloads it, and for nobody else.
	v.open(last.url.String()).wants(t, http.StatusOK, "is connected")
	newBrowser(t).open(last.url.String()).wants(t, http.StatusForbidden, "was not connected")
	// And it is refreshed like any other.
	s.clock.move(50 * time.Minute)
	if got := s.tv.RefreshNotify("git hub"); got.Status != "refreshed" || s.Calls() != 1 || s.Reused() != 0 {
		t.Errorf("refreshing it: %+v after %d calls, want refreshed", got, s.Calls())
	}
}

func TestAnAnswerOfAProviderCountsOnceInItsBrowserAndForAWhile(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	v := s.visitor(t)
	callback := v.back("github")
	check := unchanged(t, s.wh)
	stranger := s.visitor(t)
	stranger.open(callback.String()).wants(t, http.StatusForbidden, "begun in this browser")
	for name, change := range map[string]func(url.Values){
		"no state":      func(q url.Values) { q.Del("state") },
		"another state": func(q url.Values) { q.Set("state", q.Get("state")+"x") },
		"the id alone":  func(q url.Values) { id, _, _ := strings.Cut(q.Get("state"), "."); q.Set("state", id) },
		"unknown flow":  func(q url.Values) { q.Set("state", "x."+q.Get("state")) },
		"a cookie's guess": func(q url.Values) {
			q.Set("state", "\r\n;="+q.Get("state"))
		},
	} {
		t.Log(name)
		v.open(with(callback, change).String()).wants(t, http.StatusForbidden, "begun in this browser")
	}
	twice := *callback
	twice.RawQuery += "&state=x"
	v.open(twice.String()).wants(t, http.StatusBadRequest, "malformed")
	check()
	v.arrive(callback).wants(t, http.StatusOK, "is connected")
	first := s.tv.Reveal("github")["accessToken"]
	// Reloaded: the same page, and no second exchange.
	requests := s.Requests()
	v.arrive(callback).wants(t, http.StatusOK, "is connected")
	if s.Requests() != requests || s.tv.Reveal("github")["accessToken"] != first {
		t.Error("the answer was used twice")
	}
	late := v.back("github")
	s.clock.move(10 * time.Minute)
	v.open(late.String()).wants(t, http.StatusForbidden, "begun in this browser within the last 10 minutes")
}

func TestTwoConnectionsOfABrowserDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	v := s.visitor(t)
	one, two := v.back("one"), v.back("two")
	var group sync.WaitGroup
	for range 2 { // a person who clicks twice
		group.Go(func() { v.arrive(one) })
	}
	group.Wait()
	v.arrive(two).wants(t, http.StatusOK, "two")
	v.arrive(one).wants(t, http.StatusOK, "one")
	if s.tv.Reveal("one")["accessToken"] == s.tv.Reveal("two")["accessToken"] || s.Requests() != 2 {
		t.Errorf("%d exchanges, want 2 with a token each", s.Requests())
	}
}

func TestWhatAProviderAnswersIsHeldAgainstWhatWasAsked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(url.Values)
		status int
		says   string
	}{
		"another issuer": {func(q url.Values) { q.Set("iss", "https://attacker.example") }, 403, "from another provider"},
		"no issuer":      {func(q url.Values) { q.Del("iss") }, 403, "does not say that it is from"},
		"two issuers":    {func(q url.Values) { q.Add("iss", "x") }, 400, "more than once"},
		"two codes":      {func(q url.Values) { q.Add("code", "x") }, 400, "more than once"},
		"no code":        {func(q url.Values) { q.Del("code") }, 502, "has no code"},
		"another code":   {func(q url.Values) { q.Set("code", "guessed") }, 502, "takes the code no longer"},
		"a long code":    {func(q url.Values) { q.Set("code", strings.Repeat("x", 8<<10+1)) }, 502, "has no code"},
		"declined": {func(q url.Values) {
			q.Del("code")
			q.Set("error", "access_denied")
			q.Set("error_description", "<b>call-the-forger")
		}, 403, "told not to allow it"},
		"an error and a code":  {func(q url.Values) { q.Set("error", "server_error") }, 502, "could not do it just now"},
		"a scope":              {func(q url.Values) { q.Set("error", "invalid_scope") }, 502, "permissions"},
		"our client":           {func(q url.Values) { q.Set("error", "unauthorized_client") }, 502, "operator"},
		"not signed in":        {func(q url.Values) { q.Set("error", "login_required") }, 403, "sign in"},
		"an error of a forger": {func(q url.Values) { q.Set("error", "access_denied"); q.Set("iss", "x") }, 403, "from another provider"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := withProvider(t, nil)
			s.tv.Store("github", plain("ghp_canary"))
			v := s.visitor(t)
			callback := with(v.back("github"), test.change)
			check := unchanged(t, s.wh)
			p := v.arrive(callback)
			p.wants(t, test.status, "test was not connected", test.says, "Nothing was changed", `href="http://127.0.0.1:8000/"`)
			if strings.Contains(p.text, "forger") || strings.Contains(p.text, "<b>") {
				t.Error("the page shows what stood in the address")
			}
			check()
			outcome := map[int]string{400: "invalid_request", 403: "forbidden", 502: "provider_error"}[test.status]
			if !s.recorded(t, "connect", outcome) {
				t.Errorf("the refusal is not in the record: %v", s.records(t))
			}
			// A state that was used is used.
			v.arrive(with(callback, func(q url.Values) { q.Del("error"); q.Set("iss", s.Issuer()) })).wants(t, test.status, "was not connected")
		})
	}
}

func TestAProviderThatGivesNoTokensIsSaidAndNothingIsStored(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault refreshtest.Fault
		says  string
	}{
		"503":        {refreshtest.Status(503, "<b>down"), "could not be reached or did not answer as it should"},
		"garbage":    {refreshtest.Garbage, "did not answer as it should"},
		"our secret": {refreshtest.Refused(401, "invalid_client", "not you"), "refused this webhook as its client"},
		"half":       {refreshtest.HalfThenGone, "did not answer as it should"},
	} {
		s := withProvider(t, nil)
		v := s.visitor(t)
		callback := v.back("github")
		check := unchanged(t, s.wh)
		s.Next(test.fault)
		t.Log(name)
		v.arrive(callback).wants(t, http.StatusBadGateway, test.says)
		check()
	}
}

func TestATicketToConnectIsCheckedLikeAnyOther(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.tv.Store("github", plain("ghp_canary"))
	v := s.visitor(t)
	check := unchanged(t, s.wh)
	good := func() wire.Ticket { return s.tv.Ticket(wire.PurposeConnect, "new") }
	expired, used, creation, create, strange := good(), good(), good(), good(), good()
	expired.ExpiresAt = s.clock.now().Unix()
	v.step(s.connectURL(used, nil))
	creation.CreationID = "another"
	create.Service, create.Mode = "github", wire.ModeCreate
	strange.Mode = "strange"
	badName := good()
	badName.Service = "../x"
	stale := good()
	stale.Service, stale.CreationID = "github", "another"
	for name, test := range map[string]struct {
		address string
		status  int
		says    string
	}{
		"none":                {s.wh.URL + "/connect/test", 401, "not valid"},
		"forged":              {s.wh.URL + "/connect/test?ticket=a.b", 401, "not valid"},
		"expired":             {s.connectURL(expired, nil), 401, "expired"},
		"used":                {s.connectURL(used, nil), 401, "used before"},
		"another purpose":     {s.connectURL(s.tv.Ticket(wire.PurposeStore, "new"), nil), 401, "another purpose"},
		"no service name":     {s.connectURL(badName, nil), 401, "another service"},
		"a creation, missing": {s.connectURL(creation, nil), 409, "replaced"},
		"another creation":    {s.connectURL(stale, nil), 409, "replaced"},
		"there already":       {s.connectURL(create, nil), 409, "a token of that name already"},
		"a strange mode":      {s.connectURL(strange, nil), 401, "mode"},
		"strange scopes":      {s.connectURL(good(), url.Values{"scope": {"a\"b"}}), 400, "The scopes"},
		"malformed":           {s.wh.URL + "/connect/test?ticket=%zz", 400, "malformed"},
	} {
		t.Log(name)
		v.open(test.address).wants(t, test.status, "was not connected", test.says)
	}
	check()
	for _, path := range []string{"//attacker.example/", "https://attacker.example/", "/\\attacker.example", "tokens", "/ x", "/\n", "/" + strings.Repeat("x", 1<<10)} {
		v.open(s.connectURL(good(), url.Values{"return": {path}})).wants(t, http.StatusBadRequest, "Return is not a path")
	}
	restricted := withProvider(t, nil, config(func(c *webhook.Config) { c.Purposes = []wire.Purpose{wire.PurposeStore} }))
	restricted.visitor(t).open(restricted.connectURL(restricted.tv.Ticket(wire.PurposeConnect, "new"), nil)).wants(t, http.StatusForbidden, "does not serve the purpose connect")
	r := s.tv.Request(http.MethodHead, "/connect/test?ticket="+s.tv.Sign(good()), nil) // a look at a link would use it up
	if got := s.tv.Do(r); got.Status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD was answered %d, want 405", got.Status)
	}
	refused(t, s.tv.Do(s.tv.Request(http.MethodGet, "/connect/other?ticket="+s.tv.Sign(good()), nil)), http.StatusNotFound, "not_found")
}

func TestATokenThatChangedWhileItsOwnerWasAwayIsNotWrittenOver(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	meta := s.tv.Store("github", plain("ghp_canary"))
	id, _ := meta["creationId"].(string)
	v := s.visitor(t)
	ticket := s.tv.Ticket(wire.PurposeConnect, "github")
	ticket.CreationID = id
	pinned := v.step(v.step(s.connectURL(ticket, nil)).String())
	ticket = s.tv.Ticket(wire.PurposeConnect, "fresh")
	ticket.Mode = wire.ModeCreate
	create := v.step(v.step(s.connectURL(ticket, nil)).String())
	s.tv.Store("github", plain("ghp_second"))
	s.tv.Store("fresh", plain("ghp_third"))
	check := unchanged(t, s.wh)
	v.arrive(pinned).wants(t, http.StatusConflict, "replaced since")
	v.arrive(create).wants(t, http.StatusConflict, "already")
	check()
	if !s.recorded(t, "connect", "stale_creation") || !s.recorded(t, "connect", "already_exists") {
		t.Errorf("the refusals are not in the record: %v", s.records(t))
	}
}

func TestConnectingAgainKeepsNotesHostsAndScopes(t *testing.T) {
	t.Parallel()
	s := withProvider(t, func(p *webhook.Provider) { p.Scopes = []string{"repo"} })
	v := s.visitor(t)
	v.arrive(v.step(v.start("github", url.Values{"scope": {"user"}}).String())).wants(t, http.StatusOK)
	first := s.meta(t, "github")
	refreshToken := s.tv.Reveal("github")["refreshToken"]
	s.tv.Operate(map[string]any{"operation": "set", "collection": "tokens", "key": "github", "data": map[string]any{"notes": "mine", "tags": []string{"x"}}})
	to := v.start("github", url.Values{"scope": {"gist"}})
	if got := to.Query().Get("scope"); got != "repo user gist" {
		t.Errorf("scopes asked for are %q, want those that it has as well", got)
	}
	// This time the provider gives no refresh token.
	s.Next(refreshtest.With(map[string]any{"refresh_token": nil}))
	v.arrive(v.step(to.String())).wants(t, http.StatusOK)
	second := s.meta(t, "github")
	if second["creationId"] == first["creationId"] || second["notes"] != "mine" || second["tags"] == nil || second["hasRefreshToken"] != true {
		t.Errorf("metadata is %v, want another creation with the notes, and a refresh token", second)
	}
	if s.tv.Reveal("github")["refreshToken"] != refreshToken {
		t.Error("the refresh token of the same account was not kept")
	}
	// Of another account nothing is kept that could mix the two.
	s.store("github", s.Issue("repo"), map[string]any{"subject": "somebody else", "clientId": refreshtest.ClientID})
	to = v.start("github", nil)
	s.Next(refreshtest.With(map[string]any{"refresh_token": nil}))
	v.arrive(v.step(to.String())).wants(t, http.StatusOK, "gave no permission to renew")
	if s.meta(t, "github")["hasRefreshToken"] != false {
		t.Error("the refresh token of another account was kept")
	}
}

func TestAWebhookOverHTTPSBindsItsFlowsWithHostCookies(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	s.wh.Stop()
	s.clock.move(time.Second)
	entry := webhook.Provider{Provider: s.Config()}
	s.wh = webhooktest.Start(t, s.wh.Dir, webhooktest.WithClock(s.clock.now), s.log.option(), config(func(c *webhook.Config) {
		c.ExternalURL, c.Providers = "https://webhook.example.com/vault", []webhook.Provider{entry}
	}))
	recorder := httptest.NewRecorder()
	r := serverSide(s.tv.Request(http.MethodGet, "/connect/test?ticket="+s.tv.Sign(s.tv.Ticket(wire.PurposeConnect, "github")), nil))
	s.wh.ServeHTTP(recorder, r)
	cookie := recorder.Header().Get("Set-Cookie")
	if !regexp.MustCompile(`^__Host-tv_webhook_connect_[\w-]+=[\w-]{32}; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax$`).MatchString(cookie) {
		t.Errorf("the cookie is %q", cookie)
	}
	to, err := url.Parse(recorder.Header().Get("Location"))
	if err != nil || to.Query().Get("redirect_uri") != "https://webhook.example.com/vault/connect/test/callback" {
		t.Errorf("the provider is asked %v, %v", to, err)
	}
	if recorder.Header().Get("Referrer-Policy") != "no-referrer" || recorder.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers are %v, want no referrer and no store", recorder.Header())
	}
}

// idToken is one of a provider, whose signature nobody looks at.
func idToken(claims map[string]any) string {
	text, _ := json.Marshal(claims)
	return "e30." + base64.RawURLEncoding.EncodeToString(text) + ".c2lnbmF0dXJl"
}

func TestAnIDTokenSaysWhoseAccountItIsOrRefusesIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		claims map[string]any // over good ones; nil leaves one out
		says   string         // "": connected
	}{
		"good":              {nil, ""},
		"several audiences": {map[string]any{"aud": []string{"x", refreshtest.ClientID}}, ""},
		"another issuer":    {map[string]any{"iss": "https://attacker.example"}, "not for this webhook"},
		"another client":    {map[string]any{"aud": "x"}, "not for this webhook"},
		"no audience":       {map[string]any{"aud": nil}, "not for this webhook"},
		"expired":           {map[string]any{"exp": 1}, "not for this webhook"},
		"no expiry":         {map[string]any{"exp": nil}, "not for this webhook"},
		"another nonce":     {map[string]any{"nonce": "x"}, "not for this webhook"},
		"no subject":        {map[string]any{"sub": nil}, "not for this webhook"},
		"a strange subject": {map[string]any{"sub": 7}, "not for this webhook"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := withProvider(t, func(p *webhook.Provider) { p.Scopes = []string{"openid", "email"} })
			v := s.visitor(t)
			to := v.start("google", nil)
			claims := map[string]any{
				"iss": s.Issuer(), "aud": refreshtest.ClientID, "exp": s.clock.now().Add(time.Hour).Unix(), "sub": "subject-7",
				"nonce": to.Query().Get("nonce"), "email": "me@example.com",
			}
			if claims["nonce"] == "" {
				t.Fatal("no nonce was asked for")
			}
			for claim, value := range test.claims {
				claims[claim] = value
				if value == nil {
					delete(claims, claim)
				}
			}
			callback := v.step(to.String())
			s.Next(refreshtest.With(map[string]any{"id_token": idToken(claims)}))
			p := v.arrive(callback)
			if test.says != "" {
				p.wants(t, http.StatusBadGateway, test.says)
				return
			}
			p.wants(t, http.StatusOK, "me@example.com")
			if meta := s.meta(t, "google"); meta["subject"] != "subject-7" || strings.Contains(p.text, "e30.") || meta["idToken"] != nil || meta["email"] != nil {
				t.Errorf("metadata is %v, want the subject and nothing else of the ID token", meta)
			}
		})
	}
}

func TestAnAccountWithoutANameIsConnectedAllTheSame(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  string
		subject any
		label   string
	}{
		"github":      {`{"login":"octocat","id":583231,"name":null}`, "583231", "octocat"},
		"nothing":     {`{}`, nil, ""},
		"garbage":     {`<html>`, nil, ""},
		"a long name": {`{"sub":"` + strings.Repeat("x", 300) + `"}`, nil, ""},
		"not text":    {`{"sub":"a\u0000b","email":"a\u202eb"}`, nil, ""},
	} {
		info := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(test.answer)) }))
		s := withProvider(t, func(p *webhook.Provider) { p.UserInfoURL = info.URL })
		v := s.visitor(t)
		t.Log(name)
		v.arrive(v.back("github")).wants(t, http.StatusOK, "is connected", test.label)
		if got := s.meta(t, "github")["subject"]; got != test.subject {
			t.Errorf("%s: subject is %v, want %v", name, got, test.subject)
		}
		info.Close()
	}
}

func TestFlowsAreForgottenWhenThereAreTooMany(t *testing.T) {
	t.Parallel()
	s := withProvider(t, nil)
	v, crowd := s.visitor(t), s.visitor(t)
	first := v.back("first")
	s.clock.move(time.Second)
	for range 256 {
		crowd.start("other", nil)
	}
	v.open(first.String()).wants(t, http.StatusForbidden, "begun in this browser")
	last := v.back("last")
	v.arrive(last).wants(t, http.StatusOK, "is connected")
}

// FuzzConnect sends queries to the paths of connecting, with the cookie and the state of
// a flow that is under way among them.
func FuzzConnect(f *testing.F) {
	provider := webhook.Provider{}
	provider.ID, provider.Issuer, provider.ClientID, provider.ClientSecret = "test", "http://127.0.0.1:1", "c", "s"
	provider.TokenURL, provider.AuthorizationURL = "http://127.0.0.1:1/token", "http://127.0.0.1:1/authorize"
	wh, tv := webhooktest.New(f, config(func(c *webhook.Config) { c.Providers = []webhook.Provider{provider} }))
	tv.Store("github", plain("ghp_canary"))
	f.Add("", "code=x&iss=http%3A%2F%2F127.0.0.1%3A1", "scope=a+b&return=/x")
	f.Add("flow=x", "error=access_denied&error_description=x", "return=//x")
	f.Add("ticket=a.b", "iss=x&iss=y&code=", "scope=%22")
	f.Fuzz(func(t *testing.T, any, answer, begin string) {
		tv := tv.In(t)
		get := func(path, query, cookie string) *httptest.ResponseRecorder {
			r := serverSide(tv.Request(http.MethodGet, path, nil))
			r.URL.RawQuery = query
			if cookie != "" {
				r.Header.Set("Cookie", cookie)
			}
			recorder := httptest.NewRecorder()
			wh.ServeHTTP(recorder, r)
			if strings.Contains(recorder.Body.String(), "ghp_canary") || recorder.Code == http.StatusInternalServerError {
				t.Fatalf("%s was answered %d %s", path, recorder.Code, recorder.Body)
			}
			return recorder
		}
		for _, path := range []string{"/connect/test", "/connect/test/callback", "/connect/test/done"} {
			if got := get(path, any, ""); got.Code < 400 {
				t.Fatalf("%s was answered %d", path, got.Code)
			}
		}
		started := get("/connect/test", "ticket="+tv.Sign(tv.Ticket(wire.PurposeConnect, "github"))+"&"+begin, "")
		to, err := url.Parse(started.Header().Get("Location"))
		if err != nil || started.Code != http.StatusSeeOther {
			return // scope or return were refused
		}
		if to.Host != "127.0.0.1:1" || to.Path != "/authorize" {
			t.Fatalf("the browser was sent to %s", to)
		}
		cookie, _, _ := strings.Cut(started.Header().Get("Set-Cookie"), ";")
		got := get("/connect/test/callback", "state="+url.QueryEscape(to.Query().Get("state"))+"&"+answer, cookie)
		if got.Code < 400 && !strings.HasPrefix(got.Header().Get("Location"), "/connect/test/done?flow=") {
			t.Fatalf("answered %d, to %s", got.Code, got.Header().Get("Location"))
		}
		if token := tv.Reveal("github"); token["accessToken"] != "ghp_canary" {
			t.Fatal("a token was stored that no provider gave")
		}
	})
}
