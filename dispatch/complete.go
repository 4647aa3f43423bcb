package dispatch

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
)

// maxComplete is how many attempts one statement stores.
const maxComplete = 256

// attemptKey tells two attempts of one job apart: an answer that comes late, and the present one.
type attemptKey struct {
	jobID  string
	number int
}

func (dl *delivery) key() attemptKey { return attemptKey{dl.jobID, dl.number} }

func (dl *delivery) order() orderKey { return orderKey{dl.target.id, dl.orderingKey} }

// complete stores attempts that have ended: the attempt, what it makes of the job, and the event. An
// attempt whose lease is no longer the job's changes nothing and is kept as late.
func (d *Dispatcher) complete(ctx context.Context, tx *store.Tx, now time.Time, ended []*delivery) ([]audit.Event, error) {
	verdicts := make([]Verdict, len(ended))
	ours := map[attemptKey]bool{}
	var keys []orderKey
	for _, dl := range ended {
		if dl.orderingKey != "" {
			keys = append(keys, dl.order())
		}
	}
	orders, err := lockOrders(ctx, tx, keys)
	if err != nil {
		return nil, err
	}
	for start := 0; start < len(ended); {
		n := store.Piece(len(ended)-start, maxComplete)
		args := make([]any, 0, 1+n*9)
		args = append(args, now.UnixMicro())
		for i, dl := range ended[start : start+n] {
			v := d.verdict(dl)
			verdicts[start+i] = v
			args = append(args, dl.jobID, dl.token, string(v.Status), due(v, now), store.Text(dl.problem()),
				when(v.Status == Dispatched, now), when(v.Status == DeadLetter, now), store.Text(string(v.Reason)), refund(dl))
		}
		err := tx.Each(ctx, func(scan func(...any) error) error {
			var key attemptKey
			if err := scan(&key.jobID, &key.number); err != nil {
				return err
			}
			ours[key] = true
			return nil
		}, completeText(n), args...)
		if err != nil {
			return nil, fmt.Errorf("complete jobs: %w", err)
		}
		start += n
	}
	late, err := d.unknownLate(ctx, tx, ended, ours)
	if err != nil {
		return nil, err
	}
	var events []audit.Event
	var rows [][]any
	var heard []*delivery
	released := map[orderKey]int64{}
	gone := map[string]bool{}
	for i, dl := range ended {
		outcome := dl.outcome()
		switch {
		case ours[dl.key()]:
			if dl.ours == nil {
				events = append(events, completedEvent(dl, verdicts[i]))
			} else {
				events = append(events, interruptedEvent(dl.jobID, dl.number, d.log.Writer()))
			}
			if verdicts[i].Pause {
				gone[dl.target.id] = true
			}
			heard = append(heard, dl)
			if dl.orderingKey != "" && releases(verdicts[i].Status, verdicts[i].Reason) {
				released[dl.order()] = dl.place
			}
		case late[i]:
			outcome = Late
			events = append(events, audit.Event{
				Action: "dispatch.attempt.late", Entity: "DispatchJob", EntityID: dl.jobID,
				Outcome: audit.Failure, Details: map[string]any{"attempt": dl.number, "statusCode": dl.answer.Status},
			})
		default:
			continue // stored before, by a transaction whose outcome did not reach us
		}
		row, err := d.attemptRow(dl, outcome)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	if err := tx.Insert(ctx, "dispatch_attempt", attemptColumns, rows); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(gone)) { // in one order on all servers, so that two do not lock each other
		n, err := tx.Exec(ctx, `
			update dispatch_endpoint set paused = true, paused_reason = $2, version = version + 1, updated_at = $3
			 where id = $1 and not paused`, id, goneReason, now.UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("pause endpoint %s: %w", id, err)
		}
		if n > 0 {
			events = append(events, pausedEvent(id, true, goneReason))
		}
	}
	if err := passTurns(ctx, tx, orders, released); err != nil {
		return nil, err
	}
	tripped, err := d.tellBreakers(ctx, tx, now, heard)
	return append(events, tripped...), err
}

const goneReason = "the receiver answered 410 Gone"

// completeText moves n leased jobs to where their verdicts say. Each row is fenced by its lease. A job
// whose time is over before its next attempt is due when that is, and dies then.
func completeText(n int) string {
	if text := completeTexts[n]; text != "" {
		return text
	}
	return `with v (id, token, status, due_at, error, dispatched_at, dead_at, reason, refund) as (values ` +
		store.Values(2, n, "text", "text", "text", "bigint", "text", "bigint", "bigint", "text", "bigint") + `)
		update dispatch_job
		   set status = v.status, due_at = case when expire_at < v.due_at then expire_at else v.due_at end, last_error = coalesce(v.error, case when v.status = 'DISPATCHED' then null else last_error end),
		       dispatched_at = v.dispatched_at, dead_lettered_at = v.dead_at, dead_letter_reason = v.reason,
		       attempt_budget = attempt_budget + v.refund,
		       lease_token = null, lease_node = null, lease_until = null, updated_at = $1
		  from v where dispatch_job.id = v.id and dispatch_job.lease_token = v.token
		returning dispatch_job.id, dispatch_job.attempt_count`
}

// completeTexts are the texts of all sizes that a batch has pieces of.
var completeTexts map[int]string

func init() {
	texts := map[int]string{}
	for n := 1; n <= maxComplete; n *= 2 {
		texts[n] = completeText(n)
	}
	completeTexts = texts
}

func due(v Verdict, now time.Time) any {
	if v.Status != Retrying {
		return nil
	}
	return now.Add(v.After).UnixMicro()
}

func when(is bool, now time.Time) any {
	if !is {
		return nil
	}
	return now.UnixMicro()
}

// refund gives the budget back what an attempt cost that was not the receiver's.
func refund(dl *delivery) int {
	if dl.ours != nil {
		return 1
	}
	return 0
}

func (d *Dispatcher) verdict(dl *delivery) Verdict {
	if dl.ours != nil {
		return Verdict{Status: Retrying, After: dl.again}
	}
	return decide(dl.answer, dl.tried, dl.left, d.o.Backoff, d.jitter)
}

// fullJitter draws a wait from [0, limit).
func fullJitter(limit time.Duration) time.Duration {
	return rand.N(max(limit, 1)) //nolint:gosec // spreads retries, guards nothing
}

// problem is what lastError says of an attempt, "" where the job was taken.
func (dl *delivery) problem() string {
	text := dl.answer.describe()
	if dl.ours != nil {
		text = dl.ours.Error()
	}
	return oneLine(text, maxLastError)
}

func (dl *delivery) outcome() Outcome {
	switch {
	case dl.ours != nil:
		return Interrupted
	case dl.answer.Err == nil && dl.answer.Status >= 200 && dl.answer.Status < 300:
		return Delivered
	}
	return Failed
}

var attemptColumns = []string{"job_id", "number", "outcome", "started_at", "ended_at", "status_code", "error", "answer", "node"}

func (d *Dispatcher) attemptRow(dl *delivery, outcome Outcome) ([]any, error) {
	var code, answer any
	if dl.answer.Status != 0 {
		code = dl.answer.Status
	}
	if len(dl.answer.Body) > 0 {
		box, err := d.data.Encrypt(keys.AttemptAnswer, dl.jobID, dl.answer.Body)
		if err != nil {
			return nil, err
		}
		answer = box
	}
	return []any{
		dl.jobID, dl.number, string(outcome), dl.startedAt.UnixMicro(), dl.endedAt.UnixMicro(), code,
		store.Text(dl.problem()), answer, d.log.Writer(),
	}, nil
}

// unknownLate tells which of the attempts without a lease are not stored yet.
func (d *Dispatcher) unknownLate(ctx context.Context, tx *store.Tx, ended []*delivery, ours map[attemptKey]bool) (map[int]bool, error) {
	late := map[int]bool{}
	for i, dl := range ended {
		if ours[dl.key()] || !dl.sent {
			continue
		}
		var there int
		err := tx.QueryRow(ctx, `select 1 from dispatch_attempt where job_id = $1 and number = $2 and outcome <> 'INTERRUPTED' limit 1`,
			dl.jobID, dl.number).Scan(&there)
		switch {
		case store.NoRow(err):
			late[i] = true
		case err != nil:
			return nil, fmt.Errorf("look for a late attempt of job %s: %w", dl.jobID, err)
		}
	}
	return late, nil
}

func completedEvent(dl *delivery, v Verdict) audit.Event {
	e := audit.Event{
		Entity: "DispatchJob", EntityID: dl.jobID, Outcome: audit.Failure,
		Details: map[string]any{"attempt": dl.number, "endpointId": dl.target.id},
	}
	if dl.answer.Status != 0 {
		e.Details["statusCode"] = dl.answer.Status
	} else {
		e.Details["error"] = dl.problem()
	}
	switch v.Status {
	case Dispatched:
		e.Action, e.Outcome = "dispatch.job.dispatched", audit.Success
	case DeadLetter:
		e.Action = "dispatch.job.dead_lettered"
		e.Details["reason"] = string(v.Reason)
	default:
		e.Action = "dispatch.attempt.failed"
	}
	return e
}

// interruptedEvent tells of an attempt whose end nobody knows; node is the server that made it.
func interruptedEvent(jobID string, attempt int, node string) audit.Event {
	return audit.Event{
		Action: "dispatch.attempt.interrupted", Entity: "DispatchJob", EntityID: jobID,
		Outcome: audit.Failure, Details: map[string]any{"attempt": attempt, "node": node},
	}
}

func deadEvent(jobID string, reason Reason, why string) audit.Event {
	e := audit.Event{
		Action: "dispatch.job.dead_lettered", Entity: "DispatchJob", EntityID: jobID,
		Details: map[string]any{"reason": string(reason)},
	}
	if why != "" {
		e.Details["why"] = why
	}
	return e
}
