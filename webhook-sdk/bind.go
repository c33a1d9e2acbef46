package webhook

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	pathStyle       = wire.PathBind + "/style.css"
	paramExpired    = "expired"
	formAdminSecret = "secret"
	maxForm         = 4 << 10 // bytes
)

//go:embed bind.html
var bindHTML string

//go:embed bind.css
var bindCSS []byte

// The page has no script. Its style sheet is the webhook's own, and no other page
// may show it in a frame.
const pagePolicy = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// pageState says what the bind page shows.
type pageState string

const (
	pageReady   pageState = "ready"   // a code, and the way to TV
	pageChoose  pageState = "choose"  // which TV?
	pageSecret  pageState = "secret"  // the admin secret is asked for
	pageExpired pageState = "expired" // the code that was shown has expired
	pageProblem pageState = "problem"
)

// bindView is what the template gets.
type bindView struct {
	State       pageState
	Webhook     string // this webhook's URL
	Origin      string // of TV
	Configured  string // TokenVaultURL
	Other       bool   // Origin is another than Configured
	Link        string // to TV's consent page
	Fingerprint []string
	ExpiresAt   string
	Seconds     int
	Rebind      bool
	Problem     string
	Action      string // of forms
	Style       string
	Again       string // URL of the page itself
	RefreshTo   string
}

// bindPage answers GET /bind.
func (w *Webhook) bindPage(rw http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if link := query.Get(paramSetup); link != "" {
		if err := w.enterSetup(rw, r, link); err != nil {
			return w.problemPage(rw, r, err)
		}
		// The link leaves the address bar and the history.
		query.Del(paramSetup)
		http.Redirect(rw, r, w.pageURL(query.Get(paramTV), ""), http.StatusSeeOther)
		return nil
	}
	if query.Has(paramExpired) {
		return w.page(rw, http.StatusOK, bindView{State: pageExpired, Again: w.pageURL(query.Get(paramTV), "")})
	}
	return w.showCode(rw, r, r.Header.Get(wire.HeaderAdminSecret))
}

// bindPageWithSecret answers POST /bind: the page's own form with the admin secret.
func (w *Webhook) bindPageWithSecret(rw http.ResponseWriter, r *http.Request) error {
	if err := w.origin.Check(r); err != nil {
		return refuse(wire.CodeForbidden, "the form was sent from another site: open %s yourself", w.url(wire.PathBind))
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/x-www-form-urlencoded" {
		return refuse(wire.CodeInvalidRequest, "the page's form is sent as application/x-www-form-urlencoded")
	}
	text, err := readAtMost(rw, r, maxForm)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return refuse(wire.CodeInvalidRequest, "the form is malformed")
	}
	secret := form.Get(formAdminSecret)
	if secret == "" {
		return w.page(rw, http.StatusForbidden, w.secretView(r, "Enter the admin secret."))
	}
	return w.showCode(rw, r, secret)
}

// enterSetup uses a set-up link up and remembers the browser.
func (w *Webhook) enterSetup(rw http.ResponseWriter, r *http.Request, link string) error {
	browser, err := w.bindings.openSetup(r.Context(), w.now(), link)
	if err != nil {
		return err
	}
	http.SetCookie(rw, &http.Cookie{
		Name: setupCookie, Value: browser, Path: w.base.Path + "/", MaxAge: int(setupSession / time.Second),
		HttpOnly: true, Secure: w.base.Scheme == "https", SameSite: http.SameSiteLaxMode,
	})
	return nil
}

// showCode makes a code and shows it, or asks for what is missing.
func (w *Webhook) showCode(rw http.ResponseWriter, r *http.Request, secret string) error {
	if err := w.mayRegister(r, secret); err != nil {
		if w.admin == nil {
			return w.problemPage(rw, r, err)
		}
		problem := ""
		if secret != "" {
			problem = "That is not the admin secret."
			w.log.WarnContext(r.Context(), "binding refused", "client", w.clients.describe(r), "error", err.Error())
		}
		return w.page(rw, http.StatusForbidden, w.secretView(r, problem))
	}
	origin, err := w.originFor(r)
	if err != nil {
		return w.page(rw, http.StatusBadRequest, bindView{State: pageChoose, Problem: refusalOf(err).Message})
	}
	if origin == "" {
		return w.page(rw, http.StatusOK, bindView{State: pageChoose})
	}
	made, err := w.register(r.Context(), origin)
	if err != nil {
		return err
	}
	view := bindView{
		State: pageReady, Origin: origin, Configured: w.tv, Other: w.tv != "" && origin != w.tv,
		Link: made.url, Fingerprint: groups(made.fingerprint, 4),
		ExpiresAt: made.expires.UTC().Format("15:04:05"), Seconds: int(wire.BindCodeLife / time.Second),
		Rebind: w.bindings.bound(),
	}
	view.RefreshTo = w.pageURL(r.URL.Query().Get(paramTV), paramExpired)
	return w.page(rw, http.StatusOK, view)
}

func (w *Webhook) secretView(r *http.Request, problem string) bindView {
	return bindView{
		State: pageSecret, Problem: problem, Rebind: w.bindings.bound(),
		Action: w.pageURL(r.URL.Query().Get(paramTV), ""),
	}
}

// problemPage shows a refusal to a person; what is not one is the adapter's.
func (w *Webhook) problemPage(rw http.ResponseWriter, r *http.Request, err error) error {
	var known *wire.Error
	if !errors.As(err, &known) {
		return err
	}
	w.log.InfoContext(r.Context(), "binding refused", "client", w.clients.describe(r), "error", err.Error())
	return w.page(rw, known.Code.Status(), bindView{State: pageProblem, Problem: known.Message, Rebind: w.bindings.bound()})
}

func (w *Webhook) page(rw http.ResponseWriter, status int, view bindView) error {
	view.Webhook, view.Style = w.base.String(), w.base.Path+pathStyle
	if view.Action == "" {
		view.Action = w.base.Path + wire.PathBind
	}
	return writePage(rw, status, w.bindTemplate, view)
}

// writePage shows a page to a person.
func writePage(rw http.ResponseWriter, status int, template *template.Template, view any) error {
	var page bytes.Buffer
	if err := template.Execute(&page, view); err != nil {
		return fmt.Errorf("the page %s: %w", template.Name(), err)
	}
	h := rw.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	// Not no-referrer, with which browsers send the page's own form as from "null".
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	rw.WriteHeader(status)
	_, _ = rw.Write(page.Bytes())
	return nil
}

// pageURL is the path of the bind page, with the choice that was made and one more
// parameter.
func (w *Webhook) pageURL(tv, param string) string {
	query := url.Values{}
	if tv != "" {
		query.Set(paramTV, tv)
	}
	if param != "" {
		query.Set(param, "1")
	}
	if len(query) == 0 {
		return w.base.Path + wire.PathBind
	}
	return w.base.Path + wire.PathBind + "?" + query.Encode()
}

func (w *Webhook) styleSheet(rw http.ResponseWriter, _ *http.Request) error {
	h := rw.Header()
	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=300")
	_, _ = rw.Write(bindCSS)
	return nil
}

// groups cuts a fingerprint into parts that a person can compare.
func groups(text string, size int) []string {
	var out []string
	for i := 0; i < len(text); i += size {
		out = append(out, text[i:min(i+size, len(text))])
	}
	return out
}
