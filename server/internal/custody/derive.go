package custody

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// A derivation is the workspace of HKDF-SHA-256 (RFC 5869) over HMAC (RFC 2104). It
// is here, and not the standard library's, because that one makes some twenty
// allocations a key, each with key material in it that nobody outside can clear;
// erasing them in the runtime cost more than deriving. (docs/adr/0018.)
type derivation struct {
	pad   [sha256.BlockSize]byte
	inner [sha256.Size]byte
	prk   [sha256.Size]byte
	out   [sha256.Size]byte
	first [1]byte
}

// derive is HKDF-SHA-256 to keySize bytes, which is one block of it. No key derives
// from nothing, which is what a cleared Secret has.
func derive(secret, salt []byte, info string) ([]byte, error) {
	if len(secret) == 0 {
		return nil, errCleared
	}
	d, h := &derivation{first: [1]byte{1}}, sha256.New()
	defer func() {
		*d = derivation{}
		h.Reset()
	}()
	d.mac(h, &d.prk, salt, secret)                       // section 2.2, extract
	d.mac(h, &d.out, d.prk[:], []byte(info), d.first[:]) // section 2.3, expand: T(1)
	return bytes.Clone(d.out[:]), nil
}

// mac is HMAC-SHA-256 of the parts, one after the other.
func (d *derivation) mac(h hash.Hash, out *[sha256.Size]byte, key []byte, parts ...[]byte) {
	if len(key) > len(d.pad) {
		h.Reset()
		h.Write(key)
		key = h.Sum(d.inner[:0])
	}
	clear(d.pad[:])
	copy(d.pad[:], key)
	for i := range d.pad {
		d.pad[i] ^= 0x36
	}
	h.Reset()
	h.Write(d.pad[:])
	for _, part := range parts {
		h.Write(part)
	}
	h.Sum(d.inner[:0])
	for i := range d.pad {
		d.pad[i] ^= 0x36 ^ 0x5c
	}
	h.Reset()
	h.Write(d.pad[:])
	h.Write(d.inner[:])
	h.Sum(out[:0])
}
