package dispatch

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// What is still being sent when the server's patience ends is cut off, kept as interrupted, and given to
// others with its budget whole.
func TestTheEndOfPatience(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Timeout = time.Minute
		d := newDispatcher(t, st, o)
		hang := make(chan struct{})
		rc := receive(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		})
		defer close(hang)
		id := accept(t, d, endpoint(t, d, rc.URL).ID, "x")
		if err := d.register(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending, cancel := context.WithCancel(context.Background())
		var deliveries sync.WaitGroup
		if _, err := d.turn(sending, &deliveries, true); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return len(rc.all()) == 1 }, func() string { return "the job is not sent" })
		started := time.Now()
		d.drain(sending, cancel, &deliveries, 50*time.Millisecond)
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("the end took %s", took)
		}
		job, err := d.Get(t.Context(), admin, id)
		if err != nil || job.Status != Retrying || job.LastError != errCancelled.Error() || job.NextRetryAt.Sub(job.UpdatedAt) != retryHere {
			t.Errorf("the job is %+v (%v)", job, err)
		}
		if n := count(t, d, `select attempt_budget - attempt_count from dispatch_job where id = $1`, id); n != 3 {
			t.Errorf("the budget has %d attempts left, want 3", n)
		}
		if attempts, err := d.Attempts(t.Context(), id); err != nil || len(attempts) != 1 || attempts[0].Outcome != Interrupted {
			t.Errorf("attempts %+v (%v)", attempts, err)
		}
	})
}

// A bug in sending one job costs that attempt, and not the server.
func TestAPanicCostsOneAttempt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		d.transport.RegisterProtocol("http", panics{})
		run(t, d)
		job := await(t, d, accept(t, d, endpoint(t, d, "http://127.0.0.1:9/").ID, "x"), DeadLetter)
		if job.DeadLetterReason != Exhausted || job.LastError != errPanicked.Error() || job.AttemptCount != 3 {
			t.Errorf("the job is %+v", job)
		}
	})
}

type panics struct{}

func (panics) RoundTrip(*http.Request) (*http.Response, error) { panic("a bug") }

// A job that is over before its next attempt dies when it is over, and not when that would have been.
func TestAJobIsNotKeptBeyondItsEnd(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		e := endpoint(t, d, rc.URL)
		run(t, d)
		a, err := d.Accept(t.Context(), admin, NewJob{EndpointID: e.ID, ContentType: "text/plain", ExpireAt: time.Now().Add(time.Second)}, noKey, renderJob)
		if err != nil {
			t.Fatal(err)
		}
		job := await(t, d, idOf(t, a), DeadLetter)
		if job.DeadLetterReason != Expired || job.AttemptCount != 1 || len(rc.all()) != 1 {
			t.Errorf("the job is %+v", job)
		}
	})
}

func TestHealthOfTheDispatcher(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	d := newDispatcher(t, st, fast())
	if err := d.Check(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("before it runs: %v", err)
	}
	stop := run(t, d)
	eventually(t, func() bool { return d.Check(t.Context()) == nil }, func() string { return "it runs and is not well" })
	if err := d.Run(t.Context()); err == nil {
		t.Error("a second run was begun")
	}
	d.lastTurn.Store(time.Now().Add(-staleAfter - time.Second).UnixMicro())
	if err := d.Check(t.Context()); err != nil && !fault.Is(err, fault.Unavailable) { // it may have turned meanwhile
		t.Errorf("without a turn: %v", err)
	}
	stop()
	if err := d.Check(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after it ran: %v", err)
	}
}

// While the database is away nobody is answered with success, and each is told what it is.
func TestAcceptWithoutADatabase(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		st, err := store.Open(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, err := d.Accept(t.Context(), admin, NewJob{EndpointID: e.ID, ContentType: "text/plain"}, noKey, renderJob)
				if !fault.Is(err, fault.Unavailable) {
					t.Errorf("answered %v", err)
				}
			})
		}
		all.Wait()
	})
}
