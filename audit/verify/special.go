package verify

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// specials are the events by which the log accounts for itself. They are taken in only where body and entry
// agree; whether the entry is under a checkpoint is looked at when they are used.
type specials struct {
	mu       sync.Mutex
	accounts map[string]*account
	keys     []keyChange
	rejected []rejectedEvent
	intents  []intent
	removed  []removal
	holds    []holdEvent
	edited   []intent // intents whose bodies are not what was sealed
}

// keyChange is audit.key.changed.
type keyChange struct {
	leaf               int64
	verifier, previous string
}

// rejectedEvent is audit.seal.rejected.
type rejectedEvent struct {
	leaf  int64
	count int64
}

// intent is audit.retention.intended, or audit.event.redaction_intended, which names one leaf.
type intent struct {
	leaf           int64
	at             time.Time
	eventID        string
	plan           string
	ranges         [][2]int64 // half-open
	redaction      bool
	days           int
	cutoff         time.Time
	checkpointSize int64
	checkpointTime time.Time
	holds          []string
}

// removal is audit.retention.deleted: what went in one transaction.
type removal struct {
	leaf   int64
	ranges [][2]int64
}

// holdEvent is a hold that was made, or released.
type holdEvent struct {
	leaf              int64
	id                string
	released          bool
	actorID, entityID string
	from, to          time.Time
}

var specialPrefix = []byte("audit.")

func isSpecial(action []byte) bool { return bytes.HasPrefix(action, specialPrefix) }

// details are those of all these events.
type details struct {
	// of a heartbeat, and of a writer that was lost
	Settled, Lost, Highest uint64
	Undone, Missing        [][2]uint64
	Final, MoreMissing     bool

	VerifierKey, PreviousVerifierKey string
	Count                            int64

	PlanHash               string
	Days                   int
	Cutoff, CheckpointTime time.Time
	CheckpointSize         int64
	Ranges                 [][2]int64
	Holds                  []string
	Leaf                   *int64
	ActorID, EntityID      string
	From, To               time.Time
}

// take takes in an event.
func (s *specials) take(leaf int64, e envelope, body []byte) {
	b, err := readSpecial(body)
	if err != nil {
		return // another event of that name
	}
	d := b.Details
	s.mu.Lock()
	defer s.mu.Unlock()
	switch b.Action {
	case "audit.heartbeat":
		if b.EntityID == writerName(e.writer()) {
			s.of(b.EntityID).beat(leaf, d)
		}
	case "audit.writer.lost":
		s.of(b.EntityID).lostBy(leaf, d)
	case "audit.key.changed":
		s.keys = append(s.keys, keyChange{leaf, d.VerifierKey, d.PreviousVerifierKey})
	case "audit.seal.rejected":
		s.rejected = append(s.rejected, rejectedEvent{leaf, d.Count})
	case "audit.retention.intended":
		s.intents = append(s.intents, intent{
			leaf: leaf, at: timeOf(e.micros()), eventID: b.ID, plan: d.PlanHash, ranges: d.Ranges, days: d.Days, cutoff: d.Cutoff,
			checkpointSize: d.CheckpointSize, checkpointTime: d.CheckpointTime, holds: d.Holds,
		})
	case "audit.event.redaction_intended":
		if d.Leaf != nil {
			s.intents = append(s.intents, intent{
				leaf: leaf, at: timeOf(e.micros()), eventID: b.ID, redaction: true, ranges: [][2]int64{{*d.Leaf, *d.Leaf + 1}},
			})
		}
	case "audit.retention.deleted":
		s.removed = append(s.removed, removal{leaf, d.Ranges})
	case "audit.hold.placed", "audit.hold.added", "audit.hold.released":
		s.holds = append(s.holds, holdEvent{
			leaf: leaf, id: b.EntityID, released: b.Action == "audit.hold.released",
			actorID: d.ActorID, entityID: d.EntityID, from: d.From, to: d.To,
		})
	}
}

// doubt takes in an intent whose body is not what was sealed, to tell what it was changed for.
func (s *specials) doubt(leaf int64, body []byte) {
	b, err := readSpecial(body)
	if err != nil || b.Action != "audit.retention.intended" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edited = append(s.edited, intent{leaf: leaf, ranges: b.Details.Ranges})
}

// specialBody is as much of a body as is needed here.
type specialBody struct {
	ID, Action, EntityID string
	Details              details
}

func readSpecial(body []byte) (b specialBody, err error) {
	err = json.Unmarshal(body, &b)
	return b, err
}

func (s *specials) of(writer string) *account {
	if s.accounts == nil {
		s.accounts = map[string]*account{}
	}
	a := s.accounts[writer]
	if a == nil {
		a = &account{}
		s.accounts[writer] = a
	}
	return a
}

// inOrder sorts them by their leaves.
func (s *specials) inOrder() {
	slices.SortFunc(s.keys, func(a, b keyChange) int { return cmp.Compare(a.leaf, b.leaf) })
	slices.SortFunc(s.intents, func(a, b intent) int { return cmp.Compare(a.leaf, b.leaf) })
	slices.SortFunc(s.holds, func(a, b holdEvent) int { return cmp.Compare(a.leaf, b.leaf) })
}
