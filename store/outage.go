package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sealpost/fault"
)

// retryAfter is what an outage's caller is told to wait.
const retryAfter = 5 * time.Second

// outage gives an error of the database that says "not now" to anyone the kind fault.Unavailable: a
// full disk, a database that is away or has become read-only. Everything else passes unchanged. ctx is
// the one that the statement ran under: where it has ended, that is the error, and no outage.
func outage(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		if errors.Is(err, ended) {
			return err
		}
		return fmt.Errorf("%w: %w", ended, err) // the drivers have words of their own for it
	}
	why := sqliteOutage(err)
	if why == "" {
		why = postgresOutage(err)
	}
	if why == "" {
		return err
	}
	return newOutage(err, why)
}

// outageError marks an error of the database's, whatever is wrapped around it.
type outageError struct{ error }

func (e *outageError) Unwrap() error { return e.error }

func newOutage(err error, why string) error {
	return fault.Wrap(fault.Unavailable, &outageError{err}, "%s", why).After(retryAfter)
}

// Outage tells whether an error is the database's fault.Unavailable, and not one of somebody else's.
func Outage(err error) bool {
	_, ok := errors.AsType[*outageError](err)
	return ok
}

// sqliteOutage gives the sentence for an error of SQLite that another try may not meet.
func sqliteOutage(err error) string {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return ""
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return "the database's disk is full"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return "the database's disk fails"
	case sqlite3.SQLITE_READONLY:
		return "the database is read-only"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL:
		return "the database is busy"
	case sqlite3.SQLITE_NOMEM:
		return "the server is out of memory"
	}
	return ""
}

// postgresOutage gives the sentence for an error of PostgreSQL that another try may not meet. The
// codes are of its manual's appendix A.
func postgresOutage(err error) string {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return "the database is away" // whatever the reason is: nobody's request is at fault
	}
	switch code := sqlState(err); {
	case code == "53100":
		return "the database's disk is full"
	case code == "25006":
		return "the database is read-only"
	case code == "40001", code == "40P01", code == "55P03":
		return "the database is busy"
	case code == "57014": // a statement_timeout of the operator's, since our own cancelling is ctx's
		return "the database did not answer in time"
	case code == "58030":
		return "the database's disk fails"
	case code == "25P03", code == "40003",
		strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57P"):
		return "the database is away"
	case code != "":
		return ""
	}
	if lost(err) {
		return "the database is away"
	}
	return ""
}

// lost tells whether a connection broke.
func lost(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return isNet || errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// Unique tells whether a statement failed because a row with the same key is there already.
func Unique(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return sqlState(err) == "23505"
}
