package wire

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Errors of OpenTicket and Ticket.Permits.
var (
	ErrTicketInvalid = errors.New("wire: ticket is not valid")
	ErrTicketExpired = errors.New("wire: ticket has expired")
)

// maxTicket bounds the text that OpenTicket looks at, in bytes.
const maxTicket = 4096

// A Ticket is a short-lived, single-use, signed permission for one call to a
// webhook, issued by TV.
type Ticket struct {
	Subject       string  `json:"sub"` // vault owner's id
	Service       string  `json:"svc"`
	Purpose       Purpose `json:"pur"`
	IssuedAt      int64   `json:"iat"` // Unix seconds
	ExpiresAt     int64   `json:"exp"` // Unix seconds; 0 counts as expired
	Nonce         string  `json:"nonce"`
	AgentID       string  `json:"aid,omitempty"`
	ProxyConfigID string  `json:"pid,omitempty"`
	CreationID    string  `json:"cid,omitempty"`
	Mode          string  `json:"mode,omitempty"`
}

// SignTicket returns base64url(payload) "." hex HMAC-SHA256(secret, that text).
// The caller has filled every field, Nonce with 128 random bits in hex.
func SignTicket(secret Secret, t Ticket) string {
	return string(AppendTicket(make([]byte, 0, ticketSize), secret, t))
}

// ticketSize is what a ticket usually needs, in bytes.
const ticketSize = 512

// AppendTicket appends what SignTicket returns, for who builds a URL.
func AppendTicket(b []byte, secret Secret, t Ticket) []byte {
	var room [ticketSize]byte
	begin := len(b)
	b = base64.RawURLEncoding.AppendEncode(b, t.appendJSON(room[:0]))
	mac := secret.mac(b[begin:])
	return hex.AppendEncode(append(b, '.'), mac[:])
}

// appendJSON writes what json.Marshal would, which costs three times as much:
// signing tickets is on the path of every release.
func (t *Ticket) appendJSON(b []byte) []byte {
	b = appendText(b, `{"sub":`, t.Subject)
	b = appendText(b, `,"svc":`, t.Service)
	b = appendText(b, `,"pur":`, string(t.Purpose))
	b = strconv.AppendInt(append(b, `,"iat":`...), t.IssuedAt, 10)
	b = strconv.AppendInt(append(b, `,"exp":`...), t.ExpiresAt, 10)
	b = appendText(b, `,"nonce":`, t.Nonce)
	for _, optional := range [...]struct{ name, value string }{
		{`,"aid":`, t.AgentID}, {`,"pid":`, t.ProxyConfigID}, {`,"cid":`, t.CreationID}, {`,"mode":`, t.Mode},
	} {
		if optional.value != "" {
			b = appendText(b, optional.name, optional.value)
		}
	}
	return append(b, '}')
}

func appendText(b []byte, name, value string) []byte {
	b = append(b, name...)
	if plain(value) {
		return append(append(append(b, '"'), value...), '"')
	}
	quoted, err := json.Marshal(value)
	if err != nil {
		panic("wire: a string has a JSON form: " + err.Error())
	}
	return append(b, quoted...)
}

// plain reports whether a string stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

// strictBase64 is made once: each Strict copies the whole encoding.
var strictBase64 = base64.RawURLEncoding.Strict()

// OpenTicket checks, in this order: two parts, HMAC under one of the secrets
// (constant time, before decoding), payload, expiry. It returns the index of
// the secret that matched. Purpose and service are Permits' to check; owner and
// nonce, which need state, are the caller's, after both.
func OpenTicket(secrets []Secret, text string, now time.Time) (Ticket, int, error) {
	if len(text) > maxTicket {
		return Ticket{}, -1, ErrTicketInvalid
	}
	encoded, tag, two := strings.Cut(text, ".")
	given, wellFormed := decodeMAC(tag)
	if !two || encoded == "" || !wellFormed {
		return Ticket{}, -1, ErrTicketInvalid
	}
	index := -1
	for i, secret := range secrets {
		want := secret.mac([]byte(encoded))
		if !secret.IsZero() && subtle.ConstantTimeCompare(want[:], given[:]) == 1 {
			index = i
			break
		}
	}
	if index < 0 {
		return Ticket{}, -1, ErrTicketInvalid
	}
	payload, err := strictBase64.DecodeString(encoded)
	if err != nil {
		return Ticket{}, -1, ErrTicketInvalid
	}
	t, canonical := parseCanonical(payload)
	if !canonical {
		err = json.Unmarshal(payload, &t)
	}
	if err != nil || t.Nonce == "" || t.Subject == "" {
		return Ticket{}, -1, ErrTicketInvalid
	}
	if t.ExpiresAt <= now.Unix() {
		return t, index, ErrTicketExpired
	}
	return t, index, nil
}

// parseCanonical reads a payload that is to the byte what appendJSON writes, as
// most are, in a tenth of the time that JSON's general reader takes. Writing the
// result again is what proves it.
func parseCanonical(payload []byte) (t Ticket, ok bool) {
	rest := string(payload)
	if rest, ok = strings.CutSuffix(rest, "}"); !ok {
		return Ticket{}, false
	}
	text := func(name string, into *string) {
		if after, found := strings.CutPrefix(rest, name); found {
			*into, rest, _ = strings.Cut(after, `"`)
		}
	}
	number := func(name string, into *int64) {
		if after, found := strings.CutPrefix(rest, name); found {
			end := max(strings.IndexByte(after, ','), 0)
			*into, _ = strconv.ParseInt(after[:end], 10, 64)
			rest = after[end:]
		}
	}
	text(`{"sub":"`, &t.Subject)
	text(`,"svc":"`, &t.Service)
	text(`,"pur":"`, (*string)(&t.Purpose))
	number(`,"iat":`, &t.IssuedAt)
	number(`,"exp":`, &t.ExpiresAt)
	text(`,"nonce":"`, &t.Nonce)
	text(`,"aid":"`, &t.AgentID)
	text(`,"pid":"`, &t.ProxyConfigID)
	text(`,"cid":"`, &t.CreationID)
	text(`,"mode":"`, &t.Mode)
	var room [ticketSize]byte
	if !bytes.Equal(t.appendJSON(room[:0]), payload) {
		return Ticket{}, false
	}
	return t, true
}

// Permits reports ErrTicketInvalid unless the ticket is for one of the purposes
// and for this service.
func (t Ticket) Permits(service string, purposes ...Purpose) error {
	if !slices.Contains(purposes, t.Purpose) || t.Service != service {
		return ErrTicketInvalid
	}
	return nil
}
