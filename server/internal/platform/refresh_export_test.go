package platform

import (
	"context"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// PlaceOf is the place of a token of p's vault, with its key as of now. end clears it.
func (s *Service) PlaceOf(ctx context.Context, p grants.Principal, ref Ref) (at refresh.Place, end func(), err error) {
	h, err := s.deps.Holders.Keys(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	defer h.Clear()
	l, err := s.lookAsOwner(ctx, h, ref)
	if err != nil {
		return nil, nil, err
	}
	defer l.clear()
	own := newPlace(s, l.token, refreshEvent(reader{principal: p}, l.token))
	own.bring(l.cek)
	return own, own.clear, nil
}

// Aloft is how many tokens are being refreshed.
func (s *Service) Aloft() int {
	s.aloft.Lock()
	defer s.aloft.Unlock()
	return len(s.places)
}

// ReadLead is how long before its expiry a token may be due.
const ReadLead = readLead
