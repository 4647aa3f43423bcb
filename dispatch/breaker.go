package dispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

// The breaker of an endpoint, shared by all servers. An endpoint that fails many times in a row is sent
// nothing for a while: its jobs are parked where they are, and cost no attempts. Then it is half open: one
// job goes as a probe, over all servers. If that is taken the breaker closes; if it fails it stays open for
// twice as long. What an operator wants at once goes all the same.
//
// Half open is not stored: it is what an open breaker is when its time is over. The claim then allows one
// lease, and counts leases over all servers anyway.

// breakerRules are when a breaker opens, and for how long.
type breakerRules struct {
	after int           // failures in a row
	over  time.Duration // that the first and the last of them are apart: a burst of failures is one failure
	wait  time.Duration // the first time; it doubles
	most  time.Duration
}

var defaultBreakers = breakerRules{after: 10, over: 10 * time.Second, wait: 10 * time.Second, most: 5 * time.Minute}

// breaker is an endpoint's row. The zero value is an endpoint that is well.
type breaker struct {
	failures int
	since    time.Time
	trips    int
	until    time.Time // zero: closed
}

// health is what the end of one attempt says of its endpoint.
type health int

const (
	silent health = iota // nothing
	well                 // it is there and works
	ill                  // it is not
)

// healthOf reads an answer. A receiver that refuses a job, or wants it later for reasons of the job's own,
// is well; a forbidden address, and what failed here, say nothing.
func healthOf(a Answer, ours error) health {
	switch {
	case ours != nil, errors.Is(a.Err, errBlocked):
		return silent
	case a.Err != nil || a.Status < 200 || a.Status >= 500:
		return ill
	case a.Status >= 300 && a.Status < 400, a.Status == http.StatusRequestTimeout, a.Status == http.StatusTooManyRequests:
		return ill
	}
	return well
}

// after is the breaker after an attempt that was leased at a time and has ended now.
func (b breaker) after(h health, leasedAt, now time.Time, rules breakerRules) breaker {
	switch {
	case h == silent:
		return b
	case h == well:
		return breaker{}
	case b.until.IsZero():
		if b.failures++; b.failures == 1 {
			b.since = now
		}
		if b.failures < rules.after || now.Sub(b.since) < rules.over {
			return b
		}
	case leasedAt.Before(b.until): // it was sent before the breaker opened, or by an operator's wish
		return b
	}
	b.trips++
	b.until = now.Add(rules.waitAt(b.trips))
	return b
}

// waitAt is how long the nth opening lasts.
func (r breakerRules) waitAt(trips int) time.Duration {
	d := r.wait
	for range trips - 1 {
		if d >= r.most/2 {
			return r.most
		}
		d *= 2
	}
	return min(d, r.most)
}

// Breaker is an endpoint's as people see it.
type Breaker struct {
	Failures     int       // in a row, until it opened
	FailingSince time.Time // zero: it is well
	OpenUntil    time.Time // zero: it is closed
}

// BreakerState is what a breaker lets through.
type BreakerState string

// The states.
const (
	BreakerClosed   BreakerState = "CLOSED"    // all
	BreakerOpen     BreakerState = "OPEN"      // nothing
	BreakerHalfOpen BreakerState = "HALF_OPEN" // one job at a time
)

// State is the breaker's at a time.
func (b Breaker) State(now time.Time) BreakerState {
	switch {
	case b.OpenUntil.IsZero():
		return BreakerClosed
	case now.Before(b.OpenUntil):
		return BreakerOpen
	}
	return BreakerHalfOpen
}

// tellBreakers tells endpoints' breakers how attempts have ended, in the order in which they did, and gives
// the events of those that open or close. Where all is well that is one look for rows, of which there are
// none. Rows are locked one after the other, in one order on all servers.
func (d *Dispatcher) tellBreakers(ctx context.Context, tx *store.Tx, now time.Time, ended []*delivery) ([]audit.Event, error) {
	told, failing := map[string][]*delivery{}, map[string]bool{}
	for _, dl := range ended {
		if h := healthOf(dl.answer, dl.ours); h != silent {
			told[dl.target.id] = append(told[dl.target.id], dl)
			failing[dl.target.id] = failing[dl.target.id] || h == ill
		}
	}
	if len(told) == 0 {
		return nil, nil
	}
	if err := findBreakers(ctx, tx, told, failing); err != nil {
		return nil, err
	}
	var events []audit.Event
	for _, id := range slices.Sorted(maps.Keys(failing)) {
		before, err := lockBreaker(ctx, tx, now, id)
		if err != nil {
			return nil, err
		}
		b := before
		for _, dl := range told[id] {
			b = b.after(healthOf(dl.answer, dl.ours), dl.leasedAt, now, d.breakers)
		}
		if err := writeBreaker(ctx, tx, id, b); err != nil {
			return nil, err
		}
		if opened, was := !b.until.IsZero(), !before.until.IsZero(); opened != was {
			events = append(events, breakerEvent(id, b))
		}
	}
	return events, nil
}

// findBreakers leaves in failing the endpoints that fail, or did: those that have to be looked at.
func findBreakers(ctx context.Context, tx *store.Tx, told map[string][]*delivery, failing map[string]bool) error {
	args := make([]any, 0, 2*len(told))
	for id := range told {
		args = append(args, id)
	}
	args = store.Padded(args, 0)
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		failing[id] = true
		return err
	}, `select endpoint_id from dispatch_breaker where endpoint_id in (`+store.Placeholders(1, len(args))+`)`, args...)
	if err != nil {
		return fmt.Errorf("look for breakers: %w", err)
	}
	maps.DeleteFunc(failing, func(_ string, is bool) bool { return !is })
	return nil
}

// lockBreaker reads an endpoint's row, which is made where there is none, so that nobody else changes it.
func lockBreaker(ctx context.Context, tx *store.Tx, now time.Time, id string) (b breaker, err error) {
	_, err = tx.Exec(ctx, `
		insert into dispatch_breaker (endpoint_id, failures, failing_since, trips) values ($1, 0, $2, 0)
		on conflict (endpoint_id) do nothing`, id, now.UnixMicro())
	if err == nil {
		err = tx.QueryRow(ctx, `
			select failures, failing_since, trips, open_until from dispatch_breaker where endpoint_id = $1`+tx.ForUpdate(), id).
			Scan(&b.failures, store.Time(&b.since), &b.trips, store.Time(&b.until))
	}
	if err != nil {
		return b, fmt.Errorf("lock the breaker of endpoint %s: %w", id, err)
	}
	if b.failures == 0 {
		b.since = time.Time{}
	}
	return b, nil
}

func writeBreaker(ctx context.Context, tx *store.Tx, id string, b breaker) error {
	if b == (breaker{}) {
		return forgetBreaker(ctx, tx, id)
	}
	_, err := tx.Exec(ctx, `
		update dispatch_breaker set failures = $2, failing_since = $3, trips = $4, open_until = $5 where endpoint_id = $1`,
		id, b.failures, b.since.UnixMicro(), b.trips, store.Micros(b.until))
	if err != nil {
		return fmt.Errorf("keep the breaker of endpoint %s: %w", id, err)
	}
	return nil
}

// forgetBreaker makes an endpoint one that is well.
func forgetBreaker(ctx context.Context, tx *store.Tx, id string) error {
	if _, err := tx.Exec(ctx, `delete from dispatch_breaker where endpoint_id = $1`, id); err != nil {
		return fmt.Errorf("close the breaker of endpoint %s: %w", id, err)
	}
	return nil
}

func breakerEvent(id string, b breaker) audit.Event {
	e := audit.Event{Action: "dispatch.breaker.closed", Entity: "DispatchEndpoint", EntityID: id}
	if !b.until.IsZero() {
		e.Action, e.Outcome = "dispatch.breaker.opened", audit.Failure
		e.Details = map[string]any{"failures": b.failures, "until": b.until.UTC().Format(time.RFC3339Nano)}
	}
	return e
}
