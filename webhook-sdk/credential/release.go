package credential

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/mint"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// ReleaseOptions say to whom and with what a credential is released.
type ReleaseOptions struct {
	Service      string       // the name that the answer bears; required
	Now          time.Time    // the clock; required
	Minters      mint.Set     // of raw credentials; none: a raw credential is not released
	Client       *http.Client // of package netguard, for minting
	RefreshToken bool         // the refresh token as well: for the owner alone
}

// Release is what leaves the vault of a credential: a code for a TOTP secret, a
// minted token for a raw credential, whoever asks, and else the fields with the
// metadata. Its error is a *wire.Error, whose cause may be logged.
func Release(ctx context.Context, c Credential, o ReleaseOptions) (map[string]any, error) {
	switch c.Type {
	case wire.TypeTOTP:
		return releaseCode(c, o)
	case wire.TypeRawCredential:
		return releaseMinted(ctx, c, o)
	}
	out := make(map[string]any, len(c.Meta)+len(c.Secrets)+1)
	for name, value := range c.Meta {
		if !wire.IsSensitive(name) {
			out[name] = value
		}
	}
	out[MetaServiceName], out[MetaTokenType] = o.Service, c.Type
	for name, secret := range c.Secrets {
		if name != wire.FieldRefreshToken || o.RefreshToken {
			out[name] = secret
		}
	}
	return out, nil
}

func releaseCode(c Credential, o ReleaseOptions) (map[string]any, error) {
	code, err := TOTPCode(c, o.Now)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		wire.FieldAccessToken: code.Value,
		MetaTokenType:         wire.TypeTOTP,
		MetaServiceName:       o.Service,
		"remainingSeconds":    code.RemainingSeconds(),
		"period":              int(code.Period / time.Second),
		"digits":              code.Digits,
		"totpGenerated":       true,
	}, nil
}

// releaseMinted turns a raw credential into a short-lived token. The raw one never
// leaves, whoever asks: without a minter that knows it, nothing does.
func releaseMinted(ctx context.Context, c Credential, o ReleaseOptions) (map[string]any, error) {
	raw := []byte(c.Secrets[wire.FieldAccessToken])
	defer clear(raw)
	minter, ok := o.Minters.Find(raw)
	if !ok {
		return nil, refuse(wire.CodeMintFailed, "there is no minter for this kind of raw credential, and a raw credential never leaves its vault")
	}
	minted, err := minter.Mint(ctx, mint.Request{Raw: raw, Meta: maps.Clone(c.Meta), Now: o.Now, Client: o.Client})
	if err != nil {
		return nil, mintRefusal(err)
	}
	if minted.AccessToken == "" || minted.AccessToken == c.Secrets[wire.FieldAccessToken] {
		return nil, refuse(wire.CodeMintFailed, "the minter made no token")
	}
	out := map[string]any{}
	for name, value := range minted.Extra {
		if !wire.IsSensitive(name) {
			out[name] = value
		}
	}
	out[wire.FieldAccessToken] = minted.AccessToken
	out[MetaTokenType] = minted.TokenType
	out[MetaServiceName] = o.Service
	out[MetaExpiresAt] = minted.ExpiresAt.UTC().Format(time.RFC3339)
	return out, nil
}

// mintRefusal shows what a minter says of its failure. An error of another kind
// may quote anything, and is neither shown nor logged in full.
func mintRefusal(err error) error {
	var known *mint.Error
	if !errors.As(err, &known) {
		return refuse(wire.CodeMintFailed, "no token could be minted")
	}
	code := known.Code
	if code != wire.CodeGCPMintFailed {
		code = wire.CodeMintFailed
	}
	return fmt.Errorf("%w (%w)", refuse(code, "no token could be minted: %s", known.Problem), known)
}

func refuse(code wire.ErrorCode, format string, args ...any) error {
	return &wire.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
