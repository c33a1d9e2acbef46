package cache_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/cache"
)

func open(t *testing.T, now func() time.Time) (*cache.Gate, *cache.Cache[string, int]) {
	t.Helper()
	gate := cache.NewGate(now)
	gate.Open()
	return gate, cache.New[string, int](gate)
}

func load(t *testing.T, c *cache.Cache[string, int], account uuid.UUID, key string, value int) {
	t.Helper()
	if _, err := c.Load(account, key, func() (int, error) { return value, nil }); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, c *cache.Cache[string, int], key string, value int, known bool) {
	t.Helper()
	got, ok := c.Get(key)
	if ok != known || got != value {
		t.Fatalf("Get(%q) = %d, %v; want %d, %v", key, got, ok, value, known)
	}
}

func TestAnEntryLivesForItsLifeAndNoLonger(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	_, c := open(t, func() time.Time { return at })
	load(t, c, uuid.New(), "k", 7)
	at = at.Add(cache.Life - time.Nanosecond)
	want(t, c, "k", 7, true)
	at = at.Add(time.Nanosecond)
	want(t, c, "k", 0, false)
}

func TestAChangeEndsTheAccountsEntriesAndNoOthers(t *testing.T) {
	t.Parallel()
	gate, c := open(t, time.Now)
	mine, other := uuid.New(), uuid.New()
	load(t, c, mine, "mine", 1)
	load(t, c, other, "other", 2)
	gate.Changed(mine)
	want(t, c, "mine", 0, false)
	want(t, c, "other", 2, true)
}

func TestOneEntryIsForgottenAndNoOther(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	_, c := open(t, func() time.Time { return at })
	account := uuid.New()
	load(t, c, account, "k", 1)
	load(t, c, account, "other", 2)
	at = at.Add(cache.Life / 2)
	load(t, c, account, "k", 3)
	c.Forget("k")
	want(t, c, "k", 0, false)
	want(t, c, "other", 2, true)
	load(t, c, account, "k", 4)
	want(t, c, "k", 4, true)
}

func TestALoadThatBeganBeforeAChangeIsNotRemembered(t *testing.T) {
	t.Parallel()
	gate, c := open(t, time.Now)
	account := uuid.New()
	got, err := c.Load(account, "k", func() (int, error) {
		gate.Changed(account) // the change commits while the row is being read
		return 1, nil
	})
	if err != nil || got != 1 {
		t.Fatalf("Load = %d, %v; want 1, nil", got, err)
	}
	want(t, c, "k", 0, false)
}

func TestNothingIsUsedOrRememberedWhileTheGateIsClosed(t *testing.T) {
	t.Parallel()
	gate, c := open(t, time.Now)
	account := uuid.New()
	load(t, c, account, "before", 1)
	gate.Close()
	want(t, c, "before", 0, false)
	load(t, c, account, "during", 2)
	gate.Open()
	want(t, c, "before", 0, false)
	want(t, c, "during", 0, false)

	// A load that spans the gate's opening may have missed a change.
	gate.Close()
	_, _ = c.Load(account, "across", func() (int, error) { gate.Open(); return 3, nil })
	want(t, c, "across", 0, false)
}

func TestAFailedLoadIsNotRemembered(t *testing.T) {
	t.Parallel()
	_, c := open(t, time.Now)
	failure := errors.New("away")
	if _, err := c.Load(uuid.New(), "k", func() (int, error) { return 9, failure }); !errors.Is(err, failure) {
		t.Fatalf("got %v, want %v", err, failure)
	}
	want(t, c, "k", 0, false)
}

func TestMemoryIsBoundedByTwoLives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const keys = 2048 // as good as certain to touch every shard, so that each turns over
		_, c := open(t, time.Now)
		account := uuid.New()
		load(t, c, account, "old", 1)
		for range 3 {
			time.Sleep(cache.Life)
			for i := range keys {
				load(t, c, account, uuid.NewString(), i)
			}
		}
		if n := c.Len(); n > 2*keys {
			t.Fatalf("%d entries remain, want at most %d", n, 2*keys)
		}
	})
}

func TestAChangeIsSeenByEveryLaterGet(t *testing.T) {
	t.Parallel()
	gate, c := open(t, time.Now)
	account := uuid.New()
	var mu sync.RWMutex
	truth := 0
	read := func() (int, error) { mu.RLock(); defer mu.RUnlock(); return truth, nil }
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				mu.RLock()
				least := truth
				mu.RUnlock()
				got, ok := c.Get("k")
				if !ok {
					got, _ = c.Load(account, "k", read)
				}
				if got < least {
					t.Errorf("got %d after %d was announced", got, least)
					return
				}
			}
		})
	}
	for i := 1; i <= 2000; i++ {
		// The write and its announcement are one step for whoever asks after it,
		// as a transaction that calls Changed before it returns.
		mu.Lock()
		truth = i
		gate.Changed(account)
		mu.Unlock()
	}
	wg.Wait()
}

func TestAMarkHoldsUntilAnythingChangesOrMightHave(t *testing.T) {
	t.Parallel()
	gate, _ := open(t, time.Now)
	for name, event := range map[string]func(){
		"a change of an account that nobody asked about": func() { gate.Changed(uuid.New()) },
		"news may have been missed":                      func() { gate.Close(); gate.Open() },
		"news may be missing":                            gate.Close,
	} {
		gate.Open()
		mark := gate.Mark()
		if !gate.Unchanged(mark) {
			t.Errorf("%s: changed before it happened", name)
		}
		event()
		if gate.Unchanged(mark) {
			t.Errorf("%s: unchanged", name)
		}
	}
}
