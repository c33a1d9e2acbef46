package grants

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Limits of API keys.
const (
	maxLabel   = 100 // characters
	maxKeyLife = 10  // years
	maxKeys    = 200 // of an account at a time
)

// CreateKey makes an API key that opens p's vault. p has the scope grants:write
// and every scope that it gives. INVALID_REQUEST with the field, SCOPE_DENIED,
// CONFLICT when the account has too many, INVALID_KEY when p has ended meanwhile.
func (s *Service) CreateKey(ctx context.Context, p Principal, c audit.Client, in CreateKeyInput) (Issued, error) {
	if err := Require(p, GrantsWrite); err != nil {
		return Issued{}, err
	}
	now := models.Stamp(s.deps.Now())
	if err := in.normalize(now); err != nil {
		return Issued{}, err
	}
	if err := requireAll(p, in.Scopes); err != nil {
		return Issued{}, err
	}
	if err := outlive(p, in.ExpiresAt); err != nil {
		return Issued{}, err
	}
	issue := IssueInput{
		AccountID: p.AccountID, Kind: models.GrantAPIKey, Label: in.Name, Scopes: in.Scopes, Client: c.UserAgent, Address: c.Address,
	}
	if in.ExpiresAt != nil {
		issue.Life = in.ExpiresAt.Sub(now)
	}
	var issued Issued
	err := s.deps.Audit.Do(ctx, event(p, c, audit.KeyChanged, "made the API key "+in.Name), func(ctx context.Context) error {
		return s.deps.Rows.InTx(ctx, func(ctx context.Context) error {
			from, _, err := s.lock(ctx, p, p.GrantID)
			if err != nil {
				return err
			}
			defer from.Clear()
			if err := s.roomForKey(ctx, p); err != nil {
				return err
			}
			d, err := s.draft(issue)
			if err != nil {
				return err
			}
			defer d.claims.Secret.Clear()
			err = s.createWith(ctx, &d, func(ctx context.Context, to *custody.Holder) error { return s.copied(ctx, from, to) })
			issued = d.issued()
			return err
		})
	})
	if err != nil {
		return Issued{}, err
	}
	return issued, nil
}

// outlive refuses an API key that expires a key that lasts longer (nil: until
// revoked): it would go on as that one.
func outlive(p Principal, end *time.Time) error {
	if p.Kind != models.GrantAPIKey || p.ExpiresAt.IsZero() || end != nil && !end.After(p.ExpiresAt) {
		return nil
	}
	return fault.New(fault.ScopeDenied, "An API key makes no key that lasts longer than itself: this one expires at %s.", p.ExpiresAt.UTC().Format(time.RFC3339))
}

// normalize checks the input and brings it to its stored form: scopes in their
// order, each once, and whole seconds.
func (in *CreateKeyInput) normalize(now time.Time) error {
	var err error
	if in.Name, err = label("name", in.Name); err != nil {
		return err
	}
	all := Scopes()
	for _, scope := range in.Scopes {
		if !slices.Contains(all, scope) {
			return fault.Field("scopes", "A scope of an API key is one of: %s.", strings.Join(all, ", "))
		}
	}
	if len(in.Scopes) == 0 {
		return fault.Field("scopes", "Give the API key at least one scope of: %s.", strings.Join(all, ", "))
	}
	given := in.Scopes
	in.Scopes = slices.DeleteFunc(all, func(scope string) bool { return !slices.Contains(given, scope) })
	if in.ExpiresAt == nil {
		return nil
	}
	end := models.Stamp(*in.ExpiresAt).Truncate(time.Second)
	if !now.Before(end) || end.After(now.AddDate(maxKeyLife, 0, 0)) {
		return fault.Field("expiresAt", "An API key expires in the future, in %d years at most. Without an expiry it lasts until it is revoked.", maxKeyLife)
	}
	in.ExpiresAt = &end
	return nil
}

// label is a grant's name in its stored form.
func label(field, text string) (string, error) {
	text = strings.TrimSpace(text)
	if n := utf8.RuneCountInString(text); n < 1 || n > maxLabel || !printable(text) {
		return "", fault.Field(field, "A name has 1 to %d printable characters.", maxLabel)
	}
	return text, nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// requireAll is Require for each of scopes: nobody gives what it lacks.
func requireAll(p Principal, scopes []string) error {
	for _, scope := range scopes {
		if err := Require(p, scope); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) roomForKey(ctx context.Context, p Principal) error {
	all, err := s.deps.Rows.Grants(ctx, p.AccountID)
	if err != nil {
		return err
	}
	now, keys := s.deps.Now(), 0
	for _, g := range all {
		if g.Kind == models.GrantAPIKey && g.Live(now) {
			keys++
		}
	}
	if keys >= maxKeys {
		return fault.New(fault.Conflict, "This account has %d API keys, and no more are possible. Revoke one that is not used any more.", keys)
	}
	return nil
}

// RotateKey gives an API key a new token, under a new key pair, and ends the old
// one; its vault gets a new key. A key that rotates itself keeps its pair. p has
// the scope grants:write and every scope of the key, and opens its vault.
// NOT_FOUND, CONFLICT, SCOPE_DENIED, INVALID_KEY when p has ended meanwhile.
func (s *Service) RotateKey(ctx context.Context, p Principal, c audit.Client, id uuid.UUID) (Issued, error) {
	if err := Require(p, GrantsWrite); err != nil {
		return Issued{}, err
	}
	g, err := s.find(ctx, p, id)
	if err != nil {
		return Issued{}, err
	}
	if g.Kind != models.GrantAPIKey {
		return Issued{}, fault.New(fault.Conflict, "Only API keys are rotated here. %s", hint(g.Kind))
	}
	if err := requireAll(p, g.Scopes); err != nil {
		return Issued{}, err
	}
	if err := outlive(p, g.ExpiresAt); err != nil {
		return Issued{}, err
	}
	var d draft
	var from, to *custody.Holder
	defer func() { clearAll(from, to); d.claims.Secret.Clear() }()
	err = s.deps.Audit.Do(ctx, event(p, c, audit.KeyChanged, "rotated the API key "+g.Label), func(ctx context.Context) error {
		return again(func() error {
			clearAll(from, to)
			return s.deps.Rows.InTx(ctx, func(ctx context.Context) error {
				if from, g, err = s.lockSharing(ctx, p, id); err != nil {
					return err
				}
				d = draft{grant: g}
				to, err = s.rotateKey(ctx, from, &d)
				return err
			})
		})
	})
	if err != nil {
		return Issued{}, err
	}
	settler := from
	if id == p.GrantID {
		settler = to // its former token has just ended
	}
	s.settle(ctx, settler)
	return d.issued(), nil
}

// lockSharing is lock for what may wrap keys anew to all who have to do with p's vault:
// it locks them too, before the vault. models.ErrConflict when another one has come
// meanwhile.
func (s *Service) lockSharing(ctx context.Context, p Principal, id uuid.UUID) (*custody.Holder, models.Grant, error) {
	if s.deps.Vaults == nil || id == p.GrantID { // which keeps its pair
		return s.lock(ctx, p, id)
	}
	own, err := s.deps.Rows.Grant(ctx, p.AccountID, p.GrantID)
	if err != nil {
		return nil, models.Grant{}, err
	}
	before, err := s.sharing(ctx, own)
	if err != nil {
		return nil, models.Grant{}, err
	}
	if _, err := s.deps.Rows.LockGrants(ctx, p.AccountID, append(before, p.GrantID, id)...); err != nil {
		return nil, models.Grant{}, err
	}
	h, g, err := s.lock(ctx, p, id)
	if err != nil {
		return nil, g, err
	}
	if own = *h.Grant(); own.VaultID != nil {
		_, err = s.deps.VaultRows.LockVaults(ctx, p.AccountID, *own.VaultID)
	}
	var after []uuid.UUID
	if err == nil {
		after, err = s.sharing(ctx, own)
	}
	if err == nil && slices.ContainsFunc(after, func(id uuid.UUID) bool { return !slices.Contains(before, id) }) {
		err = fmt.Errorf("%w: others use the vault of grant %s by now", models.ErrConflict, p.GrantID)
	}
	if err != nil {
		h.Clear()
		return nil, g, err
	}
	return h, g, nil
}

// sharing are the ids of all grants that have to do with a grant's vault.
func (s *Service) sharing(ctx context.Context, g models.Grant) ([]uuid.UUID, error) {
	if g.VaultID == nil {
		return nil, nil
	}
	ids, err := s.deps.VaultRows.VaultAgentGrants(ctx, g.AccountID, *g.VaultID)
	if err != nil {
		return nil, err
	}
	grants, err := s.deps.Rows.VaultGrants(ctx, g.AccountID, *g.VaultID)
	for _, g := range grants {
		ids = append(ids, g.ID)
	}
	return ids, err
}

// tries bounds how often something is done anew that others got in the way of: each
// time one of them has done what it wanted.
const tries = 50

// again calls do, a whole transaction, until nobody is in its way.
func again(do func() error) error {
	return models.Again(tries, do, func(err error) error {
		return fault.Wrap(err, fault.Conflict, "Others were changed at the same time. Try again.")
	})
}

// rotateKey replaces all tokens of the draft's grant, which is locked, by a new
// one, and returns its holder.
func (s *Service) rotateKey(ctx context.Context, from *custody.Holder, d *draft) (*custody.Holder, error) {
	g := &d.grant
	itself := from.Grant().ID == g.ID
	vault := from.Grant().VaultID
	if g.VaultID != nil && (vault == nil || *vault != *g.VaultID) {
		return nil, fault.New(fault.Conflict, "This key opens another vault than yours. Rotate it from a session that shares its vault, or revoke it.")
	}
	next, err := s.nextSlot(ctx, g)
	if err != nil {
		return nil, err
	}
	if err := s.newSlot(d, next, 0, models.Stamp(s.deps.Now())); err != nil {
		return nil, err
	}
	if itself {
		err = s.keepPair(d, from)
	} else {
		err = s.replacePair(ctx, from, d)
	}
	if err != nil {
		return nil, err
	}
	if err := s.deps.Slots.DeleteGrantKeys(ctx, g.AccountID, g.ID, nil); err != nil {
		return nil, err
	}
	if err := s.deps.Slots.AddGrantKey(ctx, &d.key); err != nil {
		return nil, err
	}
	to, err := s.holder(d)
	if err != nil {
		return nil, err
	}
	if err := s.copied(ctx, from, to); err != nil {
		return to, err
	}
	return to, s.rotationDue(ctx, g)
}

// replacePair gives the draft's grant a new key pair. What was wrapped to the
// former one, or for its tokens, goes; what was wrapped with it is wrapped anew, by
// from.
func (s *Service) replacePair(ctx context.Context, from *custody.Holder, d *draft) error {
	if s.deps.Vaults != nil {
		if err := s.deps.Vaults.NewPair(ctx, from, d.grant); err != nil {
			return err
		}
	}
	if err := s.newPair(d); err != nil {
		return err
	}
	s.deps.Keys.SignGrant(&d.grant)
	if err := s.deps.Rows.UpdateGrant(ctx, &d.grant); err != nil {
		return err
	}
	if d.grant.VaultID == nil {
		return nil
	}
	return s.deps.VaultRows.DeleteVaultKeys(ctx, d.grant.AccountID, d.grant.ID, *d.grant.VaultID)
}

// nextSlot is a slot number that the grant has never had: its tokens but the last
// are deleted only together with that one's making.
func (s *Service) nextSlot(ctx context.Context, g *models.Grant) (uint32, error) {
	keys, err := s.deps.Slots.GrantKeys(ctx, g.AccountID, g.ID)
	if err != nil {
		return 0, err
	}
	next := int64(0)
	for _, k := range keys {
		next = max(next, k.Slot+1)
	}
	return uint32(next), nil // #nosec G115 -- slots are uint32, and nobody rotates that often
}

// rotationDue marks the vault of a grant whose former token opened it.
func (s *Service) rotationDue(ctx context.Context, g *models.Grant) error {
	if s.deps.Vaults == nil || g.VaultID == nil {
		return nil
	}
	found, err := s.deps.VaultRows.LockVaults(ctx, g.AccountID, *g.VaultID)
	if err != nil || len(found) == 0 || found[0].RotationDueAt != nil {
		return err
	}
	found[0].RotationDueAt = models.StampPtr(s.deps.Now())
	return s.deps.VaultRows.UpdateVault(ctx, &found[0])
}
