package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

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
func (r released) encode() []byte {
	size := len(r.meta) + 32
	for name, secret := range r.secrets {
		size += len(name) + len(secret) + 8
	}
	body := append(make([]byte, 0, size), `{"token":`...)
	body = append(body, r.meta...)
	for name, secret := range r.secrets {
		body = credential.AppendString(append(body, ','), name)
		body = credential.AppendString(append(body, ':'), secret)
	}
	return append(body, "}}"...)
}
