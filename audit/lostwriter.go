package audit

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

const (
	// lostAfter is when a writer that has not been seen to live has ended without saying so.
	lostAfter = time.Minute
	lostEvery = 10 * time.Second
)

// writerRow is a row of audit_writer.
type writerRow struct {
	writer        string
	seen, settled int64
}

// declareLost tells of writers that ended without a last heartbeat: a crash. What happened to the numbers
// behind their last account nobody knows any more, and the event says just that: which of them are there,
// and which are missing, be it that their transactions did not commit or that they were taken away.
func (s *Sealer) declareLost(ctx context.Context) error {
	if time.Since(s.rounds.lost) < lostEvery {
		return nil
	}
	var list []writerRow
	err := s.log.st.Read(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		before := now.Add(-lostAfter)
		if tx.Dialect() == store.SQLite {
			before = now.Add(time.Hour) // all others have ended
		}
		list = nil
		return tx.Each(ctx, func(scan func(...any) error) error {
			var w writerRow
			err := scan(&w.writer, &w.seen, &w.settled)
			list = append(list, w)
			return err
		}, `select writer, seen_at, settled from audit_writer where writer <> $1 and seen_at < $2 order by writer limit 100`,
			s.log.writer, before.UnixMicro())
	})
	if err != nil {
		return fmt.Errorf("look for writers that have ended: %w", err)
	}
	for _, w := range list {
		if err := s.declare(ctx, w); err != nil {
			return fmt.Errorf("tell of a writer that has ended: %w", err)
		}
	}
	s.rounds.lost = time.Now()
	return nil
}

func (s *Sealer) declare(ctx context.Context, w writerRow) error {
	return s.log.seal(ctx, func(tx *store.Tx) ([]Event, error) {
		n, err := tx.Exec(ctx, `delete from audit_writer where writer = $1 and seen_at = $2`, w.writer, w.seen)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, ErrNothing // it lives
		}
		highest, gaps, more, err := s.gaps(ctx, tx, w)
		if err != nil {
			return nil, err
		}
		details := map[string]any{"settled": w.settled, "highest": highest, "missing": gaps}
		if more {
			details["moreMissing"] = true
		}
		return []Event{{Action: "audit.writer.lost", Entity: "AuditWriter", EntityID: w.writer, Details: details}}, nil
	})
}

// gaps finds the numbers behind a writer's last account that are not in the log, up to the highest that is.
func (s *Sealer) gaps(ctx context.Context, tx *store.Tx, w writerRow) (highest int64, gaps [][2]int64, more bool, err error) {
	gaps, highest = [][2]int64{}, w.settled
	before, _, err := sealedOf(ctx, tx, w.writer, w.settled)
	if err != nil {
		return 0, nil, false, err
	}
	highest = max(highest, before.end()-1)
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var r run
		if err := scan(&r.counter, &r.count); err != nil {
			return err
		}
		if r.counter > highest+1 {
			if more = more || len(gaps) == beatSpans; !more {
				gaps = append(gaps, [2]int64{highest + 1, r.counter - highest - 1})
			}
		}
		highest = max(highest, r.end()-1)
		return nil
	}, `select counter, count from audit_leaf where writer = $1 and counter > $2 order by counter`, w.writer, w.settled)
	return highest, gaps, more, err
}
