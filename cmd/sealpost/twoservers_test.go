package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"sealpost/client"
	"sealpost/store"
	"sealpost/store/storetest"
)

// twoCap is each endpoint's limit of what is in flight, over all servers.
const twoCap = 4

// twoServers makes ready two servers on one PostgreSQL, with the same secrets. Neither runs yet.
func twoServers(t *testing.T) (databaseURL string, a, b *process) {
	t.Helper()
	env := []string{
		"PUBLIC_URL=http://localhost:4000", fmt.Sprintf("DISPATCH_ENDPOINT_CONCURRENCY=%d", twoCap), "DISPATCH_TIMEOUT_SECONDS=120",
	}
	for _, name := range []string{"JWT_SECRET", "DATA_ENCRYPTION_KEY", "AUDIT_SIGNING_KEY"} {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret)
		env = append(env, name+"="+base64.StdEncoding.EncodeToString(secret))
	}
	databaseURL = storetest.PostgresURL(t)
	return databaseURL, newProcess(t, databaseURL, env...), newProcess(t, databaseURL, env...)
}

// countingReceiver is a receiver that knows what arrived, how often, and how much it had in its hands at a
// time. A job that says "hold" stays there, the first time, until let is called, and is answered as let says.
type countingReceiver struct {
	*httptest.Server
	mu      sync.Mutex
	arrived map[string]int // answered with 2xx, by webhook-id
	seen    map[string]int // by webhook-id, whatever the answer
	inHand  map[string]int // by path, which is the endpoint
	most    map[string]int
	again   map[string]time.Time // when a held one came for the second time
	let     func(status int)
}

func newCountingReceiver(t *testing.T) *countingReceiver {
	t.Helper()
	held, status := make(chan struct{}), 0
	rc := &countingReceiver{
		arrived: map[string]int{}, seen: map[string]int{}, inHand: map[string]int{}, most: map[string]int{}, again: map[string]time.Time{},
	}
	var once sync.Once
	rc.let = func(s int) { once.Do(func() { status = s; close(held) }) }
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id := r.Header.Get("webhook-id")
		rc.mu.Lock()
		rc.seen[id]++
		first := rc.seen[id] == 1
		if rc.seen[id] == 2 {
			rc.again[id] = time.Now()
		}
		rc.inHand[r.URL.Path]++
		rc.most[r.URL.Path] = max(rc.most[r.URL.Path], rc.inHand[r.URL.Path])
		rc.mu.Unlock()
		answer := http.StatusOK
		switch {
		case string(body) == "hold" && first:
			rc.mu.Lock()
			rc.inHand[r.URL.Path]-- // its lease is taken away while it is here, as the test wants it
			rc.mu.Unlock()
			select {
			case <-held:
				answer = status
			case <-r.Context().Done():
				return
			}
			w.WriteHeader(answer)
			return
		case mathrand.IntN(20) == 0:
			answer = http.StatusServiceUnavailable
		}
		time.Sleep(50 * time.Millisecond)
		rc.mu.Lock()
		rc.inHand[r.URL.Path]--
		if answer == http.StatusOK {
			rc.arrived[id]++
		}
		rc.mu.Unlock()
		w.WriteHeader(answer)
	}))
	t.Cleanup(func() {
		rc.let(http.StatusServiceUnavailable)
		rc.Close()
	})
	return rc
}

func (rc *countingReceiver) seenTimes(id string) int {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.seen[id]
}

// missing tells which of the ids have not been taken.
func (rc *countingReceiver) missing(ids []string) (list []string) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, id := range ids {
		if rc.arrived[id] == 0 {
			list = append(list, id)
		}
	}
	return list
}

// posting posts jobs to a server until it is stopped, whatever becomes of the server, and keeps the ids of
// those that were answered 202.
type posting struct {
	mu       sync.Mutex
	accepted []string
	stop     func()
}

func post(t *testing.T, p *process, endpoints []string, refused func(error)) *posting {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	load := &posting{}
	var wg sync.WaitGroup
	load.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(load.stop)
	for range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				var answer one
				err := p.api.Call(ctx, "POST", "/api/dispatch/jobs", map[string]any{
					"endpointId": endpoints[i%len(endpoints)], "contentType": "application/json", "payload": map[string]int{"i": i},
				}, &answer)
				switch {
				case err == nil:
					load.mu.Lock()
					load.accepted = append(load.accepted, answer.Job.ID)
					load.mu.Unlock()
				case ctx.Err() == nil:
					refused(err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(40 * time.Millisecond): // the load is to last and not to be large
				}
			}
		})
	}
	return load
}

func (l *posting) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.accepted)
}

// noProblem fails the test where a server has answered with an error. That it is gone is no answer.
func noProblem(t *testing.T) func(error) {
	var once sync.Once
	return func(err error) {
		if client.StatusOf(err) != 0 {
			once.Do(func() { t.Errorf("a job was refused: %v", err) })
		}
	}
}

// await waits until a condition holds, for a minute at most.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come to pass that %s", what)
		}
	}
}

// accept posts one job.
func (p *process) accept(endpoint, payload string) string {
	p.t.Helper()
	var answer one
	p.must("POST", "/api/dispatch/jobs", map[string]any{"endpointId": endpoint, "contentType": "text/plain", "payload": payload}, &answer)
	return answer.Job.ID
}

// history is what a job's page says.
type history struct {
	Job struct {
		Status   string
		Attempts []struct {
			Number     int
			Outcome    string
			StatusCode int
		}
	}
}

func (p *process) history(id string) (h history) {
	p.t.Helper()
	p.must("GET", "/api/admin/dispatch/jobs/"+id, nil, &h)
	return h
}

func (h history) outcomes() (list []string) {
	for _, a := range h.Job.Attempts {
		list = append(list, a.Outcome)
	}
	slices.Sort(list)
	return list
}

// holdOn starts the first of two servers and leaves it with as many jobs in its hands as one endpoint may
// have, each waiting for the receiver's answer. Then it starts the second, and puts both under load.
func holdOn(t *testing.T, rc *countingReceiver, a, b *process) (held []string, endpoints []string, onA, onB *posting) {
	t.Helper()
	a.start()
	a.firstAdmin()
	hold := a.endpoint(rc.URL + "/hold")
	var quick []string
	for range 2 * twoCap { // by which the endpoint earns all that it may have
		quick = append(quick, a.accept(hold, "quick"))
	}
	await(t, "the receiver takes", func() bool { return len(rc.missing(quick)) == 0 })
	for range twoCap {
		held = append(held, a.accept(hold, "hold"))
	}
	await(t, "the jobs to be held are at the receiver", func() bool {
		return !slices.ContainsFunc(held, func(id string) bool { return rc.seenTimes(id) == 0 })
	})
	// No more of these are sent: the endpoint has all that it may have, on whichever server.
	held = append(held, a.accept(hold, "one too many"))
	endpoints = []string{a.endpoint(rc.URL + "/1"), a.endpoint(rc.URL + "/2"), a.endpoint(rc.URL + "/3")}
	b.start()
	b.api.Token = a.api.Token
	onA, onB = post(t, a, endpoints, noProblem(t)), post(t, b, endpoints, noProblem(t))
	await(t, "both servers accept and the receiver takes", func() bool {
		return len(onA.ids()) > 50 && len(onB.ids()) > 50 && len(rc.missing(onA.ids())) < len(onA.ids())
	})
	await(t, "the endpoints are as busy as they may be", func() bool {
		rc.mu.Lock()
		defer rc.mu.Unlock()
		return rc.most["/1"] >= twoCap && rc.most["/2"] >= twoCap && rc.most["/3"] >= twoCap
	})
	if n := rc.seenTimes(held[twoCap]); n != 0 {
		t.Errorf("an endpoint that has %d jobs in its hands was sent another one", twoCap)
	}
	return held, endpoints, onA, onB
}

// checkTaken holds what was accepted against what arrived, and the caps against what the receiver had in
// its hands, and looks into the database.
func checkTaken(t *testing.T, rc *countingReceiver, p *process, databaseURL string, ids []string) {
	t.Helper()
	await(t, "every accepted job arrives", func() bool { return len(rc.missing(ids)) == 0 })
	waitUntilNothingIsUnfinished(t, p)
	if err := p.stop(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if want := map[string]int{"/1": twoCap, "/2": twoCap, "/3": twoCap, "/hold": rc.most["/hold"]}; !maps.Equal(rc.most, want) || rc.most["/hold"] > twoCap {
		t.Errorf("the receiver had at most %v in its hands, and %d at each endpoint is the cap", rc.most, twoCap)
	}
	twice := 0
	for _, n := range rc.arrived {
		if n > 1 {
			twice++
		}
	}
	t.Logf("%d jobs accepted, all taken, %d more than once", len(ids), twice)
	checkNothingHalfWritten(t, databaseURL)
}

// watchLeases counts what the database says is in flight at each endpoint, all the while, and fails the test
// where it is more than the cap.
func watchLeases(t *testing.T, databaseURL string) (stop func()) {
	t.Helper()
	st := storetest.Open(t, databaseURL)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			var most int
			err := st.Read(ctx, func(tx *store.Tx) error {
				return tx.QueryRow(ctx, `select coalesce(max(n), 0) from (select count(*) as n from dispatch_job
					where lease_until is not null group by endpoint_id) leased`).Scan(&most)
			})
			if ctx.Err() == nil && (err != nil || most > twoCap) {
				t.Errorf("an endpoint has %d leases, of %d: %v", most, twoCap, err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return stop
}

// TestOneOfTwoServersIsKilled kills one of two servers under load, which never comes back. The other one
// goes on at once with what is its own, takes over what the dead one had in its hands when that is 15 s
// silent, and not before, and no endpoint ever has more than its cap.
func TestOneOfTwoServersIsKilled(t *testing.T) {
	t.Parallel()
	databaseURL, a, b := twoServers(t)
	rc := newCountingReceiver(t)
	held, _, onA, onB := holdOn(t, rc, a, b)
	stopWatch := watchLeases(t, databaseURL)
	a.kill()
	killed := time.Now()
	onA.stop()
	before := len(onB.ids())
	await(t, "the other server goes on", func() bool {
		ids := onB.ids()
		return len(ids) > before+50 && len(rc.missing(ids[before:before+50])) == 0
	})
	await(t, "what the dead server was sending is sent again", func() bool { return len(rc.missing(held)) == 0 })
	rc.mu.Lock()
	first, last := time.Hour, time.Duration(0)
	for _, id := range held[:twoCap] {
		first, last = min(first, rc.again[id].Sub(killed)), max(last, rc.again[id].Sub(killed))
	}
	rc.mu.Unlock()
	t.Logf("a server that never returns: its jobs are sent again after %.1f to %.1f s", first.Seconds(), last.Seconds())
	if first < 10*time.Second { // a second's beat, and whatever the machine was late, before the 15 s
		t.Errorf("after %v nobody knows yet that the server is dead", first)
	}
	onB.stop()
	stopWatch()
	checkTaken(t, rc, b, databaseURL, slices.Concat(held, onA.ids(), onB.ids()))
}

// TestOneOfTwoServersIsFrozen stops one of two servers under load, for longer than its leases last, and wakes
// it: by then the other one has delivered what it had in its hands, and the answers that it finds, which
// say that the jobs are to die, change nothing. Then it works on.
func TestOneOfTwoServersIsFrozen(t *testing.T) {
	t.Parallel()
	databaseURL, a, b := twoServers(t)
	rc := newCountingReceiver(t)
	held, endpoints, onA, onB := holdOn(t, rc, a, b)
	stopWatch := watchLeases(t, databaseURL)
	if err := a.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	onA.stop()
	await(t, "what the frozen server has in its hands is delivered by the other", func() bool { return len(rc.missing(held)) == 0 })
	await(t, "so is all that was accepted", func() bool { return len(rc.missing(onA.ids())) == 0 })
	await(t, "it is known to be delivered", func() bool {
		return !slices.ContainsFunc(held, func(id string) bool { return b.history(id).Job.Status != "DISPATCHED" })
	})
	rc.let(http.StatusBadRequest) // PERMANENT, were it believed
	if err := a.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, id := range held[:twoCap] {
		await(t, "the woken server's answer is kept as late", func() bool {
			return slices.Contains(b.history(id).outcomes(), "LATE")
		})
		h := b.history(id)
		if got := h.outcomes(); h.Job.Status != "DISPATCHED" || !slices.Contains(got, "DELIVERED") || !slices.Contains(got, "INTERRUPTED") {
			t.Errorf("a job that was delivered while its first server was frozen is %s, its attempts %v", h.Job.Status, got)
		}
	}
	onB.stop()
	// From now on all that arrives is of the woken one.
	if err := b.stop(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	woken := post(t, a, endpoints, noProblem(t))
	await(t, "the woken server works", func() bool {
		ids := woken.ids()
		return len(ids) > 50 && len(rc.missing(ids[:50])) == 0
	})
	woken.stop()
	stopWatch()
	checkTaken(t, rc, a, databaseURL, slices.Concat(held, onA.ids(), onB.ids(), woken.ids()))
}
