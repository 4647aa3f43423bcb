package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// together runs functions as one group of SQLite's writer, in their order, and gives their errors.
func together(t *testing.T, st *store.Store, fns ...func(*store.Tx) error) []error {
	t.Helper()
	release := hold(t, st)
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() { errs[i] = st.Write(context.Background(), fn) })
		eventually(t, "it waits", func() bool { return st.Queued() == i+1 })
	}
	release()
	wg.Wait()
	return errs
}

func insertInto(t *testing.T, id int, data any) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `insert into t (id, data) values ($1, $2)`, id, data)
		return err
	}
}

// What waits while a commit runs is one commit, whatever some of it comes to.
func TestGroupCommit(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	write(t, st, `create table t (id bigint primary key, data blob)`)
	commits := st.Commits(t)
	fns := make([]func(*store.Tx) error, 100)
	for i := range fns {
		fns[i] = insertInto(t, i, nil)
	}
	fns[10] = insertInto(t, 9, nil)                                                 // is there already
	fns[20] = func(*store.Tx) error { return errUndo }                              // writes nothing
	fns[30] = func(tx *store.Tx) error { return errors.Join(fns[99](tx), errUndo) } // undoes what it wrote
	errs := together(t, st, fns...)
	for i, err := range errs {
		if failed := i == 10 || i == 20 || i == 30; (err != nil) != failed {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if !store.Unique(errs[10]) || !errors.Is(errs[20], errUndo) || !errors.Is(errs[30], errUndo) {
		t.Errorf("the errors are not their functions': %v, %v, %v", errs[10], errs[20], errs[30])
	}
	if n := number(t, st, `select count(*) from t`); n != 97 {
		t.Errorf("%d rows are there, want 97", n)
	}
	if n := commits.Load() - 1; n != 1 { // one is of the write that held them up
		t.Errorf("100 writes took %d commits, want 1", n)
	}
	errs = together(t, st, func(*store.Tx) error { return errUndo }, func(*store.Tx) error { return errUndo })
	if n := commits.Load() - 3; n != 0 || errs[0] == nil || errs[1] == nil {
		t.Errorf("a group that writes nothing took %d commits: %v", n, errs)
	}
}

// A queue that is full makes callers wait, who may then still withdraw.
func TestFullQueue(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	write(t, st, `create table t (id bigint primary key, data blob)`)
	commits := st.Commits(t)
	release := hold(t, st)
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range store.MaxGroup + 50 {
		wg.Go(func() {
			if err := st.Write(context.Background(), insertInto(t, i, nil)); err != nil {
				failed.Add(1)
			}
		})
	}
	eventually(t, "the queue is full", func() bool { return st.Queued() == store.MaxGroup })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := st.Write(ctx, insertInto(t, -1, nil)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("behind a full queue: %v", err)
	}
	release()
	wg.Wait()
	if n := number(t, st, `select count(*) from t where id >= 0`); n != store.MaxGroup+50 || failed.Load() != 0 {
		t.Errorf("%d rows are there, %d writes failed", n, failed.Load())
	}
	if n := commits.Load(); n < 2 || n > 10 {
		t.Errorf("%d commits", n)
	}
}

// One write that fills the disk makes SQLite undo the whole group. Nobody has been answered by then, so
// the others are stored all the same, and only it fails.
func TestAFullDiskFailsOnlyWhatDoesNotFit(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	write(t, st, `create table t (id bigint primary key, data blob)`)
	pages := number(t, st, `select page_count from pragma_page_count()`)
	st.OnWriter(t, fmt.Sprintf("pragma max_page_count = %d", pages+100))
	big := make([]byte, 1<<20)
	var ran [6]atomic.Int64
	fns := make([]func(*store.Tx) error, len(ran))
	for i := range fns {
		var data any
		if i == 3 {
			data = big
		}
		fns[i] = func(tx *store.Tx) error {
			ran[i].Add(1)
			return insertInto(t, i, data)(tx)
		}
	}
	errs := together(t, st, fns...)
	for i, err := range errs {
		switch {
		case i == 3:
			wantUnavailable(t, err, "the database's disk is full")
		case err != nil:
			t.Errorf("write %d: %v", i, err)
		}
	}
	if ran[0].Load() != 2 || ran[5].Load() != 1 {
		t.Errorf("the functions ran %d and %d times: was the group undone?", ran[0].Load(), ran[5].Load())
	}
	if n := number(t, st, `select count(*) from t`); n != len(ran)-1 {
		t.Errorf("%d rows are there", n)
	}

	// A function that passes over the error would run on without a transaction around it.
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		_, _ = tx.Exec(t.Context(), `insert into t (id, data) values (100, $1)`, big)
		_, _ = tx.Exec(t.Context(), `insert into t (id) values (101)`)
		return nil
	})
	wantUnavailable(t, err, "the database's disk is full")
	if n := number(t, st, `select count(*) from t where id >= 100`); n != 0 {
		t.Errorf("%d rows were written outside of a transaction", n)
	}

	// When there is room again all is well.
	st.OnWriter(t, "pragma max_page_count = 100000")
	if err := st.Write(t.Context(), insertInto(t, 102, big)); err != nil {
		t.Error(err)
	}
}

// Where another program has the file, a group is told so after one wait, and not each after one of its own.
func TestABusyFile(t *testing.T) {
	url := storetest.SQLiteURL(t)
	st := storetest.Open(t, url)
	write(t, st, `create table t (id bigint primary key, data blob)`)
	st.OnWriter(t, "pragma busy_timeout = 300")
	db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(url, "sqlite:")+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // the test is over
	theirs, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = st.Write(context.Background(), insertInto(t, i, nil)) })
	}
	wg.Wait()
	for _, err := range errs {
		wantUnavailable(t, err, "the database is busy")
	}
	if took := time.Since(began); took > 3*time.Second { // 20 waits would be 6 s
		t.Errorf("they were told after %v", took)
	}
	if err := theirs.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := st.Write(t.Context(), insertInto(t, 1000, nil)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestAReadOnlyFile(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	write(t, st, `create table t (id bigint primary key, data blob)`)
	st.OnWriter(t, "pragma query_only = true")
	wantUnavailable(t, st.Write(t.Context(), insertInto(t, 1, nil)), "the database is read-only")
	st.OnWriter(t, "pragma query_only = false")
	if err := st.Write(t.Context(), insertInto(t, 1, nil)); err != nil {
		t.Error(err)
	}
}

// One process at a time has a file, by whatever path. The second is told which one does, and gets it
// when that one has closed it or is dead.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "data", "it's 100% #1?.db") // every byte that a URL would take otherwise
	st, err := store.Open(t.Context(), "sqlite:"+path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, st, `create table written (id bigint primary key)`)
	if err := os.Symlink(filepath.Join(dir, "data"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, other := range []string{path, "link/it's 100% #1?.db", "./data/../data/it's 100% #1?.db"} {
		_, err := store.Open(t.Context(), "sqlite:"+other, store.Options{})
		if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
			t.Errorf("a second one by %s got %v", other, err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + ".lock"} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}

	cmd, lines := startChild(t, path)
	_, err = store.Open(t.Context(), "sqlite:"+path, store.Options{})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("while the child %d has it: %v", cmd.Process.Pid, err)
	}
	last := -1
	for last < 20 && lines.Scan() {
		if last, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
	}
	if err := cmd.Process.Kill(); err != nil { // kill -9
		t.Fatal(err)
	}
	for lines.Scan() {
		last, _ = strconv.Atoi(lines.Text())
	}
	_ = cmd.Wait()
	again := open(t, "sqlite:"+path, store.Options{})
	// What was answered is there, and at most one more that was not.
	if n := number(t, again, `select count(*) from written`); n != last+1 && n != last+2 {
		t.Errorf("%d rows were acknowledged before kill -9, %d are there", last+1, n)
	}
}

// SQLite's own files are as private as the database.
func TestFilesArePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a.db")
	st := open(t, "sqlite:"+path, store.Options{})
	write(t, st, `create table t (id bigint)`)
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 4 {
		t.Fatalf("there are %q", files)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	notOne := filepath.Join(dir, "text.db")
	if err := os.WriteFile(notOne, []byte(strings.Repeat("this is no database ", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, want string }{
		{"sqlite:", "needs a file's path"},
		{"sqlite::memory:", "needs a file's path"},
		{"sqlite:" + notOne, notOne},
		{"sqlite:" + dir, "is a directory"},
		{"sqlite:" + notOne + "/x.db", "not a directory"},
		{"mysql://root:hunter2@localhost/x", "neither sqlite:PATH nor a postgres:// URL"},
		{"postgres://u:hunter2@127.0.0.1:1/x", "the database is away"},
	} {
		st, err := store.Open(t.Context(), tt.url, store.Options{})
		if err == nil {
			_ = st.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.want)
		}
	}
	// A failed start leaves no lock behind.
	for range 2 {
		if _, err := store.Open(t.Context(), "sqlite:"+notOne, store.Options{}); errors.Is(err, store.ErrLocked) {
			t.Error(err)
		}
	}
	if fault.Of(store.ErrLocked) != fault.Internal {
		t.Error("a locked file is told to whoever starts the program, not to a caller")
	}
}
