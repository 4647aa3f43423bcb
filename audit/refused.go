package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

// Refusals of one kind, by one actor from one address, are counted for a minute before they become one
// event.
const (
	refusalSpan = time.Minute
	// maxRefusalKinds bounds how many kinds are told apart at a time: past it, refusals are told apart
	// by what was refused alone. Who floods a server chooses what it remembers, so this and
	// maxRefusalDetails are also its memory.
	maxRefusalKinds   = 4096
	maxRefusalDetails = 1 << 10 // bytes of JSON
	sweepEvery        = time.Second
	recordWait        = 10 * time.Second // for how long a refusal waits to be recorded
	maxWindowEvents   = 256              // in one transaction
)

// Refused records what did not happen (a failed sign-in, a forbidden act) and returns why. The first of
// a kind is an event at once; those that follow within a minute become one event with their count, so a
// flood costs two rows a minute.
//
// Where the first cannot be recorded the caller gets fault.Unavailable in why's place: a refusal that
// leaves no trace is one that could be tried in secret. It is counted, and recorded later.
func (l *Log) Refused(ctx context.Context, by Principal, e Event, why error) error {
	if e.Outcome == "" {
		e.Outcome = Denied
	}
	w, first := l.refused.count(by, e, time.Now(), l.sweep)
	if !first {
		return why
	}
	// Whoever is refused may hang up, and is recorded all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWait)
	defer cancel()
	err := l.Record(ctx, by, e)
	if err == nil {
		return why
	}
	if w != nil && (store.Outage(err) || ctx.Err() != nil) {
		l.refused.add(w)
	}
	return fault.Wrap(fault.Unavailable, errors.Join(err, why), "this cannot be recorded just now, so it is not answered").After(recordWait)
}

// Record writes an event by itself: something was seen that changes no other row.
func (l *Log) Record(ctx context.Context, by Principal, e Event) error {
	return l.Change(ctx, by, func(*store.Tx) ([]Event, error) { return []Event{e}, nil })
}

// refusals are the windows in which refusals are being counted.
type refusals struct {
	mu      sync.Mutex
	windows map[refusalKind]*refusalWindow
	timer   *time.Timer // of the next sweep; nil: none is needed
	closed  bool
	writing sync.WaitGroup // sweeps
}

// refusalKind is a hash of what makes refusals alike, so that a kind has a size of its own.
type refusalKind [sha256.Size]byte

func kindOf(by Principal, e Event) refusalKind {
	return sha256.Sum256([]byte(strings.Join([]string{
		e.Action, e.Outcome, word(by.UserID), word(by.KeyID), word(by.IP), e.Entity, word(e.EntityID),
	}, "\x00")))
}

// refusalWindow counts the refusals that came after the first, which has its event already.
type refusalWindow struct {
	kind   refusalKind
	opened time.Time
	by     Principal
	event  Event
	count  int
}

// count counts a refusal in the window of its kind. first: there is none yet, or none any more, so it is
// to be recorded; w is the window that it has opened.
func (r *refusals) count(by Principal, e Event, now time.Time, sweep func()) (w *refusalWindow, first bool) {
	kind := kindOf(by, e)
	by, e = lean(by, e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, true
	}
	if len(r.windows) >= maxRefusalKinds && r.windows[kind] == nil {
		by = Principal{Kind: Anonymous}
		e = Event{Action: e.Action, Outcome: e.Outcome, Details: map[string]any{"combined": true}}
		kind = kindOf(by, e)
	}
	if w := r.windows[kind]; w != nil {
		w.count++
		w.by, w.event = by, e
		return w, false
	}
	w = &refusalWindow{kind: kind, opened: now, by: by, event: e}
	if r.windows == nil {
		r.windows = map[refusalKind]*refusalWindow{}
	}
	r.windows[kind] = w
	if r.timer == nil {
		r.timer = time.AfterFunc(sweepEvery, sweep)
	}
	return w, true
}

// add counts a refusal whose event could not be written.
func (r *refusals) add(w *refusalWindow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.count++
}

// lean is what a window remembers of a refusal: what its event will say, and no more than that.
func lean(by Principal, e Event) (Principal, Event) {
	by = Principal{
		Kind: by.Kind, Role: by.Role, UserID: kept(by.UserID), KeyID: kept(by.KeyID), SessionID: kept(by.SessionID),
		IP: kept(by.IP), RequestID: kept(by.RequestID),
	}
	e = Event{Action: e.Action, Entity: e.Entity, EntityID: kept(e.EntityID), Outcome: e.Outcome, Details: e.Details}
	if b, err := json.Marshal(e.Details); err != nil || len(b) > maxRefusalDetails {
		e.Details = nil
	}
	return by, e
}

// kept is a word that does not hold on to a larger text which it was a part of.
func kept(s string) string { return strings.Clone(word(s)) }

// due takes the windows whose time is over out of the count, or all of them.
func (r *refusals) due(now time.Time, all bool) []*refusalWindow {
	var list []*refusalWindow
	for kind, w := range r.windows {
		if all || now.Sub(w.opened) >= refusalSpan {
			delete(r.windows, kind)
			if w.count > 0 {
				list = append(list, w)
			}
		}
	}
	return list
}

// sweep writes the windows whose time is over. It runs once a second while there are any.
func (l *Log) sweep() {
	r := &l.refused
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	list := r.due(time.Now(), false)
	r.timer = nil
	if len(r.windows) > 0 {
		r.timer = time.AfterFunc(sweepEvery, l.sweep)
	}
	r.writing.Add(1)
	r.mu.Unlock()
	defer r.writing.Done()

	ctx, cancel := context.WithTimeout(context.Background(), recordWait)
	defer cancel()
	for _, w := range l.writeWindows(ctx, list) {
		l.again(w)
	}
}

// again keeps a window that could not be written for another minute.
func (l *Log) again(w *refusalWindow) {
	r := &l.refused
	r.mu.Lock()
	defer r.mu.Unlock()
	switch open := r.windows[w.kind]; {
	case r.closed:
		l.log.Error("refusals could not be recorded", "action", w.event.Action, "count", w.count)
	case open != nil:
		open.count += w.count
	default:
		w.opened = time.Now()
		r.windows[w.kind] = w
		if r.timer == nil {
			r.timer = time.AfterFunc(sweepEvery, l.sweep)
		}
	}
}

// writeWindows makes an event of each window and gives those that could not be written now.
func (l *Log) writeWindows(ctx context.Context, list []*refusalWindow) (left []*refusalWindow) {
	for len(list) > 0 {
		n := min(len(list), maxWindowEvents)
		events := make([]Event, n)
		for i, w := range list[:n] {
			events[i] = w.event
			events[i].By = &w.by
			events[i].Details = map[string]any{}
			maps.Copy(events[i].Details, w.event.Details)
			events[i].Details["count"] = w.count
			events[i].Details["windowSeconds"] = int(refusalSpan.Seconds())
		}
		err := l.Change(ctx, Itself("audit"), func(*store.Tx) ([]Event, error) { return events, nil })
		switch {
		case err == nil:
		case store.Outage(err) || ctx.Err() != nil:
			l.log.Warn("refusals are not recorded yet", "kinds", n, "error", err)
			left = append(left, list[:n]...)
		case n > 1: // one of them cannot be written
			for i := range n {
				left = append(left, l.writeWindows(ctx, list[i:i+1])...)
			}
		default:
			l.log.Error("refusals cannot be recorded", "action", list[0].event.Action, "count", list[0].count, "error", err)
		}
		list = list[n:]
	}
	return left
}

// Close writes the refusals that are still being counted, and waits for those that are being written.
// The database stays open; a refusal that comes later is an event of its own.
func (l *Log) Close(ctx context.Context) {
	r := &l.refused
	r.mu.Lock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	list := r.due(time.Now(), true)
	r.mu.Unlock()
	r.writing.Wait()
	for _, w := range l.writeWindows(ctx, list) {
		l.log.Error("refusals could not be recorded", "action", w.event.Action, "count", w.count)
	}
}
