package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tvzero/tokenvault/server/internal/audit"
)

// verificationMetrics tell of the audit record's chains. broken is what to be woken by.
type verificationMetrics struct {
	verifier                    *audit.Verifier
	rows, broken, pending, upTo *prometheus.Desc
}

func newVerificationMetrics(v *audit.Verifier) *verificationMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("tokenvault_audit_"+name, help, nil, nil)
	}
	return &verificationMetrics{
		verifier: v,
		rows:     desc("verified_rows_total", "Audit rows that this replica has read to verify their chain."),
		broken:   desc("broken_streams", "Streams of the audit record that do not verify; anything but 0 is somebody's work."),
		pending:  desc("unverified_streams", "Streams that no replica has read to their end yet."),
		upTo:     desc("verified_until_seconds", "Unix time until which all streams were verified; 0: not all yet."),
	}
}

const verificationTimeout = 5 * time.Second

// Describe implements prometheus.Collector.
func (m *verificationMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.rows, m.broken, m.pending, m.upTo} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *verificationMetrics) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(m.rows, prometheus.CounterValue, float64(m.verifier.Stats().Rows))
	ctx, cancel := context.WithTimeout(context.Background(), verificationTimeout)
	defer cancel()
	state, err := m.verifier.State(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(m.broken, err)
		return
	}
	until := 0.0
	if !state.UpTo.IsZero() {
		until = float64(state.UpTo.Unix())
	}
	to <- prometheus.MustNewConstMetric(m.broken, prometheus.GaugeValue, float64(len(state.Breaks)))
	to <- prometheus.MustNewConstMetric(m.pending, prometheus.GaugeValue, float64(state.Pending))
	to <- prometheus.MustNewConstMetric(m.upTo, prometheus.GaugeValue, until)
}
