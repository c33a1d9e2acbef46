package custody

import "crypto/sha256"

// A key is key material on the stack, where work with keys is erased.
type key = [keySize]byte

// derive is HKDF-SHA-256 (RFC 5869) to keySize bytes, which is one block of it. No
// key derives from nothing, which is what a cleared Secret has.
//
// It is here, and not the standard library's, because that one makes some twenty
// allocations a key, each with key material in it that nobody outside can clear;
// erasing them in the runtime cost more than deriving. This one makes none: all that
// it needs is on the stack. (docs/adr/0018.)
func derive(secret, salt []byte, info string) (key, error) {
	if len(secret) == 0 {
		return key{}, errCleared
	}
	var d derivation
	defer d.clear()
	prk := d.mac(salt, append(d.message(), secret...))                     // section 2.2, extract
	out := d.mac(prk[:], append(append(d.message(), info...), firstBlock)) // section 2.3, expand: T(1)
	clear(prk[:])
	return out, nil
}

const firstBlock = 1

// A derivation is the workspace of HMAC-SHA-256 (RFC 2104). Its messages are as short
// as contexts and keys are; longer ones are right, too, but cost an allocation.
type derivation struct{ inner [512]byte }

// message is what mac's message is appended to.
func (d *derivation) message() []byte { return d.inner[:sha256.BlockSize] }

// mac is HMAC-SHA-256 of a message.
func (d *derivation) mac(k, message []byte) key {
	var outer [sha256.BlockSize + sha256.Size]byte
	if len(k) > sha256.BlockSize {
		short := sha256.Sum256(k)
		copy(outer[:], short[:])
	} else {
		copy(outer[:], k)
	}
	for i := range sha256.BlockSize {
		message[i] = outer[i] ^ 0x36
		outer[i] ^= 0x5c
	}
	sum := sha256.Sum256(message)
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])
	clear(outer[:])
	return sum
}

func (d *derivation) clear() { *d = derivation{} }
