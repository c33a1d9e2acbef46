package refreshes_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/webhooks"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// instant is webhooks and providers without the calls: everything is refreshed for an
// hour.
type instant struct{}

func (instant) RefreshGet(context.Context, webhooks.Target, string) (wire.RefreshResponse, error) {
	return wire.RefreshResponse{Status: wire.RefreshOK, RefreshToken: "r", Meta: map[string]any{
		"provider": "test", "creationId": "1", "expiryTime": float64(time.Now().UnixMilli()),
	}}, nil
}

func (instant) RefreshUpdate(context.Context, webhooks.Target, string, webhooks.Update) (wire.RefreshResponse, error) {
	return wire.RefreshResponse{Status: wire.RefreshUpdated}, nil
}

func (instant) Refresh(context.Context, refresh.Provider, refresh.Secret, []string) (refresh.Tokens, error) {
	return refresh.Tokens{AccessToken: "a", RefreshToken: "r", ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (instant) RefreshNotify(context.Context, webhooks.Target, string, string, wire.RefreshHint) (wire.RefreshNotifyResponse, error) {
	return wire.RefreshNotifyResponse{Status: wire.NotifyRefreshed, NewExpiresAt: time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, nil
}

// BenchmarkSchedule measures what a refresh costs this process besides the calls:
// claim, lease, index, record. 100,000 tokens of 100 webhooks are in the tables, of
// which so many are due within a time that is as long as they would be apart if all
// were due within an hour. "core" is the share of one core that all 100,000 in an hour take.
//
//	scripts/with-postgres go test -run '^$' -bench Schedule -benchtime 3000x ./server/internal/refreshes
func BenchmarkSchedule(b *testing.B) {
	for name, capability := range map[string]string{"notify": wire.CapRefresh, "mediated": wire.CapTVRefresh} {
		b.Run(name, func(b *testing.B) { benchmarkSchedule(b, capability) })
	}
}

func benchmarkSchedule(b *testing.B, capability string) {
	const tokens, accounts = 100_000, 100
	w := newWorld(b, storetest.URL(b, store.Postgres))
	w.limits = refreshes.Limits{} // as in production
	far := time.Now().Add(100 * time.Hour)
	var all []models.Token
	for range accounts {
		o := w.bind("https://"+models.NewID().String()+".example", wire.Secret{}, models.Binding{Capabilities: []string{capability, wire.CapOutbox}})
		list := make([]models.Token, tokens/accounts)
		for i := range list {
			list[i] = models.Token{
				ServiceName: fmt.Sprintf("service %05d", i), CreationID: "1", ExpiresAt: &far, Provider: "test", TokenType: models.TypeOAuth, HasRefreshToken: true,
			}
		}
		if _, err := w.db.SyncTokens(b.Context(), o.account, o.vault, list, false); err != nil {
			b.Fatal(err)
		}
		stored, err := w.db.Tokens(b.Context(), o.account, o.vault, "", 0)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, stored...)
	}
	if b.N > len(all) {
		b.Fatalf("at most %d at a time", len(all))
	}
	step := time.Hour / tokens
	began := time.Now()
	for i := range b.N {
		t := all[i*7919%len(all)]
		at := began.Add(time.Duration(i) * step)
		if err := w.db.ScheduleRefresh(b.Context(), t.AccountID, t.ID, &at); err != nil {
			b.Fatal(err)
		}
	}
	s := w.service(func(d *refreshes.Deps) { d.Webhooks, d.Client = instant{}, instant{} })
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	used := processTime()
	b.ResetTimer()
	go func() { ended <- s.Run(ctx) }()
	for done(s) < int64(b.N) {
		<-w.record.told
	}
	b.StopTimer()
	took := processTime() - used
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	each := took / time.Duration(b.N)
	b.ReportMetric(float64(each.Microseconds()), "cpu-µs/refresh")
	b.ReportMetric(each.Seconds()*tokens/3600*100, "%core")
	if stats := s.Stats(); stats.Claimed-stats.Deferred != int64(b.N) {
		b.Errorf("claimed %d, deferred %d, want %d in all", stats.Claimed, stats.Deferred, b.N)
	}
}

// BenchmarkIdle measures what a replica costs that has nothing to do: one look.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b, storetest.URL(b, store.Postgres))
	used := processTime()
	for b.Loop() {
		if _, err := w.db.ClaimDue(b.Context(), 128, time.Minute); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((processTime()-used).Microseconds())/float64(b.N), "cpu-µs/look")
}

// done counts refreshes that have ended.
func done(s *refreshes.Service) (n int64) {
	for _, count := range s.Stats().Ended {
		n += count
	}
	return n
}

// processTime is the CPU time that this process has taken.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
