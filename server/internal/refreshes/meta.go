package refreshes

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A meta is what is believed of what a webhook says beside a refresh token: who it is
// of, and when. Nothing in it says whom to call.
type meta struct {
	provider string
	clientID string // that it was issued to
	creation string
	sequence int64
	expires  time.Time
	issued   time.Time
	scopes   []string // nil: unknown
}

const (
	maxMetaText = 256     // bytes
	maxSequence = 1 << 53 // what every JSON reader counts to
)

// readMeta takes what has the right form, and passes over all else.
func readMeta(from map[string]any) meta {
	m := meta{
		provider: shortText(from["provider"]), clientID: shortText(from["clientId"]), creation: shortText(from["creationId"]),
		expires: metaTime(from["expiryTime"]), issued: metaTime(from["issuedAt"]),
	}
	if n, ok := from[wire.MetaRefreshSequence].(float64); ok && n >= 0 && n < maxSequence && n == math.Trunc(n) {
		m.sequence = int64(n)
	}
	if m.expires.IsZero() {
		m.expires = metaTime(from["expiresAt"])
	}
	switch given := from["scopes"].(type) {
	case string:
		m.scopes = refresh.SplitScopes(given)
	case []any:
		words := make([]string, 0, min(len(given), maxScopes))
		for _, word := range given[:min(len(given), 4*maxScopes)] {
			if text, ok := word.(string); ok {
				words = append(words, text)
			}
		}
		m.scopes = refresh.SplitScopes(strings.Join(words, " "))
	}
	return m
}

func shortText(value any) string {
	text, _ := value.(string)
	if len(text) > maxMetaText {
		return ""
	}
	return text
}

// metaTime reads Unix milliseconds, as a number or its digits, or RFC 3339; zero is
// anything else.
func metaTime(value any) time.Time {
	var at time.Time
	switch given := value.(type) {
	case float64:
		at = millis(given)
	case string:
		if len(given) > 40 {
			return time.Time{}
		}
		var err error
		if at, err = time.Parse(time.RFC3339Nano, given); err != nil {
			number, err := strconv.ParseFloat(given, 64)
			if err != nil {
				return time.Time{}
			}
			at = millis(number)
		}
	}
	if at.IsZero() || at.Year() < 1970 || at.Year() > 9999 {
		return time.Time{}
	}
	return models.Stamp(at)
}

func millis(n float64) time.Time {
	if math.IsNaN(n) || n <= 0 || n > 253402300799999 { // the end of 9999
		return time.Time{}
	}
	return time.UnixMilli(int64(n))
}

// version tells states of a token apart.
func (m meta) version(refreshToken refresh.Secret) int64 {
	sum := sha256.New()
	for _, part := range []string{m.creation, strconv.FormatInt(m.sequence, 10), m.expires.String(), string(refreshToken)} {
		sum.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))) // #nosec G115 -- limited above
		sum.Write([]byte(part))
	}
	return int64(binary.BigEndian.Uint64(sum.Sum(nil)) >> 1) // #nosec G115 -- one bit less
}
