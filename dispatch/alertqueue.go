package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"sealpost/store"
)

// The alert for a queue that does not move: jobs have been due, at an endpoint that is not paused, for longer
// than DISPATCH_QUEUE_ALERT_MINUTES. It is about being late, not about waiting: a job that waits for its next
// attempt is not due, and one that an operator has told to be sent at once has an operator who looks.

const alertQueue = "dispatch.queue_late"

// firstDueText finds the first due job of each endpoint, through the index that claims use.
const firstDueText = `
	select e.id, (select j.due_at from dispatch_job j where j.endpoint_id = e.id and j.due_at > $1 and j.due_at <= $2
	               order by j.due_at limit 1)
	  from dispatch_endpoint e where not e.paused and e.deleted_at is null`

// lateText counts the jobs of an endpoint that are late, as far as that goes.
const lateText = `
	select count(*) from (select 1 from dispatch_job where endpoint_id = $1 and due_at > $2 and due_at <= $3 limit $4) as j`

// firstDue gives for each endpoint with due jobs since when the first has been, the longest first.
func firstDue(ctx context.Context, tx *store.Tx, until time.Time) ([]dueJob, error) {
	var first []dueJob
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var e dueJob
		var at *int64
		err := scan(&e.id, &at)
		if at != nil {
			e.at = *at
			first = append(first, e)
		}
		return err
	}, firstDueText, atOnce, until.UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("find the first due jobs: %w", err)
	}
	slices.SortFunc(first, func(a, b dueJob) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
	return first, nil
}

func (a *Alerts) readQueue(ctx context.Context, tx *store.Tx, now time.Time) (c condition, err error) {
	until := now.Add(-a.o.Queue)
	first, err := firstDue(ctx, tx, until)
	if err != nil || len(first) == 0 {
		return c, err
	}
	c.oldest = store.FromMicros(first[0].at)
	for _, f := range first[:min(len(first), maxAlertEndpoints)] {
		e := alertEndpoint{ID: f.id, since: store.FromMicros(f.at)}
		e.Since = &e.since
		if err := tx.QueryRow(ctx, lateText, f.id, atOnce, until.UnixMicro(), maxAlertCount-c.count).Scan(&e.Count); err != nil {
			return c, fmt.Errorf("count late jobs: %w", err)
		}
		c.count += e.Count
		c.endpoints = append(c.endpoints, e)
	}
	c.count += max(0, min(len(first)-maxAlertEndpoints, maxAlertCount-c.count)) // at least one each
	for i := range c.endpoints {
		if err := nameEndpoint(ctx, tx, &c.endpoints[i]); err != nil {
			return c, err
		}
	}
	return c, nil
}

// queueSentence says it in words.
func queueSentence(c condition, limit time.Duration, now time.Time) string {
	return fmt.Sprintf("%s been due for more than %d minutes, the first for %d",
		times(c.count, "job has", "jobs have"), int(limit.Minutes()), int(now.Sub(c.oldest).Minutes()))
}
