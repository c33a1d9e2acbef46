package custody

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// The versions and the algorithm of token documents.
const (
	VersionPlain = 1 // fields without associated data: read, never written
	VersionBound = 2 // fields bound to their place and metadata
	Algorithm    = "AES-256-GCM"
)

// A Document is a stored token: its secret fields, each sealed by itself, and its
// metadata in the clear. It holds no plaintext secret.
type Document struct {
	V      int               `json:"v"`
	Alg    string            `json:"alg"`
	Fields map[string]string `json:"fields"` // standard base64 of nonce(12) ‖ ciphertext ‖ tag(16)
	Meta   map[string]any    `json:"meta"`   // values as json decodes them, numbers as json.Number
}

// ParseDocument reads a document. Numbers in the metadata stay as they are written
// (json.Number): a digest over them must not depend on rounding. Fields of the
// JSON that it does not know are ignored, since other webhooks may write some.
// What is not a document, or of a version that this program does not know, is
// ErrDocument.
func ParseDocument(data []byte) (Document, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var d Document
	if err := decoder.Decode(&d); err != nil {
		// The decoder's text may quote what it read: it is kept out.
		return Document{}, fmt.Errorf("%w: its JSON does not parse", ErrDocument)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return Document{}, fmt.Errorf("%w: something follows it", ErrDocument)
	}
	if err := d.check(); err != nil {
		return Document{}, err
	}
	return d, nil
}

// CreationID is the creationId of the metadata, or "".
func (d Document) CreationID() string {
	id, _ := d.Meta[metaCreationID].(string)
	return id
}

// Has reports whether the document has that secret field, without opening it.
func (d Document) Has(field string) bool {
	_, ok := d.Fields[field]
	return ok
}

func (d Document) check() error {
	switch {
	case d.V != VersionPlain && d.V != VersionBound:
		return fmt.Errorf("%w: version %d is not one of 1 and 2; a newer program wrote it", ErrDocument, d.V)
	case d.Alg != Algorithm:
		return fmt.Errorf("%w: its algorithm is not %s", ErrDocument, Algorithm)
	case d.V == VersionBound && d.CreationID() == "":
		return fmt.Errorf("%w: version 2 without a creationId", ErrDocument)
	}
	return nil
}
