package webhooks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// An AnswerError is the cause of a fault that stands for an answer: what the
// webhook said, for the log, clipped.
type AnswerError struct {
	Status int
	Code   wire.ErrorCode // empty when it gave none
}

func (e *AnswerError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the webhook answered %d", e.Status)
	}
	return fmt.Sprintf("the webhook answered %d %s", e.Status, e.Code)
}

// StatusOf returns the HTTP status of the answer behind err, 0 when there was none.
func StatusOf(err error) int {
	var e *AnswerError
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// codeOf returns the webhook's own error code behind err, empty when it gave none.
func codeOf(err error) wire.ErrorCode {
	var e *AnswerError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// unreachable turns an error of the transport into a failure. Its words never
// name addresses: they would say what is in the server's own network.
func (c *Client) unreachable(ctx context.Context, err error) *failure {
	var certificate *tls.CertificateVerificationError
	var message string
	retry := true
	switch {
	case ctx.Err() != nil:
		message, retry = "The call to the webhook was given up before it answered. Try again.", false
	case errors.Is(err, netguard.ErrBlocked):
		message, retry = "The webhook's address is in a private or reserved network, which this server does not call. "+
			"Give it a public address.", false
	case errors.Is(err, netguard.ErrBadURL):
		message, retry = "The webhook's URL is not allowed. Bind the webhook again with an https:// URL.", false
	case errors.Is(err, netguard.ErrTooLarge):
		message, retry = "The webhook's answer is too large. Check that the URL leads to a Token Vault webhook.", false
	case netguard.IsTimeout(err):
		message = fmt.Sprintf("The webhook did not answer within %s. Check that it runs and that this server can reach it.", c.timeout)
	case errors.As(err, &certificate):
		message = "The webhook's TLS certificate is not valid. Renew it, or check that it is for the host of the URL."
	default:
		message = "The webhook could not be reached, or broke off while answering. Check that it runs and that this server can reach it."
	}
	return &failure{fault: fault.Wrap(err, fault.WebhookUnavailable, "%s", message), retry: retry}
}

// refusal turns an answer that is no success into a failure. signed says that the
// request bore a signature, so that 401 and 403 are about the binding.
func (a *answer) refusal(signed bool) *failure {
	said := a.refused()
	cause := &AnswerError{Status: a.status, Code: said.Code}
	fail := func(code fault.Code, format string, args ...any) *failure {
		return &failure{fault: fault.Wrap(cause, code, format, args...), retry: a.status >= 500}
	}
	switch {
	case a.status < 300 || a.status >= 600: // 1xx, or a status that does not exist
		return fail(fault.WebhookUnavailable, "The webhook answered with status %d, which the protocol does not have.", a.status)
	case a.status < 400:
		return fail(fault.WebhookUnavailable, "The webhook answered with a redirect (%d), which is not followed. Bind it with the URL that it redirects to.", a.status)
	case a.status >= 500:
		return fail(fault.WebhookUnavailable, "The webhook answered with an error of its own (%d%s). Look into its log.", a.status, quoted(said))
	case signed && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden):
		return fail(fault.WebhookAuthFailed, "The webhook refused this server's signature (%d%s). Check both clocks; if it was bound again elsewhere, bind it here again.", a.status, quoted(said))
	case said.Code == wire.CodeTokenNotFound:
		return fail(fault.TokenNotFound, "The webhook has no token of this name.")
	case said.Code == wire.CodeAlreadyExists || said.Code == wire.CodeStaleCreation:
		return fail(fault.Conflict, "The token was changed at the webhook meanwhile. Reload and try again.")
	case a.status == http.StatusNotFound:
		return fail(fault.WebhookUnavailable, "The webhook has nothing at this path (404). Check that the URL is its base URL.")
	case a.status == http.StatusTooManyRequests:
		return fail(fault.WebhookUnavailable, "The webhook asks for fewer calls (429). Try again later.")
	}
	return fail(fault.WebhookUnavailable, "The webhook refused the call (%d%s). Check its version and its log.", a.status, quoted(said))
}

// quoted is the webhook's own words within a sentence of ours.
func quoted(e wire.Error) string {
	if e.Code == "" {
		return ""
	}
	return fmt.Sprintf(", %q: %q", string(e.Code), e.Message)
}

// clip cuts foreign text to at most n characters, all of them printable.
func clip(s string, n int) string {
	var b strings.Builder
	count := 0
	for _, r := range s {
		if count++; count > n {
			b.WriteRune('…')
			break
		}
		if !unicode.IsPrint(r) {
			r = '\uFFFD'
		}
		b.WriteRune(r)
	}
	return b.String()
}
