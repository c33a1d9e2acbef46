package custody

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

const metaCreationID = "creationId"

// isNote reports whether a metadata field is a person's note: it may be changed
// without opening the token. Everything else steers what is done with the secret, or
// may: a minter that an operator wrote finds its settings there too.
func isNote(name string) bool {
	return name == "displayName" || name == "notes" || name == "tags"
}

// metaDigest is the lower-case hex SHA-256 of the canonical JSON of the metadata
// less displayName, notes and tags.
//
// Canonical JSON: one object, the names of every object sorted by their UTF-8
// bytes, no white space, numbers as they are written, and strings with the escapes
// \" \\ \b \f \n \r \t, \u00xx for other control characters, \u2028, \u2029, and
// everything else as UTF-8 (what encoding/json writes without HTML escapes). A field
// of value null counts as absent. Metadata must have passed normalMeta or ParseDocument.
func metaDigest(meta map[string]any) (string, error) {
	steering := make(map[string]any, len(meta))
	for name, value := range meta {
		if !isNote(name) && value != nil {
			steering[name] = value
		}
	}
	h := sha256.New()
	text, err := marshal(steering)
	if err != nil {
		return "", err
	}
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// normalMeta is a deep copy of the metadata with the types that ParseDocument gives,
// so that a digest is the same before and after storage.
func normalMeta(meta map[string]any) (map[string]any, error) {
	text, err := marshal(meta)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	out := make(map[string]any, len(meta))
	if err := decoder.Decode(&out); err != nil {
		return nil, fmt.Errorf("custody: metadata does not survive JSON: %w", err)
	}
	return out, nil
}

// marshal writes canonical JSON without a line end. The causes of an error are kept
// out: they may quote values.
func marshal(value any) ([]byte, error) {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, errors.New("custody: metadata has no JSON form")
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
