package dashboard

import (
	"cmp"
	"net/url"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// cardsPerPage is how many tokens a page of the list has.
const cardsPerPage = 100

// A tokenList is the page of all tokens, or of those that fit a search.
type tokenList struct {
	Bound      bool
	Host       string
	WebhookURL string // where codes come from; empty when no code can be shown
	Codes      bool   // some token has one-time codes
	Cards      []tokenCard
	Search     field
	Narrow     []choice
	Narrowed   bool   // something besides the order was asked for
	Chosen     []chip // what was asked for, each with a way to undo it
	Found      string // how many there are, a sentence
	All        int
	Partial    bool
	Superseded []supersededRow
	Waiting    int // in platform vaults, to be moved to the webhook
	Providers  []providerButton
	ByWebhook  bool // the webhook connects accounts by itself
	Next       string
	First      string // empty: this is the first page
}

// A choice is a select of the search form.
type choice struct {
	Name, Label string
	Options     []option
}

// An option is one that can be chosen.
type option struct {
	Value, Label string
	Selected     bool
}

// A chip is something that a list was narrowed by.
type chip struct{ Text, Without string }

func (d *Dashboard) tokensPage(c *gin.Context, v visitor) error {
	values, err := queryOnce(c, "q", "type", "state", "trust", "tag", "sort", "cursor")
	if err != nil {
		return err
	}
	p := tokenList{Bound: bound(v), Providers: d.providerButtons(v), ByWebhook: v.vault.ConnectsItself()}
	result, err := d.deps.Tokens.Search(c.Request.Context(), v.principal, vaults.SearchInput{
		Text: values.Get("q"), Type: values.Get("type"), Tag: values.Get("tag"), Status: values.Get("state"), Trust: vaults.Trust(values.Get("trust")),
		Order: models.TokenOrder(values.Get("sort")), Limit: cardsPerPage, Cursor: values.Get("cursor"),
	})
	var failure *fault.Error
	if err != nil {
		if failure = fault.From(err); failure.Code != fault.InvalidRequest {
			return err
		}
	}
	p.narrow(values, result)
	p.fill(d, values, result)
	connect := ""
	if p.Bound {
		p.Host = hostOf(v.vault.Binding.URL)
		if p.Codes {
			p.WebhookURL, connect = v.vault.Binding.URL, origin(v.vault.Binding.URL)
		}
	}
	if p.Superseded, err = d.findSuperseded(c, v); err != nil {
		return err
	}
	if p.Waiting, err = d.waiting(c, v); err != nil {
		return err
	}
	return d.render(c, statusOf(failure), "tokens", view{
		Title: "Tokens", Section: "tokens", Connect: connect, Page: &p, Problem: mark(failure, &p.Search),
	}, &v)
}

// fill puts what was found on the page.
func (p *tokenList) fill(d *Dashboard, values url.Values, result vaults.SearchResult) {
	p.All, p.Partial = result.All, result.Partial
	for _, t := range result.Tokens {
		card := d.card(t)
		p.Codes = p.Codes || card.TOTP
		p.Cards = append(p.Cards, card)
	}
	if result.Next != "" {
		p.Next = listURL(values, "cursor", result.Next)
	}
	if values.Get("cursor") != "" {
		p.First = listURL(values, "cursor", "")
	}
	switch {
	case result.Count < 0:
		p.Found = count(len(p.Cards), "token") + " on this page"
	case p.Narrowed:
		p.Found = strconv.Itoa(result.Count) + " of " + count(result.All, "token")
	default:
		p.Found = count(result.All, "token")
	}
}

func count(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return strconv.Itoa(n) + " " + word
}

// listURL is the list with one thing asked for otherwise, from its beginning.
func listURL(values url.Values, name, value string) string {
	next := url.Values{}
	for _, key := range []string{"q", "type", "state", "trust", "tag", "sort"} {
		if v := values.Get(key); v != "" && key != name {
			next.Set(key, v)
		}
	}
	if value != "" {
		next.Set(name, value)
	}
	if len(next) == 0 {
		return "/"
	}
	return "/?" + next.Encode()
}

// narrow makes the search form, with what was asked for.
func (p *tokenList) narrow(values url.Values, result vaults.SearchResult) {
	p.Search = field{Name: "q", Label: "Search", Type: "search", Value: values.Get("q"), MaxLength: 200}
	types := []option{{"", "All types", false}}
	for _, label := range result.Types {
		types = append(types, option{label.Name, cmp.Or(typeName(label.Name), "no type") + " (" + strconv.Itoa(label.Count) + ")", false})
	}
	tags := []option{{"", "All tags", false}}
	for _, label := range result.Tags {
		tags = append(tags, option{label.Name, label.Name + " (" + strconv.Itoa(label.Count) + ")", false})
	}
	states := []option{{"", "All states", false}}
	for _, state := range []string{
		vaults.StatusActive, vaults.StatusExpiring, vaults.StatusExpired, vaults.StatusNeedsReauthorization, vaults.StatusNeedsAttention, vaults.StatusEmpty,
	} {
		states = append(states, option{state, statusBadge(state).Text, false})
	}
	trusts := []option{{"", "All badges", false}}
	for _, trust := range []vaults.Trust{vaults.TVZero, vaults.TVRefresh, vaults.TVSeen, vaults.Sealed} {
		trusts = append(trusts, option{string(trust), trustName(trust), false})
	}
	p.Narrow = []choice{
		{"type", "Type", types}, {"state", "State", states}, {"trust", "Trust", trusts}, {"tag", "Tag", tags},
		{"sort", "Sorted by", []option{{"", "Name", false}, {string(models.OrderExpiry), "Soonest expiry", false}, {string(models.OrderStored), "Latest stored", false}}},
	}
	if text := values.Get("q"); text != "" {
		p.Chosen = append(p.Chosen, chip{"“" + text + "”", listURL(values, "q", "")})
	}
	for i := range p.Narrow {
		p.choose(&p.Narrow[i], values)
	}
	p.Narrowed = len(p.Chosen) > 0
}

// choose marks what was chosen, also where nothing has it any more.
func (p *tokenList) choose(c *choice, values url.Values) {
	chosen, known := values.Get(c.Name), false
	for i := range c.Options {
		if c.Options[i].Value == chosen {
			c.Options[i].Selected, known = true, true
		}
	}
	if chosen == "" {
		return
	}
	text := chosen
	if !known {
		c.Options = append(c.Options, option{chosen, chosen, true})
	}
	switch c.Name {
	case "sort":
		return
	case "type":
		text = typeName(chosen)
	case "state":
		text = statusBadge(chosen).Text
	case "trust":
		text = trustName(vaults.Trust(chosen))
	}
	p.Chosen = append(p.Chosen, chip{c.Label + ": " + text, listURL(values, c.Name, "")})
}

// sync reads the webhook's list again.
func (d *Dashboard) sync(c *gin.Context, v visitor) error {
	if _, err := d.deps.Webhook.Sync(c.Request.Context(), v.principal, client(c), ""); err != nil {
		return err
	}
	return d.done(c, "/", flashSynced)
}
