package webhook

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	maxCodes      = 64             // that are remembered, used and ended ones included
	codeMemory    = 24 * time.Hour // how long "used" is told from "expired"
	codeBytes     = 24             // of randomness in a code
	setupBytes    = 24             // in a set-up link
	setupSession  = time.Hour      // how long a browser that opened a set-up link may go on
	maxCodeLength = 256            // of what is looked up
)

// codeState says what became of a registration code.
type codeState string

const (
	codeOpen  codeState = "open"
	codeUsed  codeState = "used"
	codeEnded codeState = "ended" // another code was exchanged, or the set-up closed
)

// A bindCode is a registration code with the secret that it stands for. The code
// itself is not kept, only its hash; the secret goes when the code does.
type bindCode struct {
	Hash    [32]byte
	Secret  wire.Secret
	Origin  string
	Expires time.Time
	State   codeState
}

type storedCode struct {
	Hash    []byte    `json:"hash"`
	Secret  []byte    `json:"secret,omitempty"`
	Origin  string    `json:"origin,omitempty"`
	Expires time.Time `json:"expires"`
	State   codeState `json:"state"`
}

// MarshalJSON writes the secret out: the result is for sealing.
func (c bindCode) MarshalJSON() ([]byte, error) {
	s := storedCode{Hash: c.Hash[:], Origin: c.Origin, Expires: c.Expires, State: c.State}
	if !c.Secret.IsZero() {
		s.Secret = c.Secret.Bytes()
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *bindCode) UnmarshalJSON(text []byte) error {
	var s storedCode
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	*c = bindCode{Origin: s.Origin, Expires: s.Expires, State: s.State}
	copy(c.Hash[:], s.Hash)
	if len(s.Secret) == 0 {
		return nil
	}
	var err error
	c.Secret, err = wire.NewSecret(s.Secret)
	return err
}

// newCode makes a registration code for the TV at origin, with a secret of its own.
// Of too many codes the oldest goes, so that an operator always gets one.
func (b *bindings) newCode(ctx context.Context, now time.Time, origin string) (code, fingerprint string, err error) {
	secret, err := wire.GenerateSecret(b.random)
	if err != nil {
		return "", "", err
	}
	if code, err = randomText(b.random, codeBytes); err != nil {
		return "", "", err
	}
	err = b.change(ctx, func(s *bindingState) error {
		s.forgetCodes(now)
		if len(s.Codes) >= maxCodes {
			s.Codes = s.Codes[len(s.Codes)-maxCodes+1:]
		}
		s.Codes = append(s.Codes, bindCode{
			Hash: hashOf(code), Secret: secret, Origin: origin, Expires: now.Add(wire.BindCodeLife), State: codeOpen,
		})
		return nil
	})
	if err != nil {
		return "", "", err
	}
	return code, secret.Hash(), nil
}

// exchange redeems a code, once: its secret counts from now on, beside the one in
// use, and all other codes end.
func (b *bindings) exchange(ctx context.Context, now time.Time, code string) (wire.Secret, error) {
	var secret wire.Secret
	hash := hashOf(code)
	err := b.change(ctx, func(s *bindingState) error {
		found := s.findCode(hash)
		switch {
		case found != nil && found.State == codeUsed:
			return refuse(wire.CodeCodeUsed, "this registration code was used before; open the webhook's /bind page for a new one")
		case found == nil || found.State != codeOpen || !now.Before(found.Expires):
			return refuse(wire.CodeCodeExpired, "this registration code is unknown or has expired; open the webhook's /bind page for a new one")
		}
		secret = found.Secret
		s.Candidate = &binding{Secret: secret, Origin: found.Origin}
		found.State, found.Secret = codeUsed, wire.Secret{}
		s.endCodes(found)
		return nil
	})
	return secret, err
}

// findCode compares with every code, so that the time says nothing about which.
func (s *bindingState) findCode(hash [32]byte) *bindCode {
	var found *bindCode
	for i := range s.Codes {
		if subtle.ConstantTimeCompare(s.Codes[i].Hash[:], hash[:]) == 1 {
			found = &s.Codes[i]
		}
	}
	return found
}

// endCodes ends every open code but one.
func (s *bindingState) endCodes(except *bindCode) {
	for i := range s.Codes {
		if c := &s.Codes[i]; c != except && c.State == codeOpen {
			c.State, c.Secret = codeEnded, wire.Secret{}
		}
	}
}

// forgetCodes drops the secrets of expired codes, and codes that ended long ago.
func (s *bindingState) forgetCodes(now time.Time) {
	kept := s.Codes[:0]
	for _, c := range s.Codes {
		if !now.Before(c.Expires.Add(codeMemory)) {
			continue
		}
		if !now.Before(c.Expires) {
			c.Secret = wire.Secret{}
		}
		kept = append(kept, c)
	}
	s.Codes = kept
}

// setupState is the one-time link of the first binding: first the link's hash, and
// once it was opened, that of the browser which did.
type setupState struct {
	Link    []byte    `json:"link,omitempty"`
	Browser []byte    `json:"browser,omitempty"`
	Until   time.Time `json:"until,omitzero"` // of Browser
}

// newSetup replaces the set-up link by a new one, and returns the secret in it.
func (b *bindings) newSetup(ctx context.Context) (string, error) {
	text, err := randomText(b.random, setupBytes)
	if err != nil {
		return "", err
	}
	return text, b.change(ctx, func(s *bindingState) error {
		if s.Current != nil {
			return ErrBound
		}
		hash := hashOf(text)
		s.Setup = setupState{Link: hash[:]}
		return nil
	})
}

// openSetup uses the set-up link up, and returns what the browser that opened it
// shows from now on.
func (b *bindings) openSetup(ctx context.Context, now time.Time, link string) (string, error) {
	browser, err := randomText(b.random, setupBytes)
	if err != nil {
		return "", err
	}
	return browser, b.change(ctx, func(s *bindingState) error {
		if s.Current != nil || !sameHash(s.Setup.Link, link) {
			return refuse(wire.CodeForbidden, "this set-up link was used before or is not the latest; "+
				"restart the webhook for a new one, or set TV_WEBHOOK_ADMIN_SECRET")
		}
		hash := hashOf(browser)
		s.Setup = setupState{Browser: hash[:], Until: now.Add(setupSession)}
		return nil
	})
}

// setupOpen reports whether a browser is the one that opened the set-up link.
func (b *bindings) setupOpen(now time.Time, browser string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state.Current == nil && now.Before(b.state.Setup.Until) && sameHash(b.state.Setup.Browser, browser)
}

func sameHash(hash []byte, text string) bool {
	given := hashOf(text)
	return len(hash) == len(given) && text != "" && subtle.ConstantTimeCompare(hash, given[:]) == 1
}

// randomText is n random bytes in base64url.
func randomText(random io.Reader, n int) (string, error) {
	raw := make([]byte, n)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}
