package dispatch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// MaxReplay is how many jobs one request replays.
const MaxReplay = 1000

// ReplayManyRequest is which dead jobs are replayed, and how. Of the filter, Status is left out or
// DeadLetter.
type ReplayManyRequest struct {
	Filter        JobFilter
	DeadReason    Reason // "": whatever they died of
	Limit         int
	RatePerSecond float64   // how many become due in a second; 0: all now
	Reason        string    // of the operator; may be left out
	ExpireAt      time.Time // a new end for all of them; zero keeps each one's own
}

func (r ReplayManyRequest) check(now time.Time) error {
	switch {
	case r.Limit < 1 || r.Limit > MaxReplay:
		return fault.New(fault.Invalid, "limit is 1 to %d", MaxReplay)
	case r.Filter.Status != "" && r.Filter.Status != DeadLetter:
		return fault.New(fault.Invalid, "only jobs in DEAD_LETTER are replayed together")
	case r.ExpireAt.After(maxTime):
		return errBeyondTime()
	case !r.ExpireAt.IsZero() && !r.ExpireAt.After(now):
		return fault.New(fault.Invalid, "expireAt is over already")
	}
	if r.Reason != "" {
		if err := checkReason(r.Reason); err != nil {
			return err
		}
	}
	return checkRate(r.RatePerSecond)
}

// deadJob is a job that is to be replayed.
type deadJob struct {
	Job
	due               time.Time
	waits, outOfOrder bool
}

// ReplayMany gives dead jobs a fresh budget of attempts, the oldest first, as Replay does with one: ids, keys
// and attempts stay. Jobs that could not be replayed so are left out: those of deleted endpoints, those whose
// payload is gone, and those that are over, unless there is a new end. They become due now, behind what is
// due already, or spread by the rate. more tells that others are left.
//
// fault.Invalid for a request that will not do.
func (d *Dispatcher) ReplayMany(ctx context.Context, by audit.Principal, r ReplayManyRequest) (ids []string, more bool, err error) {
	if err := r.check(time.Now()); err != nil {
		return nil, false, err
	}
	query, args, err := r.query()
	if err != nil {
		return nil, false, err
	}
	err = d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		ids, more = []string{}, false
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		jobs, err := findDead(ctx, tx, query, append([]any{now.UnixMicro()}, args...))
		if err != nil {
			return nil, err
		}
		if more = len(jobs) > r.Limit; more {
			jobs = jobs[:r.Limit]
		}
		for i := range jobs {
			jobs[i].due = now
			if r.RatePerSecond > 0 {
				jobs[i].due = now.Add(time.Duration(i) * apart(int64(milliOf(r.RatePerSecond))))
			}
		}
		if jobs, err = rejoinMany(ctx, tx, jobs); err != nil {
			return nil, err
		}
		replayed, err := replayRows(ctx, tx, now, jobs, r.ExpireAt)
		if err != nil {
			return nil, err
		}
		if err := keptPayloads(ctx, tx, jobs); err != nil {
			return nil, err
		}
		events := []audit.Event{{Action: "dispatch.replay.requested", Entity: "DispatchJob", Details: map[string]any{
			"limit": r.Limit, "ratePerSecond": r.RatePerSecond, "endpointId": r.Filter.EndpointID, "deadLetterReason": string(r.DeadReason),
			"count": len(replayed),
		}}}
		for _, j := range jobs {
			if !replayed[j.ID] {
				continue
			}
			ids = append(ids, j.ID)
			events = append(events, replayedEvent(j.Job, r.Reason, j.outOfOrder))
		}
		return events, nil
	})
	if err == nil {
		d.changes.noteMany()
		d.Wake()
	}
	return ids, more, err
}

// query finds the jobs, by the index of dead letters that goes by id. $1 is the present time.
func (r ReplayManyRequest) query() (string, []any, error) {
	ids := r.Filter.ids(store.Page{})
	if r.Filter.Q != "" {
		start, err := startingWith(r.Filter.Q)
		if err != nil {
			return "", nil, err
		}
		ids = ids.and(start)
	}
	var b strings.Builder
	b.WriteString(`
		select ` + jobColumns + `
		  from dispatch_job j join dispatch_payload p on p.job_id = j.id
		 where j.status = 'DEAD_LETTER' and j.lease_until is null and p.body is not null`)
	args := []any{}
	where := func(condition string, value any) {
		args = append(args, value)
		b.WriteString(" and " + strings.Replace(condition, "$", fmt.Sprintf("$%d", len(args)+1), 1))
	}
	if r.ExpireAt.IsZero() {
		b.WriteString(` and (j.expire_at is null or j.expire_at > $1)`)
	} else {
		b.WriteString(` and cast($1 as bigint) > 0`)
	}
	where("j.id >= $", ids.from)
	where("j.id <= $", ids.to)
	if r.Filter.EndpointID != "" {
		where("j.endpoint_id = $", r.Filter.EndpointID)
	}
	if r.DeadReason != "" {
		where("j.dead_letter_reason = $", string(r.DeadReason))
	}
	if !r.Filter.From.IsZero() {
		where("j.created_at >= $", r.Filter.From.UnixMicro())
	}
	if !r.Filter.To.IsZero() {
		where("j.created_at < $", r.Filter.To.UnixMicro())
	}
	b.WriteString(` and (select 1 from dispatch_endpoint e where e.id = j.endpoint_id and e.deleted_at is null) is not null`)
	args = append(args, r.Limit+1)
	fmt.Fprintf(&b, ` order by j.id limit $%d`, len(args)+1)
	return b.String(), args, nil
}

func findDead(ctx context.Context, tx *store.Tx, query string, args []any) (jobs []deadJob, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var j deadJob
		err := scan(j.fields()...)
		jobs = append(jobs, j)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("find jobs to replay: %w", err)
	}
	return jobs, nil
}

// rejoinMany brings the jobs that are in orders back to their places. Those that have been changed by the time
// their orders are locked are left out.
func rejoinMany(ctx context.Context, tx *store.Tx, jobs []deadJob) ([]deadJob, error) {
	var keys []orderKey
	for _, j := range jobs {
		if j.OrderingKey != "" {
			keys = append(keys, j.order())
		}
	}
	if len(keys) == 0 {
		return jobs, nil
	}
	orders, err := lockOrders(ctx, tx, keys)
	if err != nil {
		return nil, err
	}
	kept := jobs[:0]
	for _, j := range jobs {
		if j.OrderingKey != "" {
			now, err := readJob(ctx, tx, j.ID)
			if err != nil {
				return nil, err
			}
			if now.Status != DeadLetter {
				continue
			}
			if j.waits, j.outOfOrder, err = now.rejoin(ctx, tx, orders[j.order()]); err != nil {
				return nil, err
			}
		}
		kept = append(kept, j)
	}
	return kept, nil
}

// replayRows replays the jobs that are still dead, and tells which.
func replayRows(ctx context.Context, tx *store.Tx, now time.Time, jobs []deadJob, end time.Time) (map[string]bool, error) {
	replayed := map[string]bool{}
	for len(jobs) > 0 {
		n := store.Piece(len(jobs), maxBatch)
		args := []any{now.UnixMicro(), store.Micros(end)}
		for _, j := range jobs[:n] {
			dueAt, orderWait := orderDue(j.due, j.waits)
			args = append(args, j.ID, dueAt, orderWait, j.outOfOrder)
		}
		err := tx.Each(ctx, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			replayed[id] = true
			return err
		}, `with v (id, due_at, order_wait, out_of_order) as (values `+store.Values(3, n, "text", "bigint", "bigint", "boolean")+`)
			update dispatch_job
			   set status = 'PENDING', attempt_budget = attempt_count + max_attempts, updated_at = $1, due_at = v.due_at, order_wait = v.order_wait,
			       out_of_order = dispatch_job.out_of_order or v.out_of_order, expire_at = coalesce($2, expire_at),
			       dispatched_at = null, dead_lettered_at = null, dead_letter_reason = null
			  from v where dispatch_job.id = v.id and dispatch_job.status = 'DEAD_LETTER'
			returning dispatch_job.id`, args...)
		if err != nil {
			return nil, fmt.Errorf("replay jobs: %w", err)
		}
		jobs = jobs[n:]
	}
	return replayed, nil
}

// keptPayloads sees to it that nobody has removed the payload of a job while it was being replayed.
func keptPayloads(ctx context.Context, tx *store.Tx, jobs []deadJob) error {
	for len(jobs) > 0 {
		n := store.Piece(len(jobs), maxBatch)
		args := make([]any, n)
		for i, j := range jobs[:n] {
			args[i] = j.ID
		}
		var gone int
		err := tx.QueryRow(ctx, `select count(*) from dispatch_payload where body is null and job_id in (`+store.Placeholders(1, n)+`)`, args...).Scan(&gone)
		switch {
		case err != nil:
			return fmt.Errorf("look for the payloads of replayed jobs: %w", err)
		case gone > 0:
			return fault.New(fault.Conflict, "payloads are being removed just now: ask again")
		}
		jobs = jobs[n:]
	}
	return nil
}

// replayedEvent tells of a replay of a job as it was.
func replayedEvent(old Job, reason string, outOfOrder bool) audit.Event {
	details := map[string]any{"from": string(old.Status), "endpointId": old.EndpointID}
	if reason != "" {
		details["reason"] = reason
	}
	if outOfOrder {
		details["outOfOrder"] = true
	}
	return audit.Event{Action: "dispatch.job.replayed", Entity: "DispatchJob", EntityID: old.ID, Details: details}
}
