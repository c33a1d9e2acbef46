package platform

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// agentCredential is what an agent's grant has of a credential.
type agentCredential struct{ grantID, tokenID uuid.UUID }

// held is what a replica may remember of that: ciphertext and wrapped keys, never a
// key. It is shared between requests: nobody changes it.
type held struct {
	locked bool
	near   time.Time // from when on it may be due for a refresh; zero: never
	token  models.Token
	sealed models.Credential
	keys   []heldKey
}

// A heldKey is a key of the agent's, looked at once.
type heldKey struct {
	row     models.CredentialKey
	opens   custody.RememberedCredential
	damaged error // it is not authentic
}

// hold looks at the rows of the agent's keys.
func (k *held) hold(ring *custody.Keyring, rows []models.CredentialKey) {
	k.keys = make([]heldKey, len(rows))
	for i := range rows {
		key := &k.keys[i]
		key.row = rows[i]
		key.opens, key.damaged = ring.RememberCredential(&key.row, &k.token, &k.sealed)
	}
}

// ReleaseTo opens a credential with an agent's own key, and returns what its webhook
// would have answered, as JSON: the fields without the refresh token, a TOTP secret's current
// code, a minted token of a raw credential. It is appended to room, which the caller
// clears, also after an error. Whether the agent may have it, and that this is on record,
// is the caller's business; that it can is here. A token that is due is refreshed first,
// unless policy forbids it. waited: for that, so that the caller's decision may be out of
// date. NO_GRANT when nothing was wrapped to this key; TOKEN_NOT_FOUND; VAULT_LOCKED; of a
// token that has expired, REFRESH_FAILED and REAUTHORIZATION_REQUIRED.
func (s *Service) ReleaseTo(ctx context.Context, p grants.Principal, tokenID uuid.UUID, policy models.RefreshPolicy, room []byte) (answer json.RawMessage, waited bool, err error) {
	if p.Kind != models.GrantAgentKey {
		return nil, false, fault.New(fault.ScopeDenied, "Only an agent's key is given credentials here.")
	}
	h, err := s.deps.Holders.RememberedKeys(ctx, p)
	if err != nil {
		return nil, false, err
	}
	defer h.Clear()
	key := agentCredential{p.GrantID, tokenID}
	known, ok := s.known.Get(key)
	if !ok {
		if known, err = s.loadHeld(ctx, p.AccountID, key); err != nil {
			return nil, false, err
		}
	}
	if !known.near.IsZero() && !s.deps.Now().Before(known.near) {
		return s.releaseNear(ctx, h, known, key, &reader{principal: p, never: policy == models.RefreshNever}, room)
	}
	answer, err = s.openHeld(ctx, h, known, room)
	if code := fault.CodeOf(err); code == fault.Internal || code == fault.NoGrant {
		// It does not open: what was read may have been replaced a moment ago.
		if known, err = s.loadHeld(ctx, p.AccountID, key); err != nil {
			return nil, false, err
		}
		answer, err = s.openHeld(ctx, h, known, room)
	}
	return answer, false, err
}

func (s *Service) loadHeld(ctx context.Context, accountID uuid.UUID, key agentCredential) (*held, error) {
	return s.known.Load(accountID, key, func() (*held, error) {
		locked, err := s.lockedNow(ctx, accountID)
		if err != nil {
			return nil, err
		}
		k := &held{locked: locked}
		var rows []models.CredentialKey
		k.token, k.sealed, rows, err = s.deps.Credentials.CredentialForAgent(ctx, accountID, key.grantID, key.tokenID)
		if errors.Is(err, models.ErrNotFound) {
			return nil, tokenGone(err)
		}
		k.hold(s.deps.Keyring, rows)
		if s.deps.Engine != nil {
			k.near = nearExpiry(k.token)
		}
		return k, unavailable(err)
	})
}

// lockedNow says whether the account's kill switch is on, from memory where that may
// be used: agents of one account share the answer.
func (s *Service) lockedNow(ctx context.Context, accountID uuid.UUID) (bool, error) {
	if locked, ok := s.locked.Get(accountID); ok {
		return locked, nil
	}
	return s.locked.Load(accountID, accountID, func() (bool, error) {
		account, err := s.deps.Accounts.Account(ctx, accountID)
		return account.Locked(), unavailable(err)
	})
}

func tokenGone(err error) error {
	return fault.Wrap(err, fault.TokenNotFound, "The token that this agent was granted is gone. Store it again and grant it anew.")
}

// unavailable is the refusal when a question that cannot fail otherwise has failed.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fault.Wrap(err, fault.Unavailable, "The database cannot be reached at the moment. Try again shortly.")
}

// openHeld opens a credential for an agent. The answer is appended to room.
func (s *Service) openHeld(ctx context.Context, h *custody.Holder, k *held, room []byte) (json.RawMessage, error) {
	own := s.rooms.Get().(*[]byte) //nolint:errcheck // nothing else is put there
	defer s.rooms.Put(own)
	cek, row, secret, err := s.recall(ctx, h, k, *own)
	if err != nil {
		return nil, err
	}
	defer cek.Clear()
	defer clear(secret)
	return s.answerAgent(ctx, h, &k.token, cek, row, secret, room)
}

// roomForSecret is how long a secret may be to be opened without an allocation, in bytes.
const roomForSecret = 4 << 10

// recall opens a credential with the wrap of the agent's slot, or else with the one to its
// grant. The caller clears the key and the secret, which is in room if it fits.
func (s *Service) recall(ctx context.Context, h *custody.Holder, k *held, room []byte) (custody.CEK, *models.CredentialKey, []byte, error) {
	none := custody.CEK{}
	if k.locked {
		return none, nil, nil, vaultLocked()
	}
	key := k.keyFor(int64(h.Slot()))
	if key == nil {
		return none, nil, nil, notEntrusted(k.token)
	}
	if key.damaged != nil {
		return none, nil, nil, s.damaged(key.damaged, "key of credential", k.sealed.ID)
	}
	sender, err := s.sender(ctx, key.row.AccountID, key.row.SenderID)
	if err != nil {
		return none, nil, nil, err
	}
	cek, secret, err := h.RecallCredential(&key.opens, sender, room)
	if err != nil {
		cek.Clear()
		return none, nil, nil, s.damaged(err, "credential, or the agent's key of it", k.sealed.ID)
	}
	return cek, &key.row, secret, nil
}

// answerAgent appends to room the answer to an agent that has opened a credential, whose
// key it then keeps under its slot.
func (s *Service) answerAgent(ctx context.Context, h *custody.Holder, t *models.Token, cek custody.CEK, row *models.CredentialKey, secret, room []byte) (json.RawMessage, error) {
	answer, err := credential.AppendRelease(ctx, room, secret, s.toAgent(t))
	if err != nil {
		return nil, refusedRelease(err)
	}
	if row.Form != models.FormSlot {
		err = s.keepCEK(ctx, h, cek, row)
	}
	if err != nil {
		clear(answer)
		return nil, err
	}
	return answer, nil
}

// keyFor is the wrap to open with: that of a slot before that of the grant, and only
// of the credential's epoch.
func (k *held) keyFor(slot int64) *heldKey {
	find := func(slot int64) *heldKey {
		for i := range k.keys {
			if key := &k.keys[i]; key.row.Slot == slot && key.row.Epoch == k.sealed.Epoch {
				return key
			}
		}
		return nil
	}
	if row := find(slot); row != nil {
		return row
	}
	return find(models.WholeGrant)
}

// keptAtOnce bounds the transactions that keep keys. They wait for each other's locks,
// each with a connection: a crowd of agents' first releases would take all of them.
const keptAtOnce = 4

// keepCEK stores a credential's key under the agent's slot, so that later releases
// need no X25519. The wrap that it came by must still be there: what was withdrawn
// meanwhile is not brought back. In a crowd it leaves that to a later release. Replicas
// are not told: it would end what they remember of the whole account at each first
// release, of which a large account always has some. Whoever still remembers the wrap to
// the grant alone opens by that, comes here, and finds the key kept.
func (s *Service) keepCEK(ctx context.Context, h *custody.Holder, cek custody.CEK, by *models.CredentialKey) error {
	select {
	case s.keeping <- struct{}{}:
		defer func() { <-s.keeping }()
	default:
		return nil
	}
	row, err := h.KeepCEK(cek)
	if err != nil {
		return err
	}
	err = s.deps.Accounts.InTx(ctx, func(ctx context.Context) error {
		if err := s.lockGrants(ctx, h); err != nil {
			return err
		}
		sealed, err := s.lockCredential(ctx, row.AccountID, row.CredentialID)
		if errors.Is(err, models.ErrNotFound) {
			return tokenGone(err)
		}
		if err != nil {
			return err
		}
		t, _, keys, err := s.deps.Credentials.CredentialForAgent(ctx, row.AccountID, row.GrantID, row.CredentialID)
		if err != nil {
			return err
		}
		now := held{token: t, sealed: sealed}
		now.hold(s.deps.Keyring, keys)
		if there := now.keyFor(models.WholeGrant); there == nil {
			return notEntrusted(t)
		} else if !slices.Equal(there.row.Wrapped, by.Wrapped) || sealed.Epoch != row.Epoch {
			return nil // given anew meanwhile: the next release keeps that
		} else if kept := now.keyFor(row.Slot); kept.row.Form == models.FormSlot && kept.damaged == nil {
			return nil
		}
		return s.deps.Wraps.KeepCredentialKey(ctx, &row)
	})
	if err == nil {
		s.known.Forget(agentCredential{row.GrantID, row.CredentialID})
	}
	return err
}

func notEntrusted(t models.Token) error {
	return fault.New(fault.NoGrant, "This agent's key does not open %q: it was not granted to this key, or the key was replaced since. "+
		"Its owner can grant it again, signed in with a session that opens it.", t.ServiceName)
}
