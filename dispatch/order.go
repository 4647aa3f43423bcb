package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// Jobs of one endpoint that carry the same ordering key are sent strictly one after another, in the order in
// which they were accepted. Each has a place in that order; one of them has the turn, and only that one can
// be due or in flight. All others wait in line with due_at null, so that a claim does not know of orders.
//
// Where the one with the turn is delivered, or an operator gives it up, or its time is over, the turn goes to
// the first in line. Where it is dead for another reason it keeps the turn, and so holds all behind it, until
// an operator replays it or gives it up. One that is replayed when later ones have had their turn is marked
// outOfOrder; it goes before those that still wait, but never beside one that is being sent.
//
// An order's row is locked before any of its jobs' rows, and rows of orders in the order of their keys: that
// is what keeps servers from waiting for each other.

const maxOrderingKey = 255 // bytes

func checkOrderingKey(key string) error {
	if len(key) > maxOrderingKey || !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return fault.New(fault.Invalid, "orderingKey has at most %d bytes, and no control character", maxOrderingKey)
	}
	return nil
}

// orderKey names an order.
type orderKey struct{ endpointID, key string }

func (k orderKey) compare(o orderKey) int {
	return cmp.Or(cmp.Compare(k.endpointID, o.endpointID), cmp.Compare(k.key, o.key))
}

// order is an order's row.
type order struct {
	last   int64  // the place that was given last
	turn   int64  // the place that has the turn; 0: nobody waits
	turnID string // the job that has it
}

// join gives a new job a place, and the turn where nobody waits.
func (o *order) join(id string) (place int64, waits bool) {
	o.last++
	if o.turn == 0 {
		o.turn, o.turnID = o.last, id
		return o.last, false
	}
	return o.last, true
}

// rejoin tells how a job that is replayed comes back to its place: with the turn, which it may take from a
// later one that is not being sent; and whether later ones have had theirs.
func (o order) rejoin(place int64) (free, takes, outOfOrder bool) {
	switch {
	case o.turn == place:
		return true, false, false
	case o.turn == 0:
		return true, false, o.last > place
	case o.turn > place:
		return false, true, true
	}
	return false, false, false
}

// lockOrders locks orders, which are made where there are none, and reads them. The insert goes row by row in
// the order that it is given.
func lockOrders(ctx context.Context, tx *store.Tx, keys []orderKey) (map[orderKey]*order, error) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, orderKey.compare)
	keys = slices.Compact(keys)
	orders := map[orderKey]*order{}
	for len(keys) > 0 {
		n := store.Piece(len(keys), maxBatch)
		args := make([]any, 0, 2*n)
		for _, k := range keys[:n] {
			args = append(args, k.endpointID, k.key)
		}
		err := tx.Each(ctx, func(scan func(...any) error) error {
			var k orderKey
			var o order
			err := scan(&k.endpointID, &k.key, &o.last, &o.turn, store.String(&o.turnID))
			orders[k] = &o
			return err
		}, lockOrdersText(n), args...)
		if err != nil {
			return nil, fmt.Errorf("lock orders: %w", err)
		}
		keys = keys[n:]
	}
	return orders, nil
}

func lockOrdersText(n int) string {
	var b strings.Builder
	b.WriteString(`insert into dispatch_order (endpoint_id, ordering_key, last_place, turn) values `)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `($%d, $%d, 0, 0)`, 2*i+1, 2*i+2)
	}
	b.WriteString(` on conflict (endpoint_id, ordering_key) do update set last_place = dispatch_order.last_place
		returning endpoint_id, ordering_key, last_place, turn, turn_id`)
	return b.String()
}

// writeOrders keeps orders that are locked.
func writeOrders(ctx context.Context, tx *store.Tx, orders map[orderKey]*order) error {
	keys := slices.SortedFunc(maps.Keys(orders), orderKey.compare)
	for len(keys) > 0 {
		n := store.Piece(len(keys), maxBatch)
		args := make([]any, 0, 5*n)
		for _, k := range keys[:n] {
			o := orders[k]
			args = append(args, k.endpointID, k.key, o.last, o.turn, store.Text(o.turnID))
		}
		_, err := tx.Exec(ctx, `with v (endpoint_id, ordering_key, last_place, turn, turn_id) as (values `+
			store.Values(1, n, "text", "text", "bigint", "bigint", "text")+`)
			update dispatch_order set last_place = v.last_place, turn = v.turn, turn_id = v.turn_id
			  from v where dispatch_order.endpoint_id = v.endpoint_id and dispatch_order.ordering_key = v.ordering_key`, args...)
		if err != nil {
			return fmt.Errorf("keep orders: %w", err)
		}
		keys = keys[n:]
	}
	return nil
}

// nextTurnText gives the turn to the first in line, by the index that has only those. One that is dead and
// waits there, since an earlier one was replayed, only holds it.
const nextTurnText = `
	update dispatch_job
	   set due_at = case when status = 'DEAD_LETTER' then null else order_wait end, order_wait = null
	 where id = (select id from dispatch_job where endpoint_id = $1 and ordering_key = $2 and order_wait is not null
	              order by order_place limit 1)
	returning id, order_place`

// passTurn gives an order's turn, which the job of a place has had, to the first in line. It does nothing where
// another one has it.
func passTurn(ctx context.Context, tx *store.Tx, k orderKey, o *order, place int64) error {
	if o.turn != place {
		return nil
	}
	o.turn, o.turnID = 0, ""
	err := tx.QueryRow(ctx, nextTurnText, k.endpointID, k.key).Scan(&o.turnID, &o.turn)
	if err != nil && !store.NoRow(err) {
		return fmt.Errorf("pass an order's turn: %w", err)
	}
	return nil
}

// releases tells whether a job's end gives its turn away: all but the deaths that an operator has to look at.
func releases(status Status, reason Reason) bool {
	return status == Dispatched || status == DeadLetter && (reason == Operator || reason == Expired)
}

// passTurns passes the turns of orders whose jobs have ended, and keeps them.
func passTurns(ctx context.Context, tx *store.Tx, orders map[orderKey]*order, ended map[orderKey]int64) error {
	changed := map[orderKey]*order{}
	for _, k := range slices.SortedFunc(maps.Keys(ended), orderKey.compare) {
		if err := passTurn(ctx, tx, k, orders[k], ended[k]); err != nil {
			return err
		}
		changed[k] = orders[k]
	}
	return writeOrders(ctx, tx, changed)
}

// lockOrderOf locks the order of a job, and reads the job again as it then is. nil: it is in none.
func lockOrderOf(ctx context.Context, tx *store.Tx, job Job) (Job, *order, error) {
	if job.OrderingKey == "" {
		return job, nil, nil
	}
	orders, err := lockOrders(ctx, tx, []orderKey{job.order()})
	if err != nil {
		return job, nil, err
	}
	o := orders[job.order()]
	job, err = readJob(ctx, tx, job.ID)
	return job, o, err
}

func (j Job) order() orderKey { return orderKey{j.EndpointID, j.OrderingKey} }

// rejoin brings a job that is replayed back to its place in its locked order, and tells whether it waits there,
// and whether it is out of order.
func (j Job) rejoin(ctx context.Context, tx *store.Tx, o *order) (waits, outOfOrder bool, err error) {
	free, takes, outOfOrder := o.rejoin(j.place)
	if takes {
		// Whoever has that row now is sending it, or is about to: it is not waited for.
		n, err := tx.Exec(ctx, `
			update dispatch_job set order_wait = coalesce(due_at, 0), due_at = null
			 where id in (select id from dispatch_job where id = $1 and lease_until is null`+tx.SkipLocked("")+`) and lease_until is null`, o.turnID)
		if err != nil {
			return false, false, fmt.Errorf("take an order's turn: %w", err)
		}
		free = n > 0
	}
	if free {
		o.turn, o.turnID = j.place, j.ID
		err = writeOrders(ctx, tx, map[orderKey]*order{j.order(): o})
	}
	return !free, outOfOrder, err
}

// expiredOrderedText finds the waiting jobs of orders whose time is over. They are not locked yet: their
// orders are to be locked first.
const expiredOrderedText = `
	select id, endpoint_id, ordering_key from dispatch_job
	 where expire_at is not null and status in ('PENDING', 'RETRYING') and expire_at <= $1 and ordering_key is not null
	 order by expire_at limit $2`

// expireOrdered is expireSome for jobs of orders. Those behind them have their turn then.
func (d *Dispatcher) expireOrdered(ctx context.Context) (found int, err error) {
	var n int
	err = d.log.Change(ctx, audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
		n, found = 0, 0
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		var keys []orderKey
		args := []any{now.UnixMicro()}
		err = tx.Each(ctx, func(scan func(...any) error) error {
			var id string
			var k orderKey
			err := scan(&id, &k.endpointID, &k.key)
			keys, args = append(keys, k), append(args, id)
			return err
		}, expiredOrderedText, now.UnixMicro(), maxExpired)
		if err != nil {
			return nil, fmt.Errorf("find jobs of orders that are over: %w", err)
		}
		if found = len(keys); found == 0 {
			return nil, audit.ErrNothing
		}
		orders, err := lockOrders(ctx, tx, keys)
		if err != nil {
			return nil, err
		}
		args = store.Padded(args, 1)
		var events []audit.Event
		places := map[orderKey][]int64{}
		err = tx.Each(ctx, func(scan func(...any) error) error {
			var id string
			var k orderKey
			var place int64
			err := scan(&id, &k.endpointID, &k.key, &place)
			events, places[k] = append(events, deadEvent(id, Expired, "")), append(places[k], place)
			return err
		}, `update dispatch_job
		       set status = 'DEAD_LETTER', dead_letter_reason = 'EXPIRED', dead_lettered_at = $1, due_at = null, order_wait = null, updated_at = $1
		     where id in (select id from dispatch_job where id in (`+store.Placeholders(2, len(args)-1)+`)
		                   and status in ('PENDING', 'RETRYING')`+tx.SkipLocked("")+`) and status in ('PENDING', 'RETRYING') and expire_at <= $1
		    returning id, endpoint_id, ordering_key, order_place`, args...)
		if err != nil {
			return nil, fmt.Errorf("let jobs of orders expire: %w", err)
		}
		if n = len(events); n == 0 {
			return nil, audit.ErrNothing
		}
		ended := map[orderKey]int64{}
		for k, list := range places {
			if slices.Contains(list, orders[k].turn) {
				ended[k] = orders[k].turn
			}
		}
		return events, passTurns(ctx, tx, orders, ended)
	})
	if n > 0 && err == nil {
		d.changes.noteMany()
		d.Wake()
	}
	if n < found { // somebody has the rest: in a second they are looked for again
		found = 0
	}
	return found, err
}

// orderDue is what a new job's row says of when it is due: its own time, or that it waits for its turn.
func orderDue(due time.Time, waits bool) (dueAt, orderWait any) {
	if waits {
		return nil, due.UnixMicro()
	}
	return due.UnixMicro(), nil
}
