package custody

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

const (
	nonceSize   = 12
	tagSize     = 16
	wrappedSize = keySize + 8 // of a key under AES-KW
)

// newGCM is AES-256-GCM. Its key schedule stays on the heap until collected: see
// within.
func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != keySize {
		return nil, errCleared
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal is nonce(12) ‖ AES-256-GCM.
func seal(random io.Reader, key, plain, associated []byte) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, nonceSize, nonceSize+len(plain)+tagSize)
	if _, err := io.ReadFull(random, sealed); err != nil {
		return nil, fmt.Errorf("custody: no randomness: %w", err)
	}
	return aead.Seal(sealed, sealed, plain, associated), nil
}

// open is what seal sealed, or ErrOpen. It is written to room, which roomFor made.
func open(room, key, sealed, associated []byte) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < nonceSize+tagSize {
		return nil, ErrOpen
	}
	plain, err := aead.Open(room, sealed[:nonceSize], sealed[nonceSize:], associated)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// wrap puts a key under another: AES-KW (RFC 3394).
func wrap(kek, key []byte) ([]byte, error) {
	if len(kek) != keySize || len(key) != keySize {
		return nil, errCleared
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	w := takeWork()
	defer w.put()
	w.check, w.key = checkValue, [keySize]byte(key)
	w.wrap(block)
	out := append(make([]byte, 0, wrappedSize), w.check[:]...)
	return append(out, w.key[:]...), nil
}

// unwrap is the key that wrap wrapped, or ErrOpen: AES-KW checks itself. The
// caller clears it.
func unwrap(kek, wrapped []byte) (key, error) {
	if len(kek) != keySize {
		return key{}, errCleared
	}
	if len(wrapped) != wrappedSize {
		return key{}, ErrOpen
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return key{}, err
	}
	w := takeWork()
	defer w.put()
	w.check, w.key = [8]byte(wrapped), key(wrapped[8:])
	w.unwrap(block)
	if subtle.ConstantTimeCompare(w.check[:], checkValue[:]) != 1 {
		return key{}, ErrOpen
	}
	return w.key, nil
}

// A work is the state of AES-KW (RFC 3394 section 2.2) for a key of 32 bytes: its A
// is check, its R[1] to R[4] are key. It is here, and not a library's, because a
// library leaves each of its 24 steps on the heap, where nobody outside can clear
// it; erasing that in the runtime cost more than all other work with keys of a
// release. (docs/adr/0018.)
type work struct {
	check [8]byte
	key   key
	block [aes.BlockSize]byte
}

// checkValue is the initial value of section 2.2.3.1.
var checkValue = [8]byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}

const (
	wrapRounds = 6
	halves     = keySize / 8
)

// wrap is section 2.2.1, with indices.
func (w *work) wrap(kek cipher.Block) {
	for step := range uint64(wrapRounds * halves) {
		half := w.key[step%halves*8:][:8]
		copy(w.block[:8], w.check[:])
		copy(w.block[8:], half)
		kek.Encrypt(w.block[:], w.block[:])
		binary.BigEndian.PutUint64(w.check[:], binary.BigEndian.Uint64(w.block[:8])^(step+1))
		copy(half, w.block[8:])
	}
}

// unwrap is section 2.2.2, with indices.
func (w *work) unwrap(kek cipher.Block) {
	for step := uint64(wrapRounds * halves); step > 0; step-- {
		half := w.key[(step-1)%halves*8:][:8]
		binary.BigEndian.PutUint64(w.block[:8], binary.BigEndian.Uint64(w.check[:])^step)
		copy(w.block[8:], half)
		kek.Decrypt(w.block[:], w.block[:])
		copy(w.check[:], w.block[:8])
		copy(half, w.block[8:])
	}
}

// works are used again: a block cipher's argument cannot be on the stack.
var works = sync.Pool{New: func() any { return new(work) }}

func takeWork() *work {
	w, _ := works.Get().(*work)
	return w
}

// put clears the work, too.
func (w *work) put() {
	*w = work{}
	works.Put(w)
}

// roomFor is room for what open opens. It is made outside work with keys, because it
// outlives that.
func roomFor(sealed []byte) []byte { return make([]byte, 0, max(0, len(sealed)-nonceSize-tagSize)) }
