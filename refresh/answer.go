package refresh

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxToken     = 64 << 10 // bytes
	maxTokenType = 64       // bytes

	// maxLifetime is how long an access token may be said to live. Above are mistakes: milliseconds, or a date.
	maxLifetime = 10 * 365 * 24 * time.Hour
)

// An answer is what came back from an endpoint.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	unread  error // why body is not whole
	now     func() time.Time
	secrets []Secret // that were sent; exported nowhere, used to mask
}

// tokens reads an answer of the token endpoint (RFC 6749 §5). An error in a success is
// a refusal, as GitHub answers them; but where an access token came along, that counts: refusing it
// could lose the refresh token beside it.
func (a answer) tokens(p Provider, asked time.Time) (Tokens, error) {
	if reason, settled := byStatus(a.status); settled {
		return Tokens{}, a.refuse(reason, nil)
	}
	if a.unread != nil {
		if isTimeout(a.unread) {
			return Tokens{}, a.refuse(ReasonProviderTimeout, nil)
		}
		return Tokens{}, a.broken(a.unread.Error())
	}
	f, err := parseFields(a.header.Get("Content-Type"), a.body)
	success := a.status >= 200 && a.status <= 299
	switch {
	case err != nil && success:
		return Tokens{}, a.broken(err.Error())
	case err != nil:
		return Tokens{}, a.refuse(unexplained(a.status), nil)
	case !success || !f["access_token"].isThere() && f["error"].isThere():
		return Tokens{}, a.refusal(f)
	}
	t, err := f.tokens(p, asked)
	if err != nil {
		return Tokens{}, a.broken(err.Error())
	}
	return t, nil
}

// tokens takes what can be taken: only the access token must be there, and neither
// it nor a refresh token may be in doubt.
func (f fields) tokens(p Provider, asked time.Time) (t Tokens, err error) {
	if t.AccessToken, err = f.token("access_token"); err != nil {
		return Tokens{}, err
	}
	if t.AccessToken == "" {
		return Tokens{}, errors.New("the answer has no access_token")
	}
	if t.RefreshToken, err = f.token("refresh_token"); err != nil {
		return Tokens{}, err
	}
	t.IDToken, _ = f.token("id_token")
	t.TokenType = "Bearer"
	if kind := f["token_type"]; kind.kind == kindText && !kind.conflicting && kind.text != "" && len(kind.text) <= maxTokenType && isVisible(kind.text) {
		t.TokenType = kind.text
	}
	t.Scopes = f.scopes()
	if lifetime, said := f.lifetime(); said {
		t.ExpiresAt = asked.Add(lifetime)
	} else if p.DefaultLifetime > 0 {
		t.ExpiresAt = asked.Add(p.DefaultLifetime)
	}
	return t, nil
}

// token reads a token: printable ASCII (RFC 6749, appendix A.12 and A.17). Absent is empty.
func (f fields) token(name string) (Secret, error) {
	value := f[name]
	switch {
	case value.conflicting:
		return "", errors.New("the answer has two different values of " + name)
	case value.kind == kindAbsent:
		return "", nil
	case value.kind != kindText:
		return "", errors.New("the answer's " + name + " is not a string")
	case len(value.text) > maxToken:
		return "", errors.New("the answer's " + name + " is too long")
	case !isVisible(strings.ReplaceAll(value.text, " ", "")):
		return "", errors.New("the answer's " + name + " has characters that no token has")
	}
	return Secret(value.text), nil
}

// scopes is nil when the answer does not say, or not clearly.
func (f fields) scopes() []string {
	value := f["scope"]
	switch {
	case value.conflicting:
		return nil
	case value.kind == kindText:
		return SplitScopes(value.text)
	case value.kind == kindList:
		return cleanScopes(value.list)
	}
	return nil
}

// lifetime reads expires_in, in seconds, as a number or a string. What cannot be a lifetime (nothing, zero,
// less, ten years) was not said.
func (f fields) lifetime() (time.Duration, bool) {
	value := f["expires_in"]
	if value.conflicting || value.kind != kindNumber && value.kind != kindText {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(value.text), 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 || seconds > maxLifetime.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
