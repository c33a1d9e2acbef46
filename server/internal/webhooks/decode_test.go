package webhooks

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

func TestDepthCountsBracketsOutsideStrings(t *testing.T) {
	t.Parallel()
	for text, most := range map[string]int{
		`{}`:                     1,
		`[[[]]]`:                 3,
		`{"a":"[[[[[[[[{{{{\""}`: 1,
		`[{"\\":[]},[{}]]`:       3,
	} {
		if err := checkDepth([]byte(text), most); err != nil {
			t.Errorf("checkDepth(%s, %d) = %v, want nil", text, most, err)
		}
		if err := checkDepth([]byte(text), most-1); err == nil {
			t.Errorf("checkDepth(%s, %d) = nil, want an error", text, most-1)
		}
	}
}

// FuzzAnswer: whatever a webhook says, reading it neither panics nor lets words
// through that do not fit on a page.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "application/json", []byte(`{"items":[{"key":"a","meta":{}}],"pagination":{"hasMore":true,"nextCursor":"x"}}`))
	f.Add(401, "application/json", []byte(`{"error":"auth_failed","message":"no\u0000"}`))
	f.Add(404, "text/html", []byte(`<html>`))
	f.Add(200, "application/json", []byte(`{"status":"healthy","sealKey":{"id":"a","kem":"b","key":"AA=="}}`))
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		a := &answer{status: status, contentType: contentType, body: body}
		var failed *failure
		if a.success() {
			var page listPage
			if failed = a.decode("id", &page); failed == nil {
				for _, err := range page.items() {
					if err != nil {
						break
					}
				}
			}
			var health wire.HealthResponse
			if json.Unmarshal(body, &health) == nil {
				if checked, err := checkedHealth(a, health); err == nil && len(checked.Capabilities) > maxCapabilities {
					t.Fatalf("%d capabilities", len(checked.Capabilities))
				}
			}
		} else if failed = a.refusal(true); failed == nil {
			t.Fatalf("status %d is no refusal", status)
		}
		if failed == nil {
			return
		}
		message := failed.fault.Message
		if len(message) > 3000 || strings.ContainsAny(message, "\n\r\x00\x1b") {
			t.Fatalf("message %q", message)
		}
		if failed.retry && status < 500 || failed.fault.Code == fault.Internal {
			t.Fatalf("status %d: retry %v, code %s", status, failed.retry, failed.fault.Code)
		}
	})
}
