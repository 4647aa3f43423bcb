package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	defaultConns  = 32
	maxTries      = 10 // of a transaction that met another one
	writeDeadline = 60 * time.Second
)

// openPostgres opens a pool of connections. The URL may name several hosts: each new connection goes
// to the one that takes writes, so a failover is survived by the connections that come after it.
func openPostgres(ctx context.Context, databaseURL string, o Options) (*Store, error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, errors.New("open the database: DATABASE_URL is neither sqlite:PATH nor a postgres:// URL that can be read")
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "sealpost"
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	db := stdlib.OpenDB(*cfg)
	conns := o.MaxConns
	if conns == 0 {
		conns = defaultConns
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour)
	s := &Store{dialect: Postgres, readers: newPool(db, false), log: o.Logger}
	if err := s.Ping(ctx); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return s, nil
}

// writePostgres runs a transaction, again from its start when it met another one.
func (s *Store) writePostgres(caller context.Context, fn func(*Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), writeDeadline)
	defer cancel()
	for try := 1; ; try++ {
		err := s.tryPostgres(ctx, fn)
		if err == nil || try == maxTries || !serialization(err) {
			if readOnly(err) {
				s.dropIdle()
			}
			return err
		}
		pause := time.NewTimer(rand.N(time.Duration(try) * 5 * time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

func (s *Store) tryPostgres(ctx context.Context, fn func(*Tx) error) error {
	tx, err := s.readers.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing; otherwise the error is told already
	if err := fn(&Tx{store: s, q: tx, ctx: ctx}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// dropIdle closes the connections that nobody uses: after a failover they lead to a server that no
// longer takes writes, and new ones are made to the one that does.
func (s *Store) dropIdle() {
	s.readers.SetMaxIdleConns(0)
	s.readers.SetMaxIdleConns(s.readers.Stats().MaxOpenConnections)
}

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

func serialization(err error) bool {
	code := sqlState(err)
	return code == "40001" || code == "40P01"
}

func readOnly(err error) bool { return err != nil && sqlState(err) == "25006" }

func postgresUnique(err error) bool { return sqlState(err) == "23505" }

// Unique tells whether a statement failed because a row with the same key is there already.
func Unique(err error) bool { return err != nil && (sqliteUnique(err) || postgresUnique(err)) }

// postgresOutage gives the sentence for an error of PostgreSQL that another try may not meet.
func postgresOutage(err error) string {
	switch code := sqlState(err); {
	case code == "53100":
		return "the database's disk is full"
	case code == "25006":
		return "the database is read-only"
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57P"):
		return "the database is away"
	case code == "40001" || code == "40P01":
		return "the database is busy"
	case code != "":
		return ""
	}
	_, isConnect := errors.AsType[*pgconn.ConnectError](err)
	_, isNet := errors.AsType[net.Error](err)
	if isConnect || isNet || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return "the database is away"
	}
	return ""
}
