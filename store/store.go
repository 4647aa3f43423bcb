// Package store opens Sealpost's database and holds every difference between the two that it may be:
// SQLite in a file, for one server, and PostgreSQL 15 or later, for one or several. Everything above
// it writes one text of SQL, with $1 … $n for arguments.
//
//   - Read runs statements one by one outside a transaction; Snapshot runs them on one consistent view.
//   - Write runs a function in a transaction. Only package audit may call it (a linter rule): a change
//     goes through audit.Change, which adds the event that belongs to it.
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
	dialect Dialect
	path    string // SQLite's file
	readers *pool  // on PostgreSQL also the writers'
	writer  *writer
	lock    *os.File
	log     *slog.Logger
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

// Close ends what is under way and closes the database.
func (s *Store) Close() error {
	var errs []error
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	errs = append(errs, s.readers.Close())
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Ping asks the database for an answer.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.readers.QueryRowContext(ctx, `select 1`).Scan(&one); err != nil {
		return fmt.Errorf("ping the database: %w", outage(err))
	}
	return nil
}

// Read runs statements one by one, each seeing what is committed when it runs.
func (s *Store) Read(ctx context.Context, fn func(*Tx) error) error {
	return outage(fn(&Tx{store: s, q: s.readers}))
}

// Snapshot runs statements on one consistent, read-only view of the database. It is for short
// work: a long snapshot keeps PostgreSQL from cleaning up behind the dispatcher.
func (s *Store) Snapshot(ctx context.Context, fn func(*Tx) error) error {
	tx, err := s.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: s.snapshotIsolation()})
	if err != nil {
		return outage(fmt.Errorf("begin a snapshot: %w", err))
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return outage(fn(&Tx{store: s, q: tx}))
}

// Write runs fn in a transaction that is durable when Write returns nil. fn may run more than once
// (40001 and 40P01 on PostgreSQL, an aborted group on SQLite), so it sets what it returns anew each
// time and has no effect outside the transaction. It must not touch the network. The caller's context
// can withdraw the work only before it has started: from then on it ends by itself.
func (s *Store) Write(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.writer != nil {
		return outage(s.writer.do(ctx, fn))
	}
	return outage(s.writePostgres(ctx, fn))
}

// snapshotIsolation is repeatable read where that has to be asked for. SQLite knows no other.
func (s *Store) snapshotIsolation() sql.IsolationLevel {
	if s.dialect == Postgres {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

// outage gives an error that says "not now" to anyone the kind fault.Unavailable: a full disk, a
// database that is away or that has become read-only. Everything else passes unchanged.
func outage(err error) error {
	if err == nil || fault.Of(err) != fault.Internal {
		return err
	}
	if why := sqliteOutage(err); why != "" {
		return fault.Wrap(fault.Unavailable, err, "%s", why).After(5 * time.Second)
	}
	if why := postgresOutage(err); why != "" {
		return fault.Wrap(fault.Unavailable, err, "%s", why).After(5 * time.Second)
	}
	return err
}
