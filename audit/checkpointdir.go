package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// In AUDIT_CHECKPOINT_DIR, which should be on another machine, "checkpoint" is the newest checkpoint, and
// "checkpoint-2026-11-25" the last one of a UTC day: one file a day, of which the newest maxCopies stay.
const (
	copyName  = "checkpoint"
	dayPrefix = copyName + "-"
	maxCopies = 4000 // days: more than AUDIT_RETENTION_DAYS of the runbook
	// copyPatience is for how long copying may fail before the log is unhealthy. It stops nothing else.
	copyPatience = time.Minute
)

// outside gives the checkpoint that was copied last, if it is one of this log: that it is there is no
// condition for sealing, and what a stranger has put there is not believed.
func (s *Sealer) outside(verifiers []note.Verifier) Checkpoint {
	if s.o.CheckpointDir == "" {
		return Checkpoint{}
	}
	path := filepath.Join(s.o.CheckpointDir, copyName)
	text, err := os.ReadFile(path) //nolint:gosec // the operator says where
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}
	}
	if err == nil {
		var c Checkpoint
		if c, err = OpenCheckpoint(string(text), verifiers...); err == nil && c.Origin == s.origin {
			return c
		}
	}
	s.o.Logger.Warn("the checkpoint in AUDIT_CHECKPOINT_DIR is none of this log, and is not looked at", "file", path, "error", err)
	return Checkpoint{}
}

// copyOut writes the newest checkpoint into the directory.
func (s *Sealer) copyOut() {
	if s.o.CheckpointDir == "" || s.newest.Size == 0 || s.newest.Note == s.copied {
		return
	}
	err := copyCheckpoint(s.o.CheckpointDir, s.newest, s.log.writer)
	if err == nil {
		s.copied = s.newest.Note
	}
	s.mu.Lock()
	before := s.status.copying
	if s.status.copying = err; before == nil {
		s.status.since = time.Now()
	}
	s.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		s.o.Logger.Error("a checkpoint could not be copied to AUDIT_CHECKPOINT_DIR; sealing goes on", "error", err)
	case err == nil && before != nil:
		s.o.Logger.Info("checkpoints are copied to AUDIT_CHECKPOINT_DIR again")
	}
}

// copyCheckpoint writes a checkpoint as the newest one and as its day's. It never replaces a larger one of
// the same log by a smaller, nor anything by one of another log.
func copyCheckpoint(dir string, c Checkpoint, writer string) error {
	if there, err := ReadCopy(dir); err == nil {
		switch {
		case there.Origin != c.Origin:
			return fmt.Errorf("%s is of the log %s", filepath.Join(dir, copyName), there.Origin)
		case there.Size > c.Size:
			return fmt.Errorf("%s has %d leaves, more than the %d of the newest checkpoint", filepath.Join(dir, copyName), there.Size, c.Size)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	day := dayPrefix + c.Time.UTC().Format(time.DateOnly)
	_, err := os.Stat(filepath.Join(dir, day))
	newDay := errors.Is(err, fs.ErrNotExist)
	for _, name := range []string{day, copyName} {
		if err := replaceFile(dir, name, "."+name+"-"+writer, c.Note); err != nil {
			return fmt.Errorf("copy a checkpoint: %w", err)
		}
	}
	if newDay {
		return forgetCopies(dir)
	}
	return nil
}

// ReadCopy reads the newest checkpoint of a directory. Its signatures are not verified. fs.ErrNotExist where
// there is none.
func ReadCopy(dir string) (Checkpoint, error) {
	path := filepath.Join(dir, copyName)
	text, err := os.ReadFile(path) //nolint:gosec // the operator says where
	if err != nil {
		return Checkpoint{}, err
	}
	body, _, _ := strings.Cut(string(text), "\n\n")
	c, err := ParseCheckpoint(body + "\n")
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%s: %w", path, err)
	}
	c.Note = string(text)
	return c, nil
}

// replaceFile writes a file whole or not at all: under another name first, and on the disk before it gets
// its own.
func replaceFile(dir, name, draft, text string) (err error) {
	draft = filepath.Join(dir, draft)
	f, err := os.OpenFile(draft, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644) //nolint:gosec // it is for others to read
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(draft)
		}
	}()
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(draft, filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // the operator says where
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// forgetCopies deletes the oldest days beyond maxCopies.
func forgetCopies(dir string) error {
	entries, err := os.ReadDir(dir) // sorted by name, which is the order of days
	if err != nil {
		return err
	}
	var days []string
	for _, e := range entries {
		if day, ok := strings.CutPrefix(e.Name(), dayPrefix); ok && len(day) == len(time.DateOnly) {
			days = append(days, e.Name())
		}
	}
	for ; len(days) > maxCopies; days = days[1:] {
		if err := os.Remove(filepath.Join(dir, days[0])); err != nil {
			return err
		}
	}
	return nil
}
