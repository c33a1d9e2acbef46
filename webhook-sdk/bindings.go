package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tvzero/tokenvault/webhook-sdk/custody"
	"github.com/tvzero/tokenvault/webhook-sdk/storage"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	bindingKey   = "state"
	bindingLabel = "webhook/binding"
)

// bindings are the secrets that this webhook shares with TV, and the registration
// codes with which one comes about. State is sealed into the storage before it
// counts, so that it survives a restart at any moment.
type bindings struct {
	storage Documents
	keys    *custody.Keys
	random  io.Reader

	mu    sync.Mutex // held while state changes, the write included
	state bindingState
	inUse atomic.Pointer[[]binding] // the secrets of state, for readers
}

// bindingState is what is stored.
type bindingState struct {
	Codes     []bindCode `json:"codes,omitempty"` // oldest first
	Current   *binding   `json:"current,omitempty"`
	Candidate *binding   `json:"candidate,omitempty"` // handed out, not yet used
	Previous  *binding   `json:"previous,omitempty"`  // until Until
	Setup     setupState `json:"setup,omitzero"`
}

// A binding is one secret with what goes with it.
type binding struct {
	Secret wire.Secret
	Origin string    // of the TV that was chosen when the code was made
	Owner  string    // the sub of this secret's tickets, once known
	Until  time.Time // zero: no end
	role   role
}

// role says which of the secrets a call was made with.
type role int

const (
	roleCurrent role = iota
	roleCandidate
	rolePrevious
)

// storedBinding is a binding in the sealed state, the only place where a secret is
// written out.
type storedBinding struct {
	Secret []byte    `json:"secret"`
	Origin string    `json:"origin"`
	Owner  string    `json:"owner,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// MarshalJSON writes the secret out: the result is for sealing.
func (b binding) MarshalJSON() ([]byte, error) {
	return json.Marshal(storedBinding{Secret: b.Secret.Bytes(), Origin: b.Origin, Owner: b.Owner, Until: b.Until})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (b *binding) UnmarshalJSON(text []byte) error {
	var s storedBinding
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	secret, err := wire.NewSecret(s.Secret)
	if err != nil {
		return err
	}
	*b = binding{Secret: secret, Origin: s.Origin, Owner: s.Owner, Until: s.Until}
	return nil
}

// loadBindings reads the state; none is an unbound webhook's.
func loadBindings(ctx context.Context, documents Documents, keys *custody.Keys, random io.Reader) (*bindings, error) {
	b := &bindings{storage: documents, keys: keys, random: random}
	item, err := documents.Get(ctx, storage.CollectionBinding, bindingKey)
	if errors.Is(err, storage.ErrNotFound) {
		b.publish()
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("webhook: reading the state of the binding: %w", err)
	}
	var sealed []byte
	if err := json.Unmarshal(item.Data, &sealed); err != nil {
		return nil, errors.New("webhook: the stored state of the binding is damaged; restore it from a backup")
	}
	plain, err := keys.OpenBlob(bindingLabel, sealed)
	if err != nil {
		return nil, fmt.Errorf("webhook: the stored state of the binding was sealed with other keys, "+
			"start with the seed or key file that belongs to this data: %w", err)
	}
	defer clear(plain)
	if err := json.Unmarshal(plain, &b.state); err != nil {
		return nil, errors.New("webhook: the stored state of the binding is of an unknown form; a newer program wrote it")
	}
	b.publish()
	return b, nil
}

// change applies fn to a copy of the state, stores it, and only then makes it
// count. An error of fn changes nothing. A request that is cancelled meanwhile does
// not stop the write.
func (b *bindings) change(ctx context.Context, fn func(*bindingState) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.state.clone()
	if err := fn(&next); err != nil {
		return err
	}
	plain, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encoding the state of the binding: %w", err)
	}
	defer clear(plain)
	sealed, err := b.keys.SealBlob(bindingLabel, plain)
	if err != nil {
		return fmt.Errorf("sealing the state of the binding: %w", err)
	}
	item := storage.Item{Key: bindingKey, Data: json.RawMessage(`"` + base64.StdEncoding.EncodeToString(sealed) + `"`)}
	if err := b.storage.Put(context.WithoutCancel(ctx), storage.CollectionBinding, item, storage.Condition{}); err != nil {
		return fmt.Errorf("storing the state of the binding: %w", err)
	}
	b.state = next
	b.publish()
	return nil
}

// publish makes the secrets of the state visible to readers.
func (b *bindings) publish() {
	var list []binding
	add := func(from *binding, role role) {
		if from != nil {
			entry := *from
			entry.role = role
			list = append(list, entry)
		}
	}
	add(b.state.Current, roleCurrent)
	add(b.state.Candidate, roleCandidate)
	add(b.state.Previous, rolePrevious)
	b.inUse.Store(&list)
}

// active returns the bindings whose secrets count now. The slice is shared: it is
// not to be changed.
func (b *bindings) active(now time.Time) []binding {
	list := *b.inUse.Load()
	// Only the previous one ends, and it stands last.
	if n := len(list); n > 0 && !list[n-1].Until.IsZero() && !now.Before(list[n-1].Until) {
		return list[:n-1]
	}
	return list
}

// origins are the origins of the TVs whose secrets count now.
func (b *bindings) origins(now time.Time) []string {
	var out []string
	for _, binding := range b.active(now) {
		out = append(out, binding.Origin)
	}
	return out
}

// bound reports whether a set-up was closed by a call of TV.
func (b *bindings) bound() bool {
	for _, binding := range *b.inUse.Load() {
		if binding.role == roleCurrent {
			return true
		}
	}
	return false
}

// close makes the candidate the secret in use, if it still is the candidate. The
// one before it stays valid for wire.PreviousSecretLife; every registration code
// and set-up link ends.
func (b *bindings) close(ctx context.Context, now time.Time, secret wire.Secret) error {
	err := b.change(ctx, func(s *bindingState) error {
		if s.Candidate == nil || !s.Candidate.Secret.Equal(secret) {
			return errUnchanged // another call was first
		}
		s.Previous = s.Current
		if s.Previous != nil {
			s.Previous.Until = now.Add(wire.PreviousSecretLife)
		}
		s.Current, s.Candidate = s.Candidate, nil
		s.Setup = setupState{}
		s.endCodes(nil)
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

var errUnchanged = errors.New("the state of the binding is as it is wanted")

// errOtherOwner: tickets of one secret are for one owner.
var errOtherOwner = errors.New("the ticket is for another vault owner than the binding")

// claim remembers the owner of a secret's tickets, durably, or reports
// errOtherOwner if another one was first.
func (b *bindings) claim(ctx context.Context, secret wire.Secret, owner string) error {
	err := b.change(ctx, func(s *bindingState) error {
		for _, binding := range []*binding{s.Current, s.Candidate, s.Previous} {
			if binding == nil || !binding.Secret.Equal(secret) {
				continue
			}
			switch binding.Owner {
			case "":
				binding.Owner = owner
				return nil
			case owner:
				return errUnchanged
			}
		}
		return errOtherOwner // or the secret ended in this moment
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

func (s bindingState) clone() bindingState {
	out := s
	out.Codes = append([]bindCode(nil), s.Codes...)
	for _, p := range []**binding{&out.Current, &out.Candidate, &out.Previous} {
		if *p != nil {
			copied := **p
			*p = &copied
		}
	}
	return out
}

func hashOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }
