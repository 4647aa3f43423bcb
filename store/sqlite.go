package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrLocked says that another process has the SQLite file open.
var ErrLocked = errors.New("another process is using this database")

// ExitLocked is the status of a program that ends for ErrLocked: EX_TEMPFAIL of sysexits.h.
const ExitLocked = 75

const defaultReaders = 8

// openSQLite opens a file in WAL mode with full synchronous commits: what was committed survives a
// crash of the machine. One connection writes, in transactions that take the lock at once; a pool of
// others reads, each seeing the last commit, none waiting for the writer.
func openSQLite(ctx context.Context, path string, o Options) (*Store, error) {
	if path == "" {
		return nil, errors.New("open the database: sqlite: needs a path behind it")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	// A commit waits for the data and the file's size, not for its timestamps. Where that call does
	// not exist the default, fsync, stays.
	_, _ = sqlite.Fdatasync(true)

	// The writer comes first: it creates the file and turns on WAL, which readers then find.
	writeDB, err := sql.Open("sqlite", sqliteDSN(path, "_txlock=immediate", "synchronous(full)",
		"wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "cache_size(-32768)"))
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	w, err := startWriter(ctx, writeDB)
	if err != nil {
		_ = writeDB.Close()
		_ = lock.Close()
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database: %w", err), w.close(), lock.Close())
	}
	readDB, err := sql.Open("sqlite", sqliteDSN(path, "", "query_only(true)", "cache_size(-8192)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the database %s: %w", path, err), w.close(), lock.Close())
	}
	readers := o.MaxConns
	if readers == 0 {
		readers = defaultReaders
	}
	readDB.SetMaxOpenConns(readers)
	readDB.SetMaxIdleConns(readers)
	s := &Store{dialect: SQLite, path: path, readers: newPool(readDB, true), writer: w, lock: lock, log: o.Logger}
	w.store = s
	return s, nil
}

func sqliteDSN(path, option string, pragmas ...string) string {
	params := []string{}
	if option != "" {
		params = append(params, option)
	}
	for _, p := range append([]string{"busy_timeout(5000)", "journal_mode(wal)", "foreign_keys(true)"}, pragmas...) {
		params = append(params, "_pragma="+p)
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + strings.Join(params, "&")
}

// lockFile takes the advisory lock that keeps a second server from the same file. The kernel gives it
// back when the process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the database's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (process %s holds %s)", ErrLocked, strings.TrimSpace(string(holder[:n])), path)
		}
		return nil, fmt.Errorf("lock the database: %w", err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // for the message above only
	}
	return f, nil
}

// sqliteOutage gives the sentence for an error of SQLite that another try may not meet.
func sqliteOutage(err error) string {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return ""
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return "the disk is full"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return "the database's disk fails"
	case sqlite3.SQLITE_READONLY:
		return "the database is read-only"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM:
		return "the database is busy"
	}
	return ""
}

func sqliteUnique(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}
