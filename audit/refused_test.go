package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

var (
	errDenied = fault.New(fault.Unauthenticated, "wrong credentials")
	stranger  = audit.Principal{Kind: audit.Anonymous, IP: "192.0.2.9", UserAgent: "curl", RequestID: "r"}
	failed    = audit.Event{Action: "auth.login.failed", Entity: "User", EntityID: "u1", Outcome: audit.Failure, Details: map[string]any{"reason": "password"}}
)

// A flood of refusals is two rows: the first at once, and the others with their count.
func TestAFloodOfRefusalsIsTwoRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		const flood, crowd = 1000, 20
		var wg sync.WaitGroup
		for c := range crowd {
			wg.Go(func() {
				for i := range flood / crowd {
					by := stranger
					by.RequestID = fmt.Sprint("request-", c, "-", i)
					if err := log.Refused(t.Context(), by, failed, errDenied); !errors.Is(err, errDenied) || !fault.Is(err, fault.Unauthenticated) {
						t.Errorf("got %v, want the refusal itself", err)
					}
				}
			})
		}
		wg.Wait()
		if list := rows(t, st); len(list) != 1 || strings.Contains(list[0].body, "count") {
			t.Fatalf("%d events are there at once", len(list))
		}
		log.Close(t.Context())
		verify(t, st, log, key)
		list, err := log.Events(t.Context(), audit.Filter{Action: failed.Action}, store.Page{Limit: 10})
		if err != nil || len(list.Items) != 2 {
			t.Fatalf("%d events are there (%v)", len(list.Items), err)
		}
		last := list.Items[0]
		if last.Details["count"] != float64(flood-1) || last.Details["windowSeconds"] != 60.0 || last.Details["reason"] != "password" ||
			last.Outcome != audit.Failure || last.IP != stranger.IP || last.Actor.Kind != audit.Anonymous || last.EntityID != "u1" {
			t.Errorf("the last one is %+v", last)
		}
		// One of the requests that it stands for is named.
		if !strings.HasPrefix(last.RequestID, "request-") {
			t.Errorf("its request is %q", last.RequestID)
		}
	})
}

// Refusals of different kinds are told apart, and what makes a kind is who, from where, what and whom.
func TestKindsOfRefusals(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		alike := func(by audit.Principal, e audit.Event) int {
			before := number(t, st, `select count(*) from "AuditLog"`)
			if err := log.Refused(t.Context(), by, e, errDenied); !errors.Is(err, errDenied) {
				t.Error(err)
			}
			return number(t, st, `select count(*) from "AuditLog"`) - before
		}
		if alike(stranger, failed) != 1 || alike(stranger, failed) != 0 {
			t.Error("two of a kind are not one event")
		}
		by, e := stranger, failed
		by.RequestID, by.UserAgent, by.SessionID = "other", "other", "other"
		e.Details = map[string]any{"reason": "other"}
		if alike(by, e) != 0 {
			t.Error("another request of the same kind is another kind")
		}
		for name, change := range map[string]func(*audit.Principal, *audit.Event){
			"address": func(by *audit.Principal, _ *audit.Event) { by.IP = "192.0.2.10" },
			"user":    func(by *audit.Principal, _ *audit.Event) { by.UserID = "u9" },
			"key":     func(by *audit.Principal, _ *audit.Event) { by.KeyID = "k9" },
			"action":  func(_ *audit.Principal, e *audit.Event) { e.Action = "auth.other.failed" },
			"entity":  func(_ *audit.Principal, e *audit.Event) { e.EntityID = "u2" },
			"type":    func(_ *audit.Principal, e *audit.Event) { e.Entity = "Document" },
			"outcome": func(_ *audit.Principal, e *audit.Event) { e.Outcome = "" },
		} {
			by, e := stranger, failed
			change(&by, &e)
			if alike(by, e) != 1 || alike(by, e) != 0 {
				t.Errorf("another %s is no kind of its own", name)
			}
		}
		if n := number(t, st, `select count(*) from "AuditLog" where outcome = 'DENIED'`); n != 1 {
			t.Errorf("%d refusals without an outcome are DENIED, want 1", n)
		}
	})
}

// A window closes by itself after a minute, and the next refusal is an event at once again.
func TestRefusalWindowsClose(t *testing.T) {
	url := storetest.SQLiteURL(t)
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = st.Close() }()
		log := audit.New(st, slog.New(slog.DiscardHandler))
		log.Use(keys.NewRing(keys.NewKey(keys.NewID(), bytes.Repeat([]byte{1}, 32)), nil))
		defer log.Close(context.Background())
		refuse := func(n int) {
			for range n {
				if err := log.Refused(t.Context(), stranger, failed, errDenied); !errors.Is(err, errDenied) {
					t.Error(err)
				}
			}
		}
		events := func() int { return number(t, st, `select count(*) from "AuditLog"`) }
		refuse(5)
		time.Sleep(audit.RefusalSpan - audit.SweepEvery)
		synctest.Wait()
		if n := events(); n != 1 {
			t.Errorf("before the minute is over there are %d events", n)
		}
		time.Sleep(2 * audit.SweepEvery)
		synctest.Wait()
		if n := events(); n != 2 || log.Kinds() != 0 {
			t.Errorf("after it there are %d events, and %d windows", n, log.Kinds())
		}
		refuse(1)
		if n := events(); n != 3 {
			t.Errorf("the next one makes %d events", n)
		}
		time.Sleep(audit.RefusalSpan + 2*audit.SweepEvery)
		synctest.Wait()
		if n := events(); n != 3 || log.Kinds() != 0 {
			t.Errorf("a window without a second refusal made %d events, and %d windows are left", n, log.Kinds())
		}
	})
}

// Who floods a server with ever new addresses and ids does not fill its memory: past so many kinds,
// refusals are told apart by what was refused alone.
func TestKindsAreBounded(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	log, key := newLog(t, st)
	var wg sync.WaitGroup
	const crowd = 64 // together they share their commits
	refuse := func(from, n int, action string) {
		for c := range crowd {
			wg.Go(func() {
				for i := from + c; i < from+n; i += crowd {
					e := failed
					e.Action, e.EntityID = action, fmt.Sprint("u", i)
					if err := log.Refused(t.Context(), stranger, e, errDenied); !errors.Is(err, errDenied) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	refuse(0, audit.MaxRefusalKinds, "a.refused")
	if n := log.Kinds(); n != audit.MaxRefusalKinds {
		t.Errorf("%d kinds are counted, want %d", n, audit.MaxRefusalKinds)
	}
	before := number(t, st, `select count(*) from "AuditLog"`)
	refuse(audit.MaxRefusalKinds, 500, "a.refused")
	refuse(0, 500, "b.refused")
	refuse(0, 3, "a.refused") // known before, and still told apart
	if n := log.Kinds(); n != audit.MaxRefusalKinds+2 {
		t.Errorf("%d kinds are counted, want two more: one for each action", n)
	}
	if n := number(t, st, `select count(*) from "AuditLog"`) - before; n != 2 {
		t.Errorf("1,000 refusals of new kinds made %d events at once, want 2", n)
	}
	log.Close(t.Context())
	verify(t, st, log, key)
	for _, tt := range []struct {
		action string
		want   float64
	}{{"a.refused", 499}, {"b.refused", 499}} {
		list, err := log.Events(t.Context(), audit.Filter{Action: tt.action}, store.Page{Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		combined := 0
		for _, r := range list.Items {
			if r.Details["combined"] == true {
				combined++
				if r.Details["count"] != tt.want || r.EntityID != "" || r.IP != "" || r.Actor.Kind != audit.Anonymous {
					t.Errorf("%s: %+v", tt.action, r)
				}
			}
		}
		if combined != 1 {
			t.Errorf("%s: %d events for many kinds", tt.action, combined)
		}
	}
}

// What is remembered of a refusal is what its event will say: nothing of a size that a stranger chooses.
func TestRefusalsAreRememberedLean(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	log, _ := newLog(t, st)
	huge := strings.Repeat("x", 1<<20)
	by := audit.Principal{Kind: audit.User, UserID: huge, Email: huge, Role: audit.Author, SessionID: huge, KeyID: huge, Scopes: []string{huge}, IP: huge, UserAgent: huge, RequestID: huge}
	e := audit.Event{Action: "a.refused", Entity: "Thing", EntityID: huge, Details: map[string]any{"reason": strings.Repeat("x", 2000)}, By: &by}
	for range 2 {
		if err := log.Refused(t.Context(), by, e, errDenied); !errors.Is(err, errDenied) {
			t.Error(err)
		}
	}
	for _, r := range log.Remembered() {
		if size := len(fmt.Sprintf("%+v", r)); size > 8*audit.MaxWord || r.Event.By != nil || r.Event.Details != nil || r.Count != 1 {
			t.Errorf("%d bytes are remembered", size)
		}
		if r.By.Kind != audit.User || r.By.Role != audit.Author || r.By.UserID != audit.Word(huge) || r.Event.EntityID != audit.Word(huge) {
			t.Errorf("what the event says is not all there: %.200v", r)
		}
	}
}

// Whoever hangs up while being refused is recorded all the same.
func TestRefusalOfOneWhoHangsUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := log.Refused(ctx, stranger, failed, errDenied); !errors.Is(err, errDenied) || !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("got %v", err)
		}
		if n := len(rows(t, st)); n != 1 {
			t.Errorf("%d events are there", n)
		}
	})
}

// A refusal that cannot be recorded is not given: the caller is told to come back, and it is counted
// until it can be.
func TestRefusalThatCannotBeRecorded(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		st, err := store.Open(t.Context(), url, store.Options{MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = st.Close() }()
		log, key := newLog(t, st)
		large, end := fullDisk(t, st)
		e := failed
		e.Details = large
		err = log.Refused(t.Context(), stranger, e, errDenied)
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Kind != fault.Unavailable || f.Details != nil || f.RetryAfter == 0 || !errors.Is(err, errDenied) || !store.Outage(err) {
			t.Errorf("got %v, want fault.Unavailable because of both", err)
		}
		end()
		if err := log.Refused(t.Context(), stranger, e, errDenied); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("got %v, want the refusal", err)
		}
		if n := len(rows(t, st)); n != 0 {
			t.Errorf("%d events are there", n)
		}
		log.Close(t.Context())
		list := verify(t, st, log, key)
		if len(list) != 2 || !strings.Contains(list[0].body+list[1].body, `"count":2`) || !strings.Contains(list[0].body+list[1].body, "audit.outage") {
			t.Errorf("%d events tell of the two, and of the outage", len(list))
		}
	})
}

// Without a key, or with an event that cannot be written at all, the answer is no refusal either.
func TestRefusalWithoutALog(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	log, _ := newLog(t, st)
	e := failed
	e.Details = map[string]any{"reason": strings.Repeat("x", audit.MaxBody)}
	wantKind(t, log.Refused(t.Context(), stranger, e, errDenied), fault.Unavailable)
	log.Use(keys.NewRing(nil, nil))
	e = failed
	e.Action = "auth.other.failed"
	wantKind(t, log.Refused(t.Context(), stranger, e, errDenied), fault.Unavailable)
}

// Windows that cannot be written when their time is over are kept and written later.
func TestWindowsOutliveAnOutage(t *testing.T) {
	url := storetest.SQLiteURL(t)
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = st.Close() }()
		log := audit.New(st, slog.New(slog.NewTextHandler(&out, nil)))
		log.Use(keys.NewRing(keys.NewKey(keys.NewID(), bytes.Repeat([]byte{1}, 32)), nil))
		defer log.Close(context.Background())
		refuse := func(action string, n int) {
			for range n {
				e := failed
				e.Action = action
				_ = log.Refused(t.Context(), stranger, e, errDenied)
			}
		}
		refuse("a.refused", 4)
		// The disk is full: every page is taken, and not one more is to be had.
		execute(t, st, `create table filler (data blob)`, fmt.Sprintf(`pragma max_page_count = %d`, number(t, st, `select page_count from pragma_page_count()`)))
		for size := 1 << 12; size > 0; {
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), `insert into filler (data) values ($1)`, make([]byte, size))
				return err
			})
			if err != nil {
				size /= 2
			}
		}
		big := failed
		for i := range 40 { // until the index pages are full as well
			big.Action = fmt.Sprint("filler.", i)
			_ = log.Refused(t.Context(), stranger, big, errDenied)
			if log.Check(t.Context()) != nil {
				break
			}
		}
		refuse("a.refused", 3)
		time.Sleep(audit.RefusalSpan + 2*audit.SweepEvery)
		synctest.Wait()
		if n := number(t, st, `select count(*) from "AuditLog" where action = 'a.refused'`); n != 1 {
			t.Errorf("with a full disk %d events are there", n)
		}
		if !strings.Contains(out.String(), "refusals are not recorded yet") {
			t.Errorf("the server's log says nothing: %s", out.String())
		}
		execute(t, st, `pragma max_page_count = 1000000`)
		refuse("a.refused", 1)
		time.Sleep(audit.RefusalSpan + 2*audit.SweepEvery)
		synctest.Wait()
		list, err := log.Events(t.Context(), audit.Filter{Action: "a.refused"}, store.Page{Limit: 10})
		if err != nil || len(list.Items) != 2 || list.Items[0].Details["count"] != 7.0 {
			t.Errorf("afterwards there are %+v (%v), want one more with 7", list.Items, err)
		}
	})
}

// After Close nothing is counted any more: each refusal is an event of its own.
func TestRefusalsAfterClose(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		log.Close(t.Context())
		log.Close(t.Context())
		for range 3 {
			if err := log.Refused(t.Context(), stranger, failed, errDenied); !errors.Is(err, errDenied) {
				t.Error(err)
			}
		}
		if n := len(rows(t, st)); n != 3 || log.Kinds() != 0 {
			t.Errorf("%d events are there, want 3", n)
		}
	})
}
