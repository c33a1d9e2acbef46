package webhook

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// maxForwardedHops bounds how much of X-Forwarded-For is looked at.
const maxForwardedHops = 32

// clients tells where a request came from, and who is on the deny list.
type clients struct {
	trusted []netip.Prefix // proxies whose X-Forwarded-For counts
	denied  []netip.Prefix
}

// newClients copies the lists. Addresses are compared as IPv4 where they are mapped
// into IPv6, and so are networks.
func newClients(trusted, denied []netip.Prefix) *clients {
	return &clients{trusted: unmapped(trusted), denied: unmapped(denied)}
}

func unmapped(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p)
	}
	return out
}

// address is the client's: the connection's own, or, when that is a trusted
// proxy, the right-most hop of X-Forwarded-For that is none. What is to the left
// of that hop was written by the client and counts for nothing. Not ok: the
// connection has no IP address, or a trusted proxy sent a hop that is none, or did
// not say for whom it asks.
func (c *clients) address(r *http.Request) (netip.Addr, bool) {
	addr, ok := parseHop(r.RemoteAddr)
	if !ok || !contains(c.trusted, addr) {
		return addr, ok
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	if len(hops) > maxForwardedHops {
		hops = hops[len(hops)-maxForwardedHops:]
	}
	ok = false
	for i := len(hops) - 1; i >= 0; i-- {
		text := strings.TrimSpace(hops[i])
		if text == "" {
			continue
		}
		var hop netip.Addr
		if hop, ok = parseHop(text); !ok {
			return netip.Addr{}, false
		}
		if addr = hop; !contains(c.trusted, hop) {
			break
		}
	}
	return addr, ok
}

// allow refuses the addresses on the deny list. While there is a list, a client
// whose address cannot be told is refused as well.
func (c *clients) allow(r *http.Request) error {
	if len(c.denied) == 0 {
		return nil
	}
	if addr, ok := c.address(r); !ok || contains(c.denied, addr) {
		return refuse(wire.CodeForbidden, "this webhook gives nothing out to the address that the request came from")
	}
	return nil
}

// describe is the client's address for logs and records, or that of a proxy which
// did not tell it.
func (c *clients) describe(r *http.Request) string {
	if addr, _ := c.address(r); addr.IsValid() {
		return addr.String()
	}
	return "unknown"
}

// parseHop reads an address with or without a port, and with or without
// brackets. A mapped IPv4 address is the IPv4 address; zones do not count.
func parseHop(text string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	} else {
		text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
