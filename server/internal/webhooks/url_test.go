package webhooks_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
)

func TestBaseURLsBecomeCanonical(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://hook.example.com":             "https://hook.example.com",
		" HTTPS://Hook.Example.COM./ ":         "https://hook.example.com",
		"https://hook.example.com:/\n":         "https://hook.example.com",
		"https://hook.example.com:443/tv/":     "https://hook.example.com/tv",
		"https://hook.example.com:8443/a/b.c/": "https://hook.example.com:8443/a/b.c",
		"https://93.184.215.14":                "https://93.184.215.14",
		"https://[2606:2800:21f:cb07::1]:443":  "https://[2606:2800:21f:cb07::1]",
	} {
		got, err := webhooks.ParseBaseURL(text, false, "tv.example.com")
		if err != nil || got != want {
			t.Errorf("ParseBaseURL(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestBaseURLsThatCannotBeAWebhooksAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "hook", "hook.example.com", "//hook.example.com", "https://", "https:///x", "https:hook", "ftp://hook.example.com",
		"http://hook.example.com", "javascript:alert(1)", "https://user@hook.example.com", "https://u:p@hook.example.com",
		"https://hook.example.com?x=1", "https://hook.example.com?", "https://hook.example.com#", "https://hook.example.com/#a",
		"https://hook.example.com/a/../b", "https://hook.example.com//a", "https://hook.example.com/a%2fb", "https://hook.example.com/a b",
		"https://hook.example.com:0", "https://hook.example.com:99999", "https://hook..example.com",
		"https://hoök.example.com", "https://127.0.0.1", "https://10.0.0.1", "https://[::1]", "https://[fe80::1%25eth0]", "https://localhost",
		"https://x.localhost", "https://tv.example.com", "https://TV.example.com.:8443/hook", "https://hook\x00.example.com",
		"https://hook.example.com/" + strings.Repeat("a", 2000),
	} {
		got, err := webhooks.ParseBaseURL(text, false, "tv.example.com:8000")
		if refusal := fault.From(err); refusal == nil || refusal.Code != fault.InvalidRequest || refusal.Field != "webhookUrl" {
			t.Errorf("ParseBaseURL(%q) = %q, %v; want INVALID_REQUEST for webhookUrl", text, got, err)
		}
	}
}

func TestDevelopmentAllowsPlainHTTPAndTheOwnHost(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"http://127.0.0.1:8080", "http://localhost:8080/hook", "https://10.1.2.3"} {
		if got, err := webhooks.ParseBaseURL(text, true, "127.0.0.1:8000"); err != nil || got != text {
			t.Errorf("ParseBaseURL(%q) = %q, %v; want it unchanged", text, got, err)
		}
	}
}

func FuzzParseBaseURL(f *testing.F) {
	for _, seed := range []string{"https://hook.example.com/a", "https://[::1]:1/", "http://a@b/?c#d", "https://a%00b", "https://1.2.3.4:65535"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := webhooks.ParseBaseURL(text, false, "tv.example.com")
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(got, "/") {
			t.Fatalf("ParseBaseURL(%q) = %q, which is no base URL (%v)", text, got, err)
		}
		if again, err := webhooks.ParseBaseURL(got, false, "tv.example.com"); err != nil || again != got {
			t.Fatalf("ParseBaseURL(%q) = %q, and that again %q, %v", text, got, again, err)
		}
	})
}
