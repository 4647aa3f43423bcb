package verify

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sealpost/audit"
)

// kept is a checkpoint with what was found out about it.
type kept struct {
	KeptCheckpoint
	parsed    audit.Checkpoint // what its note says
	readable  bool
	verified  bool // signed by a key that is trusted
	good      bool // the tree begins with what it signs
	cosigned  time.Time
	cosigners []string
}

func (v *verifier) keptCheckpoints(ctx context.Context) ([]*kept, error) {
	list, err := v.src.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*kept, len(list))
	for i, c := range list {
		all[i] = &kept{KeptCheckpoint: c}
		text, _, _ := strings.Cut(c.Note, "\n\n")
		if all[i].parsed, err = audit.ParseCheckpoint(text + "\n"); err == nil {
			all[i].readable = true
		}
	}
	return all, nil
}

// trusted is a key that checkpoints are believed by: up to a size, where another one has followed it.
type trusted struct {
	note.Verifier
	upTo int64 // 0: without an end
}

// checkpoints holds the kept checkpoints, and the one from outside, against the keys and against the tree.
func (v *verifier) checkpoints(ctx context.Context) error {
	if err := v.roots(ctx); err != nil {
		return err
	}
	history, err := v.src.Keys(ctx)
	if err != nil {
		return err
	}
	keys := v.trust(history)
	for _, c := range v.kept {
		v.judgeKept(ctx, c)
		if c.verified && c.good {
			v.report.Checkpoints++
			if c.parsed.Size > v.report.Signed {
				v.report.Signed, v.report.SignedAt = c.parsed.Size, c.parsed.Time
			}
		}
	}
	for _, k := range history {
		if k.FirstSize <= v.size && len(keys) > 0 && !trusts(keys, k.Verifier) && !v.mayBeForgotten(k.FirstSize) {
			v.add(KeyUnlinked, -1, "", "the key %s (%s), in use from %d leaves on, does not follow from a key that is trusted; if it is yours, give it too", k.KeyID, k.Verifier, k.FirstSize)
		}
	}
	v.reasons(keys)
	return v.outside(ctx, keys)
}

// reasons says why nothing can be told, where that is so.
func (v *verifier) reasons(keys []trusted) {
	switch {
	case len(keys) == 0:
		v.unknown("no key was given, and this is not the installation that has one: without it nobody vouches for the log (--key)")
	case len(v.kept) == 0 && v.size == 0:
		v.unknown("nothing has been sealed yet")
	case len(v.kept) == 0:
		v.unknown("there is no checkpoint: nothing vouches for these %d leaves", v.size)
	}
}

func (v *verifier) unknown(format string, args ...any) {
	v.report.Unknown = append(v.report.Unknown, fmt.Sprintf(format, args...))
}

func trusts(keys []trusted, verifier string) bool {
	other, err := note.NewVerifier(verifier)
	if err != nil {
		return false
	}
	for _, k := range keys {
		if k.Name() == other.Name() && k.KeyHash() == other.KeyHash() {
			return true
		}
	}
	return false
}

// roots tells of each checkpoint whether the tree begins with what it signs. The first that does not ends a
// stretch of leaves that were changed; those that follow say no more.
func (v *verifier) roots(ctx context.Context) error {
	sound, broken := int64(0), false
	for _, c := range v.kept {
		if !c.readable {
			continue
		}
		size := c.parsed.Size
		if size > v.size {
			if v.live == nil {
				continue // of later leaves, which were not exported
			}
			end, err := v.live.End(ctx)
			if err != nil {
				return err
			}
			if size > end {
				v.addRange(Truncated, v.size, size-1, "", "a checkpoint of %s has signed %d leaves, and there are %d", c.parsed.Time.Format(time.RFC3339), size, end)
			}
			continue
		}
		root, err := v.root(ctx, size)
		if err != nil {
			return err
		}
		if c.good = root == c.parsed.Root; c.good {
			sound, broken = size, false
			continue
		}
		if !broken {
			first, last := min(sound, size-1), size-1
			v.addRange(Rewritten, first, last, v.eventAt(ctx, first), "what is there is not what the checkpoint of %s over %d leaves has signed",
				c.parsed.Time.Format(time.RFC3339), size)
		}
		broken = true
	}
	if v.live != nil && v.size > 0 {
		root, err := v.root(ctx, v.size)
		if err != nil {
			return err
		}
		if root != v.head.Root {
			v.add(HeadEdited, -1, "", "the tree's head says another root than its %d leaves have", v.size)
		}
	}
	return nil
}

// trust finds which keys are believed, beginning with those that were given: one that signed a link together
// with a trusted one, and one that an event under a trusted checkpoint names as the one before.
func (v *verifier) trust(history []audit.LogKey) []trusted {
	var keys []trusted
	for _, k := range v.o.Keys {
		keys = append(keys, trusted{Verifier: k})
	}
	for _, own := range v.o.Own {
		for _, k := range history {
			if text, err := audit.VerifierKey(v.head.Origin, own); err == nil && text == k.Verifier {
				v.ownKeys[k.KeyID] = own
			}
		}
	}
	add := func(text string, upTo int64) bool {
		k, err := note.NewVerifier(text)
		if err != nil || trusts(keys, text) || k.Name() != v.head.Origin {
			return false
		}
		keys = append(keys, trusted{k, upTo})
		return true
	}
	for changed := len(keys) > 0; changed; {
		changed = false
		signed := int64(0) // leaves under a checkpoint that is trusted
		for _, c := range v.kept {
			if !c.readable {
				continue
			}
			if !c.verified {
				c.verified = c.opens(keys)
			}
			if !c.verified {
				continue
			}
			if c.good {
				signed = max(signed, c.parsed.Size)
			}
			if c.Link {
				for _, k := range history {
					if next, err := note.NewVerifier(k.Verifier); err == nil && k.KeyID == c.KeyID && c.opens([]trusted{{Verifier: next}}) {
						changed = add(k.Verifier, 0) || changed
					}
				}
			}
		}
		for _, e := range v.special.keys {
			if e.leaf < signed && e.previous != "" {
				changed = add(e.previous, e.leaf) || changed
			}
		}
	}
	for _, c := range v.kept {
		c.cosignatures(v.o.Witnesses)
	}
	return keys
}

// opens tells whether a checkpoint is signed by one of the keys.
func (c *kept) opens(keys []trusted) bool {
	for _, k := range keys {
		if k.upTo > 0 && c.parsed.Size > k.upTo {
			continue
		}
		if _, err := audit.OpenCheckpoint(c.Note, k.Verifier); err == nil {
			return true
		}
	}
	return false
}

// cosignatures notes which of the witnesses that we know have cosigned, and when the first one did.
func (c *kept) cosignatures(witnesses []note.Verifier) {
	c.cosigned, c.cosigners = cosignatures(c.Note, witnesses)
}

func cosignatures(signed string, witnesses []note.Verifier) (at time.Time, names []string) {
	for _, w := range witnesses {
		n, err := note.Open([]byte(signed), note.VerifierList(w))
		if err != nil || len(n.Sigs) == 0 {
			continue
		}
		t, err := audit.CosignedAt(n.Sigs[0])
		if err != nil {
			continue
		}
		if names = append(names, w.Name()); at.IsZero() || t.Before(at) {
			at = t
		}
	}
	return at, names
}

// judgeKept tells what is wrong with a kept checkpoint itself.
func (v *verifier) judgeKept(ctx context.Context, c *kept) {
	last := max(c.Size-1, 0)
	switch {
	case !c.readable:
		v.add(CheckpointFake, last, "", "the checkpoint over %d leaves cannot be read", c.Size)
	case c.parsed.Size != c.Size || !c.parsed.Time.Equal(c.Time) || c.Root != nil && string(c.Root) != string(c.parsed.Root[:]):
		v.add(CheckpointFake, last, "", "the row of the checkpoint over %d leaves says another size, time or root than its signed note", c.Size)
	case v.head.Origin != "" && c.parsed.Origin != v.head.Origin:
		v.add(CheckpointFake, last, "", "the checkpoint over %d leaves is of another log, %s", c.Size, c.parsed.Origin)
	case c.verified || len(v.o.Keys) == 0:
	case v.mayBeForgotten(c.Size):
		v.note("the checkpoint over %d leaves (of %s) is by a key whose introduction was removed lawfully since: give that key too, to have it verified",
			c.Size, c.parsed.Time.Format(time.RFC3339))
	default:
		v.add(CheckpointFake, last, v.eventAt(ctx, last), "the checkpoint over %d leaves, of %s, is not signed by a key of this log", c.Size, c.parsed.Time.Format(time.RFC3339))
	}
}

// mayBeForgotten tells whether what introduced the key of an old checkpoint may have been removed by
// retention.
func (v *verifier) mayBeForgotten(size int64) bool {
	for _, in := range v.special.intents {
		for _, r := range in.ranges {
			if !in.redaction && r[1] >= size {
				return true
			}
		}
	}
	return false
}

// outside holds the log against a checkpoint that was kept elsewhere.
func (v *verifier) outside(ctx context.Context, keys []trusted) error {
	if v.o.Outside == "" {
		v.note("without a checkpoint from outside (--checkpoint) it cannot be told whether the whole database was set back to an earlier state, " +
			"or the log cut off behind its newest checkpoint that is left: both would look like this")
		return nil
	}
	text, _, _ := strings.Cut(v.o.Outside, "\n\n")
	parsed, err := audit.ParseCheckpoint(text + "\n")
	if err != nil {
		v.unknown("the checkpoint from outside cannot be read: %v", err)
		return nil
	}
	own := false
	for _, k := range keys {
		if _, err := audit.OpenCheckpoint(v.o.Outside, k.Verifier); err == nil {
			own = true
		}
	}
	at, names := cosignatures(v.o.Outside, v.o.Witnesses)
	if !own {
		v.unknown("the checkpoint from outside is not signed by a key of this log that is trusted")
		return nil
	}
	if v.head.Origin != "" && parsed.Origin != v.head.Origin {
		v.unknown("the checkpoint from outside is of another log, %s", parsed.Origin)
		return nil
	}
	if len(names) > 0 {
		v.note("the checkpoint from outside was cosigned by %s, first at %s", strings.Join(names, ", "), at.Format(time.RFC3339))
	}
	if parsed.Size > v.size {
		if v.live == nil && v.head.Made.Before(parsed.Time) {
			v.unknown("the export ends with a checkpoint of %d leaves (%s) and the one from outside is later, of %d (%s): export again, or give an earlier one",
				v.report.Signed, v.report.SignedAt.Format(time.RFC3339), parsed.Size, parsed.Time.Format(time.RFC3339))
			return nil
		}
		v.addRange(Truncated, v.size, parsed.Size-1, "", "the checkpoint from outside, of %s, has signed %d leaves, and there are %d",
			parsed.Time.Format(time.RFC3339), parsed.Size, v.size)
		return nil
	}
	root, err := v.root(ctx, parsed.Size)
	if err != nil {
		return err
	}
	if root != parsed.Root {
		first := int64(0)
		for _, c := range v.kept {
			if c.good && c.parsed.Size < parsed.Size && c.parsed.Time.Before(parsed.Time) {
				first = c.parsed.Size
			}
		}
		first = min(first, parsed.Size-1)
		v.addRange(Forked, first, parsed.Size-1, v.eventAt(ctx, first),
			"the checkpoint from outside, of %s, has signed other leaves: this log is another one, or was set back and written anew", parsed.Time.Format(time.RFC3339))
		return nil
	}
	v.report.Outside = parsed.Size
	if parsed.Size < v.size {
		v.note("the checkpoint from outside covers %d of %d leaves: for those after it, see a later one", parsed.Size, v.size)
	}
	return nil
}

// lasting looks at what no checkpoint covers yet: the head's MAC, and that of each row that waits. Only the
// audit key itself verifies these.
func (v *verifier) lasting(ctx context.Context) error {
	if v.live == nil {
		return nil
	}
	unsigned := v.size - v.report.Signed
	if len(v.o.Own) == 0 {
		if unsigned > 0 {
			v.note("the last %d leaves are under no checkpoint yet, and what vouches for them meanwhile needs the audit key itself", unsigned)
		}
	} else if key := v.ownKeys[v.head.KeyID]; unsigned > 0 && key == nil {
		v.note("the last %d leaves are under no checkpoint yet, and the tree's head is under the key %s, which is not here", unsigned, v.head.KeyID)
	} else if unsigned > 0 && !hmac.Equal(audit.HeadMAC(key, v.head.Origin, v.head.Size, v.head.Root), v.head.MAC) {
		v.addRange(HeadEdited, v.report.Signed, v.size-1, v.eventAt(ctx, v.report.Signed),
			"the last leaves are under no checkpoint, and the tree's head was not written by this program (its MAC does not hold)")
	}
	sealed, err := v.sealedSince(ctx)
	if err != nil {
		return err
	}
	unknown := 0 // rows whose key is not here
	waiting := map[string]map[int64]bool{}
	err = v.live.Waiting(ctx, func(w Waiting) error {
		if waiting[w.Writer] == nil {
			waiting[w.Writer] = map[int64]bool{}
		}
		waiting[w.Writer][w.Counter] = true
		if holds, known := v.ours(w); !holds && known {
			v.add(ForgedBeforeSealing, -1, w.EventID, "number %d of the writer %s waits to be sealed and is not what a server has written: its MAC does not hold", w.Counter, w.Writer)
		} else if !known {
			unknown++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if unknown > 0 {
		v.note("%d events wait to be sealed; what vouches for them meanwhile needs the audit key itself", unknown)
	}
	later, err := v.sealedSince(ctx) // what has been sealed meanwhile no longer waits
	if err != nil {
		return err
	}
	rejected, err := v.src.Rejected(ctx)
	if err != nil {
		return err
	}
	refused := map[string]bool{}
	for _, r := range rejected {
		refused[r.EventID] = true
	}
	for _, o := range v.orphans {
		switch {
		case waiting[o.writer][o.counter] || has(sealed, o) || has(later, o):
		case refused[o.id]:
			v.add(ForgedBeforeSealing, -1, o.id, "this event was not sealed, since it was not what a server had written, and it is still among the others")
		default:
			v.add(RowInserted, -1, o.id, "this event is no leaf of the log and does not wait to become one (number %d of the writer %s)", o.counter, o.writer)
		}
	}
	return nil
}

func has(runs map[string][]NumberRun, o orphan) bool {
	for _, r := range runs[o.writer] {
		if r.has(o.counter) {
			return true
		}
	}
	return false
}

// sealedSince reads the leaf map behind the leaves that are looked at.
func (v *verifier) sealedSince(ctx context.Context) (map[string][]NumberRun, error) {
	runs := map[string][]NumberRun{}
	if len(v.orphans) == 0 {
		return runs, nil
	}
	err := v.live.LeafMap(ctx, func(r NumberRun) error {
		if r.Leaf+r.Count > v.size {
			if skip := v.size - r.Leaf; skip > 0 {
				r.Counter, r.Count, r.Leaf = r.Counter+skip, r.Count-skip, v.size
			}
			runs[r.Writer] = append(runs[r.Writer], r)
		}
		return nil
	})
	return runs, err
}

// ours verifies the MAC of a row that waits. known: the key is here that it says it is under.
func (v *verifier) ours(w Waiting) (holds, known bool) {
	e, err := audit.ParseEnvelope(w.Envelope)
	if err != nil || e.Writer != w.Writer || e.Counter != uint64(w.Counter) { //nolint:gosec // as it was written
		return false, true
	}
	key := v.ownKeys[e.KeyID]
	return key != nil && hmac.Equal(audit.EnvelopeMAC(key, w.EventID, w.Envelope), w.MAC), key != nil
}

// leafMap holds the map from events to leaves against the entries.
func (v *verifier) leafMap(ctx context.Context) error {
	if v.live == nil {
		return nil
	}
	next := int64(0)
	err := v.live.LeafMap(ctx, func(r NumberRun) error {
		if r.Leaf >= v.size {
			return errStop
		}
		if r.Leaf != next {
			v.add(LeafMapEdited, min(r.Leaf, next), "", "the leaf map has leaf %d where leaf %d is next", r.Leaf, next)
		}
		next = r.Leaf + r.Count
		r.Count = min(r.Count, v.size-r.Leaf)
		for r.Count > 0 {
			own, found := v.runOf(r.Writer, r.Counter)
			at := own.Leaf + r.Counter - own.Counter
			if !found || at != r.Leaf {
				v.add(LeafMapEdited, max(r.Leaf, 0), v.eventAt(ctx, r.Leaf), "the leaf map says that this is number %d of the writer %s, and the entry says otherwise", r.Counter, r.Writer)
				return nil
			}
			n := min(r.Count, own.Counter+own.Count-r.Counter)
			r.Counter, r.Leaf, r.Count = r.Counter+n, r.Leaf+n, r.Count-n
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	if err == nil && next < v.size {
		v.addRange(LeafMapEdited, next, v.size-1, v.eventAt(ctx, next), "the leaf map says nothing of these leaves")
	}
	return err
}

var errStop = errors.New("that is enough")
