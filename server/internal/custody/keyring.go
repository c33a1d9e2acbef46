package custody

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

const redacted = "[redacted]"

// A Keyring holds the server's keys by id, 0–255. The first encrypts, all
// decrypt. It prints as "[redacted]" and refuses to be marshalled.
type Keyring struct {
	current int
	keys    func() map[int]*serverKey // a function: see Secret
}

// A serverKey is one key with what is derived from it for all its uses.
type serverKey struct {
	master   []byte // tokens derive a key each from it
	rows     authenticators
	seal     []byte // binding secrets
	audit    []byte // Ed25519 seed of checkpoints
	password []byte // HMAC key of passwords, before they are hashed
}

// ParseKeyring reads "id:base64,id:base64,…": ids 0–255, keys of 32 bytes in
// standard base64, the first current. Errors name the entry, never a key.
func ParseKeyring(text string) (*Keyring, error) {
	keys := map[int]*serverKey{}
	ring := &Keyring{keys: func() map[int]*serverKey { return keys }}
	for i, entry := range strings.Split(strings.TrimSpace(text), ",") {
		idText, keyText, ok := strings.Cut(strings.TrimSpace(entry), ":")
		id, err := strconv.Atoi(idText)
		if !ok || err != nil || id < 0 || id > 255 || idText != strconv.Itoa(id) {
			return nil, fmt.Errorf("server key %d of the list: want id:base64 with an id of 0–255", i+1)
		}
		key, err := base64.StdEncoding.Strict().DecodeString(keyText)
		if err != nil || len(key) != keySize || base64.StdEncoding.EncodeToString(key) != keyText { // it passes over line breaks
			return nil, fmt.Errorf("server key %d of the list (id %d): want %d bytes in standard base64 (make one with: openssl rand -base64 32)", i+1, id, keySize)
		}
		if _, twice := keys[id]; twice {
			return nil, fmt.Errorf("server key %d of the list: id %d stands twice", i+1, id)
		}
		if keys[id], err = expand(key); err != nil {
			return nil, err
		}
		if i == 0 {
			ring.current = id
		}
	}
	return ring, nil
}

func expand(master []byte) (*serverKey, error) {
	k := &serverKey{master: master}
	for label, to := range map[string]*[]byte{
		"tokenvault/row/v1": &k.rows.key, webhookSecretLabel: &k.seal, "tokenvault/audit-checkpoint/v1": &k.audit, passwordLabel: &k.password,
	} {
		own, err := derive(master, nil, label)
		if err != nil {
			return nil, err
		}
		*to = own[:]
	}
	return k, nil
}

// GenerateKeyring makes the text of a keyring with one new key, id 0, for a
// 0600 file. random is crypto/rand.Reader but in tests.
func GenerateKeyring(random io.Reader) (string, error) {
	key := make([]byte, keySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return "", fmt.Errorf("custody: no randomness: %w", err)
	}
	return "0:" + base64.StdEncoding.EncodeToString(key), nil
}

// Current is the id of the key that encrypts.
func (k *Keyring) Current() int { return k.current }

// IDs lists the ids of all keys, ascending.
func (k *Keyring) IDs() []int {
	keys := k.keys()
	ids := make([]int, 0, len(keys))
	for id := range keys {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// now is the current key, which every ring has.
func (k *Keyring) now() *serverKey { return k.keys()[k.current] }

func (k *Keyring) key(id int) (*serverKey, error) {
	key, ok := k.keys()[id]
	if !ok {
		return nil, fmt.Errorf("%w: %d", ErrKeyID, id)
	}
	return key, nil
}

func (Keyring) String() string               { return redacted }
func (Keyring) GoString() string             { return redacted }
func (Keyring) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (Keyring) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Keyring) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (Keyring) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalBinary keeps encoding/gob out as well.
func (Keyring) MarshalBinary() ([]byte, error) { return nil, errMarshal }
