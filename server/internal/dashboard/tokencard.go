package dashboard

import (
	"hash/fnv"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// A tokenCard is what the list shows of a token, and the head of its page.
type tokenCard struct {
	Service     string
	DisplayName string
	Initial     string // for the avatar
	Hue         int    // of the avatar: a class of the style sheet
	Type        string
	Icon        string // of the type, in icons.svg
	Account     string // behind it at its provider
	Status      badge
	Do          *remedy // what to do about the status; nil: nothing
	Trust       badge
	Expires     *deadline // nil: never
	RefreshedAt *time.Time
	RefreshedBy string
	Tags        []string
	TOTP        bool
	Sealed      bool // kept here, not at a webhook
	Refresh     *refreshCard
}

// A badge is a word with a look and a reason. Looks do not carry meaning alone.
type badge struct {
	Look   string // class of the style sheet
	Text   string
	Reason string
}

// A remedy is a link to what helps.
type remedy struct{ Text, To string }

// A deadline is a time that a page counts down to.
type deadline struct {
	ISO, Title, Text string
	Past             bool
}

// typeTOTP is the type of tokens that one-time codes are made of.
const typeTOTP = "TOTP"

// hues is how many colours avatars have.
const hues = 8

func (d *Dashboard) card(v vaults.TokenView) tokenCard {
	t := v.Token
	card := tokenCard{
		Service: t.ServiceName, DisplayName: t.DisplayName, Initial: initial(t.ServiceName), Hue: hue(t.ServiceName),
		Type: typeName(t.TokenType), Icon: typeIcon(t.TokenType), Account: accountOf(t), Status: statusBadge(v.Status), Trust: trustBadge(v),
		Tags: t.Tags, TOTP: t.TokenType == typeTOTP, Sealed: v.Mode == models.ModePlatform, Refresh: refreshOf(v),
	}
	card.Do = remedyOf(v, card.Refresh)
	if t.ExpiresAt != nil {
		at := t.ExpiresAt.UTC()
		card.Expires = &deadline{ISO: at.Format(time.RFC3339), Title: at.Format(toMinute) + " UTC", Text: distance(at.Sub(d.deps.Now())), Past: at.Before(d.deps.Now())}
	}
	if r := v.Refresh; r != nil && r.RefreshedAt != nil {
		card.RefreshedAt, card.RefreshedBy = r.RefreshedAt, byPath(r.Path)
		if refresh.Kind(r.Outcome) != refresh.Rotated { // the path is that of a later attempt
			card.RefreshedBy = ""
		}
	}
	return card
}

// byPath says who refreshed a token.
func byPath(path string) string {
	switch path {
	case models.PathNotify:
		return " by your webhook"
	case models.PathMediated:
		return " through this server"
	case models.PathPlatform:
		return " here, with the key of who read it"
	}
	return ""
}

// remedyOf is what to do about a token's status.
func remedyOf(v vaults.TokenView, r *refreshCard) *remedy {
	again := &remedy{"Replace it", "/tokens/new?" + url.Values{"service": {v.Token.ServiceName}}.Encode()}
	if r != nil && r.Connect != "" {
		again = &remedy{"Connect again", r.Connect}
	}
	switch v.Status {
	case vaults.StatusExpiring, vaults.StatusExpired, vaults.StatusNeedsReauthorization:
		return again
	case vaults.StatusEmpty:
		again.Text = "Store it again"
		return again
	case vaults.StatusNeedsAttention:
		return &remedy{"See what is wrong", tokenPath(v.Token.ServiceName) + "#refresh"}
	}
	return nil
}

// accountOf says whose a token is at its provider.
func accountOf(t models.Token) string {
	switch {
	case t.Subject != "" && t.Provider != "":
		return t.Subject + " at " + t.Provider
	case t.Subject != "":
		return t.Subject
	}
	return t.Provider
}

func initial(service string) string {
	r, _ := utf8.DecodeRuneInString(service)
	return string(unicode.ToUpper(r))
}

// hue gives a name the same colour each time.
func hue(service string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(service))
	return int(h.Sum32() % hues)
}

func trustBadge(v vaults.TokenView) badge {
	b := badge{Text: trustName(v.Trust), Reason: v.TrustReason}
	switch v.Trust {
	case vaults.TVZero:
		b.Look = "zero"
	case vaults.TVRefresh:
		b.Look = "refresh"
	case vaults.TVSeen:
		b.Look = "seen"
	case vaults.Sealed:
		b.Look = "sealed"
	default:
		b.Look = "plain"
	}
	return b
}

// trustName is what a badge says.
func trustName(trust vaults.Trust) string {
	switch trust {
	case vaults.TVZero:
		return "TV Zero"
	case vaults.TVRefresh:
		return "TV Refresh"
	case vaults.TVSeen:
		return "TV Seen"
	case vaults.Sealed:
		return "Sealed"
	}
	return string(trust)
}

func statusBadge(status string) badge {
	b := badge{Text: strings.ReplaceAll(status, "_", " ")}
	switch status {
	case vaults.StatusActive:
		b.Look = "good"
	case vaults.StatusExpiring:
		b.Look, b.Reason = "warn", "It expires within a day and has no refresh token."
	case vaults.StatusExpired:
		b.Look, b.Reason = "bad", "Its expiry has passed."
	case vaults.StatusNeedsReauthorization:
		b.Look, b.Text, b.Reason = "bad", "connect again", "Only its owner can renew it: connect the account again."
	case vaults.StatusNeedsAttention:
		b.Look, b.Reason = "warn", "Somebody has to set something right before it can be refreshed."
	case vaults.StatusEmpty:
		b.Look, b.Reason = "warn", "Your webhook says that it has nothing under this name."
	default:
		b.Look = "warn"
	}
	return b
}

// typeIcon is a type's symbol in icons.svg.
func typeIcon(kind string) string {
	switch kind {
	case models.TypeOAuth, "OpenIDConnect":
		return "plug"
	case "JWT", "Bearer":
		return "braces"
	case typeTOTP:
		return "clock"
	case "SSHKey":
		return "terminal"
	case "Certificate":
		return "certificate"
	case "RawCredential":
		return "box"
	case "Basic":
		return "person"
	}
	return "key"
}
