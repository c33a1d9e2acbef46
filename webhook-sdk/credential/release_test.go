package credential_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

var now = time.Unix(1111111109, 0) // RFC 6238, Appendix B: 07081804

// coin mints from "coin:…"; what it does for others, tests set.
type coin struct {
	token mint.Token
	err   error
}

func (coin) Kind() string               { return "coin" }
func (coin) Recognizes(raw []byte) bool { return strings.HasPrefix(string(raw), "coin:") }
func (c coin) Mint(_ context.Context, r mint.Request) (mint.Token, error) {
	if c.token.ExpiresAt.IsZero() {
		c.token.ExpiresAt = r.Now.Add(time.Hour)
	}
	return c.token, c.err
}

func TestEachTypeIsReleasedInItsOwnWay(t *testing.T) {
	t.Parallel()
	minted := mint.Token{AccessToken: "short", TokenType: "Bearer", Extra: map[string]any{"projectId": "p", "password": "canary"}}
	for name, c := range map[string]struct {
		input map[string]any
		owner bool
		want  map[string]any
	}{
		"OAuth, to an agent": {
			map[string]any{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r", "provider": "github"}, false,
			map[string]any{"tokenType": "OAuth", "serviceName": "s", "accessToken": "a", "provider": "github"},
		},
		"OAuth, to the owner": {
			map[string]any{"tokenType": "OAuth", "accessToken": "a", "refreshToken": "r"}, true,
			map[string]any{"tokenType": "OAuth", "serviceName": "s", "accessToken": "a", "refreshToken": "r"},
		},
		"Basic": {
			map[string]any{"tokenType": "Basic", "username": "u", "password": "p"}, false,
			map[string]any{"tokenType": "Basic", "serviceName": "s", "username": "u", "password": "p"},
		},
		"TOTP, even to the owner, as a code": {
			map[string]any{"tokenType": "TOTP", "totpSecret": totpSecret, "digits": 8, "displayName": "x"}, true,
			map[string]any{
				"tokenType": "TOTP", "serviceName": "s", "accessToken": "07081804", "remainingSeconds": 1, "period": 30, "digits": 8, "totpGenerated": true,
			},
		},
		"a raw credential, even to the owner, as a minted token": {
			map[string]any{"tokenType": "RawCredential", "accessToken": "coin:canary", "displayName": "x"}, true,
			map[string]any{"tokenType": "Bearer", "serviceName": "s", "accessToken": "short", "expiresAt": "2005-03-18T02:58:29Z", "projectId": "p"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := credential.Release(t.Context(), parsed(t, platform, c.input), credential.ReleaseOptions{
				Service: "s", Now: now, Minters: mint.Set{coin{token: minted}}, RefreshToken: c.owner,
			})
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestMetadataNamedLikeASecretIsNotReleased(t *testing.T) {
	t.Parallel()
	c := credential.Credential{Type: "PlainText", Secrets: map[string]string{"accessToken": "a"}, Meta: map[string]any{"clientSecret": "canary"}}
	got, err := credential.Release(t.Context(), c, credential.ReleaseOptions{Service: "s", Now: now})
	if _, there := got["clientSecret"]; there || err != nil {
		t.Errorf("got %v, %v, want no clientSecret", got, err)
	}
}

func TestWhatCannotBeMadeIsNotReleased(t *testing.T) {
	t.Parallel()
	raw := credential.Credential{Type: "RawCredential", Secrets: map[string]string{"accessToken": "coin:canary"}}
	for name, c := range map[string]struct {
		credential credential.Credential
		minters    mint.Set
		code       wire.ErrorCode
	}{
		"no minter":             {raw, nil, wire.CodeMintFailed},
		"no minter that knows":  {raw, mint.Default(), wire.CodeMintFailed},
		"the raw one comes":     {raw, mint.Set{coin{token: mint.Token{AccessToken: "coin:canary"}}}, wire.CodeMintFailed},
		"nothing comes":         {raw, mint.Set{coin{}}, wire.CodeMintFailed},
		"a failure of Google's": {raw, mint.Set{coin{err: &mint.Error{Code: wire.CodeGCPMintFailed, Problem: "no"}}}, wire.CodeGCPMintFailed},
		"a failure of a code":   {raw, mint.Set{coin{err: &mint.Error{Code: wire.CodeForbidden, Problem: "no"}}}, wire.CodeMintFailed},
		"a failure that quotes": {raw, mint.Set{coin{err: errors.New("canary")}}, wire.CodeMintFailed},
		"a spoilt TOTP secret":  {credential.Credential{Type: "TOTP", Secrets: map[string]string{"totpSecret": "canary!"}}, nil, wire.CodeTOTPFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := credential.Release(t.Context(), c.credential, credential.ReleaseOptions{Service: "s", Now: now, Minters: c.minters})
			var refusal *wire.Error
			if got != nil || !errors.As(err, &refusal) || refusal.Code != c.code {
				t.Fatalf("got %v, %v, want nothing and %s", got, err, c.code)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error quotes: %v", err)
			}
		})
	}
}

func TestOnlyATOTPSecretMakesCodes(t *testing.T) {
	t.Parallel()
	_, err := credential.TOTPCode(credential.Credential{Type: "PlainText"}, now)
	var refusal *wire.Error
	if !errors.As(err, &refusal) || refusal.Code != wire.CodeNotTOTP {
		t.Errorf("got %v, want %s", err, wire.CodeNotTOTP)
	}
}
