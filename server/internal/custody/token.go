package custody

import (
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// Layout of a token's payload: kid(1) ‖ salt(16) ‖ nonce(12) ‖ sealed, where
// sealed holds version(1) ‖ account(16) ‖ grant(16) ‖ slot(4) ‖ issued(8) ‖
// expires(8) ‖ secret(32), integers big-endian, and a tag of 16 bytes.
const (
	tokenVersion = 1
	saltSize     = 16
	plainSize    = 1 + 16 + 16 + 4 + 8 + 8 + keySize
	payloadSize  = 1 + saltSize + nonceSize + plainSize + tagSize
	tokenLabel   = "tokenvault/token/v1"
)

// Claims is what a token says. Opening a token authenticates nobody: who
// stole the server key can seal one. It counts only when Unlock succeeds on the
// row of its grant and slot.
type Claims struct {
	Kind      models.GrantKind
	AccountID uuid.UUID
	GrantID   uuid.UUID
	Slot      uint32
	IssuedAt  time.Time // whole seconds
	ExpiresAt time.Time // whole seconds; zero: never
	Secret    Secret

	// What opened the text. A function, as in Secret: its key opens the token again.
	cipher func() cipher.AEAD
}

// SealToken makes the text of a token under the current key, whose id it
// returns too, from claims whose Secret it draws from random.
func (k *Keyring) SealToken(random io.Reader, c *Claims) (text string, keyID int, err error) {
	secret := blankSecret()
	within(func() { text, keyID, err = k.sealToken(random, c, secret) })
	return text, keyID, err
}

func (k *Keyring) sealToken(random io.Reader, c *Claims, secret Secret) (text string, keyID int, err error) {
	kind := tokenKindOf(func(k *tokenKind) bool { return k.kind == c.Kind })
	if kind == nil {
		return "", 0, fmt.Errorf("custody: grants of kind %q have no tokens", c.Kind)
	}
	name := kind.prefix
	payload := make([]byte, 1+saltSize+nonceSize, payloadSize)
	if _, err := io.ReadFull(random, payload[1:]); err != nil {
		return "", 0, fmt.Errorf("custody: no randomness: %w", err)
	}
	if err = secret.draw(random); err != nil {
		return "", 0, err
	}
	c.Secret = secret
	payload[0] = byte(k.current)
	salt, nonce := payload[1:1+saltSize], payload[1+saltSize:]

	plain := make([]byte, 0, plainSize)
	defer func() { clear(plain[:plainSize]) }()
	plain = append(plain, tokenVersion)
	plain = append(plain, c.AccountID[:]...)
	plain = append(plain, c.GrantID[:]...)
	plain = binary.BigEndian.AppendUint32(plain, c.Slot)
	plain = binary.BigEndian.AppendUint64(plain, unix(c.IssuedAt))
	plain = binary.BigEndian.AppendUint64(plain, unix(c.ExpiresAt))
	plain = append(plain, c.Secret.bytes()...)

	aead, err := k.tokenCipher(k.current, salt)
	if err != nil {
		return "", 0, err
	}
	payload = aead.Seal(payload, nonce, plain, tokenContext(name, payload[0], salt))
	return name + "_" + base64.RawURLEncoding.EncodeToString(payload), k.current, nil
}

// strictBase64 is made once: each Strict copies the whole encoding.
var strictBase64 = base64.RawURLEncoding.Strict()

// OpenToken reads a token's text. Every failure is ErrToken.
func (k *Keyring) OpenToken(text string) (Claims, error) { return k.openToken(text, nil) }

// openToken takes the cipher of this very token where that is remembered.
func (k *Keyring) openToken(text string, own func() cipher.AEAD) (c Claims, err error) {
	name, encoded, ok := strings.Cut(text, "_")
	kind := tokenKindOf(func(k *tokenKind) bool { return k.prefix == name })
	if !ok || kind == nil || len(encoded) != base64.RawURLEncoding.EncodedLen(payloadSize) {
		return Claims{}, ErrToken
	}
	payload, err := strictBase64.DecodeString(encoded)
	if err != nil || len(payload) != payloadSize { // DecodeString passes over line breaks
		return Claims{}, ErrToken
	}
	salt := payload[1 : 1+saltSize]
	if own == nil {
		// What derives from a server key alone is no secret from who has the memory.
		aead, err := k.tokenCipher(int(payload[0]), salt)
		if err != nil {
			return Claims{}, ErrToken
		}
		own = func() cipher.AEAD { return aead }
	}
	context, secret := tokenContext(name, payload[0], salt), blankSecret()
	within(func() { c, err = openPayload(kind.kind, own(), payload, context, secret) })
	if err != nil {
		return Claims{}, err
	}
	c.cipher = own
	return c, nil
}

// openPayload opens a payload in place, and clears it.
func openPayload(kind models.GrantKind, aead cipher.AEAD, payload, context []byte, secret Secret) (Claims, error) {
	nonce, sealed := payload[1+saltSize:1+saltSize+nonceSize], payload[1+saltSize+nonceSize:]
	plain, err := aead.Open(sealed[:0], nonce, sealed, context)
	if err != nil || len(plain) != plainSize {
		return Claims{}, ErrToken
	}
	defer clear(plain)
	if plain[0] != tokenVersion {
		return Claims{}, ErrToken
	}
	own := key(plain[53:])
	secret.fill(&own)
	return Claims{
		Kind:      kind,
		AccountID: uuid.UUID(plain[1:17]),
		GrantID:   uuid.UUID(plain[17:33]),
		Slot:      binary.BigEndian.Uint32(plain[33:37]),
		IssuedAt:  fromUnix(binary.BigEndian.Uint64(plain[37:45])),
		ExpiresAt: fromUnix(binary.BigEndian.Uint64(plain[45:53])),
		Secret:    secret,
	}, nil
}

// tokenCipher is the cipher of one token.
func (k *Keyring) tokenCipher(id int, salt []byte) (cipher.AEAD, error) {
	server, err := k.key(id)
	if err != nil {
		return nil, err
	}
	own, err := derive(server.master, salt, tokenLabel)
	if err != nil {
		return nil, err
	}
	defer clear(own[:])
	return newGCM(own[:])
}

func tokenContext(name string, keyID byte, salt []byte) []byte {
	return encode(tokenLabel, []byte(name), []byte{keyID}, salt)
}

func unix(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.Unix()) // #nosec G115 -- after 1970
}

func fromUnix(s uint64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC() // #nosec G115 -- sealed by us
}
