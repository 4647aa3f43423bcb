package dispatch

import (
	"context"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

const (
	beatEvery   = time.Second
	deadAfter   = 15 * time.Second // without a beat, a server is dead and its leases are others'
	leaseMargin = 30 * time.Second // how much longer than its attempt a lease lasts
	maxRecover  = 1000             // leases that one transaction takes back
	doubtFor    = 15 * time.Second // a commit whose outcome did not reach us may take place this much later
)

// register makes this process known, and takes back at once what an earlier process of the same
// server was sending when it ended.
func (d *Dispatcher) register(ctx context.Context) error {
	err := d.log.Bookkeep(ctx, func(tx *store.Tx) error { return d.beat(ctx, tx) })
	switch {
	case err != nil:
		return fmt.Errorf("register the dispatcher: %w", err)
	case d.log.Store().Dialect() == store.SQLite: // has one server at a time, whatever it is called
		return d.recover(ctx, `incarnation <> $1`, d.log.Writer())
	case d.o.Server == "":
		return nil
	}
	return d.recover(ctx, `incarnation <> $1 and server = $2`, d.log.Writer(), d.o.Server)
}

// unregister gives back the leases of a process that ends in order.
func (d *Dispatcher) unregister(ctx context.Context) error {
	return d.recover(ctx, `incarnation = $1`, d.log.Writer())
}

// beat says that this process lives.
func (d *Dispatcher) beat(ctx context.Context, tx *store.Tx) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		insert into node (incarnation, server, started_at, seen_at) values ($1, $2, $3, $3)
		on conflict (incarnation) do update set seen_at = excluded.seen_at`, d.log.Writer(), d.o.Server, now.UnixMicro())
	return err
}

// tend beats once a second, takes back the leases of dead servers, lets jobs die whose time is over, and
// gives up deliveries whose leases were taken away.
func (d *Dispatcher) tend(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := d.tendOnce(ctx); err != nil && ctx.Err() == nil {
			d.o.Logger.Error("tending leases failed", "error", err)
		}
	}
}

func (d *Dispatcher) tendOnce(ctx context.Context) error {
	var now time.Time
	err := d.log.Bookkeep(ctx, func(tx *store.Tx) (err error) {
		if now, err = tx.Now(ctx); err != nil {
			return err
		}
		return d.beat(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("beat: %w", err)
	}
	if err := d.recover(ctx, `seen_at < $1`, now.Add(-deadAfter).UnixMicro()); err != nil {
		return err
	}
	if _, err := d.takeBack(ctx, overdue, now.UnixMicro()); err != nil {
		return err
	}
	if err := d.expire(ctx); err != nil {
		return err
	}
	return d.compareLeases(ctx)
}

// overdue are leases that are over while their server lives, which could not store the end; and leases
// that a server took between being forgotten as dead and its next beat, should it have ended then.
const overdue = `(lease_until < $1 or lease_node not in (select incarnation from node))`

// recover takes back the leases of the servers that a condition on their rows names, and forgets those
// servers. What they were sending is due at once: nobody knows whether it arrived, so it is sent again,
// with the same key, and the attempt costs no budget.
func (d *Dispatcher) recover(ctx context.Context, dead string, args ...any) error {
	var there int
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select 1 from node where `+dead+` limit 1`, args...).Scan(&there)
	})
	if store.NoRow(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find dead servers: %w", err)
	}
	for {
		n, err := d.takeBack(ctx, `lease_node in (select incarnation from node where `+dead+`)`, args...)
		if err != nil {
			return err
		}
		if n < maxRecover {
			break
		}
	}
	err = d.log.Bookkeep(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `delete from node where `+dead, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget dead servers: %w", err)
	}
	return nil
}

// takeBack makes leased jobs due again, at most maxRecover of them, and tells how many.
func (d *Dispatcher) takeBack(ctx context.Context, condition string, args ...any) (int, error) {
	var taken int
	err := d.log.Change(ctx, audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		var ids []any
		var rows [][]any
		var events []audit.Event
		err = tx.Each(ctx, func(scan func(...any) error) error {
			var id, node string
			var number int
			var leasedAt int64
			if err := scan(&id, &number, &node, &leasedAt); err != nil {
				return err
			}
			ids = append(ids, id)
			rows = append(rows, []any{id, number, string(Interrupted), leasedAt, now.UnixMicro(), nil, interruptedText, nil, node})
			events = append(events, interruptedEvent(id, number, node))
			return nil
		}, takeBackText(condition)+tx.SkipLocked(""), args...)
		if err != nil {
			return nil, fmt.Errorf("find leases to take back: %w", err)
		}
		taken = len(ids)
		if taken == 0 {
			return nil, audit.ErrNothing
		}
		args := store.Padded(append([]any{now.UnixMicro(), interruptedText}, ids...), 2)
		if _, err := tx.Exec(ctx, `
			update dispatch_job
			   set status = 'RETRYING', due_at = $1, attempt_budget = attempt_budget + 1, last_error = $2,
			       lease_token = null, lease_node = null, lease_until = null, updated_at = $1
			 where id in (`+store.Placeholders(3, len(args)-2)+`)`, args...); err != nil {
			return nil, fmt.Errorf("take back leases: %w", err)
		}
		if err := tx.Insert(ctx, "dispatch_attempt", attemptColumns, rows); err != nil {
			return nil, err
		}
		return events, nil
	})
	if taken > 0 && err == nil {
		d.changes.noteMany()
		d.Wake()
	}
	return taken, err
}

func takeBackText(condition string) string {
	return fmt.Sprintf(`select id, attempt_count, lease_node, updated_at from dispatch_job
		where lease_until is not null and %s limit %d`, condition, maxRecover)
}

const interruptedText = "the server stopped before the receiver's answer was stored"

const ownLeases = `select id, lease_token from dispatch_job where lease_until is not null and lease_node = $1`

// compareLeases holds the leases that the database says this process has against what it is sending:
// a delivery whose lease is gone is given up, and after a transaction whose outcome did not reach us
// a lease that nobody here serves is given back.
func (d *Dispatcher) compareLeases(ctx context.Context) error {
	d.turning.Lock()
	defer d.turning.Unlock()
	d.mu.Lock()
	known := make(map[string]*delivery, len(d.inFlight))
	for dl := range d.inFlight {
		known[dl.token+dl.jobID] = dl
	}
	doubt := time.Now().Before(d.doubt)
	d.mu.Unlock()
	if len(known) == 0 && !doubt {
		return nil
	}
	var orphans []any
	leased := map[string]bool{}
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var id, token string
			if err := scan(&id, &token); err != nil {
				return err
			}
			leased[token+id] = true
			if known[token+id] == nil {
				orphans = append(orphans, id)
			}
			return nil
		}, ownLeases, d.log.Writer())
	})
	if err != nil {
		return fmt.Errorf("compare leases: %w", err)
	}
	d.mu.Lock()
	for key, dl := range known {
		// A delivery that is no longer in flight was stored meanwhile.
		if !leased[key] && d.inFlight[dl] {
			dl.cancel()
		}
	}
	d.mu.Unlock()
	if !doubt || len(orphans) == 0 {
		return nil
	}
	orphans = orphans[:min(len(orphans), maxRecover)]
	args := store.Padded(append([]any{d.log.Writer()}, orphans...), 1)
	_, err = d.takeBack(ctx, `lease_node = $1 and id in (`+store.Placeholders(2, len(args)-1)+`)`, args...)
	return err
}
