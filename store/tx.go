package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// querier is what a pool, a connection and a transaction have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Tx runs statements: in a transaction under Write and Snapshot, one by one under Read.
type Tx struct {
	store *Store
	q     querier
	ctx   context.Context // under Write: the writer's, which no caller can cancel
	now   time.Time
	only  map[string]bool // the tables that may be written; nil: all
	wrote map[string]bool // the tables that have been
}

// Restrict lets the transaction write to the named tables only, from now on. Package audit uses it
// to hold bookkeeping to its closed list.
func (tx *Tx) Restrict(tables map[string]bool) { tx.only = tables }

// Exec runs a statement and tells how many rows it changed.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := tx.mayWrite(query); err != nil {
		return 0, err
	}
	res, err := tx.q.ExecContext(tx.context(ctx), query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Query runs a statement that answers with rows. The caller closes them.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := tx.mayWrite(query); err != nil {
		return nil, err
	}
	return tx.q.QueryContext(tx.context(ctx), query, args...)
}

// QueryRow runs a statement that answers with at most one row. Scan says sql.ErrNoRows (see NoRow)
// where there is none.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	if err := tx.mayWrite(query); err != nil {
		return Row{err: err}
	}
	return Row{row: tx.q.QueryRowContext(tx.context(ctx), query, args...)}
}

// Row is the answer of QueryRow.
type Row struct {
	row *sql.Row
	err error
}

// Scan copies the row's columns into dest.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.row.Scan(dest...)
}

// Each runs a query and calls fn for each row, with the rows' Scan. It is Query without the ways to
// forget closing the rows and asking for their error.
func (tx *Tx) Each(ctx context.Context, fn func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Now is the database's clock, read once for each transaction, so that leases taken by several
// servers are measured by one clock. On SQLite, with one server, that is this machine's.
func (tx *Tx) Now(ctx context.Context) (time.Time, error) {
	if tx.now.IsZero() {
		if tx.store.dialect == SQLite {
			tx.now = time.Now().UTC().Truncate(time.Microsecond)
			return tx.now, nil
		}
		var micros int64
		err := tx.q.QueryRowContext(tx.context(ctx),
			`select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)`).Scan(&micros)
		if err != nil {
			return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
		}
		tx.now = FromMicros(micros)
	}
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
