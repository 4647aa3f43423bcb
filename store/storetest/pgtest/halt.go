package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Halt shuts the server down, which ends its connections and keeps what is committed: for tests of what
// happens while the database is away. Resume starts it again, Stop removes the files.
func (c *Cluster) Halt(ctx context.Context) error {
	if c.guard == nil {
		return errors.New("halt PostgreSQL: it is not running, or another process's")
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	pid, err := c.postmaster()
	if err != nil {
		return fmt.Errorf("halt PostgreSQL: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		return fmt.Errorf("halt PostgreSQL: %w", err)
	}
	return c.awaitExit(ctx)
}

// postmaster is the id of the server's first process.
func (c *Cluster) postmaster() (int, error) {
	file, err := os.ReadFile(c.file("data/postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(file), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("its pid file says %q", first)
	}
	return pid, nil
}

// awaitExit waits until the server has ended by itself, which leaves its files.
func (c *Cluster) awaitExit(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for { // the guard says when its server has ended, and keeps the files
		if _, err := os.Stat(c.file("exited")); err == nil {
			// Only then may the pipe end: a guard that is still there would remove the files.
			_ = c.guard.Wait() // its status is the server's
			c.guard, c.halted = nil, true
			return c.leash.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not end: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Resume starts a server that was halted, with its data and at its address.
func (c *Cluster) Resume(ctx context.Context) error {
	if !c.halted {
		return errors.New("resume PostgreSQL: it was not halted")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	bin, err := FindServer(ctx)
	if err != nil {
		return err
	}
	as, err := serverUser()
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(c.admin.Port())
	if err != nil {
		return err
	}
	// The pid file of a server that had to be killed says "ready" until the next one has written its own.
	if err := errors.Join(os.Remove(c.file("exited")), remove(c.file("data/postmaster.pid"))); err != nil {
		return fmt.Errorf("resume PostgreSQL: %w", err)
	}
	if err := c.startGuard(bin, port, as); err != nil {
		return fmt.Errorf("resume PostgreSQL: %w", err)
	}
	c.halted = false
	if err := c.awaitReady(ctx); err != nil {
		return fmt.Errorf("resume PostgreSQL: %w", err)
	}
	return nil
}

// remove removes a file that may be gone already.
func remove(file string) error {
	if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
