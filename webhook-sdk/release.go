package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/totp"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
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
	var made map[string]any
	var err error
	switch stored.kind() {
	case wire.TypeTOTP:
		made, err = w.releaseCode(stored)
	case wire.TypeRawCredential:
		made, err = w.releaseMinted(ctx, stored)
	default:
		return stored.release(ticket.Purpose == wire.PurposeUserReveal)
	}
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
	return released{meta: t.encoded, secrets: secrets}.encode()
}

func (w *Webhook) releaseCode(stored token) (map[string]any, error) {
	code, err := w.codeNow(stored)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		wire.FieldAccessToken: code.Value,
		metaTokenType:         wire.TypeTOTP,
		metaServiceName:       stored.service,
		"remainingSeconds":    code.RemainingSeconds(),
		"period":              int(code.Period / time.Second),
		"digits":              code.Digits,
		"totpGenerated":       true,
	}, nil
}

// codeNow makes the current code of a TOTP token.
func (w *Webhook) codeNow(stored token) (totp.Code, error) {
	if stored.kind() != wire.TypeTOTP {
		return totp.Code{}, refuse(wire.CodeNotTOTP, "the token is not a TOTP secret")
	}
	secrets, err := stored.prepared.Open(wire.FieldTOTPSecret)
	if err != nil {
		return totp.Code{}, err
	}
	failed := refuse(wire.CodeTOTPFailed, "the stored TOTP secret makes no code; store it again")
	key, err := totpKey(secrets[wire.FieldTOTPSecret], stored.meta())
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
	opts, err := totpOptions(meta)
	if err != nil {
		return totp.Key{}, err
	}
	return totp.New(secret, opts)
}

// agree reports what metadata says otherwise than a key: when one is stored, to
// believe one of the two would be a guess, and a wrong one makes wrong codes.
func agree(meta map[string]any, key totp.Key) error {
	beside, err := totpOptions(meta)
	if err != nil {
		return err
	}
	var field string
	switch {
	case beside.Algorithm != "" && beside.Algorithm != key.Algorithm():
		field = "algorithm"
	case beside.Digits != 0 && beside.Digits != key.Digits():
		field = "digits"
	case beside.Period != 0 && beside.Period != key.Period():
		field = "period"
	default:
		return nil
	}
	return &totp.FieldError{Field: field, Problem: "is another than in the otpauth URI"}
}

func totpOptions(meta map[string]any) (opts totp.Options, err error) {
	if given, present := meta["algorithm"]; present {
		name, _ := given.(string)
		if name == "" {
			return opts, &totp.FieldError{Field: "algorithm", Problem: "is none of SHA1, SHA256 and SHA512"}
		}
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
	if opts.Digits, err = number("digits"); err != nil {
		return opts, err
	}
	seconds, err := number("period")
	opts.Period = time.Duration(seconds) * time.Second
	return opts, err
}

// releaseMinted turns a raw credential into a short-lived token. The raw one never
// leaves, whoever asks: without a minter that knows it, nothing does.
func (w *Webhook) releaseMinted(ctx context.Context, stored token) (map[string]any, error) {
	secrets, err := stored.prepared.Open(wire.FieldAccessToken)
	if err != nil {
		return nil, err
	}
	raw := []byte(secrets[wire.FieldAccessToken])
	defer clear(raw)
	minter, ok := w.minters.Find(raw)
	if !ok {
		return nil, refuse(wire.CodeMintFailed, "this webhook has no minter for this kind of raw credential, and a raw credential never leaves it")
	}
	minted, err := minter.Mint(ctx, mint.Request{Raw: raw, Meta: maps.Clone(stored.meta()), Now: w.now(), Client: w.outbound})
	if err != nil {
		return nil, mintRefusal(err)
	}
	if minted.AccessToken == "" || minted.AccessToken == secrets[wire.FieldAccessToken] {
		return nil, refuse(wire.CodeMintFailed, "the minter made no token")
	}
	released := map[string]any{}
	for name, value := range minted.Extra {
		if !wire.IsSensitive(name) {
			released[name] = value
		}
	}
	released[wire.FieldAccessToken] = minted.AccessToken
	released[metaTokenType] = minted.TokenType
	released[metaServiceName] = stored.service
	released[metaExpiresAt] = minted.ExpiresAt.UTC().Format(time.RFC3339)
	return released, nil
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
