package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync/atomic"
)

// orphan is an event of which no entry is known.
type orphan struct {
	id, writer string
	counter    int64
}

// maxOrphans bounds how many are looked up: what waits to be sealed while a log is verified.
const maxOrphans = 1 << 20

// rows goes through all events, and holds each against its entry.
func (v *verifier) rows(ctx context.Context) error {
	segments, err := v.src.Segments(ctx, v.size)
	if err != nil {
		return err
	}
	return v.parallel(ctx, int64(len(segments)), func(ctx context.Context, i int64) error {
		w := &rowWalk{v: v, ctx: ctx, n: -1}
		err := v.src.Rows(ctx, segments[i], w.row)
		v.progress(w.count)
		return err
	})
}

// rowWalk is one goroutine's way through events.
type rowWalk struct {
	v     *verifier
	ctx   context.Context //nolint:containedctx // of the walk
	run   NumberRun       // that the last event was in
	n     int64           // the bundle at hand
	b     cached
	count int64
	buf   []byte
	clock clock
}

// clock writes times, of which most are of the second of the one before.
type clock struct {
	second int64
	text   []byte // of the second, and six digits and a Z
}

// says tells whether a text is a time, to the microsecond.
func (c *clock) says(text []byte, micros int64) bool {
	second, rest := micros/1e6, micros%1e6
	if rest < 0 {
		return string(text) == timeText(micros)
	}
	if c.text == nil || second != c.second {
		c.second, c.text = second, []byte(timeText(second*1e6))
	}
	for i := len(c.text) - 2; i >= len(c.text)-7; i-- {
		c.text[i] = byte('0' + rest%10)
		rest /= 10
	}
	return bytes.Equal(text, c.text)
}

// leaf finds an event's leaf; -1 where it has none.
func (w *rowWalk) leaf(r *Row) int64 {
	if r.Leaf >= 0 {
		return r.Leaf
	}
	if w.run.Writer != r.Writer || !w.run.has(r.Counter) {
		run, found := w.v.runOf(r.Writer, r.Counter)
		if !found {
			return -1
		}
		w.run = run
	}
	return w.run.Leaf + r.Counter - w.run.Counter
}

func (w *rowWalk) row(r *Row) error {
	v := w.v
	if w.count++; w.count == rowsPage {
		v.progress(w.count)
		w.count = 0
		if err := w.ctx.Err(); err != nil {
			return err
		}
	}
	leaf := w.leaf(r)
	if leaf < 0 || leaf >= v.size {
		v.mu.Lock()
		if len(v.orphans) < maxOrphans {
			v.orphans = append(v.orphans, orphan{r.ID, r.Writer, r.Counter})
		}
		v.mu.Unlock()
		return nil
	}
	if n := leaf / bundleWidth; n != w.n {
		var err error
		if w.b, err = v.entriesOf(w.ctx, n); err != nil {
			return err
		}
		w.n = n
	}
	if r.Removed {
		w.emptied(leaf, r)
		return nil
	}
	mask := uint64(1) << (leaf % 64)
	if atomic.OrUint64(&v.seen[leaf/64], mask)&mask != 0 {
		v.add(Replayed, leaf, r.ID, "there is another event of this number")
		return nil
	}
	v.bodies.Add(1)
	var e envelope
	if at := leaf % bundleWidth; at < int64(len(w.b.entries)) {
		e = w.b.entries[at]
	}
	w.judge(leaf, r, e)
	return nil
}

// emptied is a row whose body was taken away and that stays: nothing of what it said does.
func (w *rowWalk) emptied(leaf int64, r *Row) {
	if c := r.Columns; len(r.Salt) > 0 || c != nil && (c.ActorID != "" || c.RequestID != "" || c.Entity != "" || c.EntityID != "") {
		w.v.add(BodyEdited, leaf, r.ID, "the body is gone, and its salt or its search columns are not")
	}
}

// judge holds an event against its entry.
func (w *rowWalk) judge(leaf int64, r *Row, e envelope) {
	v := w.v
	s, form := canonical(r.Body)
	if form != nil {
		v.add(BodyNotCanonical, leaf, r.ID, "the body is not in the one form in which events are written")
	}
	if !e.well() {
		return // the entry is told of
	}
	w.buf = append(append(w.buf[:0], r.Salt...), r.Body...)
	if sum := sha256.Sum256(w.buf); string(sum[:]) != string(e.bodyHash()) {
		what := "the body, or its salt, is not what was sealed"
		if form == nil && r.Columns != nil {
			if column := r.Columns.differ(s); column == "" {
				what += "; the search columns say the same as this body"
			} else {
				what += "; the column " + column + " still says something else than this body"
			}
		}
		v.add(BodyEdited, leaf, r.ID, "%s", what)
		w.columnTime(leaf, r, e)
		v.special.doubt(leaf, r.Body)
		return
	}
	if form != nil {
		return
	}
	if !says(s.id, r.ID) {
		v.add(EventIDEdited, leaf, r.ID, "the event's body says that its id is %.40q", s.id)
	}
	w.bundleID(leaf, string(s.id))
	if !w.clock.says(s.time, e.micros()) {
		v.add(TimeEdited, leaf, r.ID, "the body says %.40q and was sealed as of %s", s.time, timeText(e.micros()))
	}
	w.columnTime(leaf, r, e)
	if c := r.Columns; c != nil {
		if column := c.differ(s); column != "" {
			v.add(ColumnsEdited, leaf, r.ID, "the search column %s is not what the event says", column)
		}
	}
	if isSpecial(s.action) {
		v.special.take(leaf, e, r.Body)
	}
}

// columnTime holds a row's time against the sealed one.
func (w *rowWalk) columnTime(leaf int64, r *Row, e envelope) {
	c := r.Columns
	if c == nil || c.At == e.micros() {
		return
	}
	how := "is later than"
	if c.At < e.micros() {
		how = "is earlier than"
	}
	if c.At/1000 == e.micros() {
		how = "is, in nanoseconds, not"
	}
	w.v.add(TimeEdited, leaf, r.ID, "the row's time (%d µs) %s the sealed one, %s", c.At, how, timeText(e.micros()))
}

// bundleID holds the id that is kept with the entries against the event's own.
func (w *rowWalk) bundleID(leaf int64, id string) {
	ids, at := w.b.ids, int(leaf%bundleWidth)*16
	if len(ids) == 0 { // an export has them with the bodies
		return
	}
	if len(ids) < at+16 || writerName([16]byte(ids[at:])) != id {
		w.v.add(EventIDEdited, leaf, id, "the id that is kept with the leaf is not the event's")
	}
}

// differ names the first column that does not say what the body does.
func (c *Columns) differ(s spoken) string {
	switch {
	case !says(s.requestID, c.RequestID):
		return "request_id"
	case !says(s.actorID, c.ActorID):
		return "actor_id"
	case !says(s.action, c.Action):
		return "action"
	case !says(s.entity, c.Entity):
		return "entity"
	case !says(s.entityID, c.EntityID):
		return "entity_id"
	case !says(s.outcome, c.Outcome):
		return "outcome"
	}
	return ""
}

// timeLayout is how events and checkpoints write times: see audit.
const timeLayout = "2006-01-02T15:04:05.000000Z"

func timeText(micros int64) string { return timeOf(micros).Format(timeLayout) }
