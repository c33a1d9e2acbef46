package accounts

import (
	"context"
	"errors"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// ProfileInput is what is to be changed of an account: nil leaves it as it is.
// Another e-mail address needs the current password.
type ProfileInput struct {
	DisplayName     *string
	Email           *string
	CurrentPassword string
}

// PasswordInput is what changes a password.
type PasswordInput struct {
	CurrentPassword string
	NewPassword     string
}

// UpdateProfile changes the display name and the e-mail address of p's account, and
// returns it as it is now. INVALID_REQUEST with the field, CONFLICT with the field
// when another account has the address, without one when another request changed it
// meanwhile, RATE_LIMITED, SCOPE_DENIED for what is no
// session.
func (s *Service) UpdateProfile(ctx context.Context, p grants.Principal, c audit.Client, in ProfileInput) (models.Account, error) {
	if err := ownerOnly(p); err != nil {
		return models.Account{}, err
	}
	account, err := s.deps.Store.Account(ctx, p.AccountID)
	if err != nil {
		return models.Account{}, err
	}
	was := account
	if in.DisplayName != nil {
		account.DisplayName = *in.DisplayName
		if err := normalizeName(&account.DisplayName); err != nil {
			return models.Account{}, err
		}
	}
	if in.Email != nil {
		account.Email = *in.Email
		if err := normalizeEmail(&account.Email); err != nil {
			return models.Account{}, err
		}
	}
	detail := "changed the display name"
	if account.Email != was.Email {
		detail = "changed the e-mail address"
		if _, err := s.confirm(ctx, p, c, "currentPassword", in.CurrentPassword, detail); err != nil {
			return models.Account{}, err
		}
	} else if account.DisplayName == was.DisplayName {
		return was, nil
	}
	err = s.deps.Audit.Do(ctx, event(p, c, detail), func(ctx context.Context) error {
		err := s.deps.Profiles.UpdateProfile(ctx, &was, &account)
		if errors.Is(err, models.ErrNotFound) {
			return fault.New(fault.Conflict, "Your profile was changed at the same moment, elsewhere. Look at it again.")
		}
		if errors.Is(err, models.ErrConflict) {
			failure := fault.New(fault.Conflict, "Another account has this e-mail address. Use another one.")
			failure.Field = "email"
			return failure
		}
		return err
	})
	if err != nil {
		return models.Account{}, err
	}
	return s.deps.Store.Account(ctx, p.AccountID)
}

// ChangePassword replaces the password of p's account. All sessions stay.
// INVALID_REQUEST with the field, RATE_LIMITED, CONFLICT when another request changed
// it meanwhile, SCOPE_DENIED for what is no session.
func (s *Service) ChangePassword(ctx context.Context, p grants.Principal, c audit.Client, in PasswordInput) error {
	if err := ownerOnly(p); err != nil {
		return err
	}
	if err := checkNewPassword("newPassword", in.NewPassword); err != nil {
		return err
	}
	const detail = "changed the password"
	account, err := s.confirm(ctx, p, c, "currentPassword", in.CurrentPassword, detail)
	if err != nil {
		return err
	}
	if in.NewPassword == in.CurrentPassword {
		return fault.Field("newPassword", "This is the password that you have. Choose another one.")
	}
	hash, err := s.passwords.hash(ctx, account.ID, in.NewPassword)
	if err != nil {
		return err
	}
	return s.deps.Audit.Do(ctx, event(p, c, detail), func(ctx context.Context) error {
		err := s.deps.Profiles.ReplacePasswordHash(ctx, account.ID, account.PasswordHash, hash)
		if errors.Is(err, models.ErrNotFound) {
			return fault.New(fault.Conflict, "The password was changed at the same moment, elsewhere. Try again with the one that it is now.")
		}
		return err
	})
}
