package verify

import (
	"context"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
)

// Source is a log as it is stored, of which nothing is believed.
type Source interface {
	// Head tells how large the log is and who it says it is. It is read first: what else is read is of that
	// size at least.
	Head(ctx context.Context) (Head, error)
	// Keys is the key history, the oldest first.
	Keys(ctx context.Context) ([]audit.LogKey, error)
	// Checkpoints are the kept ones, the smallest first.
	Checkpoints(ctx context.Context) ([]KeptCheckpoint, error)
	// Bundles gives the bundles from … to-1 in order; those that are not there are left out.
	Bundles(ctx context.Context, from, to int64, fn func(Bundle) error) error
	// Tiles gives the hash tiles from … to-1 of a level in order; those that are not there are left out.
	Tiles(ctx context.Context, level int, from, to int64, fn func(n int64, hashes []byte) error) error
	// Segments cuts the events of a log of a size into parts that can be read side by side.
	Segments(ctx context.Context, size int64) ([]Segment, error)
	// Rows gives the events of a segment. A row is valid only during the call.
	Rows(ctx context.Context, s Segment, fn func(*Row) error) error
	// Rejected are the rows that waited to be sealed and were not ours.
	Rejected(ctx context.Context) ([]Rejected, error)
}

// live is what a database has beside: a map, and what is not sealed yet.
type live interface {
	LeafMap(ctx context.Context, fn func(NumberRun) error) error
	Waiting(ctx context.Context, fn func(Waiting) error) error
	// End tells up to which leaf there are bundles.
	End(ctx context.Context) (int64, error)
}

// Head is the tree's head as the log has it.
type Head struct {
	Origin string
	Size   int64
	Root   tlog.Hash // zero: it says none (an export)
	KeyID  string    // of the audit key that the MAC is under
	Made   time.Time // when an export was made, as it says
	MAC    []byte    // over origin, size and root, until a checkpoint covers them; nil: there is none
}

// KeptCheckpoint is a checkpoint with what is said of it beside its note.
type KeptCheckpoint struct {
	Size  int64
	Time  time.Time
	Root  []byte // nil: it says none
	KeyID string
	Note  string
	Link  bool
}

// Bundle is up to 256 entries with their events' ids.
type Bundle struct {
	N       int64
	Entries []byte
	IDs     []byte // nil: they are with the bodies
}

// Segment is a part of the events: of an id up to another, or the bundles from … to-1.
type Segment struct {
	after, before string // ids: after < id <= before; "": without that end
	from, to      int64
}

// Row is an event as it is stored.
type Row struct {
	Leaf    int64 // -1: it is found by writer and counter
	Writer  string
	Counter int64
	ID      string
	Salt    []byte
	Body    []byte
	Removed bool     // the row is there and its body is not
	Columns *Columns // nil: there are none
}

// Columns are what events are searched by.
type Columns struct {
	At                                                    int64 // microseconds
	RequestID, ActorID, Action, Entity, EntityID, Outcome string
}

// NumberRun is consecutive numbers of one writer at consecutive leaves.
type NumberRun struct {
	Writer         string
	Counter, Count int64
	Leaf           int64
}

// Waiting is a row that is not sealed yet.
type Waiting struct {
	Writer, EventID string
	Counter         int64
	Envelope, MAC   []byte
}

// Rejected is a row that was not sealed.
type Rejected struct {
	At      time.Time
	Reason  string
	Writer  string
	Counter int64
	EventID string
}
