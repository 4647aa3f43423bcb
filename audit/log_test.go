package audit_test

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// A change and its events are both there or neither is, however the function ends.
func TestChangeIsBothOrNeither(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		execute(t, st, `create table thing (id text primary key)`)
		made := func(id string) audit.Event { return audit.Event{Action: "thing.made", Entity: "Thing", EntityID: id} }
		for _, tt := range []struct {
			end     string
			then    func(*store.Tx) ([]audit.Event, error)
			stored  bool
			wantErr string // "": none
		}{
			{"with an event", func(*store.Tx) ([]audit.Event, error) { return []audit.Event{made("1")}, nil }, true, ""},
			{"with two events", func(*store.Tx) ([]audit.Event, error) { return []audit.Event{made("2"), made("2")}, nil }, true, ""},
			{"without an event", func(*store.Tx) ([]audit.Event, error) { return nil, nil }, false, "a change without an event"},
			{"with no events", func(*store.Tx) ([]audit.Event, error) { return []audit.Event{}, nil }, false, "a change without an event"},
			{"with an error", func(*store.Tx) ([]audit.Event, error) { return []audit.Event{made("5")}, errUndo }, false, "undo"},
			{"with nothing to do", func(*store.Tx) ([]audit.Event, error) { return nil, audit.ErrNothing }, false, ""},
			{"with nothing to do after all", func(*store.Tx) ([]audit.Event, error) {
				return []audit.Event{made("7")}, fmt.Errorf("x: %w", audit.ErrNothing)
			}, false, ""},
			{"with an event that cannot be written", func(*store.Tx) ([]audit.Event, error) { return []audit.Event{{}}, nil }, false, "write the audit event"},
			{"with a panic", func(*store.Tx) ([]audit.Event, error) { panic("as it may") }, false, "panic: as it may"},
			{"with its goroutine", func(*store.Tx) ([]audit.Event, error) { runtime.Goexit(); return nil, nil }, false, "goexit"},
		} {
			events, things := len(rows(t, st)), number(t, st, `select count(*) from thing`)
			done := make(chan error)
			go func() {
				err := errors.New("goexit")
				defer func() {
					if p := recover(); p != nil {
						err = fmt.Errorf("panic: %v", p)
					}
					done <- err
				}()
				err = log.Change(t.Context(), admin, func(tx *store.Tx) ([]audit.Event, error) {
					if _, err := tx.Exec(t.Context(), `insert into thing (id) values ($1)`, tt.end); err != nil {
						return nil, err
					}
					return tt.then(tx)
				})
			}()
			err := <-done
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%s: %v, want %q", tt.end, err, tt.wantErr)
			}
			moreEvents, moreThings := len(rows(t, st))-events, number(t, st, `select count(*) from thing`)-things
			if (moreEvents > 0) != tt.stored || (moreThings > 0) != tt.stored {
				t.Errorf("%s: %d events and %d things were stored", tt.end, moreEvents, moreThings)
			}
		}
		verify(t, st, log, key)
	})
}

// Without a key nothing is written: what is not protected is not recorded, and so does not happen.
func TestNoKeyNoChange(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log := audit.New(st, slog.New(slog.DiscardHandler))
		defer log.Close(t.Context())
		for _, ring := range []*keys.Ring{nil, keys.NewRing(nil, nil)} {
			if ring != nil {
				log.Use(ring)
			}
			wantKind(t, log.Record(t.Context(), admin, audit.Event{Action: "a"}), fault.Unavailable)
			wantKind(t, log.Check(t.Context()), fault.Unavailable)
		}
		if n := number(t, st, `select count(*) from "AuditLog"`); n != 0 {
			t.Errorf("%d events are there", n)
		}
	})
}

// Where the events cannot be written the change does not happen, and the log says that it is not well,
// until it writes again.
func TestWhatCannotBeAuditedDoesNotHappen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		for _, table := range []string{`"AuditLog"`, `audit_pending`} {
			log, _ := newLog(t, st)
			execute(t, st, `create table thing (id text primary key)`, `alter table `+table+` rename to away`)
			change := func() error {
				return log.Change(t.Context(), admin, func(tx *store.Tx) ([]audit.Event, error) {
					_, err := tx.Exec(t.Context(), `insert into thing (id) values ('x')`)
					return []audit.Event{{Action: "thing.made"}}, err
				})
			}
			if err := change(); err == nil || !strings.Contains(err.Error(), "write the audit event") || fault.Of(err) != fault.Internal {
				t.Errorf("without %s: %v", table, err)
			}
			if n := number(t, st, `select count(*) from thing`); n != 0 {
				t.Errorf("without %s the change happened", table)
			}
			err := log.Check(t.Context())
			wantKind(t, err, fault.Unavailable)
			if !strings.Contains(err.Error(), "did not happen") {
				t.Errorf("the check says %v", err)
			}
			execute(t, st, `alter table away rename to `+table)
			wantKind(t, log.Check(t.Context()), fault.Unavailable)
			if undone, _ := log.Undone(); !slices.Equal(undone, []uint64{1}) {
				t.Errorf("undone are %v", undone)
			}
			if err := change(); err != nil {
				t.Error(err)
			}
			if err := log.Check(t.Context()); err != nil {
				t.Errorf("it has written, and says %v", err)
			}
			log.Fail(errUndo, 2*time.Minute)
			if err := log.Check(t.Context()); err != nil {
				t.Errorf("two minutes later it says %v", err)
			}
			execute(t, st, `drop table thing`, `delete from "AuditLog"`, `delete from audit_pending`)
		}
	})
}

// What a function refuses is its own affair: the log is well.
func TestAFunctionsErrorIsNoFailureOfTheLog(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		for _, why := range []error{errUndo, fault.New(fault.Unavailable, "the queue is full"), fault.New(fault.Conflict, "no")} {
			err := log.Change(t.Context(), admin, func(*store.Tx) ([]audit.Event, error) { return nil, why })
			if !errors.Is(err, why) {
				t.Errorf("got %v, want %v", err, why)
			}
		}
		if err := log.Check(t.Context()); err != nil {
			t.Errorf("the log says %v", err)
		}
		large, end := fullDisk(t, st)
		wantKind(t, log.Record(t.Context(), admin, audit.Event{Action: "a", Details: large}), fault.Unavailable)
		wantKind(t, log.Check(t.Context()), fault.Unavailable)
		end()
	})
}

// boom makes every seventh number's envelope fail in the database.
func boom(t *testing.T, st *store.Store) {
	t.Helper()
	if st.Dialect() == store.SQLite {
		execute(t, st, `create trigger boom before insert on audit_pending when new.counter % 7 = 0 begin select raise(abort, 'boom'); end`)
		return
	}
	execute(t, st,
		`create function boom () returns trigger language plpgsql as $$ begin raise exception 'boom'; end $$`,
		`create trigger boom before insert on audit_pending for each row when (new.counter % 7 = 0) execute function boom()`)
}

// Of many changes at once each event has a number of its own, and every number that none has is known
// not to have been committed.
func TestNumbersHaveNoGapThatIsNotKnown(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		boom(t, st)
		const changes = 200
		var wg sync.WaitGroup
		var mu sync.Mutex
		wrote, failed := 0, 0
		for i := range changes {
			wg.Go(func() {
				events := make([]audit.Event, 1+i%3)
				for j := range events {
					events[j] = audit.Event{Action: "thing.made", EntityID: fmt.Sprint(i, "/", j)}
				}
				err := log.Change(t.Context(), admin, func(*store.Tx) ([]audit.Event, error) {
					if i%10 == 0 {
						return nil, errUndo // costs no number
					}
					return events, nil
				})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					wrote += len(events)
				case i%10 != 0:
					failed += len(events)
					if !strings.Contains(err.Error(), "boom") {
						t.Errorf("change %d: %v", i, err)
					}
				}
			})
		}
		wg.Wait()
		list := verify(t, st, log, key)
		undone, lost := log.Undone()
		if len(list) != wrote || len(undone) != failed || lost != 0 || wrote == 0 || failed == 0 {
			t.Errorf("%d events are there and %d were written; %d are undone and %d failed", len(list), wrote, len(undone), failed)
		}
		all := slices.Clone(undone)
		for _, r := range list {
			all = append(all, r.counter)
		}
		slices.Sort(all)
		for i, n := range all {
			if n != uint64(i+1) {
				t.Fatalf("the %d. number is %d", i+1, n)
			}
		}
		if log.Counted() != uint64(len(all)) {
			t.Errorf("%d numbers were given out, %d are known", log.Counted(), len(all))
		}
	})
}

// A transaction that PostgreSQL has run again has given its first numbers away for nothing, and that is
// no failure.
func TestNumbersOfARunThatWasTriedAgain(t *testing.T) {
	st := storetest.Open(t, storetest.PostgresURL(t))
	log, key := newLog(t, st)
	execute(t, st, `create sequence tries`,
		`create function busy () returns trigger language plpgsql as $$ begin
			if nextval('tries') = 1 then raise exception using errcode = '40001'; end if; return new; end $$`,
		`create trigger busy before insert on audit_pending for each row execute function busy()`)
	if err := log.Change(t.Context(), admin, one(audit.Event{Action: "a"}, audit.Event{Action: "b"})); err != nil {
		t.Fatal(err)
	}
	list := verify(t, st, log, key)
	undone, _ := log.Undone()
	if len(list) != 2 || list[0].counter != 3 || list[1].counter != 4 || !slices.Equal(undone, []uint64{1, 2}) {
		t.Errorf("%d events from number %d, undone %v", len(list), list[0].counter, undone)
	}
	if err := log.Check(t.Context()); err != nil {
		t.Errorf("the log says %v", err)
	}
}

// So many numbers are remembered that did not commit, those that follow each other as one.
func TestUndoneIsBounded(t *testing.T) {
	log := audit.New(nil, slog.New(slog.DiscardHandler))
	if kept := log.Undo(1, 5); kept != 1 {
		t.Errorf("%d spans", kept)
	}
	if kept := log.Undo(6, 3); kept != 1 {
		t.Errorf("%d spans of numbers that follow each other", kept)
	}
	if kept := log.Undo(20, 0); kept != 1 {
		t.Errorf("%d spans of which one has no number", kept)
	}
	for i := uint64(1); i < audit.MaxUndone+10; i++ {
		log.Undo(i*100, 2)
	}
	if numbers, lost := log.Undone(); len(numbers) != 8+2*(audit.MaxUndone-1) || lost != 2*10 {
		t.Errorf("%d numbers are kept, %d are not", len(numbers), lost)
	}
}

// Two servers write one log: each counts for itself, and the ids of both are in the order of time.
func TestTwoServers(t *testing.T) {
	url := storetest.PostgresURL(t)
	first, key := newLog(t, storetest.Open(t, url))
	second, _ := newLog(t, storetest.Open(t, url))
	second.Use(keys.NewRing(key, nil))
	if first.Writer() == second.Writer() {
		t.Fatal("two servers have one name")
	}
	for i := range 10 {
		for _, log := range []*audit.Log{first, second} {
			if err := log.Record(t.Context(), admin, audit.Event{Action: "a", EntityID: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var last row
	for i, r := range rows(t, first.Store()) {
		log := []*audit.Log{first, second}[i%2]
		if r.writer != log.Writer() || r.counter != uint64(i/2+1) || r.object != fmt.Sprint(i/2) || r.at.Before(last.at) {
			t.Errorf("event %d is number %d of %s", i, r.counter, r.writer)
		}
		last = r
	}
}
