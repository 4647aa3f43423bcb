package dispatch

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Dead jobs that fit are replayed, the oldest first, as many as were asked for, spread by the rate; those that
// cannot be are left out, and stay in nobody's way.
func TestReplayMany(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		var well atomic.Bool
		rc := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			if !well.Load() {
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
		})
		e, other, gone := endpoint(t, d, rc.URL), endpoint(t, d, rc.URL), endpoint(t, d, rc.URL)
		stop := run(t, d)
		die := func(endpointID string) string {
			t.Helper()
			id := accept(t, d, endpointID, "x")
			await(t, d, id, DeadLetter)
			return id
		}
		over, deleted, empty := die(e.ID), die(gone.ID), die(e.ID)
		var ids []string
		for range 6 {
			ids = append(ids, die(e.ID))
		}
		elsewhere, operators := die(other.ID), die(e.ID)
		stop()
		write(t, st, `update dispatch_job set expire_at = 1 where id = $1`, over)
		write(t, st, `update dispatch_payload set body = null where job_id = $1`, empty)
		write(t, st, `update dispatch_job set dead_letter_reason = 'OPERATOR' where id = $1`, operators)
		if err := d.DeleteEndpoint(t.Context(), admin, gone.ID); err != nil {
			t.Fatal(err)
		}
		replay := func(r ReplayManyRequest, wantMore bool, want ...string) {
			t.Helper()
			got, more, err := d.ReplayMany(t.Context(), admin, r)
			if err != nil || !slices.Equal(got, want) || more != wantMore {
				t.Errorf("%+v replayed %v, more %v (%v), want %v", r, got, more, err, want)
			}
		}
		replay(ReplayManyRequest{Filter: JobFilter{EndpointID: other.ID}, Limit: MaxReplay}, false, elsewhere)
		replay(ReplayManyRequest{DeadReason: Operator, Limit: 10, Reason: "right after all"}, false, operators)
		replay(ReplayManyRequest{Filter: JobFilter{EndpointID: e.ID, Status: DeadLetter}, Limit: 4, RatePerSecond: 0.5}, true, ids[:4]...)
		for i, id := range ids[:4] {
			job, err := d.Get(t.Context(), admin, id)
			if wait := job.NextRetryAt.Sub(job.UpdatedAt); err != nil || job.Status != Pending || wait != time.Duration(i)*2*time.Second {
				t.Errorf("replayed job %d is due after %s: %+v (%v)", i, wait, job, err)
			}
		}
		replay(ReplayManyRequest{Filter: JobFilter{Q: ids[4]}, Limit: 10}, false, ids[4])
		replay(ReplayManyRequest{Filter: JobFilter{To: time.Now().Add(-time.Hour)}, Limit: 10}, false)
		replay(ReplayManyRequest{Limit: 10}, false, ids[5])
		replay(ReplayManyRequest{Limit: 10}, false)
		replay(ReplayManyRequest{Limit: 10, ExpireAt: time.Now().Add(time.Hour)}, false, over)
		if job, err := d.Get(t.Context(), admin, deleted); err != nil || job.Status != DeadLetter {
			t.Errorf("a deleted endpoint's job is %+v (%v)", job, err)
		}
		for action, want := range map[string]int{"dispatch.job.replayed": 9, "dispatch.replay.requested": 8} {
			if n := count(t, d, `select count(*) from "AuditLog" where action = $1`, action); n != want {
				t.Errorf("%d events %s, want %d", n, action, want)
			}
		}
		well.Store(true)
		run(t, d)
		for _, id := range append(slices.Clone(ids), elsewhere, operators, over) {
			if job := await(t, d, id, Dispatched); job.AttemptCount != 2 {
				t.Errorf("the replayed job is %+v", job)
			}
		}
		for name, r := range map[string]ReplayManyRequest{
			"no limit": {}, "too many": {Limit: MaxReplay + 1}, "jobs that are not dead": {Limit: 1, Filter: JobFilter{Status: Retrying}},
			"a rate that is none": {Limit: 1, RatePerSecond: -1}, "an end that is over": {Limit: 1, ExpireAt: time.Unix(1, 0)},
			"an end beyond time": {Limit: 1, ExpireAt: maxTime.Add(time.Second)}, "no reason": {Limit: 1, Reason: " "}, "no id": {Limit: 1, Filter: JobFilter{Q: "x"}},
		} {
			if _, _, err := d.ReplayMany(t.Context(), admin, r); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Jobs of an order that are replayed together come back to their places, whatever each died of.
func TestReplayManyOfAnOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		var well atomic.Bool
		rc := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			if !well.Load() {
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
		})
		e := endpoint(t, d, rc.URL)
		run(t, d)
		var ids []string
		for i := range 5 {
			ids = append(ids, acceptOrdered(t, d, e.ID, "k", fmt.Sprint(i)))
		}
		await(t, d, ids[0], DeadLetter)
		for _, id := range []string{ids[0], ids[2]} { // 0 was dead and held 1, which then dies and holds the rest
			if _, err := d.DeadLetterJob(t.Context(), admin, id, "not wanted"); err != nil {
				t.Fatal(err)
			}
		}
		await(t, d, ids[1], DeadLetter)
		before := len(rc.all())
		well.Store(true)
		got, _, err := d.ReplayMany(t.Context(), admin, ReplayManyRequest{Limit: 10})
		if err != nil || !slices.Equal(got, ids[:3]) {
			t.Fatalf("replayed %v (%v), want %v", got, err, ids[:3])
		}
		for i, id := range ids {
			if job := await(t, d, id, Dispatched); job.OutOfOrder != (i == 0) {
				t.Errorf("job %d is out of order: %v", i, job.OutOfOrder)
			}
		}
		for i, a := range rc.all()[before:] {
			if a.id != ids[i] {
				t.Errorf("job %s arrived at place %d, want %s", a.id, i, ids[i])
			}
		}
	})
}
