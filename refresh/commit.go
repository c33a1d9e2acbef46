package refresh

import (
	"errors"
	"fmt"
	"time"
)

// ErrNotCommitted is returned beside an outcome of ReasonNotStored: the provider gave
// new tokens, and storing them did not work in all of Deps.CommitTime. If the provider rotates refresh
// tokens, the stored one is used up.
var ErrNotCommitted = errors.New("refresh: new tokens could not be stored")

// maxCommitWait is the longest pause between two attempts to commit.
const maxCommitWait = 15 * time.Second

// fresh are tokens in hand, not yet stored.
type fresh struct {
	from    State // what was stored when the provider was called
	tokens  Tokens
	outcome Outcome
}

// commit stores what the provider gave, for as long as it takes: from here on nothing else has it.
func (t *trip) commit(lease Lease, s State, given Tokens) (Outcome, error) {
	merged, changed := given.over(s.Tokens)
	f := fresh{from: s, tokens: merged, outcome: Outcome{Kind: Rotated, At: merged.ExpiresAt, ScopesChanged: changed}}
	limit := t.deps.Now().Add(t.deps.CommitTime)
	err := t.store(lease, f)
	for wait := firstWait; ; wait = min(2*wait, maxCommitWait) {
		switch {
		case err == nil:
			return f.outcome, nil
		case errors.Is(err, errAgain):
			return Outcome{}, err
		case errors.Is(err, ErrGone):
			t.counts.superseded.Add(1)
			t.deps.Logger.Warn("tokens were not stored, their credential is gone", "key", t.key)
			return Outcome{}, err
		case !t.deps.Now().Before(limit):
			return t.drop(f, err)
		}
		t.counts.commitRetries.Add(1)
		t.pause(vary(wait, 0.5, t.deps.Random()))
		if errors.Is(err, ErrLeaseLost) {
			err = t.rescue(f)
		} else {
			err = t.store(lease, f)
		}
	}
}

func (t *trip) store(lease Lease, f fresh) error {
	ctx, cancel := t.context()
	defer cancel()
	return lease.Commit(ctx, f.tokens, f.outcome)
}

// rescue stores tokens whose lease was lost while they were on their way, under a lease of their own. It does so only
// where the refresh token that they came from is still the stored one: then they are its successors, and nothing newer is
// overwritten.
func (t *trip) rescue(f fresh) error {
	lease, _, err := t.lease()
	if err != nil {
		return errors.Join(ErrLeaseLost, err) // another's still, or not to be had: later
	}
	defer t.end(lease)
	now, err := t.look(lease)
	switch {
	case err != nil:
		return errors.Join(ErrLeaseLost, err)
	case now.Version != f.from.Version && now.Tokens.AccessToken.Equal(f.tokens.AccessToken) && now.Tokens.RefreshToken.Equal(f.tokens.RefreshToken):
		return nil // stored after all: only the answer was lost
	case f.superseded(now):
		t.counts.superseded.Add(1)
		t.deps.Logger.Warn("tokens were not stored, newer ones are", "key", t.key)
		t.relax()
		return errAgain
	}
	if err := t.store(lease, f); err != nil {
		return err
	}
	t.counts.rescued.Add(1)
	if now.NeedsReauthorization != "" {
		// Another has used the old refresh token meanwhile and was refused. Some providers end the whole family for that:
		// only using the new one shows whether it lives.
		t.rank, t.waited = forced, false
		return errAgain
	}
	return nil
}

// superseded reports whether what is stored now is newer than f: it has another refresh token, or the same one, which
// f has as well, with other tokens.
func (f fresh) superseded(now State) bool {
	if !now.Tokens.RefreshToken.Equal(f.from.Tokens.RefreshToken) {
		return true
	}
	return now.Version != f.from.Version && f.tokens.RefreshToken.Equal(f.from.Tokens.RefreshToken)
}

// drop gives up, loudly.
func (t *trip) drop(f fresh, err error) (Outcome, error) {
	t.counts.dropped.Add(1)
	attempts := f.from.Attempts + 1
	o := Outcome{Kind: RetryAt, Reason: ReasonNotStored, At: t.deps.Now().Add(Backoff(attempts, 0, t.deps.Random())), Attempts: attempts}
	t.deps.Logger.Error("new tokens could not be stored and are lost", "key", t.key, "error", describe(err.Error(), f.tokens.AccessToken, f.tokens.RefreshToken))
	return o, fmt.Errorf("%w: %w", ErrNotCommitted, err)
}
