package runbook

import (
	"context"
	"fmt"
	"strings"

	"sealpost/dispatch"
	"sealpost/store"
)

// failuresEnd looks for jobs that are in a state from which no delivery and no dead letter comes (runbook §5).
func failuresEnd(ctx context.Context, c *Checker) (Finding, error) {
	i, err := dispatch.Inspect(ctx, c.o.Log.Store())
	if err != nil {
		return Finding{}, err
	}
	f := decideFailures(i)
	if c.o.Log.Store().Dialect() == store.SQLite {
		return f, nil // one machine, and no failover
	}
	var d store.Durability
	err = c.o.Log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		d, err = tx.Durability(ctx)
		return err
	})
	return withStandby(f, d), err
}

// withStandby adds whether an accepted job survives a failover (SPEC §5.2), where it passes otherwise.
func withStandby(f Finding, d store.Durability) Finding {
	f.Evidence["synchronous_standby_names"], f.Evidence["synchronous_commit"] = d.Standbys, d.Commit
	if f.Status == Pass && !d.Standby() {
		f.Status = Warn
		f.Observed += "; but no synchronous standby is waited for, so a failover of the database can lose jobs that were accepted"
	}
	return f
}

func decideFailures(i dispatch.Inspection) Finding {
	evidence := map[string]any{
		"wrong": list(i.Wrong), "stuck": list(i.Stuck), "deadLetters": i.DeadLetters, "waiting": i.Waiting,
	}
	switch {
	case len(i.Wrong) > 0:
		return found(false, evidence, "jobs wait past their attempts, or are lost: %s", strings.Join(i.Wrong, ", "))
	case len(i.Stuck) > 0:
		return found(false, evidence, "jobs are stuck in flight: %s", strings.Join(i.Stuck, ", "))
	}
	return found(true, evidence, "no job is past its attempts, lost or stuck; %s waiting, %s in DEAD_LETTER",
		upTo(i.Waiting, dispatch.MaxInspected), upTo(i.DeadLetters, dispatch.MaxInspected))
}

// upTo writes a number at which counting may have stopped.
func upTo(n, most int) string {
	if n >= most {
		return fmt.Sprintf("%d or more", most)
	}
	return fmt.Sprint(n)
}

// list is a list as JSON wants it: [], not null.
func list(ids []string) []string {
	if ids == nil {
		return []string{}
	}
	return ids
}
