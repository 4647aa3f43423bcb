package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

// What tests need of the inside.
var AsOutage = outage

const (
	MaxGroup    = maxGroup
	MaxPrepared = maxPrepared
	MaxTries    = maxTries
	MaxArgs     = maxArgs
	MaxAhead    = time.Duration(maxAhead>>12) * time.Millisecond
)

// Effects gives what a statement writes, and the word by which it would end its transaction.
func Effects(query string) (writes []string, control string) {
	e := findEffects(tokens(query))
	return e.writes, e.control
}

// Commits counts the commits of SQLite's writer from now on, by SQLite's own commit hook.
func (s *Store) Commits(t *testing.T) *atomic.Int64 {
	t.Helper()
	var n atomic.Int64
	err := s.writer.conn.Raw(func(conn any) error {
		hooks, ok := conn.(sqlite.HookRegisterer)
		if !ok {
			return errors.New("the driver has no hooks")
		}
		hooks.RegisterCommitHook(func() int32 { n.Add(1); return 0 })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return &n
}

// OnWriter runs a pragma on SQLite's writing connection, while nothing is being written.
func (s *Store) OnWriter(t *testing.T, pragma string) {
	t.Helper()
	if _, err := s.writer.conn.ExecContext(t.Context(), pragma); err != nil {
		t.Fatal(err)
	}
}

// Queued tells how many functions wait for SQLite's writer.
func (s *Store) Queued() int { return len(s.writer.queue) }

// Kept tells how many statements are kept prepared: the writer's and the readers'.
func (s *Store) Kept() (writer, readers int) {
	return len(s.writer.q.prepared), len(s.read.(*statements).prepared)
}

// Migrator gives what runs the migrations.
func (s *Store) Migrator(ctx context.Context) (*goose.Provider, func(), error) {
	return s.migrator(ctx)
}

// Ticks gives the times of ids made at given times by one process.
func Ticks(clock []time.Time) []time.Time {
	var c ticker
	times := make([]time.Time, len(clock))
	for i, now := range clock {
		times[i] = c.next(now).time()
	}
	return times
}

// Positional gives a statement as SQLite gets it, and the values of its placeholders.
func Positional(query string, args ...any) (text string, values []any, err error) {
	p := makePositional(query)
	values, err = p.values(args)
	return p.text, values, err
}

// Gate is what Close waits at.
type Gate struct{ gate }

// The gate's methods.
func (g *Gate) Enter() bool                { return g.enter() }
func (g *Gate) Leave()                     { g.leave() }
func (g *Gate) Close(d time.Duration) bool { return g.close(d) }

// Running tells how many runs of a Gather there are.
func (g *Gather[K, V]) Running() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running
}
