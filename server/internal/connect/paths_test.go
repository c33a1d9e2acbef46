package connect

import (
	"net/url"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
)

func TestAReturnPathStaysOnThisServer(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "/", "/": "/", "/agents": "/agents", "/agents?a=1&b=%2F": "/agents?a=1&b=%2F", "/a/b#c": "/a/b#c", "/a//b": "/a//b",
	} {
		if got, err := returnPath(text); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"agents", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "https:evil.example", "/\t/evil.example",
		"/\n/evil.example", "\t//evil.example", " //evil.example", "javascript:alert(1)", "/a\x00", "/a b", "?a", "#a", "/%zz", "/%2f/evil.example", "/" + strings.Repeat("x", 512), "/a\u202e",
	} {
		if got, err := returnPath(text); err == nil {
			t.Errorf("%q was accepted as %q", text, got)
		}
	}
}

func FuzzReturnPath(f *testing.F) {
	for _, text := range []string{"/", "//x", "/\\x", "/a?b#c", "/%2f%2f"} {
		f.Add(text)
	}
	base, err := url.Parse("https://vault.example/oauth/callback")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path, err := returnPath(text)
		if err != nil {
			return
		}
		// As a browser reads it: it drops tabs and line breaks, and takes \ for /.
		read := strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace(strings.TrimSpace(path))
		u, err := base.Parse(read)
		if err != nil || u.Host != "vault.example" || u.Scheme != "https" || strings.HasPrefix(read, "//") {
			t.Errorf("%q leads to %v (%v)", text, u, err)
		}
	})
}

func TestWhereATokenIsConnectedAgain(t *testing.T) {
	t.Parallel()
	public, err := url.Parse("https://vault.example")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Deps{PublicURL: public})
	for want, token := range map[string]models.Token{
		"https://vault.example/connect/google?service=my+mail%3A1": {TokenType: "OAuth", Provider: "google", ServiceName: "my mail:1"},
		"": {TokenType: "PlainText", Provider: "google", ServiceName: "x"},
	} {
		if got := s.ConnectURL(token); got != want {
			t.Errorf("%+v: got %q, want %q", token, got, want)
		}
	}
	for _, provider := range []string{"", "../x", "A", "a b", strings.Repeat("a", 65)} {
		if got := s.ConnectURL(models.Token{TokenType: "OAuth", Provider: provider, ServiceName: "x"}); got != "" {
			t.Errorf("provider %q: got %q, want none", provider, got)
		}
	}
}
