package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sealpost/store"
)

// serverName is what a server is called across restarts, so that it can take back at once what it was
// sending when it ended. The name is in DATA_DIR, and the file is locked while the server runs: two
// servers that share a directory must not take each other's work.
type serverName struct {
	name string
	file *os.File
}

// takeServerName takes the name that is kept in a directory, and makes one the first time. While
// another process has it this one has none, which is no error.
func takeServerName(dir string) (*serverName, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "server-name"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // DATA_DIR is the operator's
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil //nolint:nilnil // a nil serverName is no name
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	b := make([]byte, 64)
	n, _ := f.ReadAt(b, 0)
	name := strings.TrimSpace(string(b[:n]))
	if !store.ValidID(name) {
		name = store.NewID()
		_, err := f.WriteAt([]byte(name+"\n"), 0)
		if err = errors.Join(err, f.Truncate(int64(len(name)+1))); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &serverName{name: name, file: f}, nil
}

// String is the name, "" where there is none.
func (s *serverName) String() string {
	if s == nil {
		return ""
	}
	return s.name
}

// release gives the name back.
func (s *serverName) release() error {
	if s == nil {
		return nil
	}
	return s.file.Close()
}
