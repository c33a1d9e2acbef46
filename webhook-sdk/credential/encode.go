package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// encodingVersion is of the form that Encode writes. Decode reads it for ever.
const encodingVersion = 1

// ErrEncoding is what Decode answers to what Encode has not written, or a newer
// program has. Whoever opened it from a ciphertext turns it into an error of its own.
var ErrEncoding = errors.New("credential: not an encoded credential that this program can read")

type encoded struct {
	Version int               `json:"v"`
	Type    string            `json:"type"`
	Secrets map[string]string `json:"secrets"`
	Meta    map[string]any    `json:"meta"`
}

// Encode is the whole credential as one text, to be sealed: nothing of what says
// where the secret may be sent stands outside. It holds the secrets in the clear.
func (c Credential) Encode() ([]byte, error) {
	text, err := json.Marshal(encoded{encodingVersion, c.Type, c.Secrets, c.Meta})
	if err != nil {
		return nil, errors.New("credential: the metadata has no JSON form") // the cause may quote it
	}
	return text, nil
}

// Decode reads what Encode wrote, and nothing else: a field or version that it does
// not know is ErrEncoding. The text is not kept.
func Decode(text []byte) (Credential, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	d.DisallowUnknownFields()
	var e encoded
	if err := d.Decode(&e); err != nil {
		return Credential{}, ErrEncoding // the decoder's error may quote the text
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Credential{}, fmt.Errorf("%w: something follows it", ErrEncoding)
	}
	switch {
	case e.Version != encodingVersion:
		return Credential{}, fmt.Errorf("%w: it is of version %d", ErrEncoding, e.Version)
	case !slices.Contains(Options{Platform: true}.Types(), e.Type):
		return Credential{}, fmt.Errorf("%w: its type is unknown", ErrEncoding)
	case e.Secrets[SecretField(e.Type)] == "":
		return Credential{}, fmt.Errorf("%w: it has no secret", ErrEncoding)
	}
	if e.Meta == nil {
		e.Meta = map[string]any{}
	}
	return Credential{Type: e.Type, Secrets: e.Secrets, Meta: e.Meta}, nil
}
