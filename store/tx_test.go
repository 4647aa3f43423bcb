package store_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// errUndo ends a transaction that a test does not want.
var errUndo = errors.New("undo")

func noRow(err error) error {
	if store.NoRow(err) {
		return nil
	}
	return err
}

func TestReadersCannotWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table t (id bigint)`)
		for how, read := range map[string]func(context.Context, func(*store.Tx) error) error{"Read": st.Read, "Snapshot": st.Snapshot} {
			for _, statement := range []string{`insert into t (id) values (1)`, `with v as (select 1) delete from t`, `drop table t`} {
				err := read(ctx, func(tx *store.Tx) error { _, err := tx.Exec(ctx, statement); return err })
				if err == nil || !strings.Contains(err.Error(), "audit.Change") {
					t.Errorf("%s ran %q: %v", how, statement, err)
				}
			}
		}
		if n := number(t, st, `select count(*) from t`); n != 0 {
			t.Errorf("%d rows were written", n)
		}
	})
}

// Each statement of a Read sees what was committed before it, a Snapshot sees one state.
func TestReadSeesCommitsAndSnapshotDoesNot(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table t (id bigint)`)
		for how, tt := range map[string]struct {
			read func(context.Context, func(*store.Tx) error) error
			want int
		}{"Read": {st.Read, 1}, "Snapshot": {st.Snapshot, 0}} {
			write(t, st, `delete from t`)
			var before, after int
			err := tt.read(ctx, func(tx *store.Tx) error {
				if err := tx.QueryRow(ctx, `select count(*) from t`).Scan(&before); err != nil {
					return err
				}
				write(t, st, `insert into t (id) values (1)`)
				return tx.QueryRow(ctx, `select count(*) from t`).Scan(&after)
			})
			if err != nil || before != 0 || after != tt.want {
				t.Errorf("%s saw %d and then %d, want 0 and %d (%v)", how, before, after, tt.want, err)
			}
		}
	})
}

// Rows and statements of one Tx do not overlap: PostgreSQL could not do it, and under Read every row's
// statement would need a second connection, for which all could wait at once.
func TestNoStatementInsideRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		for how, run := range map[string]func(context.Context, func(*store.Tx) error) error{"Read": st.Read, "Snapshot": st.Snapshot, "Write": st.Write} {
			err := run(ctx, func(tx *store.Tx) error {
				return tx.Each(ctx, func(func(...any) error) error {
					return tx.QueryRow(ctx, `select 2`).Scan(new(int))
				}, `select 1`)
			})
			if err == nil || !strings.Contains(err.Error(), "inside the rows") {
				t.Errorf("%s: %v", how, err)
			}
			if err := run(ctx, func(tx *store.Tx) error { // one after another is fine, also after an early end
				err := tx.Each(ctx, func(func(...any) error) error { return errUndo }, `select 1 union all select 2`)
				if !errors.Is(err, errUndo) {
					t.Errorf("%s: Each gave %v for fn's error", how, err)
				}
				return tx.QueryRow(ctx, `select 2`).Scan(new(int))
			}); err != nil {
				t.Errorf("%s: %v", how, err)
			}
		}
	})
}

// A statement that fails ends its transaction on PostgreSQL, so it does on SQLite: what a function
// leaves aside there would be found out only by those who run the other one.
func TestAFailedStatementEndsItsTransaction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table t (id bigint primary key)`, `insert into t (id) values (1)`)
		fail := map[string]func(*store.Tx) error{
			"Exec": func(tx *store.Tx) error { _, err := tx.Exec(ctx, `insert into t (id) values (1)`); return err },
			"QueryRow": func(tx *store.Tx) error {
				return tx.QueryRow(ctx, `insert into t (id) values (1) returning id`).Scan(new(int))
			},
			"Each": func(tx *store.Tx) error {
				return tx.Each(ctx, func(func(...any) error) error { return nil }, `insert into t (id) values (1) returning id`)
			},
			"Query": func(tx *store.Tx) error {
				rows, err := tx.Query(ctx, `insert into t (id) values (1) returning id`)
				if err == nil {
					defer rows.Close() //nolint:errcheck // the test is over
					for rows.Next() {
					}
					err = rows.Err()
				}
				return err
			},
			"Scan": func(tx *store.Tx) error { return tx.QueryRow(ctx, `select 'x'`).Scan(new(int)) },
			"text": func(tx *store.Tx) error { _, err := tx.Exec(ctx, `insert into nowhere`); return err },
		}
		for how, statement := range fail {
			var first, second error
			err := st.Write(ctx, func(tx *store.Tx) error {
				if _, err := tx.Exec(ctx, `insert into t (id) values (2)`); err != nil {
					return err
				}
				if first = statement(tx); first == nil {
					t.Errorf("%s did not fail", how)
				}
				second = tx.QueryRow(ctx, `select 1`).Scan(new(int))
				return nil
			})
			if err == nil || second == nil {
				t.Errorf("%s failed with %v, and the transaction went on: %v, %v", how, first, second, err)
			}
			if how != "Scan" && how != "text" && !store.Unique(err) {
				t.Errorf("%s: the error is %v, want the statement's, %v", how, err, first)
			}
		}
		if n := number(t, st, `select count(*) from t`); n != 1 {
			t.Errorf("%d rows are stored", n)
		}
	})
}

func TestAnErrorUndoesTheWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		write(t, st, `create table t (id bigint)`)
		why := fault.New(fault.Conflict, "no")
		err := st.Write(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(t.Context(), `insert into t (id) values (1)`); err != nil {
				return err
			}
			return why
		})
		if !errors.Is(err, why) || number(t, st, `select count(*) from t`) != 0 {
			t.Errorf("got %v, want the function's own error and no row", err)
		}
	})
}

// A panic is undone and its caller's, whoever's transaction it was in, and so is the end of a goroutine.
func TestPanicAndGoexit(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table t (id bigint)`)
		insert := func(tx *store.Tx, id int) {
			if _, err := tx.Exec(ctx, `insert into t (id) values ($1)`, id); err != nil {
				t.Error(err)
			}
		}
		ends := make([]string, 6)
		var wg sync.WaitGroup
		for i := range ends {
			wg.Go(func() {
				ends[i] = "goexit"
				defer func() {
					if p := recover(); p != nil {
						ends[i] = fmt.Sprint("panic ", p)
					}
				}()
				err := st.Write(ctx, func(tx *store.Tx) error {
					insert(tx, i)
					switch i {
					case 1, 4:
						panic(i)
					case 2:
						runtime.Goexit() // as a test's Fatal does
					}
					return nil
				})
				ends[i] = fmt.Sprint("error ", err)
			})
		}
		wg.Wait()
		for i, want := range []string{"error <nil>", "panic 1", "goexit", "error <nil>", "panic 4", "error <nil>"} {
			if ends[i] != want {
				t.Errorf("write %d ended with %q, want %q", i, ends[i], want)
			}
		}
		write(t, st, `insert into t (id) values (6)`) // the writer lives
		if n, sum := number(t, st, `select count(*) from t`), number(t, st, `select sum(id) from t`); n != 4 || sum != 0+3+5+6 {
			t.Errorf("%d rows with the sum %d", n, sum)
		}
	})
}

// Before its function has started a write can be withdrawn, and does not happen; afterwards it cannot.
func TestWithdraw(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		st := open(t, url, store.Options{MaxConns: 1})
		write(t, st, `create table t (id bigint)`)

		release := hold(t, st)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		ran := false
		go func() {
			done <- st.Write(ctx, func(tx *store.Tx) error {
				ran = true
				_, err := tx.Exec(ctx, `insert into t (id) values (1)`)
				return err
			})
		}()
		if st.Dialect() == store.SQLite {
			eventually(t, "the write waits", func() bool { return st.Queued() == 1 })
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("withdrawn before its start: %v", err)
		}
		release()

		ctx, cancel = context.WithCancel(t.Context())
		err := st.Write(ctx, func(tx *store.Tx) error {
			cancel()
			_, err := tx.Exec(ctx, `insert into t (id) values (2)`)
			return err
		})
		if err != nil {
			t.Errorf("withdrawn after its start: %v", err)
		}
		if err := st.Write(ctx, func(*store.Tx) error { ran = true; return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		if sum := number(t, st, `select coalesce(sum(id), 0) from t`); ran || sum != 2 {
			t.Errorf("a withdrawn function ran (%t), or the sum is not 2 but %d", ran, sum)
		}
	})
}

// A reader that gives up gets its context's error, in whatever way its driver puts that, and the pool
// is none the worse for it.
func TestReaderGivesUp(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		st := open(t, url, store.Options{MaxConns: 2})
		endless := `with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n`
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			err := st.Read(ctx, func(tx *store.Tx) error { return tx.QueryRow(ctx, endless).Scan(new(int)) })
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || fault.Of(err) != fault.Internal {
				t.Errorf("got %v, want the context's error", err)
			}
		}
		if number(t, st, `select 7`) != 7 {
			t.Error("the pool is broken")
		}
	})
}

// The clock is read once for each transaction, is UTC, and has whole microseconds.
func TestNow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		var last time.Time
		for _, run := range []func(context.Context, func(*store.Tx) error) error{st.Write, st.Read, st.Snapshot, st.Write} {
			err := run(ctx, func(tx *store.Tx) error {
				first, err := tx.Now(ctx)
				if err != nil {
					return err
				}
				second, err := tx.Now(ctx)
				if !first.Equal(second) || first.Location() != time.UTC || first.Nanosecond()%1000 != 0 {
					t.Errorf("the clock said %v and then %v", first, second)
				}
				if d := time.Since(first).Abs(); d > time.Minute || !first.After(last) {
					t.Errorf("the clock says %v, after %v", first, last)
				}
				last = first
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// More statements than are kept prepared, and readers and a writer at once.
func TestManyStatements(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		check := func(tx *store.Tx, from int) error {
			for i := from; i < from+store.MaxPrepared; i++ {
				var n int
				if err := tx.QueryRow(ctx, fmt.Sprintf(`select %d + cast($1 as bigint)`, i), 1).Scan(&n); err != nil || n != i+1 {
					return fmt.Errorf("%d: %d, %w", i, n, err)
				}
			}
			return nil
		}
		var wg sync.WaitGroup
		for _, run := range []func(context.Context, func(*store.Tx) error) error{st.Read, st.Read, st.Write} {
			wg.Go(func() {
				for round := range 3 {
					if err := run(ctx, func(tx *store.Tx) error { return check(tx, 100*round) }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		write(t, st) // begins with what was kept too much
		if st.Dialect() == store.SQLite {
			if writer, readers := st.Kept(); writer > store.MaxPrepared+4 || readers > store.MaxPrepared {
				t.Errorf("%d and %d statements are kept", writer, readers)
			}
		}
	})
}

// A Tx that somebody has kept is of no use: on SQLite its statements would be in others' transactions.
func TestATxEndsWithItsFunction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ctx := t.Context()
		write(t, st, `create table t (id bigint)`)
		for how, run := range map[string]func(context.Context, func(*store.Tx) error) error{"Read": st.Read, "Snapshot": st.Snapshot, "Write": st.Write} {
			var kept *store.Tx
			if err := run(ctx, func(tx *store.Tx) error { kept = tx; return nil }); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{
				kept.QueryRow(ctx, `select 1`).Scan(new(int)),
				kept.Insert(ctx, "t", []string{"id"}, [][]any{{1}}),
				kept.Each(ctx, func(func(...any) error) error { return nil }, `select 1`),
			} {
				if err == nil {
					t.Errorf("%s: a statement ran after its end", how)
				}
			}
		}
		if n := number(t, st, `select count(*) from t`); n != 0 {
			t.Errorf("%d rows were written", n)
		}
	})
}

// Close waits at the gate for those inside, and not for ever.
func TestGate(t *testing.T) {
	var g store.Gate
	for range 2 {
		if !g.Enter() {
			t.Fatal("an open gate lets nobody in")
		}
	}
	if g.Close(10 * time.Millisecond) {
		t.Error("two are inside, and the gate is said to be empty")
	}
	if g.Enter() {
		t.Error("a shut gate lets somebody in")
	}
	g.Leave()
	go g.Leave()
	if !g.Close(20 * time.Second) {
		t.Error("everybody has left, and the gate is said not to be empty")
	}
}

// Close waits for reads and writes that are under way, serves those that wait, and refuses the rest.
func TestClose(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		st, err := store.Open(ctx, url, store.Options{MaxConns: 3})
		if err != nil {
			t.Fatal(err)
		}
		write(t, st, `create table t (id bigint)`)
		release := hold(t, st)
		reading, read := make(chan struct{}), make(chan error, 1)
		stop := make(chan struct{})
		go func() {
			read <- st.Read(ctx, func(tx *store.Tx) error {
				close(reading)
				<-stop
				return tx.QueryRow(ctx, `select 1`).Scan(new(int))
			})
		}()
		<-reading
		const n = 20
		written := make(chan error, n)
		for i := range n {
			go func() {
				written <- st.Write(ctx, func(tx *store.Tx) error {
					_, err := tx.Exec(ctx, `insert into t (id) values ($1)`, i)
					return err
				})
			}()
		}
		if st.Dialect() == store.SQLite {
			eventually(t, "the writes wait", func() bool { return st.Queued() == n })
		} else { // two of three connections are free, so they need not wait
			for range n {
				if err := <-written; err != nil {
					t.Errorf("a write: %v", err)
				}
			}
		}
		closed := make(chan error, 2)
		for range 2 { // twice is once
			go func() { closed <- st.Close() }()
		}
		eventually(t, "it is closing", func() bool { return st.Ping(ctx) != nil })
		refused := func(err error) {
			if !fault.Is(err, fault.Unavailable) {
				t.Errorf("after Close: %v, want fault.Unavailable", err)
			}
		}
		refused(st.Write(ctx, func(*store.Tx) error { t.Error("a function ran after Close"); return nil }))
		refused(st.Read(ctx, func(*store.Tx) error { t.Error("a function ran after Close"); return nil }))
		refused(st.Snapshot(ctx, func(*store.Tx) error { t.Error("a function ran after Close"); return nil }))
		select {
		case err := <-closed:
			t.Errorf("Close did not wait: %v", err)
		default:
		}
		release()
		close(stop)
		if err := <-read; err != nil {
			t.Errorf("the read: %v", err)
		}
		if st.Dialect() == store.SQLite {
			for range n {
				if err := <-written; err != nil {
					t.Errorf("a write that waited: %v", err)
				}
			}
		}
		for range 2 {
			if err := <-closed; err != nil {
				t.Errorf("close: %v", err)
			}
		}
		again := open(t, url, store.Options{})
		if got := number(t, again, `select count(*) from t`); got != n {
			t.Errorf("%d of %d writes are there", got, n)
		}
	})
}
