// Package health asks bound webhooks how they are, every few minutes, and tells what
// they answered over time.
//
// Which webhook is due is a row that one replica claims at a time. A call is the signed
// health call of package vaults, which notes the verdict on the binding and keeps a
// sample; the package knows neither secrets nor what a webhook says.
package health

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Probes are the webhooks that are due.
type Probes interface {
	ClaimProbe(ctx context.Context, ttl time.Duration) (models.WebhookProbe, error)
	FinishProbe(ctx context.Context, probe models.WebhookProbe, again time.Duration) error
}

// Checker makes one signed health call, notes its verdict and keeps its sample.
type Checker interface {
	CheckHealth(ctx context.Context, accountID uuid.UUID) (models.HealthSample, error)
}

// Samples are what webhooks answered.
type Samples interface {
	HealthSeries(ctx context.Context, accountID, bindingID uuid.UUID, since, until time.Time, bucket time.Duration) ([]models.HealthCounts, error)
}

// Deps is what the service needs.
type Deps struct {
	Probes  Probes
	Checker Checker
	Samples Samples
	Now     func() time.Time
	Random  func() float64 // from 0 to 1
	Logger  *slog.Logger

	Period time.Duration // between two calls of a webhook, give or take a tenth; 0: five minutes
	Poll   time.Duration // between two looks for what is due, at most; 0: 15 s
}

const (
	period    = 5 * time.Minute
	poll      = 15 * time.Second
	atOnce    = 8               // calls under way
	callTime  = 2 * time.Minute // of one, with its repetitions
	claimTime = 3 * time.Minute
)

// Service asks and tells. Its methods may be called concurrently.
type Service struct {
	deps Deps

	running, healthy, unhealthy, untried atomic.Int64
}

// New makes the service. Start it with Run.
func New(d Deps) *Service {
	if d.Period <= 0 {
		d.Period = period
	}
	if d.Poll <= 0 {
		d.Poll = poll
	}
	return &Service{deps: d}
}

// Stats counts what a replica did since it began.
type Stats struct {
	Running                     int64 // calls under way
	Healthy, Unhealthy, Untried int64 // calls; untried are those that could not be made
}

// Stats may be called at any time.
func (s *Service) Stats() Stats {
	return Stats{Running: s.running.Load(), Healthy: s.healthy.Load(), Unhealthy: s.unhealthy.Load(), Untried: s.untried.Load()}
}

// Run asks what is due until ctx ends; calls under way are cut off then, and say
// nothing of their webhooks. It returns nil, and runs once.
func (s *Service) Run(ctx context.Context) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	places := make(chan struct{}, atOnce)
	timer := time.NewTimer(s.vary(s.deps.Poll))
	defer timer.Stop()
	for {
		for s.next(ctx, places, &calls) {
		}
		timer.Reset(s.vary(s.deps.Poll))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// next begins one call, when there is a place for it, and reports whether there may be
// more to do.
func (s *Service) next(ctx context.Context, places chan struct{}, calls *sync.WaitGroup) bool {
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	probe, err := s.deps.Probes.ClaimProbe(ctx, claimTime)
	if err != nil {
		<-places
		if ctx.Err() == nil && !errors.Is(err, models.ErrNotFound) {
			s.deps.Logger.ErrorContext(ctx, "health: the webhooks that are due could not be claimed", "error", err)
		}
		return false
	}
	calls.Go(func() {
		defer func() { <-places }()
		s.ask(ctx, probe)
	})
	return true
}

// ask asks one webhook, and says when it is asked again.
func (s *Service) ask(ctx context.Context, probe models.WebhookProbe) {
	s.running.Add(1)
	defer s.running.Add(-1)
	limited, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	sample, err := s.deps.Checker.CheckHealth(limited, probe.AccountID)
	switch {
	case ctx.Err() != nil: // due again when the claim ends
		return
	case err != nil:
		s.untried.Add(1)
		s.deps.Logger.InfoContext(ctx, "health: a webhook could not be asked", "account", probe.AccountID, "code", fault.CodeOf(err))
	case sample.OK:
		s.healthy.Add(1)
	default:
		s.unhealthy.Add(1)
	}
	if err := s.deps.Probes.FinishProbe(ctx, probe, s.vary(s.deps.Period)); err != nil && !errors.Is(err, models.ErrLeaseLost) && ctx.Err() == nil {
		s.deps.Logger.ErrorContext(ctx, "health: when a webhook is asked next could not be stored", "account", probe.AccountID, "error", err)
	}
}

// vary is a time give or take a tenth.
func (s *Service) vary(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*s.deps.Random()))
}
