package refresh

import (
	"context"
	"errors"
	"net/url"
)

// ErrNoRevocation is returned by Revoke for a provider without a revocation endpoint.
var ErrNoRevocation = errors.New("refresh: the provider has no revocation endpoint")

// Revoke makes a token useless at its provider (RFC 7009). hint is "refresh_token",
// "access_token" or empty. A token that the provider does not know, or no longer, is
// revoked (§2.2). The error is ErrNoRevocation or as that of Refresh.
func (c *Client) Revoke(ctx context.Context, p Provider, token Secret, hint string) error {
	if p.RevocationURL == "" {
		return ErrNoRevocation
	}
	if err := p.Validate(); err != nil {
		return refuse(ReasonMisconfigured, 0, describe(err.Error(), p.ClientSecret))
	}
	if token == "" {
		return refuse(ReasonRequestRejected, 0, "there is no token to revoke")
	}
	form := url.Values{"token": {string(token)}}
	if hint != "" {
		form.Set("token_type_hint", hint)
	}
	a, err := c.post(ctx, p, p.RevocationURL, form, []Secret{token})
	if err != nil {
		return err
	}
	return a.revoked()
}

// revoked reads an answer of the revocation endpoint (RFC 7009 §2.2), whose body counts only in
// a refusal.
func (a answer) revoked() error {
	if a.status >= 200 && a.status <= 299 {
		return nil
	}
	if reason, settled := byStatus(a.status); settled {
		return a.refuse(reason, nil)
	}
	f, err := parseFields(a.header.Get("Content-Type"), a.body)
	if a.unread != nil || err != nil {
		return a.refuse(unexplained(a.status), nil)
	}
	// Google says invalid_token, others invalid_grant, of a token that is dead already.
	if code := f["error"]; !code.conflicting && (code.text == "invalid_token" || codes[code.text] == ReasonInvalidGrant) {
		return nil
	}
	return a.refusal(f)
}
