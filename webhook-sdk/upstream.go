package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of a proxied call, in bytes but for counts.
const (
	maxUpstreamURL     = 8 << 10
	maxUpstreamHeaders = 64
	maxHeaderName      = 128
	maxHeaderValue     = 8 << 10
)

// An upstreamCall is a proxied call, validated, without the credential.
type upstreamCall struct {
	url       *url.URL
	method    string
	header    http.Header
	templates map[string]string // by canonical name
	body      []byte
}

// readUpstreamCall validates what TV wants to be called.
func readUpstreamCall(request wire.ProxyRequest) (upstreamCall, error) {
	call := upstreamCall{method: request.Upstream.Method, header: http.Header{}, templates: map[string]string{}}
	var err error
	if call.url, err = parseUpstreamURL(request.Upstream.URL); err != nil {
		return call, err
	}
	if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, call.method) {
		return call, invalid("upstream.method is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	if call.body, err = base64.StdEncoding.DecodeString(request.Upstream.Body); err != nil {
		return call, invalid("upstream.body is not standard base64")
	}
	if len(request.Upstream.Headers)+len(request.HeaderTemplates) > maxUpstreamHeaders {
		return call, invalid("there are more than %d headers and templates", maxUpstreamHeaders)
	}
	if err := call.readTemplates(request.HeaderTemplates); err != nil {
		return call, err
	}
	return call, call.readHeaders(request.Upstream.Headers)
}

func parseUpstreamURL(text string) (*url.URL, error) {
	if len(text) > maxUpstreamURL {
		return nil, invalid("upstream.url is longer than %d bytes", maxUpstreamURL)
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return nil, invalid("upstream.url is not an absolute http(s) URL without user information")
	}
	u.Fragment, u.RawFragment = "", ""
	if _, err := credential.Origin(u); err != nil {
		return nil, invalid("upstream.url has no valid host or port")
	}
	return u, nil
}

// readTemplates takes the headers into which the credential goes.
func (c *upstreamCall) readTemplates(templates map[string]string) error {
	for name, value := range templates {
		if err := checkHeader("headerTemplates", name, value); err != nil {
			return err
		}
		name = http.CanonicalHeaderKey(name)
		if _, twice := c.templates[name]; twice || !forwarded(name) {
			return invalid("headerTemplates names a header twice, or one that is not forwarded (Host, hop-by-hop)")
		}
		c.templates[name] = value
	}
	return nil
}

// readHeaders takes the headers that pass: not Host, hop-by-hop or templated ones.
func (c *upstreamCall) readHeaders(headers map[string]string) error {
	for name, value := range headers {
		if err := checkHeader("upstream.headers", name, value); err != nil {
			return err
		}
		name = http.CanonicalHeaderKey(name)
		if _, templated := c.templates[name]; !templated && forwarded(name) {
			c.header.Add(name, value)
		}
		if name == "Connection" {
			defer func() { // when all headers are there
				for other := range strings.SplitSeq(value, ",") {
					c.header.Del(strings.TrimSpace(other))
				}
			}()
		}
	}
	return nil
}

// forwarded reports whether a header goes to the upstream. Accept-Encoding does
// not: a compressed answer could not be searched for the credential.
func forwarded(name string) bool {
	return name != "Host" && name != "Content-Length" && name != "Accept-Encoding" && name != "Expect" &&
		!strings.HasPrefix(name, "X-Tokenvault-") && !slices.Contains(hopByHop[:], name)
}

// checkHeader refuses names and values that could end a header early.
func checkHeader(where, name, value string) error {
	if !validHeaderName(name) {
		return invalid("%s has a name that is not a header's", where)
	}
	if !validHeaderValue(value) || len(value) > maxHeaderValue {
		return invalid("%s has a value that is too long, or has a line break or another control character", where)
	}
	return nil
}

// validHeaderName reports whether name is a token (RFC 9110 §5.6.2).
func validHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return name != "" && len(name) <= maxHeaderName
}

// validHeaderValue reports whether value has no control character but tab (RFC 9110
// §5.5).
func validHeaderValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// request is the call with the credential in it.
func (c *upstreamCall) request(ctx context.Context, credential string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, c.method, c.url.String(), bytes.NewReader(c.body))
	if err != nil {
		return nil, invalid("upstream is not a valid request") // the error would quote it
	}
	if len(c.body) == 0 {
		r.Body, r.GetBody, r.ContentLength = http.NoBody, nil, 0
	}
	r.Header = c.header
	for name, template := range c.templates {
		value := strings.ReplaceAll(template, wire.TemplateToken, credential)
		if !validHeaderValue(value) {
			return nil, invalid("the stored credential has a line break or another control character, and cannot stand in a header")
		}
		r.Header.Set(name, value)
	}
	if r.Header.Get("User-Agent") == "" {
		r.Header["User-Agent"] = nil // none, rather than net/http's own
	}
	return r, nil
}
