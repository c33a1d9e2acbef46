package browsertest_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models/store"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Main(m)) }

// What finds nothing proves nothing: each thing that the harness watches for is done
// on a page, and found.
func TestWhatIsWrongOnAPageIsFound(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	profile := w.Profile(t)
	serve := func(page string) string {
		t.Helper()
		s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				http.NotFound(out, r)
				return
			}
			out.Header().Set("Content-Security-Policy", "script-src 'self' 'unsafe-inline'; img-src 'self' data: http://127.0.0.1:*")
			_, _ = out.Write([]byte("<!doctype html><html lang=en><title>x</title><link rel=icon href=data:,><body>" + page))
		}))
		t.Cleanup(s.Close)
		profile.Allow(s.URL)
		return s.URL + "/"
	}
	for _, c := range []struct{ name, page, want string }{
		{"an exception", `<script>undefinedFunction()</script>`, "undefinedFunction is not defined"},
		{"a rejected promise", `<script>Promise.reject(new Error("nobody caught it"))</script>`, "nobody caught it"},
		{"a line on the console", `<script>console.error("said", "it")</script>`, "console error"},
		{"a breach of the policy", `<img alt="" src="http://localhost/x.png">`, "content security policy: img-src refused"},
		{"another host", `<img alt="" src="http://127.0.0.1:1/x.png">`, "request to another host: GET http://127.0.0.1:1/x.png"},
		{"a dialog", `<script>alert("hello")</script>`, "a dialog of kind alert: hello"},
		{"what is missing", `<script src="/missing.js"></script>`, "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := w.Page(t, profile)
			p.Expect(".") // at the test's end, that is
			p.Open(serve(c.page))
			p.WantsProblem(c.want)
		})
	}

	p := w.Page(t, profile)
	p.Emulate(browsertest.Look{Width: browsertest.Narrow})
	p.Open(serve(`<main><h1>x</h1><p style="width: 500px">wide</p><input><p style="color:#999;background:#fff">pale</p></main>`))
	if got := p.Overflow(); !strings.Contains(got, "wide") {
		t.Errorf("Overflow of a page wider than its window: got %q, want the element", got)
	}
	if got := strings.Join(p.Barriers(), "\n"); !strings.Contains(got, "label (") || !strings.Contains(got, "color-contrast (") {
		t.Errorf("Barriers: got %q, want the missing label and the low contrast", got)
	}
	p.Open(serve(`<main style="height:400px"><p id=first>x</p><p>below</p></main><script>
		const move = () => { document.getElementById("first").style.height = "300px"; document.title = "moved" };
		new PerformanceObserver(() => setTimeout(move, 50)).observe({ type: "paint", buffered: true });</script>`))
	p.WantsTitle("moved")
	if got := p.LayoutShift(); got < 0.01 {
		t.Errorf("LayoutShift of a page that moved: got %g, want more", got)
	}
	p.Open(serve(`<main><h1>x</h1><p>calm</p></main>`))
	if got := p.LayoutShift() + float64(len(p.Overflow())+len(p.Barriers())); got != 0 {
		t.Errorf("a calm page: got %g, want neither shift nor overflow nor barriers", got)
	}
}

func TestAPersonSignsInByWhatIsWrittenOnThePage(t *testing.T) {
	t.Parallel()
	browsertest.Each(t, func(t *testing.T, w *browsertest.World) {
		p := w.Page(t, w.Profile(t))
		p.Open("/register")
		p.Fill("E-mail", "grace@example.com")
		p.Fill("Password", apptest.Password)
		p.Follow("css:main form button")
		p.WantsElement("header nav")
		p.Emulate(browsertest.Look{NoScript: true, Dark: true})
		p.Open("/agents")
		p.Wants("Agents")
		file := filepath.Join(t.TempDir(), "picture.png")
		p.Screenshot(file)
		if image, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(image), "\x89PNG") {
			t.Errorf("the picture: got %d bytes (%v), want a PNG", len(image), err)
		}
		other := w.Page(t, w.Profile(t))
		other.Open("/agents")
		if !strings.HasPrefix(other.Path(), "/login") {
			t.Errorf("another profile: got %s, want to be asked to sign in", other.Path())
		}
	})
}
