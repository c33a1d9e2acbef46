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
// one session (grant) of one account. ErrTooLong when no cookie could hold it.
//
// It is under the server's key, not a session's: it protects a flow of some minutes
// from its own browser, and opens no credential.
func (k *Keyring) SealConnectState(random io.Reader, accountID, grantID uuid.UUID, state []byte) (string, error) {
	return k.sealState(random, connectStateLabel, state, accountID[:], grantID[:])
}

// OpenConnectState opens what SealConnectState sealed. Every failure is ErrOpen: not
// of this session, changed, under a key that is gone, or none at all.
func (k *Keyring) OpenConnectState(accountID, grantID uuid.UUID, text string) ([]byte, error) {
	return k.openState(connectStateLabel, text, accountID[:], grantID[:])
}

// sealState seals what a browser keeps for some minutes: base64url of kid(1) ‖
// salt(16) ‖ nonce(12) ‖ AES-256-GCM under HKDF(server key, salt), bound to a label and
// to whom it is for. A key for each state, so that random nonces never run out.
func (k *Keyring) sealState(random io.Reader, label string, state []byte, whose ...[]byte) (string, error) {
	if base64.RawURLEncoding.EncodedLen(1+saltSize+nonceSize+len(state)+tagSize) > maxConnectState {
		return "", ErrTooLong
	}
	sealed := make([]byte, 1+saltSize)
	sealed[0] = byte(k.current)
	if _, err := io.ReadFull(random, sealed[1:]); err != nil {
		return "", fmt.Errorf("custody: no randomness: %w", err)
	}
	own, err := k.stateKey(label, sealed)
	if err != nil {
		return "", err
	}
	defer clear(own[:])
	text, err := seal(random, own[:], state, stateContext(label, sealed, whose))
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(slices.Concat(sealed, text)), nil
}

func (k *Keyring) openState(label, text string, whose ...[]byte) ([]byte, error) {
	if len(text) > maxConnectState {
		return nil, ErrOpen
	}
	payload, err := strictBase64.DecodeString(text)
	if err != nil || len(payload) < 1+saltSize || base64.RawURLEncoding.EncodeToString(payload) != text { // it passes over line breaks
		return nil, ErrOpen
	}
	head, sealed := payload[:1+saltSize], payload[1+saltSize:]
	own, err := k.stateKey(label, head)
	if err != nil {
		return nil, ErrOpen
	}
	defer clear(own[:])
	return open(nil, own[:], sealed, stateContext(label, head, whose))
}

// stateKey derives the key of one state from its head: kid(1) ‖ salt(16).
func (k *Keyring) stateKey(label string, head []byte) (key, error) {
	server, err := k.key(int(head[0]))
	if err != nil {
		return key{}, err
	}
	return derive(server.master, head[1:], label)
}

func stateContext(label string, head []byte, whose [][]byte) []byte {
	return encode(label, append([][]byte{head}, whose...)...)
}
