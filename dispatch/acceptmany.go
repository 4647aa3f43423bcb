package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// MaxMany is how many jobs AcceptMany takes at once, and MaxManyPayload how many bytes they carry in all.
const (
	MaxMany        = 1000
	MaxManyPayload = MaxPayload
)

// AcceptMany stores jobs durably, all or none, and gives the answer to their caller: render's, or the
// first answer where the request's Idempotency-Key came before. It is a transaction of its own: a queue
// that has collected single jobs does not wait for it, nor it for the queue.
//
// fault.Invalid for a job or an endpoint that will not do, with the job's index from 0; fault.TooLarge
// beyond the limits; fault.Conflict for a key used otherwise.
func (d *Dispatcher) AcceptMany(ctx context.Context, by audit.Principal, jobs []NewJob, once audit.Once, render func([]Job) (audit.Answer, error)) (audit.Answer, error) {
	list, err := d.prepareMany(ctx, jobs)
	if err != nil {
		return audit.Answer{}, err
	}
	a, err := d.acceptMany(ctx, by, list, once, render)
	if once.Keyed() && store.Unique(err) { // the same request, at the same time, was first
		a, err = d.acceptMany(ctx, by, list, once, render)
	}
	d.Wake()
	return a, err
}

func (d *Dispatcher) prepareMany(ctx context.Context, jobs []NewJob) ([]prepared, error) {
	if len(jobs) == 0 || len(jobs) > MaxMany {
		return nil, fault.New(fault.Invalid, "a batch has 1 to %d jobs", MaxMany)
	}
	bytes := 0
	for _, n := range jobs {
		bytes += len(n.Payload)
	}
	if bytes > MaxManyPayload {
		return nil, fault.New(fault.TooLarge, "the payloads of a batch have at most %d bytes in all", MaxManyPayload)
	}
	now := time.Now()
	list := make([]prepared, len(jobs))
	for i, n := range jobs {
		if err := n.check(now); err != nil {
			return nil, OfIndex(err, i)
		}
	}
	for i, n := range jobs {
		var err error
		if list[i], err = d.prepare(ctx, n); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// OfIndex makes a fault about one of many jobs say which, counted from 0.
func OfIndex(err error, i int) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	named := fault.Wrap(f.Kind, err, "job %d: %s", i, f.Message)
	for name, value := range f.Details {
		named = named.With(name, value)
	}
	return named.With("index", i)
}

// whoseEndpoint makes a fault about an endpoint say whose it is: the first job's that names it.
func whoseEndpoint(err error, list []prepared) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		for i, p := range list {
			if p.EndpointID == f.Details["endpointId"] {
				return OfIndex(err, i)
			}
		}
	}
	return err
}

func (d *Dispatcher) acceptMany(ctx context.Context, by audit.Principal, list []prepared, once audit.Once, render func([]Job) (audit.Answer, error)) (audit.Answer, error) {
	var answer audit.Answer
	err := d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		answer = audit.Answer{}
		first, err := once.Before(ctx, tx)
		if err != nil {
			return nil, err
		}
		if first != nil {
			answer = *first
			return nil, audit.ErrNothing
		}
		jobs, events, err := d.insert(ctx, tx, by, list)
		if err != nil {
			return nil, whoseEndpoint(err, list)
		}
		if answer, err = render(jobs); err != nil {
			return nil, fmt.Errorf("answer a batch: %w", err)
		}
		return events, once.After(ctx, tx, answer)
	})
	return answer, err
}
