package credential

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// Origin is scheme://host[:port] as browsers write it: lower case, and
// without the scheme's own port.
func Origin(u *url.URL) (string, error) {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if !validHost(host) || !validPort(port) || strings.HasSuffix(u.Host, ":") {
		return "", errors.New("has no valid host or port")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	scheme := strings.ToLower(u.Scheme)
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return scheme + "://" + host, nil
	}
	return scheme + "://" + host + ":" + port, nil
}

// validHost reports whether host is an IP address or a DNS name in ASCII.
func validHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// validPort reports whether text is no port or one from 1 to 65535.
func validPort(text string) bool {
	if text == "" {
		return true
	}
	if len(text) > 5 || text[0] == '0' {
		return false
	}
	n := 0
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
		n = n*10 + int(text[i]-'0')
	}
	return n <= 65535
}
