package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/server/internal/web"
)

func TestAConnectionIsTakenOnceAndHeldToThisHost(t *testing.T) {
	t.Parallel()
	for scheme, want := range map[string]string{
		"http":  "tv_connect=sealed; Path=/; Max-Age=600; HttpOnly; SameSite=Lax",
		"https": "__Host-tv_connect=sealed; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax",
	} {
		cookies := web.NewCookies(&url.URL{Scheme: scheme, Host: "127.0.0.1"})
		w := httptest.NewRecorder()
		cookies.SetConnect(w, "sealed", 10*time.Minute)
		if got := w.Header().Get("Set-Cookie"); got != want {
			t.Errorf("%s: %q, want %q", scheme, got, want)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(w.Result().Cookies()[0])
		after := httptest.NewRecorder()
		if got := cookies.TakeConnect(after, r); got != "sealed" {
			t.Errorf("%s: took %q, want what was left", scheme, got)
		}
		if c := after.Result().Cookies(); len(c) != 1 || c[0].MaxAge != -1 {
			t.Errorf("%s: afterwards the cookies are %v, want it gone", scheme, c)
		}
		if got := cookies.TakeConnect(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)); got != "" {
			t.Errorf("%s: took %q from nothing", scheme, got)
		}
	}
}
