package connect

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// A flow is a connection under way, as its browser keeps it, sealed. Account and
// session are what it is sealed for.
type flow struct {
	ID       uuid.UUID    `json:"id"` // by which it counts once
	State    string       `json:"st"` // what the provider repeats
	Verifier string       `json:"pv"` // PKCE; a secret
	Nonce    string       `json:"no"` // what an ID token repeats (OpenID Connect Core section 3.1.2.1)
	Expires  int64        `json:"ex"` // Unix seconds
	Provider string       `json:"pr"`
	Ref      platform.Ref `json:"re"`
	Binding  uuid.UUID    `json:"bi"` // of the webhook that gets the token; zero: the session's vault does
	Replaces string       `json:"cr"` // creation that the token takes the place of; empty: the name is free
	Subject  string       `json:"su"` // of that one
	Scopes   []string     `json:"sc"` // that are asked for
	Return   string       `json:"rt"`
}

// newFlow draws what a flow is known by.
func (s *Service) newFlow() (*flow, error) {
	raw := make([]byte, 2*stateSize)
	if _, err := io.ReadFull(s.deps.Random, raw); err != nil {
		return nil, fmt.Errorf("connect: no randomness: %w", err)
	}
	verifier, err := refresh.NewVerifier(s.deps.Random)
	if err != nil {
		return nil, err
	}
	return &flow{
		ID: models.NewID(), State: base64.RawURLEncoding.EncodeToString(raw[:stateSize]), Nonce: base64.RawURLEncoding.EncodeToString(raw[stateSize:]),
		Verifier: string(verifier), Expires: s.deps.Now().Add(flowTime).Unix(),
	}, nil
}

// seal makes a flow's cookie, for p's session alone.
func (s *Service) seal(p grants.Principal, f *flow) (string, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return "", errors.New("connect: a flow has no JSON form") // the cause may quote it
	}
	defer clear(text)
	sealed, err := s.deps.Keyring.SealConnectState(s.deps.Random, p.AccountID, p.GrantID, text)
	if errors.Is(err, custody.ErrTooLong) {
		return "", fault.Field("scope", "These are more scopes than fit into one connection. Ask for fewer.")
	}
	return sealed, err
}

// open reads a flow's cookie.
func (s *Service) open(p grants.Principal, cookie string) (*flow, error) {
	text, err := s.deps.Keyring.OpenConnectState(p.AccountID, p.GrantID, cookie)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	var f flow
	if json.Unmarshal(text, &f) != nil || f.State == "" || f.Verifier == "" {
		return nil, custody.ErrOpen
	}
	return &f, nil
}

// Format prints nothing: a flow holds its verifier.
func (f *flow) Format(to fmt.State, _ rune) { _, _ = io.WriteString(to, "[redacted]") }

func (f *flow) expired(now time.Time) bool { return now.Unix() >= f.Expires }
