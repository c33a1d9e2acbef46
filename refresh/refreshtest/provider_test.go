package refreshtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
)

func stored(p *refreshtest.Provider) *refreshtest.Memory {
	tokens := p.Issue("repo")
	tokens.ExpiresAt = time.Now().Add(-time.Second)
	return refreshtest.NewMemory(time.Now, refresh.State{Tokens: tokens, Provider: p.Config()})
}

func TestASlowProviderIsAskedOnceWhateverTheNumberOfReaders(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	release := make(chan struct{})
	provider.Always(refreshtest.Slow(release))
	memory := stored(provider)
	first := memory.State().Tokens.RefreshToken
	engine := refresh.New(refresh.Deps{Client: refresh.NewClient(provider.HTTP(), nil)})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if o, err := engine.Ensure(t.Context(), "k", &refreshtest.View{Memory: memory}, refresh.Options{}); err != nil || !o.At.After(time.Now()) {
				t.Errorf("got %s until %v (%v), want a fresh token", o.Kind, o.At, err)
			}
		})
	}
	<-provider.Arrived()
	close(release)
	wg.Wait()
	if n := provider.CallsWith(first); n != 1 || provider.Requests() != 1 {
		t.Errorf("%d calls with the refresh token, %d requests, want 1 and 1", n, provider.Requests())
	}
	if s := memory.State().Tokens; !provider.Usable(s.RefreshToken) || !provider.Newest(s.AccessToken) {
		t.Error("what is stored is not the provider's newest")
	}
}

func TestFlappingAlternates(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	provider.Always(refreshtest.Flapping())
	provider.Next(refreshtest.Healthy)
	client, token := refresh.NewClient(provider.HTTP(), nil), provider.Issue().RefreshToken
	for i, up := range []bool{true, false, true, false, true} {
		got, err := client.Refresh(t.Context(), provider.Config(), token, nil)
		if (err == nil) != up {
			t.Fatalf("call %d: got %v, want it to work: %t", i, err, up)
		}
		if up {
			token = got.RefreshToken
		}
	}
}

func TestWhatRotatesWithoutAnAnswerHasRotated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault refreshtest.Fault
		limit time.Duration // silence lasts as long as this
	}{
		"gone":               {refreshtest.RotatedAndGone, 30 * time.Second},
		"half, then gone":    {refreshtest.HalfThenGone, 30 * time.Second},
		"half, then silence": {refreshtest.HalfThenHang, 5 * time.Second},
	} {
		provider := refreshtest.StartProvider(t, nil)
		provider.Next(c.fault)
		token := provider.Issue().RefreshToken
		ctx, cancel := context.WithTimeout(t.Context(), c.limit)
		_, err := refresh.NewClient(provider.HTTP(), nil).Refresh(ctx, provider.Config(), token, nil)
		cancel()
		var refusal *refresh.Refusal
		if !errors.As(err, &refusal) || refusal.Permanent || provider.Usable(token) || provider.CallsWith(token) != 1 {
			t.Errorf("%s: got %v; the old refresh token usable: %t, calls %d; want a transient refusal, false, 1", name, err, provider.Usable(token), provider.CallsWith(token))
		}
	}
}

func TestUserInfoKnowsTheNewestAccessToken(t *testing.T) {
	t.Parallel()
	provider := refreshtest.StartProvider(t, nil)
	tokens := provider.Issue()
	for token, want := range map[refresh.Secret]int{tokens.AccessToken: 200, "another": 401} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, provider.Config().UserInfoURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+string(token))
		response, err := provider.HTTP().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("got %d %s, want %d", response.StatusCode, body, want)
		}
	}
}
