package dispatch

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// A job whose time is over dies then, also where nothing would have claimed it: at a paused endpoint, and
// while it waits for its next attempt there. It says so in the log, and is replayed only with a new end.
func TestWaitingJobsDieOnTime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Backoff = time.Hour
		d := newDispatcher(t, st, o)
		rc := receive(t, status(http.StatusServiceUnavailable))
		e := endpoint(t, d, rc.URL)
		post := func(end time.Duration) string {
			n := NewJob{EndpointID: e.ID, ContentType: "text/plain"}
			if end > 0 {
				n.ExpireAt = time.Now().Add(end)
			}
			a, err := d.Accept(t.Context(), admin, n, audit.Once{}, renderJob)
			if err != nil {
				t.Fatal(err)
			}
			return idOf(t, a)
		}
		run(t, d)
		retrying := post(time.Hour)
		await(t, d, retrying, Retrying)
		if _, err := d.SetPaused(t.Context(), admin, e.ID, true, "maintenance"); err != nil {
			t.Fatal(err)
		}
		write(t, st, `update dispatch_job set expire_at = $1 where id = $2`, time.Now().UnixMicro(), retrying)
		pending, kept, endless := post(100*time.Millisecond), post(time.Hour), post(0)
		for id, attempts := range map[string]int{retrying: 1, pending: 0} {
			job := await(t, d, id, DeadLetter)
			if job.DeadLetterReason != Expired || job.AttemptCount != attempts || job.DeadLetteredAt.Before(job.ExpireAt) || !job.NextRetryAt.IsZero() {
				t.Errorf("the job that is over is %+v", job)
			}
			if n := count(t, d, `select count(*) from "AuditLog" where action = 'dispatch.job.dead_lettered' and entity_id = $1`, id); n != 1 {
				t.Errorf("its death has %d events", n)
			}
		}
		for _, id := range []string{kept, endless} {
			if job, err := d.Get(t.Context(), admin, id); err != nil || job.Status != Pending {
				t.Errorf("a job whose time is not over is %+v (%v)", job, err)
			}
		}
		if _, err := d.Replay(t.Context(), admin, pending, ReplayRequest{}); !fault.Is(err, fault.Conflict) {
			t.Errorf("replay without a new end: %v", err)
		}
		if job, err := d.Replay(t.Context(), admin, pending, ReplayRequest{ExpireAt: time.Now().Add(time.Hour)}); err != nil || job.Status != Pending {
			t.Errorf("replay with a new end: %+v, %v", job, err)
		}
	})
}

// More jobs than one transaction takes are over at once, and two servers see to it: each dies once.
func TestManyJobsExpireOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		servers := []*Dispatcher{newDispatcher(t, st, fast()), newDispatcher(t, st, fast())}
		e := endpoint(t, servers[0], "http://127.0.0.1:9/")
		const jobs = maxExpired + 7
		for start := 0; start < jobs; start += 100 {
			var all sync.WaitGroup
			for range min(100, jobs-start) {
				all.Go(func() { accept(t, servers[0], e.ID, "x") })
			}
			all.Wait()
		}
		write(t, st, `update dispatch_job set expire_at = 1`)
		var all sync.WaitGroup
		for _, d := range servers {
			all.Go(func() {
				if err := d.expire(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if err := servers[0].expire(t.Context()); err != nil { // what one left that the other had locked
			t.Fatal(err)
		}
		for _, query := range []string{
			`select count(*) from dispatch_job where status = 'DEAD_LETTER' and dead_letter_reason = 'EXPIRED' and due_at is null`,
			`select count(*) from "AuditLog" where action = 'dispatch.job.dead_lettered'`,
		} {
			if n := count(t, servers[0], query); n != jobs {
				t.Error(fmt.Sprint(n, " of ", jobs, ": ", query))
			}
		}
	})
}
