package dispatch

import (
	"context"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// forgetPiece is how many jobs one transaction looks at.
const forgetPiece = 500

// ForgetPayloads removes the payloads of jobs that ended longer ago than DISPATCH_PAYLOAD_RETENTION_DAYS, with
// their salts, and what receivers answered, and tells of how many jobs. The salted hash stays, which without
// its salt says nothing of the payload. A job without its payload cannot be replayed. Where there is no such
// time nothing is removed.
//
// It goes through all payloads that are old enough, in the order of their ids, in pieces: who finishes a job
// pays nothing for it. Several servers may do it at once.
func (d *Dispatcher) ForgetPayloads(ctx context.Context) (total int64, err error) {
	if d.o.PayloadRetention <= 0 {
		return 0, nil
	}
	for after := ""; ; {
		n, bound, err := d.forgetSome(ctx, after)
		total += n
		if err != nil || bound == "" {
			return total, err
		}
		after = bound
	}
}

const (
	// A job that ended before a time was accepted before it, and its id says when, but for the clocks.
	oldPayloadsText = `
		select max(job_id) from (select job_id from dispatch_payload where job_id > $1 and job_id <= $2 order by job_id limit $3) as piece`
	endedPayloadsText = `
		select j.id from dispatch_job j
		 where j.id > $1 and j.id <= $2 and j.status in ('DISPATCHED', 'DEAD_LETTER') and coalesce(j.dispatched_at, j.dead_lettered_at) <= $3
		   and (select p.body from dispatch_payload p where p.job_id = j.id) is not null
		 order by j.id`
)

// forgetSome looks at the next jobs behind an id, and tells where to go on; "" where that was the end.
func (d *Dispatcher) forgetSome(ctx context.Context, after string) (n int64, bound string, err error) {
	err = d.log.Change(ctx, audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
		n, bound = 0, ""
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		cutoff := now.Add(-d.o.PayloadRetention)
		err = tx.QueryRow(ctx, oldPayloadsText, after, audit.FirstID(cutoff.Add(clockSkew)), forgetPiece).Scan(store.String(&bound))
		if err != nil {
			return nil, fmt.Errorf("find old payloads: %w", err)
		}
		if bound == "" {
			return nil, audit.ErrNothing
		}
		// A job that somebody is changing is left for the next time: it may be being replayed.
		ids, err := readIDs(ctx, tx, endedPayloadsText+tx.SkipLocked("j"), after, bound, cutoff.UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("find payloads of ended jobs: %w", err)
		}
		if len(ids) == 0 {
			return nil, audit.ErrNothing
		}
		args := make([]any, 0, 2*len(ids))
		for _, id := range ids {
			args = append(args, id)
		}
		args = store.Padded(args, 0)
		in := ` in (` + store.Placeholders(1, len(args)) + `)`
		if n, err = tx.Exec(ctx, `update dispatch_payload set body = null, salt = null where job_id`+in, args...); err != nil {
			return nil, fmt.Errorf("remove payloads: %w", err)
		}
		if _, err := tx.Exec(ctx, `update dispatch_attempt set answer = null where answer is not null and job_id`+in, args...); err != nil {
			return nil, fmt.Errorf("remove receivers' answers: %w", err)
		}
		return []audit.Event{{Action: "dispatch.payloads.removed", Entity: "DispatchJob", Details: map[string]any{
			"count": n, "endedBefore": cutoff.UTC().Format(time.RFC3339), "firstId": ids[0], "lastId": ids[len(ids)-1],
		}}}, nil
	})
	return n, bound, err
}

func errPayloadGone() error {
	return fault.New(fault.Conflict, "the payload of this job has been removed, as DISPATCH_PAYLOAD_RETENTION_DAYS has it")
}

// keepPayload locks a job that is to be sent again and sees to it that it has its payload.
func keepPayload(ctx context.Context, tx *store.Tx, jobID string) error {
	var there bool
	err := tx.QueryRow(ctx, `select true from dispatch_job where id = $1`+tx.ForUpdate(), jobID).Scan(&there)
	if err == nil { // a statement of its own: it sees what was committed while that one waited
		err = tx.QueryRow(ctx, `select body is not null from dispatch_payload where job_id = $1`, jobID).Scan(&there)
	}
	switch {
	case err != nil:
		return fmt.Errorf("look for the payload of job %s: %w", jobID, err)
	case !there:
		return errPayloadGone()
	}
	return nil
}
