package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sealpost/audit"
	"sealpost/store"
)

// metrics are a dispatcher's numbers for Prometheus. What is counted is counted for this process, when the
// change that it belongs to has been committed (audit.Log.Tell), so a sum over all servers is right, and
// accepting and completing jobs do not know of it. No label has a value that a caller can choose: not an
// endpoint, not a receiver's status.
type metrics struct {
	byAction map[string]prometheus.Counter
	died     map[Reason]prometheus.Counter
	attempts map[attemptEnd]prometheus.Observer
	all      []prometheus.Collector
	oldest   oldest
}

// attemptEnd is how an attempt ended, as far as its duration is concerned.
type attemptEnd string

const (
	endDelivered   attemptEnd = "delivered"
	endRejected    attemptEnd = "rejected"    // an answer other than 2xx
	endTimeout     attemptEnd = "timeout"     // no answer in time
	endBlocked     attemptEnd = "blocked"     // a forbidden address
	endUnreachable attemptEnd = "unreachable" // no connection, or it broke off
	endInterrupted attemptEnd = "interrupted" // not made, or not ended, by this server
)

// end tells how an attempt ended.
func (dl *delivery) end() attemptEnd {
	switch {
	case dl.ours != nil:
		return endInterrupted
	case errors.Is(dl.answer.Err, errBlocked):
		return endBlocked
	case dl.answer.Err != nil && dl.timedOut:
		return endTimeout
	case dl.answer.Err != nil:
		return endUnreachable
	case dl.outcome() == Delivered:
		return endDelivered
	}
	return endRejected
}

// attemptBuckets are in seconds: from a receiver next door to DISPATCH_TIMEOUT_SECONDS' largest.
var attemptBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}

func newMetrics(d *Dispatcher) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "sealpost", Subsystem: "dispatch", Name: name, Help: help})
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "sealpost", Subsystem: "dispatch", Name: name, Help: help}, value)
	}
	died := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "sealpost", Subsystem: "dispatch", Name: "jobs_dead_lettered_total", Help: "Jobs that died, by reason.",
	}, []string{"reason"})
	attempts := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "sealpost", Subsystem: "dispatch", Name: "attempt_duration_seconds", Buckets: attemptBuckets,
		Help: "Time from the begin of an attempt to its end, by how it ended.",
	}, []string{"outcome"})
	m := &metrics{
		byAction: map[string]prometheus.Counter{
			actAccepted:    counter("jobs_accepted_total", "Jobs accepted."),
			actDispatched:  counter("jobs_delivered_total", "Jobs that their receivers took."),
			actReplayed:    counter("jobs_replayed_total", "Jobs that were given a fresh budget of attempts."),
			actRetried:     counter("attempts_retried_total", "Attempts that failed and are made again."),
			actInterrupted: counter("attempts_interrupted_total", "Attempts whose server ended, or could not make them."),
		},
		died: map[Reason]prometheus.Counter{}, attempts: map[attemptEnd]prometheus.Observer{},
		oldest: oldest{d: d},
	}
	for _, reason := range []Reason{Exhausted, Permanent, Blocked, Expired, Operator} {
		m.died[reason] = died.WithLabelValues(string(reason))
	}
	for _, end := range []attemptEnd{endDelivered, endRejected, endTimeout, endBlocked, endUnreachable, endInterrupted} {
		m.attempts[end] = attempts.WithLabelValues(string(end))
	}
	m.all = []prometheus.Collector{
		died, attempts, &m.oldest,
		gauge("in_flight", "Attempts that this server is making just now.", func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return float64(d.sending)
		}),
		gauge("in_flight_limit", "Attempts that this server makes at once at most (DISPATCH_CONCURRENCY).",
			func() float64 { return float64(d.o.Concurrency) }),
	}
	for _, c := range m.byAction {
		m.all = append(m.all, c)
	}
	return m
}

// Metrics are the dispatcher's numbers for Prometheus. They cost no look at the jobs but the oldest ones'.
func (d *Dispatcher) Metrics() []prometheus.Collector { return d.metrics.all }

// Count takes note of what has happened, for the metrics (audit.Log.Tell).
func (d *Dispatcher) Count(events []audit.Event) {
	for _, e := range events {
		if c := d.metrics.byAction[e.Action]; c != nil {
			c.Inc()
		} else if e.Action == actDied {
			reason, _ := e.Details["reason"].(string)
			if c := d.metrics.died[Reason(reason)]; c != nil {
				c.Inc()
			}
		}
	}
}

// attempt notes how long an attempt took.
func (m *metrics) attempt(dl *delivery) {
	m.attempts[dl.end()].Observe(dl.endedAt.Sub(dl.startedAt).Seconds())
}

// oldest tells how long the oldest jobs have waited. It looks them up when Prometheus asks, but not more
// often than every 5 s, through one look into an index for each endpoint; while the database does not
// answer, it tells nothing.
type oldest struct {
	d  *Dispatcher
	mu sync.Mutex
	at time.Time // of the last look

	known        bool
	waiting, due time.Duration
}

const (
	oldestEvery  = 5 * time.Second
	oldestWithin = time.Second // how long Prometheus waits for it
)

var (
	waitingDesc = prometheus.NewDesc("sealpost_dispatch_oldest_waiting_seconds",
		"How long ago the oldest job that waits, for whatever, was accepted; 0 where none waits. The same on all servers.", nil, nil)
	dueDesc = prometheus.NewDesc("sealpost_dispatch_oldest_due_seconds",
		"For how long the first due job has been due, of endpoints that are not paused; 0 where none is. The same on all servers.", nil, nil)
)

// Describe implements prometheus.Collector.
func (o *oldest) Describe(to chan<- *prometheus.Desc) {
	to <- waitingDesc
	to <- dueDesc
}

// Collect implements prometheus.Collector.
func (o *oldest) Collect(to chan<- prometheus.Metric) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at.IsZero() || time.Since(o.at) >= oldestEvery {
		ctx, cancel := context.WithTimeout(context.Background(), oldestWithin)
		defer cancel()
		err := o.look(ctx)
		if err != nil && o.known {
			o.d.o.Logger.Warn("the oldest jobs cannot be looked up for /metrics", "error", err)
		}
		o.known, o.at = err == nil, time.Now()
	}
	if o.known {
		to <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, o.waiting.Seconds())
		to <- prometheus.MustNewConstMetric(dueDesc, prometheus.GaugeValue, o.due.Seconds())
	}
}

func (o *oldest) look(ctx context.Context) error {
	return o.d.log.Store().Read(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		_, accepted, err := oldestWaiting(ctx, tx)
		if err != nil {
			return err
		}
		first, err := firstDue(ctx, tx, now)
		if err != nil {
			return err
		}
		o.waiting, o.due = 0, 0
		if !accepted.IsZero() {
			o.waiting = max(0, now.Sub(accepted))
		}
		if len(first) > 0 {
			o.due = now.Sub(store.FromMicros(first[0].at))
		}
		return nil
	})
}
