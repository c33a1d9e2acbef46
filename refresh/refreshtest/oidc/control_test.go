package oidc_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh/refreshtest/oidc"
)

// outcome is a refresh that was answered, with this status, or was not.
type outcome struct {
	status int
	err    error
}

// background starts a refresh on ctx and returns where its outcome arrives.
func background(ctx context.Context, t *testing.T, p *oidc.Provider, token string) <-chan outcome {
	t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(p.ClientID, p.ClientSecret)
	done := make(chan outcome, 1)
	c := client(t)
	go func() {
		res, err := c.Do(req)
		if err != nil {
			done <- outcome{err: err}
			return
		}
		done <- outcome{status: res.StatusCode, err: res.Body.Close()}
	}()
	return done
}

func TestAHeldAnswerHasRotatedAndLeavesWhenLetGo(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	tokens := connect(t, p, oidc.Connection{})
	hold := p.Hold()
	done := background(t.Context(), t, p, tokens.RefreshToken)
	if err := hold.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	wantState(t, p, "presented", tokens.RefreshToken, oidc.Used)
	if fate := p.Calls()[1].Fate; fate != oidc.Pending {
		t.Errorf("fate while held: got %q, want %q", fate, oidc.Pending)
	}
	select {
	case o := <-done:
		t.Fatalf("the answer left while it was held: %+v", o)
	default:
	}
	hold.Answer()
	if o := <-done; o.status != http.StatusOK || o.err != nil {
		t.Errorf("once let go: got %+v, want 200", o)
	}
	if fate := p.Calls()[1].Fate; fate != oidc.Answered {
		t.Errorf("fate: got %q, want %q", fate, oidc.Answered)
	}
}

func TestAHeldAnswerThatIsCutHasRotatedAllTheSame(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	one, other := connect(t, p, oidc.Connection{}), connect(t, p, oidc.Connection{})
	hold := p.Hold()
	first, second := background(t.Context(), t, p, one.RefreshToken), background(t.Context(), t, p, other.RefreshToken)
	if err := hold.Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	hold.Cut()
	for _, done := range []<-chan outcome{first, second} {
		if o := <-done; o.err == nil {
			t.Errorf("got status %d, want a connection cut", o.status)
		}
	}
	wantState(t, p, "one", one.RefreshToken, oidc.Used)
	wantState(t, p, "other", other.RefreshToken, oidc.Used)
	if status, _ := refresh(t, p, connect(t, p, oidc.Connection{}).RefreshToken); status != http.StatusOK {
		t.Errorf("after the hold: got %d, want 200", status)
	}
}

func TestTheNextAnswersAreCutAsOrderedAndNoMore(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	tokens := connect(t, p, oidc.Connection{})
	bystander := connect(t, p, oidc.Connection{})
	p.SetFaults(oidc.Faults{Cut: 1})
	if o := <-background(t.Context(), t, p, tokens.RefreshToken); o.err == nil {
		t.Errorf("got status %d, want a connection cut", o.status)
	}
	wantState(t, p, "presented", tokens.RefreshToken, oidc.Used)
	last := p.Calls()[2]
	if last.Fate != oidc.Cut || last.Status != http.StatusOK || last.Issued == "" {
		t.Errorf("the record: got %+v, want a rotation that was cut", last)
	}
	if status, _ := refresh(t, p, bystander.RefreshToken); status != http.StatusOK {
		t.Errorf("the next refresh: got %d, want 200", status)
	}
}

func TestADelayedAnswerRotatesAtOnceAndItsClientMayLeave(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	tokens := connect(t, p, oidc.Connection{})
	const delay = 300 * time.Millisecond
	p.SetFaults(oidc.Faults{Delay: delay})
	started := time.Now()
	if status, _ := refresh(t, p, tokens.RefreshToken); status != http.StatusOK {
		t.Errorf("got %d, want 200", status)
	}
	if took := time.Since(started); took < delay {
		t.Errorf("the answer took %v, want at least %v", took, delay)
	}
	p.SetFaults(oidc.Faults{})

	tokens = connect(t, p, oidc.Connection{})
	hold := p.Hold()
	ctx, leave := context.WithCancel(t.Context())
	done := background(ctx, t, p, tokens.RefreshToken)
	if err := hold.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	leave()
	if o := <-done; o.err == nil {
		t.Errorf("a client that left got status %d", o.status)
	}
	hold.Answer()
	if status, _ := refresh(t, p, connect(t, p, oidc.Connection{}).RefreshToken); status != http.StatusOK {
		t.Errorf("the next client: got %d, want 200", status)
	}
	wantState(t, p, "abandoned", tokens.RefreshToken, oidc.Used)
}

func TestAWaitForAHoldEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	hold := p.Hold()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := hold.Wait(ctx, 1); err == nil || ctx.Err() == nil {
		t.Errorf("nobody called and Wait says %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- hold.Wait(t.Context(), 1) }()
	hold.Answer()
	if err := <-waited; err == nil {
		t.Error("the hold ended without a call and Wait says that there was one")
	}
}

func TestAStoppedProviderIsGoneAndAnotherKnowsNothingOfIt(t *testing.T) {
	t.Parallel()
	p := oidc.Start(t, oidc.Options{})
	tokens := connect(t, p, oidc.Connection{})
	p.Stop()
	p.Stop()
	if o := <-background(t.Context(), t, p, tokens.RefreshToken); o.err == nil {
		t.Errorf("a stopped provider answers %d", o.status)
	}
	wantState(t, oidc.Start(t, oidc.Options{}), "other provider's", tokens.RefreshToken, oidc.Unknown)
}
