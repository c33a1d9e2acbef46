package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"time"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	bodyTimeout  = 10 * time.Second // for the whole body, from the first look at it
	maxJSONDepth = 24               // nested arrays and objects
	firstBuffer  = 16 << 10         // bytes that are set aside before any have come
)

// readBody reads a request's body, at most wire.MaxBody bytes within
// bodyTimeout. It looks at nothing in it: a signature is checked over the bytes.
func readBody(rw http.ResponseWriter, r *http.Request) ([]byte, error) {
	return readAtMost(rw, r, wire.MaxBody)
}

func readAtMost(rw http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.ContentLength == 0 {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, refuse(wire.CodeTooLarge, "the body is longer than %d bytes", limit)
	}
	control := http.NewResponseController(rw)
	// Not every server can; its own timeouts hold then.
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
	var buffer bytes.Buffer
	if r.ContentLength > 0 {
		// No more on the word of who has sent only headers.
		buffer.Grow(min(int(r.ContentLength), firstBuffer) + bytes.MinRead)
	}
	_, err := buffer.ReadFrom(http.MaxBytesReader(rw, r.Body, limit))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, refuse(wire.CodeTooLarge, "the body is longer than %d bytes", limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refuse(wire.CodeInvalidRequest, "the body did not arrive within %s", bodyTimeout)
	case err != nil:
		return nil, because(refuse(wire.CodeInvalidRequest, "the body could not be read"), err)
	}
	// A deadline that passes while we work would cancel the request.
	_ = control.SetReadDeadline(time.Time{})
	return buffer.Bytes(), nil
}

// checkContentType refuses a body that does not say that it is JSON.
func checkContentType(r *http.Request) error {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, given := params["charset"]
	if err != nil || kind != "application/json" || given && charset != "utf-8" && charset != "UTF-8" {
		return refuse(wire.CodeInvalidRequest, "the Content-Type must be application/json in UTF-8")
	}
	return nil
}

// checkBody refuses what no request may be: anything but one JSON object in
// UTF-8, nested no deeper than maxJSONDepth.
func checkBody(body []byte) error {
	switch {
	case !utf8.Valid(body):
		return refuse(wire.CodeInvalidRequest, "the body is not UTF-8")
	case tooDeep(body, maxJSONDepth):
		return refuse(wire.CodeInvalidRequest, "the body is nested deeper than %d levels", maxJSONDepth)
	case !json.Valid(body): // which refuses trailing garbage as well
		return refuse(wire.CodeInvalidRequest, "the body is not one JSON object")
	case bytes.TrimLeft(body, " \t\r\n")[0] != '{':
		return refuse(wire.CodeInvalidRequest, "the body is not a JSON object")
	}
	return nil
}

// decodeInto fills v from a body that checkBody let pass. Unknown fields are
// ignored, as the protocol wants; numbers of unknown size keep their digits.
func decodeInto(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) && kind.Field != "" {
			return refuse(wire.CodeInvalidRequest, "the field %.64q has the wrong type", kind.Field)
		}
		return refuse(wire.CodeInvalidRequest, "the body has a field of the wrong type")
	}
	return nil
}

// tooDeep counts brackets outside strings. It needs no valid JSON, so that it
// can run before anything that recurses.
func tooDeep(text []byte, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
