package refreshtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
)

// A Fixture is a credential for TestPlace, in a place of its own.
type Fixture struct {
	// Place has a credential with Initial's tokens, of a provider with a TokenURL, without an outcome.
	Place refresh.Place
	// Other is the same credential as another process sees it; nil: Place, which then is all there is.
	Other refresh.Place
	// Stored reads the tokens around the place. IDToken and TokenType may be missing.
	Stored func(t *testing.T) refresh.Tokens
	// Replace puts other tokens there, as when the owner connects again; nil: cannot be done.
	Replace func(t *testing.T, tokens refresh.Tokens)
	// Delete removes the credential; nil: cannot be done.
	Delete func(t *testing.T)
	// Advance makes so much time pass for leases; nil: the suite waits for it.
	Advance func(d time.Duration)
	// Now is the place's clock; nil: time.Now. It need not be exact to the second.
	Now func() time.Time
}

// Initial are the tokens that a Fixture begins with.
func Initial(now time.Time) refresh.Tokens {
	return refresh.Tokens{
		AccessToken: "access-initial-canary", RefreshToken: "refresh-initial-canary", TokenType: "Bearer",
		Scopes: []string{"repo", "user:email"}, ExpiresAt: now.Add(-time.Minute).UTC().Truncate(time.Second),
	}
}

// successor are tokens that come after those with the letter before; all secrets of the suite have "canary" in them.
func (f Fixture) successor(letter string) refresh.Tokens {
	return refresh.Tokens{
		AccessToken: refresh.Secret("access-" + letter + "-canary"), RefreshToken: refresh.Secret("refresh-" + letter + "-canary"), TokenType: "Bearer",
		Scopes: []string{"repo", "user:email"}, ExpiresAt: f.now().Add(time.Hour).UTC().Truncate(time.Second),
	}
}

func rotated(t refresh.Tokens) refresh.Outcome {
	return refresh.Outcome{Kind: refresh.Rotated, At: t.ExpiresAt}
}

const (
	longLease  = time.Minute
	shortLease = 300 * time.Millisecond // where time cannot be advanced, it is waited for
)

// TestPlace tests an implementation of refresh.Place. start is called for each part, with a credential of its own.
func TestPlace(t *testing.T, start func(t *testing.T) Fixture) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"Read returns what is stored", readReturnsStored},
		{"one lease at a time", oneLeaseAtATime},
		{"of many takers one gets the lease", manyTakers},
		{"a lease ends by its time", leaseEndsByTime},
		{"End gives the lease back and may come twice", endGivesBack},
		{"Commit stores tokens", commitStores},
		{"Commit stores the same tokens with more time", commitMoreTime},
		{"Commit may come again", commitAgain},
		{"Commit may come late", commitLate},
		{"a stale lease writes nothing", staleWritesNothing},
		{"a stale lease writes nothing after the newer one committed", staleAfterCommit},
		{"a stale End ends no other's lease", staleEnd},
		{"Note stores an outcome and leaves tokens alone", noteStores},
		{"Commit forgets what was noted", commitForgets},
		{"Commit overwrites no other credential", replaced},
		{"a deleted credential is gone", deleted},
		{"a context that has ended changes nothing", endedContext},
		{"engines of two processes refresh once", enginesOnce},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			if f.Other == nil {
				f.Other = f.Place
			}
			part.run(t, f)
		})
	}
}

func (f Fixture) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

// lease takes a lease that must be free.
func (f Fixture) lease(t *testing.T, p refresh.Place, ttl time.Duration) refresh.Lease {
	t.Helper()
	l, err := p.Lease(t.Context(), ttl)
	if err != nil {
		t.Fatalf("taking a free lease: got %v, want it", err)
	}
	return l
}

// short is the time of a lease that is to end by itself.
func (f Fixture) short() time.Duration {
	if f.Advance != nil {
		return longLease
	}
	return shortLease
}

// takeOver takes a lease of Other as soon as the one before has ended by its time.
func (f Fixture) takeOver(t *testing.T) refresh.Lease {
	t.Helper()
	if f.Advance != nil {
		f.Advance(longLease + time.Second)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		l, err := f.Other.Lease(ctx, longLease)
		if err == nil {
			return l
		}
		var busy *refresh.BusyError
		if !errors.As(err, &busy) {
			t.Fatalf("taking over a lease whose time is over: got %v, want it or a *BusyError", err)
		}
		pause := time.NewTimer(max(20*time.Millisecond, min(busy.Until.Sub(f.now()), time.Second)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			t.Fatalf("a lease of %v did not end in 30 s", f.short())
		}
	}
}

func read(t *testing.T, l refresh.Lease) refresh.State {
	t.Helper()
	s, err := l.Read(t.Context())
	if err != nil {
		t.Fatalf("reading under a lease: %v", err)
	}
	return s
}

func commit(t *testing.T, l refresh.Lease, tokens refresh.Tokens) {
	t.Helper()
	if err := l.Commit(t.Context(), tokens, rotated(tokens)); err != nil {
		t.Fatalf("committing under a lease: %v", err)
	}
}

func end(t *testing.T, l refresh.Lease) {
	t.Helper()
	if err := l.End(t.Context()); err != nil {
		t.Errorf("giving a lease back: %v", err)
	}
}

func wantTokens(t *testing.T, what string, got, want refresh.Tokens) {
	t.Helper()
	if got.AccessToken != want.AccessToken || got.RefreshToken != want.RefreshToken {
		t.Errorf("%s: got tokens %q and %q, want %q and %q", what, string(got.AccessToken), string(got.RefreshToken), string(want.AccessToken), string(want.RefreshToken))
	}
	if d := got.ExpiresAt.Sub(want.ExpiresAt); d < -time.Second || d > time.Second {
		t.Errorf("%s: expires %v, want %v", what, got.ExpiresAt, want.ExpiresAt)
	}
	if !slices.Equal(got.Scopes, want.Scopes) {
		t.Errorf("%s: scopes %q, want %q", what, got.Scopes, want.Scopes)
	}
}

func wantError(t *testing.T, what string, err error, want ...error) {
	t.Helper()
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		t.Errorf("%s: got error %v, want one of %v", what, err, want)
	}
	if err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("%s: the error holds a secret: %v", what, err)
	}
}
