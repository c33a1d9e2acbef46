package vaults_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Each call may bring pages of megabytes and last for as long as the webhook
// likes: one account must not have any number of them.
func TestOneAccountHasAFewCallsAtOnceAndOthersDoNotWait(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		w, l := boundLiar(t, db)
		const most, asked = 4, 20
		var running, peak atomic.Int64
		came, goOn := make(chan struct{}, asked), make(chan struct{}, asked)
		l.change(func(l *liar) {
			l.storage = func(w http.ResponseWriter, _ wire.StorageRequest) {
				n := running.Add(1)
				for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
				}
				came <- struct{}{}
				<-goOn
				running.Add(-1)
				lists(w)
			}
		})
		var wg sync.WaitGroup
		for i := range asked {
			wg.Go(func() {
				_, err := w.Find(t.Context(), w.user, fmt.Sprint("unknown-", i))
				wantCode(t, err, fault.TokenNotFound)
			})
		}
		for range most {
			<-came
		}
		left, leave := context.WithCancel(t.Context())
		leave()
		if _, err := w.Find(left, w.user, "who-leaves"); !errors.Is(err, context.Canceled) {
			t.Errorf("who leaves while waiting: %v, want its context's error", err)
		}
		other := w.newUser("other@example.com")
		if _, err := w.Bind(t.Context(), other, w.client, newLiar(t, canarySecret(t, 7)).input()); err != nil {
			t.Fatal(err)
		}
		_, err := w.Find(t.Context(), other, "unknown")
		wantCode(t, err, fault.TokenNotFound)
		for range asked {
			goOn <- struct{}{}
		}
		wg.Wait()
		if got := peak.Load(); got != most {
			t.Errorf("%d calls of one account at once, want %d", got, most)
		}
	})
}
