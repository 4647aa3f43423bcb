package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"sealpost/fault"
)

const (
	defaultConns  = 32
	maxTries      = 10 // of a transaction that met another one
	maxBegins     = 3  // of a transaction whose connection turns out to be broken before it has begun
	writeDeadline = 60 * time.Second
)

// idleInTransaction is for how long PostgreSQL keeps a transaction whose client says nothing more. A server
// that was stopped in the middle of one (a virtual machine that is paused, say) holds rows that the others
// would pass over for as long as it is. DATABASE_URL may name another time.
const (
	idleInTransaction        = 10 * time.Second
	idleInTransactionSetting = "idle_in_transaction_session_timeout"
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
	s := &Store{dialect: Postgres, log: o.Logger, setIdle: cfg.RuntimeParams[idleInTransactionSetting] == ""}
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(s.connected), stdlib.OptionResetSession(s.reused))
	conns := o.MaxConns
	if conns == 0 {
		conns = defaultConns
	}
	s.writing = make(chan struct{}, writersOf(conns))
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour)
	s.db, s.read = db, db
	if err := s.Ping(ctx); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return s, nil
}

// writersOf is how many of the connections may be in a writing transaction at once. Transactions that wait
// for each other's rows (a crowd that signs in from one network) would otherwise take all of them, and
// nobody could so much as read meanwhile.
func writersOf(conns int) int { return max(1, conns-conns/4) }

// After a failover the connections that are open may lead to a server that no longer takes writes. The
// first write that is refused for that reason begins a new generation of connections; one of an older
// generation is dropped when it is taken from the pool.
const generationKey = "sealpost.generation"

func (s *Store) connected(ctx context.Context, conn *pgx.Conn) error {
	conn.PgConn().CustomData()[generationKey] = s.generation.Load()
	if !s.setIdle {
		return nil
	}
	// Not a parameter of the start: poolers refuse the ones that they do not know.
	_, err := conn.Exec(ctx, fmt.Sprintf("set %s = %d", idleInTransactionSetting, idleInTransaction.Milliseconds()))
	return err
}

func (s *Store) reused(_ context.Context, conn *pgx.Conn) error {
	if conn.PgConn().CustomData()[generationKey] != s.generation.Load() {
		return driver.ErrBadConn
	}
	return nil
}

// writePostgres runs a transaction, again from its start when it met another one. The caller can
// withdraw it while it waits for a connection.
func (s *Store) writePostgres(caller context.Context, fn func(*Tx) error) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-caller.Done():
		return fmt.Errorf("wait to write: %w", caller.Err())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), writeDeadline)
	defer cancel()
	for try := 1; ; try++ {
		again, err := s.tryPostgres(caller, ctx, fn)
		if !again || try == maxTries {
			if err != nil && ctx.Err() != nil {
				return newOutage(err, "the database did not answer in time")
			}
			return err
		}
		pause := time.NewTimer(rand.N(time.Duration(try) * 5 * time.Millisecond)) //nolint:gosec // spreads retries, guards nothing
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
		caller = ctx //nolint:fatcontext // it has started: from now on its caller cannot withdraw it
	}
}

// tryPostgres runs a transaction once. again tells that it met another one and may be tried again.
func (s *Store) tryPostgres(caller, ctx context.Context, fn func(*Tx) error) (again bool, err error) {
	conn, sqlTx, err := s.begin(caller, ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()     //nolint:errcheck // gives the connection back
	defer sqlTx.Rollback() //nolint:errcheck // after a commit it does nothing; otherwise the error is told already
	tx := &Tx{store: s, q: sqlTx, ctx: ctx, whole: true}
	err = tx.run(fn)
	if err == nil {
		if err = sqlTx.Commit(); err != nil {
			err = fmt.Errorf("commit: %w", tx.fail(ctx, err))
		}
	}
	// What a statement met counts, whatever fn has made of it.
	if sqlState(tx.failed) == "25006" {
		s.generation.Add(1)
	}
	return err != nil && serialization(tx.failed), err
}

// begin takes a connection and begins a transaction on it. A connection that turns out to be broken,
// as all are that a restarted server has left in the pool, has done nothing yet and is replaced.
func (s *Store) begin(caller, ctx context.Context) (*sql.Conn, *sql.Tx, error) {
	for try := 1; ; try++ {
		conn, err := s.db.Conn(caller)
		if err != nil {
			return nil, nil, fmt.Errorf("connect: %w", outage(caller, err))
		}
		tx, err := conn.BeginTx(ctx, nil)
		if err == nil {
			return conn, tx, nil
		}
		_ = conn.Close()
		err = outage(ctx, err)
		if try == maxBegins || !fault.Is(err, fault.Unavailable) {
			return nil, nil, fmt.Errorf("begin: %w", err)
		}
	}
}

func serialization(err error) bool {
	code := sqlState(err)
	return code == "40001" || code == "40P01"
}
