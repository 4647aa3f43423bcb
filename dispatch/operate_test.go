package dispatch

import (
	"context"
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

func TestIdempotencyKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		post := func(key, body string) (audit.Answer, error) {
			return d.Accept(t.Context(), admin, NewJob{EndpointID: e.ID, ContentType: "text/plain", Payload: []byte(body)},
				audit.Once{Caller: admin.UserID, Route: "POST /api/dispatch/jobs", Key: key, Body: []byte(body)}, renderJob)
		}
		// Twenty at once with one key make one job, and all hear of it.
		answers := make([]string, 20)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				a, err := post("k1", "x")
				if err != nil {
					t.Error(err)
				}
				answers[i] = string(a.Body)
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a != answers[0] {
				t.Errorf("answers differ: %s and %s", a, answers[0])
			}
		}
		if n := count(t, d, `select count(*) from dispatch_job`); n != 1 {
			t.Errorf("%d jobs, want 1", n)
		}
		if _, err := post("k1", "y"); !fault.Is(err, fault.Conflict) {
			t.Errorf("another body: %v", err)
		}
		if _, err := post("k2", "x"); err != nil {
			t.Error(err)
		}
		if n := count(t, d, `select count(*) from dispatch_job`); n != 2 {
			t.Errorf("%d jobs, want 2", n)
		}
	})
}

func TestManyAcceptedAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e := endpoint(t, d, rc.URL)
		run(t, d)
		var wg sync.WaitGroup
		var mu sync.Mutex
		ids := map[string]bool{}
		for i := range 300 {
			wg.Go(func() {
				if i%10 == 9 { // one in ten names an endpoint that is not there, and hurts nobody else
					_, err := d.Accept(t.Context(), admin, NewJob{EndpointID: store.NewID(), ContentType: "text/plain"}, audit.Once{}, renderJob)
					if !fault.Is(err, fault.Invalid) {
						t.Errorf("an unknown endpoint: %v", err)
					}
					return
				}
				by := admin
				by.UserID = fmt.Sprintf("user-%d", i)
				a, err := d.Accept(t.Context(), by, NewJob{EndpointID: e.ID, ContentType: "text/plain", Payload: []byte(fmt.Sprint(i))}, audit.Once{}, renderJob)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids[idOf(t, a)] = true
				mu.Unlock()
			})
		}
		wg.Wait()
		if len(ids) != 270 {
			t.Fatalf("%d jobs accepted, want 270", len(ids))
		}
		for id := range ids {
			await(t, d, id, Dispatched)
		}
		if n := count(t, d, `select count(distinct actor_id) from "AuditLog" where action = 'dispatch.job.accepted'`); n != 270 {
			t.Errorf("%d different people in the events, want 270", n)
		}
		seen := map[string]int{}
		for _, a := range rc.all() {
			seen[a.id]++
		}
		for id := range ids {
			if seen[id] != 1 {
				t.Errorf("job %s arrived %d times", id, seen[id])
			}
		}
	})
}

func TestAWithdrawnRequestLeavesTheQueue(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := d.Accept(ctx, admin, NewJob{EndpointID: e.ID, ContentType: "text/plain"}, audit.Once{}, renderJob)
		jobs := count(t, d, `select count(*) from dispatch_job`)
		if err == nil != (jobs == 1) {
			t.Errorf("answered %v with %d jobs stored", err, jobs)
		}
		accept(t, d, e.ID, "the queue still works")
	})
}

func TestTheCapOfAnEndpointHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		var mu sync.Mutex
		now, most := 0, 0
		rc := receive(t, func(_ int, _ http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
		})
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "narrow", URL: rc.URL, Concurrency: 3})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for range 40 {
			ids = append(ids, accept(t, d, e.ID, "x"))
		}
		// Two servers share the cap (SQLite has one).
		run(t, d)
		if st.Dialect() == store.Postgres {
			run(t, newDispatcher(t, st, fast()))
		}
		for _, id := range ids {
			await(t, d, id, Dispatched)
		}
		if most > 3 || most < 2 {
			t.Errorf("%d at once, the cap is 3", most)
		}
	})
}

func TestAHangingEndpointCostsOnlyItsOwnSlots(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Concurrency, o.EndpointConcurrency, o.Timeout = 16, 16, 30*time.Second
		d := newDispatcher(t, st, o)
		hang := make(chan struct{})
		defer close(hang)
		slow := receive(t, func(int, http.ResponseWriter, *http.Request) { <-hang })
		for range 4 {
			e := endpoint(t, d, slow.URL)
			for range 20 {
				accept(t, d, e.ID, "x")
			}
		}
		stop := run(t, d)
		eventually(t, func() bool { return len(slow.all()) >= 8 }, func() string { return "the hanging endpoints got nothing" })
		rc := receive(t, nil)
		healthy := endpoint(t, d, rc.URL)
		for range 10 {
			await(t, d, accept(t, d, healthy.ID, "y"), Dispatched)
		}
		d.mu.Lock()
		for dl := range d.inFlight {
			dl.cancel() // or the stop below would wait for the hanging calls
		}
		d.mu.Unlock()
		go stop()
	})
}

func TestDeadLetterInFlight(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		arrived, release := make(chan struct{}), make(chan struct{})
		rc := receive(t, func(n int, _ http.ResponseWriter, r *http.Request) {
			if n == 1 {
				close(arrived)
				select {
				case <-release:
				case <-r.Context().Done():
				}
			}
		})
		defer close(release)
		e := endpoint(t, d, rc.URL)
		run(t, d)
		id := accept(t, d, e.ID, "x")
		<-arrived
		if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{}); !fault.Is(err, fault.Conflict) {
			t.Errorf("replay in flight: %v", err)
		}
		job, err := d.DeadLetterJob(t.Context(), admin, id, "wrong customer")
		if err != nil || job.Status != DeadLetter || job.DeadLetterReason != Operator {
			t.Fatalf("dead-letter in flight: %+v, %v", job, err)
		}
		// The call is cancelled, and what comes of it is kept without changing the status.
		eventually(t, func() bool {
			return count(t, d, `select count(*) from dispatch_attempt where job_id = $1 and outcome = 'LATE'`, id) == 1
		}, func() string { return "the late end of the attempt is not kept" })
		if job, _ := d.Get(t.Context(), admin, id); job.Status != DeadLetter {
			t.Errorf("the late end made the job %s", job.Status)
		}
		if _, err := d.DeadLetterJob(t.Context(), admin, id, "again"); !fault.Is(err, fault.Conflict) {
			t.Errorf("twice: %v", err)
		}
		if _, err := d.DeadLetterJob(t.Context(), admin, store.NewID(), "no such"); !fault.Is(err, fault.NotFound) {
			t.Errorf("unknown: %v", err)
		}
		for _, reason := range []string{"", "  ", strings.Repeat("x", maxReason+1)} {
			if _, err := d.DeadLetterJob(t.Context(), admin, id, reason); !fault.Is(err, fault.Invalid) {
				t.Errorf("reason of %d: %v", len(reason), err)
			}
		}
		if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{Reason: "right after all"}); err != nil {
			t.Fatal(err)
		}
		await(t, d, id, Dispatched)
		if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{}); !fault.Is(err, fault.Conflict) {
			t.Errorf("replay of a dispatched job: %v", err)
		}
		if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{Force: true}); !fault.Is(err, fault.Invalid) {
			t.Errorf("force without a reason: %v", err)
		}
		if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{Force: true, Reason: "they lost it"}); err != nil {
			t.Fatal(err)
		}
		await(t, d, id, Dispatched)
	})
}

func TestRetryDue(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Backoff = time.Hour
		d := newDispatcher(t, st, o)
		rc := receive(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("Retry-After", "3600")
				status(http.StatusServiceUnavailable)(n, w, r)
			}
		})
		e := endpoint(t, d, rc.URL)
		run(t, d)
		id := accept(t, d, e.ID, "x")
		job := await(t, d, id, Retrying)
		if wait := time.Until(job.NextRetryAt); wait < 50*time.Minute {
			t.Errorf("the receiver asked for an hour, and the job waits %s", wait)
		}
		jobs, err := d.RetryDue(t.Context(), admin, DefaultRetry, false)
		if err != nil || len(jobs) != 0 {
			t.Errorf("nothing is due: %+v, %v", jobs, err)
		}
		jobs, err = d.RetryDue(t.Context(), admin, DefaultRetry, true)
		if err != nil || len(jobs) != 1 || jobs[0].ID != id || jobs[0].Status != Dispatched || jobs[0].AttemptCount != 2 {
			t.Errorf("retry with what waits: %+v, %v", jobs, err)
		}
		for _, limit := range []int{0, -1, MaxRetry + 1} {
			if _, err := d.RetryDue(t.Context(), admin, limit, false); !fault.Is(err, fault.Invalid) {
				t.Errorf("limit %d: %v", limit, err)
			}
		}
	})
}

func TestWhoSeesWhichJobs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		other := endpoint(t, d, "http://127.0.0.1:9/")
		author := audit.Principal{Kind: audit.User, UserID: "author-1", Role: audit.Author}
		post := func(by audit.Principal, endpointID string) string {
			a, err := d.Accept(t.Context(), by, NewJob{EndpointID: endpointID, ContentType: "text/plain"}, audit.Once{}, renderJob)
			if err != nil {
				t.Fatal(err)
			}
			return idOf(t, a)
		}
		mine, theirs := post(author, e.ID), post(admin, other.ID)
		dead, err := d.DeadLetterJob(t.Context(), admin, theirs, "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Get(t.Context(), author, theirs); !fault.Is(err, fault.NotFound) {
			t.Errorf("an author sees another's job: %v", err)
		}
		if _, err := d.Get(t.Context(), author, mine); err != nil {
			t.Error(err)
		}
		auditor := audit.Principal{Kind: audit.User, UserID: "auditor-1", Role: audit.Auditor}
		for _, tt := range []struct {
			name   string
			by     audit.Principal
			filter JobFilter
			want   []string
		}{
			{"all", admin, JobFilter{}, []string{theirs, mine}},
			{"an auditor's", auditor, JobFilter{}, []string{theirs, mine}},
			{"an author's", author, JobFilter{}, []string{mine}},
			{"an author's, asking for another's", author, JobFilter{OwnerID: admin.UserID}, []string{mine}},
			{"by endpoint", admin, JobFilter{EndpointID: other.ID}, []string{theirs}},
			{"pending", admin, JobFilter{Status: Pending}, []string{mine}},
			{"dead", admin, JobFilter{Status: DeadLetter}, []string{theirs}},
			{"dispatched", admin, JobFilter{Status: Dispatched}, nil},
			{"in flight", admin, JobFilter{Status: InFlight}, nil},
			{"by the beginning of an id", admin, JobFilter{Q: mine[:36]}, []string{mine}},
			{"from now on", admin, JobFilter{From: time.Now().Add(time.Minute)}, nil},
			{"since an hour ago", admin, JobFilter{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Minute)}, []string{theirs, mine}},
			{"until the last one", admin, JobFilter{To: dead.CreatedAt}, []string{mine}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				var got []string
				page := store.Page{Limit: 1}
				for { // page by page, so that the cursor is used
					list, err := d.List(t.Context(), tt.by, tt.filter, page)
					if err != nil {
						t.Fatal(err)
					}
					for _, j := range list.Items {
						got = append(got, j.ID)
					}
					if page.After = list.Next; page.After == "" {
						break
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		}
	})
}

func TestEndpoints(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e, secret, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "a", URL: rc.URL, MaxAttempts: 5})
		if err != nil || !strings.HasPrefix(secret, "whsec_") {
			t.Fatalf("create: %q, %v", secret, err)
		}
		if n := count(t, d, `select count(*) from dispatch_endpoint where secrets is not null`); n != 1 {
			t.Errorf("%d endpoints with secrets", n)
		}
		run(t, d)
		e, second, err := d.RotateSecret(t.Context(), admin, e.ID, time.Hour)
		if err != nil || second == secret || e.OldSecretUntil.IsZero() {
			t.Fatalf("rotate: %+v, %v", e, err)
		}
		await(t, d, accept(t, d, e.ID, "x"), Dispatched)
		if signatures := strings.Fields(rc.all()[0].head.Get("webhook-signature")); len(signatures) != 2 {
			t.Errorf("%d signatures during the overlap, want 2", len(signatures))
		}
		if _, _, err = d.RotateSecret(t.Context(), admin, e.ID, 0); err != nil {
			t.Fatal(err)
		}
		await(t, d, accept(t, d, e.ID, "y"), Dispatched)
		if signatures := strings.Fields(rc.all()[1].head.Get("webhook-signature")); len(signatures) != 1 {
			t.Errorf("%d signatures without an overlap, want 1", len(signatures))
		}
		if _, _, err := d.RotateSecret(t.Context(), admin, e.ID, MaxOverlap+time.Hour); !fault.Is(err, fault.Invalid) {
			t.Errorf("too long an overlap: %v", err)
		}
		if _, err := d.ChangeEndpoint(t.Context(), admin, e.ID, EndpointChange{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("no change: %v", err)
		}
		for field, c := range map[string]EndpointChange{
			"name": {Name: new("")}, "url": {URL: new("nowhere")}, "concurrency": {Concurrency: new(MaxConcurrency + 1)},
			"timeout": {TimeoutSeconds: new(MaxTimeoutSeconds + 1)}, "attempts": {MaxAttempts: new(-1)},
		} {
			if _, err := d.ChangeEndpoint(t.Context(), admin, e.ID, c); !fault.Is(err, fault.Invalid) {
				t.Errorf("a bad %s: %v", field, err)
			}
		}
		if _, err := d.SetPaused(t.Context(), admin, e.ID, true, "maintenance"); err != nil {
			t.Fatal(err)
		}
		waiting := accept(t, d, e.ID, "z")
		if err := d.DeleteEndpoint(t.Context(), admin, e.ID); !fault.Is(err, fault.Conflict) {
			t.Errorf("delete with an unfinished job: %v", err)
		}
		if _, err := d.DeadLetterJob(t.Context(), admin, waiting, "going"); err != nil {
			t.Fatal(err)
		}
		if err := d.DeleteEndpoint(t.Context(), admin, e.ID); err != nil {
			t.Fatal(err)
		}
		if n := count(t, d, `select count(*) from dispatch_endpoint where secrets is null and deleted_at is not null`); n != 1 {
			t.Errorf("%d tombstones, want 1", n)
		}
		if _, err := d.Replay(t.Context(), admin, waiting, ReplayRequest{}); !fault.Is(err, fault.Conflict) {
			t.Errorf("replay to a deleted endpoint: %v", err)
		}
		if _, err := d.Endpoint(t.Context(), e.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("a deleted endpoint: %v", err)
		}
		_, err = d.Accept(t.Context(), admin, NewJob{EndpointID: e.ID, ContentType: "text/plain"}, audit.Once{}, renderJob)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("a job for a deleted endpoint: %v", err)
		}
	})
}

// A receiver that is as busy as it may be does not keep an operator: what is being sent is said to be, and
// what has no slot waits on.
func TestRetryDueOfABusyEndpoint(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Timeout = time.Minute
		d := newDispatcher(t, st, o)
		hang := make(chan struct{})
		rc := receive(t, func(int, http.ResponseWriter, *http.Request) { <-hang })
		release := sync.OnceFunc(func() { close(hang) })
		defer release()
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "one at a time", URL: rc.URL, Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		before := map[string]int{}
		for range 2 {
			before[accept(t, d, e.ID, "x")] = 0
		}
		run(t, d)
		eventually(t, func() bool { return len(rc.all()) == 1 }, func() string { return fmt.Sprintf("%d are sent", len(rc.all())) })
		started := time.Now()
		jobs, err := d.outcomes(t.Context(), before, 200*time.Millisecond)
		if took := time.Since(started); err != nil || len(jobs) != 2 || took < 200*time.Millisecond || took > 5*time.Second {
			t.Fatalf("%d jobs after %s: %v", len(jobs), took, err)
		}
		if got := []Status{jobs[0].Status, jobs[1].Status}; got[0] != InFlight || got[1] != Pending {
			t.Errorf("they are %v", got)
		}
		release()
		if jobs, err = d.outcomes(t.Context(), before, 20*time.Second); err != nil || jobs[0].Status != Dispatched || jobs[1].Status != Dispatched {
			t.Errorf("then they are %+v (%v)", jobs, err)
		}
	})
}

// The database's clock makes a job's time and the server's its id. A list by time finds it although they
// differ by most of a minute.
func TestListsByTimeAllowForClocksThatDiffer(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		id := accept(t, d, endpoint(t, d, "http://127.0.0.1:9/").ID, "x")
		for _, skew := range []time.Duration{-55 * time.Second, 0, 55 * time.Second} {
			at := time.Now().Add(skew).UTC().Truncate(time.Microsecond)
			write(t, st, `update dispatch_job set created_at = $1`, at.UnixMicro())
			for _, tt := range []struct {
				filter JobFilter
				want   int
			}{
				{JobFilter{From: at}, 1},
				{JobFilter{From: at.Add(time.Microsecond)}, 0},
				{JobFilter{To: at}, 0},
				{JobFilter{To: at.Add(time.Microsecond)}, 1},
				{JobFilter{From: at, To: at.Add(time.Microsecond), Status: Pending}, 1},
				{JobFilter{From: at, To: at}, 0},
			} {
				list, err := d.List(t.Context(), admin, tt.filter, store.Page{Limit: 10})
				if err != nil || len(list.Items) != tt.want || tt.want == 1 && list.Items[0].ID != id {
					t.Errorf("skewed by %s, %+v finds %d: %v", skew, tt.filter, len(list.Items), err)
				}
			}
		}
	})
}
