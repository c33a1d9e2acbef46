package grants_test

import (
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/grants"
)

func TestASessionIsCalledByWhatSignedIn(t *testing.T) {
	t.Parallel()
	const webkit = " AppleWebKit/537.36 (KHTML, like Gecko) "
	for userAgent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                        "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/140.0.0.0 Safari/537.36":         "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/140.0.0.0 Safari/537.36 Edg/140": "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/26 Safari/605.1":  "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604":  "Safari on iPhone",
		"Mozilla/5.0 (Linux; Android 15; Pixel 9)" + webkit + "Chrome/140.0.0.0 Mobile Safari/537.36":   "Chrome on Android",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)" + webkit + "Chrome/140.0.0.0 Safari/537.36":          "Chrome on ChromeOS",
		"Firefox/1":                       "Firefox",
		"curl/8.14.1":                     "curl",
		"tokenvault":                      "tokenvault",
		"":                                "An unknown program",
		"Mozilla/5.0 (X11; Linux x86_64)": "A program on Linux",
		"Mozilla/5.0":                     "An unknown program",
		"two words/1":                     "An unknown program",
		"\x00\x01":                        "An unknown program",
		"\xff/1":                          "An unknown program",
		strings.Repeat("x", 101):          "An unknown program",
		"/":                               "An unknown program",
	} {
		if got := grants.DeviceLabel(userAgent); got != want {
			t.Errorf("%.60q is called %q, want %q", userAgent, got, want)
		}
	}
}
