package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
)

// OpenReader opens a database for reading alone, also while a server uses it: a SQLite file without the lock
// that keeps a second server away, which readers of a WAL do not need. It creates nothing, and Write is
// refused. A missing SQLite file is an error that wraps fs.ErrNotExist.
func OpenReader(ctx context.Context, databaseURL string, o Options) (*Store, error) {
	path, ok := strings.CutPrefix(databaseURL, "sqlite:")
	if !ok {
		s, err := Open(ctx, databaseURL, o)
		if err == nil {
			s.reader = true
		}
		return s, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	real, err := databaseFile(path)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	dsn := strings.Replace(sqliteDSN(real, "mode=ro", "query_only(true)", "cache_size(-8192)"), "&_pragma=journal_mode(wal)", "", 1)
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	conns := o.MaxConns
	if conns == 0 {
		conns = defaultReaders
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	s := &Store{dialect: SQLite, path: real, db: db, read: &statements{db: db}, log: o.Logger, reader: true}
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database %s: %w", real, err), s.Close())
	}
	return s, nil
}

var errReader = errors.New("this database is open for reading alone")
