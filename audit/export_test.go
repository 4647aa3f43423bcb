package audit

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// What tests need of the inside.
const (
	MaxBody         = maxBody
	MaxWord         = maxWord
	MaxRefusalKinds = maxRefusalKinds
	RefusalSpan     = refusalSpan
	SweepEvery      = sweepEvery
	OnceFor         = onceFor
	ForgetPiece     = forgetPiece
	MaxUndone       = maxUndone
)

// Bookkeeping is the closed list.
func Bookkeeping() map[string]bool { return bookkeeping }

// Word makes a text fit for a column.
func Word(s string) string { return word(s) }

// Undone gives the numbers that did not commit, and how many of them are not kept.
func (l *Log) Undone() (numbers []uint64, lost uint64) {
	l.undone.mu.Lock()
	defer l.undone.mu.Unlock()
	for _, s := range l.undone.spans {
		for i := range s.n {
			numbers = append(numbers, s.first+i)
		}
	}
	return numbers, l.undone.lost
}

// Undo adds numbers that did not commit, and tells how many spans of them are kept.
func (l *Log) Undo(first, n uint64) int {
	l.undone.add(span{first, n})
	return len(l.undone.spans)
}

// Counted tells how many numbers have been given out.
func (l *Log) Counted() uint64 {
	l.undone.mu.Lock()
	defer l.undone.mu.Unlock()
	return l.undone.given
}

// Kinds tells how many kinds of refusals are being counted.
func (l *Log) Kinds() int {
	l.refused.mu.Lock()
	defer l.refused.mu.Unlock()
	return len(l.refused.windows)
}

// Remembered gives what is remembered of the refusals that are being counted.
func (l *Log) Remembered() (list []struct {
	By    Principal
	Event Event
	Count int
},
) {
	l.refused.mu.Lock()
	defer l.refused.mu.Unlock()
	for _, w := range l.refused.windows {
		list = append(list, struct {
			By    Principal
			Event Event
			Count int
		}{w.by, w.event, w.count})
	}
	return list
}

// Fail makes the log's last failure as old as it is told.
func (l *Log) Fail(err error, ago time.Duration) { l.failed.Store(&failure{time.Now().Add(-ago), err}) }

// OutageTold has an outage been told of at a time.
func (l *Log) OutageTold(at time.Time) {
	l.outages.mu.Lock()
	defer l.outages.mu.Unlock()
	l.outages.told = at
}

// Query is the statement that finds a page of events.
func (f Filter) Query(page store.Page) (string, []any) { return f.query(page) }

// RetentionRows is how many events a piece of a deletion goes through.
const RetentionRows = retentionRows

// Piece deletes the next piece of a plan that is begun, as a server does that then stops.
func (r *Retention) Piece(ctx context.Context, by Principal, hash string) error {
	p, err := r.begin(ctx, by, hash)
	if err != nil {
		return err
	}
	if covered, err := r.covered(ctx, p); err != nil || !covered {
		return fmt.Errorf("the intent is not covered: %w", err)
	}
	var leaves leafMap
	err = r.log.st.Read(ctx, func(tx *store.Tx) (err error) {
		leaves, err = readLeafMap(ctx, tx, p.CheckpointSize)
		return err
	})
	if err != nil {
		return err
	}
	return r.piece(ctx, by, p, leaves)
}

// Resign gives the lead back, as a server does that ends.
func (s *Sealer) Resign(ctx context.Context) error {
	s.working.Lock()
	defer s.working.Unlock()
	return s.resign(ctx)
}

// What tests need of the sealer's inside.
const (
	KeyGrace     = keyGrace
	CopyPatience = copyPatience
	MaxBatch     = maxBatch
)

// CopyingFailsSince makes the failure to copy checkpoints as old as it is told.
func (s *Sealer) CopyingFailsSince(ago time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.since = time.Now().Add(ago)
}

// Later lets time pass for what the sealer waits for.
func (s *Sealer) Later(d time.Duration) {
	s.working.Lock()
	defer s.working.Unlock()
	for id, since := range s.keys.strange {
		s.keys.strange[id] = since.Add(-d)
	}
}

// Open gives out numbers whose transaction does not end.
func (l *Log) Open(n uint64) (first uint64) { return l.undone.give(n).first }

// CountUntil counts events as Count does, but for those of the last while.
func (l *Log) CountUntil(ctx context.Context, behind time.Duration) error {
	return l.count(ctx, behind)
}

// The statements of counting.
const CountText = countText

var SeriesText = seriesText

// SealingWrites is the sealer's closed list.
func SealingWrites() map[string]bool { return sealing }

// MaxCopies is how many days' checkpoints stay in the folder.
const MaxCopies = maxCopies

// Thin deletes checkpoints that are no longer needed.
func (s *Sealer) Thin(ctx context.Context) error {
	s.working.Lock()
	defer s.working.Unlock()
	return s.thin(ctx)
}
