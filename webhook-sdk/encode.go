package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/custody"
)

// A released is what /v1/credential answers with: the stored fields of a token, of
// which the metadata was encoded once for all releases. It marshals to what a
// wire.CredentialResponse with these fields does.
type released struct {
	meta    []byte // a JSON object without its closing brace, never empty
	secrets map[string]string
}

// encodeMeta encodes what each release of a token has in common.
func encodeMeta(service string, document custody.Document) ([]byte, error) {
	meta := listable(maps.Clone(document.Meta))
	if meta == nil {
		meta = map[string]any{}
	}
	meta[credential.MetaServiceName] = service
	text, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("encoding metadata: %w", err)
	}
	return bytes.TrimSuffix(text, []byte("}")), nil
}

// encode is the body of the answer.
func (r released) encode() ([]byte, error) {
	size := len(r.meta) + 32
	for name, secret := range r.secrets {
		size += len(name) + len(secret) + 8
	}
	body := append(make([]byte, 0, size), `{"token":`...)
	body = append(body, r.meta...)
	var err error
	for name, secret := range r.secrets {
		body = append(body, ',')
		if body, err = appendString(body, name); err != nil {
			return nil, err
		}
		body = append(body, ':')
		if body, err = appendString(body, secret); err != nil {
			return nil, err
		}
	}
	return append(body, "}}"...), nil
}

// appendString appends a string in JSON. Most have nothing to escape.
func appendString(to []byte, text string) ([]byte, error) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(text)
			return append(to, quoted...), err
		}
	}
	to = append(to, '"')
	to = append(to, text...)
	return append(to, '"'), nil
}
