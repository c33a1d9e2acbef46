package refreshes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Run refreshes what is due, and delivers what waits for webhooks, until ctx ends. Then
// it gives back what it has not begun, and lets what it has begun finish, for
// Limits.Drain. It returns nil, and runs once.
func (s *Service) Run(ctx context.Context) error {
	// What was begun outlives ctx.
	jobs, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s.work.Go(func() { s.loop(ctx, jobs) })
	s.work.Go(func() { s.deliveries(ctx) })

	<-ctx.Done()
	drained, cancel := context.WithTimeout(jobs, s.limits.Drain)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		s.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-drained.Done():
		s.deps.Logger.Warn("refreshes: some are cut off; their leases end by themselves")
		stop()
		<-ended
	}
	if err := s.engine.Wait(drained); err != nil {
		s.deps.Logger.Error("refreshes: some are cut off that may have new tokens in memory; those that no webhook was given are lost")
	}
	return nil
}

// claimBatch is how many rows one look claims at most.
const claimBatch = 128

// batch is claimBatch, or less where there is less room. Claiming a few at a time costs
// as much as claiming many: half of it is worth it.
func (l Limits) batch() int { return min(claimBatch, l.Running+l.Queued) }

// loop claims what is due, and starts what may run.
func (s *Service) loop(ctx, jobs context.Context) {
	timer := time.NewTimer(s.pollTime())
	defer timer.Stop()
	more, look := false, true
	for ctx.Err() == nil {
		if room := min(s.limits.batch(), s.lanes.Room()); look || more && 2*room >= s.limits.batch() {
			var err error
			if more, err = s.claim(ctx, room); err != nil && ctx.Err() == nil {
				s.deps.Logger.ErrorContext(ctx, "refreshes: what is due could not be claimed", "error", err)
			}
			timer.Reset(s.pollTime())
		}
		look = false
		for j := s.lanes.Next(); j != nil; j = s.lanes.Next() {
			s.work.Go(func() { s.do(jobs, j) })
		}
		if more && s.lanes.Room() >= s.limits.batch() {
			continue
		}
		select {
		case <-s.freed:
		case <-timer.C:
			look = true
			for _, j := range s.lanes.Drop(s.isLate) { // of webhooks that take their time: others need the room
				s.giveBack(jobs, j, s.lanes.Later(j, s.now()))
			}
		case <-ctx.Done():
		}
	}
	for _, j := range s.lanes.Drop(func(*job) bool { return true }) {
		s.giveBack(jobs, j, s.now())
	}
}

func (s *Service) pollTime() time.Duration { return vary(s.limits.Poll, 0.2, s.deps.Random()) }

// claim claims what is due and puts it into its lanes. more: there may be more.
func (s *Service) claim(ctx context.Context, limit int) (more bool, err error) {
	if limit <= 0 {
		return true, nil
	}
	from := s.now()
	rows, err := s.deps.Leases.ClaimDue(ctx, limit, s.limits.claimTime())
	s.counts.polls.Add(1)
	if err != nil {
		return false, fmt.Errorf("refreshes: claim: %w", err)
	}
	s.counts.claimed.Add(int64(len(rows)))
	var backlog time.Duration
	for _, row := range rows {
		j := &job{due: row, claimed: from}
		if row.DueAt != nil {
			backlog = max(backlog, s.heldBy(j).databaseNow(from).Sub(*row.DueAt))
		}
		s.admit(ctx, j)
	}
	s.counts.backlog.Store(int64(backlog))
	return len(rows) == limit, nil
}

func (s *Service) heldBy(j *job) held {
	return held{lease: j.due.Lease, ttl: s.limits.claimTime(), from: j.claimed}
}

// admit puts a job into its lane, or puts it off when it cannot be done soon.
func (s *Service) admit(ctx context.Context, j *job) {
	now := s.now()
	c := s.custodyOf(ctx, j)
	if c == nil {
		return
	}
	j.host = hostOf(c)
	if s.mediated(c, j.due.Provider) {
		j.provider = j.due.Provider
	}
	if later, added := s.lanes.Add(j, now); !added {
		s.giveBack(ctx, j, later)
	}
}

// custodyOf is the webhook of a job's token; nil: it cannot be refreshed at the moment,
// and was put off.
func (s *Service) custodyOf(ctx context.Context, j *job) *vaults.Custody {
	putOff := func(reason refresh.Reason, wait time.Duration) {
		s.postpone(ctx, s.heldBy(j), j.due.Refresh, reason, s.now().Add(vary(wait, 0.2, s.deps.Random())))
	}
	c, err := s.deps.Vaults.Custody(ctx, j.due.AccountID)
	if err != nil {
		s.deps.Logger.WarnContext(ctx, "refreshes: an account's webhook is not known", "account", j.due.AccountID, "code", fault.CodeOf(err))
		putOff(ReasonNotBound, lookSoon)
		return nil
	}
	if reason, wait := s.hindrance(c, j.due.VaultID, j.due.Provider); reason != "" {
		putOff(reason, wait)
		return nil
	}
	return c
}

// stillMay looks again, when a job's turn has come: its owner may have locked the vault
// meanwhile, or bound another webhook.
func (s *Service) stillMay(ctx context.Context, j *job) bool {
	c := s.custodyOf(ctx, j)
	if c == nil {
		return false
	}
	j.custody = c
	return true
}

// giveBack makes a job due again that was not begun, for any replica.
func (s *Service) giveBack(ctx context.Context, j *job, at time.Time) {
	s.counts.deferred.Add(1)
	s.postpone(ctx, s.heldBy(j), j.due.Refresh, "", at)
}

// isLate reports whether too little of a claim is left for a refresh.
func (s *Service) isLate(j *job) bool { return s.heldBy(j).left(s.now()) < s.limits.LeaseTime }

// do does a job that has a place, and gives the place back.
func (s *Service) do(ctx context.Context, j *job) {
	began := s.now()
	defer func() {
		now := s.now()
		s.lanes.Done(j, now.Sub(began), now)
		select {
		case s.freed <- struct{}{}:
		default:
		}
	}()
	if retryAt, ok := s.lanes.Pass(j, began); !ok {
		s.counts.turnedAway.Add(1)
		s.postpone(ctx, s.heldBy(j), j.due.Refresh, ReasonUnreachable, retryAt)
		return
	}
	if s.isLate(j) {
		s.giveBack(ctx, j, began)
		return
	}
	if !s.stillMay(ctx, j) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.LeaseTime+finishTime)
	defer cancel()
	a, h := attemptOf(j.due, j.custody), s.heldBy(j)
	if j.provider == "" || !s.mediated(j.custody, j.provider) {
		var r result
		if j.due.Undelivered {
			r = s.notifyAfterOutbox(ctx, a, j.due.Attempts)
		} else {
			r = s.notify(ctx, a, j.due.Attempts)
		}
		s.finish(ctx, a, h, r)
		return
	}
	if _, err := s.mediate(ctx, a, &h, j.due.Attempts, refresh.Options{Scheduled: true}); err != nil {
		s.deps.Logger.InfoContext(ctx, "refreshes: an attempt has no outcome yet", "token", a.token, "code", fault.CodeOf(err))
	}
}

// notifyAfterOutbox is notify for a token of which new tokens may still wait here, as
// of a webhook that has withdrawn its permission.
func (s *Service) notifyAfterOutbox(ctx context.Context, a *attempt, attempts int) result {
	if err := s.deliverFirst(ctx, a); err != nil {
		return result{path: models.PathNotify, outcome: s.ofError(err, attempts+1), detail: "new tokens still wait for the webhook"}
	}
	return s.notify(ctx, a, attempts)
}

// mediate refreshes a token through this server, or has the webhook do it when that
// gives no refresh token. h is its lease, if there is one. An error leaves open how it ends: what was
// begun goes on.
func (s *Service) mediate(ctx context.Context, a *attempt, h *held, attempts int, o refresh.Options) (result, error) {
	provider, err := s.deps.Providers.Provider(ctx, a.provider)
	if err != nil {
		r := result{path: models.PathMediated, outcome: s.again(refresh.ReasonProviderUnreachable, attempts+1, 0), detail: "the provider does not say where its endpoints are"}
		if h != nil {
			s.finish(ctx, a, *h, r)
		}
		return r, nil
	}
	p := &place{s: s, a: a, provider: provider, claimed: h, keep: true}
	key := "due "
	if a.force {
		key = "asked " // has no lease yet, and may have to wait for the other's
	}
	outcome, err := s.engine.Ensure(ctx, key+a.token.String(), p, o)
	kept := p.leave()
	r := result{path: models.PathMediated, outcome: outcome}
	if err == nil && kept == nil || errors.Is(err, refresh.ErrNotCommitted) {
		return p.ended(r), nil // the lease's end wrote it down
	}
	if err != nil && ctx.Err() != nil {
		if kept != nil {
			s.release(context.WithoutCancel(ctx), *kept)
		}
		return r, err
	}
	if kept == nil {
		return r, err
	}
	if err != nil {
		r = s.unmediated(ctx, a, attempts, err)
	}
	s.finish(ctx, a, *kept, r)
	return r, nil
}

// unmediated is how an attempt ends that got no refresh token.
func (s *Service) unmediated(ctx context.Context, a *attempt, attempts int, err error) result {
	r := result{path: models.PathMediated}
	switch {
	case errors.Is(err, errRefused):
		return s.notify(ctx, a, attempts)
	case errors.Is(err, errOtherProvider):
		r.outcome, r.resync = s.again(ReasonOtherProvider, attempts+1, lookSoon), true
	case errors.Is(err, refresh.ErrGone):
		r.outcome, r.resync = s.again(ReasonNoToken, attempts+1, lookSoon), true
	default:
		r.outcome = s.ofError(err, attempts+1)
	}
	return r
}

// deliveries delivers what waits for webhooks.
func (s *Service) deliveries(ctx context.Context) {
	timer := time.NewTimer(s.pollTime())
	defer timer.Stop()
	for {
		full, err := s.deliverDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.deps.Logger.ErrorContext(ctx, "refreshes: the outbox could not be looked at", "error", err)
		}
		if full && ctx.Err() == nil {
			continue
		}
		timer.Reset(s.pollTime())
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}
