package dashboard

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzSafeNext: whatever is asked for, a browser stays with us.
func FuzzSafeNext(f *testing.F) {
	for _, seed := range []string{"/agents", "//evil", `/\evil`, "/a?b=//c", "/%2f%2fevil", "https://evil", "/\t/evil", "/.//evil", "/a/..//evil", ""} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "https", Host: "vault.example", Path: "/login"}
	f.Fuzz(func(t *testing.T, next string) {
		got := safeNext(next)
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n\t \x00") {
			t.Fatalf("safeNext(%q) = %q, which a browser may take for another host", next, got)
		}
		u, err := base.Parse(got)
		if err != nil || u.Host != "vault.example" || u.Scheme != "https" {
			t.Fatalf("safeNext(%q) = %q, which leads to %v, %v", next, got, u, err)
		}
		if again := safeNext(got); again != got {
			t.Fatalf("safeNext(%q) = %q, then %q", next, got, again)
		}
	})
}
