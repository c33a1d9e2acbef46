package platform_test

import (
	"context"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/custody"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// inMemory holds a token against rows that were read before.
type inMemory struct {
	w     *world
	grant models.Grant
	key   models.GrantKey
}

func (m *inMemory) Keys(_ context.Context, p grants.Principal) (*custody.Holder, error) {
	claims, err := m.w.ring.OpenToken(p.Token.Reveal())
	if err != nil {
		return nil, err
	}
	return m.w.ring.Hold(claims, &m.grant, &m.key, m.w.clock.now)
}

func (m *inMemory) RememberedKeys(ctx context.Context, p grants.Principal) (*custody.Holder, error) {
	return m.Keys(ctx, p)
}

// A release of 1 KB to an agent that has been given it before: with the rows of the
// agent's key read from each database, and with them in memory, which leaves the
// cryptography, the decoding and the answer.
func BenchmarkReleaseTo(b *testing.B) {
	for _, dialect := range storetest.Dialects {
		b.Run(dialect, func(b *testing.B) {
			w := newWorld(b, storetest.Open(b, storetest.URL(b, dialect)))
			a, token := w.benchmarked()
			benchmarkReleases(b, w.Service, a, token)
		})
	}
	b.Run("cryptography", func(b *testing.B) {
		rows := &inMemory{}
		w := newWorld(b, storetest.Open(b, storetest.URL(b, storetest.Dialects[0])))
		a, token := w.benchmarked()
		var err error
		rows.w = w
		rows.grant, rows.key, err = w.store.GrantWithKey(b.Context(), w.account, a.Agent.GrantID, a.Slot)
		w.must(err)
		deps := w.deps
		deps.Holders = rows
		benchmarkReleases(b, platform.New(deps), a, token)
	})
}

func (w *world) benchmarked() (agent, models.Token) {
	w.t.Helper()
	p, a := w.session(), w.agent("a")
	token, err := w.Store(w.t.Context(), p, audit.Client{}, ref("github"), fieldsOf(w.t, plain(strings.Repeat("x", 900))))
	w.must(err)
	w.grant(p, a, token)
	return a, token
}

func benchmarkReleases(b *testing.B, s *platform.Service, a agent, token models.Token) {
	b.Helper()
	for range 2 { // keeps its key under its slot, and remembers the ciphertext
		if _, _, err := s.ReleaseTo(b.Context(), a.Principal, token.ID, models.RefreshAuto, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.ReleaseTo(b.Context(), a.Principal, token.ID, models.RefreshAuto, nil); err != nil {
			b.Fatal(err)
		}
	}
}
