package audit_test

import (
	"bytes"
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

// make makes a thing once, and gives what its caller is answered with.
func makeOnce(t *testing.T, log *audit.Log, once audit.Once, answer audit.Answer) (got audit.Answer, again bool, err error) {
	t.Helper()
	try := func() error {
		return log.Change(t.Context(), admin, func(tx *store.Tx) ([]audit.Event, error) {
			first, err := once.Before(t.Context(), tx)
			if err != nil {
				return nil, err
			}
			if first != nil {
				got, again = *first, true
				return nil, audit.ErrNothing
			}
			got, again = answer, false
			return []audit.Event{{Action: "thing.made"}}, once.After(t.Context(), tx, answer)
		})
	}
	if err = try(); store.Unique(err) {
		err = try()
	}
	return got, again, err
}

func TestOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		first := audit.Once{Caller: "u1", Route: "POST /api/things", Key: "k", Body: []byte(`{"a":1}`)}
		made := audit.Answer{Status: http.StatusCreated, Body: []byte(`{"id":"1"}`)}
		with := func(change func(*audit.Once)) audit.Once { o := first; change(&o); return o }
		for _, tt := range []struct {
			name  string
			once  audit.Once
			again bool
			kind  fault.Kind
		}{
			{"the first", first, false, 0},
			{"the same again", first, true, 0},
			{"and again", first, true, 0},
			{"another body", with(func(o *audit.Once) { o.Body = []byte(`{"a":2}`) }), false, fault.Conflict},
			{"no body", with(func(o *audit.Once) { o.Body = nil }), false, fault.Conflict},
			{"another caller", with(func(o *audit.Once) { o.Caller = "u2" }), false, 0},
			{"another route", with(func(o *audit.Once) { o.Route = "POST /api/others" }), false, 0},
			{"another key", with(func(o *audit.Once) { o.Key = "K" }), false, 0},
			{"without a key", with(func(o *audit.Once) { o.Key = "" }), false, 0},
			{"without a key again", with(func(o *audit.Once) { o.Key = "" }), false, 0},
			{"the first still stands", first, true, 0},
		} {
			before := number(t, st, `select count(*) from "AuditLog"`)
			answer := made
			if tt.again {
				answer = audit.Answer{Status: 500, Body: []byte("not this one")}
			}
			got, again, err := makeOnce(t, log, tt.once, answer)
			if tt.kind != 0 {
				wantKind(t, err, tt.kind)
			} else if err != nil || again != tt.again || got.Status != made.Status || !bytes.Equal(got.Body, made.Body) {
				t.Errorf("%s: %d %s, again %t (%v)", tt.name, got.Status, got.Body, again, err)
			}
			events := number(t, st, `select count(*) from "AuditLog"`) - before
			if happened := !tt.again && tt.kind == 0; (events == 1) != happened {
				t.Errorf("%s: it made %d events", tt.name, events)
			}
		}
		if first.Keyed() != true || (audit.Once{}).Keyed() {
			t.Error("Keyed is wrong")
		}
	})
}

// An answer without a body is an answer.
func TestOnceWithoutABody(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		once := audit.Once{Caller: "u", Route: "r", Key: "k"}
		for i := range 2 {
			got, again, err := makeOnce(t, log, once, audit.Answer{Status: http.StatusNoContent})
			if err != nil || got.Status != http.StatusNoContent || len(got.Body) != 0 || again != (i == 1) {
				t.Errorf("%+v, again %t (%v)", got, again, err)
			}
		}
	})
}

// Where the change fails the key stays free.
func TestOnceOfAFailedChange(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		once := audit.Once{Caller: "u", Route: "r", Key: "k"}
		err := log.Change(t.Context(), admin, func(tx *store.Tx) ([]audit.Event, error) {
			if first, err := once.Before(t.Context(), tx); first != nil || err != nil {
				t.Errorf("%v, %v", first, err)
			}
			return nil, errors.Join(once.After(t.Context(), tx, audit.Answer{Status: 201}), errUndo)
		})
		if !errors.Is(err, errUndo) {
			t.Error(err)
		}
		if _, again, err := makeOnce(t, log, once, audit.Answer{Status: 201}); again || err != nil {
			t.Errorf("again %t (%v)", again, err)
		}
	})
}

// Of many with one key at once, on two servers, one happens and all get its answer.
func TestOnceInARace(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		logs := make([]*audit.Log, 2)
		st := storetest.Open(t, url)
		logs[0], _ = newLog(t, st)
		logs[1] = logs[0]
		if st.Dialect() == store.Postgres {
			logs[1], _ = newLog(t, storetest.Open(t, url))
		}
		once := audit.Once{Caller: "u", Route: "r", Key: "k", Body: []byte("b")}
		var mu sync.Mutex
		answers := map[string]int{}
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				got, _, err := makeOnce(t, logs[i%2], once, audit.Answer{Status: 201, Body: fmt.Append(nil, "answer ", i)})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				answers[string(got.Body)]++
			})
		}
		wg.Wait()
		if len(answers) != 1 || number(t, st, `select count(*) from "AuditLog"`) != 1 {
			t.Errorf("the answers were %v", answers)
		}
	})
}

// An answer is given for 24 hours and no longer; afterwards the key is free, and its row goes.
func TestAnswersAreForgotten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		age := func(key string, age time.Duration) {
			t.Helper()
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				now, err := tx.Now(t.Context())
				if err != nil {
					return err
				}
				_, err = tx.Exec(t.Context(), `update idempotency set created_at = $1 where key = $2`, now.Add(-age).UnixMicro(), key)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			age   time.Duration
			again bool
		}{{0, true}, {audit.OnceFor - time.Minute, true}, {audit.OnceFor, false}, {audit.OnceFor + time.Hour, false}} {
			once := audit.Once{Caller: "u", Route: "r", Key: "k", Body: fmt.Append(nil, tt.age)}
			execute(t, st, `delete from idempotency`)
			if _, _, err := makeOnce(t, log, once, audit.Answer{Status: 201}); err != nil {
				t.Fatal(err)
			}
			age("k", tt.age)
			_, again, err := makeOnce(t, log, once, audit.Answer{Status: 201})
			if err != nil || again != tt.again {
				t.Errorf("after %v: again %t (%v)", tt.age, again, err)
			}
			if !tt.again { // it may now be used for something else
				age("k", tt.age)
				once.Body = []byte("another")
				if _, again, err := makeOnce(t, log, once, audit.Answer{Status: 201}); err != nil || again {
					t.Errorf("after %v with another body: again %t (%v)", tt.age, again, err)
				}
			}
		}

		execute(t, st, `delete from idempotency`)
		const old = audit.ForgetPiece + 5
		rows := make([][]any, old+3)
		for i := range rows {
			key := "old"
			if i >= old {
				key = "young"
			}
			rows[i] = audit.Once{Caller: fmt.Sprint("u", i), Route: "r", Key: key}.Row(audit.Answer{Status: 201}, time.Now())
		}
		err := st.Write(t.Context(), func(tx *store.Tx) error { return tx.Insert(t.Context(), "idempotency", audit.OnceColumns(), rows) })
		if err != nil {
			t.Fatal(err)
		}
		age("old", audit.OnceFor)
		age("young", audit.OnceFor-time.Minute)
		for _, want := range []int64{old, 0} {
			if n, err := log.ForgetAnswers(t.Context()); err != nil || n != want {
				t.Errorf("%d answers were forgotten, want %d (%v)", n, want, err)
			}
		}
		if n := number(t, st, `select count(*) from idempotency where key = 'young'`); n != 3 {
			t.Errorf("%d answers are left", n)
		}
	})
}

// Two requests with one key in one transaction: the second gets the first one's answer.
func TestAgain(t *testing.T) {
	first := audit.Once{Caller: "u", Route: "r", Key: "k", Body: []byte("b")}
	made := audit.Answer{Status: 202, Body: []byte("x")}
	if got, err := first.Again(first, made); err != nil || got.Status != 202 || string(got.Body) != "x" {
		t.Errorf("%+v, %v", got, err)
	}
	other := first
	other.Body = []byte("c")
	_, err := other.Again(first, made)
	wantKind(t, err, fault.Conflict)
}

// The body of a request may be a text that nobody else is to know: its hash is salted.
func TestOnceKeepsNoHashThatCanBeGuessed(t *testing.T) {
	once := audit.Once{Caller: "u", Route: "r", Key: "k", Body: []byte("a short text")}
	one, two := once.Row(audit.Answer{}, time.Now()), once.Row(audit.Answer{}, time.Now())
	if bytes.Equal(one[3].([]byte), two[3].([]byte)) || bytes.Equal(one[4].([]byte), two[4].([]byte)) || len(one[3].([]byte)) != 16 {
		t.Error("one body has one hash")
	}
}
