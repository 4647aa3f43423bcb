package dispatch

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// The alert for an endpoint that has failed for an hour: nothing but failures is known of it for so long, by
// its breaker's row (breaker.go), and there are jobs for it. One that an operator has paused is not among
// them; one that its own 410 has paused is.

const (
	alertFailing = "dispatch.endpoint_failing"
	failingFor   = time.Hour
)

// failingText finds them, the one that has failed for an hour the shortest time first.
const failingText = `
	select e.id, e.name, case when e.paused then e.updated_at else b.failing_since end as since
	  from dispatch_endpoint e left join dispatch_breaker b on b.endpoint_id = e.id and b.failures > 0
	 where e.deleted_at is null
	   and ((not e.paused and b.failing_since <= $1) or (e.paused and e.paused_reason = $2 and e.updated_at <= $1))
	   and coalesce((select j.due_at from dispatch_job j where j.endpoint_id = e.id and j.due_at is not null order by j.due_at limit 1),
	                (select j.lease_until from dispatch_job j where j.endpoint_id = e.id and j.lease_until is not null limit 1)) is not null
	 order by since desc, e.id limit $3`

func (a *Alerts) readFailing(ctx context.Context, tx *store.Tx, now time.Time) (c condition, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var e alertEndpoint
		if err := scan(&e.ID, &e.Name, store.Time(&e.since)); err != nil {
			return err
		}
		if c.count++; c.count == 1 {
			c.newest = e.since.Add(failingFor)
		}
		e.Since = &e.since
		c.endpoints = append(c.endpoints, e)
		return nil
	}, failingText, now.Add(-failingFor).UnixMicro(), goneReason, maxAlertCount)
	return c, err
}

// failingSentence says it in words.
func failingSentence(c condition) string {
	return fmt.Sprintf("%s failed for %d minutes or longer", times(c.count, "endpoint has", "endpoints have"), int(failingFor.Minutes()))
}

// times is a count with its noun.
func times(n int, one, more string) string {
	switch {
	case n == 1:
		return "1 " + one
	case n >= maxAlertCount:
		return fmt.Sprintf("at least %d %s", n, more) // counting stopped
	}
	return fmt.Sprintf("%d %s", n, more)
}
