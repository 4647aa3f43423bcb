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
)

// ErrLocked says that another process has the SQLite file open.
var ErrLocked = errors.New("another process is using this database")

// ExitLocked is the status of a program that ends for ErrLocked: EX_TEMPFAIL of sysexits.h.
const ExitLocked = 75

const defaultReaders = 8

// openSQLite opens a file in WAL mode with full synchronous commits: what was committed survives a
// crash of the machine. One connection writes, in transactions that take the lock at once; a pool of
// others reads, each seeing the last commit, none waiting for the writer.
func openSQLite(ctx context.Context, path string, o Options) (_ *Store, err error) {
	s := &Store{dialect: SQLite, log: o.Logger}
	if s.path, err = databaseFile(path); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if s.lock, err = lockFile(s.path + ".lock"); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open the database %s: %w", s.path, outage(ctx, err)), s.lock.Close())
		}
	}()
	// Before SQLite makes it, so that nobody else can read it for a moment; its other files follow it.
	if err := ownFile(s.path); err != nil {
		return nil, err
	}
	// A commit waits for the data and the file's size, not for its timestamps. Where that call does
	// not exist the default, fsync, stays.
	_, _ = sqlite.Fdatasync(true)

	// The writer comes first: it turns on WAL, which readers then find.
	writeDB, err := sql.Open("sqlite", sqliteDSN(s.path, "_txlock=immediate", "synchronous(full)",
		"wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "cache_size(-32768)"))
	if err != nil {
		return nil, err
	}
	readDB, err := sql.Open("sqlite", sqliteDSN(s.path, "", "query_only(true)", "cache_size(-8192)"))
	if err != nil {
		return nil, errors.Join(err, writeDB.Close())
	}
	if s.writer, err = startWriter(ctx, s, writeDB); err != nil {
		return nil, errors.Join(err, writeDB.Close(), readDB.Close())
	}
	readers := o.MaxConns
	if readers == 0 {
		readers = defaultReaders
	}
	readDB.SetMaxOpenConns(readers)
	readDB.SetMaxIdleConns(readers)
	s.db, s.read = readDB, &statements{db: readDB}
	return s, nil
}

// databaseFile gives a file's one true path, so that every way to it leads to the same lock, and makes
// its folder.
func databaseFile(path string) (string, error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return "", errors.New("sqlite: needs a file's path behind it")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path)) // the file itself is not there yet
	return filepath.Join(dir, filepath.Base(path)), err
}

// ownFile makes the file where it is missing, and lets nobody else read it.
func ownFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator says which file
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
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
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator says which file
	if err != nil {
		return nil, fmt.Errorf("open its lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(holder[:n]))); err == nil {
			return nil, fmt.Errorf("%w: process %d holds %s", ErrLocked, pid, path)
		}
		return nil, fmt.Errorf("%w: it holds %s", ErrLocked, path) // and is just about to write its number
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // for the message above only
	}
	return f, nil
}
