package app

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
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
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
