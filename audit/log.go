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

	"github.com/google/uuid"

	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// Log writes and reads the audit log of one server process.
type Log struct {
	st      *store.Store
	log     *slog.Logger
	writer  string // this incarnation's UUID
	counter atomic.Uint64
	key     atomic.Pointer[keys.Ring]
	failed  atomic.Pointer[failure] // the last write that could not be audited
	undone  undone
	refused refusals
}

// New makes the log of this process on a database. Use sets its key; without one no event is written.
func New(st *store.Store, log *slog.Logger) *Log {
	l := &Log{st: st, log: log, writer: uuid.Must(uuid.NewV7()).String()}
	l.refused.windows = map[string]*refusalWindow{}
	return l
}

// Use gives the log the ring of AUDIT_SIGNING_KEY.
func (l *Log) Use(ring *keys.Ring) { l.key.Store(ring) }

// Store is the database, for reading. Writing to it goes through this package.
func (l *Log) Store() *store.Store { return l.st }

// Writer names this process's incarnation in envelopes.
func (l *Log) Writer() string { return l.writer }

// ErrNothing is what a change returns when there is nothing to change after all. Change then undoes
// the transaction and returns nil.
var ErrNothing = errors.New("nothing to change")

// Change runs a change and writes its events in the same transaction. fn returns what happened, at
// least one event, or an error, which undoes everything and is returned. It may run more than once,
// touches no network, and sets what it hands out anew each time.
func (l *Log) Change(ctx context.Context, by Principal, fn func(*store.Tx) ([]Event, error)) error {
	return l.change(ctx, by, fn, func(*store.Tx) error { return errors.New("a change without an event") })
}

// ChangeOrBookkeep is for a transaction that finds out what it is while it runs: with events it is a
// change; without any it must have kept to the tables of bookkeeping.
func (l *Log) ChangeOrBookkeep(ctx context.Context, by Principal, fn func(*store.Tx) ([]Event, error)) error {
	return l.change(ctx, by, fn, func(tx *store.Tx) error {
		if !tx.WroteOnly(bookkeeping) {
			return errors.New("a change without an event, and not only of bookkeeping")
		}
		return nil
	})
}

func (l *Log) change(ctx context.Context, by Principal, fn func(*store.Tx) ([]Event, error), eventless func(*store.Tx) error) error {
	var numbers []uint64
	err := l.st.Write(ctx, func(tx *store.Tx) error {
		l.undone.add(numbers) // of an earlier run of the same transaction
		numbers = nil
		events, err := fn(tx)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return eventless(tx)
		}
		numbers, err = l.append(ctx, tx, by, events)
		return err
	})
	if err == nil {
		return nil
	}
	l.undone.add(numbers)
	if errors.Is(err, ErrNothing) {
		return nil
	}
	return err
}

// append writes events to "AuditLog", and their envelopes to what is to be sealed.
func (l *Log) append(ctx context.Context, tx *store.Tx, by Principal, events []Event) ([]uint64, error) {
	ring := l.key.Load()
	if ring == nil {
		return nil, errors.New("the audit log has no key yet")
	}
	key := ring.Current()
	last := l.counter.Add(uint64(len(events)))
	numbers := make([]uint64, len(events))
	rows, pending := make([][]any, len(events)), make([][]any, len(events))
	for i, e := range events {
		numbers[i] = last - uint64(len(events)-1-i)
		id, at := newEventID()
		b, text, err := e.body(id, at, by)
		if err != nil {
			return numbers, err
		}
		salt := make([]byte, saltBytes)
		_, _ = rand.Read(salt)
		envelope, err := Envelope{
			KeyID: key.ID, Writer: l.writer, Counter: numbers[i], At: at, BodyHash: bodyHash(salt, text),
		}.Marshal()
		if err != nil {
			return numbers, err
		}
		count := int64(numbers[i]) //nolint:gosec // a process does not count that far
		rows[i] = []any{id, at.UnixMicro(), store.Text(b.RequestID), store.Text(b.Actor.ID), b.Action,
			store.Text(b.Entity), store.Text(b.EntityID), b.Outcome, l.writer, count, salt, string(text)}
		pending[i] = []any{l.writer, count, id, envelope, mac(key, id, envelope)}
	}
	if err := tx.Insert(ctx, `"AuditLog"`, eventColumns, rows); err != nil {
		return numbers, l.cannotAppend(err)
	}
	if err := tx.Insert(ctx, "audit_pending", pendingColumns, pending); err != nil {
		return numbers, l.cannotAppend(err)
	}
	return numbers, nil
}

var (
	eventColumns = []string{"id", "at", "request_id", "actor_id", "action", "entity", "entity_id", "outcome",
		"writer", "counter", "salt", "body"}
	pendingColumns = []string{"writer", "counter", "event_id", "envelope", "mac"}
)

// newEventID makes an event's id and its time, which is the id's own to the millisecond, so that the
// order of ids is the order of time and a span of time is a range of keys.
func newEventID() (string, time.Time) {
	id := uuid.Must(uuid.NewV7())
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	// The 12 bits behind the version count 256 ns within the millisecond (RFC 9562 §6.2, method 3).
	fraction := (int64(id[6]&0x0f)<<8 | int64(id[7])) * 256 / 1000
	return id.String(), time.UnixMicro(ms*1000 + fraction).UTC()
}

// failure is a write that could not be audited, and so did not happen.
type failure struct {
	at  time.Time
	err error
}

func (l *Log) cannotAppend(err error) error {
	err = fmt.Errorf("write the audit event: %w", err)
	l.failed.Store(&failure{time.Now(), err})
	return err
}

// failureMemory is for how long a failed write makes the log unhealthy, unless it writes again.
const failureMemory = time.Minute

// Check tells whether the log can be read and is being written (GET /health).
func (l *Log) Check(ctx context.Context) error {
	if l.key.Load() == nil {
		return fault.New(fault.Unavailable, "the audit log has no key yet")
	}
	if f := l.failed.Load(); f != nil && time.Since(f.at) < failureMemory {
		return fault.Wrap(fault.Unavailable, f.err, "an audit event could not be written at %s, so its change did not happen",
			f.at.UTC().Format(time.RFC3339))
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

// undone keeps the numbers of events whose transactions did not commit, so that a gap in the count
// can be told from an event that was taken away.
type undone struct {
	mu      sync.Mutex
	numbers []uint64
}

// maxUndone bounds the numbers kept; a server that rolls back more than this has told of an outage.
const maxUndone = 1 << 16

func (u *undone) add(numbers []uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.numbers)+len(numbers) <= maxUndone {
		u.numbers = append(u.numbers, numbers...)
	}
}
