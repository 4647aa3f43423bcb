package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/store/storetest/pgtest"
)

// Two servers that claim at once get different rows and do not wait for each other.
func TestSkipLocked(t *testing.T) {
	url := storetest.PostgresURL(t)
	first, second := open(t, url, store.Options{}), open(t, url, store.Options{})
	write(t, first, `create table t (id bigint primary key, kept_by bigint references t (id))`, `insert into t (id) values (1), (2), (3)`)
	claim := func(tx *store.Tx, n int) (ids []int, err error) {
		err = tx.Each(t.Context(), func(scan func(...any) error) error {
			var id int
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, `select e.id from t e order by e.id limit $1`+tx.SkipLocked("e"), n)
		return ids, err
	}
	within, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := first.Write(t.Context(), func(tx *store.Tx) error {
		mine, err := claim(tx, 2)
		if err != nil || len(mine) != 2 {
			t.Errorf("the first claimed %v, %v", mine, err)
		}
		return errors.Join(err, second.Write(within, func(tx *store.Tx) error {
			theirs, err := claim(tx, 3)
			if err != nil || len(theirs) != 1 || theirs[0] != 3 {
				t.Errorf("the second claimed %v, %v, want the one that is left", theirs, err)
			}
			// Relying on a claimed row does not wait either: only its key must not go.
			var id int
			return errors.Join(err, tx.QueryRow(within, `select id from t where id = 1`+tx.KeepAlive()).Scan(&id))
		}))
	})
	if err != nil {
		t.Error(err)
	}
	if err := storetest.Open(t, storetest.SQLiteURL(t)).Write(t.Context(), func(tx *store.Tx) error {
		if got := tx.SkipLocked("e") + tx.ForUpdate() + tx.KeepAlive(); got != "" {
			t.Errorf("SQLite locks rows: %q", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// Two transactions that wait for each other: PostgreSQL ends one, which is run again.
func TestDeadlockIsTriedAgain(t *testing.T) {
	st := postgres(t, store.Options{}, map[string]string{"deadlock_timeout": "20ms"})
	write(t, st, `create table t (id bigint primary key, n bigint not null)`, `insert into t (id, n) values (1, 0), (2, 0)`)
	var runs atomic.Int64
	var both, done sync.WaitGroup
	both.Add(2)
	for _, order := range [][2]int{{1, 2}, {2, 1}} {
		done.Go(func() {
			once := sync.OnceFunc(func() { both.Done(); both.Wait() })
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				runs.Add(1)
				for _, id := range order {
					if _, err := tx.Exec(t.Context(), `update t set n = n + 1 where id = $1`, id); err != nil {
						return fault.New(fault.Conflict, "what a function makes of it does not count: %v", err)
					}
					once()
				}
				return nil
			})
			if err != nil {
				t.Errorf("%v: %v", order, err)
			}
		})
	}
	done.Wait()
	if runs.Load() != 3 || number(t, st, `select sum(n) from t`) != 4 {
		t.Errorf("%d runs, want 3", runs.Load())
	}
}

// Two transactions of which neither may come first: PostgreSQL refuses one, at its commit or before,
// and it is run again.
func TestSerializationFailureIsTriedAgain(t *testing.T) {
	st := postgres(t, store.Options{}, map[string]string{"default_transaction_isolation": "serializable"})
	write(t, st, `create table t (id bigint primary key, n bigint not null)`)
	var runs atomic.Int64
	var both, done sync.WaitGroup
	both.Add(2)
	for id := range 2 {
		done.Go(func() {
			once := sync.OnceFunc(func() { both.Done(); both.Wait() })
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				runs.Add(1)
				var n int
				if err := tx.QueryRow(t.Context(), `select count(*) from t`).Scan(&n); err != nil {
					return err
				}
				once()
				_, err := tx.Exec(t.Context(), `insert into t (id, n) values ($1, $2)`, id, n)
				return err
			})
			if err != nil {
				t.Errorf("%d: %v", id, err)
			}
		})
	}
	done.Wait()
	if runs.Load() != 3 || number(t, st, `select count(*) from t where n = 0`) != 1 || number(t, st, `select count(*) from t where n = 1`) != 1 {
		t.Errorf("%d runs, want 3, and one that has seen the other", runs.Load())
	}
}

func TestTriesEnd(t *testing.T) {
	st := postgres(t, store.Options{}, nil)
	runs := 0
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		runs++
		_, err := tx.Exec(t.Context(), `do $$ begin raise exception using errcode = '40001'; end $$`)
		return err
	})
	wantUnavailable(t, err, "the database is busy")
	if runs != store.MaxTries {
		t.Errorf("%d runs, want %d", runs, store.MaxTries)
	}
}

// While the server is away everything says so, also what was under way, and when it is back all is well.
func TestPostgresAwayAndBack(t *testing.T) {
	cluster, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	st := open(t, cluster.URL("postgres"), store.Options{})
	write(t, st, `create table t (id bigint primary key)`)
	insert := func(id int) error {
		return st.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `insert into t (id) values ($1)`, id)
			return err
		})
	}
	var wg sync.WaitGroup
	for i := range 5 { // fills the pool
		wg.Go(func() {
			if err := insert(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	err = st.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, `insert into t (id) values (100)`); err != nil {
			return err
		}
		if err := cluster.Halt(ctx); err != nil {
			t.Fatal(err)
		}
		_, err := tx.Exec(ctx, `insert into t (id) values (101)`)
		return err
	})
	wantUnavailable(t, err, "the database is away")
	for range 3 {
		wantUnavailable(t, insert(102), "the database is away")
		wantUnavailable(t, st.Ping(ctx), "the database is away")
		wantUnavailable(t, st.Snapshot(ctx, func(*store.Tx) error { return nil }), "the database is away")
	}
	if err := cluster.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	if err := insert(103); err != nil {
		t.Errorf("the server is back, and a write gets %v", err)
	}
	if n := number(t, st, `select count(*) from t`); n != 6 {
		t.Errorf("%d rows are there, want 6", n)
	}
}

// A connection that was ended while nobody used it does not fail the write that gets it.
func TestABrokenConnectionIsReplaced(t *testing.T) {
	st := postgres(t, store.Options{MaxConns: 1}, nil)
	other := postgres(t, store.Options{}, nil)
	write(t, st, `create table t (id bigint)`)
	for range 3 {
		pid := number(t, st, `select pg_backend_pid()`)
		if number(t, other, `select cast(pg_terminate_backend($1, 5000) as integer)`, pid) != 1 {
			t.Fatal("it was not ended")
		}
		write(t, st, `insert into t (id) values (1)`)
	}
	if n := number(t, st, `select count(*) from t`); n != 3 {
		t.Errorf("%d rows", n)
	}
}

// After a failover the connections that are left lead to a server that takes no writes. The first write
// finds out, and those after it are on new connections.
func TestConnectionsToAReadOnlyServerAreDropped(t *testing.T) {
	st := postgres(t, store.Options{MaxConns: 3}, nil)
	ctx := t.Context()
	write(t, st, `create table t (id bigint)`)
	var all, wg sync.WaitGroup
	all.Add(3)
	for range 3 { // every connection of the pool
		wg.Go(func() {
			err := st.Write(ctx, func(tx *store.Tx) error {
				all.Done()
				all.Wait()
				_, err := tx.Exec(ctx, `set session characteristics as transaction read only`)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	insert := func(tx *store.Tx) error { _, err := tx.Exec(ctx, `insert into t (id) values (1)`); return err }
	wantUnavailable(t, st.Write(ctx, insert), "the database is read-only")
	for range 3 {
		wg.Go(func() {
			if err := st.Write(ctx, insert); err != nil {
				t.Errorf("on a connection of before: %v", err)
			}
		})
	}
	wg.Wait()
}

// A server that is stopped in the middle of a transaction does not hold its rows for ever: PostgreSQL ends
// the transaction, and tells the server when it goes on. DATABASE_URL decides after how long.
func TestAFrozenTransactionIsEnded(t *testing.T) {
	frozen := postgres(t, store.Options{}, map[string]string{"idle_in_transaction_session_timeout": "200"})
	if n := number(t, frozen, `select cast(setting as bigint) from pg_settings where name = 'idle_in_transaction_session_timeout'`); n != 200 {
		t.Errorf("the URL says 200 ms, the connection has %d", n)
	}
	write(t, frozen, `create table t (id bigint primary key)`, `insert into t (id) values (1)`)
	other := open(t, storetest.PostgresURL(t), store.Options{})
	if n := number(t, other, `select cast(setting as bigint) from pg_settings where name = 'idle_in_transaction_session_timeout'`); n != 10_000 {
		t.Errorf("a URL without it has %d ms, want 10 s", n)
	}
	err := frozen.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(t.Context(), `update t set id = 2`); err != nil {
			return err
		}
		// Another connection gets the row, though this function says nothing more.
		write(t, frozen, `update t set id = 3`)
		return nil
	})
	wantUnavailable(t, err, "the database is away")
	if n := number(t, frozen, `select id from t`); n != 3 {
		t.Errorf("the row is %d, want 3", n)
	}
}

// A database that takes no writes at all is no database to start on.
func TestAReadOnlyServerIsNotConnectedTo(t *testing.T) {
	url := storetest.PostgresURL(t)
	st := open(t, url, store.Options{MaxConns: 1})
	name := url[strings.LastIndex(url, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	write(t, st, `alter database `+name+` set default_transaction_read_only = on`)
	other, err := store.Open(t.Context(), url, store.Options{})
	if err == nil {
		_ = other.Close()
	}
	wantUnavailable(t, err, "the database is away")
	if err == nil || !strings.Contains(err.Error(), "read only") {
		t.Errorf("got %v, which does not say why", err)
	}
}

// Writers that wait for each other leave connections to those who read.
func TestWritersLeaveRoomForReaders(t *testing.T) {
	st := open(t, storetest.PostgresURL(t), store.Options{MaxConns: 4})
	release := make(chan struct{})
	var writers sync.WaitGroup
	var inside atomic.Int32
	for range 8 {
		writers.Go(func() {
			err := st.Write(t.Context(), func(*store.Tx) error {
				inside.Add(1)
				<-release
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for end := time.Now().Add(20 * time.Second); inside.Load() < 3 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	within, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := st.Ping(within); err != nil || inside.Load() != 3 {
		t.Errorf("with %d transactions open, want 3 of 4: %v", inside.Load(), err)
	}
	withdrawn, withdraw := context.WithCancel(t.Context())
	withdraw()
	if err := st.Write(withdrawn, func(*store.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("one who does not want to wait any more: %v", err)
	}
	close(release)
	writers.Wait()
	if inside.Load() != 8 {
		t.Errorf("%d of 8 have written", inside.Load())
	}
}
