package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tvzero/tokenvault/server/internal/health"
)

// healthMetrics count the calls by which bound webhooks are asked how they are. Which
// webhook it was is for its owner's page.
type healthMetrics struct {
	health        *health.Service
	calls, atOnce *prometheus.Desc
}

func newHealthMetrics(h *health.Service) *healthMetrics {
	return &healthMetrics{
		health: h,
		calls:  prometheus.NewDesc("tokenvault_webhook_health_calls_total", "Scheduled health calls at bound webhooks, by outcome; untried ones could not be made.", []string{"outcome"}, nil),
		atOnce: prometheus.NewDesc("tokenvault_webhook_health_running", "Scheduled health calls under way.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *healthMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.calls
	to <- m.atOnce
}

// Collect implements prometheus.Collector.
func (m *healthMetrics) Collect(to chan<- prometheus.Metric) {
	s := m.health.Stats()
	for outcome, n := range map[string]int64{"healthy": s.Healthy, "unhealthy": s.Unhealthy, "untried": s.Untried} {
		to <- prometheus.MustNewConstMetric(m.calls, prometheus.CounterValue, float64(n), outcome)
	}
	to <- prometheus.MustNewConstMetric(m.atOnce, prometheus.GaugeValue, float64(s.Running))
}
