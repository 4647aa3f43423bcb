package dispatch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// maxBatch bounds how many jobs one transaction accepts, and maxBatchBytes how much they carry.
const (
	maxBatch      = 256
	maxBatchBytes = 16 << 20
)

// acceptance is a request that waits to be accepted with others.
type acceptance struct {
	by     audit.Principal
	job    prepared
	once   audit.Once
	render func(Job) audit.Answer
	lead   chan struct{} // closed: it is this one's turn to run the next batch
	done   chan struct{} // closed: it has its result
	acceptResult
}

type acceptResult struct {
	answer audit.Answer
	err    error
}

// acceptQueue collects what is waiting while a batch commits, and so makes many small transactions a
// few large ones without making anyone wait for others to come. Whoever finds no batch running runs
// one; when it has committed, the first of those who wait runs the next.
type acceptQueue struct {
	d       *Dispatcher
	mu      sync.Mutex
	waiting []*acceptance
	running bool
}

// Accept stores a job durably and gives the answer to its caller: render's, or the first answer where
// the request's Idempotency-Key came before. ctx can withdraw a job only until its batch starts.
// fault.Invalid for a job or an endpoint that will not do, fault.Conflict for a key used otherwise.
func (d *Dispatcher) Accept(ctx context.Context, by audit.Principal, n NewJob, once audit.Once, render func(Job) audit.Answer) (audit.Answer, error) {
	if err := n.check(time.Now()); err != nil {
		return audit.Answer{}, err
	}
	p, err := d.prepare(ctx, n)
	if err != nil {
		return audit.Answer{}, err
	}
	a := &acceptance{by: by, job: p, once: once, render: render, lead: make(chan struct{}), done: make(chan struct{})}
	q := &d.accept
	q.mu.Lock()
	q.waiting = append(q.waiting, a)
	if !q.running {
		q.running = true
		close(a.lead)
	}
	q.mu.Unlock()
	for {
		select {
		case <-a.done:
			return a.answer, a.err
		case <-a.lead:
			q.runBatch(ctx)
			<-a.done // a leader's own job is the first of its batch
			return a.answer, a.err
		case <-ctx.Done():
			if q.withdraw(a) {
				return audit.Answer{}, ctx.Err()
			}
			<-a.done
			return a.answer, a.err
		}
	}
}

// runBatch takes what is waiting, commits it, gives each its result, and hands the lead on.
func (q *acceptQueue) runBatch(ctx context.Context) {
	q.mu.Lock()
	n, bytes := 0, 0
	for n < len(q.waiting) && n < maxBatch && (n == 0 || bytes+len(q.waiting[n].job.body) <= maxBatchBytes) {
		bytes += len(q.waiting[n].job.body)
		n++
	}
	batch := append([]*acceptance(nil), q.waiting[:n]...)
	q.waiting = append(q.waiting[:0], q.waiting[n:]...)
	q.mu.Unlock()

	defer func() { // also when a panic ends this request: the others must not wait for ever
		q.mu.Lock()
		q.running = len(q.waiting) > 0
		if q.running {
			close(q.waiting[0].lead)
		}
		q.mu.Unlock()
	}()
	q.d.acceptBatch(context.WithoutCancel(ctx), batch)
}

// errNotAccepted is a request's result until it has another.
var errNotAccepted = errors.New("the batch ended without a result for this job")

// withdraw takes a request out of the queue. false: its batch has started.
func (q *acceptQueue) withdraw(a *acceptance) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if w != a {
			continue
		}
		q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
		select {
		case <-a.lead: // it had the lead and did not take it
			q.running = len(q.waiting) > 0
			if q.running {
				close(q.waiting[0].lead)
			}
		default:
		}
		return true
	}
	return false
}

// acceptBatch commits a batch. Where that fails, each runs alone, so that one which cannot be stored
// does not take the others with it.
func (d *Dispatcher) acceptBatch(ctx context.Context, batch []*acceptance) {
	defer func() {
		for _, a := range batch {
			close(a.done)
		}
	}()
	for _, a := range batch {
		a.err = errNotAccepted // should a panic come before the result
	}
	if err := d.acceptAll(ctx, batch); err != nil {
		d.acceptEach(ctx, batch, err)
	}
	d.Wake()
}

// acceptEach runs a failed batch again, each alone. An outage is nobody's own fault, and alone each would
// only wait for it again: it ends the matter for all that have no result yet.
func (d *Dispatcher) acceptEach(ctx context.Context, batch []*acceptance, err error) {
	for i, a := range batch {
		if !fault.Is(err, fault.Unavailable) {
			err = d.acceptAll(ctx, batch[i:i+1])
			if store.Unique(err) { // a request with the same key was first, on another server
				err = d.acceptAll(ctx, batch[i:i+1])
			}
		}
		if err != nil {
			a.answer, a.err = audit.Answer{}, err
		}
	}
}

// acceptAll runs one transaction for a batch and sets each one's result. A panic, which is a bug about
// one of them, is an error like another: the rest are not to suffer from it, nor who leads the batch.
func (d *Dispatcher) acceptAll(ctx context.Context, batch []*acceptance) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("accept jobs: panic: %v", p)
			d.o.Logger.Error("accepting jobs panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	results := make([]acceptResult, len(batch))
	ids := make([]string, len(batch))
	var ordered []prepared
	for i, a := range batch {
		ids[i] = a.job.EndpointID
		if a.job.OrderingKey != "" {
			ordered = append(ordered, a.job)
		}
	}
	err = d.log.Change(ctx, audit.Itself("accept"), func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		terms, err := d.terms(ctx, tx, ids)
		if err != nil {
			return nil, err
		}
		var events []audit.Event
		var answers [][]any
		rows := newJobRows(len(batch))
		if err := rows.lockOrders(ctx, tx, ordered, terms); err != nil {
			return nil, err
		}
		byKey := map[string]int{} // the batch's own keys: two of one key can meet in it
		for i, a := range batch {
			results[i] = acceptResult{}
			if a.once.Keyed() {
				key := a.once.Caller + "\x00" + a.once.Route + "\x00" + a.once.Key
				if first, ok := byKey[key]; ok {
					results[i].answer, results[i].err = a.once.Again(batch[first].once, results[first].answer)
					continue
				}
				first, err := a.once.Before(ctx, tx)
				if err != nil || first != nil {
					switch {
					case first != nil:
						results[i].answer = *first
					case fault.Is(err, fault.Conflict):
						results[i].err = err
					default:
						return nil, err
					}
					continue
				}
				byKey[key] = i
			}
			maxAttempts, ok := terms[a.job.EndpointID]
			if !ok {
				results[i].err = noSuchEndpoint(a.job.EndpointID)
				delete(byKey, a.once.Caller+"\x00"+a.once.Route+"\x00"+a.once.Key)
				continue
			}
			job := rows.add(a.job, a.by, maxAttempts, now)
			results[i].answer = a.render(job)
			events = append(events, accepted(job, a.job.hash, &a.by))
			if a.once.Keyed() {
				answers = append(answers, a.once.Row(results[i].answer, now))
			}
		}
		if len(events) == 0 {
			return nil, audit.ErrNothing
		}
		if err := rows.insert(ctx, tx); err != nil {
			return nil, err
		}
		if len(answers) > 0 {
			if err := tx.Insert(ctx, "idempotency", audit.OnceColumns(), answers); err != nil {
				return nil, err
			}
		}
		return events, nil
	})
	if err != nil {
		return err
	}
	for i, a := range batch {
		a.acceptResult = results[i]
		d.changes.note(a.job.id)
	}
	return nil
}
