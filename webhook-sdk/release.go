package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/totp"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// credential answers GET and POST /v1/credential: an agent, or the owner's browser,
// gets what a ticket is for.
func (w *Webhook) credential(rw http.ResponseWriter, r *http.Request) error {
	ticket, document, err := w.openForRelease(rw, r, actionCredential, wire.PurposeAgentCredential, wire.PurposeUserReveal)
	if err != nil {
		return err
	}
	token, err := w.releasable(r.Context(), ticket, document)
	if err := w.recordRelease(r, actionCredential, ticket, document, err); err != nil {
		return err
	}
	return writeJSON(rw, http.StatusOK, wire.CredentialResponse{Token: token})
}

// totpCode answers GET and POST /v1/totp-code.
func (w *Webhook) totpCode(rw http.ResponseWriter, r *http.Request) error {
	ticket, document, err := w.openForRelease(rw, r, actionTOTPCode,
		wire.PurposeTOTPCode, wire.PurposeAgentCredential, wire.PurposeUserReveal)
	if err != nil {
		return err
	}
	code, err := w.codeNow(ticket.Service, document)
	if err := w.recordRelease(r, actionTOTPCode, ticket, document, err); err != nil {
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
func (w *Webhook) openForRelease(rw http.ResponseWriter, r *http.Request, a action, purposes ...wire.Purpose) (wire.Ticket, custody.Document, error) {
	var none custody.Document
	if err := w.clients.allow(r); err != nil {
		return wire.Ticket{}, none, err
	}
	request, err := ticketRequest(rw, r)
	if err != nil {
		return wire.Ticket{}, none, err
	}
	ticket, err := w.useTicket(r.Context(), request.Ticket, request.Service, purposes...)
	if err != nil {
		return wire.Ticket{}, none, err
	}
	document, _, err := w.loadToken(r.Context(), ticket.Service)
	if err == nil {
		err = checkConstraints(ticket, document.CreationID())
	}
	if err != nil {
		return ticket, none, w.recordRelease(r, a, ticket, document, err)
	}
	return ticket, document, nil
}

// recordRelease writes the record of an attempt before its answer leaves, and
// returns what the caller gets to see. A release whose record cannot be written
// does not happen.
func (w *Webhook) recordRelease(r *http.Request, a action, ticket wire.Ticket, document custody.Document, failure error) error {
	err := w.record(r, a, ticket, document.CreationID(), outcomeOf(failure))
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

// releasable is what leaves the webhook of a token: a code for a TOTP secret, a
// minted token for a raw credential, and else the stored fields, the refresh token
// only for the owner.
func (w *Webhook) releasable(ctx context.Context, ticket wire.Ticket, document custody.Document) (map[string]any, error) {
	switch document.Meta[metaTokenType] {
	case wire.TypeTOTP:
		return w.releaseCode(ticket.Service, document)
	case wire.TypeRawCredential:
		return w.releaseMinted(ctx, ticket.Service, document)
	}
	names := make([]string, 0, len(document.Fields))
	for name := range document.Fields {
		if name != wire.FieldRefreshToken || ticket.Purpose == wire.PurposeUserReveal {
			names = append(names, name)
		}
	}
	secrets, err := w.keys.OpenFields(ticket.Service, document, names...)
	if err != nil {
		return nil, err
	}
	token := document.Meta // the document is this request's own
	for name, secret := range secrets {
		token[name] = secret
	}
	token[metaServiceName] = ticket.Service
	return token, nil
}

func (w *Webhook) releaseCode(service string, document custody.Document) (map[string]any, error) {
	code, err := w.codeNow(service, document)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		wire.FieldAccessToken: code.Value,
		metaTokenType:         wire.TypeTOTP,
		metaServiceName:       service,
		"remainingSeconds":    code.RemainingSeconds(),
		"period":              int(code.Period / time.Second),
		"digits":              code.Digits,
		"totpGenerated":       true,
	}, nil
}

// codeNow makes the current code of a TOTP token.
func (w *Webhook) codeNow(service string, document custody.Document) (totp.Code, error) {
	if document.Meta[metaTokenType] != wire.TypeTOTP {
		return totp.Code{}, refuse(wire.CodeNotTOTP, "the token is not a TOTP secret")
	}
	secrets, err := w.keys.OpenFields(service, document, wire.FieldTOTPSecret)
	if err != nil {
		return totp.Code{}, err
	}
	failed := refuse(wire.CodeTOTPFailed, "the stored TOTP secret makes no code; store it again")
	key, err := totpKey(secrets[wire.FieldTOTPSecret], document.Meta)
	if err != nil {
		return totp.Code{}, because(failed, err)
	}
	code, err := key.At(w.now())
	if err != nil {
		return totp.Code{}, because(failed, err)
	}
	return code, nil
}

// totpKey reads a TOTP secret: an otpauth URI, or Base32 with the parameters
// algorithm, digits and period beside it.
func totpKey(secret string, meta map[string]any) (totp.Key, error) {
	if strings.Contains(secret, ":") {
		return totp.ParseURI(secret)
	}
	opts := totp.Options{}
	if name, ok := meta["algorithm"].(string); ok {
		opts.Algorithm = totp.Algorithm(strings.ToUpper(strings.ReplaceAll(name, "-", "")))
	}
	number := func(name string) (int, error) {
		given, present := meta[name]
		if !present {
			return 0, nil
		}
		digits, _ := given.(json.Number)
		n, err := digits.Int64()
		if err != nil || n < 1 || n > 1000 {
			return 0, &totp.FieldError{Field: name, Problem: "is not a whole number in range"}
		}
		return int(n), nil
	}
	var err error
	if opts.Digits, err = number("digits"); err != nil {
		return totp.Key{}, err
	}
	seconds, err := number("period")
	if err != nil {
		return totp.Key{}, err
	}
	opts.Period = time.Duration(seconds) * time.Second
	return totp.New(secret, opts)
}

// releaseMinted turns a raw credential into a short-lived token. The raw one never
// leaves, whoever asks: without a minter that knows it, nothing does.
func (w *Webhook) releaseMinted(ctx context.Context, service string, document custody.Document) (map[string]any, error) {
	secrets, err := w.keys.OpenFields(service, document, wire.FieldAccessToken)
	if err != nil {
		return nil, err
	}
	raw := []byte(secrets[wire.FieldAccessToken])
	defer clear(raw)
	minter, ok := w.minters.Find(raw)
	if !ok {
		return nil, refuse(wire.CodeMintFailed, "this webhook has no minter for this kind of raw credential, and a raw credential never leaves it")
	}
	minted, err := minter.Mint(ctx, mint.Request{Raw: raw, Meta: document.Meta, Now: w.now(), Client: w.outbound})
	if err != nil {
		return nil, mintRefusal(err)
	}
	if minted.AccessToken == "" || minted.AccessToken == secrets[wire.FieldAccessToken] {
		return nil, refuse(wire.CodeMintFailed, "the minter made no token")
	}
	token := map[string]any{}
	for name, value := range minted.Extra {
		if !wire.IsSensitive(name) {
			token[name] = value
		}
	}
	token[wire.FieldAccessToken] = minted.AccessToken
	token[metaTokenType] = minted.TokenType
	token[metaServiceName] = service
	token[metaExpiresAt] = minted.ExpiresAt.UTC().Format(time.RFC3339)
	return token, nil
}

// mintRefusal shows what a minter says of its failure. An error of another kind
// may quote anything, and is neither shown nor logged in full.
func mintRefusal(err error) error {
	var known *mint.Error
	if !errors.As(err, &known) {
		return refuse(wire.CodeMintFailed, "no token could be minted")
	}
	code := known.Code
	if code != wire.CodeGCPMintFailed {
		code = wire.CodeMintFailed
	}
	return because(refuse(code, "no token could be minted: %s", known.Problem), known)
}
