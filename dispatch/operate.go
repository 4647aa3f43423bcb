package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// Limits of what an operator may ask for.
const (
	DefaultRetry = 20
	MaxRetry     = 200
	maxReason    = 500 // code points
	retryWait    = 25 * time.Second
	retryLook    = 50 * time.Millisecond
	atOnce       = 1 // a due time before all others
)

func checkReason(reason string) error {
	if strings.TrimSpace(reason) == "" || utf8.RuneCountInString(reason) > maxReason {
		return fault.New(fault.Invalid, "reason has 1 to %d characters", maxReason)
	}
	return nil
}

// Replay gives a dead or waiting job a fresh budget of attempts, now. Its id and idempotency key stay,
// so a receiver that already has it can tell; its attempts are kept.
//
// fault.NotFound; fault.Conflict while it is in flight, for a deleted endpoint, for a dispatched job
// without force, for an expired one without a new end, and for one whose payload is gone. force needs a reason.
func (d *Dispatcher) Replay(ctx context.Context, by audit.Principal, id string, r ReplayRequest) (Job, error) {
	if r.Force || r.Reason != "" {
		if err := checkReason(r.Reason); err != nil {
			return Job{}, err
		}
	}
	var job Job
	err := d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		switch {
		case r.ExpireAt.After(maxTime):
			return nil, errBeyondTime()
		case !r.ExpireAt.IsZero() && !r.ExpireAt.After(now):
			return nil, fault.New(fault.Invalid, "expireAt is over already")
		}
		old, err := readJob(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		old, o, err := lockOrderOf(ctx, tx, old)
		if err != nil {
			return nil, err
		}
		if err := replayable(old, r, now); err != nil {
			return nil, err
		}
		if err := keepPayload(ctx, tx, id); err != nil {
			return nil, err
		}
		var waits, outOfOrder bool
		if o != nil {
			if waits, outOfOrder, err = old.rejoin(ctx, tx, o); err != nil {
				return nil, err
			}
		}
		var live int
		err = tx.QueryRow(ctx, `select 1 from dispatch_endpoint where id = $1 and deleted_at is null`+tx.KeepAlive(), old.EndpointID).Scan(&live)
		if store.NoRow(err) {
			return nil, fault.New(fault.Conflict, "the endpoint of this job has been deleted")
		}
		if err != nil {
			return nil, fmt.Errorf("replay job %s: %w", id, err)
		}
		n, err := tx.Exec(ctx, `
			update dispatch_job
			   set status = 'PENDING', attempt_budget = attempt_count + max_attempts, updated_at = $3,
			       due_at = case when $6 then null else cast($2 as bigint) end, order_wait = case when $6 then cast($2 as bigint) end,
			       out_of_order = out_of_order or $7, expire_at = coalesce($4, expire_at), dispatched_at = null, dead_lettered_at = null, dead_letter_reason = null
			 where id = $1 and status = $5 and lease_until is null`,
			id, atOnce, now.UnixMicro(), store.Micros(r.ExpireAt), string(old.Status), waits, outOfOrder)
		if err != nil {
			return nil, fmt.Errorf("replay job %s: %w", id, err)
		}
		if n == 0 { // it changed since it was read
			return nil, fault.New(fault.Conflict, "job %s is being changed just now: look at it again", id)
		}
		job, err = readJob(ctx, tx, id)
		return []audit.Event{replayedEvent(old, r.Reason, outOfOrder)}, err
	})
	d.changes.note(id)
	d.Wake()
	return job, err
}

// ReplayRequest is how a job is replayed.
type ReplayRequest struct {
	Force    bool // also a job that the receiver has
	Reason   string
	ExpireAt time.Time // a new end; zero keeps the old one
}

// replayable tells why a job cannot be replayed as asked.
func replayable(job Job, r ReplayRequest, now time.Time) error {
	switch {
	case job.Status == InFlight:
		return fault.New(fault.Conflict, "this job is being sent just now").With("status", string(job.Status))
	case job.Status == Dispatched && !r.Force:
		return fault.New(fault.Conflict, "the receiver has this job: to send it again, say force and a reason").With("status", string(job.Status))
	case !job.ExpireAt.IsZero() && !job.ExpireAt.After(now) && r.ExpireAt.IsZero():
		return fault.New(fault.Conflict, "this job expired at %s: give a new expireAt", job.ExpireAt.Format(time.RFC3339))
	}
	return nil
}

// DeadLetterJob gives a job up, also one in flight: its lease is revoked and the call cancelled, and an
// answer that still comes is kept as an attempt and changes nothing. One that is dead and holds its order is
// given up by it, too, and lets those behind it go. fault.Conflict for a job that the receiver has, or that
// is dead already.
func (d *Dispatcher) DeadLetterJob(ctx context.Context, by audit.Principal, id, reason string) (Job, error) {
	if err := checkReason(reason); err != nil {
		return Job{}, err
	}
	var given Job
	err := d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		job, err := readJob(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		job, o, err := lockOrderOf(ctx, tx, job)
		if err != nil {
			return nil, err
		}
		holds := o != nil && job.Status == DeadLetter && (o.turn == job.place || job.waits)
		n, err := tx.Exec(ctx, `
			update dispatch_job
			   set status = 'DEAD_LETTER', dead_letter_reason = 'OPERATOR', dead_lettered_at = coalesce(dead_lettered_at, $2), due_at = null,
			       order_wait = null, lease_token = null, lease_node = null, lease_until = null, updated_at = $2
			 where id = $1 and (status in ('PENDING', 'IN_FLIGHT', 'RETRYING') or $3 and status = 'DEAD_LETTER')`, id, now.UnixMicro(), holds)
		if err == nil && n > 0 && o != nil {
			err = passTurns(ctx, tx, map[orderKey]*order{job.order(): o}, map[orderKey]int64{job.order(): job.place})
		}
		if err != nil {
			return nil, fmt.Errorf("dead-letter job %s: %w", id, err)
		}
		if given, err = readJob(ctx, tx, id); err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, fault.New(fault.Conflict, "this job is %s already", given.Status).With("status", string(given.Status))
		}
		return []audit.Event{deadEvent(id, Operator, reason)}, nil
	})
	if err == nil {
		d.changes.note(id)
		d.cancelJob(id)
		d.Wake()
	}
	return given, err
}

// cancelJob ends a call of this server. Other servers see within a second that their lease is gone.
func (d *Dispatcher) cancelJob(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for dl := range d.inFlight {
		if dl.jobID == id {
			dl.cancel()
		}
	}
}

// RetryDue has due jobs attempted now, before all others, and waits up to 25 s for what comes of them.
// With includeWaiting also those whose next attempt has not come; one that is to be delivered later
// still is. Jobs of paused endpoints keep waiting. What is still being sent when the wait ends is
// answered as it then is, IN_FLIGHT, and what has no slot yet as it is.
func (d *Dispatcher) RetryDue(ctx context.Context, by audit.Principal, limit int, includeWaiting bool) ([]Job, error) {
	if limit < 1 || limit > MaxRetry {
		return nil, fault.New(fault.Invalid, "limit is 1 to %d", MaxRetry)
	}
	chosen, err := d.chooseDue(ctx, limit, includeWaiting)
	if err != nil {
		return nil, err
	}
	var before map[string]int
	err = d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		before = map[string]int{}
		if len(chosen) > 0 {
			err := tx.Each(ctx, func(scan func(...any) error) error {
				var id string
				var attempts int
				err := scan(&id, &attempts)
				before[id] = attempts
				return err
			}, fmt.Sprintf(`update dispatch_job set due_at = %d where due_at is not null and id in (`, atOnce)+
				store.Placeholders(1, len(chosen))+`) returning id, attempt_count`, chosen...)
			if err != nil {
				return nil, fmt.Errorf("retry due jobs: %w", err)
			}
		}
		return []audit.Event{{Action: "dispatch.retry_due.requested", Entity: "DispatchJob", Details: map[string]any{
			"limit": limit, "includeWaiting": includeWaiting, "jobIds": slices.Sorted(maps.Keys(before)),
		}}}, nil
	})
	if err != nil {
		return nil, err
	}
	d.Wake()
	return d.outcomes(ctx, before, retryWait)
}

// dueJob is a job that may be chosen.
type dueJob struct {
	id string
	at int64
}

// chooseDue picks the jobs that are due first, as a list of arguments. The endpoint whose first job is
// due first comes first, so that at most as many endpoints are looked into as jobs are asked for.
func (d *Dispatcher) chooseDue(ctx context.Context, limit int, includeWaiting bool) ([]any, error) {
	var found []dueJob
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		until, text, more := now.UnixMicro(), dueText, []any(nil)
		if includeWaiting {
			until, text, more = math.MaxInt64, dueOrRetryingText, []any{now.UnixMicro()}
		}
		endpoints, err := dueEndpoints(ctx, tx, until)
		if err != nil {
			return err
		}
		for _, e := range endpoints {
			if len(found) == limit && found[limit-1].at <= e.at {
				break
			}
			err := tx.Each(ctx, func(scan func(...any) error) error {
				var j dueJob
				err := scan(&j.id, &j.at)
				found = append(found, j)
				return err
			}, text, append([]any{e.id, until, limit}, more...)...)
			if err != nil {
				return fmt.Errorf("find due jobs: %w", err)
			}
			slices.SortStableFunc(found, func(a, b dueJob) int { return cmp.Compare(a.at, b.at) })
			found = found[:min(len(found), limit)]
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	ids := make([]any, len(found), 2*len(found))
	for i, j := range found {
		ids[i] = j.id
	}
	return store.Padded(ids, 0), nil
}

const dueEndpointsText = `
	select e.id, (select j.due_at from dispatch_job j where j.endpoint_id = e.id and j.due_at <= $1
	               order by j.due_at limit 1)
	  from dispatch_endpoint e where not e.paused and e.deleted_at is null`

// The jobs of an endpoint that may be chosen, the first due first.
const (
	dueText = `
		select id, due_at from dispatch_job where endpoint_id = $1 and due_at <= $2
		 order by due_at, id limit $3`
	dueOrRetryingText = `
		select id, due_at from dispatch_job where endpoint_id = $1 and due_at <= $2 and (due_at <= $4 or status = 'RETRYING')
		 order by due_at, id limit $3`
)

// dueEndpoints gives the endpoints that may be sent to and have a job due until a time, each with the
// time of its first one, in the order of those.
func dueEndpoints(ctx context.Context, tx *store.Tx, until int64) ([]dueJob, error) {
	var endpoints []dueJob
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var e dueJob
		var at *int64
		err := scan(&e.id, &at)
		if at != nil {
			e.at = *at
			endpoints = append(endpoints, e)
		}
		return err
	}, dueEndpointsText, until)
	if err != nil {
		return nil, fmt.Errorf("find due endpoints: %w", err)
	}
	slices.SortStableFunc(endpoints, func(a, b dueJob) int { return cmp.Compare(a.at, b.at) })
	return endpoints, nil
}

// outcomes waits until each job has been attempted, for as long as there is patience, and gives them as
// they then are, in the order of their ids.
func (d *Dispatcher) outcomes(ctx context.Context, before map[string]int, patience time.Duration) ([]Job, error) {
	if len(before) == 0 {
		return []Job{}, nil
	}
	args := make([]any, 0, len(before))
	for id := range before {
		args = append(args, id)
	}
	args = store.Padded(args, 0)
	ticker := time.NewTicker(retryLook)
	defer ticker.Stop()
	end := time.Now().Add(patience)
	for {
		var jobs []Job
		settled := true
		err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
			return tx.Each(ctx, func(scan func(...any) error) error {
				var job Job
				if err := scan(job.fields()...); err != nil {
					return err
				}
				job.normal()
				jobs = append(jobs, job)
				waiting := (job.Status == Pending || job.Status == Retrying) && job.AttemptCount == before[job.ID]
				if job.Status == InFlight || waiting {
					settled = false
				}
				return nil
			}, `select `+jobColumns+` from dispatch_job j join dispatch_payload p on p.job_id = j.id
			     where j.id in (`+store.Placeholders(1, len(args))+`) order by j.id`, args...)
		})
		if err != nil {
			return nil, fmt.Errorf("read the retried jobs: %w", err)
		}
		if settled || time.Now().After(end) {
			return jobs, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
