package connect

import (
	"context"
	"errors"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// revokeTime is how long a provider is given to revoke.
const revokeTime = 15 * time.Second

// Disconnect ends a connection: it revokes at the provider, where it can, and deletes
// the token. That the provider cannot be asked, or refuses, keeps nothing from being
// deleted; Note says so. In webhook mode the webhook revokes what it deletes.
//
// A session, or a key with the scope tokens:write. TOKEN_NOT_FOUND; VAULT_LOCKED;
// INVALID_REQUEST for what is no OAuth token; what deleting refuses.
func (s *Service) Disconnect(ctx context.Context, p grants.Principal, client audit.Client, service string) (Disconnected, error) {
	if err := grants.Require(p, grants.TokensWrite); err != nil {
		return Disconnected{}, err
	}
	found, err := s.deps.Vaults.Find(ctx, p, service)
	if err != nil {
		return Disconnected{}, err
	}
	if found.TokenType != wire.TypeOAuth {
		return Disconnected{}, fault.Field("service", "The token %q was not connected at a provider. Delete it.", service)
	}
	c, err := s.deps.Vaults.Custody(ctx, p.AccountID)
	if err != nil {
		return Disconnected{}, err
	}
	if c.Locked {
		return Disconnected{}, fault.New(fault.VaultLocked, "The owner has locked the vault: unlock it to disconnect, or delete the token without revoking it.")
	}
	out := Disconnected{Note: "Your webhook has deleted it, and revokes it at the provider if it can. To be sure, look there" + s.where(found.Provider) + "."}
	// The browser may leave while the provider thinks; what is revoked is to go, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if found.Mode == models.ModePlatform {
		if out, err = s.revoke(ctx, p, client, found.Token); err != nil {
			return Disconnected{}, err
		}
	}
	if _, err = s.deps.Vaults.DeleteTokens(ctx, p, client, service); err != nil {
		return Disconnected{}, err
	}
	return out, nil
}

// where names the page on which a person ends connections by hand.
func (s *Service) where(provider string) string {
	if summary, ok := s.deps.Providers.Describe(provider); ok && summary.ManageURL != "" {
		return ": " + summary.ManageURL
	}
	return ""
}

// revoke revokes a token of p's vault. Its error is one of opening it.
func (s *Service) revoke(ctx context.Context, p grants.Principal, client audit.Client, t models.Token) (Disconnected, error) {
	left := func(why string) (Disconnected, error) {
		return Disconnected{Note: "It is deleted here, but not revoked: " + why + ". End the connection at the provider, too" + s.where(t.Provider) + "."}, nil
	}
	if _, ok := s.deps.Providers.Describe(t.Provider); !ok {
		return left("this server is no client of its provider")
	}
	provider, err := s.deps.Providers.Provider(ctx, t.Provider)
	if err != nil {
		return left("its provider cannot be reached at the moment")
	}
	if provider.RevocationURL == "" {
		return left("its provider does not offer that to programs")
	}
	back, err := s.takeSlot(ctx)
	if err != nil {
		return Disconnected{}, err
	}
	defer back()
	var failed error
	ref := platform.Ref{Owner: t.Owner, Bridge: t.Bridge, Service: t.ServiceName, Scheme: t.Scheme}
	err = s.deps.Platform.Borrow(ctx, p, client, ref, "to revoke it at "+t.Provider, func(ctx context.Context, c credential.Credential) error {
		failed = s.revokeAt(ctx, provider, c)
		if failed != nil { // the record says so
			return fault.Wrap(failed, fault.Unavailable, "It could not be revoked.")
		}
		return nil
	})
	switch {
	case errors.Is(failed, errElsewhere):
		return left("it is from another provider than the one of this name here")
	case err != nil && failed == nil:
		return Disconnected{}, err
	case failed != nil:
		s.deps.Logger.WarnContext(ctx, "connect: a token could not be revoked", "provider", t.Provider, "error", failed)
		return left("its provider did not do it when it was asked")
	}
	return Disconnected{Revoked: true, Note: "It is deleted here, and revoked at its provider."}, nil
}

// errElsewhere: the credential was issued by another server than the provider.
var errElsewhere = errors.New("connect: issued by another server")

// revokeAt sends the refresh token, whose end is that of its access tokens (RFC 7009
// section 2.1), or the access token where there is none. What stands in the ciphertext
// says by whom it was issued; nobody else is sent it.
func (s *Service) revokeAt(ctx context.Context, p refresh.Provider, c credential.Credential) error {
	provider, _ := c.Meta[credential.MetaProvider].(string)
	tokenURL, _ := c.Meta[credential.MetaTokenURL].(string)
	clientID, known := c.Meta[platform.MetaClientID].(string)
	if provider != p.ID || tokenURL != p.TokenURL || known && clientID != p.ClientID {
		return errElsewhere
	}
	ctx, cancel := context.WithTimeout(ctx, revokeTime)
	defer cancel()
	if token := c.Secrets[wire.FieldRefreshToken]; token != "" {
		return s.deps.Client.Revoke(ctx, p, refresh.Secret(token), "refresh_token")
	}
	return s.deps.Client.Revoke(ctx, p, refresh.Secret(c.Secrets[wire.FieldAccessToken]), "access_token")
}
