package platform_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"
)

// now is p as its token speaks for it now: of the vault that it opens by now.
func (w *world) now(p grants.Principal) grants.Principal {
	w.t.Helper()
	return w.principal(p.Token.Reveal())
}

// offers shares from's vault.
func (w *world) offers(from, to grants.Principal) models.Escrow {
	w.t.Helper()
	e, err := w.Share(w.t.Context(), from, audit.Client{}, to.GrantID)
	w.must(err)
	return e
}

func (w *world) accepts(p grants.Principal, e models.Escrow) grants.Principal {
	w.t.Helper()
	w.must(w.Accept(w.t.Context(), p, audit.Client{}, e.ID))
	return w.now(p)
}

func (w *world) state(e models.Escrow) models.EscrowState {
	w.t.Helper()
	got, err := w.store.Escrow(w.t.Context(), w.account, e.ID)
	w.must(err)
	if (got.State == models.EscrowPending) != (len(got.Wrapped) > 0) || (got.State == models.EscrowPending) != (got.EndedAt == nil) {
		w.t.Errorf("an escrow that is %s has a key of %d bytes and ended at %v", got.State, len(got.Wrapped), got.EndedAt)
	}
	if err := w.ring.CheckEscrow(&got); err != nil {
		w.t.Errorf("an escrow that is %s: %v", got.State, err)
	}
	return got.State
}

func (w *world) stands(e models.Escrow, want models.EscrowState) {
	w.t.Helper()
	if got := w.state(e); got != want {
		w.t.Errorf("the escrow is %s, want %s", got, want)
	}
}

// opens is all that p's token opens by itself, with every row of the database: what
// the credentials hold, "!" before those that are superseded.
func (w *world) opens(p grants.Principal) []string {
	found, err := w.openedBy(context.WithoutCancel(w.t.Context()), p)
	if err != nil {
		w.t.Fatalf("grant %s: %v", p.GrantID, err)
	}
	return found
}

func (w *world) openedBy(ctx context.Context, p grants.Principal) ([]string, error) {
	h, err := w.grants.Keys(ctx, p)
	if err != nil {
		return nil, err
	}
	defer h.Clear()
	vaults, err := w.store.PlatformVaults(ctx, w.account)
	if err != nil {
		return nil, err
	}
	found := []string{}
	for _, v := range vaults {
		keys, err := w.keysOfGrant(ctx, p.GrantID, v)
		if err != nil {
			return nil, err
		}
		for _, row := range keys {
			var sender *models.Grant
			if row.SenderID != nil {
				g, err := w.store.Grant(ctx, w.account, *row.SenderID)
				if err != nil {
					return nil, err
				}
				sender = &g
			}
			dek, err := h.OpenVaultKey(&row, sender)
			if err != nil {
				continue // of another slot
			}
			secrets, err := w.secrets(ctx, v, dek)
			dek.Clear()
			if err != nil {
				return nil, err
			}
			found = append(found, secrets...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil // two rows of one vault
}

// secrets is all in a vault that a key opens; what it does not open is missing.
func (w *world) secrets(ctx context.Context, v models.Vault, dek custody.DEK) (found []string, err error) {
	held, err := w.store.Credentials(ctx, w.account, v.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range held {
		token, err := w.store.TokenByID(ctx, w.account, c.ID)
		if err != nil {
			return nil, err
		}
		cek, err := dek.CEK(c.ID, c.Epoch)
		if err != nil {
			return nil, err
		}
		secret, err := cek.Open(&token, &c)
		if err != nil {
			continue
		}
		value, err := decoded(secret)
		if err != nil {
			return nil, err
		}
		found = append(found, text(token, value))
	}
	return found, nil
}

// keysOfGrant are a grant's keys of a vault, of whatever generation.
func (w *world) keysOfGrant(ctx context.Context, grant uuid.UUID, v models.Vault) (all []models.VaultKey, err error) {
	for generation := range v.Generation + 1 {
		rows, err := w.store.VaultKeys(ctx, w.account, grant, v.ID, generation)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// text is what a credential is called by in the tests of linking.
func text(t models.Token, secret string) string {
	if t.SupersededAt != nil {
		return "!" + t.ServiceName + "=" + secret
	}
	return t.ServiceName + "=" + secret
}

// snapshot is all that linking may change, but the time at which things were used.
func (w *world) snapshot() map[string]any {
	w.t.Helper()
	ctx := w.t.Context()
	all := map[string]any{}
	note := func(what string, rows any, err error) {
		w.t.Helper()
		w.must(err)
		all[what] = rows
	}
	list, err := w.store.Grants(ctx, w.account)
	for i := range list {
		list[i].LastUsedAt = nil
	}
	note("grants", list, err)
	escrows, err := w.store.Escrows(ctx, w.account)
	note("escrows", escrows, err)
	vaults, err := w.store.PlatformVaults(ctx, w.account)
	note("vaults", vaults, err)
	for _, v := range vaults {
		tokens, err := w.store.VaultTokens(ctx, w.account, v.ID)
		note("tokens of "+v.ID.String(), tokens, err)
		held, err := w.store.Credentials(ctx, w.account, v.ID)
		note("credentials of "+v.ID.String(), held, err)
		for _, c := range held {
			keys, err := w.store.CredentialKeys(ctx, w.account, c.ID)
			note("keys of "+c.ID.String(), keys, err)
		}
		for _, g := range list {
			keys, err := w.keysOfGrant(ctx, g.ID, v)
			note(fmt.Sprintf("keys of %s for %s", v.ID, g.ID), keys, err)
		}
	}
	return all
}

// unchanged checks that do is refused and changes nothing.
func (w *world) unchanged(what string, want fault.Code, do func() error) {
	w.t.Helper()
	before := w.snapshot()
	err := do()
	if got := fault.CodeOf(err); got != want {
		w.t.Errorf("%s: got %v, want %s", what, err, want)
	}
	w.same(what, before)
}

// same checks that nothing has changed since a snapshot.
func (w *world) same(what string, before map[string]any) {
	w.t.Helper()
	if after := w.snapshot(); !reflect.DeepEqual(after, before) {
		w.t.Errorf("%s: something changed:\n%v\nbefore:\n%v", what, after, before)
	}
}

func (w *world) wantOpens(p grants.Principal, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if got := w.opens(p); !slices.Equal(got, want) {
		w.t.Errorf("grant %s opens %q, want %q", p.GrantID, got, want)
	}
}

// differently issues a grant that the world's service is not told of.
func (w *world) differently(in grants.IssueInput) grants.Principal {
	w.t.Helper()
	in.AccountID = w.account
	s := grants.New(grants.Deps{Store: w.store, Keys: w.ring, Gate: w.gate, Now: w.clock.now, Random: w.deps.Random, Logger: w.deps.Logger})
	issued, err := s.Issue(w.t.Context(), in)
	w.must(err)
	return w.principal(issued.Token.Reveal())
}

func decoded(secret []byte) (string, error) {
	c, err := credential.Decode(secret)
	if err != nil {
		return "", err
	}
	value, ok := c.Secrets["accessToken"]
	if !ok {
		return "", errors.New("no accessToken in a credential of these tests")
	}
	return value, nil
}

// soon skips ahead, so that what comes next was created later.
func (w *world) soon() { w.clock.pass(time.Second) }
