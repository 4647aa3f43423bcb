package dispatch

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Whatever happens, in whatever order: jobs are accepted, receivers answer or do not, servers end in the
// middle, come back, or were only frozen, operators replay, give up, pause and resume. After each step
// the tables have to hold together, and in the end every job has arrived or is dead for a reason.
func TestInvariants(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		checks := "60"
		if st.Dialect() == store.Postgres { // where a step takes longer
			checks = "15"
		}
		set(t, "rapid.checks", checks)
		rc := newScripted(t)
		rapid.Check(t, func(rt *rapid.T) {
			w := newWorld(rt, t, st, rc)
			defer w.close()
			rt.Repeat(map[string]func(*rapid.T){
				"accept": w.accept, "turn": w.turn, "turn again": w.turn, "store without claiming": w.storeOnly,
				"crash": w.crash, "freeze": w.freeze, "thaw": w.thaw, "tend": w.tend, "missed beats": w.missBeats,
				"replay": w.replay, "dead-letter": w.deadLetter, "pause": w.pause, "retry": w.retryDue, "half-open": w.halfOpen, "": w.hold,
			})
			w.finish(rt)
		})
	})
}

// set sets a flag for one test.
func set(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	old := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(old) })
}

// scripted is a receiver that answers on each path as it was told last.
type scripted struct {
	*httptest.Server
	mu     sync.Mutex
	answer map[string]int // by path; 0: it breaks the connection off
	took   map[string]int // by job: how often it was answered with 2xx
	asked  map[string]int // by path
	first  []string       // jobs, as they came for the first time
	came   map[string]bool
	wrong  []string
}

func newScripted(t *testing.T) *scripted {
	rc := &scripted{}
	rc.reset()
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id := r.Header.Get("webhook-id")
		rc.mu.Lock()
		status := rc.answer[r.URL.Path]
		rc.asked[r.URL.Path]++
		if !rc.came[id] {
			rc.came[id], rc.first = true, append(rc.first, id)
		}
		if string(body) != "payload of "+r.URL.Path {
			rc.wrong = append(rc.wrong, fmt.Sprintf("%s got %q at %s", id, body, r.URL.Path))
		}
		if status/100 == 2 {
			rc.took[id]++
		}
		rc.mu.Unlock()
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(rc.Close)
	return rc
}

func (rc *scripted) reset() {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.answer, rc.took, rc.asked, rc.wrong = map[string]int{}, map[string]int{}, map[string]int{}, nil
	rc.first, rc.came = nil, map[string]bool{}
}

func (rc *scripted) set(path string, status int) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.answer[path] = status
}

// world is the model: what is known to have happened, beside what the tables say.
type world struct {
	t       *testing.T
	st      *store.Store
	rc      *scripted
	live    []*Dispatcher
	frozen  []*Dispatcher
	paths   map[string]string // by endpoint
	caps    map[string]int    // by endpoint
	ids     []string          // of endpoints
	jobs    []string
	before  map[string]jobRow
	budget  map[string]int  // how many failures the job had when its budget was made
	touched map[string]bool // by an operator, in this step
}

// jobRow is a job as the tables have it.
type jobRow struct {
	endpoint, status, reason                    string
	attempts, limit, max                        int
	due, leased, dispatched, dead, token, error bool
	order                                       jobOrder
}

// jobOrder is a job's place in its order.
type jobOrder struct {
	key        string
	place      int64
	waits, out bool
}

func newWorld(rt *rapid.T, t *testing.T, st *store.Store, rc *scripted) *world {
	rc.reset()
	for _, table := range []string{"dispatch_attempt", "dispatch_payload", "dispatch_job", "dispatch_endpoint", "dispatch_breaker", "dispatch_order", "node", `"AuditLog"`, "audit_pending"} {
		write(t, st, `delete from `+table)
	}
	w := &world{t: t, st: st, rc: rc, paths: map[string]string{}, caps: map[string]int{}, budget: map[string]int{}, touched: map[string]bool{}, before: map[string]jobRow{}}
	w.start()
	if st.Dialect() == store.Postgres {
		w.start()
	}
	for i := range rapid.IntRange(1, 3).Draw(rt, "endpoints") {
		path := fmt.Sprintf("/%d", i)
		e, _, err := w.live[0].CreateEndpoint(context.Background(), admin, NewEndpoint{
			Name: "receiver", URL: rc.URL + path,
			Concurrency: rapid.IntRange(1, 4).Draw(rt, "concurrency"), MaxAttempts: rapid.IntRange(1, 3).Draw(rt, "max attempts"),
		})
		if err != nil {
			rt.Fatal(err)
		}
		w.ids = append(w.ids, e.ID)
		w.paths[e.ID], w.caps[e.ID] = path, e.Concurrency
		rc.set(path, http.StatusOK)
	}
	return w
}

func (w *world) close() {
	for _, d := range append(w.live, w.frozen...) {
		d.transport.CloseIdleConnections()
	}
}

// start starts a server, which takes back what the one that it comes after has left.
func (w *world) start() *Dispatcher {
	o := fast()
	o.Backoff, o.Concurrency = time.Microsecond, 6
	o.Server = fmt.Sprintf("server-%d", len(w.live))
	d := newDispatcher(w.t, w.st, o)
	d.breakers = breakersOfWorld
	if err := d.register(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.live = append(w.live, d)
	return d
}

// server draws one, by its number: a failing test prints what it has drawn.
func (w *world) server(rt *rapid.T) *Dispatcher {
	return w.live[rapid.IntRange(0, len(w.live)-1).Draw(rt, "server")]
}

func (w *world) accept(rt *rapid.T) {
	d, endpoint := w.server(rt), rapid.SampledFrom(w.ids).Draw(rt, "endpoint")
	n := NewJob{EndpointID: endpoint, ContentType: "text/plain", Payload: []byte("payload of " + w.paths[endpoint])}
	n.OrderingKey = rapid.SampledFrom([]string{"", "", "k", "k", "l"}).Draw(rt, "key")
	if rapid.IntRange(0, 9).Draw(rt, "expires") == 0 {
		n.ExpireAt = time.Now().Add(20 * time.Millisecond)
	}
	a, err := d.Accept(context.Background(), admin, n, audit.Once{}, renderJob)
	if err != nil {
		rt.Fatal(err)
	}
	w.jobs = append(w.jobs, idOf(w.t, a))
}

// turn has a server claim and send. What came of it is stored by its next turn, if it has one.
func (w *world) turn(rt *rapid.T) {
	d := w.server(rt)
	for _, id := range w.ids {
		w.rc.set(w.paths[id], rapid.SampledFrom([]int{200, 204, 200, 503, 500, 429, 0, 302, 422, 410}).Draw(rt, "answer"))
	}
	w.turnOf(rt, d, true)
}

func (w *world) turnOf(rt *rapid.T, d *Dispatcher, claiming bool) {
	var deliveries sync.WaitGroup
	paused := w.closedEndpoints(rt, d)
	asked := w.askedOf(paused)
	if _, err := d.turn(context.Background(), &deliveries, claiming); err != nil {
		rt.Fatal(err)
	}
	deliveries.Wait()
	if now := w.askedOf(paused); now != asked {
		rt.Fatalf("an endpoint that is paused, or whose breaker is open, was sent to: %s, before %s", now, asked)
	}
}

func (w *world) askedOf(endpoints []string) string {
	w.rc.mu.Lock()
	defer w.rc.mu.Unlock()
	var s []string
	for _, id := range endpoints {
		s = append(s, fmt.Sprint(w.paths[id], w.rc.asked[w.paths[id]]))
	}
	return fmt.Sprint(s)
}

// breakersOfWorld open soon, and until somebody half opens them.
var breakersOfWorld = breakerRules{after: 3, wait: time.Hour, most: time.Hour}

// closedEndpoints are those that a server may not send to: paused ones, and those whose breaker is open,
// but for what an operator wants, and for what the server itself is about to tell of them.
func (w *world) closedEndpoints(rt *rapid.T, d *Dispatcher) (ids []string) {
	d.mu.Lock()
	knows := len(d.ended) > 0
	d.mu.Unlock()
	w.query(rt, `
		select e.id from dispatch_endpoint e left join dispatch_breaker b on b.endpoint_id = e.id
		 where e.paused or not $1 and b.open_until > 1
		   and not exists (select 1 from dispatch_job j where j.endpoint_id = e.id and j.due_at = 1)
		 order by e.id`, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, knows)
	return ids
}

// halfOpen lets the time of open breakers end.
func (w *world) halfOpen(*rapid.T) {
	write(w.t, w.st, `update dispatch_breaker set open_until = 1 where open_until is not null`)
}

func (w *world) storeOnly(rt *rapid.T) { w.turnOf(rt, w.server(rt), false) }

// crash ends a server without a word, with all that it knew, and starts it again.
func (w *world) crash(rt *rapid.T) {
	i := rapid.IntRange(0, len(w.live)-1).Draw(rt, "server")
	w.replaceServer(i)
}

// freeze stops a server whose successor then starts; thaw lets it go on as if nothing had been.
func (w *world) freeze(rt *rapid.T) {
	i := rapid.IntRange(0, len(w.live)-1).Draw(rt, "server")
	w.frozen = append(w.frozen, w.live[i])
	w.replaceServer(i)
}

func (w *world) replaceServer(i int) {
	gone := w.live[i]
	w.live = append(w.live[:i:i], w.live[i+1:]...)
	successor := newDispatcher(w.t, w.st, gone.o)
	successor.breakers = breakersOfWorld
	if err := successor.register(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.live = slices.Insert(w.live, i, successor)
}

func (w *world) thaw(rt *rapid.T) {
	if len(w.frozen) == 0 {
		rt.Skip("nobody is frozen")
	}
	d := w.frozen[0]
	w.frozen = w.frozen[1:]
	w.turnOf(rt, d, false)
	if err := d.unregister(context.Background()); err != nil {
		rt.Fatal(err)
	}
}

func (w *world) tend(rt *rapid.T) {
	if err := w.server(rt).tendOnce(context.Background()); err != nil {
		rt.Fatal(err)
	}
}

// missBeats lets 16 s pass without a beat for all but one server, which then takes the others' leases.
func (w *world) missBeats(rt *rapid.T) {
	write(w.t, w.st, `update node set seen_at = seen_at - 16000000`)
	w.tend(rt)
}

func (w *world) job(rt *rapid.T) string {
	if len(w.jobs) == 0 {
		rt.Skip("there is no job")
	}
	return rapid.SampledFrom(w.jobs).Draw(rt, "job")
}

// lawful fails where an operator's action ended in anything but success or a refusal that says why.
func lawful(rt *rapid.T, err error) bool {
	if err != nil && !fault.Is(err, fault.Conflict) {
		rt.Fatal(err)
	}
	return err == nil
}

func (w *world) replay(rt *rapid.T) {
	id := w.job(rt)
	r := ReplayRequest{Force: rapid.Bool().Draw(rt, "force")}
	if r.Force {
		r.Reason = "they lost it"
	}
	if rapid.Bool().Draw(rt, "new end") {
		r.ExpireAt = time.Now().Add(time.Hour)
	}
	_, err := w.server(rt).Replay(context.Background(), admin, id, r)
	if old := w.before[id]; lawful(rt, err) {
		if old.status == string(Dispatched) && !r.Force || old.status == string(InFlight) {
			rt.Fatalf("a job that was %s was replayed by %+v", old.status, r)
		}
		w.touched[id] = true
		w.budget[id] = w.failures(rt, id)
	}
}

func (w *world) deadLetter(rt *rapid.T) {
	id := w.job(rt)
	holds := w.holders(rt)[id] || w.before[id].order.waits
	_, err := w.server(rt).DeadLetterJob(context.Background(), admin, id, "not wanted")
	if old := w.before[id].status; lawful(rt, err) != (old != string(Dispatched) && (old != string(DeadLetter) || holds)) {
		rt.Fatalf("giving up a job that was %s: %v", old, err)
	}
	w.touched[id] = true
}

// holders are the jobs that hold an order although they are dead.
func (w *world) holders(rt *rapid.T) map[string]bool {
	ids := map[string]bool{}
	w.query(rt, `select j.id from dispatch_order o join dispatch_job j on j.id = o.turn_id where j.status = 'DEAD_LETTER'`, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids[id] = true
		return err
	})
	return ids
}

// holdOrders holds that of the jobs of a key one at most can be sent, that where one waits another has the
// turn, and that they came in their order.
func (w *world) holdOrders(rt *rapid.T, now map[string]jobRow) {
	type key struct{ endpoint, key string }
	turns, behind, open := map[key]string{}, map[key]int{}, map[key]int{}
	w.query(rt, `select endpoint_id, ordering_key, coalesce(turn_id, '') from dispatch_order`, func(scan func(...any) error) error {
		var k key
		var id string
		err := scan(&k.endpoint, &k.key, &id)
		turns[k] = id
		return err
	})
	for id, j := range now {
		k := key{j.endpoint, j.order.key}
		switch {
		case k.key == "":
			if j.order != (jobOrder{}) {
				rt.Fatalf("job %s has no key, and is %+v", id, j)
			}
		case j.order.waits:
			behind[k]++
			if j.due || j.leased || turns[k] == id {
				rt.Fatalf("job %s waits for its turn, and is %+v", id, j)
			}
		case j.due || j.leased:
			if open[k]++; turns[k] != id {
				rt.Fatalf("job %s is %+v, and the turn is %q's", id, j, turns[k])
			}
		}
	}
	for k, id := range turns {
		if open[k] > 1 || id == "" && behind[k]+open[k] > 0 || id != "" && open[k] == 0 && now[id].reason == "" {
			rt.Fatalf("of %v %d can be sent and %d wait, and the turn is %q's: %+v", k, open[k], behind[k], id, now[id])
		}
	}
	w.rc.mu.Lock()
	defer w.rc.mu.Unlock()
	last := map[key]int64{}
	for _, id := range w.rc.first {
		j := now[id]
		if k := (key{j.endpoint, j.order.key}); k.key != "" && !j.order.out {
			if j.order.place < last[k] {
				rt.Fatalf("job %s came behind a later one of its order: %+v", id, j)
			}
			last[k] = j.order.place
		}
	}
}

func (w *world) pause(rt *rapid.T) {
	_, err := w.server(rt).SetPaused(context.Background(), admin, rapid.SampledFrom(w.ids).Draw(rt, "endpoint"), rapid.Bool().Draw(rt, "pause"), "")
	lawful(rt, err)
}

// retryDue asks, and does not wait for what comes of it.
func (w *world) retryDue(rt *rapid.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Millisecond)
	defer cancel()
	if _, err := w.server(rt).RetryDue(ctx, admin, 5, rapid.Bool().Draw(rt, "waiting")); err != nil && ctx.Err() == nil {
		rt.Fatal(err)
	}
}

func (w *world) failures(rt *rapid.T, id string) (n int) {
	w.query(rt, `select count(*) from dispatch_attempt where job_id = $1 and outcome = 'FAILED'`, func(scan func(...any) error) error {
		return scan(&n)
	}, id)
	return n
}

func (w *world) query(rt *rapid.T, query string, each func(scan func(...any) error) error, args ...any) {
	err := w.st.Read(context.Background(), func(tx *store.Tx) error { return tx.Each(context.Background(), each, query, args...) })
	if err != nil {
		rt.Fatal(err)
	}
}

// hold holds the tables against the model and against each other. rapid calls it after each step.
func (w *world) hold(rt *rapid.T) {
	now := map[string]jobRow{}
	w.query(rt, `
		select id, endpoint_id, status, coalesce(dead_letter_reason, ''), attempt_count, attempt_budget, max_attempts, due_at is not null,
		       lease_until is not null, dispatched_at is not null, dead_lettered_at is not null, lease_token is not null, last_error is not null,
		       coalesce(ordering_key, ''), coalesce(order_place, 0), order_wait is not null, out_of_order
		  from dispatch_job`, func(scan func(...any) error) error {
		var id string
		var j jobRow
		err := scan(&id, &j.endpoint, &j.status, &j.reason, &j.attempts, &j.limit, &j.max, &j.due, &j.leased, &j.dispatched, &j.dead, &j.token, &j.error,
			&j.order.key, &j.order.place, &j.order.waits, &j.order.out)
		now[id] = j
		return err
	})
	outcomes := map[string]map[string]int{} // by job, by outcome
	ends := map[string]int{}                // by job and number: how often a lease has ended
	w.query(rt, `select job_id, number, outcome from dispatch_attempt`, func(scan func(...any) error) error {
		var id, outcome string
		var number int
		if err := scan(&id, &number, &outcome); err != nil {
			return err
		}
		if outcomes[id] == nil {
			outcomes[id] = map[string]int{}
		}
		outcomes[id][outcome]++
		if number < 1 || number > now[id].attempts {
			rt.Errorf("job %s has had %d attempts, and one has the number %d", id, now[id].attempts, number)
		}
		if key := fmt.Sprint(id, number); outcome != string(Late) {
			if ends[key]++; ends[key] > 1 {
				rt.Errorf("attempt %d of job %s has ended twice", number, id)
			}
		}
		return nil
	})
	told, last := w.events(rt)
	leases := map[string]int{}
	for _, id := range w.jobs {
		j, ok := now[id]
		if !ok {
			rt.Fatalf("the accepted job %s is gone", id)
		}
		w.holdJob(rt, id, j, outcomes[id], told[id], last[id])
		if j.leased {
			leases[j.endpoint]++
		}
	}
	if len(now) != len(w.jobs) {
		rt.Fatalf("%d jobs were accepted, and there are %d", len(w.jobs), len(now))
	}
	for endpoint, n := range leases {
		if n > w.caps[endpoint] {
			rt.Fatalf("endpoint %s has %d leases, and its cap is %d", endpoint, n, w.caps[endpoint])
		}
	}
	w.holdOrders(rt, now)
	w.rc.mu.Lock()
	wrong := w.rc.wrong
	w.rc.mu.Unlock()
	if len(wrong) > 0 {
		rt.Fatalf("%v", wrong)
	}
	w.before = now
	clear(w.touched)
}

// holdJob holds one job: what its columns say, its attempts, and its events.
func (w *world) holdJob(rt *rapid.T, id string, j jobRow, outcomes, told map[string]int, last string) {
	status := Status(j.status)
	waiting, final := status == Pending || status == Retrying, status == Dispatched || status == DeadLetter
	if j.due != (waiting && !j.order.waits) || j.leased != (status == InFlight) || j.token != j.leased || j.dispatched != (status == Dispatched) ||
		j.dead != (status == DeadLetter) || (j.reason != "") != j.dead {
		rt.Fatalf("job %s does not hold together: %+v", id, j)
	}
	if old := w.before[id]; (old.status == string(Dispatched) || old.status == string(DeadLetter)) && !w.touched[id] && j.but(old) != old {
		rt.Fatalf("job %s was at its end as %+v and is %+v", id, old, j)
	}
	// The budget counts failures, and nothing that was not the receiver's.
	failed := outcomes[string(Failed)] - w.budget[id]
	if failed > j.max || failed == j.max && !final || j.reason == string(Exhausted) && failed != j.max || j.limit-j.attempts > j.max {
		rt.Fatalf("job %s with a budget of %d has failed %d times and is %+v", id, j.max, failed, j)
	}
	if status == Dispatched && w.took(id) == 0 {
		rt.Fatalf("job %s is dispatched, and nobody has taken it", id)
	}
	// Each end of an attempt has its event, and the last event says where the job stands.
	for outcome, events := range map[Outcome]int{
		Delivered: told["dispatch.job.dispatched"], Interrupted: told["dispatch.attempt.interrupted"], Late: told["dispatch.attempt.late"],
		Failed: told["dispatch.attempt.failed"] + told["EXHAUSTED"] + told["PERMANENT"] + told["BLOCKED"],
	} {
		if outcomes[string(outcome)] != events {
			rt.Fatalf("job %s has %d attempts that were %s and %d events of them: %v, %v", id, outcomes[string(outcome)], outcome, events, outcomes, told)
		}
	}
	allowed := map[string][]Status{
		"dispatch.job.accepted": {Pending, InFlight}, "dispatch.job.replayed": {Pending, InFlight},
		"dispatch.attempt.failed": {Retrying, InFlight}, "dispatch.attempt.interrupted": {Retrying, InFlight},
		"dispatch.job.dispatched": {Dispatched}, "dispatch.job.dead_lettered": {DeadLetter},
	}[last]
	if !slices.Contains(allowed, status) {
		rt.Fatalf("the last event of job %s is %q, and it is %s", id, last, status)
	}
	if told["dispatch.job.accepted"] != 1 {
		rt.Fatalf("job %s was accepted %d times", id, told["dispatch.job.accepted"])
	}
}

// but is a row, but for whether it waits in its order, which another's replay can change.
func (j jobRow) but(old jobRow) jobRow {
	j.order.waits = old.order.waits
	return j
}

func (w *world) took(id string) int {
	w.rc.mu.Lock()
	defer w.rc.mu.Unlock()
	return w.rc.took[id]
}

// events counts each job's events by action, and dead letters by reason, and gives its last one but for
// late answers, which change nothing.
func (w *world) events(rt *rapid.T) (told map[string]map[string]int, last map[string]string) {
	told, last = map[string]map[string]int{}, map[string]string{}
	w.query(rt, `select entity_id, action, body from "AuditLog" where entity = 'DispatchJob' and entity_id is not null order by id`,
		func(scan func(...any) error) error {
			var id, action, body string
			if err := scan(&id, &action, &body); err != nil {
				return err
			}
			if told[id] == nil {
				told[id] = map[string]int{}
			}
			told[id][action]++
			for _, reason := range []Reason{Exhausted, Permanent, Blocked} {
				if action == "dispatch.job.dead_lettered" && strings.Contains(body, string(reason)) {
					told[id][string(reason)]++
				}
			}
			if action != "dispatch.attempt.late" {
				last[id] = action
			}
			return nil
		})
	return told, last
}

// finish lets receivers be well and endpoints be open. Then no job stays behind.
func (w *world) finish(rt *rapid.T) {
	for _, path := range w.paths {
		w.rc.set(path, http.StatusOK)
	}
	w.missBeats(rt) // the frozen, and what they hold, are given up
	for range 20*len(w.jobs) + 20 {
		for _, id := range w.ids { // a 410 may still be on its way into the tables
			if _, err := w.live[0].SetPaused(context.Background(), admin, id, false, ""); err != nil {
				rt.Fatal(err)
			}
		}
		w.halfOpen(rt)
		for id := range w.holders(rt) {
			if _, err := w.live[0].DeadLetterJob(context.Background(), admin, id, "the end"); err != nil {
				rt.Fatal(err)
			}
			w.touched[id] = true
		}
		for _, d := range w.live {
			if err := d.expire(context.Background()); err != nil {
				rt.Fatal(err)
			}
			w.turnOf(rt, d, true)
		}
		w.hold(rt)
		open := 0
		for _, j := range w.before {
			if j.status != string(Dispatched) && j.status != string(DeadLetter) {
				open++
			}
		}
		if open == 0 {
			return
		}
	}
	rt.Fatalf("jobs are stuck: %+v", w.before)
}
