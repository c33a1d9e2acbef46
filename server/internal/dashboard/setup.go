package dashboard

import (
	"net/http"
	"net/netip"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Paths of the set-up.
const (
	setupRoot     = "/setup"
	setupPlatform = "/setup/platform"
	setupWebhook  = "/setup/webhook"
	setupBound    = "/setup/bound"
)

// setupRoutes are the wizard: who shall keep the credentials, and what that takes. It
// keeps nothing of its own: leaving it anywhere changes nothing.
func (d *Dashboard) setupRoutes(r routes) {
	r.page(setupRoot, d.user(d.setupPage))
	r.page(setupPlatform, d.user(d.setupPlatformPage))
	r.page(setupWebhook, d.user(d.setupWebhookPage))
	r.POST(setupWebhook, d.user(d.preflight))
	r.page(setupBound, d.user(d.setupBoundPage))
	r.POST(setupBound, d.user(d.checkBound))
}

func (d *Dashboard) setupPage(c *gin.Context, v visitor) error {
	type page struct {
		Bound bool
		Host  string
	}
	p := page{Bound: bound(v)}
	if p.Bound {
		p.Host = hostOf(v.vault.Binding.URL)
	}
	return d.render(c, http.StatusOK, "setup", view{Title: "Who keeps your credentials?", Section: "settings", Page: p}, &v)
}

func (d *Dashboard) setupPlatformPage(c *gin.Context, v visitor) error {
	type page struct {
		Bound bool
		Vault *vaultMark
	}
	p := page{Bound: v.vault.Mode == models.ModeWebhook}
	if !p.Bound {
		mark := markOf(v.principal.VaultID)
		p.Vault = &mark
	}
	return d.render(c, http.StatusOK, "setup_platform", view{Title: "Platform mode", Section: "settings", Page: p}, &v)
}

// A setupStep is where somebody stands who binds a webhook.
type setupStep struct {
	Number int
	Title  string
	State  string // "done", "now" or "later"
}

func setupSteps(now int) []setupStep {
	steps := []setupStep{{1, "Run it", "done"}, {2, "Enter its address", "done"}, {3, "Compare and confirm", "done"}, {4, "Check it", "done"}}
	for i := range steps {
		switch {
		case steps[i].Number == now:
			steps[i].State = "now"
		case steps[i].Number > now:
			steps[i].State = "later"
		}
	}
	return steps
}

func (d *Dashboard) setupWebhookPage(c *gin.Context, v visitor) error {
	return d.showSetupWebhook(c, v, "", nil)
}

func (d *Dashboard) showSetupWebhook(c *gin.Context, v visitor, address string, failure *fault.Error) error {
	type page struct {
		Steps    []setupStep
		Public   string
		Commands []snippet
		Address  field
		Current  string // host of the webhook in use
	}
	p := page{Steps: setupSteps(1), Public: d.publicURL(), Commands: d.runSnippets(), Address: addressField(address)}
	if bound(v) {
		p.Current = hostOf(v.vault.Binding.URL)
	}
	return d.render(c, statusOf(failure), "setup_webhook", view{
		Title: "Set up a webhook", Section: "settings", Page: &p, Problem: mark(failure, &p.Address),
	}, &v)
}

func addressField(value string) field {
	return field{
		Name: "webhookUrl", Label: "Address of your webhook", Type: "url", Value: value, Required: true, MaxLength: 1024,
		Hint: "What you gave it as TV_WEBHOOK_EXTERNAL_URL, e.g. https://webhook.example.com.",
	}
}

// preflight looks at an address and answers the POST itself. Reading a page never has
// somebody else's address called: a link on another site could ask for that.
func (d *Dashboard) preflight(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	address := form.Get("webhookUrl")
	found, err := d.deps.Webhook.Preflight(c.Request.Context(), v.principal, client(c), address)
	if err != nil {
		if failure, ok := mendable(err); ok {
			return d.showSetupWebhook(c, v, address, failure)
		}
		return err
	}
	type page struct {
		vaults.Preflighted
		Steps  []setupStep
		Probes []probeRow
		Public string
		Bind   string // the webhook's own page
	}
	bind := found.WebhookURL + "/bind?" + url.Values{"tv": {d.publicURL()}}.Encode()
	return d.render(c, http.StatusOK, "setup_check", view{
		Title: "Is the webhook there?", Section: "settings", Connect: origin(found.WebhookURL),
		Page: page{Preflighted: found, Steps: setupSteps(2), Probes: showProbes(found.Probes), Public: d.publicURL(), Bind: bind},
	}, &v)
}

func (d *Dashboard) setupBoundPage(c *gin.Context, v visitor) error {
	return d.showSetupBound(c, v, nil, nil)
}

// showSetupBound shows what the checks of the bound webhook found, or where to run
// them: a page that is read calls nobody.
func (d *Dashboard) showSetupBound(c *gin.Context, v visitor, probes []vaults.Probe, failure *fault.Error) error {
	type page struct {
		Steps   []setupStep
		Host    string
		Run     bool // the checks have not run on this page yet
		Probes  []probeRow
		Summary summary
		Waiting int
	}
	if !bound(v) {
		return seeOther(c, setupRoot)
	}
	p := page{
		Steps: setupSteps(4), Host: hostOf(v.vault.Binding.URL), Run: probes == nil && failure == nil, Probes: showProbes(probes), Summary: summarize(probes),
	}
	if p.Run {
		p.Probes = untriedProbes()
	}
	var err error
	if p.Waiting, err = d.waiting(c, v); err != nil {
		return err
	}
	return d.render(c, statusOf(failure), "setup_bound", view{Title: "Your webhook is bound", Section: "settings", Page: p, Problem: failure}, &v)
}

func (d *Dashboard) checkBound(c *gin.Context, v visitor) error {
	probes, err := d.deps.Webhook.CheckWebhook(c.Request.Context(), v.principal, client(c))
	if err == nil {
		return d.showSetupBound(c, v, probes, nil)
	}
	failure, ok := mendable(err)
	if !ok {
		return err
	}
	return d.showSetupBound(c, v, nil, failure)
}

// publicURL is where people, agents and webhooks reach this server.
func (d *Dashboard) publicURL() string {
	u := url.URL{Scheme: d.deps.PublicURL.Scheme, Host: d.deps.PublicURL.Host}
	return u.String()
}

// local reports whether this server is reached on its own machine alone.
func (d *Dashboard) local() bool {
	host := d.deps.PublicURL.Hostname()
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
