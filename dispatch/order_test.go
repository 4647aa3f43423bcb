package dispatch

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestOrderDecisions(t *testing.T) {
	o := order{}
	for i, want := range []bool{false, true, true} {
		if place, waits := o.join(fmt.Sprint("job", i+1)); place != int64(i+1) || waits != want {
			t.Errorf("job %d has place %d, and waits: %v", i+1, place, waits)
		}
	}
	if o != (order{3, 1, "job1"}) {
		t.Errorf("the order is %+v", o)
	}
	for _, tt := range []struct {
		name                    string
		o                       order
		place                   int64
		free, takes, outOfOrder bool
	}{
		{"it holds its order", order{5, 2, "x"}, 2, true, false, false},
		{"nobody waits, and none came after it", order{5, 0, ""}, 5, true, false, false},
		{"nobody waits, and later ones were sent", order{5, 0, ""}, 2, true, false, true},
		{"a later one has the turn", order{5, 4, "x"}, 2, false, true, true},
		{"an earlier one has the turn", order{5, 1, "x"}, 2, false, false, false},
	} {
		if free, takes, out := tt.o.rejoin(tt.place); free != tt.free || takes != tt.takes || out != tt.outOfOrder {
			t.Errorf("%s: free %v, takes %v, out of order %v", tt.name, free, takes, out)
		}
	}
	for _, tt := range []struct {
		status Status
		reason Reason
		want   bool
	}{
		{Dispatched, "", true},
		{Retrying, "", false},
		{DeadLetter, Operator, true},
		{DeadLetter, Expired, true},
		{DeadLetter, Exhausted, false},
		{DeadLetter, Permanent, false},
		{DeadLetter, Blocked, false},
	} {
		if got := releases(tt.status, tt.reason); got != tt.want {
			t.Errorf("%s %s releases: %v", tt.status, tt.reason, got)
		}
	}
	for key, good := range map[string]bool{"": true, strings.Repeat("k", 255): true, strings.Repeat("k", 256): false, "a\nb": false, "\xff": false, "Köln 7": true} {
		if err := checkOrderingKey(key); (err == nil) != good || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// acceptOrdered accepts a job of a key.
func acceptOrdered(t *testing.T, d *Dispatcher, endpointID, key, payload string) string {
	t.Helper()
	a, err := d.Accept(t.Context(), admin, NewJob{EndpointID: endpointID, ContentType: "text/plain", Payload: []byte(payload), OrderingKey: key}, audit.Once{}, renderJob)
	if err != nil {
		t.Fatal(err)
	}
	return idOf(t, a)
}

// Whatever fails and however many servers send: the jobs of a key arrive one after another, each only when
// the one before is through, and those of other keys and of none do not wait for them.
func TestOrderHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Backoff, o.MaxAttempts = time.Millisecond, 50
		servers := []*Dispatcher{newDispatcher(t, st, o), newDispatcher(t, st, o)}
		var mu sync.Mutex
		now := map[string]bool{}       // the keys that are being sent
		through := map[string]string{} // by key: what was taken, in its order
		rc := receive(t, func(n int, w http.ResponseWriter, r *http.Request) {
			key, number, _ := strings.Cut(r.Header.Get("Content-Type"), "; n=")
			mu.Lock()
			if key != "text/none" && now[key] {
				t.Errorf("two of %s are sent at once", key)
			}
			now[key] = true
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			now[key] = false
			if n%4 == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			through[key] += number + " "
		})
		e := endpoint(t, servers[0], rc.URL)
		want := ""
		for i := range 12 {
			want += fmt.Sprint(i, " ")
			var jobs []NewJob
			for _, key := range []string{"a", "b", ""} {
				contentType := fmt.Sprintf("text/%s; n=%d", map[string]string{"": "none"}[key]+key, i)
				n := NewJob{EndpointID: e.ID, ContentType: contentType, OrderingKey: key}
				if i%3 == 0 { // some of them together
					jobs = append(jobs, n)
					continue
				}
				if _, err := servers[i%2].Accept(t.Context(), admin, n, audit.Once{}, renderJob); err != nil {
					t.Fatal(err)
				}
			}
			if len(jobs) > 0 {
				if _, err := servers[i%2].AcceptMany(t.Context(), admin, jobs, audit.Once{}, renderIDs); err != nil {
					t.Fatal(err)
				}
			}
		}
		run(t, servers[0])
		if st.Dialect() == store.Postgres {
			run(t, servers[1])
		}
		eventually(t, func() bool {
			return count(t, servers[0], `select count(*) from dispatch_job where status <> 'DISPATCHED'`) == 0
		}, func() string { return "not all are through" })
		mu.Lock()
		defer mu.Unlock()
		for _, key := range []string{"text/a", "text/b"} {
			if through[key] != want {
				t.Errorf("of %s were taken %s", key, through[key])
			}
		}
		if n := count(t, servers[0], `select count(*) from dispatch_order where turn = 0 and turn_id is null and last_place = 12`); n != 2 {
			t.Errorf("%d orders have nobody waiting", n)
		}
	})
}

// A job that dies holds those behind it until an operator replays it or gives it up; what an operator gave
// up, and what is over, holds nobody. What is replayed later is marked.
func TestWhatHoldsAnOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		var mu sync.Mutex
		bad := map[string]bool{}
		var taken []string
		rc := receive(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if bad[r.Header.Get("webhook-id")] {
				w.WriteHeader(http.StatusUnprocessableEntity)
				return
			}
			taken = append(taken, r.Header.Get("webhook-id"))
		})
		setBad := func(id string, is bool) { mu.Lock(); defer mu.Unlock(); bad[id] = is }
		e := endpoint(t, d, rc.URL)
		pause := func(is bool) {
			t.Helper()
			if _, err := d.SetPaused(t.Context(), admin, e.ID, is, ""); err != nil {
				t.Fatal(err)
			}
		}
		waits := func(id string) {
			t.Helper()
			time.Sleep(2 * pollEvery)
			if job, err := d.Get(t.Context(), admin, id); err != nil || job.Status != Pending || !job.NextRetryAt.IsZero() || job.AttemptCount != 0 {
				t.Fatalf("the job behind is %+v (%v)", job, err)
			}
		}
		replay := func(id string, outOfOrder bool) {
			t.Helper()
			job, err := d.Replay(t.Context(), admin, id, ReplayRequest{Force: true, Reason: "again"})
			if err != nil || job.OutOfOrder != outOfOrder {
				t.Fatalf("replayed as %+v (%v)", job, err)
			}
		}
		giveUp := func(id string) {
			t.Helper()
			if job, err := d.DeadLetterJob(t.Context(), admin, id, "not wanted"); err != nil || job.DeadLetterReason != Operator {
				t.Fatalf("given up as %+v (%v)", job, err)
			}
		}
		run(t, d)

		// The first dies and holds the second; replayed, it goes before it.
		pause(true)
		first, second := acceptOrdered(t, d, e.ID, "k", "1"), acceptOrdered(t, d, e.ID, "k", "2")
		setBad(first, true)
		pause(false)
		await(t, d, first, DeadLetter)
		waits(second)
		setBad(first, false)
		replay(first, false)
		await(t, d, second, Dispatched)

		// The third dies and is given up, dead as it is: the fourth goes. The third, replayed, is out of order.
		pause(true)
		third, fourth := acceptOrdered(t, d, e.ID, "k", "3"), acceptOrdered(t, d, e.ID, "k", "4")
		setBad(third, true)
		pause(false)
		await(t, d, third, DeadLetter)
		waits(fourth)
		giveUp(third)
		await(t, d, fourth, Dispatched)
		if _, err := d.DeadLetterJob(t.Context(), admin, third, "again"); !fault.Is(err, fault.Conflict) {
			t.Errorf("given up twice: %v", err)
		}
		setBad(third, false)
		replay(third, true)
		if job := await(t, d, third, Dispatched); !job.OutOfOrder {
			t.Errorf("the third is %+v", job)
		}

		// What is over, and what is given up while it waits, is passed over; the last goes.
		pause(true)
		var five [5]string
		for i := range five {
			five[i] = acceptOrdered(t, d, e.ID, "k", fmt.Sprint("five", i))
		}
		giveUp(five[0])
		giveUp(five[2])
		write(t, st, `update dispatch_job set expire_at = 1 where id = $1 or id = $2`, five[1], five[3])
		for _, id := range []string{five[1], five[3]} {
			if job := await(t, d, id, DeadLetter); job.DeadLetterReason != Expired {
				t.Errorf("the job that is over is %+v", job)
			}
		}
		pause(false)
		await(t, d, five[4], Dispatched)

		// One that was given up is replayed while a later one, dead, holds the order: it goes at once, marked,
		// and then the dead one holds it again, until it is replayed in its turn.
		pause(true)
		given, dead, last := acceptOrdered(t, d, e.ID, "k", "given"), acceptOrdered(t, d, e.ID, "k", "dead"), acceptOrdered(t, d, e.ID, "k", "last")
		giveUp(given)
		setBad(dead, true)
		pause(false)
		await(t, d, dead, DeadLetter)
		replay(given, true)
		await(t, d, given, Dispatched)
		waits(last)
		setBad(dead, false)
		replay(dead, false)
		await(t, d, last, Dispatched)

		mu.Lock()
		defer mu.Unlock()
		if want := []string{first, second, fourth, third, five[4], given, dead, last}; fmt.Sprint(taken) != fmt.Sprint(want) {
			t.Errorf("taken were %v, want %v", taken, want)
		}
		if n := count(t, d, `select count(*) from "AuditLog" where action = 'dispatch.job.replayed' and body like '%"outOfOrder":true%'`); n != 2 {
			t.Errorf("%d events tell of a replay out of order, want 2", n)
		}
	})
}

// An endpoint is not deleted while jobs wait behind a dead one.
func TestDeletingAnEndpointWithAnOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, status(http.StatusUnprocessableEntity))
		e := endpoint(t, d, rc.URL)
		run(t, d)
		dead, behind := acceptOrdered(t, d, e.ID, "k", "1"), acceptOrdered(t, d, e.ID, "k", "2")
		await(t, d, dead, DeadLetter)
		if err := d.DeleteEndpoint(t.Context(), admin, e.ID); !fault.Is(err, fault.Conflict) {
			t.Errorf("deleted: %v", err)
		}
		if _, err := d.DeadLetterJob(t.Context(), admin, behind, "not wanted"); err != nil {
			t.Fatal(err)
		}
		if err := d.DeleteEndpoint(t.Context(), admin, e.ID); err != nil {
			t.Error(err)
		}
	})
}
