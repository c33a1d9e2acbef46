package credential

import (
	"encoding/json"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// checkExpiry derives expiryTime from expiresAt, unless the certificate gave it. A
// caller's own expiryTime counts when there is no expiresAt.
func (c *Credential) checkExpiry(Options) error {
	if c.Type == wire.TypeCertificate {
		return nil // checkCertificate has set it
	}
	if given, ok := c.Meta[MetaExpiresAt]; ok && given != "" {
		text, _ := given.(string)
		at, ok := parseISO8601(text)
		if !ok {
			return invalid(MetaExpiresAt, "is not an ISO 8601 time such as 2030-01-31T12:00:00Z")
		}
		c.Meta[MetaExpiryTime] = at.UnixMilli()
		return nil
	}
	delete(c.Meta, MetaExpiresAt)
	if given, ok := c.Meta[MetaExpiryTime]; ok {
		number, _ := given.(json.Number)
		ms, err := number.Int64()
		if err != nil || ms < 0 || ms > maxTime.UnixMilli() {
			return invalid(MetaExpiryTime, "is not a time in whole milliseconds since 1970")
		}
	}
	return nil
}

var maxTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// parseISO8601 reads a time with a zone, or in UTC without, or a date.
func parseISO8601(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil && at.Unix() >= 0 && !at.After(maxTime) {
			return at.UTC(), true
		}
	}
	return time.Time{}, false
}
