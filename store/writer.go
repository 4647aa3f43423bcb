package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
)

// maxGroup bounds how many functions one commit carries, and so how long the last one waits.
const maxGroup = 512

// writer is SQLite's group commit. One goroutine owns the one connection that writes. It takes
// whatever is waiting, runs each function in a savepoint of its own inside one transaction, commits
// once and then answers all of them; it never waits to fill a group. A commit costs a wait for the
// disk, so under load the cost is shared and alone it is not raised.
type writer struct {
	store *Store
	db    *sql.DB
	conn  *sql.Conn
	q     *statements // used by the goroutine alone
	queue chan *work
	quit  chan struct{}
	ended chan struct{}
}

// work is a function that waits for the writer. Its caller may withdraw it until it starts.
type work struct {
	fn     func(*Tx) error
	state  atomic.Int32
	done   chan error
	panic  any
	exited bool // by runtime.Goexit, as a test's Fatal does
}

const (
	waiting int32 = iota
	started
	withdrawn
)

func startWriter(ctx context.Context, s *Store, db *sql.DB) (*writer, error) {
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{
		store: s, db: db, conn: conn, q: &statements{db: conn, keepMore: true},
		queue: make(chan *work, maxGroup), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	go w.run()
	return w, nil
}

// do hands a function to the writer and waits until it is durable or has failed. Nobody is inside when
// the writer ends: see Store.Close.
func (w *writer) do(ctx context.Context, fn func(*Tx) error) error {
	job := &work{fn: fn, done: make(chan error, 1)}
	select {
	case w.queue <- job:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-job.done:
		return job.result(err)
	case <-ctx.Done():
		if job.state.CompareAndSwap(waiting, withdrawn) {
			return ctx.Err()
		}
		return job.result(<-job.done)
	}
}

// result gives the caller what its function made: an error, a panic, or the end of its goroutine.
func (j *work) result(err error) error {
	if j.panic != nil {
		panic(j.panic)
	}
	if j.exited {
		runtime.Goexit()
	}
	return err
}

func (w *writer) run() {
	defer close(w.ended)
	group := make([]*work, 0, maxGroup)
	for {
		select {
		case job := <-w.queue:
			group = append(group[:0], job)
		case <-w.quit:
			return
		}
	gather:
		for len(group) < maxGroup {
			select {
			case job := <-w.queue:
				group = append(group, job)
			default:
				break gather
			}
		}
		w.commit(group)
		clear(group)
	}
}

// commit runs a group in one transaction. Where SQLite aborts the whole of it (a full disk, an I/O
// error), nobody has been answered, and each function runs once more alone, so that one that cannot
// be stored does not take the others with it.
func (w *writer) commit(group []*work) {
	live := group[:0]
	for _, job := range group {
		if job.state.CompareAndSwap(waiting, started) {
			live = append(live, job)
		}
	}
	if len(live) == 0 {
		return
	}
	results, err := w.transaction(live)
	var begin *beginError
	switch {
	case err == nil:
		for i, job := range live {
			job.done <- results[i]
		}
	case len(live) == 1, errors.As(err, &begin): // alone each would only wait as long for the lock again
		for _, job := range live {
			job.done <- err
		}
	default:
		for _, job := range live {
			w.commitAlone(job)
		}
	}
}

func (w *writer) commitAlone(job *work) {
	results, err := w.transaction([]*work{job})
	if err == nil {
		err = results[0]
	}
	job.done <- err
}

// beginError says that a transaction could not be begun.
type beginError struct{ error }

func (e *beginError) Unwrap() error { return e.error }

// errExited is the result of a transaction in which a function ended its goroutine.
var errExited = errors.New("a function ended its goroutine")

// transaction runs functions in one transaction and gives the result of each. An error means that
// nothing of it is stored. It has a goroutine of its own, so that a function which ends its
// goroutine (a test's Fatal) does not end the writer.
func (w *writer) transaction(group []*work) (results []error, err error) {
	w.q.trim()
	err = errExited
	done := make(chan struct{})
	go func() {
		defer close(done)
		results, err = w.transact(group)
	}()
	<-done
	return results, err
}

func (w *writer) transact(group []*work) (results []error, err error) {
	ctx := context.Background()
	if err := w.exec(ctx, "begin immediate"); err != nil {
		return nil, &beginError{fmt.Errorf("begin: %w", err)}
	}
	over := false
	defer func() {
		if !over {
			_ = w.exec(ctx, "rollback") // it may be gone already
		}
	}()
	results = make([]error, len(group))
	stored := false
	for i, job := range group {
		if err := w.exec(ctx, "savepoint job"); err != nil {
			return nil, fmt.Errorf("savepoint: %w", err)
		}
		if results[i] = w.call(ctx, job); results[i] != nil {
			// If SQLite has rolled the whole transaction back, the savepoint is gone with it.
			if w.exec(ctx, "rollback to job") != nil {
				return nil, results[i]
			}
		} else {
			stored = true
		}
		if err := w.exec(ctx, "release job"); err != nil {
			return nil, fmt.Errorf("release: %w", err)
		}
	}
	if !stored {
		return results, nil // and the transaction is rolled back
	}
	if err := w.exec(ctx, "commit"); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	over = true
	return results, nil
}

// call runs one function. A panic is its caller's, not the writer's, and undoes what it wrote. Its
// stack is here and not where the panic goes on, so it is logged.
func (w *writer) call(ctx context.Context, job *work) (err error) {
	job.panic, job.exited = nil, true
	defer func() {
		if p := recover(); p != nil {
			job.panic, job.exited = p, false
			err = fmt.Errorf("panic: %v", p)
			w.store.log.Error("a function panicked in its transaction", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	tx := &Tx{store: w.store, q: w.q, ctx: ctx, whole: true}
	err = tx.run(job.fn)
	job.exited = false
	return err
}

// exec runs a statement of the writer's own.
func (w *writer) exec(ctx context.Context, query string) error {
	_, err := w.q.ExecContext(ctx, query)
	return outage(ctx, err)
}

// close ends the goroutine, when nobody is waiting for it any more, and closes the connection.
func (w *writer) close() error {
	close(w.quit)
	<-w.ended
	w.q.close()
	return errors.Join(w.conn.Close(), w.db.Close())
}
