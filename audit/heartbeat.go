package audit

import (
	"context"
	"fmt"

	"sealpost/store"
)

// beatSpans is how many spans of numbers one heartbeat tells of; more are told by several.
const beatSpans = 500

// Beat accounts for the numbers that this writer has given to events since the last time: up to which one
// it is known how each ended, and which did not commit. So an event that is taken away before it is sealed
// leaves a gap that nothing explains. Without anything new it writes nothing, apart from the time at which
// the writer was seen to live, where there are several servers.
func (l *Log) Beat(ctx context.Context) error { return l.beat(ctx, false) }

// End is the last heartbeat of a writer that ends. Events may still come, and are then a new account.
func (l *Log) End(ctx context.Context) error { return l.beat(ctx, true) }

func (l *Log) beat(ctx context.Context, final bool) error {
	l.beating.Lock()
	defer l.beating.Unlock()
	a := l.undone.take()
	if a.given == l.beaten && len(a.spans) == 0 && a.lost == 0 {
		return l.seen(ctx, final)
	}
	events := a.heartbeats(l.writer, final)
	err := l.Change(ctx, Itself("audit"), func(tx *store.Tx) ([]Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		if final {
			_, err = tx.Exec(ctx, `delete from audit_writer where writer = $1`, l.writer)
		} else {
			_, err = tx.Exec(ctx, `
				insert into audit_writer (writer, started_at, seen_at, settled) values ($1, $2, $2, $3)
				on conflict (writer) do update set seen_at = excluded.seen_at, settled = excluded.settled`,
				l.writer, now.UnixMicro(), int64(a.settled)) //nolint:gosec // a process does not count that far
		}
		return events, err
	})
	if err != nil {
		l.undone.putBack(a)
		return fmt.Errorf("write a heartbeat: %w", err)
	}
	l.known.Store(!final)
	l.beaten = a.given + uint64(len(events))
	return nil
}

// heartbeats tells of an account.
func (a account) heartbeats(writer string, final bool) []Event {
	var events []Event
	for first := true; first || len(a.spans) > 0; first = false {
		spans := a.spans[:min(beatSpans, len(a.spans))]
		a.spans = a.spans[len(spans):]
		pairs := make([][2]uint64, len(spans))
		for i, s := range spans {
			pairs[i] = [2]uint64{s.first, s.n}
		}
		details := map[string]any{"counter": a.given, "settled": a.settled, "undone": pairs}
		if first && a.lost > 0 {
			details["lost"] = a.lost
		}
		if final {
			details["final"] = true
		}
		events = append(events, Event{Action: "audit.heartbeat", Entity: "AuditWriter", EntityID: writer, Details: details})
	}
	return events
}

// seen says that the writer lives, or has ended, when it has nothing to account for. One server alone
// need not be seen: when it starts, all others have ended.
func (l *Log) seen(ctx context.Context, final bool) error {
	if !l.known.Load() || !final && l.st.Dialect() == store.SQLite {
		return nil
	}
	err := l.seal(ctx, func(tx *store.Tx) ([]Event, error) {
		if final {
			_, err := tx.Exec(ctx, `delete from audit_writer where writer = $1`, l.writer)
			return nil, err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, `update audit_writer set seen_at = $2 where writer = $1`, l.writer, now.UnixMicro())
		return nil, err
	})
	if err != nil {
		return fmt.Errorf("tell that the audit log's writer lives: %w", err)
	}
	if final {
		l.known.Store(false)
	}
	return nil
}

// introduce makes a writer known with its first event, so that its end is noticed if it does not tell.
func (l *Log) introduce(ctx context.Context, tx *store.Tx) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `insert into audit_writer (writer, started_at, seen_at, settled) values ($1, $2, $2, 0) on conflict (writer) do nothing`,
		l.writer, now.UnixMicro())
	return err
}
