package dispatch

import (
	"context"
	"net/http"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// crash leaves a job in flight as a server does that is gone without a word.
func crash(t *testing.T, st *store.Store, o Options) (d *Dispatcher, jobID string) {
	t.Helper()
	d = newDispatcher(t, st, o)
	e := endpoint(t, d, "http://127.0.0.1:9/")
	jobID = accept(t, d, e.ID, "x")
	err := d.log.Bookkeep(t.Context(), func(tx *store.Tx) error { return d.beat(t.Context(), tx) })
	if err != nil {
		t.Fatal(err)
	}
	err = d.log.ChangeOrBookkeep(t.Context(), audit.Itself("dispatcher"), func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(t.Context())
		if err != nil {
			return nil, err
		}
		c, err := d.claim(t.Context(), tx, now, 10, "", newLoad(10))
		if err == nil && len(c.jobs) != 1 {
			t.Errorf("%d jobs claimed", len(c.jobs))
		}
		return nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, jobID
}

func TestARestartTakesItsLeasesBackAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Server = "server-1"
		_, id := crash(t, st, o)
		next := newDispatcher(t, st, o)
		if err := next.register(t.Context()); err != nil {
			t.Fatal(err)
		}
		job, err := next.Get(t.Context(), admin, id)
		if err != nil || job.Status != Retrying || job.NextRetryAt.After(time.Now().Add(time.Second)) || job.LastError != interruptedText {
			t.Errorf("the job is %+v (%v)", job, err)
		}
		attempts, err := next.Attempts(t.Context(), id)
		if err != nil || len(attempts) != 1 || attempts[0].Outcome != Interrupted {
			t.Errorf("attempts %+v (%v)", attempts, err)
		}
		// The interrupted attempt has cost no budget: three real ones follow.
		run(t, next)
		if job := await(t, next, id, DeadLetter); job.AttemptCount != 4 {
			t.Errorf("dead after %d attempts, want 4 with the interrupted one", job.AttemptCount)
		}
	})
}

func TestADeadServersLeasesEndWithItsHeartbeat(t *testing.T) {
	url := storetest.PostgresURL(t)
	st := storetest.Open(t, url)
	o := fast()
	o.Server = "server-1"
	_, id := crash(t, st, o)
	o.Server = "server-2"
	other := newDispatcher(t, st, o)
	if err := other.tendOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if job, _ := other.Get(t.Context(), admin, id); job.Status != InFlight {
		t.Errorf("a living server's job is %s", job.Status)
	}
	// Sixteen seconds without a beat.
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `update node set seen_at = seen_at - 16000000 where server = 'server-1'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.tendOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if job, _ := other.Get(t.Context(), admin, id); job.Status != Retrying {
		t.Errorf("a dead server's job is %s", job.Status)
	}
	if n := count(t, other, `select count(*) from node where server = 'server-1'`); n != 0 {
		t.Errorf("the dead server is still known")
	}
}

func TestALeaseThatWasTakenAwayFencesItsAnswer(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		arrived, release := make(chan struct{}), make(chan struct{})
		rc := receive(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				close(arrived)
				<-release
			}
		})
		e := endpoint(t, d, rc.URL)
		run(t, d)
		id := accept(t, d, e.ID, "x")
		<-arrived
		// As another server would, that thinks this one dead; then the first answer comes all the same.
		if n, err := d.takeBack(context.Background(), `lease_node = $1`, d.log.Writer()); n != 1 || err != nil {
			t.Fatalf("took back %d: %v", n, err)
		}
		close(release)
		await(t, d, id, Dispatched)
		eventually(t, func() bool {
			return count(t, d, `select count(*) from dispatch_attempt where job_id = $1`, id) == 3
		}, func() string { return "the interrupted, the late and the delivered attempt are not all there" })
		if n := count(t, d, `select count(*) from dispatch_attempt where job_id = $1 and outcome = 'DELIVERED'`, id); n != 1 {
			t.Errorf("%d attempts count as delivered", n)
		}
	})
}

func TestAStoppedServerGivesItsLeasesBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		arrived := make(chan struct{})
		rc := receive(t, func(n int, _ http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				close(arrived)
				time.Sleep(300 * time.Millisecond)
			}
		})
		e := endpoint(t, d, rc.URL)
		stop := run(t, d)
		id := accept(t, d, e.ID, "x")
		<-arrived
		stop() // waits for the delivery, and stores its end
		if job, _ := d.Get(t.Context(), admin, id); job.Status != Dispatched {
			t.Errorf("after the stop the job is %s", job.Status)
		}
		if n := count(t, d, `select count(*) from node`); n != 0 {
			t.Errorf("%d servers are still known", n)
		}
		if n := count(t, d, `select count(*) from dispatch_job where lease_until is not null`); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}

// A commit whose outcome does not reach the program may have taken leases that nobody serves.
func TestLeasesInDoubtAreGivenBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d, id := crash(t, st, fast())
		if err := d.compareLeases(t.Context()); err != nil {
			t.Fatal(err)
		}
		if job, _ := d.Get(t.Context(), admin, id); job.Status != InFlight {
			t.Fatalf("without a doubt the job became %s", job.Status)
		}
		d.doubt = time.Now().Add(time.Minute)
		if err := d.compareLeases(t.Context()); err != nil {
			t.Fatal(err)
		}
		if job, _ := d.Get(t.Context(), admin, id); job.Status != Retrying {
			t.Errorf("the job that nobody sends is %s", job.Status)
		}
	})
}

// A server that was forgotten as dead, and claimed before its next beat, may have ended right then.
func TestLeasesOfAServerThatNobodyKnows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		_, id := crash(t, st, fast())
		write(t, st, `delete from node`)
		next := newDispatcher(t, st, fast())
		if err := next.tendOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if job, _ := next.Get(t.Context(), admin, id); job.Status != Retrying {
			t.Errorf("the job is %s", job.Status)
		}
	})
}

// A lease ends by itself where its server lives and cannot store the end of the attempt.
func TestOverdueLeasesAreTakenBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d, id := crash(t, st, fast())
		until := count(t, d, `select lease_until from dispatch_job where id = $1`, id)
		if left := time.Until(time.UnixMicro(int64(until))); left < 25*time.Second || left > 2*time.Second+leaseMargin {
			t.Errorf("a lease for a timeout of 2 s lasts %s", left)
		}
		write(t, st, `update dispatch_job set lease_until = 1`)
		if err := d.tendOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if job, _ := d.Get(t.Context(), admin, id); job.Status != Retrying {
			t.Errorf("the job is %s", job.Status)
		}
		events, err := d.log.Events(t.Context(), audit.Filter{EntityID: id}, store.Page{Limit: 10})
		if err != nil || len(events.Items) != 2 || events.Items[0].Action != "dispatch.attempt.interrupted" {
			t.Errorf("events %+v (%v)", events.Items, err)
		}
	})
}
