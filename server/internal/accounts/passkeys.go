package accounts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

const (
	maxPasskeys    = 20  // of an account
	maxPasskeyName = 100 // characters
)

// A PasskeyView is a passkey as its owner sees it.
type PasskeyView struct {
	ID         uuid.UUID
	Name       string
	CreatedAt  time.Time
	LastUsedAt *time.Time // nil: not yet
	Synced     bool       // it may be copied to other devices of its owner
}

func (s *Service) passkeys(ctx context.Context, p grants.Principal) ([]PasskeyView, error) {
	rows, err := s.deps.Passkeys.Passkeys(ctx, p.AccountID)
	if err != nil {
		return nil, err
	}
	views := make([]PasskeyView, len(rows))
	for i, r := range rows {
		views[i] = PasskeyView{ID: r.ID, Name: r.Name, CreatedAt: r.CreatedAt, LastUsedAt: r.LastUsedAt, Synced: r.BackupEligible}
	}
	return views, nil
}

// BeginPasskey asks for a new passkey of p's account, for AddPasskey. It needs the
// current password, and a code where there is a second factor: the passkey will count
// as both. INVALID_REQUEST with the field, CONFLICT when there are too many, or
// passkeys are not possible here, RATE_LIMITED, SCOPE_DENIED for what is no session.
func (s *Service) BeginPasskey(ctx context.Context, p grants.Principal, c audit.Client, name, password, code string) (PasskeyRequest, error) {
	const detail = "began to add a passkey"
	if err := s.passkeysPossible(); err != nil {
		return PasskeyRequest{}, err
	}
	if _, err := passkeyName(name); err != nil {
		return PasskeyRequest{}, err
	}
	account, err := s.confirm(ctx, p, c, "password", password, detail)
	if err != nil {
		return PasskeyRequest{}, err
	}
	h, err := s.keyholder(ctx, account)
	if err != nil {
		return PasskeyRequest{}, err
	}
	if len(h.rows) >= maxPasskeys {
		return PasskeyRequest{}, enoughPasskeys()
	}
	if err := s.alsoCode(ctx, event(p, c, detail), code); err != nil {
		return PasskeyRequest{}, err
	}
	return s.askForNew(h)
}

// AddPasskey adds the passkey that answers BeginPasskey. INVALID_REQUEST with the
// field, LOGIN_FAILED when the answer is none, or comes too late, or the password was
// changed since, CONFLICT when the account has this passkey, or too many.
func (s *Service) AddPasskey(ctx context.Context, p grants.Principal, c audit.Client, name string, answer PasskeyAnswer) error {
	if err := ownerOnly(p); err != nil {
		return err
	}
	name, err := passkeyName(name)
	if err != nil {
		return err
	}
	account, err := s.deps.Store.Account(ctx, p.AccountID)
	if err != nil {
		return err
	}
	h, err := s.keyholder(ctx, account)
	if err != nil {
		return err
	}
	if len(h.rows) >= maxPasskeys {
		return enoughPasskeys()
	}
	row, of, err := s.checkNew(h, answer)
	if err != nil {
		return err
	}
	row.AccountID, row.ID, row.Name, row.CreatedAt = account.ID, models.NewID(), name, models.Stamp(s.deps.Now())
	s.deps.Sealer.SignPasskey(row)
	return s.deps.Audit.Do(ctx, event(p, c, "added the passkey "+name), func(ctx context.Context) error {
		return s.deps.Store.InTx(ctx, func(ctx context.Context) error {
			if err := s.answered(ctx, account.ID, of); err != nil {
				return err
			}
			err := s.deps.Passkeys.CreatePasskey(ctx, row)
			if errors.Is(err, models.ErrConflict) {
				return fault.New(fault.Conflict, "This passkey has been added before.")
			}
			return err
		})
	})
}

// RenamePasskey gives a passkey of p's account another name. INVALID_REQUEST with the
// field, NOT_FOUND.
func (s *Service) RenamePasskey(ctx context.Context, p grants.Principal, c audit.Client, id uuid.UUID, name string) error {
	row, err := s.passkey(ctx, p, id)
	if err != nil {
		return err
	}
	if name, err = passkeyName(name); err != nil {
		return err
	}
	return s.deps.Audit.Do(ctx, event(p, c, fmt.Sprintf("renamed the passkey %s to %s", row.Name, name)), func(ctx context.Context) error {
		return missing(s.deps.Passkeys.RenamePasskey(ctx, p.AccountID, id, name))
	})
}

// DeletePasskey ends a passkey of p's account. The device may keep its half; it signs
// in nowhere. NOT_FOUND.
func (s *Service) DeletePasskey(ctx context.Context, p grants.Principal, c audit.Client, id uuid.UUID) error {
	row, err := s.passkey(ctx, p, id)
	if err != nil {
		return err
	}
	return s.deps.Audit.Do(ctx, event(p, c, "deleted the passkey "+row.Name), func(ctx context.Context) error {
		return missing(s.deps.Passkeys.DeletePasskey(ctx, p.AccountID, id))
	})
}

// passkey is one of p's account. NOT_FOUND.
func (s *Service) passkey(ctx context.Context, p grants.Principal, id uuid.UUID) (models.Passkey, error) {
	if err := ownerOnly(p); err != nil {
		return models.Passkey{}, err
	}
	rows, err := s.deps.Passkeys.Passkeys(ctx, p.AccountID)
	if err != nil {
		return models.Passkey{}, err
	}
	for _, row := range rows {
		if row.ID == id {
			return row, nil
		}
	}
	return models.Passkey{}, missing(models.ErrNotFound)
}

func enoughPasskeys() error {
	return fault.New(fault.Conflict, "This account has %d passkeys already. Delete one that you no longer use first.", maxPasskeys)
}

func missing(err error) error {
	if errors.Is(err, models.ErrNotFound) {
		return fault.New(fault.NotFound, "There is no such passkey. It may have been deleted already.")
	}
	return err
}

func passkeyName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || utf8.RuneCountInString(name) > maxPasskeyName || !printable(name) {
		return "", fault.Field("name", "A name has 1 to %d printable characters: say which device it is.", maxPasskeyName)
	}
	return name, nil
}
