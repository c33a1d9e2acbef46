package browser_test

import (
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

// An attacker has a server of its own, which shows one page and notes who comes. It
// is reached under any host name.
type attacker struct {
	port string

	mu   sync.Mutex
	page string
	came []string
}

// The names under which browsers reach it: another site, and the server's own site at
// another port, to which cookies are sent as they are to the server.
const (
	otherSite = "attacker.test"
	sameSite  = "localhost"
)

func newAttacker(t *testing.T) *attacker {
	t.Helper()
	a := &attacker{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.came = append(a.came, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/" {
			_, _ = w.Write([]byte(a.page))
		}
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a.port = port
	return a
}

// shows makes a page of the body, and returns its address under a name.
func (a *attacker) shows(name, body string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.page = `<!doctype html><html lang="en"><title>Prizes</title><link rel="icon" href="data:,"><body>` + body
	return "http://" + a.host(name) + "/"
}

func (a *attacker) host(name string) string { return name + ":" + a.port }

// tab is a tab of a profile that may go to the attacker's pages, too.
func (a *attacker) tab(t *testing.T, w *browsertest.World, p *browsertest.Profile) *browsertest.Page {
	t.Helper()
	p.Allow(a.host(otherSite), a.host(sameSite))
	return w.Page(t, p)
}

// form is a form with a button that sends it to the server.
func form(action string, fields map[string]string) string {
	var b strings.Builder
	b.WriteString(`<form method="post" action="` + html.EscapeString(action) + `">`)
	for name, value := range fields {
		b.WriteString(`<input type="hidden" name="` + html.EscapeString(name) + `" value="` + html.EscapeString(value) + `">`)
	}
	return b.String() + `<button>Win</button></form>`
}
