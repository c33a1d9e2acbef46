package connect

import (
	"net/url"
	"strings"
	"unicode"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// maxReturn is how long a return path may be, in bytes.
const maxReturn = 512

// returnPath checks a path on this server to which a flow returns; empty is "/". What
// a browser could take for another host is refused: "//host", "/\host", and what
// becomes one when control characters are dropped.
func returnPath(text string) (string, error) {
	if text == "" {
		return "/", nil
	}
	refused := fault.Field("return", "The return address must be a path on this server, such as /agents.")
	if len(text) > maxReturn || text[0] != '/' || strings.HasPrefix(text, "//") ||
		strings.ContainsFunc(text, func(r rune) bool { return r == '\\' || r == ' ' || !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return "", refused
	}
	u, err := url.Parse(text)
	if err != nil || u.IsAbs() || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") {
		return "", refused
	}
	return text, nil
}

// ConnectURL is where the owner of a token connects its account again, for
// REAUTHORIZATION_REQUIRED and for pages; empty when the token does not say from which
// provider it is.
func (s *Service) ConnectURL(t models.Token) string {
	if t.TokenType != wire.TypeOAuth || !validProvider(t.Provider) {
		return ""
	}
	query := url.Values{"service": {t.ServiceName}}
	path := wire.PathConnect + t.Provider
	if t.Owner != "" || t.Bridge != "" {
		path = strings.TrimSuffix(wire.PathConnect, "/")
		query.Set("owner", t.Owner)
		query.Set("bridge", t.Bridge)
	}
	u := s.deps.PublicURL.JoinPath(path)
	u.RawQuery = query.Encode()
	return u.String()
}
