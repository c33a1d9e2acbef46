// Package custody is how a webhook keeps its keys, and the documents in which it
// stores credentials, at rest.
//
// One 32-byte root, read from a file of mode 0600 or derived from a seed, gives
// every key by HKDF-SHA-256 under a label of its own: the key of token documents,
// the key of the webhook's own state, the HPKE key to which TV seals, the Ed25519
// key with which the webhook signs, and the webhook's id. Primitives come from the
// standard library; none is written here.
//
// What is stored opens only in its place: a field of a token document (version 2)
// is bound to its service, its field name, its creation and its metadata, so that
// neither a ciphertext nor the rules that steer it can be exchanged by who can
// write to the storage. What this does not stop is putting back a whole older
// document of the same creation, or deleting one.
//
// The package knows nothing of HTTP, tickets or where documents are stored. All
// methods may be called concurrently.
package custody

import (
	"encoding/binary"
	"errors"
)

// Errors of this package; test with errors.Is. None of them, nor their texts, ever
// holds key or credential material.
var (
	// ErrKeyFile: the key file cannot be used as it is; the text says what to do. The
	// command that starts a webhook shows it to the operator and stops.
	ErrKeyFile = errors.New("custody: the key file cannot be used")
	// ErrSeed: the seed is too weak to derive keys from.
	ErrSeed = errors.New("custody: the seed cannot be used")
	// ErrDocument: what should be a token document is not one, or is of a version
	// that this program does not know.
	ErrDocument = errors.New("custody: not a token document")
	// ErrOpen: a ciphertext does not open: another key, another place, or altered.
	ErrOpen = errors.New("custody: does not open (another key, another place, or altered)")
)

// context encodes a label and fields so that no two lists of fields give the same
// bytes: the label, then for each field its length (4 bytes, big-endian) and its
// bytes. Labels hold no zero byte and fields are far shorter than 2^24, so that
// no label with its fields can be read as another label.
func context(label string, fields ...string) []byte {
	size := len(label)
	for _, f := range fields {
		size += 4 + len(f)
	}
	out := make([]byte, 0, size)
	out = append(out, label...)
	for _, f := range fields {
		out = binary.BigEndian.AppendUint32(out, uint32(len(f)))
		out = append(out, f...)
	}
	return out
}
