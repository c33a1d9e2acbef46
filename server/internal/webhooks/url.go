package webhooks

import (
	"net"
	"net/url"
	"strings"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

const maxBaseURL = 1024 // bytes

// fieldURL is the name of the input in the API.
const fieldURL = "webhookUrl"

// ParseBaseURL reads the base URL of a webhook as a person or a registration URL
// gave it, and returns it canonical: lower-case scheme and host, no default port,
// no trailing slash. It must be https with a host (http and private addresses only
// with allowPrivate), without user information, query or fragment, and not on
// ownHost, the server's own host name (with or without a port; empty: not checked),
// but with allowPrivate. Errors are INVALID_REQUEST for webhookUrl.
func ParseBaseURL(text string, allowPrivate bool, ownHost string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > maxBaseURL {
		return "", fault.Field(fieldURL, "Give the webhook's URL, at most %d characters.", maxBaseURL)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return "", fault.Field(fieldURL, "The webhook's URL is not a URL. It looks like https://webhook.example.com.")
	}
	switch {
	case u.User != nil:
		return "", fault.Field(fieldURL, "The webhook's URL must not contain a user name or password.")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(text, "#"):
		return "", fault.Field(fieldURL, "The webhook's URL must not contain a query (?) or a fragment (#). Give its base URL.")
	case u.Scheme != "https" && !(u.Scheme == "http" && allowPrivate):
		return "", fault.Field(fieldURL, "The webhook's URL must begin with https://.")
	case !plainHost(u.Hostname()):
		return "", fault.Field(fieldURL, "The webhook's host name has characters that are not allowed. Write an international name in its xn-- form.")
	}
	path, ok := canonicalPath(u.EscapedPath())
	if !ok {
		return "", fault.Field(fieldURL, "The path of the webhook's URL may have letters, digits and the characters . _ ~ - only.")
	}
	canonical := &url.URL{Scheme: u.Scheme, Host: canonicalHost(u), Path: path}
	if err := (netguard.Policy{AllowPrivate: allowPrivate}).CheckURL(canonical); err != nil {
		refusal := fault.Wrap(err, fault.InvalidRequest,
			"The webhook's URL leads into a private network or to a port that does not exist. Give an address that is reachable from the internet.")
		refusal.Field = fieldURL
		return "", refusal
	}
	if !allowPrivate && ownHost != "" && sameHost(canonical.Hostname(), ownHost) {
		return "", fault.Field(fieldURL, "The webhook's URL is on this server's own host. Run the webhook on a host of your own.")
	}
	return canonical.String(), nil
}

// plainHost accepts names and IP literals in ASCII.
func plainHost(host string) bool {
	for i := range len(host) {
		c := host[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == ':', c == '_':
		default:
			return false
		}
	}
	return strings.Trim(host, ".") != "" && !strings.Contains(host, "..")
}

func canonicalHost(u *url.URL) string {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	port := u.Port()
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	switch {
	case port != "":
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		return "[" + host + "]"
	}
	return host
}

// canonicalPath drops trailing slashes and refuses what two readers could
// understand differently: escapes, empty and dotted segments.
func canonicalPath(path string) (string, bool) {
	path = strings.TrimRight(path, "/")
	if path == "" {
		return "", true
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || strings.Trim(segment, ".") == "" {
			return "", false
		}
		for i := range len(segment) {
			c := segment[i]
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '~', c == '-':
			default:
				return "", false
			}
		}
	}
	return path, true
}

// sameHost compares a canonical host name with one that may bear a port.
func sameHost(host, own string) bool {
	if name, _, err := net.SplitHostPort(own); err == nil {
		own = name
	}
	return strings.EqualFold(host, strings.TrimSuffix(strings.Trim(own, "[]"), "."))
}
