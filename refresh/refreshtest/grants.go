package refreshtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tvzero/tokenvault/refresh"
)

// Grants are what an authorization server remembers. Refresh tokens are used once;
// using one again ends its whole family, as RFC 9700 §4.14.2 advises. It is a refresh.Refresher without a network
// between, which can be called inside a synctest bubble.
type Grants struct {
	// Now is the server's clock; nil: time.Now. Set it before use.
	Now func() time.Time
	// Lifetime is that of access tokens; 0: an hour. Set it before use.
	Lifetime time.Duration
	// Prefix begins every token, so that those of one server are told from those of another. Set it before use.
	Prefix string
	// KeepRefreshTokens makes refresh tokens last: nothing rotates, no answer has a new one. Set it before use.
	KeepRefreshTokens bool

	mu     sync.Mutex
	serial int
	byRT   map[refresh.Secret]*family // every refresh token there ever was
	byAT   map[refresh.Secret]*family
	calls  map[refresh.Secret]int // refreshes asked for, by refresh token
	reused int
}

// A family is the tokens that come from one authorization.
type family struct {
	id      int
	current refresh.Secret // the refresh token that may be used
	access  refresh.Secret // the newest
	scopes  []string
	ended   bool
}

// Issue begins a family, as after an authorization.
func (g *Grants) Issue(scopes ...string) refresh.Tokens {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byRT == nil {
		g.byRT, g.byAT, g.calls = map[refresh.Secret]*family{}, map[refresh.Secret]*family{}, map[refresh.Secret]int{}
	}
	g.serial++
	f := &family{id: g.serial, scopes: slices.Clone(scopes)}
	g.rotate(f)
	return g.tokens(f)
}

// Refresh implements refresh.Refresher.
func (g *Grants) Refresh(_ context.Context, _ refresh.Provider, token refresh.Secret, _ []string) (refresh.Tokens, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, ok := g.use(token)
	if !ok {
		return refresh.Tokens{}, &refresh.Refusal{Reason: refresh.ReasonInvalidGrant, Permanent: true, Status: 400}
	}
	t := g.tokens(f)
	if g.KeepRefreshTokens {
		t.RefreshToken = ""
	}
	return t, nil
}

// use takes a refresh token and leaves its family with new tokens; the lock is held.
func (g *Grants) use(token refresh.Secret) (*family, bool) {
	if g.calls == nil {
		g.calls = map[refresh.Secret]int{}
	}
	g.calls[token]++
	f := g.byRT[token]
	switch {
	case f == nil || f.ended:
		return nil, false
	case f.current != token:
		f.ended = true
		g.reused++
		return nil, false
	}
	g.rotate(f)
	return f, true
}

func (g *Grants) rotate(f *family) {
	g.serial++
	f.access = refresh.Secret(fmt.Sprintf("%saccess-%d-%06d-canary", g.Prefix, f.id, g.serial))
	g.byAT[f.access] = f
	if f.current == "" || !g.KeepRefreshTokens {
		f.current = refresh.Secret(fmt.Sprintf("%srefresh-%d-%06d-canary", g.Prefix, f.id, g.serial))
		g.byRT[f.current] = f
	}
}

func (g *Grants) tokens(f *family) refresh.Tokens {
	return refresh.Tokens{
		AccessToken: f.access, RefreshToken: f.current, TokenType: "Bearer", Scopes: slices.Clone(f.scopes),
		ExpiresAt: g.now().Add(g.lifetime()),
	}
}

func (g *Grants) now() time.Time {
	if g.Now == nil {
		return time.Now()
	}
	return g.Now()
}

func (g *Grants) lifetime() time.Duration {
	if g.Lifetime == 0 {
		return time.Hour
	}
	return g.Lifetime
}

// Revoke ends the family of a refresh or access token, if there is one.
func (g *Grants) Revoke(token refresh.Secret) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range []*family{g.byRT[token], g.byAT[token]} {
		if f != nil {
			f.ended = true
		}
	}
}

// Issued returns every token that there ever was.
func (g *Grants) Issued() (access, refreshing []refresh.Secret) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.byAT)), slices.Sorted(maps.Keys(g.byRT))
}

// Usable reports whether a refresh with this token would be granted.
func (g *Grants) Usable(token refresh.Secret) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.byRT[token]
	return f != nil && !f.ended && f.current == token
}

// Newest reports whether this access token is its family's newest, and the family lives.
func (g *Grants) Newest(token refresh.Secret) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.byAT[token]
	return f != nil && !f.ended && f.access == token
}

// CallsWith returns how often a refresh with this token was asked for.
func (g *Grants) CallsWith(token refresh.Secret) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[token]
}

// Calls returns how many refreshes were asked for.
func (g *Grants) Calls() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := 0
	for _, n := range g.calls {
		sum += n
	}
	return sum
}

// Reused returns how many families ended because a used refresh token came again.
func (g *Grants) Reused() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reused
}
