package credential

import (
	"net/url"
	"slices"
	"strings"
)

const maxAllowedHosts = 32

// parseAllowedHosts reads the hosts to which a token may be sent: origins, or bare
// hosts with or without a port, which mean https. The result is canonical and
// sorted.
func parseAllowedHosts(value any, plainHTTP bool) ([]string, error) {
	list, ok := value.([]any)
	if !ok || len(list) > maxAllowedHosts {
		return nil, invalid(MetaAllowedHosts, "is not a list of at most %d hosts", maxAllowedHosts)
	}
	hosts := make([]string, 0, len(list))
	for _, entry := range list {
		text, _ := entry.(string)
		host, err := parseAllowedHost(text, plainHTTP)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
}

func parseAllowedHost(text string, plainHTTP bool) (string, error) {
	malformed := invalid(MetaAllowedHosts, "has an entry that is not of the form https://api.example.com or api.example.com:8443")
	if text == "" || len(text) > 300 {
		return "", malformed
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", malformed
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !plainHTTP) {
		return "", invalid(MetaAllowedHosts, "has an entry that does not begin with https://")
	}
	origin, err := Origin(u)
	if err != nil {
		return "", malformed
	}
	return origin, nil
}

// HostAllowed reports whether a URL is at one of a stored token's allowedHosts. No
// list allows nothing.
func HostAllowed(meta map[string]any, u *url.URL) bool {
	origin, err := Origin(u)
	if err != nil {
		return false
	}
	switch list := meta[MetaAllowedHosts].(type) {
	case []any: // as it was stored
		return slices.Contains(list, any(origin))
	case []string: // as it was parsed
		return slices.Contains(list, origin)
	}
	return false
}
