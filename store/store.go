// Package store opens Sealpost's database and holds every difference between the two that it may be:
// SQLite in a file, for one server, and PostgreSQL 15 or later, for one or several. Everything above
// it writes one text of SQL, with $1 … $n for arguments.
//
//   - Read runs statements one by one outside a transaction; Snapshot runs them on one consistent view.
//     Neither can write.
//   - Write runs a function in a transaction. Only package audit may call it (a linter rule): a change
//     goes through audit.Change, which adds the event that belongs to it.
//
// What a function may do with its Tx is the same on both databases, whichever of them is stricter: a
// statement that fails ends the transaction, a statement inside another one's rows is refused, and a
// text with a NUL or with invalid UTF-8 in it is refused as fault.Invalid.
//
// Ids are UUIDv7 made by the program, times are microseconds since the epoch (bigint), and nothing
// here needs a sequence, a trigger or an advisory lock, so an engine that speaks PostgreSQL's
// language over several machines can take PostgreSQL's place.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/fault"
)

// Dialect names one of the two databases.
type Dialect string

// The two databases.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// Options are what Open can be told. The zero value is good.
type Options struct {
	MaxConns int // PostgreSQL: open connections; SQLite: readers. 0: 32 and 8
	Logger   *slog.Logger
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	dialect    Dialect
	path       string  // SQLite's file
	db         *sql.DB // the readers' connections, on PostgreSQL also the writers'
	read       querier // runs statements on them
	writer     *writer
	lock       *os.File
	reader     bool // nothing is written
	log        *slog.Logger
	generation atomic.Int64                          // of PostgreSQL's connections; older ones are dropped
	writing    chan struct{}                         // PostgreSQL: one for each transaction that may be open
	setIdle    bool                                  // PostgreSQL's connections are given idleInTransaction
	types      remembered[string, map[string]string] // PostgreSQL: the types of each table's columns
	migrating  sync.Mutex
	gate       gate
	closing    sync.Once
	closed     error
}

// Open opens the database that a URL names, "sqlite:PATH" or "postgres://…". It waits for nothing and
// creates no table: Migrate does. A SQLite file is locked for this process; ErrLocked says that
// another one has it.
func Open(ctx context.Context, databaseURL string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		return openSQLite(ctx, path, o)
	}
	return openPostgres(ctx, databaseURL, o)
}

// Dialect tells which of the two databases this is.
func (s *Store) Dialect() Dialect { return s.dialect }

// closePatience is how long Close waits for what is under way: an answer that a broken network has
// swallowed never comes.
const closePatience = 15 * time.Second

// Close waits for what is under way, reads and writes, and closes the database. What comes after it
// is answered with fault.Unavailable.
func (s *Store) Close() error {
	s.closing.Do(func() {
		if !s.gate.close(closePatience) {
			s.log.Error("the database is closed while it is being used", "seconds", closePatience.Seconds())
		}
		var errs []error
		if s.writer != nil {
			errs = append(errs, s.writer.close())
		}
		if kept, ok := s.read.(*statements); ok {
			kept.close()
		}
		errs = append(errs, s.db.Close())
		if s.lock != nil {
			errs = append(errs, s.lock.Close())
		}
		s.closed = errors.Join(errs...)
	})
	return s.closed
}

// Ping asks the database for an answer: on SQLite, whether its file can be read.
func (s *Store) Ping(ctx context.Context) error {
	query := `select 1`
	if s.dialect == SQLite {
		query = `select count(*) from sqlite_schema`
	}
	err := s.Read(ctx, func(tx *Tx) error {
		var n int
		return tx.QueryRow(ctx, query).Scan(&n)
	})
	if err != nil {
		return fmt.Errorf("ping the database: %w", err)
	}
	return nil
}

// Read runs statements one by one, each seeing what is committed when it runs.
func (s *Store) Read(ctx context.Context, fn func(*Tx) error) error {
	if !s.gate.enter() {
		return errClosed()
	}
	defer s.gate.leave()
	return (&Tx{store: s, q: s.read, only: nothing}).run(fn)
}

// Snapshot runs statements on one consistent, read-only view of the database. It is for short
// work: a long snapshot keeps PostgreSQL from cleaning up behind the dispatcher.
func (s *Store) Snapshot(ctx context.Context, fn func(*Tx) error) error {
	if !s.gate.enter() {
		return errClosed()
	}
	defer s.gate.leave()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: s.snapshotIsolation()})
	if err != nil {
		return fmt.Errorf("begin a snapshot: %w", outage(ctx, err))
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	var q querier = tx
	if s.dialect == SQLite {
		q = plain{tx}
	}
	return (&Tx{store: s, q: q, only: nothing, whole: true}).run(fn)
}

// Write runs fn in a transaction that is durable when Write returns nil. fn may run more than once
// (40001 and 40P01 on PostgreSQL, an aborted group on SQLite), so it sets what it returns anew each
// time and has no effect outside the transaction. It must not touch the network, nor call Write. The
// caller's context can withdraw the work only before it has started: from then on it ends by itself.
//
// fault.Unavailable says "not now": a full disk, a database that is away. Where the connection broke
// during PostgreSQL's commit, nobody knows whether it took place, and it may have.
func (s *Store) Write(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.reader {
		return errReader
	}
	if !s.gate.enter() {
		return errClosed()
	}
	defer s.gate.leave()
	if s.writer != nil {
		return s.writer.do(ctx, fn)
	}
	return s.writePostgres(ctx, fn)
}

// snapshotIsolation is repeatable read where that has to be asked for. SQLite knows no other.
func (s *Store) snapshotIsolation() sql.IsolationLevel {
	if s.dialect == Postgres {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

// gate counts what is under way, so that Close can wait for it.
type gate struct {
	mu     sync.Mutex
	shut   bool
	inside sync.WaitGroup
}

// enter lets somebody in, who leaves later. false: the gate is shut.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		g.inside.Add(1)
	}
	return !g.shut
}

func (g *gate) leave() { g.inside.Done() }

// close shuts the gate and waits until everybody has left. false: somebody has not, for so long.
func (g *gate) close(patience time.Duration) bool {
	g.mu.Lock()
	g.shut = true
	g.mu.Unlock()
	empty := make(chan struct{})
	go func() {
		defer close(empty)
		g.inside.Wait()
	}()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-empty:
		return true
	case <-limit.C:
		return false
	}
}

func errClosed() error { return fault.New(fault.Unavailable, "the server is ending") }
