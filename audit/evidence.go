package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sealpost/fault"
	"sealpost/store"
)

const (
	// EvidenceFormat is the first field of an evidence file.
	EvidenceFormat = "sealpost-evidence/1"
	// MaxEvidence is how many events about one thing an evidence file has at most.
	MaxEvidence = 2000
	// evidenceWait is how long it is waited for the newest event to be sealed.
	evidenceWait = 5 * time.Second
)

// Evidence is what shows offline what happened to one thing: each event about it with its proof. Nothing in
// it has to be believed but what a proof bears out; that no event was left out it cannot show (an export
// can).
type Evidence struct {
	Format      string          `json:"format"` // sealpost-evidence/1
	Entity      string          `json:"entity"`
	EntityID    string          `json:"entityId"`
	MadeAt      time.Time       `json:"madeAt"`
	VerifierKey string          `json:"verifierKey"` // of the log, as it says itself: believe another source
	Statement   json.RawMessage `json:"statement"`   // what the server says of the thing; who verifies compares it
	Proofs      []string        `json:"proofs"`      // C2SP tlog-proof, the oldest event first
}

// Evidence makes the evidence of a thing, without a statement. fault.NotFound where there is no event about it (any more),
// fault.Unavailable where the newest is not sealed within some seconds, fault.Conflict where there are too
// many, or one is not what was sealed.
func (l *Log) Evidence(ctx context.Context, entity, id string) (Evidence, error) {
	e := Evidence{Format: EvidenceFormat, Entity: entity, EntityID: id, MadeAt: time.Now().UTC().Truncate(time.Millisecond)}
	list, err := l.Events(ctx, Filter{Entity: entity, EntityID: id}, store.Page{Limit: MaxEvidence})
	switch {
	case err != nil:
		return e, err
	case list.Next != "":
		return e, fault.New(fault.Conflict, "there are more than %d events about %s: export the log", MaxEvidence, word(id))
	case len(list.Items) == 0:
		return e, fault.New(fault.NotFound, "the log has no event about %s", word(id))
	}
	wait, cancel := context.WithTimeout(ctx, evidenceWait)
	defer cancel()
	for _, r := range slices.Backward(list.Items) {
		p, err := l.Await(wait, r.ID)
		if err != nil {
			return e, err
		}
		text, err := p.Text()
		if err != nil {
			return e, err
		}
		e.Proofs = append(e.Proofs, text)
	}
	newest, err := l.Checkpoint(ctx)
	if err != nil {
		return e, err
	}
	e.VerifierKey, err = l.VerifierOf(ctx, newest)
	return e, err
}

// ProvenRecord is an event of which a proof holds.
type ProvenRecord struct {
	Record
	Leaf       int64
	Checkpoint Checkpoint
}

// ParseEvidence reads an evidence file. It verifies nothing: see Verify.
func ParseEvidence(b []byte) (Evidence, error) {
	var e Evidence
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("evidence: it is not JSON of this form: %w", err)
	}
	switch {
	case e.Format != EvidenceFormat:
		return e, fmt.Errorf("evidence: its format is %.40q, and %s is read", e.Format, EvidenceFormat)
	case e.Entity == "" || e.EntityID == "":
		return e, errors.New("evidence: it does not say what it is about")
	case len(e.Proofs) == 0 || len(e.Proofs) > MaxEvidence:
		return e, fmt.Errorf("evidence: it has %d proofs; 1 to %d are read", len(e.Proofs), MaxEvidence)
	}
	return e, nil
}

// Verify makes sure that each proof holds under one of the keys and is of an event about the thing, and
// gives the events in the order of their times.
func (e Evidence) Verify(verifiers ...note.Verifier) ([]ProvenRecord, error) {
	var list []ProvenRecord
	leaves := map[int64]bool{}
	for i, text := range e.Proofs {
		p, err := ParseProof(text)
		if err != nil {
			return nil, fmt.Errorf("proof %d: %w", i+1, err)
		}
		c, envelope, err := p.Verify(verifiers...)
		if err != nil {
			return nil, fmt.Errorf("proof %d: %w", i+1, err)
		}
		r, err := parseRecord(p.Event.Body)
		switch {
		case err != nil:
			return nil, fmt.Errorf("proof %d: %w", i+1, err)
		case r.Entity != e.Entity || r.EntityID != e.EntityID:
			return nil, fmt.Errorf("proof %d: it is of an event about %s %s", i+1, r.Entity, r.EntityID)
		case !r.Time.Equal(envelope.At):
			return nil, fmt.Errorf("proof %d: the event and its entry have different times", i+1)
		case leaves[p.Leaf]:
			return nil, fmt.Errorf("proof %d: it is of leaf %d, as another one is", i+1, p.Leaf)
		}
		leaves[p.Leaf] = true
		list = append(list, ProvenRecord{r, p.Leaf, c})
	}
	slices.SortFunc(list, func(a, b ProvenRecord) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}
