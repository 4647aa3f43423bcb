package audit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestTally(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		by := audit.Principal{Kind: audit.User, UserID: "u1", IP: "192.0.2.1"}
		why := errors.New("no")
		before := time.Now().Add(-time.Minute)
		for _, e := range []audit.Event{
			{Action: "job.died", Details: map[string]any{"reason": "EXHAUSTED"}},
			{Action: "job.died", Details: map[string]any{"reason": "EXHAUSTED"}},
			{Action: "job.died", Details: map[string]any{"reason": "OPERATOR", "count": 7}}, // not a flood's
			{Action: "job.died"},
			{Action: "job.accepted"},
			{Action: "job.accept"},
		} {
			if err := log.Record(t.Context(), by, e); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 { // one at once, and four as one event when the log is closed
			if err := log.Refused(t.Context(), by, audit.Event{Action: "door.refused"}, why); !errors.Is(err, why) {
				t.Fatal(err)
			}
		}
		log.Close(t.Context())

		got, err := log.Tally(t.Context(), before, "job.died", "job.accepted", "job.none")
		if err != nil || fmt.Sprint(got) != "map[job.accepted:{1 false} job.died:{4 false} job.none:{0 false}]" {
			t.Errorf("%v, %v", got, err)
		}
		reasons, total, err := log.TallyBy(t.Context(), before, "job.died", "reason")
		if err != nil || fmt.Sprint(reasons, total) != "map[:1 EXHAUSTED:2 OPERATOR:1] {4 false}" {
			t.Errorf("%v %v, %v", reasons, total, err)
		}
		if refused, err := log.TallyRefused(t.Context(), before); err != nil || refused != (audit.Tally{N: 5}) {
			t.Errorf("refused: %v, %v", refused, err)
		}
		after := time.Now().Add(time.Minute)
		got, err = log.Tally(t.Context(), after, "job.died")
		refused, err2 := log.TallyRefused(t.Context(), after)
		if err != nil || err2 != nil || got["job.died"].N != 0 || refused.N != 0 {
			t.Errorf("since a time behind them all: %v, %v, %v, %v", got, refused, err, err2)
		}
	})
}

func TestTallyOf(t *testing.T) {
	for n, want := range map[int]audit.Tally{
		0: {}, 99_999: {N: 99_999}, 100_000: {N: 100_000}, 100_001: {N: 100_000, AtLeast: true},
	} {
		if got := audit.TallyOf(n); got != want {
			t.Errorf("%d: %+v", n, got)
		}
	}
}

// Of very many events no more are read than the limit, and what was left out is told. All of it goes
// through indexes.
func TestTallyStops(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		fill := func(action, outcome string, n int) {
			t.Helper()
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), `
					with recursive n (i) as (select 1 union all select i + 1 from n where i < $1)
					insert into "AuditLog" (id, at, action, outcome, writer, counter, salt, body)
					select $2 || cast(1000000 + i as text), 1, cast($3 as text), cast($4 as text), 'w', i, cast('salt' as blob), '{"details":{"reason":"A"}}' from n`,
					n, audit.FirstID(time.Now())[:29]+action[:1], action, outcome)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		fill("at.limit", audit.Success, audit.MaxBodies)
		fill("beyond", audit.Denied, audit.MaxBodies+1)
		fill("rare", audit.Success, 50)
		before := time.Now().Add(-time.Minute)
		if by, total, err := log.TallyBy(t.Context(), before, "at.limit", "reason"); err != nil || by["A"] != audit.MaxBodies || total != (audit.Tally{N: audit.MaxBodies}) {
			t.Errorf("at the limit: %v %v, %v", by, total, err)
		}
		if _, total, err := log.TallyBy(t.Context(), before, "beyond", "reason"); err != nil || total != (audit.Tally{N: audit.MaxBodies, AtLeast: true}) {
			t.Errorf("one more: %v, %v", total, err)
		}
		if total, err := log.TallyRefused(t.Context(), before); err != nil || !total.AtLeast {
			t.Errorf("refused: %v, %v", total, err)
		}
		explain := "explain query plan "
		if st.Dialect() == store.Postgres {
			explain = "explain "
			execute(t, st, `analyze`)
		}
		for query, index := range map[string]string{audit.TallyText: "audit_log_action", audit.BodiesText: "audit_log_action", audit.RefusedText: "audit_log_denied"} {
			args := []any{"rare", audit.FirstID(before), audit.FirstID(time.Now().Add(time.Minute)), 10}
			if index == "audit_log_denied" {
				args = args[1:]
			}
			var plan string
			err := st.Read(t.Context(), func(tx *store.Tx) error {
				plan = ""
				return tx.Each(t.Context(), func(scan func(...any) error) error {
					var line string
					var a, b, c int
					dest := []any{&a, &b, &c, &line}
					if st.Dialect() == store.Postgres {
						dest = dest[3:]
					}
					err := scan(dest...)
					plan += line + "\n"
					return err
				}, explain+query, args...)
			})
			if err != nil || !strings.Contains(plan, index) {
				t.Errorf("%s: without %s:\n%s%v", query, index, plan, err)
			}
		}
	})
}
