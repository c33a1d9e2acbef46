package refresh

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/url"
	"strings"
)

// maxDepth bounds how deep an answer's JSON may be nested. RFC 6749 §5.1 has one level.
const maxDepth = 32

// known are the fields that are read; all others are ignored (RFC 6749 §5.1).
var known = map[string]bool{
	"access_token": true, "refresh_token": true, "id_token": true, "token_type": true, "expires_in": true, "scope": true,
	"error": true, "error_description": true,
}

// A field is one parameter of an answer, as it was written.
type field struct {
	kind fieldKind
	text string   // of text and number
	list []string // of list

	// conflicting: it stands there twice, with different values.
	conflicting bool
}

// isThere reports whether the field says anything: null and "" do not.
func (f field) isThere() bool {
	return f.kind != kindAbsent && (f.kind != kindText || f.text != "")
}

type fieldKind int

const (
	kindAbsent fieldKind = iota
	kindText
	kindNumber
	kindList  // of strings
	kindOther // what no field of an answer is
)

type fields map[string]field

func (f fields) put(name string, value field) {
	if before, twice := f[name]; twice && (before.kind != value.kind || before.text != value.text || strings.Join(before.list, " ") != strings.Join(value.list, " ")) {
		value.conflicting = true
	}
	f[name] = value
}

// parseFields reads an answer's body. Its look counts for more than its Content-Type, which servers get wrong:
// JSON is JSON by its brace.
func parseFields(contentType string, body []byte) (fields, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType = ""
	}
	switch {
	case len(body) == 0:
		return nil, errors.New("the answer is empty")
	case body[0] == '{':
		return parseJSON(body)
	case mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"):
		return nil, errors.New("the answer is not a JSON object")
	case body[0] == '<' || mediaType == "text/html" || !bytes.Contains(body, []byte("=")):
		return nil, errors.New("the answer is neither JSON nor a form")
	}
	return parseForm(string(body)), nil
}

// parseForm reads what can be read: a pair that is not well formed counts as absent.
func parseForm(body string) fields {
	found := fields{}
	values, _ := url.ParseQuery(body)
	for name, all := range values {
		for _, value := range all {
			if known[name] {
				found.put(name, field{kind: kindText, text: value})
			}
		}
	}
	return found
}

// parseJSON reads an object. What follows it is ignored: the answer may hold the
// only refresh token there is, which a stray byte is no reason to lose.
func parseJSON(body []byte) (fields, error) {
	broken := errors.New("the answer is not well-formed JSON")
	if tooDeep(body) {
		return nil, errors.New("the answer is nested too deeply")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil {
		return nil, broken
	}
	found := fields{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, broken
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, broken
		}
		if name, isText := key.(string); isText && known[name] {
			found.put(name, parseValue(raw))
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, broken
	}
	return found, nil
}

func parseValue(raw json.RawMessage) field {
	var f field
	switch {
	case string(raw) == "null":
	case raw[0] == '"' && json.Unmarshal(raw, &f.text) == nil:
		f.kind = kindText
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		f.kind, f.text = kindNumber, string(raw)
	case raw[0] == '[' && json.Unmarshal(raw, &f.list) == nil:
		f.kind = kindList
	default:
		f.kind = kindOther
	}
	return f
}

// tooDeep looks at brackets outside strings.
func tooDeep(body []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, b := range body {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = b == '\\', b != '"'
		case b == '"':
			inString = true
		case b == '{' || b == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}
