package web

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the server's own numbers, the dispatcher's and the runtime's. A request is counted under its route's
// pattern, never under the path that was asked for: that is a client's word, and there is no end to
// what clients can say.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	unrouted routeMetrics
	handler  http.Handler
}

// routeMetrics are the counters of one route, looked up once.
type routeMetrics struct {
	method, route string
	seconds       prometheus.Observer
	byStatus      *[1000]atomic.Pointer[prometheus.Counter] // net/http takes three digits
}

func newMetrics(d Deps) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_http_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sealpost_http_request_duration_seconds", Help: "Time from a request's headers to the end of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sealpost_build_info", Help: "1, for this version."}, []string{"version"})
	build.WithLabelValues(d.Version).Set(1)
	m.registry.MustRegister(m.requests, m.seconds, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if d.Dispatch != nil {
		m.registry.MustRegister(d.Dispatch.Metrics()...)
	}
	if d.Alerts != nil {
		m.registry.MustRegister(d.Alerts.Metrics())
	}
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	m.unrouted = m.labels("", "none")
	return m
}

func (m *metrics) route(rt *routeInfo) routeMetrics { return m.labels(rt.method, rt.pattern) }

func (m *metrics) labels(method, route string) routeMetrics {
	return routeMetrics{
		method: method, route: route, seconds: m.seconds.WithLabelValues(method, route),
		byStatus: new([1000]atomic.Pointer[prometheus.Counter]),
	}
}

func (m *metrics) observe(x *exchange, took time.Duration) {
	of := &m.unrouted
	if x.route != nil {
		of = &x.route.metrics
	}
	of.seconds.Observe(took.Seconds())
	counter := of.byStatus[x.status].Load()
	if counter == nil {
		c := m.requests.WithLabelValues(of.method, of.route, strconv.Itoa(x.status))
		counter = &c
		of.byStatus[x.status].Store(counter)
	}
	(*counter).Inc()
}
