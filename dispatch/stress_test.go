package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// failing is a logger for dispatchers that have nothing to complain about.
func failing(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(failWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type failWriter struct{ t *testing.T }

func (w failWriter) Write(p []byte) (int, error) {
	w.t.Errorf("the dispatcher logs: %s", p)
	return len(p), nil
}

// Two servers deliver while operators do all that they may, everywhere at once. Nobody is told of a
// deadlock, no cap is passed, nothing is lost, and in the end nothing is left over.
func TestServersAndOperatorsAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		lasts := 3 * time.Second
		if testing.Short() {
			lasts = time.Second
		}
		rc := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(rand.N(3 * time.Millisecond))
			switch n := rand.N(100); {
			case n < 2:
				w.WriteHeader(http.StatusGone)
			case n < 10:
				w.WriteHeader(http.StatusServiceUnavailable)
			case n < 12:
				w.WriteHeader(http.StatusUnprocessableEntity)
			case n < 14:
				panic(http.ErrAbortHandler)
			}
		}))
		t.Cleanup(rc.Close)
		o := fast()
		o.Backoff, o.MaxAttempts, o.Concurrency, o.Logger = 2*time.Millisecond, 4, 32, failing(t)
		servers := []*Dispatcher{newDispatcher(t, st, o)}
		if st.Dialect() == store.Postgres {
			servers = append(servers, newDispatcher(t, st, o))
		}
		r := &riot{t: t, servers: servers, url: rc.URL, accepted: map[string]bool{}}
		for range 6 {
			r.createEndpoint(t.Context(), servers[0])
		}
		for _, d := range servers {
			run(t, d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { r.loop(ctx, r.accept) })
		}
		for _, action := range []func(context.Context, *Dispatcher) error{
			r.replay, r.deadLetter, r.pause, r.change, r.rotate, r.retryDue, r.delete, r.takeBack, r.countLeases, r.replay,
		} {
			all.Go(func() { r.loop(ctx, action) })
		}
		all.Wait()

		// The riot is over.
		quiet := func() int {
			list, err := servers[0].Endpoints(t.Context(), store.Page{Limit: 200})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list.Items {
				if e.Paused {
					if _, err := servers[0].SetPaused(t.Context(), admin, e.ID, false, ""); err != nil {
						t.Fatal(err)
					}
				}
			}
			return count(t, servers[0], `select count(*) from dispatch_job where status not in ('DISPATCHED', 'DEAD_LETTER')`)
		}
		eventually(t, func() bool { return quiet() == 0 }, func() string { return fmt.Sprintf("%d jobs are stuck", quiet()) })
		if n := count(t, servers[0], `select count(*) from dispatch_job`); n != len(r.accepted) {
			t.Errorf("%d jobs were accepted, and there are %d", len(r.accepted), n)
		}
		if n := count(t, servers[0], `select count(*) from dispatch_job where due_at is not null or lease_until is not null`); n != 0 {
			t.Errorf("%d finished jobs are due or leased", n)
		}
		if st.Dialect() == store.Postgres {
			t.Logf("%d deadlocks that nobody was told of", count(t, servers[0], `select deadlocks from pg_stat_database where datname = current_database()`))
		}
		t.Logf("%d jobs, %d actions of operators, %d refused", len(r.accepted), r.done.Load(), r.refused.Load())
	})
}

// riot is many operators at once.
type riot struct {
	t       *testing.T
	servers []*Dispatcher
	url     string

	mu        sync.Mutex
	endpoints []string
	jobs      []string
	accepted  map[string]bool

	done, refused atomic.Int64
}

// loop does something until the time is over. What is refused for a reason is refused, and where the
// machine is too busy for a new connection to be made in time that is told; all else fails.
func (r *riot) loop(ctx context.Context, action func(context.Context, *Dispatcher) error) {
	for ctx.Err() == nil {
		err := action(ctx, r.servers[rand.N(len(r.servers))])
		switch fault.Of(err) {
		case fault.Conflict, fault.NotFound, fault.Invalid:
			r.refused.Add(1)
		default:
			if _, unreached := errors.AsType[*pgconn.ConnectError](err); unreached {
				r.refused.Add(1)
			} else if err != nil && ctx.Err() == nil {
				r.t.Errorf("an operator was told: %v", err)
				return
			}
		}
		r.done.Add(1)
		time.Sleep(rand.N(2 * time.Millisecond))
	}
}

func (r *riot) pick(list *[]string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(*list) == 0 {
		return store.NewID()
	}
	if n := len(*list); n > 200 && rand.N(2) == 0 {
		return (*list)[n-1-rand.N(50)] // one that is still on its way
	}
	return (*list)[rand.N(len(*list))]
}

func (r *riot) createEndpoint(ctx context.Context, d *Dispatcher) {
	e, _, err := d.CreateEndpoint(ctx, admin, NewEndpoint{Name: "receiver", URL: r.url, Concurrency: 1 + rand.N(4)})
	if err != nil {
		if ctx.Err() == nil {
			r.t.Error(err)
		}
		return
	}
	r.mu.Lock()
	r.endpoints = append(r.endpoints, e.ID)
	r.mu.Unlock()
}

func (r *riot) accept(ctx context.Context, d *Dispatcher) error {
	// Its own context: one that is cut off with the riot would not know whether it was accepted.
	a, err := d.Accept(context.WithoutCancel(ctx), admin, NewJob{EndpointID: r.pick(&r.endpoints), ContentType: "text/plain", Payload: []byte("x")},
		audit.Once{}, renderJob)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := idOf(r.t, a)
	r.jobs, r.accepted[id] = append(r.jobs, id), true
	return nil
}

func (r *riot) replay(ctx context.Context, d *Dispatcher) error {
	_, err := d.Replay(ctx, admin, r.pick(&r.jobs), ReplayRequest{Force: true, Reason: "again"})
	return err
}

func (r *riot) deadLetter(ctx context.Context, d *Dispatcher) error {
	_, err := d.DeadLetterJob(ctx, admin, r.pick(&r.jobs), "not wanted")
	return err
}

func (r *riot) pause(ctx context.Context, d *Dispatcher) error {
	_, err := d.SetPaused(ctx, admin, r.pick(&r.endpoints), rand.N(3) == 0, "")
	return err
}

func (r *riot) change(ctx context.Context, d *Dispatcher) error {
	_, err := d.ChangeEndpoint(ctx, admin, r.pick(&r.endpoints), EndpointChange{Name: new(fmt.Sprint(rand.N(100))), TimeoutSeconds: new(1 + rand.N(9))})
	return err
}

func (r *riot) rotate(ctx context.Context, d *Dispatcher) error {
	_, _, err := d.RotateSecret(ctx, admin, r.pick(&r.endpoints), time.Duration(rand.N(2))*time.Hour)
	return err
}

func (r *riot) retryDue(ctx context.Context, d *Dispatcher) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err := d.RetryDue(ctx, admin, 1+rand.N(50), rand.N(2) == 0)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// delete deletes an endpoint if it can, and makes another in its place.
func (r *riot) delete(ctx context.Context, d *Dispatcher) error {
	id := r.pick(&r.endpoints)
	err := d.DeleteEndpoint(ctx, admin, id)
	if err == nil {
		r.createEndpoint(ctx, d)
	}
	return err
}

// takeBack is what another server does that thinks this one dead.
func (r *riot) takeBack(ctx context.Context, d *Dispatcher) error {
	_, err := d.takeBack(ctx, `lease_node = $1 and endpoint_id = $2`, d.log.Writer(), r.pick(&r.endpoints))
	return err
}

func (r *riot) countLeases(ctx context.Context, d *Dispatcher) error {
	return d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var id string
			var leases, limit int
			err := scan(&id, &leases, &limit)
			r.t.Errorf("endpoint %s has %d leases, and its cap is %d", id, leases, limit)
			return err
		}, `select e.id, count(*), e.concurrency from dispatch_endpoint e join dispatch_job j on j.endpoint_id = e.id
		     where j.lease_until is not null group by e.id, e.concurrency having count(*) > e.concurrency`)
	})
}

// Requests are withdrawn at any moment. One that was is not stored, one that was answered is, and the
// queue goes on.
func TestAcceptUnderCancellation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		rounds := 12
		if testing.Short() {
			rounds = 3
		}
		var answered, withdrawn atomic.Int64
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				for j := range rounds {
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(4*time.Millisecond))
					once := audit.Once{}
					if i%5 == 0 { // with a key, and some of them with the same
						once = audit.Once{Caller: "c", Route: "r", Key: fmt.Sprint(i/10, j), Body: []byte("x")}
					}
					a, err := d.Accept(ctx, admin, NewJob{EndpointID: e.ID, ContentType: "text/plain", Payload: []byte("x")}, once, renderJob)
					switch {
					case err == nil && once.Keyed(): // the first one's answer may be another's
						if n := count(t, d, `select count(*) from dispatch_job where id = $1`, idOf(t, a)); n != 1 {
							t.Errorf("answered with a job of which there are %d", n)
						}
					case err == nil:
						answered.Add(1)
					case errors.Is(err, context.DeadlineExceeded):
						withdrawn.Add(1)
					default:
						t.Error(err)
					}
					cancel()
				}
			})
		}
		all.Wait()
		keyed := count(t, d, `select count(*) from idempotency`)
		if n := count(t, d, `select count(*) from dispatch_job`); n != int(answered.Load())+keyed {
			t.Errorf("%d were answered and %d by key, and there are %d jobs", answered.Load(), keyed, n)
		}
		if answered.Load() == 0 || withdrawn.Load() == 0 {
			t.Errorf("%d answered, %d withdrawn: both were meant to happen", answered.Load(), withdrawn.Load())
		}
		d.accept.mu.Lock()
		if d.accept.running || len(d.accept.waiting) > 0 {
			t.Errorf("the queue is left running %v with %d waiting", d.accept.running, len(d.accept.waiting))
		}
		d.accept.mu.Unlock()
		accept(t, d, e.ID, "the queue still works")
	})
}

// What goes wrong about one request in a batch is its own: the others are accepted.
func TestABatchSurvivesOneOfIts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		var batch []*acceptance
		for i := range 6 {
			p, err := d.prepare(t.Context(), NewJob{EndpointID: e.ID, ContentType: "text/plain"})
			if err != nil {
				t.Fatal(err)
			}
			a := &acceptance{by: admin, job: p, render: renderJob, lead: make(chan struct{}), done: make(chan struct{})}
			switch i {
			case 1:
				a.render = func(Job) audit.Answer { panic("a bug") }
			case 3:
				a.job.ContentType = "text/\x00" // which no database takes
			case 5:
				a.job.EndpointID = store.NewID()
			}
			batch = append(batch, a)
		}
		d.acceptBatch(t.Context(), batch)
		for i, a := range batch {
			<-a.done
			if failed := i%2 == 1; (a.err != nil) != failed {
				t.Errorf("request %d: %v", i, a.err)
			}
		}
		if n := count(t, d, `select count(*) from dispatch_job`); n != 3 {
			t.Errorf("%d jobs, want 3", n)
		}
	})
}

// One key on several servers at once makes one job, and all hear of that one.
func TestOneKeyOnTwoServers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		servers := []*Dispatcher{newDispatcher(t, st, fast()), newDispatcher(t, st, fast())}
		e := endpoint(t, servers[0], "http://127.0.0.1:9/")
		for round := range 5 {
			answers := make([]string, 16)
			var all sync.WaitGroup
			for i := range answers {
				all.Go(func() {
					once := audit.Once{Caller: "c", Route: "r", Key: fmt.Sprint("k", round), Body: []byte("x")}
					a, err := servers[i%2].Accept(t.Context(), admin, NewJob{EndpointID: e.ID, ContentType: "text/plain", Payload: []byte("x")}, once, renderJob)
					if err != nil {
						t.Error(err)
					}
					answers[i] = string(a.Body)
				})
			}
			all.Wait()
			for _, a := range answers {
				if a == "" || a != answers[0] {
					t.Errorf("answered %q, and another %q", a, answers[0])
				}
			}
			if n := count(t, servers[0], `select count(*) from dispatch_job`); n != round+1 {
				t.Fatalf("%d jobs, want %d", n, round+1)
			}
		}
	})
}
