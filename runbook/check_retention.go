package runbook

import (
	"context"
	"time"

	"sealpost/audit"
)

// enforceWithin is how long ago retention may have been enforced last (SPEC §6, RB-6.3).
const enforceWithin = 30 * 24 * time.Hour

// retentionEnforced looks when retention was enforced last, and for what that should have removed
// (runbook §6).
func retentionEnforced(ctx context.Context, c *Checker) (Finding, error) {
	e, err := audit.InspectRetention(ctx, c.o.Log.Store())
	if err != nil {
		return Finding{}, err
	}
	return decideEnforced(e), nil
}

func decideEnforced(e audit.Enforcement) Finding {
	evidence := map[string]any{"left": e.Left, "unfinished": e.Unfinished}
	if !e.CompletedAt.IsZero() {
		evidence["completedAt"], evidence["cutoff"] = e.CompletedAt, e.Cutoff
	}
	at := e.CompletedAt.Format(time.RFC3339)
	switch {
	case e.Left > 0:
		return found(false, evidence, "%s events remain that the enforcement of %s should have removed", upTo(e.Left, audit.MaxEnforced), at)
	case e.CompletedAt.IsZero() && !e.FirstEvent.IsZero() && e.Now.Sub(e.FirstEvent) < enforceWithin:
		return Finding{Status: Warn, Evidence: evidence, Observed: "retention was not enforced yet; the log is younger than 30 days, and by " +
			e.FirstEvent.Add(enforceWithin).Format(time.DateOnly) + " it has to be"}
	case e.CompletedAt.IsZero():
		return found(false, evidence, "retention was never enforced")
	case e.Now.Sub(e.CompletedAt) > enforceWithin:
		return found(false, evidence, "retention was enforced last at %s, which is more than 30 days ago", at)
	}
	return found(true, evidence, "retention was enforced at %s; what was older than %s is gone, but what is held", at, e.Cutoff.Format(time.DateOnly))
}
