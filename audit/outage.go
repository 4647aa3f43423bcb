package audit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

// outageSpan is for how long outages are counted together before another event tells of them: a disk that is
// full for large writes and not for small ones is out many times a second.
const outageSpan = time.Minute

// outages keeps what could not be written because the database was full, read-only or away, until an event
// tells of it (SPEC §5.2, §5.4). What could not be written did not happen and has no event of its own, so
// without this one the record would show a quiet time.
type outages struct {
	pending atomic.Bool
	mu      sync.Mutex
	now     outage
	told    time.Time
}

// outage is transactions that could not be written.
type outage struct {
	since, until time.Time // of the first and the last of them
	writes       int
	reason       string // of the last
}

// add counts a transaction that could not be written.
func (o *outages) add(now time.Time, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.and(outage{since: now, until: now, writes: 1, reason: reason})
	o.pending.Store(true)
}

// take gives what is to be told now, if anything is.
func (o *outages) take(now time.Time) (out outage, ok bool) {
	if !o.pending.Load() {
		return out, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now.writes == 0 || now.Sub(o.told) < outageSpan {
		return out, false
	}
	out, o.now, o.told = o.now, outage{}, now
	o.pending.Store(false)
	return out, true
}

// putBack takes back what could not be told.
func (o *outages) putBack(out outage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now, o.told = out.and(o.now), time.Time{}
	o.pending.Store(true)
}

// and is an outage with what came after it.
func (a outage) and(later outage) outage {
	switch {
	case a.writes == 0:
		return later
	case later.writes == 0:
		return a
	}
	return outage{since: a.since, until: later.until, writes: a.writes + later.writes, reason: later.reason}
}

// event tells of an outage.
func (a outage) event(writer string) Event {
	return Event{
		Action: "audit.outage", Entity: "AuditWriter", EntityID: writer, Outcome: Failure,
		Details: map[string]any{
			"since": a.since.UTC().Format(time.RFC3339Nano), "until": a.until.UTC().Format(time.RFC3339Nano),
			"writes": a.writes, "reason": a.reason,
		},
	}
}

// couldNotWrite notes that a transaction was not written, for the health check and for the record.
func (l *Log) couldNotWrite(err error) {
	now := time.Now()
	l.failed.Store(&failure{now, err})
	if store.Outage(err) {
		l.outages.add(now, reasonOf(err))
	}
}

// tellOutage records, after a write that has succeeded, what could not be written before it.
func (l *Log) tellOutage(ctx context.Context) {
	out, ok := l.outages.take(time.Now())
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWait) // its caller has what it wanted
	defer cancel()
	if err := l.Record(ctx, Itself("audit"), out.event(l.writer)); err != nil {
		l.outages.putBack(out)
	}
}

// reasonOf is the sentence that may be shown of why something could not be written, without what the
// database said of it.
func reasonOf(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Message
	}
	return "the event could not be written"
}
