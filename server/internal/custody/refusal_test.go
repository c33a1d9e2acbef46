package custody_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// A sealedThing is bytes that somebody in the stage can open. Rows are signed anew
// with whatever bytes they get, as who holds the server key could: the
// cryptography below the signature has to refuse.
type sealedThing struct {
	name   string
	sealed models.Opaque
	open   func(sealed models.Opaque) ([]byte, error)
}

func (s *stage) sealedThings() []sealedThing {
	vaultKey := func(h *custody.Holder, form models.KeyForm) sealedThing {
		return sealedThing{"vault key, " + string(form), s.vaultKey(form).Wrapped, func(sealed models.Opaque) ([]byte, error) {
			row := s.vaultKey(form)
			row.Wrapped = sealed
			s.ring.SignVaultKey(row)
			d, err := h.OpenVaultKey(row, s.session.Grant())
			return d.Bytes(), err
		}}
	}
	credentialKey := func(form models.KeyForm) sealedThing {
		return sealedThing{"credential key, " + string(form), s.credentialKey(form).Wrapped, func(sealed models.Opaque) ([]byte, error) {
			row := s.credentialKey(form)
			row.Wrapped = sealed
			s.ring.SignCredentialKey(row)
			c, err := s.agent.OpenCredentialKey(row, s.session.Grant())
			return c.Bytes(), err
		}}
	}
	recalled := func(form models.KeyForm, ofKey bool) sealedThing {
		token, row := s.credential(0)
		key := s.credentialKey(form)
		name, was := "recalled credential, "+string(form), row.Sealed
		if ofKey {
			name, was = "recalled key, "+string(form), key.Wrapped
		}
		return sealedThing{name, was, func(sealed models.Opaque) ([]byte, error) {
			if ofKey {
				key.Wrapped = sealed
			} else {
				row.Sealed = sealed
			}
			s.ring.SignCredentialKey(key)
			_, secret, err := s.recall(key, token, row)
			return secret, err
		}}
	}
	return []sealedThing{
		recalled(models.FormSlot, true), recalled(models.FormShared, true), recalled(models.FormSlot, false), recalled(models.FormShared, false),
		vaultKey(s.session, models.FormSlot), vaultKey(s.apiKey, models.FormShared), vaultKey(s.session, models.FormHandOver),
		credentialKey(models.FormSlot), credentialKey(models.FormShared),
		{"escrow", models.Opaque(s.Escrow.Wrapped), func(sealed models.Opaque) ([]byte, error) {
			_, e := s.escrow()
			e.Wrapped = sealed
			s.ring.SignEscrow(e)
			d, err := s.apiKey.OpenEscrow(e, s.session.Grant())
			return d.Bytes(), err
		}},
		{"credential", models.Opaque(s.Credentials[0].Sealed), func(sealed models.Opaque) ([]byte, error) {
			c, err := s.dek0().CEK(s.Credential, s.Epoch)
			if err != nil {
				return nil, err
			}
			token, row := s.credential(0)
			row.Sealed = sealed
			return c.Open(token, row)
		}},
		{"successor", models.Opaque(s.Successor.Sealed), func(sealed models.Opaque) ([]byte, error) {
			row := s.successor()
			row.Sealed = sealed
			text, err := s.session.OpenSuccessor(row)
			return []byte(text), err
		}},
	}
}

// recall opens a credential as the agent that has a replica remember it.
func (s *stage) recall(key *models.CredentialKey, token *models.Token, row *models.Credential) (custody.CEK, []byte, error) {
	known, err := s.ring.RememberCredential(key, token, row)
	if err != nil {
		return custody.CEK{}, nil, err
	}
	return s.agent.RecallCredential(&known, s.session.Grant(), make([]byte, 0, 64))
}

// refusesKey reports how a holder refuses a credential's key, and what it opens by it:
// asked for the key alone, and for the credential beside it.
func (s *stage) refusesKey(h *custody.Holder, key *models.CredentialKey, sender *models.Grant, want error) error {
	if c, err := h.OpenCredentialKey(key, sender); !errors.Is(err, want) || c.Bytes() != nil {
		return fmt.Errorf("the key alone: %w, want %w", err, want)
	}
	token, row := s.credential(0)
	known, err := s.ring.RememberCredential(key, token, row)
	if err != nil {
		return err
	}
	c, secret, err := h.RecallCredential(&known, sender, nil)
	if !errors.Is(err, want) || len(secret) != 0 || c.Bytes() != nil && key.CredentialID == row.ID && key.Epoch == row.Epoch {
		return fmt.Errorf("beside the credential: %d bytes, %w, want %w", len(secret), err, want)
	}
	return nil
}

// dek0 is dek without a test to fail: NewDEK fails for want of randomness alone.
func (s *stage) dek0() custody.DEK {
	d, _ := custody.NewDEK(bytes.NewReader(s.DEK), s.Vault, s.Generation)
	return d
}

func TestEveryFlippedBitOfWhatIsSealedIsARefusal(t *testing.T) {
	t.Parallel()
	for _, thing := range newStage(t).sealedThings() {
		t.Run(thing.name, func(t *testing.T) {
			t.Parallel()
			things := newStage(t).sealedThings() // holders are not for concurrent use
			thing := things[slices.IndexFunc(things, func(other sealedThing) bool { return other.name == thing.name })]
			if got, err := thing.open(thing.sealed); err != nil || len(got) == 0 {
				t.Fatalf("as it was sealed: %d bytes, %v", len(got), err)
			}
			refused := func(what string, sealed models.Opaque) {
				t.Helper()
				if got, err := thing.open(sealed); !errors.Is(err, custody.ErrOpen) || len(got) != 0 {
					t.Fatalf("%s: %d bytes, %v; want ErrOpen and nothing", what, len(got), err)
				}
			}
			for bit := range len(thing.sealed) * 8 {
				flipped := slices.Clone(thing.sealed)
				flipped[bit/8] ^= 1 << (bit % 8)
				refused(fmt.Sprintf("bit %d flipped", bit), flipped)
			}
			for n := range len(thing.sealed) {
				refused(fmt.Sprintf("cut to %d bytes", n), thing.sealed[:n])
			}
			for n := 1; n <= 16; n++ {
				refused(fmt.Sprintf("%d bytes longer", n), append(slices.Clone(thing.sealed), make([]byte, n)...))
				refused(fmt.Sprintf("%d bytes before", n), append(make(models.Opaque, n), thing.sealed...))
			}
			refused("twice", append(slices.Clone(thing.sealed), thing.sealed...))
			for _, other := range things {
				if !bytes.Equal(other.sealed, thing.sealed) { // some are opened in two ways
					refused("the bytes of: "+other.name, other.sealed)
				}
			}
		})
	}
}

func TestAVaultKeyOpensInItsOwnPlaceAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	holders := map[models.KeyForm]*custody.Holder{models.FormSlot: s.session, models.FormShared: s.apiKey, models.FormHandOver: s.session}
	for form, h := range holders {
		for what, change := range map[string]func(row *models.VaultKey){
			"another vault":      func(row *models.VaultKey) { row.VaultID = models.NewID() },
			"another generation": func(row *models.VaultKey) { row.Generation++ },
			"another account":    func(row *models.VaultKey) { row.AccountID = models.NewID() },
			"another grant":      func(row *models.VaultKey) { row.GrantID = s.agent.Grant().ID },
			"another slot":       func(row *models.VaultKey) { row.Slot++ },
			"no form":            func(row *models.VaultKey) { row.Form = "" },
			"the form of a slot": func(row *models.VaultKey) { row.Form, row.Slot = models.FormSlot, int64(h.Slot()) },
			"a shared form": func(row *models.VaultKey) {
				row.Form, row.Slot, row.SenderID = models.FormShared, -1, &s.session.Grant().ID
			},
			"a handed-over form":  func(row *models.VaultKey) { row.Form, row.Slot = models.FormHandOver, -1 },
			"the whole grant":     func(row *models.VaultKey) { row.Slot = models.WholeGrant },
			"a slot beyond 2^32":  func(row *models.VaultKey) { row.Slot = int64(h.Slot()) + 1<<32 },
			"a far generation":    func(row *models.VaultKey) { row.Generation += 1 << 32 },
			"negative generation": func(row *models.VaultKey) { row.Generation = -row.Generation },
		} {
			row, was := s.vaultKey(form), *s.vaultKey(form)
			change(row)
			if row.Form == was.Form && row.Slot == was.Slot && row.GrantID == was.GrantID && row.AccountID == was.AccountID &&
				row.VaultID == was.VaultID && row.Generation == was.Generation {
				continue
			}
			if _, err := h.OpenVaultKey(row, s.session.Grant()); !errors.Is(err, custody.ErrRow) {
				t.Errorf("%s, %s: got %v, want ErrRow", form, what, err)
			}
			s.ring.SignVaultKey(row)
			if d, err := h.OpenVaultKey(row, s.session.Grant()); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
				t.Errorf("%s, %s, signed anew: got %v, want ErrOpen and no key", form, what, err)
			}
		}
	}
}

func TestASharedKeyIsOfTheSenderThatItNames(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	forged := *s.session.Grant()
	forged.PublicKey = s.agent.Grant().PublicKey // as a writer of the database would
	stranger := *s.session.Grant()
	stranger.AccountID = models.NewID()
	s.ring.SignGrant(&stranger)
	replaced := forged
	s.ring.SignGrant(&replaced)
	for what, c := range map[string]struct {
		sender *models.Grant
		want   error
	}{
		"no sender":                          {nil, custody.ErrOpen},
		"another sender":                     {s.agent.Grant(), custody.ErrOpen},
		"a sender with a forged public key":  {&forged, custody.ErrRow},
		"a sender whose public key has gone": {&replaced, custody.ErrOpen},
		"a sender of another account":        {&stranger, custody.ErrOpen},
		"the recipient as the sender":        {s.apiKey.Grant(), custody.ErrOpen},
		"a sender that no server key signed": {&models.Grant{AccountID: forged.AccountID, ID: forged.ID, KeyID: 9}, custody.ErrKeyID},
	} {
		if d, err := s.apiKey.OpenVaultKey(s.vaultKey(models.FormShared), c.sender); !errors.Is(err, c.want) || d.Bytes() != nil {
			t.Errorf("vault key, %s: got %v, want %v", what, err, c.want)
		}
		if err := s.refusesKey(s.agent, s.credentialKey(models.FormShared), c.sender, c.want); err != nil {
			t.Errorf("credential key, %s: %v", what, err)
		}
		_, e := s.escrow()
		if d, err := s.apiKey.OpenEscrow(e, c.sender); !errors.Is(err, c.want) || d.Bytes() != nil {
			t.Errorf("escrow, %s: got %v, want %v", what, err, c.want)
		}
	}
	row := s.vaultKey(models.FormShared)
	row.SenderID = nil
	s.ring.SignVaultKey(row)
	if d, err := s.apiKey.OpenVaultKey(row, s.session.Grant()); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
		t.Errorf("a row without a sender: got %v, want ErrOpen", err)
	}
}

func TestACredentialOpensInItsOwnPlaceAndUnderItsOwnNameAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c := s.cek(t)
	for what, change := range map[string]func(token *models.Token, row *models.Credential){
		"another vault":          func(_ *models.Token, row *models.Credential) { row.VaultID = models.NewID() },
		"another id":             func(token *models.Token, row *models.Credential) { token.ID = models.NewID(); row.ID = token.ID },
		"another token's name":   func(token *models.Token, _ *models.Credential) { token.ID = models.NewID() },
		"another account":        func(token *models.Token, _ *models.Credential) { token.AccountID = models.NewID() },
		"another service":        func(token *models.Token, _ *models.Credential) { token.ServiceName = "gitlab" },
		"another owner":          func(token *models.Token, _ *models.Credential) { token.Owner += "x" },
		"another bridge":         func(token *models.Token, _ *models.Credential) { token.Bridge = "" },
		"another scheme":         func(token *models.Token, _ *models.Credential) { token.Scheme = "basic" },
		"text moved to a bridge": func(token *models.Token, _ *models.Credential) { token.Owner, token.Bridge = "acm", "e"+token.Bridge },
		"another epoch":          func(_ *models.Token, row *models.Credential) { row.Epoch++ },
		"another version":        func(_ *models.Token, row *models.Credential) { row.Version-- },
	} {
		token, row := s.credential(1)
		change(token, row)
		if secret, err := c.Open(token, row); !errors.Is(err, custody.ErrOpen) || secret != nil {
			t.Errorf("%s: got %d bytes, %v; want ErrOpen", what, len(secret), err)
		}
		if _, secret, err := s.recall(s.credentialKey(models.FormSlot), token, row); !errors.Is(err, custody.ErrOpen) || secret != nil {
			t.Errorf("%s: recalled %d bytes, %v; want ErrOpen", what, len(secret), err)
		}
	}
	for what, other := range map[string]func() (custody.CEK, error){
		"the key of the next epoch": func() (custody.CEK, error) { return s.dek(t).CEK(s.Credential, s.Epoch+1) },
		"the key of another":        func() (custody.CEK, error) { return s.dek(t).CEK(models.NewID(), s.Epoch) },
		"a key of another vault": func() (custody.CEK, error) {
			d, err := custody.NewDEK(bytes.NewReader(s.CEK), s.Vault, s.Generation)
			if err != nil {
				return custody.CEK{}, err
			}
			return d.CEK(s.Credential, s.Epoch)
		},
		"no key": func() (custody.CEK, error) { return custody.CEK{}, nil },
	} {
		key, err := other()
		if err != nil {
			t.Fatal(err)
		}
		token, row := s.credential(1)
		if secret, err := key.Open(token, row); !errors.Is(err, custody.ErrOpen) || secret != nil {
			t.Errorf("%s: got %d bytes, %v; want ErrOpen", what, len(secret), err)
		}
	}
	// A key of another epoch seals nothing into it, either.
	next, err := s.dek(t).CEK(s.Credential, s.Epoch+1)
	if err != nil {
		t.Fatal(err)
	}
	token, row := s.credential(0)
	was := slices.Clone(row.Sealed)
	if err := next.Seal(bytes.NewReader(s.Nonce), token, row, []byte("{}")); !errors.Is(err, custody.ErrOpen) || !bytes.Equal(row.Sealed, was) {
		t.Errorf("sealed with the key of the next epoch: %v, changed %t", err, !bytes.Equal(row.Sealed, was))
	}
}

func TestAnAgentOpensNothingButWhatItWasGrantedEvenWithTheServerKey(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	agent := s.agent.Grant().ID
	for _, form := range []models.KeyForm{models.FormSlot, models.FormShared, models.FormHandOver} {
		row := s.vaultKey(form)
		row.GrantID = agent
		if form == models.FormSlot {
			row.Slot = int64(s.agent.Slot())
		}
		s.ring.SignVaultKey(row)
		if d, err := s.agent.OpenVaultKey(row, s.session.Grant()); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
			t.Errorf("a vault key of form %s, given to the agent: %v, want ErrOpen", form, err)
		}
	}
	for _, form := range []models.KeyForm{models.FormSlot, models.FormShared} {
		row := s.credentialKey(form)
		row.CredentialID = models.NewID()
		s.ring.SignCredentialKey(row)
		if err := s.refusesKey(s.agent, row, s.session.Grant(), custody.ErrOpen); err != nil {
			t.Errorf("its key of form %s, renamed to another credential: %v", form, err)
		}
		row = s.credentialKey(form)
		row.Epoch++
		s.ring.SignCredentialKey(row)
		if err := s.refusesKey(s.agent, row, s.session.Grant(), custody.ErrOpen); err != nil {
			t.Errorf("its key of form %s, renamed to the next epoch: %v", form, err)
		}
	}
	_, e := s.escrow()
	e.ToID = agent
	s.ring.SignEscrow(e)
	if d, err := s.agent.OpenEscrow(e, s.session.Grant()); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
		t.Errorf("an escrow turned to the agent: %v, want ErrOpen", err)
	}
}

func TestKeysAreGivenToTheKindsOfGrantThatMayHaveThem(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	d, c := s.dek(t), s.cek(t)
	toAgent, _ := s.escrow()
	toAgent.ToID = s.agent.Grant().ID
	code := *s.apiKey.Grant()
	code.Kind = models.GrantAuthCode
	s.ring.SignGrant(&code)
	for what, give := range map[string]func() (models.Opaque, error){
		"a vault's key to an agent": func() (models.Opaque, error) {
			r, err := s.session.ShareDEK(never{}, d, s.agent.Grant())
			return r.Wrapped, err
		},
		"a vault's key to a code's public key":   func() (models.Opaque, error) { r, err := s.session.ShareDEK(never{}, d, &code); return r.Wrapped, err },
		"a vault's key, kept by an agent":        func() (models.Opaque, error) { r, err := s.agent.KeepDEK(d); return r.Wrapped, err },
		"a vault's key, handed over by an agent": func() (models.Opaque, error) { r, err := s.agent.HandOver(never{}, d); return r.Wrapped, err },
		"an escrow to an agent": func() (models.Opaque, error) {
			err := s.session.Offer(never{}, toAgent, d, s.agent.Grant())
			return toAgent.Wrapped, err
		},
		"a credential's key to an API key": func() (models.Opaque, error) {
			r, err := s.session.ShareCEK(never{}, c, s.apiKey.Grant())
			return r.Wrapped, err
		},
		"a credential's key, kept by a session": func() (models.Opaque, error) { r, err := s.session.KeepCEK(c); return r.Wrapped, err },
	} {
		if wrapped, err := give(); err == nil || wrapped != nil {
			t.Errorf("%s: %d bytes, %v; want a refusal", what, len(wrapped), err)
		}
	}
}

func TestAKeyOfTheWrongKindIsNotOpenedEvenIfSomebodyWrappedIt(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	disguised := func(g models.Grant, kind models.GrantKind) *models.Grant { // its rows are signed: by whoever runs the server
		g.Kind = kind
		s.ring.SignGrant(&g)
		return &g
	}
	agent, apiKey := disguised(*s.agent.Grant(), models.GrantAPIKey), disguised(*s.apiKey.Grant(), models.GrantAgentKey)
	row, err := s.session.ShareDEK(bytes.NewReader(s.Ephemeral), s.dek(t), agent)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.agent.OpenVaultKey(&row, s.session.Grant()); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
		t.Errorf("an agent and a vault's key: %v, want ErrOpen", err)
	}
	e, _ := s.escrow()
	e.ToID = agent.ID
	if err := s.session.Offer(bytes.NewReader(s.Ephemeral), e, s.dek(t), agent); err != nil {
		t.Fatal(err)
	}
	if d, err := s.agent.OpenEscrow(e, s.session.Grant()); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
		t.Errorf("an agent and an escrow: %v, want ErrOpen", err)
	}
	key, err := s.session.ShareCEK(bytes.NewReader(s.Ephemeral), s.cek(t), apiKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.refusesKey(s.apiKey, &key, s.session.Grant(), custody.ErrOpen); err != nil {
		t.Errorf("an API key and a credential's key: %v", err)
	}
	other := *s.credentialKey(models.FormSlot)
	other.AccountID = models.NewID()
	s.ring.SignCredentialKey(&other)
	if err := s.refusesKey(s.agent, &other, nil, custody.ErrOpen); err != nil {
		t.Errorf("an agent and a key of another account: %v", err)
	}
}

// never is a source of randomness that nobody may ask.
type never struct{}

func (never) Read([]byte) (int, error) { return 0, errors.New("randomness was asked for") }

func TestKeysGoToGrantsOfTheAccountThatAreAuthentic(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	forged := *s.apiKey.Grant()
	forged.PublicKey = s.agent.Grant().PublicKey
	stranger := *s.apiKey.Grant()
	stranger.AccountID = models.NewID()
	s.ring.SignGrant(&stranger)
	weak := *s.apiKey.Grant()
	weak.PublicKey = make([]byte, 32) // a point of low order
	s.ring.SignGrant(&weak)
	short := *s.apiKey.Grant()
	short.PublicKey = short.PublicKey[:31]
	s.ring.SignGrant(&short)
	for what, c := range map[string]struct {
		to   *models.Grant
		want error
	}{
		"a forged public key": {&forged, custody.ErrRow}, "another account": {&stranger, custody.ErrOpen},
		"a weak public key": {&weak, custody.ErrOpen}, "a short public key": {&short, custody.ErrOpen},
	} {
		if row, err := s.session.ShareDEK(bytes.NewReader(s.Ephemeral), s.dek(t), c.to); !errors.Is(err, c.want) || row.Wrapped != nil {
			t.Errorf("%s: shared, %v; want %v", what, err, c.want)
		}
		e, _ := s.escrow()
		if err := s.session.Offer(bytes.NewReader(s.Ephemeral), e, s.dek(t), c.to); !errors.Is(err, c.want) || e.Wrapped != nil || e.MAC != nil {
			t.Errorf("%s: offered, %v; want %v and the escrow as it was", what, err, c.want)
		}
	}
}

func TestAnEscrowIsOfItsOwnGrantsVaultAndGeneration(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for what, change := range map[string]func(e *models.Escrow){
		"another escrow":     func(e *models.Escrow) { e.ID = models.NewID() },
		"another account":    func(e *models.Escrow) { e.AccountID = models.NewID() },
		"another vault":      func(e *models.Escrow) { e.VaultID = models.NewID() },
		"another generation": func(e *models.Escrow) { e.Generation++ },
		"another initiator":  func(e *models.Escrow) { e.FromID = models.NewID() },
		"another target":     func(e *models.Escrow) { e.ToID = models.NewID() },
		"declined":           func(e *models.Escrow) { e.State = models.EscrowDeclined },
		"accepted":           func(e *models.Escrow) { e.State = models.EscrowAccepted },
	} {
		empty, full := s.escrow()
		change(full)
		if d, err := s.apiKey.OpenEscrow(full, s.session.Grant()); !errors.Is(err, custody.ErrRow) || d.Bytes() != nil {
			t.Errorf("%s: got %v, want ErrRow", what, err)
		}
		s.ring.SignEscrow(full)
		if d, err := s.apiKey.OpenEscrow(full, s.session.Grant()); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
			t.Errorf("%s, signed anew: got %v, want ErrOpen", what, err)
		}
		change(empty)
		if what == "another escrow" {
			continue
		}
		if err := s.session.Offer(never{}, empty, s.dek(t), s.apiKey.Grant()); err == nil || empty.Wrapped != nil || empty.MAC != nil {
			t.Errorf("%s: a key was put into it (%v)", what, err)
		}
	}
}

func TestASuccessorIsOfItsOwnTokenAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for what, change := range map[string]func(row *models.Successor){
		"another account":   func(row *models.Successor) { row.AccountID = models.NewID() },
		"another grant":     func(row *models.Successor) { row.GrantID = models.NewID() },
		"another slot":      func(row *models.Successor) { row.Slot++ },
		"another next slot": func(row *models.Successor) { row.NextSlot++ },
	} {
		row := s.successor()
		change(row)
		if text, err := s.session.OpenSuccessor(row); !errors.Is(err, custody.ErrOpen) || text != "" {
			t.Errorf("%s: got %q, %v; want ErrOpen", what, text, err)
		}
	}
	row := s.successor()
	row.GrantID, row.Slot = s.apiKey.Grant().ID, int64(s.apiKey.Slot())
	if text, err := s.apiKey.OpenSuccessor(row); !errors.Is(err, custody.ErrOpen) || text != "" {
		t.Errorf("another token, with the row turned to it: got %q, %v; want ErrOpen", text, err)
	}
}

func TestAPrivateKeyThatIsNotOfThePublicOneIsNotUsed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	k := &s.Tokens.Session
	g, key := s.rows(k)
	g.PublicKey = s.Tokens.APIKey.Public // by who has the server key: the row is authentic
	s.ring.SignGrant(g)
	c, err := s.ring.OpenToken(k.Token)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.ring.Hold(c, g, key, time.Now)
	if err != nil {
		t.Fatalf("the token is good all the same: %v", err)
	}
	if private, err := h.Private(); !errors.Is(err, custody.ErrOpen) || private.Bytes() != nil {
		t.Errorf("Private: %v, want ErrOpen", err)
	}
	if row, err := h.ShareDEK(bytes.NewReader(s.Ephemeral), s.dek(t), s.apiKey.Grant()); !errors.Is(err, custody.ErrOpen) || row.Wrapped != nil {
		t.Errorf("ShareDEK: %v, want ErrOpen", err)
	}
	if row, err := h.HandOver(bytes.NewReader(s.Nonce), s.dek(t)); !errors.Is(err, custody.ErrOpen) || row.Wrapped != nil {
		t.Errorf("HandOver: %v, want ErrOpen", err)
	}
	if d, err := h.OpenVaultKey(s.vaultKey(models.FormHandOver), nil); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
		t.Errorf("OpenVaultKey, handed over: %v, want ErrOpen", err)
	}
}

func TestAPrivateKeyIsWrappedForSlotsOfItsOwnGrant(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	private, err := s.session.Private()
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the private key", private.Bytes(), s.Tokens.Session.Private)
	next, _ := seal(t, s.ring, custody.Claims{Kind: models.GrantSession, AccountID: s.Tokens.Session.Account, GrantID: s.Tokens.Session.Grant, Slot: 3})
	wrapped, err := next.WrapGrantKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Unlock(wrapped); err != nil {
		t.Errorf("the next slot does not unlock: %v", err)
	}
	g, key := s.rows(&s.Tokens.Session)
	key.Slot, key.WrappedPrivateKey = 3, wrapped
	s.ring.SignGrantKey(key)
	h, err := s.ring.Hold(next, g, key, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.OpenVaultKey(s.vaultKey(models.FormHandOver), nil)
	if err != nil {
		t.Fatalf("the next slot does not open what was handed over: %v", err)
	}
	same(t, "the DEK handed over", d.Bytes(), s.DEK)
	if d, err := h.OpenVaultKey(s.vaultKey(models.FormSlot), nil); !errors.Is(err, custody.ErrOpen) || d.Bytes() != nil {
		t.Errorf("the next slot opens what the old one keeps: %v, want ErrOpen", err)
	}
	other, _ := seal(t, s.ring, custody.Claims{Kind: models.GrantSession, AccountID: s.Tokens.Session.Account, GrantID: models.NewID()})
	if wrapped, err := other.WrapGrantKey(private); err == nil || wrapped != nil {
		t.Errorf("wrapped for another grant in %d bytes", len(wrapped))
	}
	private.Clear()
	if wrapped, err := next.WrapGrantKey(private); !errors.Is(err, custody.ErrOpen) || wrapped != nil {
		t.Errorf("a cleared private key, wrapped in %d bytes, %v; want ErrOpen", len(wrapped), err)
	}
}

func TestNoKeyIsMadeWithoutRandomness(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	d, c := s.dek(t), s.cek(t)
	token, row := s.credential(0)
	row.Sealed = nil
	e, _ := s.escrow()
	for what, make := range map[string]func(r io.Reader) (models.Opaque, error){
		"NewDEK": func(r io.Reader) (models.Opaque, error) {
			d, err := custody.NewDEK(r, s.Vault, 1)
			return d.Bytes(), err
		},
		"ShareDEK": func(r io.Reader) (models.Opaque, error) {
			k, err := s.session.ShareDEK(r, d, s.apiKey.Grant())
			return k.Wrapped, err
		},
		"ShareCEK": func(r io.Reader) (models.Opaque, error) {
			k, err := s.session.ShareCEK(r, c, s.agent.Grant())
			return k.Wrapped, err
		},
		"HandOver": func(r io.Reader) (models.Opaque, error) { k, err := s.session.HandOver(r, d); return k.Wrapped, err },
		"SealSuccessor": func(r io.Reader) (models.Opaque, error) {
			k, err := s.session.SealSuccessor(r, 3, "x")
			return k.Sealed, err
		},
		"Seal": func(r io.Reader) (models.Opaque, error) {
			err := c.Seal(r, token, row, []byte("{}"))
			return row.Sealed, err
		},
		"Offer": func(r io.Reader) (models.Opaque, error) {
			err := s.session.Offer(r, e, d, s.apiKey.Grant())
			return e.Wrapped, err
		},
	} {
		for _, n := range []int{0, 1, 11} {
			got, err := make(bytes.NewReader(bytes.Repeat([]byte{1}, n)))
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || got != nil {
				t.Errorf("%s with %d random bytes: %d bytes, %v; want the reader's error", what, n, len(got), err)
			}
		}
	}
}

// FuzzOpenShared: whatever the bytes, nothing panics, and only what the sender
// wrapped opens.
func FuzzOpenShared(f *testing.F) {
	s := newStage(f)
	good := s.VaultKeys.Shared.Wrapped
	f.Add([]byte(good))
	f.Add([]byte(good[:len(good)-1]))
	f.Add([]byte(s.CredentialKeys.Shared.Wrapped))
	f.Add(append(make([]byte, 32), good[32:]...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		row := s.vaultKey(models.FormShared)
		row.Wrapped = wrapped
		s.ring.SignVaultKey(row)
		d, err := s.apiKey.OpenVaultKey(row, s.session.Grant())
		if (err == nil) != bytes.Equal(wrapped, good) || err != nil && (!errors.Is(err, custody.ErrOpen) || d.Bytes() != nil) {
			t.Fatalf("%x: %v", wrapped, err)
		}
	})
}

// FuzzOpenSuccessor: as FuzzOpenShared, for sealed successors.
func FuzzOpenSuccessor(f *testing.F) {
	s := newStage(f)
	good := s.Successor.Sealed
	f.Add([]byte(good), int64(3))
	f.Add([]byte(good), int64(4))
	f.Add([]byte(good[:27]), int64(3))
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, sealed []byte, next int64) {
		row := s.successor()
		row.Sealed, row.NextSlot = sealed, next
		text, err := s.session.OpenSuccessor(row)
		if opens := bytes.Equal(sealed, good) && next == int64(s.Successor.Next); (err == nil) != opens ||
			err != nil && (!errors.Is(err, custody.ErrOpen) || text != "") {
			t.Fatalf("%x, next slot %d: %q, %v", sealed, next, text, err)
		}
	})
}
