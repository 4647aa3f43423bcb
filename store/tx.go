package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/fault"
)

// querier is what a pool, a connection and a transaction have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Tx runs statements: in a transaction under Write and Snapshot, one by one under Read. It is used by
// one goroutine at a time, and only while its function runs.
type Tx struct {
	store  *Store
	q      querier
	ctx    context.Context // under Write: the writer's, which no caller can cancel
	now    time.Time
	only   map[string]bool // what may be written, see Restrict; nil: everything
	wrote  map[string]bool // what has been
	whole  bool            // a transaction, which ends with the first statement that fails
	failed error           // that statement's error
	inRows bool            // Each is giving out rows
	over   bool            // its function has ended
}

// run gives fn's error, or that of a statement whose error fn left aside: PostgreSQL would not commit,
// and SQLite may have undone more than that statement.
func (tx *Tx) run(fn func(*Tx) error) error {
	defer func() { tx.over = true }()
	err := fn(tx)
	if err == nil {
		err = tx.failed
	}
	return err
}

// Exec runs a statement and tells how many rows it changed.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := tx.check(query, args); err != nil {
		return 0, err
	}
	ctx = tx.context(ctx)
	res, err := tx.q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, tx.fail(ctx, err)
	}
	return res.RowsAffected()
}

// Query runs a statement that answers with rows. The caller closes them before the next statement, and
// asks for their error. Each does both.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := tx.check(query, args); err != nil {
		return nil, err
	}
	ctx = tx.context(ctx)
	rows, err := tx.q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, tx.fail(ctx, err)
	}
	return rows, nil
}

// Each runs a query and calls fn for each row, with the rows' Scan. It is Query without the ways to
// forget closing the rows and asking for their error. fn runs no statement.
func (tx *Tx) Each(ctx context.Context, fn func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	tx.inRows = true
	defer func() { tx.inRows = false }()
	ctx = tx.context(ctx)
	scan := func(dest ...any) error {
		if err := rows.Scan(dest...); err != nil {
			return tx.fail(ctx, err)
		}
		return nil
	}
	for rows.Next() {
		if err := fn(scan); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return tx.fail(ctx, err)
	}
	return nil
}

// QueryRow runs a statement that answers with at most one row. Scan says sql.ErrNoRows (see NoRow)
// where there is none.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	rows, err := tx.Query(ctx, query, args...) //nolint:rowserrcheck // Scan asks
	return Row{rows: rows, err: err, tx: tx, ctx: tx.context(ctx)}
}

// Row is the answer of QueryRow. It is to be scanned, before the next statement.
type Row struct {
	rows *sql.Rows
	err  error
	tx   *Tx
	ctx  context.Context // the statement's, for the kind of its error
}

// Scan copies the row's columns into dest.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close() //nolint:errcheck // once more does nothing
	found := r.rows.Next()
	if found {
		if err := r.rows.Scan(dest...); err != nil {
			return r.tx.fail(r.ctx, err)
		}
	}
	if err := errors.Join(r.rows.Close(), r.rows.Err()); err != nil {
		return r.tx.fail(r.ctx, err)
	}
	if !found {
		return sql.ErrNoRows
	}
	return nil
}

// check refuses a statement that one of the databases would refuse, or that this Tx may not run.
func (tx *Tx) check(query string, args []any) error {
	if tx.over {
		return errors.New("a statement after the function that it belongs to")
	}
	if tx.failed != nil {
		return fmt.Errorf("an earlier statement of this transaction failed: %w", tx.failed)
	}
	err := tx.mayWrite(query)
	switch {
	case err != nil:
	case tx.inRows:
		err = errors.New("a statement inside the rows of another one: read them all first")
	default:
		err = storable(args)
	}
	if err != nil && tx.whole {
		tx.failed = err
	}
	return err
}

// fail notes that a statement failed, and gives its error.
func (tx *Tx) fail(ctx context.Context, err error) error {
	err = outage(ctx, err)
	if tx.whole && tx.failed == nil {
		tx.failed = err
	}
	return err
}

// storable refuses a text that PostgreSQL does not take. SQLite would, so the databases would differ.
func storable(args []any) error {
	for i, arg := range args {
		ok := true
		switch v := arg.(type) {
		case string:
			ok = isText(v)
		case []*string: // of Insert
			for _, s := range v {
				ok = ok && (s == nil || isText(*s))
			}
		default:
			if named := reflect.ValueOf(arg); named.Kind() == reflect.String {
				ok = isText(named.String())
			}
		}
		if !ok {
			return fault.Wrap(fault.Invalid, fmt.Errorf("argument %d", i+1), "a text has a NUL or is not UTF-8, and cannot be stored")
		}
	}
	return nil
}

func isText(s string) bool { return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) }

// Now is the database's clock, read once for each transaction, so that leases taken by several
// servers are measured by one clock. On SQLite, with one server, that is this machine's.
func (tx *Tx) Now(ctx context.Context) (time.Time, error) {
	if !tx.now.IsZero() {
		return tx.now, nil
	}
	if tx.store.dialect == SQLite {
		tx.now = time.Now().UTC().Truncate(time.Microsecond)
		return tx.now, nil
	}
	var micros int64
	err := tx.QueryRow(ctx, `select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)`).Scan(&micros)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
	}
	tx.now = FromMicros(micros)
	return tx.now, nil
}

// SkipLocked is what a select of rows to be claimed ends with: on PostgreSQL several servers claim
// side by side, each skipping the rows that another is claiming; SQLite has one writer. The lock lets
// KeepAlive's through, so that claiming from an endpoint and accepting for it do not meet.
func (tx *Tx) SkipLocked(of string) string {
	if of != "" {
		of = " of " + of
	}
	return tx.onPostgres(" for no key update" + of + " skip locked")
}

// ForUpdate is what a select ends with whose row must not change, nor be relied on by KeepAlive,
// before this transaction ends.
func (tx *Tx) ForUpdate() string { return tx.onPostgres(" for update") }

// KeepAlive is what a select ends with whose rows must not be deleted before this transaction ends.
func (tx *Tx) KeepAlive() string { return tx.onPostgres(" for key share") }

func (tx *Tx) onPostgres(clause string) string {
	if tx.store.dialect == Postgres {
		return clause
	}
	return ""
}

// Dialect tells which database this is, for the rare text that one of them alone can run.
func (tx *Tx) Dialect() Dialect { return tx.store.dialect }

func (tx *Tx) context(ctx context.Context) context.Context {
	if tx.ctx != nil {
		return tx.ctx
	}
	return ctx
}

// NoRow tells whether a query found no row.
func NoRow(err error) bool { return errors.Is(err, sql.ErrNoRows) }
