package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/server/internal/providers"
	"github.com/tvzero/tokenvault/server/internal/refreshes"
)

// refreshMetrics says how refreshing goes, from counts that the services keep. A
// provider in a label is one that the operator set up.
type refreshMetrics struct {
	refreshes *refreshes.Service
	engine    *refresh.Engine // of platform vaults
	providers *providers.Registry

	ended, breakers, problems *prometheus.Desc
	numbers                   []number
	engines                   []engineNumber
}

// A number is one of refreshes.Stats.
type number struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(refreshes.Stats) float64
}

// An engineNumber is one of refresh.Stats, by mode of the vaults.
type engineNumber struct {
	desc *prometheus.Desc
	of   func(refresh.Stats) int64
}

func newRefreshMetrics(a *App) *refreshMetrics {
	const prefix = "tokenvault_refresh"
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	gauge := func(name, help string, of func(refreshes.Stats) float64) number {
		return number{desc(name, help), prometheus.GaugeValue, of}
	}
	counter := func(name, help string, of func(refreshes.Stats) int64) number {
		return number{desc(name, help), prometheus.CounterValue, func(s refreshes.Stats) float64 { return float64(of(s)) }}
	}
	engine := func(name, help string, of func(refresh.Stats) int64) engineNumber {
		return engineNumber{desc(name, help, "mode"), of}
	}
	return &refreshMetrics{
		refreshes: a.refreshes, engine: a.engine, providers: a.providers,
		ended:    desc("es_total", "Refreshes of webhooks' tokens, by path, provider, outcome and reason.", "path", "provider", "outcome", "reason"),
		breakers: desc("_webhooks", "Webhooks by whether they are called: closed is as usual, open is not at all, half_open is once to see.", "state"),
		problems: prometheus.NewDesc("tokenvault_provider_problem", "1 while a provider cannot be used, because its issuer does not say where its endpoints are; else 0.", []string{"provider"}, nil),
		numbers: []number{
			gauge("_running", "Refreshes of webhooks' tokens under way.", func(s refreshes.Stats) float64 { return float64(s.Running) }),
			gauge("_queued", "Refreshes claimed and waiting for their turn.", func(s refreshes.Stats) float64 { return float64(s.Queued) }),
			gauge("_backlog_seconds", "How long the oldest refresh of the last look had been due.", func(s refreshes.Stats) float64 { return s.Backlog.Seconds() }),
			gauge("_outbox_due", "Sealed tokens found waiting for webhooks at the last look.", func(s refreshes.Stats) float64 { return float64(s.OutboxDue) }),
			gauge("_outbox_oldest_seconds", "How long the oldest of them has waited.", func(s refreshes.Stats) float64 { return s.OutboxOldest.Seconds() }),
			counter("_polls_total", "Looks for what is due.", func(s refreshes.Stats) int64 { return s.Polls }),
			counter("_claimed_total", "Refreshes claimed because they were due.", func(s refreshes.Stats) int64 { return s.Claimed }),
			counter("_deferred_total", "Refreshes given back, because their webhook had enough to do.", func(s refreshes.Stats) int64 { return s.Deferred }),
			counter("_turned_away_total", "Refreshes put off without a call, because their webhook is down.", func(s refreshes.Stats) int64 { return s.TurnedAway }),
			counter("_outbox_sealed_total", "New tokens sealed for a webhook that was away.", func(s refreshes.Stats) int64 { return s.Sealed }),
			counter("_outbox_delivered_total", "Sealed tokens that were delivered.", func(s refreshes.Stats) int64 { return s.Delivered }),
			counter("_outbox_discarded_total", "Sealed tokens whose webhook had newer ones.", func(s refreshes.Stats) int64 { return s.Discarded }),
			counter("_outbox_failures_total", "Attempts to deliver sealed tokens that failed.", func(s refreshes.Stats) int64 { return s.Undelivered }),
			counter("_lost_total", "New tokens that reached no webhook.", func(s refreshes.Stats) int64 { return s.Lost }),
		},
		engines: []engineNumber{
			engine("_flights_total", "Tokens looked after in this process.", func(s refresh.Stats) int64 { return s.Flights }),
			engine("_joined_total", "Callers that shared such a flight.", func(s refresh.Stats) int64 { return s.Joined }),
			engine("_provider_calls_total", "Calls at providers.", func(s refresh.Stats) int64 { return s.Calls }),
			engine("_commit_retries_total", "Attempts to store new tokens that failed and were repeated.", func(s refresh.Stats) int64 { return s.CommitRetries }),
			engine("_superseded_total", "New tokens not stored, because newer ones were.", func(s refresh.Stats) int64 { return s.Superseded }),
			engine("_dropped_total", "New tokens that could not be stored at all.", func(s refresh.Stats) int64 { return s.Dropped }),
		},
	}
}

// Describe implements prometheus.Collector.
func (m *refreshMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.ended, m.breakers, m.problems} {
		to <- d
	}
	for _, n := range m.numbers {
		to <- n.desc
	}
	for _, n := range m.engines {
		to <- n.desc
	}
}

// Collect implements prometheus.Collector.
func (m *refreshMetrics) Collect(to chan<- prometheus.Metric) {
	s := m.refreshes.Stats()
	for e, n := range s.Ended {
		to <- prometheus.MustNewConstMetric(m.ended, prometheus.CounterValue, float64(n), e.Path, e.Provider, string(e.Kind), string(e.Reason))
	}
	for state, n := range s.Breakers {
		to <- prometheus.MustNewConstMetric(m.breakers, prometheus.GaugeValue, float64(n), string(state))
	}
	for _, n := range m.numbers {
		to <- prometheus.MustNewConstMetric(n.desc, n.kind, n.of(s))
	}
	for mode, stats := range map[string]refresh.Stats{"webhook": s.Engine, "platform": m.engine.Stats()} {
		for _, n := range m.engines {
			to <- prometheus.MustNewConstMetric(n.desc, prometheus.CounterValue, float64(n.of(stats)), mode)
		}
	}
	problems := m.providers.Problems()
	for _, p := range m.providers.List() {
		value := 0.0
		if _, has := problems[p.ID]; has {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(m.problems, prometheus.GaugeValue, value, p.ID)
	}
}
