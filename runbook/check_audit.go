package runbook

import (
	"context"
	"slices"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

// How far back a recent event is looked for.
const (
	recentEvents = 200
	recentSpan   = 30 * 24 * time.Hour
)

// eventsAreFound takes a recent event that has both a request id and an actor, and looks it up by each, as
// somebody does after a leak (runbook §4).
func eventsAreFound(ctx context.Context, c *Checker) (Finding, error) {
	recent, err := c.o.Log.Events(ctx, audit.Filter{From: c.o.Now().Add(-recentSpan)}, store.Page{Limit: recentEvents})
	if err != nil {
		return Finding{}, err
	}
	at := slices.IndexFunc(recent.Items, func(r audit.Record) bool { return r.RequestID != "" && r.Actor.ID != "" })
	if at < 0 {
		return found(false, map[string]any{"looked": len(recent.Items)},
			"none of the %d newest events has a request id and an actor, so nothing could be looked up", len(recent.Items)), nil
	}
	event := recent.Items[at]
	// The events of that id or later: a busy actor's newest may be others by now.
	before := event.Time.Add(time.Second)
	byRequest, err := c.finds(ctx, event.ID, audit.Filter{RequestID: event.RequestID, From: event.Time, To: before})
	if err != nil {
		return Finding{}, err
	}
	byActor, err := c.finds(ctx, event.ID, audit.Filter{ActorID: event.Actor.ID, From: event.Time, To: before})
	if err != nil {
		return Finding{}, err
	}
	return decideFound(event.ID, byRequest, byActor), nil
}

func (c *Checker) finds(ctx context.Context, id string, f audit.Filter) (bool, error) {
	list, err := c.o.Log.Events(ctx, f, store.Page{Limit: 1000})
	return slices.ContainsFunc(list.Items, func(r audit.Record) bool { return r.ID == id }), err
}

func decideFound(id string, byRequest, byActor bool) Finding {
	return found(byRequest && byActor, map[string]any{"eventId": id, "byRequestId": byRequest, "byActor": byActor},
		"event %s is found by its request id: %t; by its actor: %t", id, byRequest, byActor)
}

// auditLog is the part that can be seen without a checkpoint: events are there and can be read. That
// nothing has been changed or taken away is not yet checked, so it does not pass.
func auditLog(ctx context.Context, c *Checker) (Finding, error) {
	newest, err := c.o.Log.Events(ctx, audit.Filter{}, store.Page{Limit: 1})
	if err != nil {
		return Finding{}, err
	}
	if len(newest.Items) == 0 {
		return found(false, map[string]any{"events": false}, "there is no event in AuditLog"), nil
	}
	return found(false, map[string]any{"events": true, "newestId": newest.Items[0].ID, "newestAt": newest.Items[0].Time},
		"events are in AuditLog, the newest of %s; that it verifies against a checkpoint is not yet checked",
		newest.Items[0].Time.Format(time.RFC3339)), nil
}
