package wire

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const signaturePrefix = "sha256="

// Errors of Verify, in the order of its checks. Towards a caller they are all
// 401 auth_failed; the difference is for the webhook's own log.
var (
	ErrSignatureHeaders = errors.New("wire: signature headers are missing or malformed")
	ErrSignatureSkew    = errors.New("wire: timestamp is too far from this machine's clock")
	ErrSignature        = errors.New("wire: signature does not match")
)

// A Signature is what the headers of a signed request say, after Verify.
type Signature struct {
	Time      time.Time
	RequestID string
	MAC       [32]byte // to remember against replay, besides RequestID
}

// Sign sets the three headers of a signed request (TV to webhook) over the raw
// body. requestID must be fresh for each attempt and stand in the body as well.
func Sign(h http.Header, secret Secret, body []byte, requestID string, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	mac := secret.mac([]byte(timestamp), []byte{'.'}, body)
	h.Set(HeaderTimestamp, timestamp)
	h.Set(HeaderRequestID, requestID)
	h.Set(HeaderSignature, signaturePrefix+hex.EncodeToString(mac[:]))
}

// Verify checks a signed request against each of the secrets: headers present
// and well-formed, clock within SignatureSkew, MAC (constant time). It returns
// the index of the secret that matched. Replay is the caller's to check, after
// Verify succeeded and never before, so that a forger cannot burn ids.
func Verify(h http.Header, secrets []Secret, body []byte, now time.Time) (Signature, int, error) {
	timestamp, okTime := single(h, HeaderTimestamp)
	id, okID := single(h, HeaderRequestID)
	text, okSig := single(h, HeaderSignature)
	if !okTime || !okID || !okSig || !validRequestID(id) {
		return Signature{}, -1, ErrSignatureHeaders
	}
	seconds, err := parseSeconds(timestamp)
	if err != nil {
		return Signature{}, -1, ErrSignatureHeaders
	}
	text, prefixed := strings.CutPrefix(text, signaturePrefix)
	given, okMAC := decodeMAC(text)
	if !prefixed || !okMAC {
		return Signature{}, -1, ErrSignatureHeaders
	}
	at := time.Unix(seconds, 0)
	if d := now.Sub(at); d > SignatureSkew || d < -SignatureSkew {
		return Signature{}, -1, ErrSignatureSkew
	}
	for i, secret := range secrets {
		want := secret.mac([]byte(timestamp), []byte{'.'}, body)
		if !secret.IsZero() && subtle.ConstantTimeCompare(want[:], given[:]) == 1 {
			return Signature{Time: at, RequestID: id, MAC: given}, i, nil
		}
	}
	return Signature{}, -1, ErrSignature
}

// single returns a header's value if it stands exactly once.
func single(h http.Header, name string) (string, bool) {
	values := h.Values(name)
	if len(values) != 1 || values[0] == "" {
		return "", false
	}
	return values[0], true
}

func validRequestID(id string) bool {
	if len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// parseSeconds reads canonical decimal digits: no sign, space or leading zero.
func parseSeconds(text string) (int64, error) {
	if text == "" || len(text) > 12 || text[0] < '1' || text[0] > '9' {
		return 0, ErrSignatureHeaders
	}
	return strconv.ParseInt(text, 10, 64)
}

// decodeMAC reads 64 lower-case hex digits, so that one MAC has one spelling.
func decodeMAC(text string) (mac [32]byte, ok bool) {
	if len(text) != 64 || strings.ToLower(text) != text {
		return mac, false
	}
	_, err := hex.Decode(mac[:], []byte(text))
	return mac, err == nil
}
