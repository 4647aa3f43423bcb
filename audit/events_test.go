package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// record writes events of all sorts, some in one change, and gives them as they are read back, the
// newest first.
func record(t *testing.T, log *audit.Log) []audit.Record {
	t.Helper()
	for i := range 24 {
		by := audit.Principal{Kind: audit.User, UserID: fmt.Sprint("user-", i%3), RequestID: fmt.Sprint("request-", i/4)}
		e := audit.Event{
			Action: []string{"thing.made", "thing.sold"}[i%2], Entity: []string{"Thing", "Other"}[i%4/2], EntityID: fmt.Sprint("id-", i%5),
			Outcome: []string{audit.Success, audit.Denied, audit.Failure}[i%3],
		}
		events := []audit.Event{e}
		if i%6 == 0 {
			events = append(events, e, e)
		}
		if err := log.Change(t.Context(), by, one(events...)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := log.Events(t.Context(), audit.Filter{}, store.Page{Limit: 1000})
	if err != nil || len(all.Items) != 32 || all.Next != "" {
		t.Fatalf("%d events, next %q (%v)", len(all.Items), all.Next, err)
	}
	if !slices.IsSortedFunc(all.Items, func(a, b audit.Record) int { return strings.Compare(b.ID, a.ID) }) {
		t.Error("they are not the newest first")
	}
	return all.Items
}

// Every filter, alone and with others, finds what a loop over all events finds, in pages of every size.
func TestEventsAreFound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		all := record(t, log)
		middle, late := all[len(all)/2].Time, all[len(all)/4].Time
		filters := []audit.Filter{
			{},
			{RequestID: "request-2"},
			{ActorID: "user-1"},
			{Action: "thing.sold"},
			{Entity: "Other"},
			{EntityID: "id-3"},
			{Outcome: audit.Denied},
			{ActorID: "user-1", Action: "thing.made"},
			{Entity: "Thing", EntityID: "id-0"},
			{RequestID: "request-1", ActorID: "user-2", Action: "thing.sold", Entity: "Thing", EntityID: "id-0", Outcome: audit.Failure},
			{RequestID: "nobody's"},
			{ActorID: "user-1", RequestID: "nobody's"},
			{From: middle},
			{To: middle},
			{From: middle, To: late},
			{From: late, To: middle},
			{From: middle, To: middle},
			{From: middle.Add(time.Microsecond)},
			{To: middle.Add(time.Microsecond)},
			{From: middle, ActorID: "user-0"},
			{To: late, Action: "thing.sold"},
			{From: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)},
			{To: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)},
			{From: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
			{To: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)},
			{From: middle.In(time.FixedZone("", 3600)), To: late.In(time.FixedZone("", -7200))},
		}
		for _, f := range filters {
			var want []string
			for _, r := range all {
				if matches(f, r) {
					want = append(want, r.ID)
				}
			}
			for _, limit := range []int{1, 3, 7, len(all), 1000} {
				var got []string
				page := store.Page{Limit: limit}
				for {
					list, err := log.Events(t.Context(), f, page)
					if err != nil {
						t.Fatalf("%+v: %v", f, err)
					}
					if len(list.Items) > limit || list.Next != "" && len(list.Items) < limit {
						t.Errorf("%+v: a page of %d has %d, and there is more: %q", f, limit, len(list.Items), list.Next)
					}
					for _, r := range list.Items {
						got = append(got, r.ID)
					}
					if list.Next == "" {
						break
					}
					page.After = list.Next
				}
				if !slices.Equal(got, want) {
					t.Errorf("%+v in pages of %d finds %d, want %d", f, limit, len(got), len(want))
				}
			}
		}
	})
}

func matches(f audit.Filter, r audit.Record) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.RequestID, r.RequestID) && is(f.ActorID, r.Actor.ID) && is(f.Action, r.Action) && is(f.Entity, r.Entity) &&
		is(f.EntityID, r.EntityID) && is(f.Outcome, r.Outcome) &&
		(f.From.IsZero() || !r.Time.Before(f.From)) && (f.To.IsZero() || r.Time.Before(f.To))
}

func TestEvent(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		want := record(t, log)[3]
		got, err := log.Event(t.Context(), want.ID)
		if err != nil || got.ID != want.ID || got.Action != want.Action || !got.Time.Equal(want.Time) {
			t.Errorf("got %+v (%v), want %+v", got, err, want)
		}
		for _, id := range []string{store.NewID(), "", "x", "\x00", strings.ToUpper(want.ID)} {
			_, err := log.Event(t.Context(), id)
			wantKind(t, err, fault.NotFound)
		}
		execute(t, st, `update "AuditLog" set body = '{'`)
		if _, err := log.Event(t.Context(), want.ID); err == nil || fault.Of(err) != fault.Internal {
			t.Errorf("a body that is no JSON: %v", err)
		}
		execute(t, st, `update "AuditLog" set body = '{"v":1,"time":"yesterday"}'`)
		if _, err := log.Events(t.Context(), audit.Filter{}, store.Page{Limit: 1}); err == nil || fault.Of(err) != fault.Internal {
			t.Errorf("a body without a time: %v", err)
		}
	})
}

// Behind many events, each list starts in its index and reads no more than its page.
func TestEventsUseTheirIndexes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		// 20,000 events in one statement: 200 actors, 100 actions, 5 events a request, 4 an entity.
		execute(t, st, `with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000)
			insert into "AuditLog" (id, at, request_id, actor_id, action, entity, entity_id, outcome, writer, counter, salt, body)
			select '0198c000-0000-7000-8000-' || cast(100000000000 + i as text), 1755567882240000 + i, 'request-' || cast(i / 5 as text),
			       'user-' || cast(i % 200 as text), 'action-' || cast(i % 100 as text), 'Thing', 'thing-' || cast(i / 4 as text), 'SUCCESS',
			       'w', i, cast('x' as blob), '{}'
			  from n`)
		execute(t, st, map[store.Dialect]string{store.SQLite: `analyze`, store.Postgres: `analyze "AuditLog"`}[st.Dialect()])
		key := map[store.Dialect]string{store.SQLite: "sqlite_autoindex_AuditLog_1", store.Postgres: "AuditLog_pkey"}[st.Dialect()]
		from, to := time.UnixMilli(0x0198c0000000).Add(-time.Hour), time.UnixMilli(0x0198c0000000).Add(time.Hour)
		for _, tt := range []struct {
			name   string
			filter audit.Filter
			page   store.Page
			index  string
		}{
			{"all", audit.Filter{}, store.Page{Limit: 10}, key},
			{"all, a later page", audit.Filter{}, store.Page{Limit: 10, After: "0198c000-0000-7000-8000-100000010000"}, key},
			{"a time", audit.Filter{From: from, To: to}, store.Page{Limit: 10}, key},
			{"request", audit.Filter{RequestID: "request-77"}, store.Page{Limit: 10}, "audit_log_request"},
			{"actor", audit.Filter{ActorID: "user-7"}, store.Page{Limit: 10}, "audit_log_actor"},
			{"actor, a later page", audit.Filter{ActorID: "user-7"}, store.Page{Limit: 10, After: "0198c000-0000-7000-8000-100000010000"}, "audit_log_actor"},
			{"actor and outcome", audit.Filter{ActorID: "user-7", Outcome: audit.Success}, store.Page{Limit: 10}, "audit_log_actor"},
			{"action", audit.Filter{Action: "action-3"}, store.Page{Limit: 10}, "audit_log_action"},
			{"action in a time", audit.Filter{Action: "action-3", From: from, To: to}, store.Page{Limit: 10}, "audit_log_action"},
			{"entity", audit.Filter{Entity: "Thing", EntityID: "thing-5"}, store.Page{Limit: 10}, "audit_log_entity"},
		} {
			query, args := tt.filter.Query(tt.page)
			plan := explain(t, st, query, args)
			if !strings.Contains(plan, tt.index) {
				t.Errorf("%s does not use %s:\n%s", tt.name, tt.index, plan)
			}
			bad := []string{"Seq Scan", "TEMP B-TREE"}
			if tt.filter.RequestID == "" && tt.filter.EntityID == "" { // those have few, which may be sorted
				bad = append(bad, "Sort", "Bitmap")
			}
			for _, b := range bad {
				if strings.Contains(plan, b) {
					t.Errorf("%s has a %s:\n%s", tt.name, b, plan)
				}
			}
		}
	})
}

// explain gives a statement's plan in the database's own words.
func explain(t *testing.T, st *store.Store, query string, args []any) string {
	t.Helper()
	var lines []string
	err := st.Read(t.Context(), func(tx *store.Tx) error {
		if st.Dialect() == store.Postgres {
			return tx.Each(t.Context(), func(scan func(...any) error) error {
				var line string
				err := scan(&line)
				lines = append(lines, line)
				return err
			}, `explain `+query, args...)
		}
		return tx.Each(t.Context(), func(scan func(...any) error) error {
			var id, parent, unused int
			var line string
			err := scan(&id, &parent, &unused, &line)
			lines = append(lines, line)
			return err
		}, `explain query plan `+query, args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
