package store_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"sealpost/fault"
	"sealpost/store"
)

func TestOutage(t *testing.T) {
	code := func(c string) error { return &pgconn.PgError{Code: c} }
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want string // "": it passes unchanged
	}{
		{"disk full", t.Context(), code("53100"), "the database's disk is full"},
		{"too many connections", t.Context(), code("53300"), "the database is away"},
		{"shut down", t.Context(), code("57P01"), "the database is away"},
		{"starting up", t.Context(), code("57P03"), "the database is away"},
		{"connection failure", t.Context(), code("08006"), "the database is away"},
		{"idle in transaction too long", t.Context(), code("25P03"), "the database is away"},
		{"read-only", t.Context(), code("25006"), "the database is read-only"},
		{"serialization", t.Context(), code("40001"), "the database is busy"},
		{"deadlock", t.Context(), code("40P01"), "the database is busy"},
		{"lock_timeout", t.Context(), code("55P03"), "the database is busy"},
		{"statement_timeout", t.Context(), code("57014"), "the database did not answer in time"},
		{"its disk", t.Context(), code("58030"), "the database's disk fails"},
		{"wrapped", t.Context(), fmt.Errorf("claim jobs: %w", code("57P02")), "the database is away"},
		{"a broken pipe", t.Context(), &net.OpError{Op: "write", Err: errors.New("broken pipe")}, "the database is away"},
		{"an end in the middle", t.Context(), fmt.Errorf("receive: %w", io.ErrUnexpectedEOF), "the database is away"},
		{"a bad connection", t.Context(), driver.ErrBadConn, "the database is away"},
		{"a connection that broke before", t.Context(), fmt.Errorf("commit: %w", pgconn.ErrConnClosed), "the database is away"},
		{"cannot connect", t.Context(), fmt.Errorf("x: %w", &pgconn.ConnectError{}), "the database is away"},
		{"a key that is there", t.Context(), code("23505"), ""},
		{"no such table", t.Context(), code("42P01"), ""},
		{"no rows", t.Context(), errors.New("something else"), ""},
		{"the caller gave up", ended, context.Canceled, ""},
		{"the caller gave up, in the driver's words", ended, &net.OpError{Op: "read", Err: errors.New("i/o timeout")}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := store.AsOutage(tt.ctx, tt.err)
			if !errors.Is(err, tt.err) {
				t.Errorf("%v is no longer in %v", tt.err, err)
			}
			if tt.want != "" {
				wantUnavailable(t, err, tt.want)
			}
			if store.Outage(fmt.Errorf("x: %w", err)) != (tt.want != "") {
				t.Errorf("Outage(%v) is wrong", err)
			}
			if tt.want == "" && fault.Of(err) != fault.Internal {
				t.Errorf("%v has become %v", tt.err, err)
			}
			if tt.ctx == ended && !errors.Is(err, context.Canceled) {
				t.Errorf("%v does not say that the caller gave up", err)
			}
		})
	}
	if store.AsOutage(ended, nil) != nil {
		t.Error("no error has become one")
	}
	if store.Outage(nil) || store.Outage(fault.New(fault.Unavailable, "the queue is full")) {
		t.Error("what is not the database's is called its outage")
	}
}
