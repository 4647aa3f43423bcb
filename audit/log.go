// Package audit is the only door to a write (runbook §6, SPEC §5.1).
//
//   - Change makes a change and writes the events that tell of it, in one transaction: both are there
//     or neither is.
//   - Refused records what did not happen, and gives the refusal back.
//   - Bookkeep writes what is no change in anyone's eyes (leases, throttles, idempotency answers); the
//     closed list of its tables is in bookkeep.go.
//
// Each event has a body (who did what to what), which retention may remove, and an envelope, which
// stays: the time, the writer's own count, and the hash of salt and body. Until an envelope is sealed
// under a checkpoint an HMAC covers it. A chain from event to event inside each transaction would
// make all writers wait for each other, so numbering and hashing come after the commit.
package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// Log writes and reads the audit log of one server process.
type Log struct {
	st      *store.Store
	log     *slog.Logger
	writer  string // this incarnation's UUID
	key     atomic.Pointer[keys.Ring]
	failed  atomic.Pointer[failure] // the last change that could not be written; nil: others could since
	undone  undone
	outages outages
	refused refusals
	known   atomic.Bool // audit_writer has a row of this writer
	beating sync.Mutex  // one heartbeat at a time
	told    func([]Event)
	details sync.Map // action → the detail by which its events are counted (count.go)
	beaten  uint64   // the last number that the last heartbeat has accounted for, or is
}

// New makes the log of this process on a database. Use sets its key; without one no event is written.
func New(st *store.Store, log *slog.Logger) *Log {
	return &Log{st: st, log: log, writer: store.NewID()}
}

// Use gives the log the ring of AUDIT_SIGNING_KEY.
func (l *Log) Use(ring *keys.Ring) { l.key.Store(ring) }

// Tell has a function called with the events of each change of this process, once it is committed. It must
// not wait for anything: whoever made the change waits for it. Tell before the first change; only one can
// be told.
func (l *Log) Tell(fn func([]Event)) { l.told = fn }

// Store is the database, for reading. Writing to it goes through this package.
func (l *Log) Store() *store.Store { return l.st }

// Writer names this process's incarnation in envelopes.
func (l *Log) Writer() string { return l.writer }

// ErrNothing is what a change returns when there is nothing to change after all. Change then undoes
// the transaction and returns nil.
var ErrNothing = errors.New("nothing to change")

// Change runs a change and writes its events in the same transaction. fn returns what happened, at
// least one event, or an error, which undoes everything and is returned. It may run more than once,
// touches no network, calls nothing else that writes, and sets what it hands out anew each time.
func (l *Log) Change(ctx context.Context, by Principal, fn func(*store.Tx) ([]Event, error)) error {
	return l.change(ctx, by, fn, func(*store.Tx) error { return errors.New("a change without an event") })
}

// ChangeOrBookkeep is for a transaction that finds out what it is while it runs: with events it is a
// change; without any it must have kept to the closed list of bookkeeping.
func (l *Log) ChangeOrBookkeep(ctx context.Context, by Principal, fn func(*store.Tx) ([]Event, error)) error {
	return l.change(ctx, by, fn, func(tx *store.Tx) error {
		if !tx.WroteOnly(bookkeeping) {
			return errors.New("a change without an event, and not only of bookkeeping")
		}
		return nil
	})
}

func (l *Log) change(ctx context.Context, by Principal, fn func(*store.Tx) ([]Event, error), eventless func(*store.Tx) error) (err error) {
	var took span         // the numbers that the run under way has given to its events
	var cannotAppend bool // in the last run
	committed := false
	var written []Event
	defer func() { // also after a panic
		if !committed {
			l.undone.add(took)
		}
	}()
	err = l.st.Write(ctx, func(tx *store.Tx) error {
		l.undone.add(took) // of an earlier run of the same transaction
		took, cannotAppend = span{}, false
		events, err := fn(tx)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return eventless(tx)
		}
		written = events
		if err := l.append(ctx, tx, by, events, &took); err != nil {
			cannotAppend = true
			return fmt.Errorf("write the audit event: %w", err)
		}
		return nil
	})
	switch {
	case err == nil:
		committed = true
		if took.n > 0 {
			l.undone.committed(took)
			l.known.Store(true)
			if l.failed.Load() != nil {
				l.failed.Store(nil)
			}
			if l.told != nil {
				l.told(written)
			}
			l.tellOutage(ctx)
		}
		return nil
	case errors.Is(err, ErrNothing):
		return nil
	case cannotAppend || store.Outage(err):
		l.couldNotWrite(err)
	}
	return err
}

// append writes events to "AuditLog", and their envelopes to what is to be sealed. took tells which
// numbers they have been given, also where it fails.
func (l *Log) append(ctx context.Context, tx *store.Tx, by Principal, events []Event, took *span) error {
	ring := l.key.Load()
	if ring == nil || ring.Current() == nil {
		return errNoKey()
	}
	key := ring.Current()
	bodies := make([]encoded, len(events))
	for i, e := range events { // before they get numbers: one that cannot be written costs none
		var err error
		if bodies[i], err = e.encode(by); err != nil {
			return err
		}
	}
	if !l.known.Load() {
		if err := l.introduce(ctx, tx); err != nil {
			return err
		}
	}
	*took = l.undone.give(uint64(len(events)))
	rows, pending := make([][]any, len(events)), make([][]any, len(events))
	for i, b := range bodies {
		salt := make([]byte, saltBytes)
		_, _ = rand.Read(salt)
		number := took.first + uint64(i)
		envelope, err := Envelope{
			KeyID: key.ID, Writer: l.writer, Counter: number, At: b.at, BodyHash: bodyHash(salt, b.text),
		}.Marshal()
		if err != nil {
			return err
		}
		count := int64(number) //nolint:gosec // a process does not count that far
		rows[i] = []any{
			b.ID, b.at.UnixMicro(), store.Text(b.RequestID), store.Text(b.Actor.ID), b.Action,
			store.Text(b.Entity), store.Text(b.EntityID), b.Outcome, l.writer, count, salt, string(b.text),
		}
		pending[i] = []any{l.writer, count, b.ID, envelope, mac(key, b.ID, envelope)}
	}
	if err := tx.Insert(ctx, `"AuditLog"`, eventColumns, rows); err != nil {
		return err
	}
	return tx.Insert(ctx, "audit_pending", pendingColumns, pending)
}

var (
	eventColumns = []string{
		"id", "at", "request_id", "actor_id", "action", "entity", "entity_id", "outcome",
		"writer", "counter", "salt", "body",
	}
	pendingColumns = []string{"writer", "counter", "event_id", "envelope", "mac"}
)

func errNoKey() error { return fault.New(fault.Unavailable, "the audit log has no key yet") }

// failure is a change that could not be written, and so did not happen.
type failure struct {
	at  time.Time
	err error
}

// failureMemory is for how long such a failure makes the log unhealthy, unless it writes again.
const failureMemory = time.Minute

// Check tells whether the log can be read and is being written (GET /health).
func (l *Log) Check(ctx context.Context) error {
	if ring := l.key.Load(); ring == nil || ring.Current() == nil {
		return errNoKey()
	}
	if f := l.failed.Load(); f != nil && time.Since(f.at) < failureMemory {
		return fault.Wrap(fault.Unavailable, f.err, "a change could not be written with its audit event at %s, so it did not happen: %s",
			f.at.UTC().Format(time.RFC3339), reasonOf(f.err))
	}
	return l.st.Read(ctx, func(tx *store.Tx) error {
		var id string
		err := tx.QueryRow(ctx, `select id from "AuditLog" order by id desc limit 1`).Scan(&id)
		if err != nil && !store.NoRow(err) {
			return fmt.Errorf("read the audit log: %w", err)
		}
		return nil
	})
}
