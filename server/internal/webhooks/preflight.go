package webhooks

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of a call to an address that nobody has vouched for yet.
const (
	preflightTimeout = 5 * time.Second
	preflightMaxBody = 64 << 10 // bytes
)

// A Preflight is how far a first call to a webhook came, and how long each step took.
// What was not come to is zero.
type Preflight struct {
	Connected bool // a connection was made
	Connect   time.Duration
	TLS       bool // it is encrypted, with a certificate that is good for the host
	Handshake time.Duration
	Status    int // that the webhook answered, 0 without an answer
	Answer    time.Duration
	Health    wire.HealthResponse // what it says of itself, cut to size; zero unless Err is nil
	Err       error               // why it came no further: a fault for a person, nil when the webhook is healthy
}

// Preflight asks an address that nobody has bound yet for its health: once, on a
// connection of its own, without a signature or anything else that is secret, and
// with the limits of a stranger. Of the answer nothing is kept but what Health
// checks. baseURL is as ParseBaseURL leaves it.
func (c *Client) Preflight(ctx context.Context, baseURL string) Preflight {
	brief := *c
	brief.timeout = min(preflightTimeout, c.timeout)
	guarded := netguard.Policy{AllowPrivate: c.allowPrivate, Timeout: brief.timeout, MaxBody: preflightMaxBody}.Client()
	defer guarded.CloseIdleConnections()

	steps := &steps{now: c.now}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, steps.trace()), http.MethodGet, baseURL+wire.PathHealth, nil)
	if err != nil {
		return Preflight{Err: brief.unreachable(ctx, err).fault}
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept", "application/json")
	steps.begin()
	response, err := guarded.Do(request)
	out := steps.sofar()
	if err != nil {
		out.Err = brief.unreachable(ctx, err).fault
		return out
	}
	defer func() { _ = response.Body.Close() }()
	a, err := readAnswer(response, preflightMaxBody)
	out.Status, out.Answer = response.StatusCode, steps.since()
	if err != nil {
		out.Err = brief.unreachable(ctx, err).fault
		return out
	}
	out.Health, out.Err = a.health()
	return out
}

// health reads the answer to an unsigned health call.
func (a *answer) health() (wire.HealthResponse, error) {
	if !a.success() {
		return wire.HealthResponse{}, a.refusal(false).fault
	}
	var said wire.HealthResponse
	if failed := a.decode("", &said); failed != nil {
		return wire.HealthResponse{}, failed.fault
	}
	return checkedHealth(a, said)
}

// steps notes when the steps of a request were made. The hooks of a trace may run
// in goroutines of the transport, and after the request has ended.
type steps struct {
	now func() time.Time

	mu        sync.Mutex
	began     time.Time
	connected time.Time
	secured   time.Time
}

func (s *steps) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = s.now()
}

func (s *steps) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		ConnectDone: func(_, _ string, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if err == nil && s.connected.IsZero() {
				s.connected = s.now()
			}
		},
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if err == nil {
				s.secured = s.now()
			}
		},
	}
}

func (s *steps) sofar() (p Preflight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Connected = !s.connected.IsZero(); p.Connected {
		p.Connect = s.connected.Sub(s.began)
	}
	if p.TLS = !s.secured.IsZero(); p.TLS {
		p.Handshake = s.secured.Sub(s.connected)
	}
	return p
}

func (s *steps) since() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Sub(s.began)
}
