package dispatch

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

// The rate of an endpoint, over all servers: its jobs start 1/rate apart, without bursts. A claim, which has
// the endpoint's row, reserves the next places in that line for what it takes, a quarter of a second ahead,
// and each job waits for its place on the server that has it. So the rate is reached however often servers
// look, and passed however many they are.

// The limits of a rate, in jobs a second. It is kept in thousandths.
const (
	MinRate = 0.001
	MaxRate = 10_000
)

// reserveFor is how far ahead places are reserved: as often as the loop looks.
const reserveFor = pollEvery

func checkRate(perSecond float64) error {
	if perSecond != 0 && !(perSecond >= MinRate && perSecond <= MaxRate) {
		return fault.New(fault.Invalid, "ratePerSecond is %v to %d, or 0 for no limit", MinRate, MaxRate)
	}
	return nil
}

// milliOf is a rate as the table keeps it.
func milliOf(perSecond float64) int { return int(math.Round(perSecond * 1000)) }

// apart is how far apart the jobs of a rate start, in whole microseconds, which is what the table keeps.
func apart(milli int64) time.Duration {
	const second = 1_000_000_000 // a thousand of them, in microseconds
	return time.Duration((second+milli-1)/milli) * time.Microsecond
}

// rate is how an endpoint's jobs are kept apart. The zero value is one whose jobs are not.
type rate struct {
	apart time.Duration
	next  time.Time // when the next job may start
}

// room is how many places there are until a time.
func (r rate) room(now, until time.Time) int {
	first := later(now, r.next)
	if first.After(until) {
		return 0
	}
	return int(until.Sub(first)/r.apart) + 1
}

// take takes the next place, and tells when it is.
func (r *rate) take(now time.Time) time.Time {
	at := later(now, r.next)
	r.next = at.Add(r.apart)
	return at
}

// limitRates gives no endpoint more slots than it has places. It is a statement of its own, behind the one
// that locks the endpoints: no other server reserves places meanwhile.
func limitRates(ctx context.Context, tx *store.Tx, ring []candidate, now time.Time) error {
	var args []any
	rated := map[string]*candidate{}
	for i := range ring {
		if ring[i].rate.apart > 0 {
			rated[ring[i].id] = &ring[i]
			args = append(args, ring[i].id)
		}
	}
	if len(args) == 0 {
		return nil
	}
	args = store.Padded(args, 0)
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var id string
		var next time.Time
		if err := scan(&id, store.Time(&next)); err != nil {
			return err
		}
		rated[id].rate.next = next
		return nil
	}, `select endpoint_id, next_at from dispatch_rate where endpoint_id in (`+store.Placeholders(1, len(args))+`)`, args...)
	if err != nil {
		return fmt.Errorf("read rates: %w", err)
	}
	for _, c := range rated {
		c.slots = min(c.slots, c.rate.room(now, now.Add(reserveFor)))
	}
	return nil
}

// after has a job that has been claimed wait for its endpoint's next place.
func (dl *delivery) after(r rate, c *claimed) {
	if r.apart == 0 {
		return
	}
	if taken, ok := c.rated[dl.target.id]; ok {
		r = taken
	}
	dl.wait = r.take(dl.leasedAt).Sub(dl.leasedAt)
	if c.rated == nil {
		c.rated = map[string]rate{}
	}
	c.rated[dl.target.id] = r
}

// reserve keeps the places that were taken.
func (c *claimed) reserve(ctx context.Context, tx *store.Tx) error {
	for _, id := range slices.Sorted(maps.Keys(c.rated)) {
		_, err := tx.Exec(ctx, `
			insert into dispatch_rate (endpoint_id, next_at) values ($1, $2)
			on conflict (endpoint_id) do update set next_at = excluded.next_at`, id, c.rated[id].next.UnixMicro())
		if err != nil {
			return fmt.Errorf("keep the rate of endpoint %s: %w", id, err)
		}
	}
	return nil
}

func forgetRate(ctx context.Context, tx *store.Tx, id string) error {
	if _, err := tx.Exec(ctx, `delete from dispatch_rate where endpoint_id = $1`, id); err != nil {
		return fmt.Errorf("forget the rate of endpoint %s: %w", id, err)
	}
	return nil
}

// sleepFor waits, and tells whether it could to the end.
func sleepFor(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
