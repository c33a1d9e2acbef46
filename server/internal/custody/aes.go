package custody

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"

	josecipher "github.com/go-jose/go-jose/v4/cipher"
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

// open is what seal sealed, or ErrOpen.
func open(key, sealed, associated []byte) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < nonceSize+tagSize {
		return nil, ErrOpen
	}
	plain, err := aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], associated)
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
	return josecipher.KeyWrap(block, key)
}

// unwrap is the key that wrap wrapped, or ErrOpen: AES-KW checks itself. The
// caller clears it.
func unwrap(kek, wrapped []byte) ([]byte, error) {
	if len(kek) != keySize {
		return nil, errCleared
	}
	if len(wrapped) != wrappedSize {
		return nil, ErrOpen
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	key, err := josecipher.KeyUnwrap(block, wrapped)
	if err != nil {
		return nil, ErrOpen
	}
	return key, nil
}
