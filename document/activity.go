package document

import (
	"context"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

// AIActivity is what has come of calls to the model since a time.
type AIActivity struct {
	Enabled bool // now; not of a span in the past
	Calls   audit.Tally
	Failed  int // neither complete nor withdrawn by their callers
	Dropped int // suggestions whose quotes did not match the texts
}

// aiText goes through the newest traces by their ids, which are times.
const aiText = `
	select count(*), coalesce(sum(case when outcome in ('COMPLETE', 'WITHDRAWN') then 0 else 1 end), 0), coalesce(sum(dropped), 0)
	  from (select outcome, dropped from ai_trace where id >= $1 order by id desc limit $2) as t`

// AIActivity counts calls to the model, the newest audit.MaxTally of them.
func (d *Documents) AIActivity(ctx context.Context, since time.Time) (AIActivity, error) {
	a := AIActivity{Enabled: d.assist.Enabled()}
	var calls int
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, aiText, audit.FirstID(since), audit.MaxTally+1).Scan(&calls, &a.Failed, &a.Dropped)
	})
	if err != nil {
		return AIActivity{}, fmt.Errorf("count AI calls: %w", err)
	}
	a.Calls = audit.TallyOf(calls)
	return a, nil
}

// aiSpansText is the same by spans of time, of the oldest traces.
const aiSpansText = `
	select (created_at - $1) / $2, count(*), coalesce(sum(case when outcome in ('COMPLETE', 'WITHDRAWN') then 0 else 1 end), 0), coalesce(sum(dropped), 0)
	  from (select created_at, outcome, dropped from ai_trace where id >= $3 and id < $4 order by id limit $5) as t
	 where created_at >= $1 group by (created_at - $1) / $2`

// AITrend counts calls to the model in buckets, the oldest audit.MaxTally of them; atLeast tells that
// there were more. A call takes seconds and costs money, so there are few enough to be counted each time.
func (d *Documents) AITrend(ctx context.Context, b audit.Buckets) (trend []AIActivity, atLeast bool, err error) {
	trend = make([]AIActivity, b.N)
	total := 0
	end := b.Start(b.N)
	err = d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var bucket, calls int
			var a AIActivity
			if err := scan(&bucket, &calls, &a.Failed, &a.Dropped); err != nil {
				return err
			}
			total += calls
			a.Calls = audit.Tally{N: calls}
			if bucket < len(trend) {
				trend[bucket] = a
			}
			return nil
		}, aiSpansText, b.From.UnixMicro(), b.Each.Microseconds(), audit.FirstID(b.From), audit.FirstID(end), audit.MaxTally+1)
	})
	if err != nil {
		return nil, false, fmt.Errorf("count AI calls over time: %w", err)
	}
	return trend, total > audit.MaxTally, nil
}
