package providers_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/providers"
)

func writeJSON(w io.Writer, v any) { _ = json.NewEncoder(w).Encode(v) }

// slow is an issuer that answers when it is told to; before that it waits.
type slow struct {
	calls  atomic.Int64
	answer chan error
}

func (s *slow) Discover(ctx context.Context, issuer string) (refresh.Provider, error) {
	s.calls.Add(1)
	select {
	case err := <-s.answer:
		return refresh.Provider{Issuer: issuer, AuthorizationURL: issuer + "/a", TokenURL: issuer + "/t"}, err
	case <-ctx.Done():
		return refresh.Provider{}, ctx.Err()
	}
}

// slowly is a registry with one slow issuer, inside a bubble.
func slowly(t *testing.T) (*providers.Registry, *slow) {
	t.Helper()
	s := &slow{answer: make(chan error)}
	return registry(t, providers.Deps{
		Settings: []providers.Setting{{ID: "x", Issuer: "https://id.example.com", ClientID: "c", ClientSecret: "s"}}, Discoverer: s,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}), s
}

func TestManyCallersDiscoverOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s := slowly(t)
		results := make(chan error, 20)
		for range cap(results) {
			go func() { _, err := r.Provider(t.Context(), "x"); results <- err }()
		}
		synctest.Wait()
		s.answer <- nil
		for range cap(results) {
			if err := <-results; err != nil {
				t.Errorf("got %v, want the provider", err)
			}
		}
		if n := s.calls.Load(); n != 1 {
			t.Errorf("the issuer was asked %d times, want once", n)
		}
	})
}

func TestACallerWhoLeavesTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s := slowly(t)
		first, leave := context.WithCancel(t.Context())
		left, stayed := make(chan error, 1), make(chan error, 1)
		go func() { _, err := r.Provider(first, "x"); left <- err }()
		synctest.Wait()
		go func() { _, err := r.Provider(t.Context(), "x"); stayed <- err }()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v, want context.Canceled", err)
		}
		s.answer <- nil
		if err := <-stayed; err != nil || len(r.Problems()) != 0 {
			t.Errorf("who stayed got %v with problems %v, want the provider", err, r.Problems())
		}
	})
}

func TestAnIssuerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := slowly(t)
		begin := time.Now()
		_, err := r.Provider(t.Context(), "x")
		if took := time.Since(begin); fault.CodeOf(err) != fault.Unavailable || took > 15*time.Second {
			t.Errorf("got %v after %s, want UNAVAILABLE within 15 s", err, took)
		}
		if r.Problems()["x"] != "its issuer did not answer in time" {
			t.Errorf("problems: %v", r.Problems())
		}
	})
}

func TestAnOlderAnswerServesWhileTheIssuerIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s := slowly(t)
		go func() { s.answer <- nil }()
		provider(t, r, "x")
		timer := time.NewTimer(25 * time.Hour)
		<-timer.C
		asking := make(chan error, 1)
		go func() { _, err := r.Provider(t.Context(), "x"); asking <- err }()
		synctest.Wait()
		provider(t, r, "x") // does not wait
		s.answer <- &refresh.Refusal{Reason: refresh.ReasonProviderError}
		if err := <-asking; err != nil {
			t.Errorf("got %v, want what the issuer said before", err)
		}
		if n := s.calls.Load(); n != 2 {
			t.Errorf("the issuer was asked %d times, want twice", n)
		}
	})
}

func TestRunAsksEarlyAndEachDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s := slowly(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		s.answer <- &refresh.Refusal{Reason: refresh.ReasonProviderUnreachable}
		synctest.Wait()
		if r.Problems()["x"] != "its issuer could not be reached" {
			t.Errorf("problems at the start: %v", r.Problems())
		}
		begin := time.Now()
		s.answer <- nil
		synctest.Wait()
		if waited := time.Since(begin); waited > 2*time.Minute || len(r.Problems()) != 0 {
			t.Errorf("asked again after %s with problems %v, want about a minute and none", waited, r.Problems())
		}
		begin = time.Now()
		s.answer <- nil
		if waited := time.Since(begin); waited < 23*time.Hour || waited > 25*time.Hour {
			t.Errorf("asked again after %s, want a day", waited)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v, want context.Canceled", err)
		}
	})
}
