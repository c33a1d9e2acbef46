package platform

import (
	"context"
	"errors"

	"github.com/tvzero/tokenvault/models"
)

// resignBatch is how many rows are read at a time.
const resignBatch = 500

// KeyUse is what still needs a server key.
type KeyUse struct {
	Tokens  int64 // live tokens that it seals: only their end, or rotation, makes it unnecessary
	Rows    int64 // rows that it authenticates
	Secrets int64 // webhooks' secrets, and those of second factors, that it seals
}

// KeyUse says what each server key is still needed for, by its id: an operator may
// drop an old one when nothing is left.
func (s *Service) KeyUse(ctx context.Context) (map[int]KeyUse, error) {
	use := map[int]KeyUse{}
	for _, id := range s.deps.Keyring.IDs() {
		use[id] = KeyUse{}
	}
	tokens, err := s.deps.KeyCounts.TokensByKeyID(ctx, s.now())
	if err != nil {
		return nil, err
	}
	rows, err := s.deps.KeyCounts.RowsByKeyID(ctx)
	if err != nil {
		return nil, err
	}
	secrets, err := s.deps.KeyCounts.BindingsByKeyID(ctx)
	if err != nil {
		return nil, err
	}
	factors, err := s.deps.KeyCounts.SecondFactorsByKeyID(ctx)
	if err != nil {
		return nil, err
	}
	add := func(counts map[int]int64, to func(*KeyUse) *int64) {
		for id, n := range counts {
			u := use[id]
			*to(&u) += n
			use[id] = u
		}
	}
	add(tokens, func(u *KeyUse) *int64 { return &u.Tokens })
	add(rows, func(u *KeyUse) *int64 { return &u.Rows })
	add(secrets, func(u *KeyUse) *int64 { return &u.Secrets })
	add(factors, func(u *KeyUse) *int64 { return &u.Secrets })
	return use, nil
}

// Resign verifies rows under old server keys, and signs them under the current one;
// webhooks' secrets and those of second factors are sealed anew. What is not authentic stays as it is, and is
// counted in the log.
func (s *Service) Resign(ctx context.Context) error {
	ring, rows, vaults := s.deps.Keyring, s.deps.Signed, s.deps.SignedVault
	return errors.Join(
		resignAll(ctx, s, "grants", rows.ResignGrants, ring.CheckGrant, ring.SignGrant),
		resignAll(ctx, s, "grant_keys", rows.ResignGrantKeys, ring.CheckGrantKey, ring.SignGrantKey),
		resignAll(ctx, s, "credential_grants", rows.ResignCredentialGrants, ring.CheckCredentialGrant, ring.SignCredentialGrant),
		resignAll(ctx, s, "vaults", vaults.ResignVaults, ring.CheckVault, ring.SignVault),
		resignAll(ctx, s, "vault_keys", vaults.ResignVaultKeys, ring.CheckVaultKey, ring.SignVaultKey),
		resignAll(ctx, s, "credential_keys", vaults.ResignCredentialKeys, ring.CheckCredentialKey, ring.SignCredentialKey),
		resignAll(ctx, s, "escrows", vaults.ResignEscrows, ring.CheckEscrow, ring.SignEscrow),
		resignAll(ctx, s, "passkeys", s.deps.SignIn.ResignPasskeys, ring.CheckPasskey, ring.SignPasskey),
		drain(ctx, s, "bindings", rows.ResealBindings, s.resealBinding),
		drain(ctx, s, "second_factors", s.deps.SignIn.ResealSecondFactors, s.resealFactor),
	)
}

type resigner[T any] func(ctx context.Context, current, skip, limit int, sign func(*T) error) (seen, refused int, err error)

func resignAll[T any](ctx context.Context, s *Service, table string, pass resigner[T], check func(*T) error, sign func(*T)) error {
	return drain(ctx, s, table, pass, func(row *T) error {
		if err := check(row); err != nil {
			return err
		}
		sign(row)
		return nil
	})
}

// drain calls pass until it has seen everything.
func drain[T any](ctx context.Context, s *Service, table string, pass resigner[T], sign func(*T) error) error {
	skip := 0
	for {
		seen, refused, err := pass(ctx, s.deps.Keyring.Current(), skip, resignBatch, sign)
		if err != nil {
			return err
		}
		skip += refused
		if seen == resignBatch {
			continue
		}
		if skip > 0 {
			s.deps.Logger.Error("platform: rows under old server keys are not authentic, or their key is missing; they stay as they are", "table", table, "rows", skip)
		}
		return nil
	}
}

// resealBinding brings a webhook's secret under the current key.
func (s *Service) resealBinding(b *models.Binding) error {
	secret, err := s.deps.Keyring.OpenWebhookSecret(b)
	if err != nil {
		return err
	}
	defer clear(secret)
	return s.deps.Keyring.SealWebhookSecret(b, secret)
}

// resealFactor brings a second factor's secret under the current key.
func (s *Service) resealFactor(f *models.SecondFactor) error {
	secret, err := s.deps.Keyring.OpenSecondFactor(f)
	if err != nil {
		return err
	}
	defer clear(secret)
	return s.deps.Keyring.SealSecondFactor(s.deps.Random, f, secret)
}
