package mint

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// An Error says why nothing was minted. Neither it nor its cause holds credential
// material or anything that a provider wrote, so that both may be logged and
// Problem may be shown to an agent.
type Error struct {
	Kind      string         // of the minter
	Code      wire.ErrorCode // towards the caller: wire.CodeGCPMintFailed, wire.CodeMintFailed
	Problem   string         // a sentence: what is wrong, what to do
	Temporary bool           // the same credential may work later
	Timeout   bool           // the provider took too long; then Temporary as well
	cause     error
}

func (e *Error) Error() string {
	text := "mint: " + e.Kind + ": " + e.Problem
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the cause, for errors.Is with netguard's and context's errors.
func (e *Error) Unwrap() error { return e.cause }

// Causes that stand for errors which could quote what was sent or answered.
var (
	errName      = errors.New("the host's name could not be resolved")
	errConnect   = errors.New("no connection")
	errTLS       = errors.New("the certificate is not valid for the host")
	errBadAnswer = errors.New("the connection broke or the answer was not HTTP")
)

// sentinel returns the error in err whose text is fixed, or nil.
func sentinel(err error) error {
	for _, known := range []error{netguard.ErrBlocked, netguard.ErrBadURL, netguard.ErrTooLarge, context.Canceled} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}

// callError describes a failed call without quoting it: an error of net/http can
// hold what the other side sent, and that may be what it was sent.
func callError(kind string, code wire.ErrorCode, err error) *Error {
	e := &Error{Kind: kind, Code: code, Problem: "the token endpoint could not be asked", Temporary: true}
	if netguard.IsTimeout(err) {
		e.Problem, e.Timeout, e.cause = "the token endpoint took too long", true, context.DeadlineExceeded
		return e
	}
	if known := sentinel(err); known != nil {
		e.cause, e.Temporary = known, errors.Is(known, context.Canceled)
		return e
	}
	var (
		name *net.DNSError
		dial *net.OpError
		cert *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &name):
		e.cause = errName
	case errors.As(err, &cert):
		e.cause, e.Temporary = errTLS, false
	case errors.As(err, &dial) && dial.Op == "dial":
		e.cause = errConnect
	default:
		e.cause = errBadAnswer
	}
	return e
}
