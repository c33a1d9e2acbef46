package health_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bindings are webhooks in memory, all of one database: who claims one has it.
type bindings struct {
	mu      sync.Mutex
	due     map[uuid.UUID]time.Time
	lease   map[uuid.UUID]uuid.UUID
	away    error
	asked   map[uuid.UUID]int
	most    int // calls under way at once
	now     int
	answer  func(ctx context.Context) error // nil: at once, healthy
	refused error
}

func newBindings(n int) *bindings {
	b := &bindings{due: map[uuid.UUID]time.Time{}, lease: map[uuid.UUID]uuid.UUID{}, asked: map[uuid.UUID]int{}}
	for range n {
		b.due[models.NewID()] = time.Now()
	}
	return b
}

func (b *bindings) ClaimProbe(_ context.Context, ttl time.Duration) (models.WebhookProbe, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away != nil {
		return models.WebhookProbe{}, b.away
	}
	for id, due := range b.due {
		if due.After(time.Now()) {
			continue
		}
		lease := models.NewID()
		b.due[id], b.lease[id] = time.Now().Add(ttl), lease
		return models.WebhookProbe{AccountID: id, BindingID: id, DueAt: due, LeaseID: &lease}, nil
	}
	return models.WebhookProbe{}, models.ErrNotFound
}

func (b *bindings) FinishProbe(_ context.Context, probe models.WebhookProbe, again time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lease[probe.AccountID] != *probe.LeaseID {
		return models.ErrLeaseLost
	}
	b.due[probe.AccountID] = time.Now().Add(again)
	return nil
}

func (b *bindings) CheckHealth(ctx context.Context, accountID uuid.UUID) (models.HealthSample, error) {
	b.mu.Lock()
	b.asked[accountID]++
	b.now++
	b.most = max(b.most, b.now)
	answer, refused := b.answer, b.refused
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now--
	}()
	if refused != nil {
		return models.HealthSample{}, refused
	}
	if answer != nil {
		if err := answer(ctx); err != nil {
			return models.HealthSample{Code: string(fault.CodeOf(err))}, nil
		}
	}
	return models.HealthSample{OK: true}, nil
}

func (b *bindings) set(change func(b *bindings)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

// each reports the fewest and the most calls of a webhook.
func (b *bindings) each() (least, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	least = 1 << 30
	for id := range b.due {
		least, most = min(least, b.asked[id]), max(most, b.asked[id])
	}
	return least, most
}

// run starts replicas over the same bindings until the test ends.
func run(t *testing.T, b *bindings, replicas int) []*health.Service {
	var services []*health.Service
	for i := range replicas {
		random := float64(i) / float64(replicas)
		s := health.New(health.Deps{
			Probes: b, Checker: b, Now: time.Now, Random: func() float64 { return random }, Logger: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run ended with %v", err)
			}
		})
		services = append(services, s)
	}
	return services
}

func TestEachWebhookIsAskedOncePerPeriodWhateverTheReplicas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBindings(30)
		services := run(t, b, 3)
		time.Sleep(time.Minute)
		if least, most := b.each(); least != 1 || most != 1 {
			t.Fatalf("after a minute each was asked %d to %d times, want once", least, most)
		}
		time.Sleep(59 * time.Minute)
		if least, most := b.each(); least < 10 || most > 14 { // a period is 4.5 to 5.5 minutes, and they are looked for every few seconds
			t.Errorf("after an hour each was asked %d to %d times, want about twelve", least, most)
		}
		var healthy int64
		for _, s := range services {
			healthy += s.Stats().Healthy
		}
		if healthy < 300 {
			t.Errorf("%d calls are counted as healthy, want all", healthy)
		}
	})
}

func TestSlowWebhooksAreNotAllAskedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBindings(50)
		b.answer = func(ctx context.Context) error {
			select {
			case <-time.After(20 * time.Second):
				return fault.New(fault.WebhookUnavailable, "It does not answer.")
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s := run(t, b, 1)[0]
		time.Sleep(4 * time.Minute)
		if _, most := b.each(); b.most != 8 || most != 1 {
			t.Errorf("%d calls at once, and a webhook %d times, want 8 and once", b.most, most)
		}
		if got := s.Stats(); got.Unhealthy != 50 || got.Running != 0 {
			t.Errorf("got %+v, want 50 unhealthy and none under way", got)
		}
	})
}

func TestAWebhookWhoseReplicaIsGoneIsAskedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBindings(1)
		b.answer = func(ctx context.Context) error {
			<-ctx.Done() // the replica is stopped in the middle of it
			return ctx.Err()
		}
		first := health.New(health.Deps{Probes: b, Checker: b, Now: time.Now, Random: func() float64 { return 0.5 }, Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- first.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil || first.Stats().Unhealthy != 0 {
			t.Fatalf("ended with %v and %+v, want nil, and nothing said of the webhook", err, first.Stats())
		}
		b.set(func(b *bindings) { b.answer = nil })
		second := run(t, b, 1)[0]
		time.Sleep(4 * time.Minute)
		if got := second.Stats(); got.Healthy != 1 {
			t.Errorf("got %+v, want one healthy call", got)
		}
	})
}

func TestWhatCannotBeAskedIsTriedAgainLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBindings(1)
		b.away = errors.New("the database is away")
		s := run(t, b, 1)[0]
		time.Sleep(time.Minute)
		b.set(func(b *bindings) {
			b.away, b.refused = nil, fault.New(fault.WebhookNotConfigured, "No webhook is bound.")
		})
		time.Sleep(time.Minute)
		if got := s.Stats(); got.Untried != 1 || got.Unhealthy != 0 {
			t.Errorf("got %+v, want one that could not be asked", got)
		}
		b.set(func(b *bindings) { b.refused = nil })
		time.Sleep(6 * time.Minute)
		if got := s.Stats(); got.Healthy != 1 {
			t.Errorf("got %+v, want one healthy call", got)
		}
	})
}

// samples answers with one step, and with a week.
type samples struct{ t *testing.T }

func (s samples) HealthSeries(_ context.Context, _, binding uuid.UUID, since, until time.Time, bucket time.Duration) ([]models.HealthCounts, error) {
	mean, worst := 12.5, int64(40)
	if bucket == 7*24*time.Hour {
		if until.Sub(since) != bucket {
			s.t.Errorf("a week is %s", until.Sub(since))
		}
		return []models.HealthCounts{{Checks: 2016, Failures: 14}}, nil
	}
	return []models.HealthCounts{{Bucket: -1, Checks: 9}, {Bucket: 1, Checks: 12, Failures: 2, MeanMS: &mean, WorstMS: &worst}, {Bucket: 2, Checks: 1, Failures: 1}, {Bucket: 99}}, nil
}

func TestAHistoryHasAPointForEachStep(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	s := health.New(health.Deps{Samples: samples{t}, Now: func() time.Time { return at }})
	points, week, err := s.History(t.Context(), grants.Principal{}, health.Filter{Since: at, Until: at.Add(4 * time.Hour), Step: time.Hour})
	if err != nil || len(points) != 4 || week != (health.Share{Checks: 2016, Failures: 14}) {
		t.Fatalf("got %d points, %+v, %v; want four, and the week's checks", len(points), week, err)
	}
	want := health.Point{At: at.Add(time.Hour), Checks: 12, Failures: 2, Mean: 12500 * time.Microsecond, Worst: 40 * time.Millisecond}
	if points[1] != want || points[0] != (health.Point{At: at}) || points[2].Failures != 1 {
		t.Errorf("got %+v, want %+v second", points, want)
	}
	for name, f := range map[string]health.Filter{
		"too many":  {Since: at, Until: at.AddDate(1, 0, 0), Step: time.Hour},
		"backwards": {Since: at, Until: at.Add(-time.Hour), Step: time.Hour},
		"no step":   {Since: at, Until: at.Add(time.Hour)},
	} {
		if _, _, err := s.History(t.Context(), grants.Principal{}, f); fault.CodeOf(err) != fault.InvalidRequest {
			t.Errorf("%s: got %v, want INVALID_REQUEST", name, err)
		}
	}
}
