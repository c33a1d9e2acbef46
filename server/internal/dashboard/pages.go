package dashboard

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/web"
)

//go:embed templates
var templateFiles embed.FS

// pages are the parsed templates, by the name of their file.
type pages struct{ byName map[string]*template.Template }

func loadPages(a *assets, now func() time.Time) (*pages, error) {
	layout, err := template.New("layout.html").Funcs(template.FuncMap{
		"asset": a.path, "when": when, "moment": moment, "ago": distances(now), "countdown": countdowns(now), "groups": groups, "query": url.QueryEscape,
	}).ParseFS(templateFiles, "templates/layout.html", "templates/parts*.html")
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	p := &pages{byName: map[string]*template.Template{}}
	for _, entry := range entries {
		name := entry.Name()
		if name == "layout.html" || strings.HasPrefix(name, "parts") {
			continue
		}
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, "templates/"+name)
		}
		if err != nil {
			return nil, fmt.Errorf("dashboard: %w", err)
		}
		p.byName[strings.TrimSuffix(name, ".html")] = t
	}
	return p, nil
}

// A view is what a page is rendered from.
type view struct {
	Title   string
	Section string       // of the navigation: "tokens", "agents", "keys", "grants", "audit", "settings"
	Problem *fault.Error // shown above the form
	Page    any          // of the page's own

	// Connect is the origin that the page's script may speak to besides ours.
	Connect string
	Camera  bool // the page's script may ask for the camera

	// The rest is set by render.
	SignedIn bool
	Who      string
	Locked   bool
	Offers   []offer
	Ending   *ending
	Flash    string
}

// render writes a page. Nothing is written unless all of it could be rendered.
func (d *Dashboard) render(c *gin.Context, status int, name string, v view, who *visitor) error {
	t, ok := d.pages.byName[name]
	if !ok {
		return fmt.Errorf("dashboard: there is no page %q", name)
	}
	if who != nil {
		v.SignedIn, v.Locked, v.Offers, v.Ending = true, who.vault.Locked, who.offers, who.ending
		if v.Who = who.account.DisplayName; v.Who == "" {
			v.Who = who.account.Email
		}
	}
	v.Flash = flash(d.deps.Cookies.TakeFlash(c.Writer, c.Request)).text()
	var page bytes.Buffer
	if err := t.Execute(&page, v); err != nil {
		return fmt.Errorf("dashboard: page %s: %w", name, err)
	}
	protect(c.Writer.Header(), v)
	c.Data(status, "text/html; charset=utf-8", page.Bytes())
	return nil
}

// protect sets what a browser shall hold a page to. Pages are never stored:
// they say who is signed in, and one of them shows a key. Nothing inline runs.
func protect(h http.Header, v view) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
		"connect-src "+strings.TrimSpace("'self' "+v.Connect)+"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "+
		"require-trusted-types-for 'script'; trusted-types 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	camera := "()"
	if v.Camera {
		camera = "(self)"
	}
	h.Set("Permissions-Policy", "camera="+camera+", geolocation=(), microphone=(), payment=(), usb=()")
}

// origin is scheme, host and port of a webhook's URL, for a policy header.
// "" if there is none, or nothing that belongs into a header.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsAny(u.Host, " ;,'\"*") {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// fail answers an error by a page that says what is wrong and what to do.
func (d *Dashboard) fail(c *gin.Context, err error) {
	_ = c.Error(err)
	failure := fault.From(err)
	d.ErrorPage(c, web.Status(failure.Code), failure)
}

// ErrorPage answers a failure outside /api, also those of the engine itself.
func (d *Dashboard) ErrorPage(c *gin.Context, status int, failure *fault.Error) {
	type page struct {
		Status    int
		Message   string
		RequestID string
	}
	v := view{Title: http.StatusText(status), Page: page{status, failure.Message, web.RequestID(c)}}
	if status == http.StatusNotFound {
		v.Title = "Not found"
	}
	if err := d.render(c, status, "error", v, nil); err != nil {
		_ = c.Error(err)
		c.Data(status, "text/plain; charset=utf-8", []byte(failure.Message+"\n"))
	}
}

const toMinute = "2 Jan 2006, 15:04"

// when shows a time to the minute in UTC, to people and to programs.
func when(t any) (template.HTML, error) { return timeElement(t, toMinute) }

// moment is when to the second.
func moment(t any) (template.HTML, error) { return timeElement(t, "2 Jan 2006, 15:04:05") }

func timeElement(t any, layout string) (template.HTML, error) {
	at, ok, err := timeOf(t)
	if err != nil || !ok {
		return "", err
	}
	//nolint:gosec // digits, letters and punctuation of a fixed form
	return template.HTML(`<time datetime="` + at.Format(time.RFC3339) + `">` + at.Format(layout) + " UTC</time>"), nil
}

// groups cuts a fingerprint into pieces that can be compared by eye.
func groups(hash string) []string {
	const size = 4
	var out []string
	for len(hash) > size {
		out, hash = append(out, hash[:size]), hash[size:]
	}
	return append(out, hash)
}
