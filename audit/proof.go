package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/fault"
	"sealpost/store"
)

// Proof is everything that shows offline that an event was logged, and what it said: C2SP tlog-proof, with
// the event itself as the extra data.
type Proof struct {
	Leaf       int64
	Path       tlog.RecordProof // the inclusion proof (RFC 6962, section 2.1.1)
	Checkpoint string           // the signed note that it leads to
	Event      ProvenEvent
}

// ProvenEvent is what a proof carries of its event: the leaf's entry, and the salt and body that the entry's
// hash is of.
type ProvenEvent struct {
	Entry []byte `json:"entry"` // the envelope, see Envelope.Marshal
	Salt  []byte `json:"salt"`
	Body  string `json:"body"` // the event's canonical JSON
}

const (
	proofHead = "c2sp.org/tlog-proof@v1"
	maxProof  = 1 << 17 // bytes of a proof that is read
)

// Text is the proof in its text form (C2SP tlog-proof).
func (p Proof) Text() (string, error) {
	extra, err := json.Marshal(p.Event)
	if err != nil {
		return "", fmt.Errorf("write a proof: %w", err)
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", proofHead, base64.StdEncoding.EncodeToString(extra), p.Leaf)
	for _, h := range p.Path {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n" + p.Checkpoint)
	return b.String(), nil
}

// ParseProof reads a proof's text. It verifies nothing: see Verify.
func ParseProof(text string) (Proof, error) {
	var p Proof
	malformed := func(what string) (Proof, error) { return Proof{}, fmt.Errorf("proof: %s", what) }
	if len(text) > maxProof {
		return malformed(fmt.Sprintf("%d bytes, at most %d are read", len(text), maxProof))
	}
	head, checkpoint, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != proofHead {
		return malformed("it does not begin with " + proofHead)
	}
	p.Checkpoint, lines = checkpoint, lines[1:]
	if len(lines) > 0 {
		if extra, ok := strings.CutPrefix(lines[0], "extra "); ok {
			b, err := decode64(extra)
			if err != nil {
				return malformed("its extra data is not base64")
			}
			if err := json.Unmarshal(b, &p.Event); err != nil {
				return malformed("its extra data is no event of this log")
			}
			lines = lines[1:]
		}
	}
	if len(lines) == 0 {
		return malformed("it has no index")
	}
	index, ok := strings.CutPrefix(lines[0], "index ")
	var err error
	if p.Leaf, err = strconv.ParseInt(index, 10, 64); !ok || err != nil || p.Leaf < 0 || strconv.FormatInt(p.Leaf, 10) != index {
		return malformed("its index is no number")
	}
	for _, line := range lines[1:] {
		h, err := decode64(line)
		if err != nil || len(h) != tlog.HashSize || len(p.Path) == 63 {
			return malformed("a hash of its path is not 32 bytes in base64, or there are more than 63")
		}
		p.Path = append(p.Path, tlog.Hash(h))
	}
	return p, nil
}

// decode64 reads base64 in its one form.
func decode64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err == nil && base64.StdEncoding.EncodeToString(b) != s {
		err = errors.New("base64 in another form")
	}
	return b, err
}

// Verify makes sure that a proof holds under one of the keys: the checkpoint is signed, the entry is its
// leaf, and the body is what the entry's hash is of. It gives the checkpoint and the entry.
func (p Proof) Verify(verifiers ...note.Verifier) (Checkpoint, Envelope, error) {
	c, err := OpenCheckpoint(p.Checkpoint, verifiers...)
	if err != nil {
		return Checkpoint{}, Envelope{}, err
	}
	if p.Leaf >= c.Size {
		return Checkpoint{}, Envelope{}, fmt.Errorf("proof: leaf %d of a log of %d", p.Leaf, c.Size)
	}
	if err := tlog.CheckRecord(p.Path, c.Size, c.Root, p.Leaf, LeafHash(p.Event.Entry)); err != nil {
		return Checkpoint{}, Envelope{}, fmt.Errorf("proof: the entry is not leaf %d of the log: %w", p.Leaf, err)
	}
	e, err := ParseEnvelope(p.Event.Entry)
	if err != nil {
		return Checkpoint{}, Envelope{}, fmt.Errorf("proof: %w", err)
	}
	if bodyHash(p.Event.Salt, []byte(p.Event.Body)) != e.BodyHash {
		return Checkpoint{}, Envelope{}, errors.New("proof: the body is not what was logged")
	}
	return c, e, nil
}

// Prove makes the proof of an event, under the newest checkpoint. fault.NotFound where there is no such
// event, or it has been removed lawfully; fault.Unavailable where it is not sealed yet; fault.Conflict where
// its row is not what was sealed.
func (l *Log) Prove(ctx context.Context, eventID string) (Proof, error) {
	if !store.ValidID(eventID) {
		return Proof{}, fault.New(fault.NotFound, "there is no such audit event")
	}
	c, err := l.Checkpoint(ctx)
	if fault.Is(err, fault.NotFound) {
		return Proof{}, errNotSealed(eventID)
	}
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Checkpoint: c.Note}
	err = l.st.Read(ctx, func(tx *store.Tx) error {
		var counter int64
		var r run
		var first int64
		// The run of the leaf map that begins at the event's number or last before it.
		err := tx.QueryRow(ctx, `
			select e.counter, e.salt, e.body, coalesce(r.counter, 0), coalesce(r.count, 0), coalesce(r.leaf, 0)
			  from "AuditLog" e left join audit_leaf r on r.writer = e.writer and r.counter =
			       (select max(m.counter) from audit_leaf m where m.writer = e.writer and m.counter <= e.counter)
			 where e.id = $1`, eventID).Scan(&counter, &p.Event.Salt, &p.Event.Body, &r.counter, &r.count, &first)
		if store.NoRow(err) {
			return fault.New(fault.NotFound, "there is no audit event %s", eventID)
		}
		if err != nil {
			return err
		}
		if p.Leaf = first + counter - r.counter; r.count == 0 || counter >= r.end() || p.Leaf >= c.Size {
			return errNotSealed(eventID)
		}
		p.Event.Entry, err = readEntry(ctx, tx, p.Leaf)
		return err
	})
	if err != nil {
		return Proof{}, fmt.Errorf("prove event %s: %w", eventID, err)
	}
	e, err := ParseEnvelope(p.Event.Entry)
	if err != nil || bodyHash(p.Event.Salt, []byte(p.Event.Body)) != e.BodyHash {
		return Proof{}, fault.New(fault.Conflict, "event %s is not what was sealed as leaf %d: its row has been changed", eventID, p.Leaf)
	}
	if p.Path, err = tlog.ProveRecord(c.Size, p.Leaf, l.Tree(ctx, c.Size, c.Root)); err != nil {
		return Proof{}, fmt.Errorf("prove event %s: %w", eventID, err)
	}
	if err := tlog.CheckRecord(p.Path, c.Size, c.Root, p.Leaf, LeafHash(p.Event.Entry)); err != nil {
		return Proof{}, fault.New(fault.Conflict, "entry %d of the log is not what was sealed: its row has been changed", p.Leaf)
	}
	return p, nil
}

func errNotSealed(eventID string) error {
	return fault.New(fault.Unavailable, "event %s is not under a checkpoint yet", eventID).After(2 * time.Second)
}

// readEntry reads one entry of the log.
func readEntry(ctx context.Context, tx *store.Tx, leaf int64) ([]byte, error) {
	var b []byte
	err := tx.QueryRow(ctx, `select entries from audit_bundle where n = $1`, leaf/tileWidth).Scan(&b)
	if err != nil && !store.NoRow(err) {
		return nil, err
	}
	entries, err := ParseBundle(b)
	if err != nil {
		return nil, err
	}
	at := int(leaf % tileWidth)
	if len(entries) <= at {
		return nil, fault.New(fault.Conflict, "entry %d of the log is missing", leaf)
	}
	return bytes.Clone(entries[at]), nil
}

// awaitEvery is how often it is looked whether an event is sealed.
const awaitEvery = 100 * time.Millisecond

// Await waits until an event is under a checkpoint, whichever server signs it, and gives its proof. It ends
// with its context.
func (l *Log) Await(ctx context.Context, eventID string) (Proof, error) {
	for {
		p, err := l.Prove(ctx, eventID)
		if !fault.Is(err, fault.Unavailable) {
			return p, err
		}
		timer := time.NewTimer(awaitEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Proof{}, err
		}
	}
}
