package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sealpost/store"
)

// Numbers over a week cannot be had by counting a week of events each time. They are rolled up: some
// seconds after events were written, one of the servers counts them by minute and action and adds that to
// event_count. What is newer than that is still counted where it is, so a number is exact at any moment.
//
// The record itself is what is counted, and not a counter beside it that each change would have to keep:
// a change costs nothing more, no row is hot, a crash loses no count, and the counters cannot tell of what
// the record does not have. An event is counted once: the mark up to which all are counted moves in the
// transaction that adds them, by compare-and-set, so two servers that count at the same time count once.
// An event whose transaction commits more than countBehind after the time that it was given, or whose
// server's clock is so much behind, is in the record and is missing in the counters.
const (
	CountEvery   = 5 * time.Second    // how often a server looks for what is to be counted
	CountsKept   = 8 * 24 * time.Hour // for how long counters are kept
	countBehind  = 10 * time.Second   // how old an event is when it is counted
	countMinutes = 64                 // of how many minutes one transaction adds the events
	maxDetail    = 64                 // bytes of a detail by which is counted; a longer one is counted as ""
)

// deniedAction is under what everything that was refused is counted, whatever it was.
const deniedAction = "outcome DENIED"

// Counted is what is counted: an action, and the detail of those that are counted by one.
type Counted struct{ Action, Detail string }

// CountBy has an action's events counted by one of their details ("reason") as well. Whoever makes such
// events says so before any are counted; that detail has few values, and no person's word among them.
func (l *Log) CountBy(action, detail string) {
	l.details.Store(action, detail)
}

// countedBy gives the detail by which an action is counted; "": by none.
func (l *Log) countedBy(action string) string {
	detail, _ := l.details.Load(action)
	name, _ := detail.(string)
	return name
}

// CountUp counts events every 5 s until ctx ends.
func (l *Log) CountUp(ctx context.Context) {
	ticker := time.NewTicker(CountEvery)
	defer ticker.Stop()
	failing := false
	for {
		err := l.Count(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			l.log.Error("events cannot be counted: summaries and trends count them one by one meanwhile", "error", err)
		}
		failing = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Count counts what has not been counted, up to some seconds ago. Where another server does it, it leaves
// that to it.
func (l *Log) Count(ctx context.Context) error { return l.count(ctx, countBehind) }

func (l *Log) count(ctx context.Context, behind time.Duration) error {
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = l.countSome(ctx, behind); err != nil {
			return fmt.Errorf("count events: %w", err)
		}
	}
	return nil
}

// span of time whose events are counted together: within one minute.
type slice struct{ from, to time.Time }

// slices cuts a time into minutes, at most n of them.
func slicesOf(from, to time.Time, n int) (list []slice) {
	for from.Before(to) && len(list) < n {
		end := from.Truncate(time.Minute).Add(time.Minute)
		if end.After(to) {
			end = to
		}
		list = append(list, slice{from, end})
		from = end
	}
	return list
}

// countSome counts the events of some minutes, and tells whether there may be more.
func (l *Log) countSome(ctx context.Context, behind time.Duration) (more bool, err error) {
	var mark, until time.Time
	counts := map[minuteCounted]int{}
	err = l.st.Read(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		target := now.Add(-behind)
		if mark, err = readMark(ctx, tx); err != nil {
			return err
		}
		from := later(mark, now.Add(-CountsKept).Truncate(time.Minute))
		// A quiet time is passed over, and costs no write.
		var next time.Time
		err = tx.QueryRow(ctx, `select at from "AuditLog" where id >= $1 order by id limit 1`, FirstID(from)).Scan(store.Time(&next))
		if err != nil && !store.NoRow(err) {
			return err
		}
		if next.IsZero() {
			return nil
		}
		from = later(from, next.Truncate(time.Minute))
		for _, s := range slicesOf(from, target, countMinutes) {
			if err := l.countSlice(ctx, tx, s, counts); err != nil {
				return err
			}
			until, more = s.to, s.to.Before(target)
		}
		return nil
	})
	if err != nil || len(counts) == 0 && !more {
		return false, err
	}
	err = l.Bookkeep(ctx, func(tx *store.Tx) error { return addCounts(ctx, tx, mark, until, counts) })
	if errors.Is(err, errCounted) {
		return false, nil
	}
	return more, err
}

// readMark gives the time up to which events are counted; zero: none are.
func readMark(ctx context.Context, tx *store.Tx) (mark time.Time, err error) {
	err = tx.QueryRow(ctx, `select counted_until from event_count_mark where id = 1`).Scan(store.Time(&mark))
	if err != nil && !store.NoRow(err) {
		return mark, err
	}
	return mark, nil
}

// minuteCounted is a row's key.
type minuteCounted struct {
	minute int64
	Counted
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// countText counts the events of each action there is, from one end of the index of actions to the other:
// one look for each, and then its range.
const countText = `
	with recursive a (action) as (
	    select min(action) from "AuditLog"
	    union all
	    select (select min(action) from "AuditLog" where action > a.action) from a where a.action is not null)
	select a.action, (select count(*) from "AuditLog" e where e.action = a.action and e.id >= $1 and e.id < $2)
	  from a where a.action is not null`

// countSlice counts the events of a slice of time.
func (l *Log) countSlice(ctx context.Context, tx *store.Tx, s slice, to map[minuteCounted]int) error {
	minute, from, before := minuteOf(s.from), FirstID(s.from), FirstID(s.to)
	var detailed []string
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var action string
		var n int
		if err := scan(&action, &n); err != nil || n == 0 {
			return err
		}
		if l.countedBy(action) == "" {
			to[minuteCounted{minute, Counted{action, ""}}] += n
		} else {
			detailed = append(detailed, action)
		}
		return nil
	}, countText, from, before)
	if err != nil {
		return err
	}
	for _, action := range detailed {
		by, _, err := tallyBodies(ctx, tx, l.countedBy(action), 0, sliceBodiesText, action, from, before)
		if err != nil {
			return err
		}
		for detail, n := range by {
			if len(detail) > maxDetail {
				detail = ""
			}
			to[minuteCounted{minute, Counted{action, detail}}] += n
		}
	}
	_, refused, err := tallyBodies(ctx, tx, "", 0, sliceRefusedText, from, before)
	if err == nil && refused.N > 0 {
		to[minuteCounted{minute, Counted{deniedAction, ""}}] += refused.N
	}
	return err
}

const (
	sliceBodiesText  = `select body from "AuditLog" where action = $1 and id >= $2 and id < $3`
	sliceRefusedText = `select body from "AuditLog" where outcome = 'DENIED' and id >= $1 and id < $2`
)

// errCounted is what addCounts says where another server has counted meanwhile.
var errCounted = errors.New("counted by another server")

// addCounts moves the mark, and adds what was counted up to there.
func addCounts(ctx context.Context, tx *store.Tx, mark, until time.Time, counts map[minuteCounted]int) error {
	n, err := tx.Exec(ctx, `
		insert into event_count_mark (id, counted_until) values (1, $1)
		on conflict (id) do update set counted_until = excluded.counted_until where event_count_mark.counted_until = $2`,
		until.UnixMicro(), markMicros(mark))
	if err != nil {
		return err
	}
	if n == 0 {
		return errCounted
	}
	rows := make([]minuteCounted, 0, len(counts))
	for k := range counts {
		rows = append(rows, k)
	}
	slices.SortFunc(rows, func(a, b minuteCounted) int {
		return cmp.Or(cmp.Compare(a.minute, b.minute), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Detail, b.Detail))
	})
	for len(rows) > 0 {
		n := store.Piece(len(rows), 256)
		args := make([]any, 0, 4*n)
		for _, k := range rows[:n] {
			args = append(args, k.minute, k.Action, k.Detail, counts[k])
		}
		_, err := tx.Exec(ctx, `insert into event_count (minute, action, detail, n) values `+
			store.Values(1, n, "bigint", "text", "text", "bigint")+`
			on conflict (minute, action, detail) do update set n = event_count.n + excluded.n`, args...)
		if err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// markMicros is a mark as the table has it. Before the first there is none, which no row's equals.
func markMicros(mark time.Time) int64 {
	if mark.IsZero() {
		return -1
	}
	return mark.UnixMicro()
}

// ForgetCounts deletes counters that are older than CountsKept.
func (l *Log) ForgetCounts(ctx context.Context) (int64, error) {
	var n int64
	err := l.Bookkeep(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		n, err = tx.Exec(ctx, `delete from event_count where minute < $1`, minuteOf(now.Add(-CountsKept)))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forget counters: %w", err)
	}
	return n, nil
}

// weigh gives how many an event's body tells of: one, or a flood's count (see refused.go).
func weigh(text, detail string) (word string, n int, err error) {
	var b struct {
		Details map[string]any `json:"details"`
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return "", 0, fmt.Errorf("an audit event's body cannot be read: %w", err)
	}
	n = 1
	if windows, ok := b.Details["windowSeconds"]; ok && windows != nil {
		if count, ok := b.Details["count"].(float64); ok && count > 1 {
			n = int(count)
		}
	}
	word, _ = b.Details[detail].(string)
	return word, n, nil
}
