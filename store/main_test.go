package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// childEnv makes this test binary a process that opens a SQLite database, says so, and writes until it
// is killed: a row at a time, each printed once it is durable.
const childEnv = "STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		child(path)
	}
	storetest.Main(m)
}

func child(path string) {
	ctx := context.Background()
	st, err := store.Open(ctx, "sqlite:"+path, store.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	for i := 0; ; i++ {
		err := st.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `insert into written (id) values ($1)`, i)
			return err
		})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

// startChild runs a child and gives the lines that it prints after the first.
func startChild(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("the child says %q", lines.Text())
	}
	return cmd, lines
}

// write runs statements in one transaction.
func write(t *testing.T, st *store.Store, statements ...string) {
	t.Helper()
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		for _, s := range statements {
			if _, err := tx.Exec(t.Context(), s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// number gives what a query for one number says.
func number(t *testing.T, st *store.Store, query string, args ...any) int {
	t.Helper()
	var n int
	err := st.Read(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(t.Context(), query, args...).Scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// postgres opens a database of its own on PostgreSQL, with connections under settings that are not the
// default.
func postgres(t *testing.T, o store.Options, settings map[string]string) *store.Store {
	t.Helper()
	u, err := url.Parse(storetest.PostgresURL(t))
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for name, value := range settings {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
	return open(t, u.String(), o)
}

// open opens a database until the test ends.
func open(t *testing.T, url string, o store.Options) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return st
}

// hold occupies the only writer (SQLite's, or the one connection of a store opened with MaxConns: 1)
// until release is called.
func hold(t *testing.T, st *store.Store) (release func()) {
	t.Helper()
	inside, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- st.Write(context.Background(), func(*store.Tx) error {
			close(inside)
			<-free
			return nil
		})
	}()
	<-inside
	return func() {
		close(free)
		if err := <-done; err != nil {
			t.Errorf("the write that held the others up: %v", err)
		}
	}
}

// eventually waits at most 20 s for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// wantUnavailable holds an error against what an outage looks like to a caller.
func wantUnavailable(t *testing.T, err error, message string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Unavailable || f.Message != message || f.RetryAfter <= 0 {
		t.Errorf("got %v, want fault.Unavailable, %q, with a time to wait", err, message)
	}
}
