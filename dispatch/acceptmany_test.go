package dispatch

import (
	"encoding/json"
	"errors"
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

func renderIDs(jobs []Job) (audit.Answer, error) {
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	b, err := json.Marshal(ids)
	return audit.Answer{Status: http.StatusAccepted, Body: b}, err
}

func manyJobs(n int, endpointID string) []NewJob {
	jobs := make([]NewJob, n)
	for i := range jobs {
		jobs[i] = NewJob{EndpointID: endpointID, ContentType: "text/plain", Payload: []byte(fmt.Sprint("payload ", i))}
	}
	return jobs
}

// As many jobs as a batch may have are accepted together, answered in their order, and each arrives once.
func TestAcceptMany(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e := endpoint(t, d, rc.URL)
		run(t, d)
		jobs := manyJobs(MaxMany, e.ID)
		a, err := d.AcceptMany(t.Context(), admin, jobs, audit.Once{}, renderIDs)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		if err := json.Unmarshal(a.Body, &ids); err != nil || len(ids) != MaxMany {
			t.Fatalf("%d jobs are answered: %v", len(ids), err)
		}
		within(t, time.Minute, func() bool {
			return count(t, d, `select count(*) from dispatch_job where status = 'DISPATCHED'`) == MaxMany
		}, func() string { return "not all arrived" })
		arrived := map[string]string{}
		for _, a := range rc.all() {
			if arrived[a.id] != "" {
				t.Errorf("job %s arrived twice", a.id)
			}
			arrived[a.id] = a.body
		}
		for i, id := range ids {
			if arrived[id] != fmt.Sprint("payload ", i) {
				t.Errorf("job %d arrived as %q", i, arrived[id])
			}
		}
		if n := count(t, d, `select count(*) from "AuditLog" where action = 'dispatch.job.accepted' and actor_id = $1`, admin.UserID); n != MaxMany {
			t.Errorf("%d events tell of them", n)
		}
	})
}

// Where one job will not do none is there, and the fault says which it was.
func TestAcceptManyIsAllOrNone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		bad := func(i int, change func(*NewJob)) []NewJob {
			jobs := manyJobs(3, e.ID)
			change(&jobs[i])
			return jobs
		}
		large := manyJobs(2, e.ID)
		large[0].Payload, large[1].Payload = make([]byte, MaxPayload), []byte("x")
		for _, tt := range []struct {
			name  string
			jobs  []NewJob
			kind  fault.Kind
			index any
		}{
			{"none", nil, fault.Invalid, nil},
			{"too many", manyJobs(MaxMany+1, e.ID), fault.Invalid, nil},
			{"too large in all", large, fault.TooLarge, nil},
			{"no endpoint of that id", bad(2, func(n *NewJob) { n.EndpointID = store.NewID() }), fault.Invalid, 2},
			{"no media type", bad(1, func(n *NewJob) { n.ContentType = "text" }), fault.Invalid, 1},
			{"over", bad(0, func(n *NewJob) { n.ExpireAt = time.Now().Add(-time.Second) }), fault.Invalid, 0},
			{"what no database takes", bad(1, func(n *NewJob) { n.DocumentID = "\x00\xff" }), fault.Invalid, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				once := audit.Once{Caller: "c", Route: "r", Key: tt.name, Body: []byte("x")}
				_, err := d.AcceptMany(t.Context(), admin, tt.jobs, once, renderIDs)
				f, ok := errors.AsType[*fault.Error](err)
				if err == nil || fault.Of(err) != tt.kind || ok && f.Details["index"] != tt.index {
					t.Errorf("answered %v", err)
				}
			})
		}
		for _, table := range []string{"dispatch_job", "dispatch_payload", "idempotency"} {
			if n := count(t, d, `select count(*) from `+table); n != 0 {
				t.Errorf("%s has %d rows", table, n)
			}
		}
		large[0].Payload = large[0].Payload[1:] // as large as may be
		if _, err := d.AcceptMany(t.Context(), admin, large, audit.Once{}, renderIDs); err != nil {
			t.Error(err)
		}
	})
}

// One key makes one batch, on two servers at once too, and with another body it is refused.
func TestAcceptManyByKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		servers := []*Dispatcher{newDispatcher(t, st, fast()), newDispatcher(t, st, fast())}
		e := endpoint(t, servers[0], "http://127.0.0.1:9/")
		once := func(body string) audit.Once {
			return audit.Once{Caller: "c", Route: "r", Key: "k", Body: []byte(body)}
		}
		answers := make([]string, 8)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				a, err := servers[i%2].AcceptMany(t.Context(), admin, manyJobs(20, e.ID), once("x"), renderIDs)
				if err != nil {
					t.Error(err)
				}
				answers[i] = string(a.Body)
			})
		}
		all.Wait()
		for _, a := range answers {
			if a == "" || a != answers[0] {
				t.Errorf("answered %s, and another %s", a, answers[0])
			}
		}
		if n := count(t, servers[0], `select count(*) from dispatch_job`); n != 20 {
			t.Errorf("%d jobs, want 20", n)
		}
		if _, err := servers[0].AcceptMany(t.Context(), admin, manyJobs(20, e.ID), once("y"), renderIDs); !fault.Is(err, fault.Conflict) {
			t.Errorf("another body: %v", err)
		}
	})
}
