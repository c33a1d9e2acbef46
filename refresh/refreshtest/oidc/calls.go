package oidc

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Fate is what became of an answer of the token endpoint.
type Fate string

// The fates. An answer that the provider handed to the network counts as answered: only the client knows whether it read it.
const (
	Pending   Fate = "pending"   // held, delayed, or on its way
	Answered  Fate = "answered"  // given to the network in full
	Cut       Fate = "cut"       // the connection was cut instead, as Faults or Hold said
	Abandoned Fate = "abandoned" // the client was gone before the answer
)

// Call is one call of the token endpoint, recorded when its work was done, before its answer left.
type Call struct {
	GrantType    string `json:"grantType"`
	ClientID     string `json:"clientId"`     // empty: the client was not authenticated
	RefreshToken string `json:"refreshToken"` // Hash of the refresh token that was presented
	Issued       string `json:"issued"`       // Hash of the refresh token that was issued
	Status       int    `json:"status"`       // of HTTP, also if the answer never left
	Error        string `json:"error"`        // RFC 6749 §5.2; empty: it succeeded
	Fate         Fate   `json:"fate"`

	Received Moment `json:"received"` // when its headers had arrived
	Worked   Moment `json:"worked"`   // when its work was done: of a refresh that succeeded, when the token was rotated
}

// Moment is a time of the provider's clock, in milliseconds since 1970. It is the machine's.
type Moment int64

// Time is the moment as a time.
func (m Moment) Time() time.Time { return time.UnixMilli(int64(m)) }

// Hash is how a refresh token is called in the record of calls: SHA-256, in hexadecimal.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Calls returns every call of the token endpoint so far, in the order in which their work was done.
func (p *Provider) Calls() []Call {
	p.t.Helper()
	var calls []Call
	p.ask("/calls", nil, &calls)
	return calls
}

// CallsByGrantType counts the calls of the token endpoint, failed ones too: "authorization_code", "refresh_token".
func (p *Provider) CallsByGrantType() map[string]int {
	p.t.Helper()
	counts := map[string]int{}
	for _, c := range p.Calls() {
		counts[c.GrantType]++
	}
	return counts
}

// Refreshes counts the calls that presented this refresh token, failed ones too.
func (p *Provider) Refreshes(refreshToken string) int {
	p.t.Helper()
	count, hash := 0, Hash(refreshToken)
	for _, c := range p.Calls() {
		if c.RefreshToken == hash {
			count++
		}
	}
	return count
}

// State is what a refresh token is worth at the provider.
type State string

// The states. A refresh token is used once a call rotated it, whether or not the answer arrived.
const (
	Current State = "current" // it works, once
	Used    State = "used"    // it was rotated; one more use revokes its family
	Revoked State = "revoked" // its family was revoked, by reuse or by who has it
	Unknown State = "unknown" // it was never issued, or was destroyed
)

// State says what a refresh token is worth, without using it.
func (p *Provider) State(refreshToken string) State {
	p.t.Helper()
	var answer struct {
		State State `json:"state"`
	}
	p.ask("/state", map[string]string{"refreshToken": refreshToken}, &answer)
	return answer.State
}
