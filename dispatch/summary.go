package dispatch

import (
	"context"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

// The events that tell what becomes of jobs.
const (
	actAccepted    = "dispatch.job.accepted"
	actDispatched  = "dispatch.job.dispatched"
	actRetried     = "dispatch.attempt.failed"
	actInterrupted = "dispatch.attempt.interrupted"
	actReplayed    = "dispatch.job.replayed"
	actDied        = "dispatch.job.dead_lettered"
)

// Summary is what has become of jobs since a time, by the audit log, and how they stand now.
type Summary struct {
	Accepted    audit.Tally
	Dispatched  audit.Tally
	Retried     audit.Tally // attempts that failed and are made again
	Interrupted audit.Tally // attempts whose server ended
	Replayed    audit.Tally

	DeadLettered audit.Tally
	ByReason     map[Reason]int // of those

	InFlight        audit.Tally // now, as the rest
	Waiting         audit.Tally
	DeadLetters     audit.Tally
	OldestWaitingID string    // "" where none waits
	OldestAccepted  time.Time // when that one was accepted
}

// Each runs on the partial index of its condition, and stops counting at audit.MaxTally.
const (
	inFlightText = `select count(*) from (select 1 from dispatch_job where lease_until is not null limit $1) as j`
	waitingText  = `select count(*) from (select 1 from dispatch_job where due_at is not null limit $1) as j`
	allDeadText  = `select count(*) from (select 1 from dispatch_job where dead_lettered_at is not null limit $1) as j`
	oldestText   = `select id, created_at from dispatch_job where status = $1 and lease_until is null order by id limit 1`
)

// Summary counts. It costs as much for a busy week as for a busy hour: what happened is in the counters
// but for the last seconds, and how jobs stand is counted up to audit.MaxTally.
func (d *Dispatcher) Summary(ctx context.Context, since time.Time) (Summary, error) {
	s := Summary{ByReason: map[Reason]int{}}
	events, err := d.log.Tally(ctx, since, actAccepted, actDispatched, actRetried, actInterrupted, actReplayed)
	if err != nil {
		return s, err
	}
	s.Accepted, s.Dispatched = events[actAccepted], events[actDispatched]
	s.Retried, s.Interrupted, s.Replayed = events[actRetried], events[actInterrupted], events[actReplayed]
	reasons, total, err := d.log.TallyBy(ctx, since, actDied, "reason")
	if err != nil {
		return s, err
	}
	s.DeadLettered = total
	for reason, n := range reasons {
		s.ByReason[Reason(reason)] = n
	}
	err = d.log.Store().Read(ctx, func(tx *store.Tx) error {
		for _, c := range []struct {
			query string
			to    *audit.Tally
		}{{inFlightText, &s.InFlight}, {waitingText, &s.Waiting}, {allDeadText, &s.DeadLetters}} {
			var n int
			if err := tx.QueryRow(ctx, c.query, audit.MaxTally+1).Scan(&n); err != nil {
				return err
			}
			*c.to = audit.TallyOf(n)
		}
		var err error
		s.OldestWaitingID, s.OldestAccepted, err = oldestWaiting(ctx, tx)
		return err
	})
	if err != nil {
		return s, fmt.Errorf("summarize jobs: %w", err)
	}
	return s, nil
}

// oldestWaiting gives the job that waits and was accepted before all others that do; "" where none waits.
func oldestWaiting(ctx context.Context, tx *store.Tx) (id string, accepted time.Time, err error) {
	for _, status := range []Status{Pending, Retrying} {
		var one string
		var at time.Time
		err := tx.QueryRow(ctx, oldestText, string(status)).Scan(&one, store.Time(&at))
		if err != nil && !store.NoRow(err) {
			return "", time.Time{}, err
		}
		if err == nil && (id == "" || one < id) {
			id, accepted = one, at
		}
	}
	return id, accepted, nil
}
