package web

import (
	"context"
	"sync"
	"time"

	"sealpost/runbook"
)

// How alerts and controls stand changes by the hour, and is read in some milliseconds. So nobody tells
// of it: while somebody watches, it is looked at again and again, and each stream is told of what is
// not as it was told last.
const standingEvery = 2 * time.Second // how often; controls are checked again once a minute

// standing is how alerts and controls were when they were looked at last.
type standing struct {
	mu       sync.Mutex
	watchers int
	stop     context.CancelFunc
	stopped  chan struct{}
	now      stand
	changed  chan struct{} // closed when now is another
}

// stand is how they are at one time. The zero stand is one that nobody has looked at.
type stand struct {
	known    bool
	alerts   []Alert
	controls []runbook.Result
}

// watch begins to look, until the function that it gives is called.
func (s *Server) watchStanding() (stop func()) {
	t := &s.standing
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watchers++; t.watchers == 1 {
		ctx, cancel := context.WithCancel(context.Background())
		stopped := make(chan struct{})
		t.stop, t.stopped, t.now, t.changed = cancel, stopped, stand{}, make(chan struct{})
		go func() {
			defer close(stopped)
			s.followStanding(ctx)
		}()
	}
	return sync.OnceFunc(t.leave)
}

// leave ends one watcher, and with the last one the looking.
func (t *standing) leave() {
	t.mu.Lock()
	t.watchers--
	last, stop, stopped := t.watchers == 0, t.stop, t.stopped
	t.mu.Unlock()
	if last {
		stop()
		<-stopped
	}
}

// read gives how things stand, and what is closed when they stand otherwise.
func (t *standing) read() (stand, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now, t.changed
}

// followStanding looks until ctx ends. What cannot be read is as it was: the posture itself says FAIL
// where a check cannot be made.
func (s *Server) followStanding(ctx context.Context) {
	ticker := time.NewTicker(standingEvery)
	defer ticker.Stop()
	failing := false
	for {
		var sum Summary
		err := s.sumAlerts(ctx, &sum)
		if err == nil {
			s.standing.set(stand{known: true, alerts: sum.Alerts, controls: s.Runbook.Posture(ctx)})
		} else if !failing && ctx.Err() == nil {
			s.Logger.Warn("changes of alerts and controls cannot be told to who watches them", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (t *standing) set(now stand) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now.known && len(now.alertsOtherThan(t.now)) == 0 && len(now.controlsOtherThan(t.now)) == 0 {
		return
	}
	t.now = now
	close(t.changed)
	t.changed = make(chan struct{})
}

// alertsOtherThan gives the alerts that are not as they were. A count alone changes with each job that
// dies, of which there are events already.
func (now stand) alertsOtherThan(was stand) (changed []Alert) {
	before := map[string]Alert{}
	for _, a := range was.alerts {
		before[a.Name] = a
	}
	for _, a := range now.alerts {
		b, ok := before[a.Name]
		if !ok || a.Up != b.Up || !equal(a.RaisedAt, b.RaisedAt, time.Time.Equal) || !equal(a.Delivery, b.Delivery, same[string]) {
			changed = append(changed, a)
		}
	}
	return changed
}

// controlsOtherThan gives the controls whose status is not what it was.
func (now stand) controlsOtherThan(was stand) (changed []runbook.Result) {
	before := map[string]runbook.Status{}
	for _, r := range was.controls {
		before[r.ID] = r.Status
	}
	for _, r := range now.controls {
		if before[r.ID] != r.Status {
			changed = append(changed, r)
		}
	}
	return changed
}

// equal compares two values that may be missing.
func equal[T any](a, b *T, are func(T, T) bool) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return are(*a, *b)
}

func same[T comparable](a, b T) bool { return a == b }
