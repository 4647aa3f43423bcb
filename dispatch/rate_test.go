package dispatch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestRate(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(1_000_000 + ms)) }
	for _, tt := range []struct {
		name        string
		apart, next int // milliseconds
		want        int // places in the next 250 ms
	}{
		{"never used", 100, -1_000_000, 3},
		{"used long ago saves nothing up", 100, -5000, 3},
		{"the next place is now", 100, 0, 3},
		{"the next place is soon", 100, 60, 2},
		{"it is the last that is near", 100, 250, 1},
		{"it is not near", 100, 251, 0},
		{"one in ten seconds", 10_000, 0, 1},
		{"a thousand a second", 1, 0, 251},
	} {
		r := rate{time.Duration(tt.apart) * time.Millisecond, at(tt.next)}
		if got := r.room(at(0), at(250)); got != tt.want {
			t.Errorf("%s: %d places, want %d", tt.name, got, tt.want)
		}
	}
	r := rate{apart: 100 * time.Millisecond, next: at(60)}
	for i, want := range []int{60, 160, 260} {
		if got := r.take(at(0)); !got.Equal(at(want)) {
			t.Errorf("place %d is at %s", i, got)
		}
	}
	if got := r.take(at(1000)); !got.Equal(at(1000)) || !r.next.Equal(at(1100)) {
		t.Errorf("after a rest: %s, then %s", got, r.next)
	}
	for rate, want := range map[float64]time.Duration{0.001: 1000 * time.Second, 0.25: 4 * time.Second, 3: 333334 * time.Microsecond, 10_000: 100 * time.Microsecond} {
		if got := apart(int64(milliOf(rate))); got != want {
			t.Errorf("%v a second are %s apart, want %s", rate, got, want)
		}
	}
	for _, bad := range []float64{-1, 0.0009, 10_000.1} {
		if err := checkRate(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// claimAt claims as one turn does at a time, and tells when each job is to start.
func claimAt(t *testing.T, d *Dispatcher, now time.Time) (starts []time.Time) {
	t.Helper()
	err := d.log.ChangeOrBookkeep(t.Context(), audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
		starts = nil
		c, err := d.claim(t.Context(), tx, now, 64, "", d.load.clone())
		for _, dl := range c.jobs {
			starts = append(starts, now.Add(dl.wait))
		}
		return nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return starts
}

// However many servers claim, and whenever, the jobs of an endpoint with a rate are that far apart, and
// where servers look as often as they do none of its places stays empty.
func TestTheRateOfAnEndpointHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		servers := []*Dispatcher{newDispatcher(t, st, fast()), newDispatcher(t, st, fast())}
		e, _, err := servers[0].CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "slow", URL: "http://127.0.0.1:9/", Concurrency: 100, RatePerSecond: 20})
		if err != nil {
			t.Fatal(err)
		}
		free := endpoint(t, servers[0], "http://127.0.0.1:9/")
		for range 40 {
			accept(t, servers[0], e.ID, "x")
		}
		for _, d := range servers {
			d.load.windows[e.ID] = 100
		}
		now := time.Now().Add(time.Second).Truncate(time.Microsecond)
		begun := now
		var starts []time.Time
		for i := 0; len(starts) < 40 && i < 100; i++ {
			if i == 5 {
				accept(t, servers[0], free.ID, "one that has no rate waits for nobody")
				other := claimAt(t, servers[0], now)
				if !slices.ContainsFunc(other, func(at time.Time) bool { return at.Equal(now) }) {
					t.Errorf("another endpoint's job starts at %v", other)
				}
				starts = append(starts, slices.DeleteFunc(other, func(at time.Time) bool { return at.Equal(now) })...)
			}
			starts = append(starts, claimAt(t, servers[i%2], now)...)
			now = now.Add(reserveFor / 2)
		}
		if len(starts) != 40 {
			t.Fatalf("%d were claimed", len(starts))
		}
		slices.SortFunc(starts, time.Time.Compare)
		for i, at := range starts {
			if want := begun.Add(time.Duration(i) * 50 * time.Millisecond); !at.Equal(want) {
				t.Fatalf("job %d starts %s behind its place", i, at.Sub(want))
			}
		}
	})
}

// Jobs do wait for their places, a new rate counts at once, and none means none.
func TestJobsArriveAtTheirRate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "slow", URL: rc.URL, RatePerSecond: 8})
		if err != nil {
			t.Fatal(err)
		}
		run(t, d)
		begun := time.Now()
		var ids []string
		for i := range 9 {
			ids = append(ids, accept(t, d, e.ID, fmt.Sprint(i)))
		}
		for _, id := range ids {
			await(t, d, id, Dispatched)
		}
		if took := rc.all()[8].at.Sub(begun); took < time.Second {
			t.Errorf("nine jobs arrived within %s, at eight a second", took)
		}
		change := func(rate float64) {
			t.Helper()
			got, err := d.ChangeEndpoint(t.Context(), admin, e.ID, EndpointChange{RatePerSecond: &rate})
			if err != nil || got.RatePerSecond != rate {
				t.Fatalf("changed to %v: %+v, %v", rate, got, err)
			}
		}
		change(MinRate) // one in a quarter of an hour: the first at once, and then no more
		await(t, d, accept(t, d, e.ID, "first"), Dispatched)
		second := accept(t, d, e.ID, "second")
		time.Sleep(2 * pollEvery)
		if job, err := d.Get(t.Context(), admin, second); err != nil || job.Status != Pending {
			t.Errorf("the second job is %+v (%v)", job, err)
		}
		change(0)
		await(t, d, second, Dispatched)
	})
}
