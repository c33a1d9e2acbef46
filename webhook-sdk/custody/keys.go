package custody

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	rootSize     = 32
	minSeedSize  = 32 // bytes of text
	minSeedBytes = 8  // different bytes in it: what is below was typed, not drawn
)

// KEMName names the key encapsulation of SealKey: the hybrid of ML-KEM-768 and
// X25519 that crypto/hpke implements.
const KEMName = wire.KEMHybrid

// Labels of the keys that come from the root. A label changes its version when
// its meaning changes.
const (
	labelSeed = "tokenvault/webhook/v1/root-of-seed"
	labelData = "tokenvault/webhook/v1/token-data"
	labelBlob = "tokenvault/webhook/v1/blob-data"
	labelSeal = "tokenvault/webhook/v1/seal-key"
	labelSign = "tokenvault/webhook/v1/sign-key"
	labelID   = "tokenvault/webhook/v1/webhook-id"
)

// Keys are the keys of one webhook. They print as "[redacted]" in every format and
// refuse to be marshalled. Use LoadOrCreate or Derive; the zero Keys opens and
// seals nothing. Safe for concurrent use.
type Keys struct {
	data   cipher.AEAD   // seals and opens fields of token documents
	v1     []cipher.AEAD // open documents of version 1 that came from another webhook
	blob   cipher.AEAD
	seal   hpke.PrivateKey
	sign   ed25519.PrivateKey
	id     string
	sealID string
}

// Derive makes the keys from a seed (TV_WEBHOOK_SEED): the same seed gives the same
// keys on every machine, and who has it opens everything. White space around it
// does not count. It must be drawn at random, as by `openssl rand -base64 32`: it is
// not stretched like a password, so one that is shorter than 32 bytes or repeats a
// few characters is refused with ErrSeed.
func Derive(seed []byte) (*Keys, error) {
	seed = bytes.TrimSpace(seed)
	if len(seed) < minSeedSize {
		return nil, fmt.Errorf("%w: it has %d bytes and needs at least %d; make one with: openssl rand -base64 32",
			ErrSeed, len(seed), minSeedSize)
	}
	var seen [256]bool
	different := 0
	for _, b := range seed {
		if !seen[b] {
			seen[b] = true
			different++
		}
	}
	if different < minSeedBytes {
		return nil, fmt.Errorf("%w: it repeats %d characters and was not drawn at random; make one with: openssl rand -base64 32",
			ErrSeed, different)
	}
	root, err := hkdf.Key(sha256.New, seed, nil, labelSeed, rootSize)
	if err != nil {
		return nil, fmt.Errorf("custody: deriving from the seed: %w", err)
	}
	defer clear(root)
	return newKeys(root, nil)
}

// newKeys derives every key from the root. v1Keys are data keys of other webhooks
// whose documents of version 1 are to be read.
func newKeys(root []byte, v1Keys [][]byte) (*Keys, error) {
	k := &Keys{}
	var err error
	if k.data, err = subAEAD(root, labelData); err != nil {
		return nil, err
	}
	if k.blob, err = subAEAD(root, labelBlob); err != nil {
		return nil, err
	}
	for _, key := range v1Keys {
		aead, err := newAEAD(key)
		if err != nil {
			return nil, err
		}
		k.v1 = append(k.v1, aead)
	}
	if err := k.deriveSeal(root); err != nil {
		return nil, err
	}
	seed, err := subkey(root, labelSign, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	k.sign = ed25519.NewKeyFromSeed(seed)
	id, err := subkey(root, labelID, 16)
	if err != nil {
		return nil, err
	}
	k.id = "wh_" + hex.EncodeToString(id)
	return k, nil
}

func (k *Keys) deriveSeal(root []byte) error {
	ikm, err := subkey(root, labelSeal, rootSize)
	if err != nil {
		return err
	}
	defer clear(ikm)
	if k.seal, err = hpke.MLKEM768X25519().DeriveKeyPair(ikm); err != nil {
		return fmt.Errorf("custody: deriving the seal key: %w", err)
	}
	sum := sha256.Sum256(k.seal.PublicKey().Bytes())
	k.sealID = hex.EncodeToString(sum[:8])
	return nil
}

func subkey(root []byte, label string, size int) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, root, nil, label, size)
	if err != nil {
		return nil, fmt.Errorf("custody: deriving a key: %w", err)
	}
	return key, nil
}

func subAEAD(root []byte, label string) (cipher.AEAD, error) {
	key, err := subkey(root, label, 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newAEAD(key)
}

// newAEAD is AES-256-GCM with random nonces: it seals to nonce(12) ‖ ciphertext ‖
// tag(16) and takes the same to open.
func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("custody: a key does not fit AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("custody: AES-GCM: %w", err)
	}
	return aead, nil
}

// SealKey is the HPKE public key to which TV seals what waits for this webhook
// (protocol.md: outbox). Its id is 16 hex digits of the key's SHA-256.
func (k *Keys) SealKey() *wire.SealKey {
	return &wire.SealKey{
		ID:  k.sealID,
		KEM: KEMName,
		Key: base64.StdEncoding.EncodeToString(k.seal.PublicKey().Bytes()),
	}
}

// SignKey is the webhook's Ed25519 public key, standard base64. TV pins it when the
// webhook is bound.
func (k *Keys) SignKey() string {
	// RFC 8032 as crypto/ed25519 has it: a private key is the seed and the public key.
	return base64.StdEncoding.EncodeToString(k.sign[ed25519.SeedSize:])
}

// WebhookID names this webhook: it comes from the root, so it stays when the data
// folder is restored and changes when the keys do.
func (k *Keys) WebhookID() string { return k.id }

const redacted = "[redacted]"

// errMarshal is returned by every attempt to marshal Keys.
var errMarshal = fmt.Errorf("custody: keys are not marshalled")

func (Keys) String() string               { return redacted }
func (Keys) GoString() string             { return redacted }
func (Keys) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (Keys) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Keys) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (Keys) MarshalText() ([]byte, error) { return nil, errMarshal }
func (Keys) MarshalBinary() ([]byte, error) {
	return nil, errMarshal
}
