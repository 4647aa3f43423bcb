package verify

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// law is what decides whether a body may be missing.
type law struct {
	signed      int64 // leaves under a checkpoint that verifies: what says that something may go has to be one
	checkpoints []signedAt
	intents     []intent
	holds       []holdEvent
	removed     []removal // what the log says has gone
	edited      []intent  // as they are now, and not what was sealed
}

// signedAt is a checkpoint that verifies.
type signedAt struct {
	size int64
	at   time.Time
}

// ruling is what some missing bodies come to.
type ruling struct {
	first, last int64
	lawful      bool
	kind        Kind
	text        string
	by          *intent // that allows it, or is the nearest to it
}

// rule decides about missing bodies, leaf by leaf where it has to. at gives the sealed time of a leaf.
func (l law) rule(first, last int64, at func(leaf int64) (time.Time, bool)) (list []ruling) {
	for from := first; from <= last; {
		r := l.piece(from, last)
		if r.lawful && r.by != nil {
			list = append(list, l.heldByTime(r, at)...)
		} else {
			list = append(list, r)
		}
		from = r.last + 1
	}
	return list
}

// piece decides about the leaves from one on that share a ruling.
func (l law) piece(from, last int64) ruling {
	end := last
	var wrong *ruling
	for i := range l.intents {
		in := &l.intents[i]
		for _, r := range in.ranges {
			switch {
			case from < r[0]:
				end = min(end, r[0]-1)
			case from < r[1]:
				to := min(last, r[1]-1)
				kind, text := l.judge(in)
				if kind == "" {
					return ruling{first: from, last: to, lawful: true, by: in}
				}
				if wrong == nil {
					wrong = &ruling{kind: kind, text: text, by: in}
				}
				end = min(end, to)
			}
		}
	}
	if wrong != nil {
		wrong.first, wrong.last = from, end
		return *wrong
	}
	r := ruling{first: from, last: end, kind: DeletedWithoutIntent, text: "the body is gone, and no sealed intent says that it may"}
	for _, d := range l.removed {
		if in, to := within(d.ranges, from); in {
			r.kind, r.last = RangeWidened, min(end, to)
			r.text = fmt.Sprintf("the body is gone, and leaf %d says that a deletion took it, but its intent does not name it", d.leaf)
		}
	}
	for _, e := range l.edited {
		if in, to := within(e.ranges, from); in {
			r.kind, r.last = RangeWidened, min(end, to)
			r.text = fmt.Sprintf("the body is gone, and the intent at leaf %d names it only as it is now, not as it was sealed", e.leaf)
		}
	}
	return r
}

// within tells whether a leaf is in some ranges, and up to which leaf that range goes.
func within(ranges [][2]int64, leaf int64) (in bool, to int64) {
	for _, r := range ranges {
		if leaf >= r[0] && leaf < r[1] {
			return true, r[1] - 1
		}
	}
	return false, 0
}

// judge decides whether an intent may be acted on: it is sealed, its figures are right, and it knew the holds.
func (l law) judge(in *intent) (Kind, string) {
	if in.leaf >= l.signed {
		return DeletedWithoutIntent, fmt.Sprintf("the body is gone, and the intent (leaf %d) is under no checkpoint yet", in.leaf)
	}
	if in.redaction {
		return "", ""
	}
	proven := slices.ContainsFunc(l.checkpoints, func(c signedAt) bool { return c.size >= in.checkpointSize && !c.at.After(in.cutoff) })
	beyond := slices.ContainsFunc(in.ranges, func(r [2]int64) bool { return r[1] > in.checkpointSize })
	switch {
	case in.days < 0 || in.cutoff.After(in.at.AddDate(0, 0, -in.days)):
		return TooYoung, fmt.Sprintf("the intent at leaf %d has the cutoff %s, later than the %d days that it names before its own time", in.leaf, in.cutoff.Format(time.RFC3339), in.days)
	case beyond:
		return TooYoung, fmt.Sprintf("the intent at leaf %d names leaves behind the checkpoint of %d that proves their age", in.leaf, in.checkpointSize)
	case !proven || in.checkpointTime.After(in.cutoff):
		return TooYoung, fmt.Sprintf("no checkpoint that verifies proves that the %d leaves of the intent at leaf %d are older than %s",
			in.checkpointSize, in.leaf, in.cutoff.Format(time.RFC3339))
	}
	for _, h := range standing(l.holds, in.leaf) {
		if !slices.Contains(in.holds, h.id) {
			return HoldIgnored, fmt.Sprintf("the hold %s (leaf %d) stood, and the intent at leaf %d does not know it", h.id, h.leaf, in.leaf)
		}
	}
	return "", ""
}

// standing are the holds that were made and not released before a leaf.
func standing(events []holdEvent, leaf int64) (list []holdEvent) {
	for _, e := range events {
		switch {
		case e.leaf >= leaf:
		case e.released:
			list = slices.DeleteFunc(list, func(h holdEvent) bool { return h.id == e.id })
		default:
			list = append(list, e)
		}
	}
	return list
}

// heldByTime finds, among leaves that an intent allows, those that a hold on a time alone keeps: what a hold on
// an actor or an entity keeps cannot be seen any more, since it was the body that named them.
func (l law) heldByTime(r ruling, at func(leaf int64) (time.Time, bool)) []ruling {
	var byTime []holdEvent
	for _, h := range standing(l.holds, r.by.leaf) {
		if h.actorID == "" && h.entityID == "" {
			byTime = append(byTime, h)
		}
	}
	if len(byTime) == 0 {
		return []ruling{r}
	}
	var list []ruling
	for leaf := r.first; leaf <= r.last; leaf++ {
		next := ruling{first: leaf, last: leaf, lawful: true, by: r.by}
		t, known := at(leaf)
		for _, h := range byTime {
			if known && !t.Before(h.from) && (h.to.IsZero() || t.Before(h.to)) {
				next.lawful, next.kind = false, HoldIgnored
				next.text = fmt.Sprintf("the body is gone, and the hold %s (leaf %d) on its time stood", h.id, h.leaf)
			}
		}
		if n := len(list); n > 0 && list[n-1].lawful == next.lawful && list[n-1].text == next.text {
			list[n-1].last = leaf
			continue
		}
		list = append(list, next)
	}
	return list
}

// lawful rules about every body that is missing.
func (v *verifier) lawful(ctx context.Context) error {
	l := law{signed: v.report.Signed, intents: v.special.intents, holds: v.special.holds, removed: v.special.removed, edited: v.special.edited}
	if len(v.o.Keys) == 0 { // then nothing is signed, and that is said
		l.signed = v.size
	}
	for _, c := range v.kept {
		if c.good && (c.verified || len(v.o.Keys) == 0) {
			l.checkpoints = append(l.checkpoints, signedAt{c.parsed.Size, c.parsed.Time})
		}
	}
	var failed error
	at := func(leaf int64) (time.Time, bool) {
		b, err := v.entriesOf(ctx, leaf/bundleWidth)
		if err != nil {
			failed = err
		}
		if i := leaf % bundleWidth; err == nil && i < int64(len(b.entries)) && envelope(b.entries[i]).well() {
			return timeOf(envelope(b.entries[i]).micros()), true
		}
		return time.Time{}, false
	}
	used := map[*intent]bool{}
	v.eachMissing(func(first, last int64) {
		for _, r := range l.rule(first, last, at) {
			if r.lawful {
				v.report.Removed += r.last - r.first + 1
				used[r.by] = true
				if !r.by.redaction {
					v.lawfullyGone = append(v.lawfullyGone, [2]int64{r.first, r.last + 1})
				}
				continue
			}
			v.unlawful = true
			v.addRange(r.kind, r.first, r.last, v.eventAt(ctx, r.first), "%s", r.text)
		}
	})
	v.noteAges(used)
	return failed
}

// noteAges says who vouches for the age of what was removed.
func (v *verifier) noteAges(used map[*intent]bool) {
	days, redacted, retained := 0, 0, 0
	independent := map[string]bool{}
	for in := range used {
		if in.redaction {
			redacted++
			continue
		}
		if retained++; retained == 1 || in.days < days {
			days = in.days
		}
		for _, c := range v.kept {
			if c.good && c.verified && c.parsed.Size >= in.checkpointSize && !c.cosigned.IsZero() && !c.cosigned.After(in.cutoff) {
				for _, name := range c.cosigners {
					independent[name] = true
				}
			}
		}
	}
	if retained > 0 {
		by := "age vouched for by this server only"
		if len(independent) > 0 {
			names := make([]string, 0, len(independent))
			for name := range independent {
				names = append(names, name)
			}
			slices.Sort(names)
			by = "age vouched for by the witness " + strings.Join(names, ", ")
		}
		v.note("retention removed bodies by %d intents, none younger than %d days; %s", retained, days, by)
	}
	if redacted > 0 {
		v.note("%d events were redacted, each by an intent with its reason", redacted)
	}
}

// eachMissing gives the ranges of leaves whose bodies were not found.
func (v *verifier) eachMissing(fn func(first, last int64)) {
	first := int64(-1)
	for i, word := range v.seen {
		if word == 1<<64-1 && first < 0 {
			continue
		}
		base := int64(i) * 64
		for rest := 0; rest < 64 && base+int64(rest) < v.size; {
			if word>>rest&1 == 1 {
				if first >= 0 {
					fn(first, base+int64(rest)-1)
					first = -1
				}
				rest += bits.TrailingZeros64(^(word >> rest))
				continue
			}
			if first < 0 {
				first = base + int64(rest)
			}
			rest++
		}
	}
	if first >= 0 {
		fn(first, v.size-1)
	}
}

// dateTolerance is by how much an event's time may be out of the times of the checkpoints around it: what a
// late commit, a key that comes late and clocks that differ make up.
const dateTolerance = time.Hour

// dates holds the events' times against those of the checkpoints: an event that was sealed behind a checkpoint
// happened after it, and before the next one.
func (v *verifier) dates(ctx context.Context) error {
	var marks []signedAt
	for _, c := range v.kept {
		if c.good && c.verified {
			marks = append(marks, signedAt{c.parsed.Size, c.parsed.Time})
		}
	}
	around := func(leaf int64) (after, before time.Time) {
		i, _ := slices.BinarySearchFunc(marks, leaf, func(m signedAt, n int64) int { return cmp.Compare(m.size, n+1) })
		if i > 0 {
			after = marks[i-1].at.Add(-dateTolerance)
		}
		if i < len(marks) {
			before = marks[i].at.Add(dateTolerance)
		}
		return after, before
	}
	for n, b := range v.bundles {
		first := int64(n) * bundleWidth
		after, _ := around(first + int64(v.width(int64(n))) - 1) // the latest mark before any of them
		_, before := around(first)
		if b.from > b.to || (after.IsZero() || b.from >= after.UnixMicro()) && (before.IsZero() || b.to <= before.UnixMicro()) {
			continue
		}
		list, err := v.entriesOf(ctx, int64(n))
		if err != nil {
			return err
		}
		for i, e := range list.entries {
			leaf := first + int64(i)
			after, before := around(leaf)
			if !envelope(e).well() {
				continue
			}
			at := timeOf(envelope(e).micros())
			switch {
			case !after.IsZero() && at.Before(after):
				v.add(Backdated, leaf, v.eventAt(ctx, leaf), "the event is dated %s, and was sealed behind a checkpoint of %s", at.Format(time.RFC3339), after.Add(dateTolerance).Format(time.RFC3339))
			case !before.IsZero() && at.After(before):
				v.add(Postdated, leaf, v.eventAt(ctx, leaf), "the event is dated %s, and was sealed before the checkpoint of %s", at.Format(time.RFC3339), before.Add(-dateTolerance).Format(time.RFC3339))
			}
		}
	}
	return nil
}
