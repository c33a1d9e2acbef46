package platform

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// Names of metadata by which moves between the modes recognize their own.
const (
	MetaMovedFrom = "movedFrom" // at a webhook: Leaving.Marker
	MetaMovedBack = "movedBack" // here: the creation that it is a copy of
)

// SeenPathBack is the path by which the server saw a token of a platform vault that
// came back from a webhook; which creation it was a copy of stands beside it. Both
// are hints for lists.
const SeenPathBack = "moved back"

// TakeBack stores into p's vault what a browser read at the account's webhook, of
// which from is the webhook's token: its type and the secrets it has must be those
// of from. Then it opens what it stored, compares it with what it was given, and
// makes the credential grants of agents follow, with keys. The webhook's copy may be
// deleted after that, and after that only. It may be done again.
//
// INVALID_REQUEST names the field; CONFLICT when the vault has another token of that
// name; VAULT_LOCKED.
func (s *Service) TakeBack(ctx context.Context, p grants.Principal, client audit.Client, from models.Token, fields map[string]json.RawMessage) (models.Token, error) {
	if err := user(p); err != nil {
		return models.Token{}, err
	}
	if err := s.open(ctx, p.AccountID); err != nil {
		return models.Token{}, err
	}
	c, err := credential.Parse(fields, credential.Options{Platform: true, PlainHTTP: s.deps.PlainHTTP})
	if err != nil {
		return models.Token{}, refusedInput(err)
	}
	delete(c.Meta, MetaMovedFrom)
	c.Meta[MetaMovedBack] = backMarker(from)
	ref := Ref{Service: from.ServiceName}
	in, err := s.describe(c, ref)
	if err != nil {
		return models.Token{}, err
	}
	defer clear(in.secret)
	if err := sameKind(in.token, from); err != nil {
		return models.Token{}, err
	}
	in.copyOf = backMarker(from)
	in.token.SeenAt, in.token.SeenPath, in.token.SeenCreationID = models.StampPtr(s.now()), SeenPathBack, from.CreationID
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return models.Token{}, err
	}
	defer h.Clear()
	var token models.Token
	e := event(audit.Store, p, client, ref)
	e.Detail = "moved back from the webhook"
	err = s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		if token, err = s.put(ctx, h, in); err != nil {
			return err
		}
		if err := s.compare(ctx, h, token, c); err != nil {
			return err
		}
		return s.entrustFollowers(ctx, h, from, token)
	})
	return token, err
}

// backMarker names a creation at a webhook. One without an id, which old documents
// are, is named by its token.
func backMarker(from models.Token) string {
	if from.CreationID != "" {
		return from.CreationID
	}
	return "token " + from.ID.String()
}

// sameKind refuses what cannot be what the webhook has: another type, or secrets
// that it does not list, or not those that it does.
func sameKind(t, from models.Token) error {
	if t.TokenType != from.TokenType {
		return fault.Field("tokenData.tokenType", "The webhook's token is of another type. Read it there again.")
	}
	for _, flag := range []struct {
		name         string
		given, there bool
	}{
		{credential.MetaHasRefreshToken, t.HasRefreshToken, from.HasRefreshToken},
		{credential.MetaHasCertificate, t.HasCertificate, from.HasCertificate},
		{credential.MetaHasPrivateKey, t.HasPrivateKey, from.HasPrivateKey},
		{credential.MetaHasSSHKey, t.HasSSHKey, from.HasSSHKey},
		{credential.MetaHasTOTPSecret, t.HasTOTPSecret, from.HasTOTPSecret},
	} {
		if flag.given != flag.there {
			return fault.Field("tokenData", "What was sent and what the webhook lists differ in %s. Read the token there again, as its owner.", flag.name)
		}
	}
	return nil
}

// copyAlready refuses to put what comes back over another token of its name. It says
// whether the copy was refreshed here since: then it stays.
func (s *Service) copyAlready(dek custody.DEK, old models.Token, sealed models.Credential, in incoming) (refreshed bool, err error) {
	there, err := s.unseal(dek, &old, &sealed)
	if err != nil {
		return false, err
	}
	if there.Meta[MetaMovedBack] != in.copyOf {
		return false, fault.New(fault.Conflict, "This session's vault has another token named %q. Rename or delete that one first.", old.ServiceName)
	}
	return newer(there, in.token.IssuedAt), nil
}

// newer reports whether tokens were issued after those of a time; nil: it is unknown.
func newer(c credential.Credential, than *time.Time) bool {
	at := models.Stamp(issuedAt(c.Meta))
	return issued(c.Type) && !at.IsZero() && (than == nil || at.After(*than))
}

// compare opens what was stored and holds it against what was given. What was refreshed
// here since it was copied is other, and is the one that counts.
func (s *Service) compare(ctx context.Context, h *custody.Holder, t models.Token, given credential.Credential) error {
	kept, err := s.readByID(ctx, h, t.ID)
	if err != nil {
		return err
	}
	if kept.Data.Meta[MetaMovedBack] == given.Meta[MetaMovedBack] && newer(kept.Data, issuedIn(given)) {
		return nil
	}
	if kept.Data.Type != given.Type || !maps.Equal(kept.Data.Secrets, given.Secrets) {
		return fault.New(fault.Conflict, "The token was written by somebody else at the same time. Nothing was deleted at the webhook; try again.")
	}
	return nil
}

// issuedIn is since when a credential's tokens are; nil: unknown.
func issuedIn(c credential.Credential) *time.Time {
	if at := issuedAt(c.Meta); !at.IsZero() {
		return models.StampPtr(at)
	}
	return nil
}

// entrustFollowers makes credential grants of a webhook's token ones of t, and wraps
// t's key to those agents.
func (s *Service) entrustFollowers(ctx context.Context, h *custody.Holder, from, t models.Token) error {
	return s.again(func() error {
		concerned, err := s.granted(ctx, from)
		if err != nil || len(concerned) == 0 {
			return err
		}
		dek, v, err := s.openVault(ctx, h)
		if err != nil {
			return err
		}
		defer dek.Clear()
		keys, err := s.grantsWith(ctx, t.AccountID, t.ID)
		if err != nil {
			return err
		}
		coming, err := s.agentsOf(ctx, t.AccountID, from.ID)
		if err != nil {
			return err
		}
		for _, g := range coming {
			keys = append(keys, g.ID)
		}
		return s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
			if err := s.lockAgents(ctx, t.AccountID, concerned); err != nil {
				return err
			}
			if err := s.unchanged(ctx, h, v, keys...); err != nil {
				return err
			}
			_, sealed, err := s.inHand(ctx, v, t.ID)
			if err != nil {
				return err
			}
			if err := s.follow(ctx, from, t, concerned); err != nil {
				return err
			}
			cek, err := dek.CEK(sealed.ID, sealed.Epoch)
			if err != nil {
				return err
			}
			defer cek.Clear()
			return s.rewrap(ctx, h, cek, &sealed)
		})
	})
}
