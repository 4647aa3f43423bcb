package dispatch

import (
	"context"
	"fmt"

	"sealpost/audit"
	"sealpost/store"
)

// maxExpired is how many jobs one transaction lets die.
const maxExpired = 500

// expiredText finds waiting jobs whose time is over, by the index that has only jobs with such a time. Its
// condition is the index's, word for word.
const expiredText = `
	select id from dispatch_job
	 where expire_at is not null and status in ('PENDING', 'RETRYING') and expire_at <= $1 and ordering_key is null
	 order by expire_at limit $2`

// expire lets the jobs die whose time is over while they wait: for a paused endpoint, for a retry, for
// one that is full. A claim meets only those that could have been sent. One that is being sent has until
// its attempt ends.
func (d *Dispatcher) expire(ctx context.Context) error {
	for _, some := range []func(context.Context) (int, error){d.expireSome, d.expireOrdered} {
		for {
			n, err := some(ctx)
			if err != nil {
				return err
			}
			if n < maxExpired {
				break
			}
		}
	}
	return nil
}

func (d *Dispatcher) expireSome(ctx context.Context) (n int, err error) {
	var found int
	err = d.log.Change(ctx, audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
		n, found = 0, 0
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		ids, err := readIDs(ctx, tx, expiredText+tx.SkipLocked(""), now.UnixMicro(), maxExpired)
		if err != nil {
			return nil, fmt.Errorf("find jobs that are over: %w", err)
		}
		if found = len(ids); found == 0 {
			return nil, audit.ErrNothing
		}
		args := []any{now.UnixMicro()}
		for _, id := range ids {
			args = append(args, id)
		}
		args = store.Padded(args, 1)
		var events []audit.Event
		err = tx.Each(ctx, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			events = append(events, deadEvent(id, Expired, ""))
			return err
		}, `update dispatch_job
		       set status = 'DEAD_LETTER', dead_letter_reason = 'EXPIRED', dead_lettered_at = $1, due_at = null, updated_at = $1
		     where id in (`+store.Placeholders(2, len(args)-1)+`) and status in ('PENDING', 'RETRYING') and expire_at <= $1
		    returning id`, args...)
		if err != nil {
			return nil, fmt.Errorf("let jobs expire: %w", err)
		}
		if n = len(events); n == 0 {
			return nil, audit.ErrNothing
		}
		return events, nil
	})
	if n > 0 && err == nil {
		d.changes.noteMany()
	}
	return found, err
}
