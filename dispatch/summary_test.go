package dispatch

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestSummary(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		before := time.Now().Add(-time.Minute)
		empty, err := d.Summary(t.Context(), before)
		if err != nil {
			t.Fatal(err)
		}
		if want := (Summary{ByReason: map[Reason]int{}}); fmt.Sprint(empty) != fmt.Sprint(want) {
			t.Errorf("of nothing: %+v", empty)
		}
		good, bad := receive(t, nil), receive(t, status(http.StatusInternalServerError))
		taken, refused, waiting := endpoint(t, d, good.URL), endpoint(t, d, bad.URL), endpoint(t, d, good.URL)
		if _, err := d.SetPaused(t.Context(), admin, waiting.ID, true, "for the test"); err != nil {
			t.Fatal(err)
		}
		first := accept(t, d, waiting.ID, "waits")
		accept(t, d, waiting.ID, "waits too")
		delivered, exhausted := accept(t, d, taken.ID, "x"), accept(t, d, refused.ID, "x")
		bury(t, d, waiting.ID, 1)
		run(t, d)
		await(t, d, delivered, Dispatched)
		await(t, d, exhausted, DeadLetter)
		if _, err := d.Replay(t.Context(), admin, exhausted, ReplayRequest{}); err != nil {
			t.Fatal(err)
		}
		await(t, d, exhausted, DeadLetter)

		s, err := d.Summary(t.Context(), before)
		if err != nil {
			t.Fatal(err)
		}
		job, err := d.Get(t.Context(), admin, first)
		if err != nil {
			t.Fatal(err)
		}
		n := func(n int) audit.Tally { return audit.Tally{N: n} }
		want := Summary{
			Accepted: n(5), Dispatched: n(1), Retried: n(4), Replayed: n(1),
			DeadLettered: n(3), ByReason: map[Reason]int{Exhausted: 2, Operator: 1},
			Waiting: n(2), DeadLetters: n(2), OldestWaitingID: first, OldestAccepted: job.CreatedAt,
		}
		if fmt.Sprint(s) != fmt.Sprint(want) {
			t.Errorf("the summary is\n%+v, want\n%+v", s, want)
		}
		if s, err = d.Summary(t.Context(), time.Now().Add(time.Minute)); err != nil || s.Accepted.N != 0 || s.DeadLettered.N != 0 || s.Waiting.N != 2 {
			t.Errorf("of a window without events: %+v, %v", s, err)
		}
	})
}

func TestInspectFindsWhatMustNotBe(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		bury(t, d, e.ID, 1)
		id := accept(t, d, e.ID, "x")
		look := func(name, wrong, stuck string) {
			t.Helper()
			i, err := Inspect(t.Context(), st)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(i.Wrong, " ") != wrong || strings.Join(i.Stuck, " ") != stuck || i.DeadLetters != 1 {
				t.Errorf("%s: %+v", name, i)
			}
		}
		now := time.Now()
		look("a job that waits", "", "")
		write(t, st, `update dispatch_job set attempt_count = attempt_budget - 1 where id = $1`, id)
		look("one attempt is left", "", "")
		write(t, st, `update dispatch_job set attempt_count = attempt_budget where id = $1`, id)
		look("it waits past its attempts", id, "")
		write(t, st, `update dispatch_job set attempt_count = 1, due_at = null where id = $1`, id)
		look("nothing will send it", id, "")
		write(t, st, `update dispatch_job set status = 'IN_FLIGHT' where id = $1`, id)
		look("in flight without a lease", id, "")
		write(t, st, `update dispatch_job set lease_token = 't', lease_node = 'n', lease_until = $2 where id = $1`, id, now.Add(-50*time.Second).UnixMicro())
		look("its lease was over a moment ago", "", "")
		write(t, st, `update dispatch_job set lease_until = $2 where id = $1`, id, now.Add(-70*time.Second).UnixMicro())
		look("its lease has been over for a minute", "", id)
	})
}

// What is counted and looked for goes through indexes.
func TestPlansOfCounting(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		now := time.Now()
		write(t, st, `
			with recursive n (i) as (select 1 union all select i + 1 from n where i < 5000)
			insert into dispatch_job (id, endpoint_id, status, attempt_count, attempt_budget, max_attempts, due_at, lease_token, lease_until,
			       dead_lettered_at, dead_letter_reason, payload_size, created_at, updated_at)
			select 'job-' || i, 'endpoint-' || (i % 10), case i % 50 when 0 then 'PENDING' when 1 then 'IN_FLIGHT' when 2 then 'DEAD_LETTER' else 'DISPATCHED' end,
			       1, 12, 12, case when i % 50 = 0 then i end, case when i % 50 = 1 then 't' end, case when i % 50 = 1 then cast($1 as bigint) end,
			       case when i % 50 = 2 then i end, case when i % 50 = 2 then 'EXHAUSTED' end, 1, i, i from n`, now.Add(time.Hour).UnixMicro())
		for _, analyzed := range []bool{false, true} {
			if analyzed {
				write(t, st, `analyze`)
			} else if st.Dialect() == store.Postgres {
				continue // it always is, some time
			}
			for _, p := range []struct {
				query, index string
				args         []any
			}{
				{deadText, "dispatch_job_died", []any{now.UnixMicro(), 5}},
				{newestDeadText, "dispatch_job_died", nil},
				{allDeadText, "dispatch_job_died", []any{audit.MaxTally}},
				{inFlightText, "dispatch_job_leased", []any{audit.MaxTally}},
				{waitingText, "dispatch_job_due", []any{audit.MaxTally}},
				{oldestText, "dispatch_job_status", []any{"PENDING"}},
				{wrongText, "dispatch_job_wrong", []any{10}},
				{stuckText, "dispatch_job_leased", []any{now.UnixMicro(), 10}},
			} {
				plan := explain(t, st, p.query, p.args...)
				if !strings.Contains(plan, p.index) || regexp.MustCompile(`Seq Scan|SCAN dispatch_job(\n|$)`).MatchString(plan) {
					t.Errorf("%s\nanalyzed: %t, without %s:\n%s", p.query, analyzed, p.index, plan)
				}
			}
		}
	})
}

// explain gives the plan of a statement.
func explain(t *testing.T, st *store.Store, query string, args ...any) string {
	t.Helper()
	var plan string
	prefix := "explain "
	if st.Dialect() == store.SQLite {
		prefix = "explain query plan "
	}
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		plan = ""
		err := tx.Each(t.Context(), func(scan func(...any) error) error {
			var line string
			var id, parent, unused int
			dest := []any{&id, &parent, &unused, &line}
			if st.Dialect() == store.Postgres {
				dest = dest[3:]
			}
			err := scan(dest...)
			plan += line + "\n"
			return err
		}, prefix+query, args...)
		return errors.Join(err, errUndo)
	})
	if !errors.Is(err, errUndo) || plan == "" {
		t.Fatal(err)
	}
	return plan
}
