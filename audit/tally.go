package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sealpost/store"
)

// Tally is how often something happened. Where AtLeast is true it may have been more often.
type Tally struct {
	N       int
	AtLeast bool
}

// The limits of counting, so that a look at a busy week costs no more than one at a busy hour.
const (
	MaxTally  = 100_000 // events that are counted one by one of one action
	MaxBodies = 10_000  // events that are read to be counted
)

// TallyOf makes a tally of a count that stopped at MaxTally+1 at the latest.
func TallyOf(n int) Tally { return Tally{N: min(n, MaxTally), AtLeast: n > MaxTally} }

// Tally counts the events of each action since a time: by the counters (count.go), and what is not in them
// yet through the index of actions, at most MaxTally of each.
func (l *Log) Tally(ctx context.Context, since time.Time, actions ...string) (map[string]Tally, error) {
	tallies := make(map[string]Tally, len(actions))
	err := l.st.Snapshot(ctx, func(tx *store.Tx) error {
		w, err := windowSince(ctx, tx, since)
		if err != nil {
			return err
		}
		for _, action := range actions {
			_, total, err := w.counted(ctx, tx, action)
			if err != nil {
				return err
			}
			for _, s := range w.live {
				var n int
				if err := tx.QueryRow(ctx, tallyText, action, FirstID(s.from), FirstID(s.to), MaxTally+1).Scan(&n); err != nil {
					return err
				}
				total = total.plus(TallyOf(n))
			}
			tallies[action] = total
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count audit events: %w", err)
	}
	return tallies, nil
}

const (
	tallyText   = `select count(*) from (select 1 from "AuditLog" where action = $1 and id >= $2 and id < $3 limit $4) as t`
	bodiesText  = `select body from "AuditLog" where action = $1 and id >= $2 and id < $3 order by id desc limit $4`
	refusedText = `select body from "AuditLog" where outcome = 'DENIED' and id >= $1 and id < $2 order by id desc limit $3`
)

// TallyBy counts the events of one action since a time by a detail of theirs ("reason"), as CountBy was
// told; of what is not in the counters yet at most MaxBodies, the newest. A flood that was recorded as one
// event with its count counts in full.
func (l *Log) TallyBy(ctx context.Context, since time.Time, action, detail string) (map[string]int, Tally, error) {
	return l.tallyBy(ctx, since, action, detail, bodiesText, action)
}

// TallyRefused counts everything that was refused since a time, floods in full; of what is not in the
// counters yet from at most MaxBodies events, the newest.
func (l *Log) TallyRefused(ctx context.Context, since time.Time) (Tally, error) {
	_, total, err := l.tallyBy(ctx, since, deniedAction, "", refusedText)
	return total, err
}

func (l *Log) tallyBy(ctx context.Context, since time.Time, action, detail, live string, args ...any) (by map[string]int, total Tally, err error) {
	err = l.st.Snapshot(ctx, func(tx *store.Tx) error {
		w, err := windowSince(ctx, tx, since)
		if err != nil {
			return err
		}
		if by, total, err = w.counted(ctx, tx, action); err != nil {
			return err
		}
		for _, s := range w.live {
			words, n, err := tallyBodies(ctx, tx, detail, MaxBodies, live, append(slices.Clip(args), FirstID(s.from), FirstID(s.to), MaxBodies+1)...)
			if err != nil {
				return err
			}
			total = total.plus(n)
			for word, n := range words {
				by[word] += n
			}
		}
		return nil
	})
	if err != nil {
		return nil, Tally{}, fmt.Errorf("count audit events: %w", err)
	}
	return by, total, nil
}

func (t Tally) plus(o Tally) Tally { return Tally{N: t.N + o.N, AtLeast: t.AtLeast || o.AtLeast} }

// tallyBodies counts by the events' bodies, at most a limit of them; 0: all that the query gives.
func tallyBodies(ctx context.Context, tx *store.Tx, detail string, limit int, query string, args ...any) (map[string]int, Tally, error) {
	by := map[string]int{}
	var total Tally
	read := 0
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		if read++; limit > 0 && read > limit {
			total.AtLeast = true
			return nil
		}
		word, n, err := weigh(text, detail)
		by[word] += n
		total.N += n
		return err
	}, query, args...)
	return by, total, err
}

// window is a time up to now, by where its events are counted: whole minutes in the counters, and the
// rest, which is short, one by one.
type window struct {
	minute int64 // the first whose counters are in it
	live   []slice
}

// endOfTime is behind every event.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

func windowSince(ctx context.Context, tx *store.Tx, since time.Time) (window, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return window{}, err
	}
	mark, err := readMark(ctx, tx)
	if err != nil {
		return window{}, err
	}
	return windowOf(since, mark, now), nil
}

// windowOf decides where events are counted. What is older than the counters are kept is counted one by
// one, as far as that goes.
func windowOf(since, mark, now time.Time) window {
	whole := since.Truncate(time.Minute)
	if whole.Before(since) {
		whole = whole.Add(time.Minute)
	}
	if !mark.After(whole) || since.Before(now.Add(-CountsKept).Add(time.Minute)) {
		return window{minute: minuteOf(endOfTime), live: []slice{{since, endOfTime}}}
	}
	w := window{minute: minuteOf(whole), live: []slice{{mark, endOfTime}}}
	if since.Before(whole) {
		w.live = append(w.live, slice{since, whole})
	}
	return w
}

// counted sums the counters of an action, by detail and in all.
func (w window) counted(ctx context.Context, tx *store.Tx, action string) (map[string]int, Tally, error) {
	by := map[string]int{}
	var total Tally
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var detail string
		var n int
		err := scan(&detail, &n)
		by[detail] += n
		total.N += n
		return err
	}, `select detail, cast(sum(n) as bigint) from event_count where minute >= $1 and action = $2 group by detail`, w.minute, action)
	return by, total, err
}
