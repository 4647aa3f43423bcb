package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

const (
	// TrialType is what a trial's payload calls itself, so that a receiver can tell it from a job.
	TrialType = "sealpost.test"
	// trialID is how its webhook-id begins, for receivers that look no further.
	trialID    = "test_"
	trialWait  = 25 * time.Second // an endpoint's own timeout may be longer than a caller waits
	maxTrials  = 4                // at once, on this server
	trialAgain = 5 * time.Second
)

// Trial is what came of a request to an endpoint that is no job.
type Trial struct {
	ID         string // its webhook-id
	Delivered  bool
	StatusCode int // 0 where there was no answer
	Took       time.Duration
	Error      string // "" where it was delivered
	Answer     string // the first 4 KiB of the receiver's answer, as text
}

// Try sends an endpoint a signed request of type TrialType, with all that a job would carry, and waits for
// the answer: for the endpoint's timeout, 25 s at most. It goes to a paused endpoint too, which is when it
// is most wanted, counts for none of its limits, and changes nothing about it. What is sent, and what came
// of it, are in the audit log.
//
// fault.NotFound; fault.Conflict where this server cannot read the endpoint's secrets; fault.TooMany where
// four trials are under way here.
func (d *Dispatcher) Try(ctx context.Context, by audit.Principal, endpointID string) (Trial, error) {
	select {
	case d.trials <- struct{}{}:
		defer func() { <-d.trials }()
	default:
		return Trial{}, fault.New(fault.TooMany, "%d tests are under way on this server", maxTrials).After(trialAgain)
	}
	to, err := d.readTarget(ctx, endpointID)
	if err != nil {
		return Trial{}, err
	}
	defer to.access.close()
	to.timeout = min(to.timeout, trialWait)
	dl := &delivery{jobID: trialID + store.NewID(), target: to}
	event := audit.Event{
		Action: "dispatch.endpoint.test_sent", Entity: "DispatchEndpoint", EntityID: endpointID,
		Details: map[string]any{"testId": dl.jobID, "host": hostOf(to.url)},
	}
	if err := d.log.Record(ctx, by, event); err != nil {
		return Trial{}, err
	}
	payload, err := json.Marshal(map[string]any{
		"type": TrialType, "timestamp": time.Now().UTC().Format(time.RFC3339Nano), "data": map[string]string{"endpointId": endpointID},
	})
	if err != nil {
		return Trial{}, err
	}
	req, err := newRequest(dl, "application/json", payload)
	if err != nil {
		return Trial{}, fmt.Errorf("test endpoint %s: %w", endpointID, err)
	}
	started := time.Now()
	dl.answer = d.send(ctx, req, dl)
	trial := Trial{
		ID: dl.jobID, Delivered: dl.outcome() == Delivered, StatusCode: dl.answer.Status, Took: time.Since(started), Error: dl.problem(),
		Answer: strings.ToValidUTF8(string(dl.answer.Body), "\uFFFD"),
	}
	return trial, d.log.Record(context.WithoutCancel(ctx), by, trial.event(endpointID))
}

// event tells what came of it.
func (t Trial) event(endpointID string) audit.Event {
	e := audit.Event{
		Action: "dispatch.endpoint.tested", Entity: "DispatchEndpoint", EntityID: endpointID, Outcome: audit.Failure,
		Details: map[string]any{"testId": t.ID},
	}
	switch {
	case t.Delivered:
		e.Outcome = audit.Success
		fallthrough
	case t.StatusCode != 0:
		e.Details["statusCode"] = t.StatusCode
	default:
		e.Details["error"] = t.Error
	}
	return e
}

// readTarget gives an endpoint as jobs are sent to it, with connections of its own.
func (d *Dispatcher) readTarget(ctx context.Context, id string) (*target, error) {
	t := &target{id: id, timeout: d.o.Timeout}
	var timeout *int
	var box, credentials []byte
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `
			select url, version, timeout_seconds, secrets, credentials, old_secret_until
			  from dispatch_endpoint where id = $1 and deleted_at is null`, id).
			Scan(&t.url, &t.version, &timeout, &box, &credentials, store.Time(&t.oldSecretUntil))
	})
	switch {
	case store.NoRow(err):
		return nil, noEndpoint(id)
	case err != nil:
		return nil, fmt.Errorf("read endpoint %s: %w", id, err)
	case timeout != nil:
		t.timeout = time.Duration(*timeout) * time.Second
	}
	if t.secrets, t.access, err = d.unlock(id, box, credentials); err != nil {
		return nil, fault.Wrap(fault.Conflict, err, "this endpoint's secrets cannot be read by this server")
	}
	return t, nil
}
