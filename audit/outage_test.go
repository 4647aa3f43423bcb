package audit_test

import (
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// What could not be written is told by one event as soon as something can, and then by one a minute at most.
func TestAnOutageIsToldOf(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		outages := func() (list []map[string]any) {
			t.Helper()
			page, err := log.Events(t.Context(), audit.Filter{Action: "audit.outage"}, store.Page{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Items {
				if e.Outcome != audit.Failure || e.Entity != "AuditWriter" || e.EntityID != log.Writer() {
					t.Errorf("the event is %+v", e)
				}
				list = append(list, e.Details)
			}
			return list
		}
		fail := func(times int) {
			t.Helper()
			for range times {
				large, end := fullDisk(t, st)
				wantKind(t, log.Record(t.Context(), admin, audit.Event{Action: "a", Details: large}), fault.Unavailable)
				end()
			}
		}
		fail(2)
		if n := len(outages()); n != 0 {
			t.Fatalf("%d are told of while nothing can be written", n)
		}
		if err := log.Record(t.Context(), admin, audit.Event{Action: "b"}); err != nil {
			t.Fatal(err)
		}
		told := outages()
		if len(told) != 1 || told[0]["writes"] != 2.0 {
			t.Fatalf("told is %v, want one of 2 writes", told)
		}
		if reason := told[0]["reason"]; reason != "the database's disk is full" && reason != "the database is read-only" {
			t.Errorf("the reason is %v", reason)
		}
		since, err1 := time.Parse(time.RFC3339, told[0]["since"].(string))
		until, err2 := time.Parse(time.RFC3339, told[0]["until"].(string))
		if err1 != nil || err2 != nil || until.Before(since) || time.Since(since) > time.Minute {
			t.Errorf("it lasted from %v to %v", told[0]["since"], told[0]["until"])
		}

		fail(3)
		beat := func() {
			t.Helper()
			if err := log.Bookkeep(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), `delete from node`)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		beat()
		if n := len(outages()); n != 1 {
			t.Errorf("%d are told of within a minute", n)
		}
		log.OutageTold(time.Now().Add(-time.Minute))
		beat() // that tells of it too: a server may have nothing else to write
		if told = outages(); len(told) != 2 || told[0]["writes"] != 3.0 && told[1]["writes"] != 3.0 {
			t.Errorf("told is %v, want another one of 3 writes", told)
		}
		if err := log.Check(t.Context()); err != nil {
			t.Errorf("it has been told of, and the check says %v", err)
		}
	})
}

// That bookkeeping cannot be written is a failure of the log: no change could be written either.
func TestBookkeepingThatFailsIsToldOf(t *testing.T) {
	st := storetest.Open(t, storetest.PostgresURL(t))
	log, _ := newLog(t, st)
	execute(t, st, `set session characteristics as transaction read only`)
	err := log.Bookkeep(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `delete from node`)
		return err
	})
	wantKind(t, err, fault.Unavailable)
	wantKind(t, log.Check(t.Context()), fault.Unavailable)
	if err := log.Bookkeep(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `delete from node`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := log.Check(t.Context()); err != nil {
		t.Errorf("it writes again, and the check says %v", err)
	}
}
