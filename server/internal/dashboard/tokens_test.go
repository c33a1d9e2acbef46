package dashboard_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// wants fails for each text that a page lacks, and for each that it has although it
// begins with "!".
func wants(t *testing.T, what, body string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if absent, no := strings.CutPrefix(text, "!"); no && strings.Contains(body, absent) {
			t.Errorf("%s says %q", what, absent)
		} else if !no && !strings.Contains(body, text) {
			t.Errorf("%s does not say %q", what, text)
		}
	}
}

func TestACardSaysWhatATokenIsAndWhatToDo(t *testing.T) {
	t.Parallel()
	d := open(t)
	soon := now.Add(90 * time.Minute)
	d.token.Tags = []string{"ci", "a&b +ä"}
	d.token.TokenType, d.token.Provider, d.token.Subject, d.token.ExpiresAt = "OAuth", "acme", "ada@acme.example", &soon
	d.row = &models.Refresh{Outcome: "rotated", Path: models.PathNotify, RefreshedAt: &at, TriedAt: &at}
	wants(t, "the card", d.get(t, "/").body, `<span class="avatar hue-`, ">M</span>", `<a href="/token/my%20token">my token</a><span>Mine</span>`, "#plug",
		"OAuth token · ada@acme.example at acme", `<span class="badge good">active</span>`, "in 1 hour</time>", "data-countdown", "1 hour ago</time> by your webhook.",
		`<a class="trust zero" href="/token/my%20token/trust">`, "TV Zero", `<a class="tag" href="/?tag=ci">ci</a>`, `<a class="tag" href="/?tag=a%26b%20%2b%c3%a4">a&amp;b &#43;ä</a>`, ">3 tokens</p>", "!Show code")
	for _, c := range []struct {
		status, says, to string
		connectable      bool
	}{
		{vaults.StatusExpiring, "It expires within a day", `<a href="/tokens/new?service=my&#43;token">Replace it</a>`, false},
		{vaults.StatusExpired, "Its expiry has passed.", `<a href="/connect/acme?service=my&#43;token">Connect again</a>`, true},
		{vaults.StatusNeedsReauthorization, "Only its owner can renew it", `<a href="/connect/acme?service=my&#43;token">Connect again</a>`, true},
		{vaults.StatusNeedsAttention, "Somebody has to set something right", `<a href="/token/my%20token#refresh">See what is wrong</a>`, false},
		{vaults.StatusEmpty, "it has nothing under this name", `<a href="/tokens/new?service=my&#43;token">Store it again</a>`, false},
	} {
		d.health, d.connectable = c.status, c.connectable
		wants(t, c.status, d.get(t, "/").body, c.says, c.to)
	}
	d.health, d.token.ExpiresAt, d.token.TokenType = "", nil, "TOTP"
	got := d.get(t, "/")
	wants(t, "a card with codes", got.body, "does not expire", "Show code", `data-webhook="`+hook+`"`, "code.")
	if csp := got.header.Get("Content-Security-Policy"); !strings.Contains(csp, "connect-src 'self' "+hook+";") {
		t.Errorf("policy %q, want that the page may fetch codes at the webhook", csp)
	}
}

func TestTheListIsSearchedAsAsked(t *testing.T) {
	t.Parallel()
	d := open(t)
	body := d.get(t, "/?q=A%22b&type=PlainText&state=expired&trust=tv-zero&tag=ci&sort=expiry&cursor=c&other=x").body
	want := vaults.SearchInput{
		Text: `A"b`, Type: "PlainText", Tag: "ci", Status: "expired", Trust: vaults.TVZero, Order: models.OrderExpiry, Limit: 100, Cursor: "c",
	}
	if d.searched != want {
		t.Errorf("searched %+v, want %+v", d.searched, want)
	}
	wants(t, "the page", body, `value="A&#34;b"`, `<option value="expired" selected>`, `<option value="tv-zero" selected>TV Zero`, `<option value="PlainText" selected>API key or access token (3)`,
		`<option value="ci" selected>ci (1)`, `<option value="expiry" selected>`, "State: expired", "Tag: ci", "!other=x",
		`href="/?q=A%22b&amp;sort=expiry&amp;state=expired&amp;trust=tv-zero&amp;type=PlainText"`, // without the tag
		`rel="next"`, "cursor=next%26page&amp;q=A%22b", "First page")
	d.found = &vaults.SearchResult{All: 7}
	wants(t, "nothing fits", d.get(t, "/?tag=gone").body, "No token fits", "Nothing among your 7 tokens", "0 of 7 tokens", `<option value="gone" selected>gone`, "!No tokens yet")
	d.found = &vaults.SearchResult{All: 9000, Count: -1, Partial: true, Next: "on"}
	wants(t, "not all looked at", d.get(t, "/?state=expired").body, "None among those looked at so far", "Look at more tokens", `href="/?cursor=on&amp;state=expired"`)
	d.found = nil
	d.unsearchable = fault.Field("q", "Search for at most 200 readable characters.")
	got := d.get(t, "/?q=kept&state=expired")
	if got.status != 400 {
		t.Errorf("a search that cannot be: %d, want 400", got.status)
	}
	wants(t, "a search that cannot be", got.body, "Search for at most 200", `value="kept"`, `aria-invalid="true"`, `<option value="expired" selected>`)
	d.unsearchable = fault.New(fault.Internal, "no")
	if got := d.get(t, "/"); got.status != 500 {
		t.Errorf("a search that broke: %d, want 500", got.status)
	}
	if got := d.get(t, "/?q=a&q=b"); got.status != 400 {
		t.Errorf("two texts: %d, want 400", got.status)
	}
}

func TestAnEmptyListTeaches(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.found = &vaults.SearchResult{}
	wants(t, "bound", d.get(t, "/").body, "No tokens yet", "straight to your webhook at", "/tokens/new", "!Search names")
	d.seal()
	wants(t, "sealed", d.get(t, "/").body, "No tokens yet", "Here, sealed", "With you", `href="/setup"`, `href="/tokens/new"`, "!/tokens/sync")
}

func TestTheTrustOfATokenIsExplained(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		trust vaults.Trust
		name  string
		look  string
	}{
		{vaults.TVZero, "TV Zero", "zero"}, {vaults.TVRefresh, "TV Refresh", "refresh"}, {vaults.TVSeen, "TV Seen", "seen"}, {vaults.Sealed, "Sealed", "sealed"},
	} {
		d := open(t)
		if c.trust == vaults.Sealed {
			d.seal()
		}
		d.trust = c.trust
		if c.trust == vaults.TVSeen {
			d.token.SeenAt, d.token.SeenPath = &at, "moved from platform mode"
		}
		d.explained = vaults.Explanation{
			Holder: "The holder.", Limits: []string{"The first limit.", "The second limit."}, Latest: d.events,
			Paths: []vaults.Path{
				{Name: "store", Title: "It is stored", Sight: vaults.SeesNothing, Why: "Past us.", LastAt: &at},
				{Name: "mediated", Title: "It is refreshed", Sight: vaults.SeesPassing, Why: "By us.", Closed: true},
				{Name: "reveal", Title: "You look at it", Sight: vaults.SeesOpened, Why: "Here."},
				{Name: "agent", Title: "An agent fetches it", Sight: vaults.SeesNothing, Why: "There.", Recent: true},
				{Name: "grant", Title: "It is granted", Sight: vaults.SeesKey, Why: "Wrapped.", Silent: true},
			},
		}
		body := d.get(t, "/token/my%20token/trust").body
		wants(t, string(c.trust), body, "Who can see my token?", `<span class="trust `+c.look+`">`, c.name+"</span>", `<section class="verdict `+c.look+`"`, d.view().TrustReason, "The holder.",
			"server sees it: </span>never", "yes, in transit", "yes, in memory while it is used", "its key, in memory", "not open now",
			"Last used <time", "Not among its latest events", "Not among the latest 10,000 events", "Not recorded for each token", "The first limit.", "The second limit.",
			"Released to an agent", "The agent was not granted this token.", "!NO_GRANT", `href="/audit?service=my%20token"`)
		if c.trust == vaults.Sealed {
			wants(t, "sealed", body, "!Kept at", "!last check")
		} else {
			wants(t, "of a webhook", body, "Kept at", hook, ">storage</span>", "The last check of your webhook", `badge good">healthy`, `href="/settings/vault"`)
		}
		if seen := strings.Contains(body, "Seen by this server:"); seen != (c.trust == vaults.TVSeen) {
			t.Errorf("%s: says that the server saw it: %t", c.trust, seen)
		}
		if got := d.get(t, "/token/none/trust"); got.status != 404 {
			t.Errorf("of a token that is none: %d, want 404", got.status)
		}
		list := d.get(t, "/token/my%20token").body + d.get(t, "/").body
		wants(t, fmt.Sprintf("the badge %s", c.trust), list, `<a class="trust `+c.look+`" href="/token/my%20token/trust">`, "#"+c.look)
	}
}

func TestWhatOthersWroteAboutATokenIsShownAsText(t *testing.T) {
	t.Parallel()
	d := open(t)
	const attack = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	d.token.DisplayName, d.token.Subject, d.token.Tags, d.token.TokenType = attack, attack, []string{attack, "javascript:alert(1)"}, attack
	d.status.Binding.HealthDetail, d.status.Binding.Version, d.status.Binding.Capabilities = attack, attack, []string{attack}
	d.events[0].Detail, d.events[0].Outcome, d.events[0].EventType = attack, attack, attack
	d.explained.Latest = d.events
	d.token.SeenAt, d.token.SeenPath = &at, attack
	for _, path := range []string{"/", "/?q=" + strings.ReplaceAll(attack, " ", "+") + "&tag=%3Cscript%3Ealert", "/token/my%20token", "/token/my%20token/trust"} {
		body := d.get(t, path).body
		wants(t, path, body, "!<script>alert", "!<img src=x", `!="javascript:`)
		if !strings.Contains(body, "&lt;script&gt;alert(1)") {
			t.Errorf("%s does not show the text at all", path)
		}
	}
}
