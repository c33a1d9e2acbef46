package custody_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

type wrappedRow struct{ Wrapped, MAC hexBytes }

// knownPlatform is testdata/platform.json: a session, an API key and an agent of
// one account, and every form of key that passes between them.
type knownPlatform struct {
	Tokens                             struct{ Session, APIKey, Agent knownToken }
	Created, Expires                   int64
	Ephemeral, Nonce, DEK, CEK, Secret hexBytes
	Vault, Credential                  uuid.UUID
	Generation, Epoch, Version         int64
	VaultKeys                          struct{ Slot, Shared, HandOver wrappedRow }
	CredentialKeys                     struct{ Slot, Shared wrappedRow }
	Credentials                        []struct {
		Owner, Bridge, Service, Scheme string
		Sealed                         hexBytes
	}
	Escrow struct {
		ID uuid.UUID
		wrappedRow
	}
	Successor struct {
		Next   uint32
		Text   string
		Sealed hexBytes
	}
}

// A stage is the known platform with its holders.
type stage struct {
	knownPlatform
	ring                   *custody.Keyring
	created                time.Time
	session, apiKey, agent *custody.Holder
}

func newStage(t testing.TB) *stage {
	t.Helper()
	s := &stage{knownPlatform: known[knownPlatform](t, "platform"), ring: keyring(t)}
	s.created = time.UnixMicro(s.Created).UTC()
	s.session, s.apiKey, s.agent = s.hold(t, &s.Tokens.Session), s.hold(t, &s.Tokens.APIKey), s.hold(t, &s.Tokens.Agent)
	return s
}

// rows are the grant and the slot of a known token, signed.
func (s *stage) rows(k *knownToken) (*models.Grant, *models.GrantKey) {
	g := &models.Grant{AccountID: k.Account, ID: k.Grant, Kind: k.Kind, PublicKey: k.Public, CreatedAt: s.created}
	key := &models.GrantKey{
		AccountID: k.Account, GrantID: k.Grant, Slot: int64(k.Slot), WrappedPrivateKey: models.Opaque(k.Wrapped), IssuedAt: s.created,
	}
	s.ring.SignGrant(g)
	s.ring.SignGrantKey(key)
	return g, key
}

func (s *stage) hold(t testing.TB, k *knownToken) *custody.Holder {
	t.Helper()
	claims, err := s.ring.OpenToken(k.Token)
	if err != nil {
		t.Fatal(err)
	}
	g, key := s.rows(k)
	h, err := s.ring.Hold(claims, g, key, func() time.Time { return s.created })
	if err != nil {
		t.Fatalf("%s is not held: %v", k.Name, err)
	}
	return h
}

func (s *stage) dek(t testing.TB) custody.DEK {
	t.Helper()
	d, err := custody.NewDEK(bytes.NewReader(s.DEK), s.Vault, s.Generation)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (s *stage) cek(t testing.TB) custody.CEK {
	t.Helper()
	c, err := s.dek(t).CEK(s.Credential, s.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// vaultKey is a row of the known answers.
func (s *stage) vaultKey(form models.KeyForm) *models.VaultKey {
	row := models.VaultKey{
		AccountID: s.Tokens.Session.Account, GrantID: s.Tokens.Session.Grant, VaultID: s.Vault, Generation: s.Generation,
		Slot: models.WholeGrant, Form: form, CreatedAt: s.created, KeyID: 7,
	}
	var k wrappedRow
	switch form {
	case models.FormSlot:
		k, row.Slot = s.VaultKeys.Slot, int64(s.Tokens.Session.Slot)
	case models.FormShared:
		k, row.GrantID, row.SenderID = s.VaultKeys.Shared, s.Tokens.APIKey.Grant, &s.Tokens.Session.Grant
	case models.FormHandOver:
		k = s.VaultKeys.HandOver
	}
	row.Wrapped, row.MAC = models.Opaque(k.Wrapped), models.Opaque(k.MAC)
	return &row
}

func (s *stage) credentialKey(form models.KeyForm) *models.CredentialKey {
	row := models.CredentialKey{
		AccountID: s.Tokens.Agent.Account, CredentialID: s.Credential, GrantID: s.Tokens.Agent.Grant, Slot: int64(s.Tokens.Agent.Slot),
		Epoch: s.Epoch, Form: form, CreatedAt: s.created, KeyID: 7,
	}
	k := s.CredentialKeys.Slot
	if form == models.FormShared {
		k, row.Slot, row.SenderID = s.CredentialKeys.Shared, models.WholeGrant, &s.Tokens.Session.Grant
	}
	row.Wrapped, row.MAC = models.Opaque(k.Wrapped), models.Opaque(k.MAC)
	return &row
}

// escrow is the known one, as it was before and after the key was put in.
func (s *stage) escrow() (empty, offered *models.Escrow) {
	empty = &models.Escrow{
		AccountID: s.Tokens.Session.Account, ID: s.Escrow.ID, VaultID: s.Vault, Generation: s.Generation,
		FromID: s.Tokens.Session.Grant, ToID: s.Tokens.APIKey.Grant, State: models.EscrowPending,
		CreatedAt: s.created, ExpiresAt: time.UnixMicro(s.Expires).UTC(),
	}
	full := *empty
	full.KeyID, full.Wrapped, full.MAC = 7, models.Opaque(s.Escrow.Wrapped), models.Opaque(s.Escrow.MAC)
	return empty, &full
}

// credential is one of the known ones: its token, and its ciphertext.
func (s *stage) credential(i int) (*models.Token, *models.Credential) {
	k := s.Credentials[i]
	return &models.Token{
			AccountID: s.Tokens.Session.Account, ID: s.Credential, VaultID: s.Vault,
			Owner: k.Owner, Bridge: k.Bridge, ServiceName: k.Service, Scheme: k.Scheme,
		}, &models.Credential{
			AccountID: s.Tokens.Session.Account, ID: s.Credential, VaultID: s.Vault, Generation: s.Generation,
			Epoch: s.Epoch, Version: s.Version, Sealed: models.Opaque(k.Sealed),
		}
}

func (s *stage) successor() *models.Successor {
	return &models.Successor{
		AccountID: s.Tokens.Session.Account, GrantID: s.Tokens.Session.Grant, Slot: int64(s.Tokens.Session.Slot),
		NextSlot: int64(s.Successor.Next), Sealed: models.Opaque(s.Successor.Sealed), CreatedAt: s.created,
	}
}

func TestKeyEncryptionKeysAreAsAnotherImplementationDerivesThem(t *testing.T) {
	t.Parallel()
	p := known[knownPlatform](t, "platform")
	for _, k := range append(knownTokens(t), p.Tokens.Session, p.Tokens.APIKey, p.Tokens.Agent) {
		c, err := keyring(t).OpenToken(k.Token)
		if err != nil {
			t.Fatal(err)
		}
		x25519, dek, cek, err := c.KEKs(p.Vault, p.Generation, p.Credential, p.Epoch)
		if err != nil {
			t.Fatalf("%s: %v", k.Name, err)
		}
		same(t, k.Name+"'s key for its private key", x25519, k.KEKs.X25519)
		same(t, k.Name+"'s key for a DEK", dek, k.KEKs.DEK)
		same(t, k.Name+"'s key for a CEK", cek, k.KEKs.CEK)
	}
}

func TestVaultKeysAreAsAnotherImplementationWrapsThem(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	d := s.dek(t)
	slot, err := s.session.KeepDEK(d)
	sameVaultKey(t, s, &slot, err, models.FormSlot)
	handOver, err := s.session.HandOver(bytes.NewReader(s.Nonce), d)
	sameVaultKey(t, s, &handOver, err, models.FormHandOver)
	shared, err := s.session.ShareDEK(bytes.NewReader(s.Ephemeral), d, s.apiKey.Grant())
	sameVaultKey(t, s, &shared, err, models.FormShared)

	for form, h := range map[models.KeyForm]*custody.Holder{
		models.FormSlot: s.session, models.FormHandOver: s.session, models.FormShared: s.apiKey,
	} {
		opened, err := h.OpenVaultKey(s.vaultKey(form), s.session.Grant())
		if err != nil {
			t.Errorf("%s: the known key does not open: %v", form, err)
			continue
		}
		same(t, "the DEK of form "+string(form), opened.Bytes(), s.DEK)
		if vault, generation := opened.Vault(); vault != s.Vault || generation != s.Generation {
			t.Errorf("%s: the DEK is of vault %s at %d, want %s at %d", form, vault, generation, s.Vault, s.Generation)
		}
	}
}

func sameVaultKey(t *testing.T, s *stage, got *models.VaultKey, err error, form models.KeyForm) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", form, err)
	}
	want := s.vaultKey(form)
	same(t, string(form)+", wrapped,", got.Wrapped, want.Wrapped)
	same(t, string(form)+", its MAC,", got.MAC, want.MAC)
	if (got.SenderID == nil) != (want.SenderID == nil) || got.SenderID != nil && *got.SenderID != *want.SenderID {
		t.Errorf("%s: sent by %v, want %v", form, got.SenderID, want.SenderID)
	}
}

func TestCredentialKeysAreAsAnotherImplementationWrapsThem(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c := s.cek(t)
	same(t, "the CEK", c.Bytes(), s.CEK)
	slot, err := s.agent.KeepCEK(c)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := s.session.ShareCEK(bytes.NewReader(s.Ephemeral), c, s.agent.Grant())
	if err != nil {
		t.Fatal(err)
	}
	for form, got := range map[models.KeyForm]models.CredentialKey{models.FormSlot: slot, models.FormShared: shared} {
		want := s.credentialKey(form)
		same(t, string(form)+", wrapped,", got.Wrapped, want.Wrapped)
		same(t, string(form)+", its MAC,", got.MAC, want.MAC)
		opened, err := s.agent.OpenCredentialKey(want, s.session.Grant())
		if err != nil {
			t.Fatalf("%s: the known key does not open: %v", form, err)
		}
		same(t, "the CEK of form "+string(form), opened.Bytes(), s.CEK)
	}
}

func TestCredentialsAreAsAnotherImplementationSealsThem(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c := s.cek(t)
	for i, k := range s.Credentials {
		token, row := s.credential(i)
		opened, err := c.Open(token, row)
		if err != nil {
			t.Fatalf("%s: %v", k.Service, err)
		}
		same(t, "the secret", opened, s.Secret)
		for _, form := range []models.KeyForm{models.FormSlot, models.FormShared} {
			key, recalled, err := s.recall(s.credentialKey(form), token, row)
			if err != nil {
				t.Fatalf("%s, form %s: %v", k.Service, form, err)
			}
			same(t, "the recalled secret", recalled, s.Secret)
			same(t, "the recalled key", key.Bytes(), s.CEK)
		}
		row.Sealed = nil
		if err := c.Seal(bytes.NewReader(s.Nonce), token, row, s.Secret); err != nil {
			t.Fatal(err)
		}
		same(t, "the credential", row.Sealed, k.Sealed)
	}
}

func TestEscrowsAreAsAnotherImplementationWrapsThem(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	got, want := s.escrow()
	if err := s.session.Offer(bytes.NewReader(s.Ephemeral), got, s.dek(t), s.apiKey.Grant()); err != nil {
		t.Fatal(err)
	}
	same(t, "the wrapped key", got.Wrapped, want.Wrapped)
	same(t, "the MAC", got.MAC, want.MAC)
	opened, err := s.apiKey.OpenEscrow(want, s.session.Grant())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the DEK", opened.Bytes(), s.DEK)
}

func TestSuccessorsAreAsAnotherImplementationSealsThem(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	got, err := s.session.SealSuccessor(bytes.NewReader(s.Nonce), s.Successor.Next, s.Successor.Text)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the sealed successor", got.Sealed, s.Successor.Sealed)
	text, err := s.session.OpenSuccessor(s.successor())
	if err != nil || text != s.Successor.Text {
		t.Errorf("got %q, %v; want %q", text, err, s.Successor.Text)
	}
}

func TestTokensOfOtherVersionsAreRefused(t *testing.T) {
	t.Parallel()
	for _, k := range known[[]struct{ Why, Token string }](t, "refused") {
		refusedToken(t, keyring(t), k.Why, k.Token)
	}
}

func TestAHolderNeedsTheRowsOfItsOwnToken(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	k := &s.Tokens.Session
	other, otherKey := s.rows(&s.Tokens.APIKey)
	for what, change := range map[string]func(c *custody.Claims, g *models.Grant, key *models.GrantKey){
		"another account in the token": func(c *custody.Claims, _ *models.Grant, _ *models.GrantKey) { c.AccountID = models.NewID() },
		"another slot in the token":    func(c *custody.Claims, _ *models.Grant, _ *models.GrantKey) { c.Slot++ },
		"another kind in the token":    func(c *custody.Claims, _ *models.Grant, _ *models.GrantKey) { c.Kind = models.GrantAPIKey },
		"the grant of another token":   func(_ *custody.Claims, g *models.Grant, _ *models.GrantKey) { *g = *other },
		"the slot of another token":    func(_ *custody.Claims, _ *models.Grant, key *models.GrantKey) { *key = *otherKey },
		"the rows of another token":    func(_ *custody.Claims, g *models.Grant, key *models.GrantKey) { *g, *key = *other, *otherKey },
		"a grant of another account":   func(_ *custody.Claims, g *models.Grant, _ *models.GrantKey) { g.AccountID = models.NewID() },
		"a slot of another account":    func(_ *custody.Claims, _ *models.Grant, key *models.GrantKey) { key.AccountID = models.NewID() },
		"a private key of another slot": func(_ *custody.Claims, _ *models.Grant, key *models.GrantKey) {
			key.WrappedPrivateKey = otherKey.WrappedPrivateKey
		},
		"a grant of another kind":  func(_ *custody.Claims, g *models.Grant, _ *models.GrantKey) { g.Kind = models.GrantAPIKey },
		"another grant's number":   func(_ *custody.Claims, g *models.Grant, _ *models.GrantKey) { g.ID = models.NewID() },
		"a slot of another number": func(_ *custody.Claims, _ *models.Grant, key *models.GrantKey) { key.Slot++ },
		"a slot of another grant":  func(_ *custody.Claims, _ *models.Grant, key *models.GrantKey) { key.GrantID = models.NewID() },
		"a cleared secret":         func(c *custody.Claims, _ *models.Grant, _ *models.GrantKey) { c.Secret.Clear() },
	} {
		c, err := s.ring.OpenToken(k.Token)
		if err != nil {
			t.Fatal(err)
		}
		g, key := s.rows(k)
		change(&c, g, key)
		s.ring.SignGrant(g)
		s.ring.SignGrantKey(key)
		if h, err := s.ring.Hold(c, g, key, time.Now); !errors.Is(err, custody.ErrOpen) || h != nil {
			t.Errorf("%s: got %v and a holder %t, want ErrOpen and none", what, err, h != nil)
		}
	}
	for what, change := range map[string]func(g *models.Grant, key *models.GrantKey){
		"a changed grant": func(g *models.Grant, _ *models.GrantKey) { g.PublicKey = other.PublicKey },
		"a changed slot":  func(_ *models.Grant, key *models.GrantKey) { key.TokenKeyID++ },
	} {
		c, err := s.ring.OpenToken(k.Token)
		if err != nil {
			t.Fatal(err)
		}
		g, key := s.rows(k)
		change(g, key)
		if h, err := s.ring.Hold(c, g, key, time.Now); !errors.Is(err, custody.ErrRow) || h != nil {
			t.Errorf("%s, not signed anew: got %v and a holder %t, want ErrRow and none", what, err, h != nil)
		}
	}
}
