// Package netguard makes outbound HTTP calls to addresses that someone else
// chose: a customer's webhook, a token endpoint, an upstream API.
//
// A Policy says what is allowed, and gives an http.Client that keeps to it. The
// address is checked on the socket as it is dialled, after the name was resolved,
// so that no DNS answer, redirect or spelling of an address leads into a private
// network. Redirects are handed back and not followed, proxies of the environment
// are not used, and time and size of an answer are limited.
//
// The package knows nothing of tokens, tickets or webhooks. What it returns may be
// used concurrently.
package netguard

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Defaults of a Policy.
const (
	DefaultTimeout = 10 * time.Second
	DefaultMaxBody = 1 << 20 // bytes
)

const (
	dialTimeout         = 5 * time.Second
	tlsTimeout          = 5 * time.Second
	idleTimeout         = 60 * time.Second
	maxIdle             = 256
	maxIdlePerHost      = 32
	maxHeaderBytes      = 64 << 10
	maxURLLength        = 8 << 10
	maxHostnameLength   = 253
	expectContinueDelay = 1 * time.Second
)

// Errors of this package; errors.Is finds them in what an http.Client returns.
// Around ErrBlocked net puts the address that was dialled: show a user the
// sentinel and not the whole error, or names of a private network can be probed.
var (
	ErrBadURL   = errors.New("netguard: the URL is not allowed")
	ErrBlocked  = errors.New("netguard: the address is in a private or reserved network")
	ErrTooLarge = errors.New("netguard: the answer is too large")
)

// A Policy says where a call may go and what it may cost. The zero value is the
// strictest.
type Policy struct {
	// AllowPrivate permits private, loopback, link-local and other reserved
	// addresses, and plain http: for development and tests.
	AllowPrivate bool
	// Timeout is for a whole call, reading the answer included; 0 = 10 s.
	Timeout time.Duration
	// MaxBody is how many bytes of an answer's body can be read; 0 = 1 MiB.
	MaxBody int64

	// resolver is that of the machine when nil.
	resolver *net.Resolver
	// dialTime is for a connection, looking its name up included; 0 = 5 s.
	dialTime time.Duration
}

// Client returns a client that keeps to the policy: CheckURL on every request, the
// connections of Transport, redirects returned as they are (a 3xx is an answer,
// not an error), Timeout for the whole call, and ErrTooLarge from reading an answer
// beyond MaxBody. Each client has connections of its own: keep it.
func (p Policy) Client() *http.Client {
	return &http.Client{
		Transport:     &guarded{policy: p, next: p.Transport()},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       p.timeout(),
	}
}

// Transport returns the part of Client that concerns connections: addresses
// checked as they are dialled, no proxy, TLS 1.2 or later, limits on the time of
// each step, on idle connections and on header size. Compression is not asked for,
// so that a small answer cannot unpack into a large one. It does not check the
// scheme of a URL (CheckURL does), and does not limit bodies (Client does).
func (p Policy) Transport() *http.Transport {
	dialer := &net.Dialer{
		Timeout:  min(cmp.Or(p.dialTime, dialTimeout), p.timeout()),
		Control:  p.control(),
		Resolver: p.resolver,
	}
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    min(tlsTimeout, p.timeout()),
		ResponseHeaderTimeout:  p.timeout(),
		ExpectContinueTimeout:  expectContinueDelay,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
}

// CheckURL reports, as ErrBadURL or ErrBlocked, what is wrong with a URL before
// anything is dialled: https (or http with AllowPrivate), a host, no user
// information, a port that exists, and no literal private address nor localhost
// (without AllowPrivate). Names are not resolved: that they lead to an allowed
// address is seen when they are dialled. Errors do not quote the URL.
func (p Policy) CheckURL(u *url.URL) error {
	host := ""
	if u != nil {
		host = strings.TrimSuffix(u.Hostname(), ".")
	}
	switch {
	case u == nil || len(u.Host)+len(u.Path)+len(u.RawQuery) > maxURLLength:
		return fmt.Errorf("%w: it is longer than %d bytes, or none", ErrBadURL, maxURLLength)
	case u.Scheme != "https" && (u.Scheme != "http" || !p.AllowPrivate):
		return fmt.Errorf("%w: it does not begin with https://", ErrBadURL)
	case u.Opaque != "" || host == "" || len(host) > maxHostnameLength:
		return fmt.Errorf("%w: it has no valid host", ErrBadURL)
	case u.User != nil:
		return fmt.Errorf("%w: it has user information", ErrBadURL)
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%w: its port does not exist", ErrBadURL)
		}
	}
	if p.AllowPrivate {
		return nil
	}
	name := strings.ToLower(host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return ErrBlocked
	}
	if addr, err := netip.ParseAddr(host); err == nil && publicOnly().SafeAddr(addr.WithZone("")) != nil {
		return ErrBlocked
	}
	return nil
}

func (p Policy) timeout() time.Duration {
	if p.Timeout <= 0 {
		return DefaultTimeout
	}
	return p.Timeout
}

func (p Policy) maxBody() int64 {
	if p.MaxBody <= 0 {
		return DefaultMaxBody
	}
	return p.MaxBody
}

// publicOnly denies what the registries of IANA reserve, IPv4 within IPv6 in all
// its forms among it.
func publicOnly() *ssrf.Guardian { return ssrf.New(ssrf.WithAnyPort()) }

// control returns the check of a socket that is about to connect.
func (p Policy) control() func(network, address string, c syscall.RawConn) error {
	if p.AllowPrivate {
		return nil
	}
	guardian := publicOnly()
	return func(network, address string, c syscall.RawConn) error {
		if err := guardian.Safe(network, address, c); err != nil {
			return ErrBlocked
		}
		return nil
	}
}
