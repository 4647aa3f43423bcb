package audit

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// Buckets are equal spans of time, one after another, of whole minutes.
type Buckets struct {
	From time.Time // a whole minute
	Each time.Duration
	N    int
}

// Start gives when a bucket begins.
func (b Buckets) Start(i int) time.Time { return b.From.Add(time.Duration(i) * b.Each) }

// Series is how often things happened in each of some buckets.
type Series struct {
	n       map[Counted][]int
	buckets int
	AtLeast bool // of the latest, which is counted one by one, some were left out (MaxTally, MaxBodies)
}

// Of gives an action's numbers, whatever its detail, by bucket.
func (s Series) Of(action string) []int {
	sum := make([]int, s.buckets)
	for what, numbers := range s.n {
		if what.Action == action {
			for i, n := range numbers {
				sum[i] += n
			}
		}
	}
	return sum
}

// By gives the numbers of an action with one detail, by bucket.
func (s Series) By(action, detail string) []int {
	if numbers := s.n[Counted{action, detail}]; numbers != nil {
		return numbers
	}
	return make([]int, s.buckets)
}

// Refused gives the numbers of what was refused, whatever it was.
func (s Series) Refused() []int { return s.Of(deniedAction) }

func (s Series) add(what Counted, bucket, n int) {
	if s.n[what] == nil {
		s.n[what] = make([]int, s.buckets)
	}
	s.n[what][bucket] += n
}

// seriesText sums the counters of n actions between two minutes by spans of minutes: it reads a part of
// the table's key.
func seriesText(n int) string {
	return `
		select (minute - $1) / $3, action, detail, cast(sum(n) as bigint) from event_count
		 where minute >= $1 and minute < $2 and action in (` + store.Placeholders(4, n) + `)
		 group by (minute - $1) / $3, action, detail`
}

// Series counts the actions that are named, and what was refused, in buckets: by the counters, and one by
// one what is not in them yet.
func (l *Log) Series(ctx context.Context, b Buckets, actions ...string) (Series, error) {
	s := Series{n: map[Counted][]int{}, buckets: b.N}
	err := l.st.Snapshot(ctx, func(tx *store.Tx) error {
		mark, err := readMark(ctx, tx)
		if err != nil {
			return err
		}
		args := []any{minuteOf(b.From), minuteOf(b.Start(b.N)), int64(b.Each / time.Minute), deniedAction}
		for _, action := range actions {
			args = append(args, action)
		}
		args = store.Padded(args, 3)
		err = tx.Each(ctx, func(scan func(...any) error) error {
			var bucket, n int
			var what Counted
			if err := scan(&bucket, &what.Action, &what.Detail, &n); err != nil {
				return err
			}
			s.add(what, bucket, n)
			return nil
		}, seriesText(len(args)-3), args...)
		if err != nil {
			return err
		}
		for i := range b.N {
			live := slice{later(b.Start(i), mark), b.Start(i + 1)}
			if !live.from.Before(live.to) {
				continue
			}
			if err := l.addLive(ctx, tx, &s, i, live, actions); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Series{}, fmt.Errorf("count audit events over time: %w", err)
	}
	return s, nil
}

// addLive adds to a bucket what is not in the counters yet.
func (l *Log) addLive(ctx context.Context, tx *store.Tx, s *Series, bucket int, live slice, actions []string) error {
	from, to := FirstID(live.from), FirstID(live.to)
	for _, action := range actions {
		detail := l.countedBy(action)
		if detail == "" {
			var n int
			if err := tx.QueryRow(ctx, tallyText, action, from, to, MaxTally+1).Scan(&n); err != nil {
				return err
			}
			if t := TallyOf(n); n > 0 {
				s.add(Counted{action, ""}, bucket, t.N)
				s.AtLeast = s.AtLeast || t.AtLeast
			}
			continue
		}
		by, total, err := tallyBodies(ctx, tx, detail, MaxBodies, bodiesText, action, from, to, MaxBodies+1)
		if err != nil {
			return err
		}
		for word, n := range by {
			s.add(Counted{action, word}, bucket, n)
		}
		s.AtLeast = s.AtLeast || total.AtLeast
	}
	_, refused, err := tallyBodies(ctx, tx, "", MaxBodies, refusedText, from, to, MaxBodies+1)
	if err == nil && refused.N > 0 {
		s.add(Counted{deniedAction, ""}, bucket, refused.N)
		s.AtLeast = s.AtLeast || refused.AtLeast
	}
	return err
}
