package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// proxy answers POST /v1/proxy: signed, with a ticket. The webhook puts the
// credential into the templates, calls the upstream and hands its answer back.
func (w *Webhook) proxy(rw http.ResponseWriter, r *http.Request, body []byte) error {
	var head wire.TicketRequest
	if len(body) > 0 {
		if err := decodeInto(body, &head); err != nil {
			return err
		}
	}
	ticket, err := w.useTicket(r.Context(), head.Ticket, head.Service, wire.PurposeProxy)
	if err != nil {
		return err
	}
	var request wire.ProxyRequest
	if err := decodeInto(body, &request); err != nil {
		return err
	}
	call, err := readUpstreamCall(request)
	if err != nil {
		return err
	}
	stored, err := w.loadToken(r.Context(), ticket.Service)
	if err == nil {
		err = w.checkUpstream(ticket, stored, call.url)
	}
	var secret string
	if err == nil {
		secret, err = w.proxyCredential(r.Context(), stored)
	}
	var upstream *http.Request
	if err == nil {
		upstream, err = call.request(r.Context(), secret)
	}
	rec := w.recordOf(r, actionProxy, ticket, stored.creationID(), outcomeOf(err))
	rec.Upstream, _ = credential.Origin(call.url)
	// Before the credential leaves, not after.
	if failure := w.appendRecord(r.Context(), rec); err == nil {
		err = failure
	}
	if err != nil {
		return err
	}
	return w.callUpstream(rw, upstream, secret)
}

// checkUpstream holds the ticket against the stored token, and the URL against the
// token's allowedHosts.
func (w *Webhook) checkUpstream(ticket wire.Ticket, stored token, u *url.URL) error {
	if err := checkConstraints(ticket, stored.creationID()); err != nil {
		return err
	}
	if !credential.HostAllowed(stored.meta(), u) {
		return refuse(wire.CodeForbidden, "the upstream is not one of the token's allowedHosts, to which alone its credential goes")
	}
	if err := w.policy.CheckURL(u); err != nil {
		return because(refuse(wire.CodeForbidden, "the upstream's address is private or otherwise not allowed"), err)
	}
	return nil
}

// proxyCredential is what stands for ${TOKEN}: what /v1/credential would release as
// accessToken.
func (w *Webhook) proxyCredential(ctx context.Context, stored token) (string, error) {
	var secret string
	switch stored.kind() {
	case wire.TypeTOTP, wire.TypeRawCredential:
		made, err := w.releaseMade(ctx, stored)
		if err != nil {
			return "", err
		}
		secret, _ = made[wire.FieldAccessToken].(string)
	default:
		secrets, err := stored.prepared.Open(wire.FieldAccessToken)
		if err != nil {
			return "", err
		}
		secret = secrets[wire.FieldAccessToken]
	}
	if secret == "" {
		return "", refuse(wire.CodeInvalidRequest, "the token has no access token to put into a request")
	}
	return secret, nil
}

// callUpstream makes the call and answers with what came back: status, headers
// less hop-by-hop, and body, the credential masked in both.
func (w *Webhook) callUpstream(rw http.ResponseWriter, upstream *http.Request, secret string) error {
	response, err := w.outbound.Do(upstream)
	if err != nil {
		return upstreamRefusal(err)
	}
	defer response.Body.Close()
	if response.StatusCode < http.StatusOK {
		return refuse(wire.CodeUpstreamError, "the upstream's status is not that of an answer")
	}
	// Read whole: a status cannot be taken back once the body turns out too large.
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return upstreamRefusal(err)
	}
	mask := newMask(secret)
	body = mask.bytes(body)
	h := rw.Header()
	dropHopByHop(response.Header)
	for name, values := range response.Header {
		if name == "Content-Length" || name == wire.HeaderUpstreamStatus {
			continue
		}
		masked := make([]string, len(values))
		for i, value := range values {
			masked[i] = mask.text(value)
		}
		h[name] = masked
	}
	h.Set(wire.HeaderUpstreamStatus, strconv.Itoa(response.StatusCode))
	if h.Get("Content-Type") == "" {
		h["Content-Type"] = nil // none: net/http is not to guess one
	}
	if bodyAllowed(response.StatusCode) {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	rw.WriteHeader(response.StatusCode)
	if bodyAllowed(response.StatusCode) {
		_, _ = io.Copy(rw, bytes.NewReader(body))
	}
	return nil
}

func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// upstreamRefusal says why there is no answer of the upstream. The error of the
// client quotes the URL, which is TV's and may be confidential: it is left out.
func upstreamRefusal(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	switch {
	case errors.Is(err, netguard.ErrBlocked), errors.Is(err, netguard.ErrBadURL):
		return because(refuse(wire.CodeForbidden, "the upstream's address is private or otherwise not allowed"), netguard.ErrBlocked)
	case errors.Is(err, netguard.ErrTooLarge):
		return refuse(wire.CodeUpstreamError, "the upstream's answer is too large")
	case netguard.IsTimeout(err):
		return refuse(wire.CodeUpstreamTimeout, "the upstream did not answer in time")
	case errors.Is(err, context.Canceled):
		return refuse(wire.CodeUpstreamError, "the call was given up")
	}
	return refuse(wire.CodeUpstreamError, "the upstream could not be reached, or broke off its answer")
}

// hopByHop are the headers of one connection (RFC 9110 §7.6.1), besides those that
// Connection names.
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// dropHopByHop removes what does not pass a proxy.
func dropHopByHop(h http.Header) {
	for _, value := range h.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}
