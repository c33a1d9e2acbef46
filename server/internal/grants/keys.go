package grants

import (
	"context"
	"errors"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
)

// Keys opens p's token again and returns the holder of its keys, which the
// caller clears. It reads the database anew, in the running transaction if there
// is one, so that a revocation elsewhere holds at once: INVALID_KEY when the
// token no longer counts, UNAVAILABLE when the database cannot be asked.
func (s *Service) Keys(ctx context.Context, p Principal) (*custody.Holder, error) {
	text := p.Token.Reveal()
	if text == "" || len(text) > maxToken {
		return nil, InvalidKey()
	}
	claims, err := s.deps.Keys.OpenToken(text)
	if err != nil {
		return nil, InvalidKey()
	}
	if claims.AccountID != p.AccountID || claims.GrantID != p.GrantID {
		claims.Secret.Clear()
		return nil, InvalidKey()
	}
	h, _, err := s.hold(ctx, claims, s.deps.Now())
	if err != nil {
		claims.Secret.Clear()
		return nil, err
	}
	return h, nil
}

// RememberedKeys is Keys for an agent's release, which asks it each time: where a
// replica remembers that the token is good, it need not read the database again. A
// change that was told ends that, as it does for Authenticate.
func (s *Service) RememberedKeys(ctx context.Context, p Principal) (*custody.Holder, error) {
	text, sum := p.Token.reveal()
	g, ok := s.known.Get(sum)
	if !ok {
		return s.Keys(ctx, p)
	}
	if now := s.deps.Now(); !g.ends.IsZero() && !now.Before(g.ends) {
		return nil, InvalidKey()
	}
	h, err := s.deps.Keys.Recall(text, &g.rows, s.deps.Now)
	if err != nil {
		return nil, InvalidKey()
	}
	return h, nil
}

// hold holds a token against the rows of its grant and slot. Every token that
// does not count at now is the same INVALID_KEY. When it fails, the claims'
// secret is still the caller's to clear.
func (s *Service) hold(ctx context.Context, c custody.Claims, now time.Time) (*custody.Holder, models.GrantKey, error) {
	grant, key, err := s.deps.Store.GrantWithKey(ctx, c.AccountID, c.GrantID, c.Slot)
	switch {
	case errors.Is(err, models.ErrNotFound):
		return nil, key, InvalidKey()
	case err != nil:
		return nil, key, unavailable(err)
	}
	h, err := s.deps.Keys.Hold(c, &grant, &key, s.deps.Now)
	if errors.Is(err, custody.ErrRow) || errors.Is(err, custody.ErrKeyID) {
		s.deps.Logger.ErrorContext(ctx, "grants: a row is not authentic; it was changed outside this server, or its server key is missing",
			"account", c.AccountID, "grant", c.GrantID, "slot", c.Slot)
	}
	if err != nil || !grant.Live(now) || ended(&key, now) || !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt) {
		return nil, key, InvalidKey()
	}
	return h, key, nil
}

// ended reports whether a slot's own life is over.
func ended(k *models.GrantKey, now time.Time) bool {
	return k.ExpiresAt != nil && !now.Before(*k.ExpiresAt)
}
