package custody

import (
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"strings"
)

const labelField = "tokenvault/webhook/v2"

// SealToken seals the secret fields of the token that is stored under service, and
// binds each to the service, its own name, the creationId in meta and the rest of
// the metadata (all but displayName, notes and tags, which may be changed later
// without sealing again). It always writes version 2; meta must have a creationId and
// is copied.
func (k *Keys) SealToken(service string, secrets map[string]string, meta map[string]any) (Document, error) {
	meta, err := normalMeta(meta)
	if err != nil {
		return Document{}, err
	}
	d := Document{V: VersionBound, Alg: Algorithm, Fields: make(map[string]string, len(secrets)), Meta: meta}
	if d.CreationID() == "" {
		return Document{}, errors.New("custody: metadata without a creationId cannot be bound to a token")
	}
	digest, err := metaDigest(meta)
	if err != nil {
		return Document{}, err
	}
	for name, secret := range secrets {
		aad := context(labelField, service, name, d.CreationID(), digest)
		// An AEAD that draws its nonces takes none.
		sealed := k.data.Seal(nil, nil, []byte(secret), aad)
		d.Fields[name] = base64.StdEncoding.EncodeToString(sealed)
	}
	return d, nil
}

// OpenToken opens every secret field of the document that is stored under service,
// of version 1 or 2. It is all or nothing: one field that does not open is ErrOpen.
// A document of version 1 says nothing of its place; who read one writes it again
// with SealToken at the next change.
func (k *Keys) OpenToken(service string, d Document) (map[string]string, error) {
	names := make([]string, 0, len(d.Fields))
	for name := range d.Fields {
		names = append(names, name)
	}
	return k.OpenFields(service, d, names...)
}

// OpenFields is OpenToken for some fields. A name that the document does not have
// is absent from the answer.
func (k *Keys) OpenFields(service string, d Document, names ...string) (map[string]string, error) {
	p, err := k.Prepare(service, d)
	if err != nil {
		return nil, err
	}
	return p.Open(names...)
}

// openPlain opens a field of version 1 with this webhook's key, or with the data key
// of another that the operator gave it.
func (k *Keys) openPlain(sealed []byte) ([]byte, error) {
	for _, aead := range append([]cipher.AEAD{k.data}, k.v1...) {
		if plain, err := aead.Open(nil, nil, sealed, nil); err == nil {
			return plain, nil
		}
	}
	return nil, ErrOpen
}

// decodeField reads standard base64 in its one canonical spelling. The decoder
// itself would skip line ends.
func decodeField(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrDocument
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}
