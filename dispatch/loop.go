package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

const (
	pollEvery   = 250 * time.Millisecond // how often the loop looks for what other servers accepted
	maxErrPause = 2 * time.Second
	drainFor    = 25 * time.Second // what is being sent when the server stops has this long to end
	staleAfter  = 15 * time.Second // without a turn, the dispatcher is not healthy
)

// Run delivers jobs until ctx ends. Then it claims nothing more, lets what is being sent end (25 s at
// most), stores it, and gives back the leases of the rest. Only one Run at a time.
func (d *Dispatcher) Run(ctx context.Context) error {
	if !d.running.CompareAndSwap(false, true) {
		return errors.New("the dispatcher runs already")
	}
	defer d.running.Store(false)
	if err := d.register(ctx); err != nil {
		if ctx.Err() != nil { // stopped before it began
			return nil
		}
		return err
	}
	d.lastTurn.Store(time.Now().UnixMicro())

	sending, cancelSending := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSending()
	var deliveries sync.WaitGroup
	tending := make(chan struct{})
	go func() { // it beats until the last delivery is stored: a silent server's leases are taken away
		defer close(tending)
		d.tend(sending)
	}()

	pause := pollEvery
	for ctx.Err() == nil {
		again, err := d.turn(sending, &deliveries, true)
		switch {
		case err != nil:
			d.o.Logger.Error("dispatch turn failed", "error", err)
			pause = min(pause*2, maxErrPause)
			d.sleep(ctx, pause, nil) // whatever there is to do: it would meet the same
			continue
		case again:
			continue
		default:
			pause = pollEvery
		}
		d.sleep(ctx, pause, d.wake)
	}
	d.drain(sending, cancelSending, &deliveries, drainFor)
	<-tending
	d.transport.CloseIdleConnections()
	d.endpoints.closeIdle()
	return d.unregister(context.WithoutCancel(ctx))
}

// sleep waits for work, for the next look, or for the end.
func (d *Dispatcher) sleep(ctx context.Context, pause time.Duration, work <-chan struct{}) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-work:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// turn stores what has ended and claims what is due, in one transaction, and starts what it claimed.
// again tells that more may be waiting.
func (d *Dispatcher) turn(ctx context.Context, deliveries *sync.WaitGroup, claiming bool) (again bool, err error) {
	d.turning.Lock()
	defer d.turning.Unlock()
	d.mu.Lock()
	ended := d.ended
	d.ended = nil
	free := d.o.Concurrency - d.sending
	cursor, load := d.cursor, d.load.clone()
	d.mu.Unlock()

	var c claimed
	err = d.log.ChangeOrBookkeep(ctx, audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
		c = claimed{cursor: cursor}
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		events, err := d.complete(ctx, tx, now, ended)
		if err != nil {
			return nil, err
		}
		if claiming && free > 0 {
			if c, err = d.claim(ctx, tx, now, free, cursor, load); err != nil {
				return nil, err
			}
		}
		events = append(events, c.events...)
		if len(events) == 0 && len(c.jobs) == 0 {
			return nil, audit.ErrNothing
		}
		return events, nil
	})
	if err != nil {
		d.mu.Lock()
		d.ended = append(ended, d.ended...)
		d.doubt = time.Now().Add(doubtFor) // it may have committed all the same
		d.mu.Unlock()
		return false, err
	}
	d.lastTurn.Store(time.Now().UnixMicro())
	d.changes.noteTurn(ended, c)
	if err := d.payloads(ctx, c.jobs); err != nil {
		d.o.Logger.Error("payloads could not be read together", "error", err) // each reads its own
	}
	d.mu.Lock()
	d.cursor = c.cursor
	for _, dl := range ended {
		delete(d.inFlight, dl)
	}
	for _, dl := range c.jobs {
		d.start(ctx, dl, deliveries)
	}
	d.mu.Unlock()
	return len(c.jobs) > 0 && len(c.jobs) < free || len(c.events) > 0, nil
}

// start sends a leased job in a goroutine of its own. d.mu is held.
func (d *Dispatcher) start(ctx context.Context, dl *delivery, deliveries *sync.WaitGroup) {
	ctx, dl.cancel = context.WithCancel(ctx)
	d.inFlight[dl] = true
	d.sending++
	d.load.begin(dl.target.id)
	deliveries.Go(func() {
		defer dl.cancel()
		d.deliver(ctx, dl)
		d.mu.Lock()
		// The slot is free now, and not when the answer is stored.
		d.sending--
		d.load.end(dl.target.id, dl.timedOut)
		d.ended = append(d.ended, dl)
		d.mu.Unlock()
		d.Wake()
	})
}

// drain lets deliveries end, for as long as there is patience, and stores them.
func (d *Dispatcher) drain(ctx context.Context, cancelSending context.CancelFunc, deliveries *sync.WaitGroup, patience time.Duration) {
	all := make(chan struct{})
	go func() {
		deliveries.Wait()
		close(all)
	}()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for waiting := true; waiting; {
		select {
		case <-all:
			waiting = false
		case <-limit.C:
			cancelSending()
			<-all
			waiting = false
		case <-d.wake:
			d.store(ctx)
		}
	}
	d.store(context.WithoutCancel(ctx))
	cancelSending()
}

// store writes what has ended, with some patience: what it cannot write is sent again by others.
func (d *Dispatcher) store(ctx context.Context) {
	for range 3 {
		d.mu.Lock()
		n := len(d.ended)
		d.mu.Unlock()
		if n == 0 {
			return
		}
		if _, err := d.turn(context.WithoutCancel(ctx), nil, false); err != nil {
			d.o.Logger.Error("ended deliveries could not be stored", "error", err)
		}
	}
}

// Check tells whether the dispatcher is at work (GET /health).
func (d *Dispatcher) Check(context.Context) error {
	if !d.running.Load() {
		return fault.New(fault.Unavailable, "the dispatcher is not running")
	}
	if last := time.UnixMicro(d.lastTurn.Load()); time.Since(last) > staleAfter {
		return fault.New(fault.Unavailable, "the dispatcher has done nothing since %s", last.UTC().Format(time.RFC3339))
	}
	return nil
}
