package runbook

import (
	"context"
	"fmt"
	"strings"

	"sealpost/dispatch"
)

// failuresEnd looks for jobs that are in a state from which no delivery and no dead letter comes (runbook §5).
func failuresEnd(ctx context.Context, c *Checker) (Finding, error) {
	i, err := dispatch.Inspect(ctx, c.o.Log.Store())
	if err != nil {
		return Finding{}, err
	}
	return decideFailures(i), nil
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
