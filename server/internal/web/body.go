package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// MaxDepth is how deep a JSON body may be nested.
const MaxDepth = 32

// Unknown says what happens to JSON fields that a request does not have.
type Unknown bool

// Our own paths refuse unknown fields, so that a typing error is heard of;
// paths that clients of others already use ignore them.
const (
	RefuseUnknown Unknown = false
	IgnoreUnknown Unknown = true
)

// ReadJSON reads a JSON object of at most MaxBody bytes and MaxDepth levels
// into dst, a pointer to a struct. Errors are faults: UNSUPPORTED_MEDIA_TYPE,
// TOO_LARGE, INVALID_REQUEST (which names the field, if one is at fault).
func ReadJSON(c *gin.Context, dst any, unknown Unknown) error {
	if !isJSON(c.Request.Header["Content-Type"]) {
		return fault.New(fault.UnsupportedMediaType, "Send the body as JSON, with the header Content-Type: application/json.")
	}
	body, err := readBody(c)
	if err != nil {
		return err
	}
	return Decode(body, dst, unknown)
}

// ReadOptionalJSON is ReadJSON for a body that may be left out; then dst stays
// as it is and no Content-Type is needed.
func ReadOptionalJSON(c *gin.Context, dst any, unknown Unknown) error {
	if c.Request.ContentLength == 0 || c.Request.Body == nil || c.Request.Body == http.NoBody {
		return nil
	}
	return ReadJSON(c, dst, unknown)
}

func isJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	kind, params, err := mime.ParseMediaType(values[0])
	charset, given := params["charset"]
	return err == nil && kind == "application/json" && (!given || strings.EqualFold(charset, "utf-8"))
}

func readBody(c *gin.Context) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, MaxBody))
	if err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return nil, tooLarge()
		}
		return nil, fault.Wrap(err, fault.InvalidRequest, "The body of the request did not arrive whole. Send it again.")
	}
	return body, nil
}

func tooLarge() *fault.Error {
	return fault.New(fault.TooLarge, "The body of the request is larger than 1 MiB, which is the most that is taken.")
}

// Decode reads body, one JSON object and nothing after it, into dst.
func Decode(body []byte, dst any, unknown Unknown) error {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return fault.New(fault.InvalidRequest, "The body is empty; a JSON object is expected.")
	case !utf8.Valid(trimmed):
		return fault.New(fault.InvalidRequest, "The body is not valid UTF-8.")
	case trimmed[0] != '{':
		return fault.New(fault.InvalidRequest, "The body is not a JSON object.")
	case tooDeep(trimmed):
		return fault.New(fault.InvalidRequest, "The body is nested more than %d levels deep.", MaxDepth)
	}
	d := json.NewDecoder(bytes.NewReader(trimmed))
	if unknown == RefuseUnknown {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(dst); err != nil {
		return explain(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fault.New(fault.InvalidRequest, "There is something after the JSON object in the body.")
	}
	return nil
}

// explain turns an error of encoding/json into one for the caller. It quotes
// names of fields, never values.
func explain(err error) error {
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fault.Field(clip(kind.Field, 100), "The field %q has the wrong type: it cannot be a %s.", clip(kind.Field, 100), clip(kind.Value, 20))
	}
	// encoding/json has no type for this one.
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		name = clip(strings.Trim(name, `"`), 100)
		return fault.Field(name, "The field %q is not known here. Check its spelling, or leave it out.", name)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fault.New(fault.InvalidRequest, "The body is not valid JSON, at byte %d.", syntax.Offset)
	}
	return fault.Wrap(err, fault.InvalidRequest, "The body is not valid JSON.")
}

// tooDeep reports whether objects and arrays are nested beyond MaxDepth,
// before a recursive parser sees them.
func tooDeep(body []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch b := body[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{' || b == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}

// ReadForm reads a form of at most MaxBody bytes that a page posted. The query
// of the address is no part of it.
func ReadForm(c *gin.Context) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(c.Request.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, fault.New(fault.UnsupportedMediaType, "Send the form as application/x-www-form-urlencoded, as a browser does.")
	}
	body, err := readBody(c)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The form is not encoded as forms are. Send it again.")
	}
	return form, nil
}
