package dispatch

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// watched collects what a watcher is told.
type watched struct {
	mu      sync.Mutex
	seen    map[string][]Status // each job's statuses as they were told, without repetitions
	resyncs int
}

func watch(t *testing.T, d *Dispatcher) *watched {
	t.Helper()
	changes, stop := d.Watch()
	w := &watched{seen: map[string][]Status{}}
	done, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		for {
			select {
			case c := <-changes:
				w.take(c)
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		close(done)
		<-read
	})
	eventually(t, func() bool { return w.resynced() == 1 }, func() string { return "watching does not begin with a Resync" })
	return w
}

func (w *watched) take(c JobChange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Resync {
		w.resyncs++
		return
	}
	list := w.seen[c.Job.ID]
	if len(list) == 0 || list[len(list)-1] != c.Job.Status {
		w.seen[c.Job.ID] = append(list, c.Job.Status)
	}
}

func (w *watched) resynced() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resyncs
}

// last is what was last told of a job.
func (w *watched) last(id string) Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := w.seen[id]; len(list) > 0 {
		return list[len(list)-1]
	}
	return ""
}

func (w *watched) want(t *testing.T, id string, status Status) {
	t.Helper()
	eventually(t, func() bool { return w.last(id) == status }, func() string {
		return fmt.Sprintf("job %s was last told of as %q, want %s", id, w.last(id), status)
	})
}

func TestWatchTellsOfAJobsWay(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		hold := make(chan struct{})
		rc := receive(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			<-hold
			if n == 1 {
				w.WriteHeader(http.StatusBadRequest)
			}
		})
		release := sync.OnceFunc(func() { close(hold) })
		t.Cleanup(release)
		e := endpoint(t, d, rc.URL)
		w := watch(t, d)
		id := accept(t, d, e.ID, "x")
		w.want(t, id, Pending)
		run(t, d)
		w.want(t, id, InFlight)
		release()
		w.want(t, id, DeadLetter)
		if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{}); err != nil {
			t.Fatal(err)
		}
		w.want(t, id, Dispatched)
		if n := w.resynced(); n != 1 {
			t.Errorf("%d resyncs in a quiet time", n)
		}
	})
}

func TestWatchTellsOfWhatOperatorsDo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "https://receiver.example")
		w := watch(t, d)
		id := accept(t, d, e.ID, "x")
		if _, err := d.DeadLetterJob(t.Context(), admin, id, "not needed"); err != nil {
			t.Fatal(err)
		}
		w.want(t, id, DeadLetter)
		if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{}); err != nil {
			t.Fatal(err)
		}
		w.want(t, id, Pending)
	})
}

// A job that is inserted by somebody else's transaction is told of once that has committed.
func TestWatchWaitsForTheTransaction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "https://receiver.example")
		w := watch(t, d)
		var id string
		err := d.log.Change(t.Context(), admin, func(tx *store.Tx) ([]audit.Event, error) {
			jobs, events, err := d.Insert(t.Context(), tx, admin, []NewJob{{EndpointID: e.ID, ContentType: "text/plain", Payload: []byte("x")}})
			if err != nil {
				return nil, err
			}
			id = jobs[0].ID
			time.Sleep(3 * watchGather) // it is looked for meanwhile
			return events, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.want(t, id, Pending)
	})
}

// Several servers share a PostgreSQL: each tells its watchers what the others do.
func TestWatchTellsOfOtherServers(t *testing.T) {
	st := storetest.Open(t, storetest.PostgresURL(t))
	here, there := newDispatcher(t, st, fast()), newDispatcher(t, st, fast())
	hold := make(chan struct{})
	rc := receive(t, func(int, http.ResponseWriter, *http.Request) { <-hold })
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	e := endpoint(t, there, rc.URL)
	w := watch(t, here)
	id := accept(t, there, e.ID, "x")
	w.want(t, id, Pending)
	run(t, there)
	w.want(t, id, InFlight)
	release()
	w.want(t, id, Dispatched)
}

// More than can be told becomes a Resync, and what comes after it is told again.
func TestWatchLeavesOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "https://receiver.example")
		w := watch(t, d)
		for i := range watchJobs + 1 {
			d.changes.note(fmt.Sprintf("job-%d", i)) // at once: a look-up takes them all
		}
		eventually(t, func() bool { return w.resynced() == 2 }, func() string { return fmt.Sprintf("%d resyncs", w.resynced()) })
		id := accept(t, d, e.ID, "x")
		w.want(t, id, Pending)
		d.changes.noteMany()
		eventually(t, func() bool { return w.resynced() >= 3 }, func() string { return fmt.Sprintf("%d resyncs", w.resynced()) })
	})
}

// A watcher that reads nothing holds nobody up, and learns that it has missed something.
func TestWatchIsLossyForTheSlow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "https://receiver.example")
		slow, stop := d.Watch()
		defer stop()
		quick := watch(t, d)
		id := accept(t, d, e.ID, "x")
		quick.want(t, id, Pending)
		for range watchBuffer + 10 {
			d.changes.give(id, t)
		}
		told := 0
		for drained := false; !drained; {
			select {
			case <-slow:
				told++
			default:
				drained = true
			}
		}
		if told != watchBuffer {
			t.Errorf("%d changes waited, want %d", told, watchBuffer)
		}
		select { // within a second, without another change
		case c := <-slow:
			if !c.Resync {
				t.Errorf("after a loss comes %+v", c)
			}
		case <-time.After(20 * time.Second):
			t.Error("a loss is not told of")
		}
	})
}

// give tells every watcher of a job at once, as tell does.
func (c *changes) give(id string, t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watchers {
		w.give(JobChange{Job: Job{ID: id}})
	}
}

func TestWatchCostsNothingWhenNobodyDoes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "https://receiver.example")
		changes, stop := d.Watch()
		<-changes
		stop()
		stop() // twice is once
		accept(t, d, e.ID, "x")
		d.changes.noteMany()
		if n := len(d.changes.noted); n != 0 || d.changes.left {
			t.Errorf("%d changes are noted for nobody", n)
		}
		if allocs := testing.AllocsPerRun(100, func() { d.changes.note("x"); d.changes.noteTurn(nil, claimed{}) }); allocs != 0 {
			t.Errorf("noting for nobody allocates %v times", allocs)
		}
		again, stop := d.Watch() // and it can be watched again
		defer stop()
		<-again
		id := accept(t, d, e.ID, "x")
		select {
		case c := <-again:
			if c.Job.ID != id {
				t.Errorf("told of %+v", c)
			}
		case <-time.After(20 * time.Second):
			t.Error("nothing is told the second time")
		}
	})
}
