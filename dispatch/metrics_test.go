package dispatch

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"sealpost/store"
	"sealpost/store/storetest"
)

// gather gives every sample by its name and label.
func gather(t *testing.T, d *Dispatcher) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(d.Metrics()...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "," + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				values[name] = m.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				values[name] = float64(m.GetHistogram().GetSampleCount())
			default:
				values[name] = m.GetGauge().GetValue()
			}
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		d.log.Tell(d.Count)
		start := gather(t, d)
		if n := len(start); n != 20 || start["sealpost_dispatch_in_flight_limit"] != 64 || start["sealpost_dispatch_oldest_waiting_seconds"] != 0 {
			t.Errorf("at the start %d samples: %v", n, start)
		}
		good, bad := receive(t, nil), receive(t, status(http.StatusInternalServerError))
		taken, refused, paused := endpoint(t, d, good.URL), endpoint(t, d, bad.URL), endpoint(t, d, good.URL)
		if _, err := d.SetPaused(t.Context(), admin, paused.ID, true, "for the test"); err != nil {
			t.Fatal(err)
		}
		waits := accept(t, d, paused.ID, "x")
		bury(t, d, paused.ID, 2)
		delivered, exhausted := accept(t, d, taken.ID, "x"), accept(t, d, refused.ID, "x")
		stop := run(t, d)
		await(t, d, delivered, Dispatched)
		await(t, d, exhausted, DeadLetter)
		stop()
		write(t, st, `update dispatch_job set created_at = $1 where id = $2`, time.Now().Add(-time.Minute).UnixMicro(), waits)
		d.metrics.oldest.at = time.Time{}
		got := gather(t, d)
		for name, want := range map[string]float64{
			"sealpost_dispatch_jobs_accepted_total": 5, "sealpost_dispatch_jobs_delivered_total": 1,
			"sealpost_dispatch_attempts_retried_total": 2, "sealpost_dispatch_jobs_replayed_total": 0,
			"sealpost_dispatch_attempts_interrupted_total":           0,
			"sealpost_dispatch_jobs_dead_lettered_total,OPERATOR":    2,
			"sealpost_dispatch_jobs_dead_lettered_total,EXHAUSTED":   1,
			"sealpost_dispatch_attempt_duration_seconds,delivered":   1,
			"sealpost_dispatch_attempt_duration_seconds,rejected":    3,
			"sealpost_dispatch_attempt_duration_seconds,unreachable": 0,
			"sealpost_dispatch_in_flight":                            0,
			"sealpost_dispatch_oldest_due_seconds":                   0,
			"sealpost_dispatch_jobs_dead_lettered_total,PERMANENT":   0,
			"sealpost_dispatch_attempt_duration_seconds,interrupted": 0,
			"sealpost_dispatch_attempt_duration_seconds,timeout":     0,
			"sealpost_dispatch_attempt_duration_seconds,blocked":     0,
			"sealpost_dispatch_jobs_dead_lettered_total,EXPIRED":     0,
			"sealpost_dispatch_jobs_dead_lettered_total,BLOCKED":     0,
			"sealpost_dispatch_in_flight_limit":                      64,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s: %v, want %v", name, v, want)
			}
		}
		if age := got["sealpost_dispatch_oldest_waiting_seconds"]; age < 60 || age > 120 {
			t.Errorf("the oldest has waited %v s", age)
		}
		// Asked again at once, the same is said: nothing is looked up.
		write(t, st, `update dispatch_job set created_at = 1 where id = $1`, waits)
		if age := gather(t, d)["sealpost_dispatch_oldest_waiting_seconds"]; age != got["sealpost_dispatch_oldest_waiting_seconds"] {
			t.Errorf("looked up again: %v", age)
		}
		// What cannot be known is not said, and the rest is.
		d.metrics.oldest.at = time.Time{}
		write(t, st, `alter table dispatch_endpoint rename to away`)
		if got := gather(t, d); len(got) != len(start)-2 {
			t.Errorf("without the table: %v", got)
		}
	})
}

func TestHowAnAttemptEnds(t *testing.T) {
	for want, dl := range map[attemptEnd]*delivery{
		endDelivered:   {answer: Answer{Status: 204}},
		endRejected:    {answer: Answer{Status: 302}},
		endTimeout:     {answer: Answer{Err: errors.New("no answer")}, timedOut: true},
		endBlocked:     {answer: Answer{Err: errBlocked}},
		endUnreachable: {answer: Answer{Err: errors.New("refused")}},
		endInterrupted: {answer: Answer{Status: 200}, ours: errCancelled},
	} {
		if got := dl.end(); got != want {
			t.Errorf("%s: %s", want, got)
		}
	}
}
