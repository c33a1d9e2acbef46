package credential

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// encodingVersion is of the form that Encode writes: the version (1 byte), then texts,
// each behind its length (4 bytes, big-endian): the type, the other metadata as a JSON
// object, and for each secret field, by name, name and value. Decode reads it for
// ever. It is not JSON as a whole because it is read at every release, and most of
// it is one long secret.
const encodingVersion = 1

// ErrEncoding is what Decode answers to what Encode has not written, or a newer
// program has. Whoever opened it from a ciphertext turns it into an error of its own.
var ErrEncoding = errors.New("credential: not an encoded credential that this program can read")

// Encode is the whole credential as one text, to be sealed: nothing of what says
// where the secret may be sent stands outside. It holds the secrets in the clear.
func (c Credential) Encode() ([]byte, error) {
	meta, err := json.Marshal(others(c.Meta))
	if err != nil {
		return nil, errors.New("credential: the metadata has no JSON form") // the cause may quote it
	}
	size := 1 + 4 + len(c.Type) + 4 + len(meta)
	for name, secret := range c.Secrets {
		size += 8 + len(name) + len(secret)
	}
	out := append(make([]byte, 0, size), encodingVersion)
	out = appendText(out, c.Type)
	out = appendText(out, string(meta))
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		out = appendText(out, name)
		out = appendText(out, c.Secrets[name])
	}
	return out, nil
}

// others is metadata without the type, which is encoded by itself, and the name,
// which whoever keeps the credential knows.
func others(meta map[string]any) map[string]any {
	rest := maps.Clone(meta)
	delete(rest, MetaTokenType)
	delete(rest, MetaServiceName)
	if rest == nil {
		rest = map[string]any{}
	}
	return rest
}

func appendText(out []byte, text string) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(text))) // #nosec G115 -- Parse bounds them
	return append(out, text...)
}

// Decode reads what Encode wrote, and nothing else: what it does not know is
// ErrEncoding. The text is not kept.
func Decode(text []byte) (Credential, error) {
	e, err := readEncoded(text)
	if err != nil {
		return Credential{}, err
	}
	c := Credential{Type: string(e.kind), Secrets: make(map[string]string, 2)}
	e.secrets(func(name, secret []byte) { c.Secrets[string(name)] = string(secret) })
	if c.Meta, err = decodeMeta(e.meta); err != nil {
		return Credential{}, err
	}
	c.Meta[MetaTokenType] = c.Type
	return c, nil
}

// An encoded credential is what Encode wrote, checked and cut up, but for its
// metadata, which is as it stands. It shares the text's memory, so that secrets are
// copied to where they go and nowhere else.
type encoded struct{ kind, meta, fields []byte }

func readEncoded(text []byte) (encoded, error) {
	if len(text) == 0 || text[0] != encodingVersion {
		return encoded{}, fmt.Errorf("%w: it is empty, or of another version", ErrEncoding)
	}
	var e encoded
	kind, rest, ok := cutText(text[1:])
	if e.kind = kind; ok {
		e.meta, rest, ok = cutText(rest)
	}
	e.fields = rest
	needed, found := SecretField(string(kind)), false
	for before := []byte(nil); ok && len(rest) > 0; {
		var name, secret []byte
		if name, rest, ok = cutText(rest); ok {
			secret, rest, ok = cutText(rest)
		}
		ok = ok && bytes.Compare(name, before) > 0 // in order, hence each once
		before = name
		found = found || string(name) == needed && len(secret) > 0
	}
	switch {
	case !ok:
		return encoded{}, fmt.Errorf("%w: it breaks off, or its fields are out of order", ErrEncoding)
	case needed == "":
		return encoded{}, fmt.Errorf("%w: its type is unknown", ErrEncoding)
	case !found:
		return encoded{}, fmt.Errorf("%w: it has no secret", ErrEncoding)
	}
	return e, nil
}

// secrets visits the secret fields by name.
func (e encoded) secrets(visit func(name, secret []byte)) {
	for rest := e.fields; len(rest) > 0; {
		var name, secret []byte
		name, rest, _ = cutText(rest)
		secret, rest, _ = cutText(rest)
		visit(name, secret)
	}
}

// cutText takes a text from behind its length.
func cutText(from []byte) (text, rest []byte, ok bool) {
	if len(from) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(from)
	if uint64(n) > uint64(len(from)-4) {
		return nil, nil, false
	}
	return from[4 : 4+n], from[4+n:], true
}

// decodeMeta reads a JSON object, whose numbers stay as they are written.
func decodeMeta(text []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var meta map[string]any
	if err := d.Decode(&meta); err != nil || meta == nil {
		return nil, fmt.Errorf("%w: its metadata is no object", ErrEncoding) // the decoder's error may quote the text
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows its metadata", ErrEncoding)
	}
	return meta, nil
}
