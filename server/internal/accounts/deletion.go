package accounts

import (
	"context"
	"errors"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// DeletionInput is what somebody who wants an account deleted has to know: its e-mail
// address, typed, and its password, or an answer of one of its passkeys to
// BeginDeletion in place of it.
type DeletionInput struct {
	Email    string
	Password string
	Passkey  PasskeyAnswer
}

// DeleteAccount deletes p's account with everything that it has but its audit record,
// which cannot be shortened. When it returns, nothing of it signs in here any more, and
// within a second nowhere. INVALID_REQUEST with the field, RATE_LIMITED, LOGIN_FAILED of
// a passkey, SCOPE_DENIED for what is no session.
func (s *Service) DeleteAccount(ctx context.Context, p grants.Principal, c audit.Client, in DeletionInput) error {
	if err := ownerOnly(p); err != nil {
		return err
	}
	account, err := s.deps.Store.Account(ctx, p.AccountID)
	if err != nil {
		return err
	}
	if models.NormalizeEmail(in.Email) != account.Email {
		return fault.Field("email", "This is not the e-mail address of this account. Type it as it stands above.")
	}
	const detail = "deleted the account"
	if in.Passkey.Credential != "" {
		err = s.freshPasskey(ctx, p, c, in.Passkey, detail)
	} else {
		_, err = s.confirm(ctx, p, c, "password", in.Password, detail)
	}
	if err != nil {
		return err
	}
	return s.deps.Audit.Do(ctx, event(p, c, detail), func(ctx context.Context) error {
		err := s.deps.Profiles.DeleteAccount(ctx, account.ID)
		if errors.Is(err, models.ErrNotFound) { // another request was faster
			return nil
		}
		return err
	})
}
