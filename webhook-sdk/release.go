package webhook

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/tvzero/tokenvault/totp"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// credential answers GET and POST /v1/credential: an agent, or the owner's browser,
// gets what a ticket is for.
func (w *Webhook) credential(rw http.ResponseWriter, r *http.Request) error {
	ticket, stored, err := w.openForRelease(rw, r, actionCredential, wire.PurposeAgentCredential, wire.PurposeUserReveal)
	if err != nil {
		return err
	}
	if stored.kind() == wire.TypeRawCredential {
		// The server's time for reading a request is not that for minting.
		_ = http.NewResponseController(rw).SetReadDeadline(time.Time{})
	}
	body, err := w.releasable(r.Context(), ticket, stored)
	if err := w.recordRelease(r, actionCredential, ticket, stored, err); err != nil {
		return err
	}
	writeBody(rw, http.StatusOK, body)
	return nil
}

// totpCode answers GET and POST /v1/totp-code.
func (w *Webhook) totpCode(rw http.ResponseWriter, r *http.Request) error {
	ticket, stored, err := w.openForRelease(rw, r, actionTOTPCode,
		wire.PurposeTOTPCode, wire.PurposeAgentCredential, wire.PurposeUserReveal)
	if err != nil {
		return err
	}
	code, err := w.codeNow(stored)
	if err := w.recordRelease(r, actionTOTPCode, ticket, stored, err); err != nil {
		return err
	}
	return writeJSON(rw, http.StatusOK, wire.TOTPResponse{
		Code: code.Value, RemainingSeconds: code.RemainingSeconds(),
		Period: int(code.Period / time.Second), Digits: code.Digits,
	})
}

// openForRelease does what both have in common: deny list, ticket, token, and what
// the ticket says of it. The deny list comes first: it is cheapest, and who is on it
// learns nothing.
func (w *Webhook) openForRelease(rw http.ResponseWriter, r *http.Request, a action, purposes ...wire.Purpose) (wire.Ticket, token, error) {
	if err := w.clients.allow(r); err != nil {
		return wire.Ticket{}, token{}, err
	}
	request, err := ticketRequest(rw, r)
	if err != nil {
		return wire.Ticket{}, token{}, err
	}
	ticket, err := w.useTicket(r.Context(), request.Ticket, request.Service, purposes...)
	if err != nil {
		return wire.Ticket{}, token{}, err
	}
	stored, err := w.loadToken(r.Context(), ticket.Service)
	if err == nil {
		err = checkConstraints(ticket, stored.creationID())
	}
	if err != nil {
		return ticket, token{}, w.recordRelease(r, a, ticket, stored, err)
	}
	return ticket, stored, nil
}

// recordRelease writes the record of an attempt before its answer leaves, and
// returns what the caller gets to see. A release whose record cannot be written
// does not happen.
func (w *Webhook) recordRelease(r *http.Request, a action, ticket wire.Ticket, stored token, failure error) error {
	err := w.record(r, a, ticket, stored.creationID(), outcomeOf(failure))
	if failure != nil {
		return failure
	}
	return err
}

// ticketRequest reads ticket and service from the body of a POST, or from the
// query.
func ticketRequest(rw http.ResponseWriter, r *http.Request) (wire.TicketRequest, error) {
	var request wire.TicketRequest
	if r.Method == http.MethodPost && r.ContentLength != 0 {
		body, err := readBody(rw, r)
		if err != nil {
			return request, err
		}
		if err := checkContentType(r); err != nil {
			return request, err
		}
		if err := checkBody(body); err != nil {
			return request, err
		}
		return request, decodeInto(body, &request)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return request, refuse(wire.CodeInvalidRequest, "the query is malformed")
	}
	if len(query["ticket"]) > 1 || len(query["service"]) > 1 {
		return request, refuse(wire.CodeInvalidRequest, "the query has ticket or service more than once")
	}
	return wire.TicketRequest{Ticket: query.Get("ticket"), Service: query.Get("service")}, nil
}

// releasable is what leaves the webhook of a token, in JSON: a code for a TOTP
// secret, a minted token for a raw credential, and else the stored fields, the
// refresh token only for the owner.
func (w *Webhook) releasable(ctx context.Context, ticket wire.Ticket, stored token) ([]byte, error) {
	if kind := stored.kind(); kind != wire.TypeTOTP && kind != wire.TypeRawCredential {
		return stored.release(ticket.Purpose == wire.PurposeUserReveal)
	}
	made, err := w.releaseMade(ctx, stored)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wire.CredentialResponse{Token: made})
}

// release opens the stored fields.
func (t token) release(refreshToken bool) ([]byte, error) {
	fields := t.prepared.Document().Fields
	names := make([]string, 0, len(fields))
	for name := range fields {
		if name != wire.FieldRefreshToken || refreshToken {
			names = append(names, name)
		}
	}
	secrets, err := t.prepared.Open(names...)
	if err != nil {
		return nil, err
	}
	return released{meta: t.encoded, secrets: secrets}.encode(), nil
}

// releaseMade makes what leaves in place of a secret: a code, or a minted token.
func (w *Webhook) releaseMade(ctx context.Context, stored token) (map[string]any, error) {
	opened, err := stored.open()
	if err != nil {
		return nil, err
	}
	return credential.Release(ctx, opened, credential.ReleaseOptions{
		Service: stored.service, Now: w.now(), Minters: w.minters, Client: w.outbound,
	})
}

// codeNow makes the current code of a TOTP token.
func (w *Webhook) codeNow(stored token) (totp.Code, error) {
	opened := credential.Credential{Type: stored.kind()} // whose secret, if it is of another type, is none of ours
	if opened.Type == wire.TypeTOTP {
		var err error
		if opened, err = stored.open(); err != nil {
			return totp.Code{}, err
		}
	}
	return credential.TOTPCode(opened, w.now())
}

// open opens the one field of which a code or a token is made.
func (t token) open() (credential.Credential, error) {
	secrets, err := t.prepared.Open(credential.SecretField(t.kind()))
	return credential.Credential{Type: t.kind(), Secrets: secrets, Meta: t.meta()}, err
}
