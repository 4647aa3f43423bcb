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
	Enabled bool // now
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
