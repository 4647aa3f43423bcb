package dispatch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sealpost/store"
)

// The alert for dead letters that grow: DISPATCH_DEAD_LETTER_ALERT_THRESHOLD jobs have died within the window
// and are still dead.

const alertDead = "dispatch.dead_letter"

// Both run on the index of dead letters by their time.
const (
	deadText       = `select count(*) from (select 1 from dispatch_job where dead_lettered_at > $1 limit $2) as d`
	newestDeadText = `select dead_lettered_at from dispatch_job where dead_lettered_at is not null order by dead_lettered_at desc limit 1`
)

// readDead counts at least up to the threshold.
func (a *Alerts) readDead(ctx context.Context, tx *store.Tx, now time.Time) (c condition, err error) {
	err = tx.QueryRow(ctx, deadText, now.Add(-a.o.Window).UnixMicro(), max(maxAlertCount, a.o.Threshold)).Scan(&c.count)
	if err != nil {
		return c, fmt.Errorf("count dead letters: %w", err)
	}
	err = tx.QueryRow(ctx, newestDeadText).Scan(store.Time(&c.newest))
	if err != nil && !store.NoRow(err) {
		return c, fmt.Errorf("read the newest dead letter: %w", err)
	}
	return c, nil
}

// detailDead adds by which reasons and at which endpoints they died.
func (a *Alerts) detailDead(ctx context.Context, tx *store.Tx, now time.Time, c *condition) error {
	at := map[string]int{}
	c.count, c.reasons = 0, map[Reason]int{}
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var reason Reason
		var endpointID string
		var n int
		if err := scan(&reason, &endpointID, &n); err != nil {
			return err
		}
		c.count += n
		c.reasons[reason] += n
		at[endpointID] += n
		return nil
	}, `select dead_letter_reason, endpoint_id, count(*)
	      from (select dead_letter_reason, endpoint_id from dispatch_job where dead_lettered_at > $1
	             order by dead_lettered_at desc limit $2) as d
	     group by dead_letter_reason, endpoint_id`, now.Add(-a.o.Window).UnixMicro(), max(maxAlertCount, a.o.Threshold))
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	ids := slices.SortedFunc(maps.Keys(at), func(x, y string) int {
		if at[x] != at[y] {
			return at[y] - at[x]
		}
		return strings.Compare(x, y)
	})
	for _, id := range ids[:min(len(ids), maxAlertEndpoints)] {
		e := alertEndpoint{ID: id, Count: at[id]}
		if err := nameEndpoint(ctx, tx, &e); err != nil {
			return err
		}
		c.endpoints = append(c.endpoints, e)
	}
	return nil
}

// deadSentence says it in words.
func deadSentence(c condition, o AlertOptions) string {
	return fmt.Sprintf("%s within %d minutes (alert threshold %d)",
		times(c.count, "dead letter", "dead letters"), int(o.Window.Minutes()), o.Threshold)
}
