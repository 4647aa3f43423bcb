package dispatch

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// Inspection is what the tables say about the runbook's §5: whether every failure ends, as a delivery
// or in DEAD_LETTER. Counting stops at MaxInspected.
type Inspection struct {
	Wrong       []string // jobs that wait although their attempts are used up, or that nothing will send
	Stuck       []string // jobs whose lease has been over for more than a minute
	DeadLetters int
	Waiting     int
}

// MaxInspected is where counting stops, and maxNamed how many jobs are named.
const (
	MaxInspected = 10_000
	maxNamed     = 10
	stuckAfter   = time.Minute // servers look for leases that are over once a second
)

const (
	// wrongText runs on an index that has no rows unless the answer has; its condition is the index's, word
	// for word.
	wrongText = `
		select id from dispatch_job
		 where (due_at is not null and attempt_count >= attempt_budget)
		    or (due_at is null and lease_until is null and order_wait is null and status in ('PENDING', 'IN_FLIGHT', 'RETRYING'))
		 order by id limit $1`
	// stuckText goes through the leases, which are no more than what is in flight.
	stuckText = `select id from dispatch_job where lease_until is not null and lease_until < $1 limit $2`
)

// Inspect reads the tables of jobs.
func Inspect(ctx context.Context, st *store.Store) (Inspection, error) {
	var i Inspection
	err := st.Read(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if i.Wrong, err = readIDs(ctx, tx, wrongText, maxNamed); err != nil {
			return err
		}
		if i.Stuck, err = readIDs(ctx, tx, stuckText, now.Add(-stuckAfter).UnixMicro(), maxNamed); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, allDeadText, MaxInspected).Scan(&i.DeadLetters); err != nil {
			return err
		}
		return tx.QueryRow(ctx, waitingText, MaxInspected).Scan(&i.Waiting)
	})
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect jobs: %w", err)
	}
	return i, nil
}

func readIDs(ctx context.Context, tx *store.Tx, query string, args ...any) ([]string, error) {
	var ids []string
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, query, args...)
	return ids, err
}
