package netguard

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

// guarded holds each request against the policy and limits each answer.
type guarded struct {
	policy Policy
	next   *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.policy.CheckURL(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	answer, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = &limitedBody{body: answer.Body, left: g.policy.maxBody()}
	return answer, nil
}

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (g *guarded) CloseIdleConnections() { g.next.CloseIdleConnections() }

// limitedBody gives ErrTooLarge instead of the first byte that is too many.
type limitedBody struct {
	body io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	// One byte more than is left tells an answer that fits from one that does not.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}

// Close implements io.Closer.
func (b *limitedBody) Close() error { return b.body.Close() }

// IsTimeout reports whether a call failed because it took too long: the policy's
// Timeout, a step's own limit, or the deadline of the call's context.
func IsTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
