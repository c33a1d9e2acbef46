package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/web"
)

func TestQueryValueFindsTheOnlyOne(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw, value string
		given, bad bool
	}{
		{"", "", false, false},
		{"service=github", "github", true, false},
		{"a=b&service=my%20token+x&c", "my token x", true, false},
		{"%73ervice=github", "github", true, false},
		{"service", "", true, false},
		{"service=", "", true, false},
		{"xservice=a&Service=b", "", false, false},
		{"service=a&service=a", "", false, true},
		{"service=a&%73ervice=b", "", false, true},
		{"service=%zz", "", false, true},
		{"%zz=a&service=b", "b", true, false},
	} {
		value, given, err := web.QueryValue(tt.raw, "service")
		if (err != nil) != tt.bad || value != tt.value || given != tt.given {
			t.Errorf("QueryValue(%q) = %q, %v, %v; want %q, %v, error %v", tt.raw, value, given, err, tt.value, tt.given, tt.bad)
		}
		if tt.bad && fault.From(err).Field != "service" {
			t.Errorf("QueryValue(%q): %v names field %q, want service", tt.raw, err, fault.From(err).Field)
		}
	}
}

func FuzzQueryValueAgreesWithNetURL(f *testing.F) {
	for _, seed := range []string{"service=a", "a=1&service=b%20c", "service=a&service=b", "%73ervice=x", "a;b&service=%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		want, err := url.ParseQuery(raw)
		if err != nil {
			return // net/url is stricter about the parts that we do not look at
		}
		value, given, err := web.QueryValue(raw, "service")
		switch list := want["service"]; {
		case len(list) > 1:
			if err == nil {
				t.Fatalf("QueryValue(%q) took one of %d values", raw, len(list))
			}
		case err != nil || given != (len(list) == 1) || value != want.Get("service"):
			t.Fatalf("QueryValue(%q) = %q, %v, %v; net/url says %q", raw, value, given, err, list)
		}
	})
}

func TestCheckTextRefusesWhatNothingShouldHaveToCopeWith(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value       string
		text, lines bool
	}{
		{"Zürich 東京", true, true}, {"", true, true}, {strings.Repeat("a", 20), true, true},
		{strings.Repeat("a", 21), false, false}, {"a\x00b", false, false}, {"a\nb", false, true}, {"\xff", false, false}, {"a\u0085b", false, false},
	} {
		if err := web.CheckText("f", tt.value, 20); (err == nil) != tt.text {
			t.Errorf("CheckText(%q) = %v, want good %v", tt.value, err, tt.text)
		}
		if err := web.CheckLines("f", tt.value, 20); (err == nil) != tt.lines {
			t.Errorf("CheckLines(%q) = %v, want good %v", tt.value, err, tt.lines)
		}
	}
}

func TestAKeyIsTakenFromOneHeaderAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		header   http.Header
		agentKey string
		bearer   string
		given    bool
	}{
		{"none", http.Header{}, "", "", false},
		{"bearer", http.Header{"Authorization": {"Bearer k"}}, "k", "k", true},
		{"scheme in lower case", http.Header{"Authorization": {"bearer k"}}, "k", "k", true},
		{"another scheme", http.Header{"Authorization": {"Basic k"}}, "", "", true},
		{"scheme alone", http.Header{"Authorization": {"Bearer"}}, "", "", true},
		{"two of them", http.Header{"Authorization": {"Bearer k", "Bearer k"}}, "", "", true},
		{"agent header", http.Header{"X-Agent-Key": {"k"}}, "k", "", false},
		{"two agent headers", http.Header{"X-Agent-Key": {"k", "k"}}, "", "", false},
		{"both, the same", http.Header{"X-Agent-Key": {"k"}, "Authorization": {"Bearer k"}}, "k", "k", true},
		{"both, not the same", http.Header{"X-Agent-Key": {"k"}, "Authorization": {"Bearer other"}}, "", "other", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/?key=q&service=x", nil)
		r.Header = tt.header
		if got := web.AgentKey(r); got != tt.agentKey {
			t.Errorf("%s: AgentKey = %q, want %q", tt.name, got, tt.agentKey)
		}
		if got, given := web.Bearer(r); got != tt.bearer || given != tt.given {
			t.Errorf("%s: Bearer = %q, %v; want %q, %v", tt.name, got, given, tt.bearer, tt.given)
		}
	}
}

func TestCookiesAreHeldAsTightAsTheSchemeAllows(t *testing.T) {
	t.Parallel()
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct{ public, want string }{
		{"https://vault.example", "__Host-tv_session=tcs_x; Path=/; Expires=Wed, 02 Jan 2030 03:04:05 GMT; HttpOnly; Secure; SameSite=Lax"},
		{"http://127.0.0.1:8000", "tv_session=tcs_x; Path=/; Expires=Wed, 02 Jan 2030 03:04:05 GMT; HttpOnly; SameSite=Lax"},
	} {
		public, err := url.Parse(tt.public)
		if err != nil {
			t.Fatal(err)
		}
		cookies := web.NewCookies(public)
		w := httptest.NewRecorder()
		cookies.SetSession(w, "tcs_x", expires)
		if got := w.Header().Get("Set-Cookie"); got != tt.want {
			t.Errorf("%s: cookie %q, want %q", tt.public, got, tt.want)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(w.Result().Cookies()[0])
		if got := cookies.Session(r); got != "tcs_x" {
			t.Errorf("%s: Session = %q, want what was set", tt.public, got)
		}
		other := web.NewCookies(&url.URL{Scheme: map[bool]string{true: "http", false: "https"}[strings.HasPrefix(tt.public, "https")]})
		if got := other.Session(r); got != "" {
			t.Errorf("%s: the cookie of the other scheme was taken: %q", tt.public, got)
		}
		gone := httptest.NewRecorder()
		cookies.EndSession(gone)
		if c := gone.Result().Cookies()[0]; c.MaxAge >= 0 || c.Value != "" || c.Path != "/" {
			t.Errorf("%s: EndSession sets %v, want it gone", tt.public, c)
		}
	}
}

func TestAFlashIsShownOnce(t *testing.T) {
	t.Parallel()
	cookies := web.NewCookies(nil)
	w := httptest.NewRecorder()
	cookies.SetFlash(w, "saved")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(w.Result().Cookies()[0])
	second := httptest.NewRecorder()
	if got := cookies.TakeFlash(second, r); got != "saved" {
		t.Errorf("TakeFlash = %q, want what was left", got)
	}
	if c := second.Result().Cookies(); len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("after TakeFlash the cookies are %v, want the flash gone", c)
	}
}

func TestTheClientIsTheOtherEndOfTheConnection(t *testing.T) {
	t.Parallel()
	server, _ := start(t, "http://127.0.0.1", func(e *gin.Engine) {
		e.GET("/api/who", web.JSON(func(c *gin.Context) error { return web.WriteJSON(c, 200, web.ClientOf(c)) }))
	})
	got := do(t, request(t, "GET", server.URL+"/api/who", "", "X-Forwarded-For", "6.6.6.6", "X-Real-Ip", "6.6.6.6", "User-Agent", "probe/1"))
	want := `{"Address":"127.0.0.1","UserAgent":"probe/1","RequestID":"` + got.header.Get("X-Request-Id") + `"}`
	if got.body != want {
		t.Errorf("the client is %s, want %s", got.body, want)
	}
}
