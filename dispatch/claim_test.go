package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// claimOnce claims as one turn does, and gives the endpoints that got something.
func claimOnce(t *testing.T, d *Dispatcher, free int, cursor string, l load) (endpoints []string, next string) {
	t.Helper()
	err := d.log.ChangeOrBookkeep(t.Context(), audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
		endpoints = nil
		now, err := tx.Now(t.Context())
		if err != nil {
			return nil, err
		}
		c, err := d.claim(t.Context(), tx, now, free, cursor, l)
		for _, dl := range c.jobs {
			endpoints = append(endpoints, dl.target.id)
		}
		next = c.cursor
		return nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return endpoints, next
}

// Where one slot is free at a time, endpoints get it in turn, and not always the first of them.
func TestTheLastFreeSlotGoesRound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		var ids []string
		for range 3 {
			e := endpoint(t, d, "http://127.0.0.1:9/")
			ids = append(ids, e.ID)
			for range 3 {
				accept(t, d, e.ID, "x")
			}
		}
		slices.Sort(ids)
		cursor, got := "", []string(nil)
		for range 7 {
			var claimed []string
			claimed, cursor = claimOnce(t, d, 1, cursor, newLoad(64))
			got = append(got, claimed...)
		}
		if want := append(append(append([]string(nil), ids...), ids...), ids[0]); !slices.Equal(got, want) {
			t.Errorf("claimed of %v, want %v", got, want)
		}
	})
}

// Endpoints that may have no more here do not stand in the way of one that may, however many they are.
func TestFullEndpointsAreLeftOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		l := newLoad(256)
		var last string
		for range 2*maxEndpoints + 1 {
			last = endpoint(t, d, "http://127.0.0.1:9/").ID
			accept(t, d, last, "x")
			l.held[last] = firstWindow
		}
		delete(l.held, last)
		if got, cursor := claimOnce(t, d, 100, "", l); !slices.Equal(got, []string{last}) || cursor != last {
			t.Errorf("claimed of %v, and the ring stands at %s; want %s", got, cursor, last)
		}
		if got, _ := claimOnce(t, d, 100, "", newLoad(256)); len(got) != maxEndpoints {
			t.Errorf("%d were claimed, want %d", len(got), maxEndpoints)
		}
	})
}

// An endpoint whose secret no key opens keeps its jobs waiting, says so, and holds up nobody else. A new
// secret mends it.
func TestAnUnreadableSecretHoldsUpOnlyItsEndpoint(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var logged syncBuffer
		o := fast()
		o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		d := newDispatcher(t, st, o)
		rc := receive(t, nil)
		var broken []string
		for range maxEndpoints + 1 { // as many as a claim looks at, and one more
			broken = append(broken, endpoint(t, d, rc.URL).ID)
		}
		write(t, st, `update dispatch_endpoint set secrets = $1`, []byte("not a box"))
		well := endpoint(t, d, rc.URL)
		var waiting []string
		for _, id := range broken {
			waiting = append(waiting, accept(t, d, id, "x"))
		}
		run(t, d)
		await(t, d, accept(t, d, well.ID, "y"), Dispatched)
		if n := strings.Count(logged.String(), "endpointId="+broken[0]); n != 1 {
			t.Errorf("the log speaks %d times of one endpoint", n)
		}
		if list, err := d.Endpoints(t.Context(), store.Page{Limit: 100}); err != nil || len(list.Items) != len(broken)+1 {
			t.Errorf("the list has %d: %v", len(list.Items), err)
		}
		if job, err := d.Get(t.Context(), admin, waiting[0]); err != nil || job.Status != Pending || job.AttemptCount != 0 {
			t.Errorf("the job that waits is %+v (%v)", job, err)
		}
		if _, _, err := d.RotateSecret(t.Context(), admin, broken[0], MaxOverlap); err == nil {
			t.Error("an overlap with a secret that cannot be read was given")
		}
		if _, _, err := d.RotateSecret(t.Context(), admin, broken[0], 0); err != nil {
			t.Fatal(err)
		}
		await(t, d, waiting[0], Dispatched)
	})
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Changes to one endpoint that meet are all made.
func TestChangesThatMeet(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		id := endpoint(t, d, "http://127.0.0.1:9/").ID
		for i := range 10 {
			changes := map[string]EndpointChange{
				"name": {Name: new(fmt.Sprint("n", i))}, "timeout": {TimeoutSeconds: new(i + 1)}, "attempts": {MaxAttempts: new(i + 1)},
				"url": {URL: new(fmt.Sprintf("http://127.0.0.1:9/%d", i))},
			}
			var all sync.WaitGroup
			for _, name := range slices.Sorted(maps.Keys(changes)) {
				all.Go(func() {
					if _, err := d.ChangeEndpoint(context.Background(), admin, id, changes[name]); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			e, err := d.Endpoint(t.Context(), id)
			if err != nil || e.Name != fmt.Sprint("n", i) || e.TimeoutSeconds != i+1 || e.MaxAttempts != i+1 || e.URL != fmt.Sprintf("http://127.0.0.1:9/%d", i) {
				t.Fatalf("a change was lost: %+v (%v)", e, err)
			}
		}
		if n := count(t, d, `select count(*) from "AuditLog" where action = 'dispatch.endpoint.changed'`); n != 40 {
			t.Errorf("%d changes have an event, want 40", n)
		}
	})
}

// A server that has not (yet) the key of a payload tries again in a while, and the job keeps its budget.
func TestAnUnreadablePayloadCostsNoBudget(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e := endpoint(t, d, rc.URL)
		id := accept(t, d, e.ID, "x")
		other, err := d.data.Encrypt(keys.JobPayload, store.NewID(), []byte("another job's"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, st, `update dispatch_payload set body = $1 where job_id = $2`, other, id)
		run(t, d)
		job := await(t, d, id, Retrying)
		if job.LastError != errUnreadable.Error() || job.NextRetryAt.Sub(job.UpdatedAt) != retryUnreadable {
			t.Errorf("the job is %+v", job)
		}
		if n := count(t, d, `select attempt_budget - attempt_count from dispatch_job where id = $1`, id); n != 3 {
			t.Errorf("the budget has %d attempts left, want 3", n)
		}
		attempts, err := d.Attempts(t.Context(), id)
		if err != nil || len(attempts) != 1 || attempts[0].Outcome != Interrupted || len(rc.all()) != 0 {
			t.Errorf("attempts %+v (%v), and %d arrived", attempts, err, len(rc.all()))
		}
	})
}
