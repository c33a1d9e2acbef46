package main_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	josecipher "github.com/go-jose/go-jose/v4/cipher"
	"github.com/google/uuid"
)

// A bearer is what the holder of a token can compute with the server key and a
// copy of the database, written here a second time so that the product's own code
// need not be trusted to say which bytes are its keys.
type bearer struct {
	account, grant uuid.UUID
	slot           uint32
	secret         []byte
	label          string
}

// openToken opens tier 1 of a token: kid(1), salt(16), nonce(12), sealed.
func openToken(t *testing.T, serverKey []byte, text string) bearer {
	t.Helper()
	prefix, encoded, _ := strings.Cut(text, "_")
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	salt, nonce, sealed := payload[1:17], payload[17:29], payload[29:]
	key := expand(t, serverKey, salt, "tokenvault/token/v1")
	aead, err := cipher.NewGCM(aesOf(t, key))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, nonce, sealed, contextOf("tokenvault/token/v1", []byte(prefix), payload[:1], salt))
	if err != nil {
		t.Fatal(err)
	}
	return bearer{
		account: uuid.UUID(plain[1:17]), grant: uuid.UUID(plain[17:33]), slot: binary.BigEndian.Uint32(plain[33:37]), secret: plain[53:],
		label: map[string]string{"tcs": "tokenvault/kek/v1/session", "tck": "tokenvault/kek/v1/api-key", "tvagent": "tokenvault/kek/v1/agent-key"}[prefix],
	}
}

// kek is a key-encryption key of the bearer's slot.
func (b bearer) kek(t *testing.T, use string, salt ...[]byte) []byte {
	t.Helper()
	slot := binary.BigEndian.AppendUint32(nil, b.slot)
	return expand(t, b.secret, contextOf("", append([][]byte{b.grant[:], slot}, salt...)...), b.label+use)
}

func expand(t *testing.T, secret, salt []byte, info string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, secret, salt, info, 32)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// contextOf is the encoding of contexts: label, then each field behind its length.
func contextOf(label string, fields ...[]byte) []byte {
	out := []byte(label)
	for _, field := range fields {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(field))), field...) // #nosec G115 -- short
	}
	return out
}

func number(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) } // #nosec G115 -- an encoding

func aesOf(t *testing.T, key []byte) cipher.Block {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return block
}

func unwrapKey(t *testing.T, kek, wrapped []byte) []byte {
	t.Helper()
	key, err := josecipher.KeyUnwrap(aesOf(t, kek), wrapped)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
