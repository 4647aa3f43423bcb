package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// happened writes events of a time, behind the log's back.
func happened(t *testing.T, st *store.Store, at time.Time, action, outcome, details string, n int) {
	t.Helper()
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		rows := make([][]any, n)
		for i := range rows {
			rows[i] = []any{
				audit.FirstID(at)[:24] + store.NewID()[24:], at.UnixMicro(), action, outcome, "w" + store.NewID(), int64(i), []byte("salt"), `{"details":` + details + `}`,
			}
		}
		return tx.Insert(t.Context(), `"AuditLog"`, []string{"id", "at", "action", "outcome", "writer", "counter", "salt", "body"}, rows)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func countAll(t *testing.T, log *audit.Log) {
	t.Helper()
	if err := log.CountUntil(t.Context(), -time.Second); err != nil {
		t.Fatal(err)
	}
}

// What is counted stays the same number while it moves from the events to the counters, and what two
// servers count is counted once.
func TestCountersTellWhatTheEventsTell(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		other, _ := newLog(t, st)
		for _, l := range []*audit.Log{log, other} {
			l.CountBy("job.died", "reason")
		}
		minute := time.Now().UTC().Truncate(time.Minute)
		happened(t, st, minute.Add(-10*time.Minute), "job.accepted", audit.Success, `{}`, 3)
		happened(t, st, minute.Add(-9*time.Minute).Add(59*time.Second), "job.died", audit.Failure, `{"reason":"EXHAUSTED"}`, 2)
		happened(t, st, minute.Add(-8*time.Minute), "job.died", audit.Failure, `{"reason":"OPERATOR"}`, 1)
		happened(t, st, minute.Add(-8*time.Minute), "job.died", audit.Failure, `{"reason":"`+strings.Repeat("x", 65)+`"}`, 1)
		happened(t, st, minute.Add(-3*time.Minute), "door.refused", audit.Denied, `{"windowSeconds":60,"count":41}`, 1)
		happened(t, st, time.Now(), "job.accepted", audit.Success, `{}`, 2)
		since := minute.Add(-9 * time.Minute).Add(-30 * time.Second) // in the middle of a minute, behind the first three
		b := audit.Buckets{From: minute.Add(-10 * time.Minute), Each: 5 * time.Minute, N: 3}
		look := func(when string) {
			t.Helper()
			n, err := log.Tally(t.Context(), since, "job.accepted", "job.none")
			if err != nil || n["job.accepted"] != (audit.Tally{N: 2}) || n["job.none"] != (audit.Tally{}) {
				t.Errorf("%s: %v, %v", when, n, err)
			}
			by, total, err := log.TallyBy(t.Context(), since, "job.died", "reason")
			if err != nil || by["EXHAUSTED"] != 2 || by["OPERATOR"] != 1 || total != (audit.Tally{N: 4}) {
				t.Errorf("%s: %v %v, %v", when, by, total, err)
			}
			if refused, err := log.TallyRefused(t.Context(), since); err != nil || refused != (audit.Tally{N: 41}) {
				t.Errorf("%s: refused %v, %v", when, refused, err)
			}
			s, err := log.Series(t.Context(), b, "job.accepted", "job.died")
			if err != nil || s.AtLeast {
				t.Fatalf("%s: %v, %v", when, s, err)
			}
			for name, got := range map[string][]int{
				"[3 0 2]":  s.Of("job.accepted"),
				"[4 0 0]":  s.Of("job.died"),
				"[2 0 0]":  s.By("job.died", "EXHAUSTED"),
				"[1 0 0]":  s.By("job.died", "OPERATOR"),
				"[0 0 0]":  s.By("job.died", "NONE"),
				"[0 41 0]": s.Refused(),
			} {
				if fmt.Sprint(got) != name {
					t.Errorf("%s: %v, want %s", when, got, name)
				}
			}
		}
		look("before counting")
		if err := log.Count(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := number(t, st, `select coalesce(sum(n), 0) from event_count where action = 'job.accepted'`); n != 3 {
			t.Errorf("%d accepted are in the counters, and the last two are not 10 s old", n)
		}
		look("up to some seconds ago")
		happened(t, st, time.Now(), "later", audit.Success, `{}`, 1)
		var both sync.WaitGroup
		for _, l := range []*audit.Log{log, other, log, other} {
			both.Go(func() {
				if err := l.CountUntil(t.Context(), -time.Second); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		if n := number(t, st, `select sum(n) from event_count where action = 'later'`); n != 1 {
			t.Errorf("counted %d times", n)
		}
		look("all of it")
	})
}

// A quiet time costs no write, a long one is caught up with, and one behind the counters' time is left out.
func TestCountingCatchesUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		countAll(t, log)
		if n := number(t, st, `select count(*) from event_count_mark`); n != 0 {
			t.Error("of nothing, something was written")
		}
		now := time.Now().UTC()
		happened(t, st, now.Add(-audit.CountsKept).Add(-2*time.Minute), "old", audit.Success, `{}`, 1)
		for i := range 70 { // more than one transaction counts
			happened(t, st, now.Add(-time.Duration(i)*time.Minute), "steady", audit.Success, `{}`, 1)
		}
		happened(t, st, now.Add(-audit.CountsKept).Add(2*time.Minute), "first", audit.Success, `{}`, 1)
		countAll(t, log)
		for action, want := range map[string]int{"old": 0, "first": 1, "steady": 70} {
			if n := number(t, st, `select coalesce(sum(n), 0) from event_count where action = $1`, action); n != want {
				t.Errorf("%s: %d, want %d", action, n, want)
			}
		}
		mark := number(t, st, `select counted_until from event_count_mark`)
		countAll(t, log)
		if again := number(t, st, `select counted_until from event_count_mark`); again != mark {
			t.Error("the mark moved although nothing had happened")
		}
		if n, err := log.Tally(t.Context(), now.Add(-audit.CountsKept).Add(-time.Hour), "old"); err != nil || n["old"].N != 1 {
			t.Errorf("of a time before the counters: %v, %v", n, err)
		}

		keep := now.Add(-audit.CountsKept).Unix() / 60
		execute(t, st, fmt.Sprintf(`insert into event_count (minute, action, detail, n) values (%d, 'edge', 'kept', 1), (%d, 'edge', 'gone', 1)`, keep+1, keep-1))
		if n, err := log.ForgetCounts(t.Context()); err != nil || n != 1 {
			t.Errorf("%d rows were forgotten, %v", n, err)
		}
		if n := number(t, st, `select count(*) from event_count where detail = 'kept'`); n != 1 {
			t.Error("a counter was forgotten before its time")
		}
	})
}

func TestCountingThatFailsIsMadeUpFor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var said strings.Builder
		log := audit.New(st, slog.New(slog.NewTextHandler(&said, nil)))
		happened(t, st, time.Now().Add(-time.Minute), "something", audit.Success, `not JSON`, 1)
		log.CountBy("something", "reason")
		if err := log.Count(t.Context()); err == nil {
			t.Error("a body that cannot be read was counted")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		log.CountUp(ctx)
		if n := number(t, st, `select count(*) from event_count_mark`); n != 0 {
			t.Error("the mark moved although nothing was counted")
		}
		execute(t, st, `update "AuditLog" set body = '{"details":{"reason":"A"}}'`)
		if err := log.Count(t.Context()); err != nil || errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if n := number(t, st, `select n from event_count where detail = 'A'`); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}

func TestPlansOfCounters(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		for i := range 50 {
			happened(t, st, time.Now().Add(-time.Duration(i)*time.Second), fmt.Sprintf("action.%d", i%5), audit.Success, `{}`, 100)
		}
		execute(t, st, `with recursive n (i) as (select 1 union all select i + 1 from n where i < 5000)
			insert into event_count (minute, action, detail, n) select i, 'a', '', 1 from n`, `analyze`)
		explain := "explain query plan "
		if st.Dialect() == store.Postgres {
			explain = "explain "
		}
		for _, p := range []struct {
			query string
			args  []any
			want  []string
		}{
			{audit.CountText, []any{audit.FirstID(time.Now().Add(-5 * time.Second)), audit.FirstID(time.Now())}, []string{"audit_log_action"}},
			{audit.SeriesText(2), []any{100, 160, 5, "a", "b"}, []string{"sqlite_autoindex_event_count_1", "event_count_pkey"}},
		} {
			var plan []string
			err := st.Read(t.Context(), func(tx *store.Tx) error {
				return tx.Each(t.Context(), func(scan func(...any) error) error {
					var line string
					var a, b, c int
					dest := []any{&a, &b, &c, &line}
					if st.Dialect() == store.Postgres {
						dest = dest[3:]
					}
					err := scan(dest...)
					plan = append(plan, line)
					return err
				}, explain+p.query, p.args...)
			})
			text := strings.Join(plan, "\n")
			if err != nil || !slices.ContainsFunc(p.want, func(index string) bool { return strings.Contains(text, index) }) ||
				strings.Contains(text, "Seq Scan on \"AuditLog\"") || strings.Contains(text, "SCAN e\n") {
				t.Errorf("%s\n%s\n%v", p.query, text, err)
			}
		}
	})
}
