package refresh

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// metadata is what is read of a provider's own description (OpenID Connect Discovery
// §3, RFC 8414 §2).
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	UserInfoEndpoint      string   `json:"userinfo_endpoint"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	IssSupported          bool     `json:"authorization_response_iss_parameter_supported"`
}

// Discover asks an issuer where its endpoints are: OpenID Connect Discovery first and,
// where that is not served, RFC 8414. The answer's issuer must equal the one asked, letter by letter, and an
// https issuer has https endpoints only. What comes back lacks ID and client. The error is a *Refusal or wraps ctx's.
func (c *Client) Discover(ctx context.Context, issuer string) (Provider, error) {
	u, err := parseEndpoint(issuer)
	switch {
	case err != nil:
		return Provider{}, refuse(ReasonMisconfigured, 0, "the issuer "+err.Error())
	case u.RawQuery != "" || u.ForceQuery:
		return Provider{}, refuse(ReasonMisconfigured, 0, "the issuer has a query")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	a, err := c.get(ctx, origin+path+"/.well-known/openid-configuration")
	if err == nil && a.status >= 400 && a.status <= 499 {
		if _, settled := byStatus(a.status); !settled {
			a, err = c.get(ctx, origin+"/.well-known/oauth-authorization-server"+path)
		}
	}
	if err != nil {
		return Provider{}, err
	}
	return a.provider(issuer, u.Scheme == "https")
}

func (c *Client) get(ctx context.Context, address string) (answer, error) {
	a := answer{now: c.now}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return a, refuse(ReasonMisconfigured, 0, "the issuer is not a URL")
	}
	return a, c.send(req, &a)
}

// provider reads a provider's description.
func (a answer) provider(issuer string, onlyHTTPS bool) (Provider, error) {
	if reason, settled := byStatus(a.status); settled {
		return Provider{}, a.refuse(reason, nil)
	}
	if a.status != http.StatusOK {
		r := a.refuse(ReasonMisconfigured, nil)
		r.Description = "the issuer does not say where its endpoints are"
		return Provider{}, r
	}
	if a.unread != nil {
		if isTimeout(a.unread) {
			return Provider{}, a.refuse(ReasonProviderTimeout, nil)
		}
		return Provider{}, a.broken(a.unread.Error())
	}
	var m metadata
	if tooDeep(a.body) || json.Unmarshal(a.body, &m) != nil {
		return Provider{}, a.broken("the issuer's description is not JSON as it should be")
	}
	if m.Issuer != issuer {
		r := a.refuse(ReasonMisconfigured, nil)
		r.Description = describe(fmt.Sprintf("the issuer calls itself %q", m.Issuer))
		return Provider{}, r
	}
	p := Provider{
		Issuer: issuer, AuthorizationURL: m.AuthorizationEndpoint, TokenURL: m.TokenEndpoint, RevocationURL: m.RevocationEndpoint,
		UserInfoURL: m.UserInfoEndpoint, AuthMethod: chooseMethod(m.AuthMethods), RequireIss: m.IssSupported,
	}
	if err := p.checkEndpoints(onlyHTTPS); err != nil {
		return Provider{}, a.broken(err.Error())
	}
	return p, nil
}

func (p Provider) checkEndpoints(onlyHTTPS bool) error {
	if p.TokenURL == "" {
		return fmt.Errorf("the issuer names no token endpoint")
	}
	for _, endpoint := range []string{p.AuthorizationURL, p.TokenURL, p.RevocationURL, p.UserInfoURL} {
		if endpoint == "" {
			continue
		}
		u, err := parseEndpoint(endpoint)
		if err == nil && onlyHTTPS && u.Scheme != "https" {
			err = fmt.Errorf("is not an https URL")
		}
		if err != nil {
			return fmt.Errorf("an endpoint of the issuer %w", err)
		}
	}
	return nil
}

// chooseMethod takes what both sides have. Left out, it is basic (RFC 8414 §2); "" leaves the choice to Provider.
func chooseMethod(supported []string) AuthMethod {
	for _, method := range []AuthMethod{AuthBasic, AuthPost, AuthNone} {
		if slices.Contains(supported, string(method)) {
			return method
		}
	}
	return ""
}
