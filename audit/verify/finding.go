package verify

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Kind names what is wrong.
type Kind string

// The kinds of findings. docs/auditors.md says of each what it means.
const (
	// What events said.
	BodyEdited       Kind = "body-edited"        // a body or its salt is not what was sealed
	BodyNotCanonical Kind = "body-not-canonical" // a body is not in the one form in which events are written
	ColumnsEdited    Kind = "columns-edited"     // a search column is not what the body says
	TimeEdited       Kind = "time-edited"        // a row's or a body's time is not the sealed one, to the microsecond
	EventIDEdited    Kind = "event-id-edited"    // the id that is kept with a leaf is not its event's

	// What was sealed.
	EntryEdited    Kind = "entry-edited"      // an entry is not the one whose hash is in the tree
	EntryMissing   Kind = "entry-missing"     // an entry is gone
	EntryMalformed Kind = "entry-malformed"   // an entry is no envelope
	Reordered      Kind = "reordered"         // an entry is at another one's place
	Replayed       Kind = "replayed"          // one event, twice
	CounterReused  Kind = "counter-reused"    // two events under one number of a writer
	TileEdited     Kind = "tile-edited"       // a tile is not what is below it
	TileMissing    Kind = "tile-missing"      // a tile is gone
	HeadEdited     Kind = "head-edited"       // the tree's head is not that of its leaves
	LeafMapEdited  Kind = "leaf-map-edited"   // the leaf map leads elsewhere
	Rewritten      Kind = "rewritten"         // leaves are not those that a checkpoint of this log has signed
	Truncated      Kind = "truncated"         // the log is shorter than a checkpoint says
	Forked         Kind = "forked"            // the log is another one than the checkpoint from outside has signed
	Backdated      Kind = "backdated"         // an event is dated long before the checkpoint that it was sealed after
	Postdated      Kind = "postdated"         // an event is dated long after the checkpoint that covers it
	CheckpointFake Kind = "checkpoint-forged" // a checkpoint is not signed by a key of this log, or its row says something else
	KeyUnlinked    Kind = "key-unlinked"      // a key of the history does not follow from the one before

	// What should be there, or should not.
	RowInserted          Kind = "row-inserted"           // an event that is no leaf and does not wait to be one
	DeletedBeforeSealing Kind = "deleted-before-sealing" // a number that committed and never became a leaf
	ForgedBeforeSealing  Kind = "forged-before-sealing"  // a row that waited and was not what a server had written
	EvidenceRemoved      Kind = "evidence-removed"       // rejected rows are gone that an event tells of
	DeletedWithoutIntent Kind = "deleted-without-intent" // a body is gone, and no sealed intent says that it may
	RangeWidened         Kind = "range-widened"          // more is gone than the intent says
	TooYoung             Kind = "too-young"              // gone before its age was proven
	HoldIgnored          Kind = "hold-ignored"           // gone although a hold stood
)

// Finding is one thing that is wrong. Leaf is -1 where it is about no leaf; Last is the last leaf of a range.
type Finding struct {
	Kind       Kind   `json:"kind"`
	Leaf, Last int64  `json:"-"`
	EventID    string `json:"eventId,omitempty"`
	Text       string `json:"text"`
}

func (f Finding) String() string {
	where := ""
	switch {
	case f.Leaf < 0:
	case f.Last > f.Leaf:
		where = fmt.Sprintf("leaves %d-%d: ", f.Leaf, f.Last)
	default:
		where = fmt.Sprintf("leaf %d: ", f.Leaf)
	}
	event := ""
	if f.EventID != "" {
		event = "event " + f.EventID + ": "
		if f.Last > f.Leaf {
			event = "from event " + f.EventID + " on: "
		}
	}
	return string(f.Kind) + ": " + where + event + f.Text
}

// MaxFindings is how many findings are kept; more are counted.
const MaxFindings = 10_000

// findings collects them, from several goroutines.
type findings struct {
	mu   sync.Mutex
	list []Finding
	more int
}

func (f *findings) add(kind Kind, leaf int64, eventID, format string, args ...any) {
	f.addRange(kind, leaf, leaf, eventID, format, args...)
}

func (f *findings) addRange(kind Kind, leaf, last int64, eventID, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) == MaxFindings {
		f.more++
		return
	}
	f.list = append(f.list, Finding{Kind: kind, Leaf: leaf, Last: last, EventID: eventID, Text: fmt.Sprintf(format, args...)})
}

// sorted gives them by leaf.
func (f *findings) sorted() []Finding {
	slices.SortStableFunc(f.list, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Leaf, b.Leaf), cmp.Compare(a.Kind, b.Kind)) })
	return f.list
}

// Verdict is what a verification comes to.
type Verdict int

// The verdicts, with the exit status that each has.
const (
	Holds      Verdict = 0
	DoesNot    Verdict = 1
	CannotTell Verdict = 2
)

// Report is what was found.
type Report struct {
	Origin      string
	Size        int64     // leaves
	Signed      int64     // of them under the newest checkpoint that verifies
	SignedAt    time.Time // its time
	Outside     int64     // size of the checkpoint from outside that the log goes on from; 0: there is none
	Bodies      int64     // events whose bodies are there
	Removed     int64     // and were removed lawfully
	Checkpoints int       // kept ones that verify
	Findings    []Finding
	More        int      // findings beyond MaxFindings
	Notes       []string // what cannot be told, and what else is to be known
	Unknown     []string // why nothing can be told
}

// Verdict tells what a report comes to: one finding is enough.
func (r Report) Verdict() Verdict {
	switch {
	case len(r.Findings) > 0:
		return DoesNot
	case len(r.Unknown) > 0:
		return CannotTell
	}
	return Holds
}
