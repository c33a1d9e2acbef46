package vaults

import (
	"context"
	"encoding/json"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Back is a webhook's token, and whether it can come back to platform mode.
type Back struct {
	Token   models.Token
	Movable bool
	Reason  string // for a person, when it is not, or when something is to be known
	Copied  bool   // p's vault has a copy; what is missing is that the webhook's goes
}

// MoveBackPlan lists the webhook's tokens, by name, with what can come back: all but
// what never leaves a webhook, which is to be entered again after unbinding.
func (s *Service) MoveBackPlan(ctx context.Context, p grants.Principal) ([]Back, error) {
	if err := grants.Require(p, grants.VaultManage); err != nil {
		return nil, err
	}
	c, err := s.bound(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	there, err := s.deps.Index.Tokens(ctx, p.AccountID, c.Binding.VaultID, "", 0)
	if err != nil {
		return nil, indexError(err)
	}
	here, err := s.deps.Moves.Holds(ctx, p)
	if err != nil {
		return nil, err
	}
	named := make(map[string]models.Token, len(here))
	for _, t := range here {
		if nameless(t) == nil {
			named[t.ServiceName] = t
		}
	}
	plan := make([]Back, len(there))
	for i, t := range there {
		own, exists := named[t.ServiceName]
		plan[i] = backOf(t, own, exists)
	}
	return plan, nil
}

func backOf(t, own models.Token, exists bool) Back {
	b := Back{Token: t, Movable: true}
	if err := immovable(t); err != nil {
		b.Movable, b.Reason = false, fault.From(err).Message
		return b
	}
	switch {
	case exists && own.SeenPath == platform.SeenPathBack && own.SeenCreationID == t.CreationID:
		b.Copied, b.Reason = true, "A copy is in this session's vault already. Move it again to finish."
	case exists:
		b.Movable, b.Reason = false, "This session's vault has another token of this name. Delete that one first."
	}
	return b
}

// immovable refuses what a webhook gives to nobody, not even its owner.
func immovable(t models.Token) error {
	const again = "Enter it again after unbinding; the webhook's copy stays where it is."
	switch t.TokenType {
	case wire.TypeTOTP:
		return fault.New(fault.Conflict, "A TOTP secret never leaves a webhook, only its codes do. "+again)
	case wire.TypeRawCredential:
		return fault.New(fault.Conflict, "A raw credential never leaves a webhook, only tokens made from it do. "+again)
	}
	return nil
}

// MoveBack stores into p's platform vault what a browser has read at the webhook
// with a user_reveal ticket, while that is still bound; and when the copy here was
// opened again and compared, it deletes the one at the webhook. The server never
// reads the webhook's. Agents' credential grants follow. Broken off anywhere, it is
// done by calling it again.
//
// INVALID_REQUEST names the field; TOKEN_NOT_FOUND: the webhook has none of that
// name (any more); CONFLICT: the webhook's was replaced since it was read, or cannot
// move, or p's vault has another of that name; WEBHOOK_NOT_CONFIGURED, VAULT_LOCKED.
func (s *Service) MoveBack(ctx context.Context, p grants.Principal, client audit.Client, service string, tokenData map[string]json.RawMessage) (models.Token, error) {
	if err := grants.Require(p, grants.VaultManage); err != nil {
		return models.Token{}, err
	}
	if err := validService(service); err != nil {
		return models.Token{}, err
	}
	if err := s.mayMove(ctx, p); err != nil {
		return models.Token{}, err
	}
	var there models.Token
	err := s.withWebhook(ctx, p.AccountID, func(c *Custody) (err error) {
		there, err = s.freshRow(ctx, c, service)
		return err
	})
	if err != nil {
		return models.Token{}, err
	}
	if err := immovable(there); err != nil {
		return models.Token{}, err
	}
	if textOf(tokenData[credential.MetaCreationID]) != there.CreationID {
		return models.Token{}, replacedSince()
	}
	here, err := s.deps.Moves.TakeBack(ctx, p, client, there, tokenData)
	if err != nil {
		return models.Token{}, err
	}
	return here, s.deleteThere(ctx, p, client, there)
}

// freshRow is the index's row of a token as the webhook lists it now.
func (s *Service) freshRow(ctx context.Context, c *Custody, service string) (models.Token, error) {
	result, err := s.readOne(ctx, c, service)
	if err != nil {
		return models.Token{}, err
	}
	if !result.found {
		return models.Token{}, tokenNotFound(service)
	}
	t, err := s.deps.Index.Token(ctx, c.Binding.AccountID, c.Binding.VaultID, service)
	return t, indexError(err)
}

// deleteThere deletes the webhook's copy, if it is still the one that was copied.
// The protocol cannot make that one step: what is stored there within the moment
// between is lost, as with any deletion.
func (s *Service) deleteThere(ctx context.Context, p grants.Principal, client audit.Client, t models.Token) error {
	e := event(audit.Delete, p, client)
	e.Service, e.Detail = t.ServiceName, "the webhook's copy, after it was moved back"
	return s.deps.Audit.Do(ctx, e, func(ctx context.Context) error {
		return s.withWebhook(ctx, p.AccountID, func(c *Custody) error {
			item, found, err := s.look(ctx, c, t.ServiceName)
			if err != nil {
				return err
			}
			if now, _ := indexed(item); found && now.CreationID != t.CreationID {
				return replacedSince()
			}
			if found {
				err = s.deps.Documents.Delete(ctx, c.target(), wire.CollectionTokens, t.ServiceName)
				if err != nil && fault.CodeOf(err) != fault.TokenNotFound {
					return err
				}
			}
			result, err := s.readOne(ctx, c, t.ServiceName)
			if err == nil && result.found {
				err = fault.New(fault.WebhookUnavailable, "The webhook still lists the token that it was told to delete. Nothing is lost: the copy here is complete. Try again.")
			}
			return err
		})
	})
}

func replacedSince() error {
	return fault.New(fault.Conflict, "The token was replaced at the webhook since it was read there. Read it again, then move it.")
}

// textOf is a JSON string, or "" for anything else.
func textOf(raw json.RawMessage) string {
	var s text
	_ = s.UnmarshalJSON(raw)
	return string(s)
}
