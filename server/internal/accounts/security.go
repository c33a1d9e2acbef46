package accounts

import (
	"context"
	"time"

	"github.com/tvzero/tokenvault/server/internal/grants"
)

// A SecurityView is how an account is guarded.
type SecurityView struct {
	SecondFactor  bool
	Since         *time.Time // the second factor is on; nil: it is not
	RecoveryCodes int        // that were not used
	Passkeys      []PasskeyView
}

// Security says how p's account is guarded. SCOPE_DENIED for what is no session.
func (s *Service) Security(ctx context.Context, p grants.Principal) (SecurityView, error) {
	if err := ownerOnly(p); err != nil {
		return SecurityView{}, err
	}
	f, on, err := s.factor(ctx, p.AccountID)
	if err != nil {
		return SecurityView{}, err
	}
	v := SecurityView{SecondFactor: on}
	if on {
		v.Since = f.ConfirmedAt
		if v.RecoveryCodes, err = s.deps.Codes.RecoveryCodesLeft(ctx, p.AccountID); err != nil {
			return SecurityView{}, err
		}
	}
	v.Passkeys, err = s.passkeys(ctx, p)
	return v, err
}
