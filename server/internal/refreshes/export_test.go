package refreshes

import (
	"context"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// PlaceOf is a token as the engine sees it.
func (s *Service) PlaceOf(t models.Token, c *vaults.Custody, p refresh.Provider) refresh.Place {
	return &place{s: s, a: attemptOf(dueOf(t), c), provider: p}
}

// DeliverDue is one look at the outbox.
func (s *Service) DeliverDue(ctx context.Context) error {
	_, err := s.deliverDue(ctx)
	return err
}

// Waiting counts those who ask for a refresh: who want a place to ask in, or have one.
func (s *Service) Waiting() (n int) {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	for _, one := range s.lanes.of {
		n += one.waiting
	}
	return n
}

// LookSoon is until something is looked at again that its owner may change.
const LookSoon = lookSoon

// ReadMeta reads what stands beside a refresh token.
func ReadMeta(from map[string]any) (provider, creation string, sequence int64, expires time.Time, scopes []string) {
	m := readMeta(from)
	return m.provider, m.creation, m.sequence, m.expires, m.scopes
}

// Enclose puts what was sealed into an entry, as this server does.
func Enclose(k Keyring, e models.OutboxEntry, sealed []byte) (models.OutboxEntry, error) {
	var err error
	e.Sealed, err = enclose(k, &e, sealed)
	return e, err
}
