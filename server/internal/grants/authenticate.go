package grants

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// maxToken bounds the text that Authenticate looks at, in bytes.
const maxToken = 512

// noteEvery is how coarse "last used" is.
const noteEvery = time.Minute

// good is a token that was found good, for as long as the cache remembers it.
type good struct {
	principal Principal    // without its token
	ends      time.Time    // the earlier end of token and grant; zero: none
	rotates   time.Time    // when the token is due to be followed; zero: never
	noted     atomic.Int64 // when its use was last noted, Unix seconds
	rows      custody.Remembered
}

// InvalidKey is the one refusal of every bad token, whatever is wrong with it.
func InvalidKey() error {
	return fault.New(fault.InvalidKey, "This key or session is not valid. It may be mistyped, expired or revoked: use another, or sign in again.")
}

// Authenticate tells who a token speaks for, if it is good and of one of the
// kinds. Every failure, whatever the cause, is the same INVALID_KEY; only a
// database that cannot be asked is UNAVAILABLE.
func (s *Service) Authenticate(ctx context.Context, token string, kinds ...models.GrantKind) (Principal, error) {
	if token == "" || len(token) > maxToken {
		return Principal{}, InvalidKey()
	}
	now := s.deps.Now()
	sum := sha256.Sum256([]byte(token))
	g, ok := s.known.Get(sum)
	if !ok {
		claims, err := s.deps.Keys.OpenToken(token)
		if err != nil {
			return Principal{}, InvalidKey()
		}
		g, err = s.known.Load(claims.AccountID, sum, func() (*good, error) { return s.check(ctx, &claims, now) })
		claims.Secret.Clear()
		if err != nil {
			return Principal{}, err
		}
	}
	if !g.ends.IsZero() && !now.Before(g.ends) || !slices.Contains(kinds, g.principal.Kind) {
		return Principal{}, InvalidKey()
	}
	s.note(g, now)
	p := g.principal
	p.RotateDue = g.due(now)
	p.Token = newTokenOf(token, sum)
	return p, nil
}

// check holds a token against the row of its grant and slot.
func (s *Service) check(ctx context.Context, c *custody.Claims, now time.Time) (*good, error) {
	h, key, err := s.hold(ctx, *c, now)
	if err != nil {
		return nil, err
	}
	defer h.Clear()
	grant := h.Grant()
	g := &good{principal: Principal{
		AccountID: c.AccountID, GrantID: c.GrantID, Kind: c.Kind, Scopes: grant.Scopes, Slot: c.Slot, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt,
	}}
	if grant.AgentID != nil {
		g.principal.AgentID = *grant.AgentID
	}
	if grant.VaultID != nil {
		g.principal.VaultID = *grant.VaultID
	}
	if grant.LastUsedAt != nil {
		g.noted.Store(grant.LastUsedAt.Unix())
	}
	for _, end := range []*time.Time{&c.ExpiresAt, grant.ExpiresAt, key.ExpiresAt} {
		if end != nil && !end.IsZero() && (g.ends.IsZero() || end.Before(g.ends)) {
			g.ends = *end
		}
	}
	g.rotates, g.rows = rotates(grant, &key), h.Remember()
	if err := s.follow(ctx, g, now); err != nil {
		return nil, err
	}
	return g, nil
}

// note remembers that a grant was used, to be written later.
func (s *Service) note(g *good, now time.Time) {
	last := g.noted.Load()
	if now.Unix()-last < int64(noteEvery/time.Second) || !g.noted.CompareAndSwap(last, now.Unix()) {
		return
	}
	s.mu.Lock()
	s.used[use{g.principal.AccountID, g.principal.GrantID, g.principal.AgentID}] = now
	s.mu.Unlock()
}

// Run writes when grants were last used, once a minute and when ctx ends.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(noteEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.writeUses(ctx)
			s.forgetLate(s.deps.Now())
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			s.writeUses(last)
			return nil
		}
	}
}

func (s *Service) writeUses(ctx context.Context) {
	s.mu.Lock()
	used := s.used
	s.used = make(map[use]time.Time, len(used))
	s.mu.Unlock()
	if len(used) == 0 {
		return
	}
	grants := make([]models.GrantUse, 0, len(used))
	var agents []models.AgentUse
	for u, at := range used {
		grants = append(grants, models.GrantUse{AccountID: u.accountID, GrantID: u.grantID, At: models.Stamp(at)})
		if u.agentID != uuid.Nil {
			agents = append(agents, models.AgentUse{AccountID: u.accountID, AgentID: u.agentID, At: models.Stamp(at)})
		}
	}
	err := s.deps.Store.TouchGrants(ctx, grants)
	if len(agents) > 0 {
		err = errors.Join(err, s.deps.Store.TouchAgents(ctx, agents))
	}
	if err != nil {
		s.deps.Logger.Warn("grants: last use could not be written", "grants", len(grants), "error", err)
	}
}
