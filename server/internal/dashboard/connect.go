package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/connect"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/providers"
)

// Connections connects accounts at providers, and ends that.
type Connections interface {
	Start(ctx context.Context, p grants.Principal, client audit.Client, in connect.StartInput) (connect.Redirect, error)
	Finish(ctx context.Context, p grants.Principal, client audit.Client, in connect.Callback) (connect.Connected, error)
	Disconnect(ctx context.Context, p grants.Principal, client audit.Client, service string) (connect.Disconnected, error)
}

// Providers are those that this server is a client of.
type Providers interface {
	List() []providers.Summary
}

func (d *Dashboard) connectRoutes(r routes) {
	r.page("/token/:service/disconnect", d.user(d.disconnectPage))
	r.POST("/token/:service/disconnect", d.user(d.disconnect))
	r.page("/token/:service/connected", d.user(d.connected))
	r.page(connectForm, d.user(d.connectPage))
	r.GET(connectRoot, d.user(d.startConnecting))
	r.GET(connectRoot+"/:provider", d.user(d.startConnecting))
	r.GET(callbackPath, d.page(d.finishConnecting))
}

// Where browsers begin to connect an account, where they come back to, and the page
// that asks what to connect.
const (
	connectRoot  = "/connect"
	callbackPath = "/oauth/callback"
	connectForm  = "/tokens/connect"
)

// startConnecting sends a browser to a provider, or to the webhook that does it. Who
// comes from another site is asked first: a page of that site may have sent them, to
// put an account of its choice, or more scopes, in the place of what is there.
func (d *Dashboard) startConnecting(c *gin.Context, v visitor) error {
	if fromElsewhere(c.Request) {
		return seeOther(c, comeBackTo(c.Request.URL))
	}
	values, err := queryOnce(c, "provider", "service", "owner", "bridge", "scope", "return")
	if err != nil {
		return d.notConnected(c, &v, err)
	}
	in := connect.StartInput{
		Provider: values.Get("provider"), Service: values.Get("service"), Owner: values.Get("owner"), Bridge: values.Get("bridge"),
		Scopes: strings.Fields(values.Get("scope")), ReturnTo: values.Get("return"),
	}
	if id := c.Param("provider"); id != "" {
		in.Provider = id
	}
	if in.ReturnTo == "" {
		in.ReturnTo = afterwards(in)
	}
	to, err := d.deps.Connect.Start(c.Request.Context(), v.principal, client(c), in)
	if err != nil {
		return d.notConnected(c, &v, err)
	}
	if to.Cookie != "" {
		d.deps.Cookies.SetConnect(c.Writer, to.Cookie, connect.FlowTime)
	}
	return seeOther(c, to.URL)
}

// fromElsewhere reports whether a page of another site has sent the browser here. One
// that does not say so is an old one, or none.
func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return true
	}
	return false
}

// afterwards is where a person goes when an account is connected: to its token, by way
// of what reads the webhook's list, should that have connected it.
func afterwards(in connect.StartInput) string {
	switch {
	case in.Bridge != "":
		return "/"
	case in.Service != "":
		return tokenPath(in.Service) + "/connected"
	}
	return tokenPath(in.Provider) + "/connected"
}

// finishConnecting takes what a provider sent a browser back with.
func (d *Dashboard) finishConnecting(c *gin.Context) error {
	// It counts once, whatever comes of it.
	cookie := d.deps.Cookies.TakeConnect(c.Writer, c.Request)
	if d.deps.Cookies.Session(c.Request) == "" {
		return d.notConnected(c, nil, fault.New(fault.SignInRequired, "This browser is not signed in any more: nothing was connected. Sign in, and start again."))
	}
	return d.signedInAs(c, func(c *gin.Context, v visitor) error {
		values, err := queryOnce(c, "state", "code", "iss", "error")
		if err != nil {
			return d.notConnected(c, &v, err)
		}
		done, err := d.deps.Connect.Finish(c.Request.Context(), v.principal, client(c), connect.Callback{
			Cookie: cookie, State: values.Get("state"), Code: refresh.Secret(values.Get("code")), Issuer: values.Get("iss"), Error: values.Get("error"),
		})
		if err != nil {
			return d.notConnected(c, &v, err)
		}
		return d.done(c, done.ReturnTo, connectedFlash(done))
	})
}

func connectedFlash(done connect.Connected) flash {
	switch {
	case done.AccountChanged && len(done.Missing) > 0:
		return flashConnectedOtherLess
	case done.AccountChanged:
		return flashConnectedOther
	case len(done.Missing) > 0:
		return flashConnectedLess
	}
	return flashConnected
}

// connected is where a person comes back to from a webhook that connects accounts by
// itself: its list says what it has now.
func (d *Dashboard) connected(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	if bound(v) {
		if _, err := d.deps.Webhook.Sync(c.Request.Context(), v.principal, client(c), service); err != nil {
			return err
		}
	}
	return seeOther(c, tokenPath(service))
}

// notConnected is the page for a flow that cannot begin, or did not end well.
func (d *Dashboard) notConnected(c *gin.Context, v *visitor, err error) error {
	_ = c.Error(err)
	failure := fault.From(err)
	type page struct {
		SignIn bool
		Start  string
		Kept   bool // nothing was stored, for sure
	}
	return d.render(c, statusOf(failure), "notconnected", view{
		Title: "The account was not connected", Section: "tokens", Problem: failure, Page: page{SignIn: v == nil, Start: connectForm, Kept: statusOf(failure) < http.StatusInternalServerError},
	}, v)
}

// queryOnce parses the query string, and refuses a parameter of those named that is
// there twice (RFC 6749 section 3.1).
func queryOnce(c *gin.Context, names ...string) (url.Values, error) {
	values, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The address is not encoded as it should be.")
	}
	for _, name := range names {
		if len(values[name]) > 1 {
			return nil, fault.Field(name, "The parameter %q is given twice.", name)
		}
	}
	return values, nil
}

// comeBackTo is where a person who was not signed in is sent after that, and one who
// follows a link of another site. A form's answer must not lead to another host, so a flow is not begun by it; and what a provider sent
// is put into no other address.
func comeBackTo(u *url.URL) string {
	switch {
	case u.Path == callbackPath:
		return connectForm
	case u.Path == connectRoot:
		return connectForm + "?" + u.RawQuery
	case strings.HasPrefix(u.Path, connectRoot+"/"):
		values := u.Query()
		values.Set("provider", strings.TrimPrefix(u.Path, connectRoot+"/"))
		return connectForm + "?" + values.Encode()
	}
	return u.RequestURI()
}

// connectPage asks what to connect, and then links to where that begins: a link, since
// browsers do not let a form's answer lead to another host.
func (d *Dashboard) connectPage(c *gin.Context, v visitor) error {
	type page struct {
		Providers []providerChoice
		ByWebhook bool // the webhook may have others
		Host      string
		Provider  field
		Service   field
		Scope     field
		To        string // where it begins; empty: nothing was asked for yet
		What      string
		Chosen    *providerChoice // nil: none of those that this server knows
		Bridge    string
	}
	names := []string{"provider", "service", "owner", "bridge", "scope", "return"}
	values, err := queryOnce(c, names...)
	if err != nil {
		return err
	}
	asked := url.Values{}
	for _, name := range names {
		value := strings.TrimSpace(values.Get(name))
		if len(value) > 2*maxLine {
			return fault.Field(name, "The parameter %q is longer than %d bytes.", name, 2*maxLine)
		}
		if value != "" {
			asked.Set(name, value)
		}
	}
	p := page{
		Providers: d.providerChoices(v), ByWebhook: v.vault.ConnectsItself(), Bridge: asked.Get("bridge"),
		Provider: field{Name: "provider", Label: "Provider", Type: "text", Value: asked.Get("provider"), MaxLength: 64, Hint: "Its id, e.g. google."},
		Service:  field{Name: "service", Label: "Service name", Type: "text", Value: asked.Get("service"), MaxLength: 128, Hint: "How agents ask for the token. Without one, it is the provider's id."},
		Scope:    field{Name: "scope", Label: "Scopes", Type: "text", Value: asked.Get("scope"), MaxLength: 2000, Hint: "What it shall be allowed besides what is asked for in any case; separated by spaces."},
	}
	if bound(v) {
		p.Host = hostOf(v.vault.Binding.URL)
	}
	for i, known := range p.Providers {
		if known.ID == asked.Get("provider") {
			p.What, p.Chosen = known.Name, &p.Providers[i]
		}
	}
	if asked.Get("provider") != "" || asked.Get("service") != "" || asked.Get("bridge") != "" {
		p.To = connectRoot + "?" + asked.Encode()
	}
	if p.What == "" {
		p.What = asked.Get("provider")
	}
	return d.render(c, http.StatusOK, "connect", view{Title: "Connect an account", Section: "tokens", Page: &p}, &v)
}

// A providerButton is a provider at which an account can be connected.
type providerButton struct {
	ID, Name string
	Seen     bool // this server is issued the tokens, and hands them to the webhook
	Away     bool // it cannot be used at the moment
}

// To is where connecting begins.
func (b providerButton) To() string { return connectRoot + "/" + b.ID }

func (d *Dashboard) providerButtons(v visitor) []providerButton {
	var buttons []providerButton
	for _, s := range d.deps.Known.List() {
		here := s.HoldsSecret || !v.vault.ConnectsItself()
		buttons = append(buttons, providerButton{ID: s.ID, Name: s.Name, Seen: bound(v) && here, Away: here && s.Problem != ""})
	}
	return buttons
}
