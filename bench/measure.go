package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// measureStart is how long the program takes from its start to its first answer, with tables that are
// there already, and what it holds when it idles.
func measureStart(ctx context.Context, _ Options, p *program, _ *floor) ([]figure, error) {
	var took []time.Duration
	for range 5 {
		if err := p.stop(); err != nil {
			return nil, err
		}
		var err error
		if p.log, err = reopen(p.log); err != nil {
			return nil, err
		}
		if err := p.start(ctx); err != nil {
			return nil, err
		}
		took = append(took, p.started)
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return nil, err
	}
	return []figure{
		{name: "start to serving, median of 5", value: millis(quantile(took, 0.5)), hold: "hold ≤ 150 ms"},
		{name: "resident memory when idle", value: fmt.Sprintf("%.1f MiB", float64(p.rss())/(1<<20)), hold: "hold ≤ 40 MiB"},
	}, nil
}

// measureAccept is how many jobs a second are accepted, signed in, each durable before its answer.
// The endpoint is paused, so that nothing is dispatched meanwhile.
func measureAccept(ctx context.Context, o Options, p *program, f *floor) ([]figure, error) {
	id, err := p.endpoint(ctx, "http://127.0.0.1:9/")
	if err != nil {
		return nil, err
	}
	if err := p.api.Call(ctx, http.MethodPost, "/api/admin/dispatch/endpoints/"+id+"/pause", nil, nil); err != nil {
		return nil, err
	}
	body := jobBody(id, string(randomPayload()))
	var rate float64
	var took []time.Duration
	now, err := f.around(ctx, func() (err error) {
		rate, took, err = hammer(ctx, o.Each, func(ctx context.Context) error {
			return post(ctx, p.api.HTTP, p.api.URL+"/api/dispatch/jobs", p.api.Token, body, http.StatusAccepted)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: fmt.Sprintf("accept, %d clients", clients), value: perSecond(rate), ratio: ratio(rate, now, "F"), hold: "hold ≥ 10 % (DESIGN §9: 20 / 15 %)"},
		{name: "  accept p50, p99", value: millis(quantile(took, 0.5)) + ", " + millis(quantile(took, 0.99)), hold: "DESIGN §9: p99 ≤ 25 ms"},
	}, nil
}

func jobBody(endpointID, payload string) []byte {
	b, _ := json.Marshal(map[string]string{"endpointId": endpointID, "contentType": "text/plain", "payload": payload})
	return b
}

// sink is a receiver in this process that tells of each arrival.
type sink struct {
	url string
	srv *http.Server
}

func startSink(ctx context.Context, arrived func(body []byte)) (*sink, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{url: "http://" + l.Addr().String()}
	s.srv = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived(body)
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = s.srv.Serve(l) }()
	return s, nil
}

func (s *sink) close() { _ = s.srv.Close() }

// drainEndpoints and drainJobs are what waits when the drain begins.
const (
	drainEndpoints = 64
	drainJobs      = 20000
)

// measureDrain is how fast jobs that wait for 64 endpoints reach a sink, once they may.
func measureDrain(ctx context.Context, _ Options, p *program, f *floor) ([]figure, error) {
	var n atomic.Int64
	var last atomic.Int64
	s, err := startSink(ctx, func([]byte) { last.Store(time.Now().UnixNano()); n.Add(1) })
	if err != nil {
		return nil, err
	}
	defer s.close()
	ids := make([]string, drainEndpoints)
	for i := range ids {
		if ids[i], err = p.endpoint(ctx, s.url); err != nil {
			return nil, err
		}
		if err := p.api.Call(ctx, http.MethodPost, "/api/admin/dispatch/endpoints/"+ids[i]+"/pause", nil, nil); err != nil {
			return nil, err
		}
	}
	payload := string(randomPayload())
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for range clients {
		wg.Go(func() {
			for i := next.Add(1); i <= drainJobs; i = next.Add(1) {
				err := post(ctx, p.api.HTTP, p.api.URL+"/api/dispatch/jobs", p.api.Token, jobBody(ids[i%drainEndpoints], payload), http.StatusAccepted)
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
	}
	var rate float64
	now, err := f.around(ctx, func() error {
		start := time.Now()
		for _, id := range ids {
			if err := p.api.Call(ctx, http.MethodPost, "/api/admin/dispatch/endpoints/"+id+"/resume", nil, nil); err != nil {
				return err
			}
		}
		for n.Load() < drainJobs {
			if time.Since(start) > 2*time.Minute {
				return fmt.Errorf("%d of %d jobs arrived in two minutes", n.Load(), drainJobs)
			}
			if err := pause(ctx, 5*time.Millisecond); err != nil {
				return err
			}
		}
		rate = drainJobs / time.Unix(0, last.Load()).Sub(start).Seconds()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []figure{{
		name: fmt.Sprintf("drain, %d jobs of %d endpoints", drainJobs, drainEndpoints), value: perSecond(rate), ratio: ratio(rate, now, "F"), hold: "DESIGN §9: ≥ 20 / 15 %",
	}}, nil
}

// arrivals keeps how long each payload took from being posted to arriving. A payload begins with the
// time at which it was posted.
type arrivals struct {
	mu   sync.Mutex
	took []time.Duration
}

const stamp = "2006-01-02T15:04:05.000000000Z07:00"

func (a *arrivals) arrived(body []byte) {
	at, err := time.Parse(stamp, string(body[:min(len(body), len("2006-01-02T15:04:05.000000000Z"))]))
	if err != nil {
		return
	}
	a.mu.Lock()
	a.took = append(a.took, time.Since(at))
	a.mu.Unlock()
}

func (a *arrivals) all() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]time.Duration(nil), a.took...)
}

// steadyRate is the load at which latency is measured.
const steadyRate = 300

// steady posts steadyRate jobs a second for a while, at even distances whatever the answers take.
func steady(ctx context.Context, p *program, endpointID string, d time.Duration) (int, error) {
	rest := string(randomPayload())
	var wg sync.WaitGroup
	count := int(d.Seconds() * steadyRate)
	errs := make(chan error, count)
	ticker := time.NewTicker(time.Second / steadyRate)
	defer ticker.Stop()
	for range count {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		wg.Go(func() {
			body := jobBody(endpointID, time.Now().UTC().Format(stamp)+rest)
			if err := post(ctx, p.api.HTTP, p.api.URL+"/api/dispatch/jobs", p.api.Token, body, http.StatusAccepted); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	return count, errors.Join(<-errs)
}

// timed measures arrival at a healthy endpoint under the steady load.
func timed(ctx context.Context, o Options, p *program) ([]time.Duration, error) {
	var a arrivals
	s, err := startSink(ctx, a.arrived)
	if err != nil {
		return nil, err
	}
	defer s.close()
	id, err := p.endpoint(ctx, s.url)
	if err != nil {
		return nil, err
	}
	count, err := steady(ctx, p, id, o.Each)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(30 * time.Second); len(a.all()) < count; {
		if time.Now().After(end) {
			return nil, fmt.Errorf("%d of %d jobs arrived", len(a.all()), count)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return a.all(), nil
}

// measureLatency is the time from a post to its arrival at the receiver, at a steady load.
func measureLatency(ctx context.Context, o Options, p *program, _ *floor) ([]figure, error) {
	took, err := timed(ctx, o, p)
	if err != nil {
		return nil, err
	}
	return []figure{{
		name: fmt.Sprintf("accept → arrival at %d/s, p50, p99", steadyRate), value: millis(quantile(took, 0.5)) + ", " + millis(quantile(took, 0.99)),
		hold: "hold p99 ≤ 50 ms (DESIGN §9: 4 and 15 ms)",
	}}, nil
}

// hanging is how many endpoints hang beside the healthy one.
const hanging = 20

// measureIsolation is the same beside endpoints that take a request and never answer.
func measureIsolation(ctx context.Context, o Options, p *program, _ *floor) ([]figure, error) {
	alone, err := timed(ctx, o, p)
	if err != nil {
		return nil, err
	}
	release := make(chan struct{})
	s, err := startSink(ctx, func([]byte) { <-release })
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer close(release)
	for range hanging {
		id, err := p.endpoint(ctx, s.url)
		if err != nil {
			return nil, err
		}
		for range 50 {
			if err := post(ctx, p.api.HTTP, p.api.URL+"/api/dispatch/jobs", p.api.Token, jobBody(id, "hang"), http.StatusAccepted); err != nil {
				return nil, err
			}
		}
	}
	beside, err := timed(ctx, o, p)
	if err != nil {
		return nil, err
	}
	a, b := quantile(alone, 0.99), quantile(beside, 0.99)
	return []figure{{
		name: fmt.Sprintf("healthy endpoint beside %d hanging, p99", hanging), value: millis(b),
		ratio: fmt.Sprintf("%.1f × alone (%s)", float64(b)/float64(a), millis(a)), hold: "DESIGN §9: ≤ 2 × alone",
	}}, nil
}

func quantile(took []time.Duration, q float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	sorted := append([]time.Duration(nil), took...)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
