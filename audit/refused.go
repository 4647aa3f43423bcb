package audit

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"sealpost/store"
)

// refusalWindow is how long refusals of one kind, by one actor from one address, are counted before
// they become one event. maxRefusalWindows bounds how many kinds are told apart at a time: past it,
// refusals are told apart by their action alone.
const (
	refusalSpan       = time.Minute
	maxRefusalWindows = 4096
)

type refusals struct {
	mu      sync.Mutex
	windows map[string]*refusalWindow
}

// refusalWindow counts the refusals that came after the first, which has its event already.
type refusalWindow struct {
	by    Principal
	event Event
	count int
	timer *time.Timer
}

// Refused records what did not happen (a failed sign-in, a forbidden act) and returns why, joined
// with the audit log's own error if it cannot be recorded. The first of a kind is an event at once;
// those that follow within a minute become one event with their count, so a flood costs one row a
// minute.
func (l *Log) Refused(ctx context.Context, by Principal, e Event, why error) error {
	if e.Outcome == "" {
		e.Outcome = Denied
	}
	if l.countRefusal(by, e) {
		return why
	}
	if err := l.Record(ctx, by, e); err != nil {
		return errors.Join(err, why)
	}
	return why
}

// Record writes an event by itself: something was seen that changes no other row.
func (l *Log) Record(ctx context.Context, by Principal, e Event) error {
	return l.Change(ctx, by, func(*store.Tx) ([]Event, error) { return []Event{e}, nil })
}

// countRefusal tells whether a refusal joins an open window, and opens one where there is none.
func (l *Log) countRefusal(by Principal, e Event) bool {
	r := &l.refused
	r.mu.Lock()
	defer r.mu.Unlock()
	key := strings.Join([]string{e.Action, e.Outcome, by.UserID, by.IP, e.EntityID}, "\x00")
	if len(r.windows) >= maxRefusalWindows && r.windows[key] == nil {
		key = e.Action
		by, e = Principal{Kind: Anonymous}, Event{Action: e.Action, Outcome: e.Outcome}
	}
	if w := r.windows[key]; w != nil {
		w.count++
		w.by, w.event = by, e
		return true
	}
	w := &refusalWindow{by: by, event: e}
	r.windows[key] = w
	w.timer = time.AfterFunc(refusalSpan, func() {
		r.mu.Lock()
		open := r.windows[key] == w
		if open {
			delete(r.windows, key)
		}
		r.mu.Unlock()
		if open {
			l.writeWindow(context.Background(), w)
		}
	})
	return false
}

// writeWindow makes one event of what a window counted.
func (l *Log) writeWindow(ctx context.Context, w *refusalWindow) {
	if w.count == 0 {
		return
	}
	details := map[string]any{"count": w.count, "windowSeconds": int(refusalSpan.Seconds())}
	for k, v := range w.event.Details {
		details[k] = v
	}
	w.event.Details = details
	if err := l.Record(ctx, w.by, w.event); err != nil {
		l.log.Error("refusals could not be recorded", "action", w.event.Action, "count", w.count, "error", err)
	}
}

// Close writes the refusals that are still being counted. The database stays open.
func (l *Log) Close(ctx context.Context) {
	l.refused.mu.Lock()
	windows := l.refused.windows
	l.refused.windows = map[string]*refusalWindow{}
	l.refused.mu.Unlock()
	for _, w := range windows {
		w.timer.Stop()
		l.writeWindow(ctx, w)
	}
}
