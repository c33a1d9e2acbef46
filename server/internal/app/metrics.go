package app

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tvzero/tokenvault/server/internal/platform"
)

// metricsHandler serves what an operator watches, on an address of its own. No
// label holds an account, a service name or anything else that people typed.
func (a *App) metricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tokenvault_cache_open",
			Help: "1 while changes made by other replicas are heard of and the cache is used, else 0.",
		}, func() float64 {
			if a.gate.IsOpen() {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "tokenvault_audit_rows_total", Help: "Audit rows written durably by this replica.",
		}, func() float64 { return float64(a.audit.Stats().Rows) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "tokenvault_audit_batches_total", Help: "Writes by which the audit rows became durable.",
		}, func() float64 { return float64(a.audit.Stats().Batches) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "tokenvault_audit_failures_total", Help: "Writes of audit rows that failed; nothing was released for them.",
		}, func() float64 { return float64(a.audit.Stats().Failures) }),
		newVerificationMetrics(a.verifier),
		newRefreshMetrics(a),
		newHealthMetrics(a.health),
		keyUse{a.platform, prometheus.NewDesc("tokenvault_server_key_use",
			"What is still under each server key: tokens that it seals, rows that it authenticates, webhooks' secrets.", []string{"key", "what"}, nil)},
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return mux
}

// keyUse counts at each scrape what each server key is still needed for.
type keyUse struct {
	platform *platform.Service
	desc     *prometheus.Desc
}

const keyUseTimeout = 5 * time.Second

// Describe implements prometheus.Collector.
func (k keyUse) Describe(to chan<- *prometheus.Desc) { to <- k.desc }

// Collect implements prometheus.Collector.
func (k keyUse) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), keyUseTimeout)
	defer cancel()
	use, err := k.platform.KeyUse(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(k.desc, err)
		return
	}
	for id, u := range use {
		for what, n := range map[string]int64{"tokens": u.Tokens, "rows": u.Rows, "webhook_secrets": u.Secrets} {
			to <- prometheus.MustNewConstMetric(k.desc, prometheus.GaugeValue, float64(n), strconv.Itoa(id), what)
		}
	}
}
