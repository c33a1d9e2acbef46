package netguard_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

func TestCheckURLRefusesBeforeAnythingIsDialled(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"https://example.com":                      nil,
		"https://example.com:8443/path?q=1":        nil,
		"https://93.184.215.14/":                   nil,
		"https://[2606:2800:21f::1]:443/":          nil,
		"http://example.com":                       netguard.ErrBadURL,
		"ftp://example.com":                        netguard.ErrBadURL,
		"file:///etc/passwd":                       netguard.ErrBadURL,
		"example.com":                              netguard.ErrBadURL,
		"https:example.com":                        netguard.ErrBadURL,
		"https://":                                 netguard.ErrBadURL,
		"https:///path":                            netguard.ErrBadURL,
		"https://.":                                netguard.ErrBadURL,
		"https://:443/":                            netguard.ErrBadURL,
		"https://user@example.com":                 netguard.ErrBadURL,
		"https://user:pass@example.com":            netguard.ErrBadURL,
		"https://example.com:0/":                   netguard.ErrBadURL,
		"https://example.com:65536/":               netguard.ErrBadURL,
		"https://example.com:/":                    netguard.ErrBadURL,
		"https://" + strings.Repeat("a", 254):      netguard.ErrBadURL,
		"https://a/" + strings.Repeat("a", 10_000): netguard.ErrBadURL,
		"https://localhost":                        netguard.ErrBlocked,
		"https://LOCALHOST.:8443":                  netguard.ErrBlocked,
		"https://api.localhost":                    netguard.ErrBlocked,
		"https://127.0.0.1":                        netguard.ErrBlocked,
		"https://127.0.0.1.":                       netguard.ErrBlocked,
		"https://[::ffff:8.8.8.8]":                 netguard.ErrBlocked,
		"https://[fe80::1%25eth0]/":                netguard.ErrBlocked,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%s does not parse: %v", text, err)
		}
		if err := (netguard.Policy{}).CheckURL(u); !errors.Is(err, want) {
			t.Errorf("CheckURL(%.60s): got %v, want %v", text, err, want)
		}
	}
	if err := (netguard.Policy{}).CheckURL(nil); !errors.Is(err, netguard.ErrBadURL) {
		t.Errorf("CheckURL(nil): got %v, want ErrBadURL", err)
	}
}

func TestCheckURLDoesNotQuoteTheURL(t *testing.T) {
	t.Parallel()
	u := &url.URL{Scheme: "https", Host: "canary.example", User: url.UserPassword("canary", "canary"), Path: "/canary"}
	if err := (netguard.Policy{}).CheckURL(u); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v, want an error that holds nothing of the URL", err)
	}
}

func TestAllowPrivatePermitsPlainHTTPAndPrivateAddressesAndNothingElse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"http://127.0.0.1:8080":   nil,
		"http://localhost":        nil,
		"https://[::1]:8443":      nil,
		"http://10.0.0.1":         nil,
		"ftp://127.0.0.1":         netguard.ErrBadURL,
		"http://user@127.0.0.1":   netguard.ErrBadURL,
		"http://127.0.0.1:99999/": netguard.ErrBadURL,
		"http:///":                netguard.ErrBadURL,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%s does not parse: %v", text, err)
		}
		if err := (netguard.Policy{AllowPrivate: true}).CheckURL(u); !errors.Is(err, want) {
			t.Errorf("CheckURL(%s): got %v, want %v", text, err, want)
		}
	}
}

// reserved are addresses that no call may reach, one of each kind.
func reserved() map[string]string {
	return map[string]string{
		"this network":               "0.0.0.0",
		"this network, inside":       "0.1.2.3",
		"loopback":                   "127.0.0.1",
		"loopback, inside":           "127.255.0.9",
		"private 10":                 "10.1.2.3",
		"private 172.16":             "172.31.255.255",
		"private 192.168":            "192.168.1.1",
		"carrier-grade NAT":          "100.64.0.1",
		"cloud metadata":             "169.254.169.254",
		"link-local":                 "169.254.1.1",
		"benchmarks":                 "198.18.0.1",
		"documentation":              "203.0.113.7",
		"6to4 relay":                 "192.88.99.1",
		"multicast":                  "224.0.0.1",
		"reserved":                   "240.0.0.1",
		"broadcast":                  "255.255.255.255",
		"v6 unspecified":             "::",
		"v6 loopback":                "::1",
		"v6 unique local":            "fd00::1",
		"v6 metadata":                "fd00:ec2::254",
		"v6 link-local":              "fe80::1",
		"v6 site-local":              "fec0::1",
		"v6 multicast":               "ff02::1",
		"v6 discard":                 "100::1",
		"v6 documentation":           "2001:db8::1",
		"v4-mapped private":          "::ffff:10.0.0.1",
		"v4-mapped loopback":         "::ffff:127.0.0.1",
		"v4-compatible":              "::127.0.0.1",
		"NAT64 of loopback":          "64:ff9b::7f00:1",
		"NAT64 of metadata":          "64:ff9b::a9fe:a9fe",
		"NAT64 of a local prefix":    "64:ff9b:1::a00:1",
		"6to4 of a private one":      "2002:a00:1::1",
		"Teredo":                     "2001:0:7f00:1::1",
		"ORCHID":                     "2001:10::1",
		"SRv6 segment identifiers":   "5f00::1",
		"outside of the global part": "4000::1",
	}
}

func TestCheckURLRefusesEveryKindOfReservedAddress(t *testing.T) {
	t.Parallel()
	for name, address := range reserved() {
		host := address
		if strings.Contains(address, ":") {
			host = "[" + address + "]"
		}
		for _, port := range []string{"", ":8443"} {
			u := &url.URL{Scheme: "https", Host: host + port}
			if err := (netguard.Policy{}).CheckURL(u); !errors.Is(err, netguard.ErrBlocked) {
				t.Errorf("%s (%s): got %v, want ErrBlocked", name, u, err)
			}
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{"https://example.com", "http://127.0.0.1", "https://[::ffff:1.2.3.4%25x]:1/", "https://a@b", "https://0x7f.1", "https://[::]:0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		strict, lax := (netguard.Policy{}).CheckURL(u), (netguard.Policy{AllowPrivate: true}).CheckURL(u)
		if strict == nil && (u.Scheme != "https" || u.Hostname() == "" || u.User != nil) {
			t.Fatalf("CheckURL(%q): got nil, want it refused", text)
		}
		if strict == nil && lax != nil {
			t.Fatalf("CheckURL(%q): got %v with AllowPrivate, want what the strict policy allows allowed", text, lax)
		}
		for _, err := range []error{strict, lax} {
			if err != nil && !errors.Is(err, netguard.ErrBadURL) && !errors.Is(err, netguard.ErrBlocked) {
				t.Fatalf("CheckURL(%q): got %v, want one of the sentinels", text, err)
			}
		}
	})
}
