package custody

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"
)

const connectStateLabel = "tokenvault/connect-state/v1"

// maxConnectState is how long a sealed state may be, in characters: browsers keep
// cookies of 4,096 bytes, name and attributes included.
const maxConnectState = 3800

// ErrTooLong is returned for a connect state that fits into no cookie.
var ErrTooLong = errors.New("custody: too long to be kept in a cookie")

// SealConnectState seals what a browser keeps while its owner is at a provider, for
// one session (grant) of one account: base64url of kid(1) ‖ salt(16) ‖ nonce(12) ‖
// AES-256-GCM under HKDF(server key, salt). A key for each state, so that random
// nonces never run out. ErrTooLong when no cookie could hold it.
//
// It is under the server's key, not a session's: it protects a flow of some minutes
// from its own browser, and opens no credential.
func (k *Keyring) SealConnectState(random io.Reader, accountID, grantID uuid.UUID, state []byte) (string, error) {
	if base64.RawURLEncoding.EncodedLen(1+saltSize+nonceSize+len(state)+tagSize) > maxConnectState {
		return "", ErrTooLong
	}
	sealed := make([]byte, 1+saltSize)
	sealed[0] = byte(k.current)
	if _, err := io.ReadFull(random, sealed[1:]); err != nil {
		return "", fmt.Errorf("custody: no randomness: %w", err)
	}
	own, err := k.connectKey(sealed)
	if err != nil {
		return "", err
	}
	defer clear(own[:])
	text, err := seal(random, own[:], state, connectContext(sealed, accountID, grantID))
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(slices.Concat(sealed, text)), nil
}

// OpenConnectState opens what SealConnectState sealed. Every failure is ErrOpen: not
// of this session, changed, under a key that is gone, or none at all.
func (k *Keyring) OpenConnectState(accountID, grantID uuid.UUID, text string) ([]byte, error) {
	if len(text) > maxConnectState {
		return nil, ErrOpen
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(payload) < 1+saltSize || base64.RawURLEncoding.EncodeToString(payload) != text { // it passes over line breaks
		return nil, ErrOpen
	}
	head, sealed := payload[:1+saltSize], payload[1+saltSize:]
	own, err := k.connectKey(head)
	if err != nil {
		return nil, ErrOpen
	}
	defer clear(own[:])
	return open(nil, own[:], sealed, connectContext(head, accountID, grantID))
}

// connectKey derives the key of one state from its head: kid(1) ‖ salt(16).
func (k *Keyring) connectKey(head []byte) (key, error) {
	server, err := k.key(int(head[0]))
	if err != nil {
		return key{}, err
	}
	return derive(server.master, head[1:], connectStateLabel)
}

func connectContext(head []byte, accountID, grantID uuid.UUID) []byte {
	return encode(connectStateLabel, head, accountID[:], grantID[:])
}
