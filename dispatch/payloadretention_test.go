package dispatch

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// What ended long enough ago loses its payload and the receiver's answers, and keeps its hash; what ended
// later, and what has not ended, keeps all.
func TestForgetPayloads(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		const day = 24 * time.Hour
		o := fast()
		o.PayloadRetention = 30 * day
		d := newDispatcher(t, st, o)
		rc := receive(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Content-Type") == "text/bad" {
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
			_, _ = w.Write([]byte("what the receiver says"))
		})
		e, paused := endpoint(t, d, rc.URL), endpoint(t, d, rc.URL)
		if _, err := d.SetPaused(t.Context(), admin, paused.ID, true, ""); err != nil {
			t.Fatal(err)
		}
		run(t, d)
		// Ids are as old as the jobs: they are made old, here, with all that refers to them.
		begun := time.Now()
		old := func(endpointID, contentType string, status Status, age time.Duration) string {
			t.Helper()
			a, err := d.Accept(t.Context(), admin, NewJob{EndpointID: endpointID, ContentType: contentType, Payload: []byte("x")}, audit.Once{}, renderJob)
			if err != nil {
				t.Fatal(err)
			}
			id := idOf(t, a)
			await(t, d, id, status)
			aged := audit.FirstID(begun.Add(-40 * day))[:24] + id[24:]
			for _, column := range []string{"dispatch_job.id", "dispatch_payload.job_id", "dispatch_attempt.job_id"} {
				table, name, _ := strings.Cut(column, ".")
				write(t, st, `update `+table+` set `+name+` = $1 where `+name+` = $2`, aged, id)
			}
			ended := begun.Add(-age).UnixMicro()
			write(t, st, `update dispatch_job set dispatched_at = case when dispatched_at is not null then cast($1 as bigint) end,
				dead_lettered_at = case when dead_lettered_at is not null then cast($1 as bigint) end where id = $2`, ended, aged)
			return aged
		}
		gone := []string{old(e.ID, "text/plain", Dispatched, 31*day), old(e.ID, "text/bad", DeadLetter, 30*day)}
		kept := []string{old(e.ID, "text/plain", Dispatched, 30*day-time.Hour), old(paused.ID, "text/plain", Pending, 0)}
		has := func(query, id string) bool { t.Helper(); return count(t, d, query, id) > 0 }
		for _, want := range []int64{2, 0} { // the second time there is nothing left
			if n, err := d.ForgetPayloads(t.Context()); err != nil || n != want {
				t.Errorf("%d payloads are removed (%v), want %d", n, err, want)
			}
		}
		const payload = `select count(*) from dispatch_payload where job_id = $1 and body is not null and salt is not null`
		for _, id := range gone {
			if has(payload, id) || has(`select count(*) from dispatch_attempt where job_id = $1 and answer is not null`, id) ||
				!has(`select count(*) from dispatch_payload where job_id = $1 and body is null and salt is null and length(hash) = 32`, id) ||
				!has(`select count(*) from dispatch_attempt where job_id = $1`, id) {
				t.Errorf("job %s has kept too much, or too little", id)
			}
			for name, err := range map[string]error{
				"replay": second(d.Replay(t.Context(), admin, id, ReplayRequest{Force: true, Reason: "again"})),
				"read":   third(d.Payload(t.Context(), admin, id)),
			} {
				if !fault.Is(err, fault.Conflict) {
					t.Errorf("%s of a job without its payload: %v", name, err)
				}
			}
			if job, err := d.Get(t.Context(), admin, id); err != nil || job.PayloadBytes != 1 {
				t.Errorf("the job itself is %+v (%v)", job, err)
			}
		}
		for _, id := range kept {
			if !has(payload, id) {
				t.Errorf("job %s has lost its payload", id)
			}
		}
		if n := count(t, d, `select count(*) from "AuditLog" where action = 'dispatch.payloads.removed' and body like '%"count":2%'`); n != 1 {
			t.Errorf("%d events tell of it", n)
		}
		d.o.PayloadRetention = 0
		write(t, st, `update dispatch_job set dispatched_at = 1 where dispatched_at is not null`)
		if n, err := d.ForgetPayloads(t.Context()); err != nil || n != 0 {
			t.Errorf("without a time for it %d were removed (%v)", n, err)
		}
	})
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }
