package platform

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// A Ref names a credential in a vault. Owner, Bridge and Scheme are mostly empty:
// then the service name alone names it.
type Ref struct{ Owner, Bridge, Service, Scheme string }

// maxRefPart is how long owner, bridge and scheme may be, in bytes.
const maxRefPart = 128

func (r Ref) check() error {
	if !wire.ValidServiceName(r.Service) {
		return fault.Field("serviceName", "A service name is 1–%d letters, digits, spaces and . _ : @ -, and begins with a letter or digit; "+
			`"audit-log" and "bulk" are reserved.`, wire.MaxServiceNameLength)
	}
	for name, part := range map[string]string{"owner": r.Owner, "bridge": r.Bridge, "scheme": r.Scheme} {
		if len(part) > maxRefPart || strings.ContainsFunc(part, func(c rune) bool { return !unicode.IsPrint(c) || c == utf8.RuneError }) {
			return fault.Field(name, "This has at most %d printable characters.", maxRefPart)
		}
	}
	return nil
}

func refOf(t models.Token) Ref { return Ref{t.Owner, t.Bridge, t.ServiceName, t.Scheme} }

func (r Ref) notFound() error {
	return fault.New(fault.TokenNotFound, "There is no token named %q.", r.Service)
}

// user refuses agents, which have no vault.
func user(p grants.Principal) error {
	if !p.Kind.Shares() {
		return fault.New(fault.ScopeDenied, "An agent's key cannot do this. Sign in as a user.")
	}
	return nil
}

// open refuses what the owner's kill switch stops.
func (s *Service) open(ctx context.Context, accountID uuid.UUID) error {
	account, err := s.deps.Accounts.Account(ctx, accountID)
	if err != nil {
		return err
	}
	if account.Locked() {
		return vaultLocked()
	}
	return nil
}

func vaultLocked() error {
	return fault.New(fault.VaultLocked, "The owner has locked the vault: no credential goes in or out until it is unlocked.")
}

// keepsHere refuses what is for accounts without a webhook alone.
func (s *Service) keepsHere(ctx context.Context, accountID uuid.UUID) error {
	bound, err := s.bound(ctx, accountID)
	if err == nil && bound {
		err = fault.New(fault.WrongVaultMode, "A webhook keeps this account's credentials: get a store ticket, and send the credential to the webhook.")
	}
	return err
}

func (s *Service) bound(ctx context.Context, accountID uuid.UUID) (bool, error) {
	_, err := s.deps.Accounts.BindingByState(ctx, accountID, models.BindingActive)
	if errors.Is(err, models.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// event is what p does to a credential through client.
func event(kind audit.EventType, p grants.Principal, client audit.Client, ref Ref) audit.Event {
	return audit.Event{AccountID: p.AccountID, Type: kind, Source: audit.Direct, Service: ref.Service, GrantID: p.GrantID, Client: client}
}
