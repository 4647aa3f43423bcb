package verify

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"
)

// span is consecutive numbers, both ends included.
type span struct{ first, last int64 }

// account is what a writer, or whoever found that it had ended, has told of its numbers.
type account struct {
	settled int64  // how every number up to this ended is told
	undone  []span // did not commit
	lost    uint64 // did not either, and are not known by number
	final   bool
	highest int64  // of a crash: up to which number it was looked
	missing []span // were missing then, be it that they did not commit or that they were taken away
}

func spansOf(pairs [][2]uint64) (list []span) {
	for _, p := range pairs {
		if p[1] > 0 && p[0] < 1<<62 && p[1] < 1<<62 {
			list = append(list, span{clamp(p[0]), clamp(p[0] + p[1] - 1)})
		}
	}
	return list
}

func (a *account) beat(_ int64, d details) {
	a.settled = max(a.settled, clamp(d.Settled))
	a.undone = append(a.undone, spansOf(d.Undone)...)
	a.lost += d.Lost
	a.final = a.final || d.Final
}

func (a *account) lostBy(_ int64, d details) {
	a.highest = max(a.highest, clamp(d.Highest))
	a.missing = append(a.missing, spansOf(d.Missing)...)
	if d.MoreMissing { // up to the highest, all that is not there
		a.missing = append(a.missing, span{clamp(d.Settled) + 1, clamp(d.Highest)})
	}
}

func clamp(n uint64) int64 { return int64(min(n, 1<<62)) }

// gap is numbers of a writer that are no leaves, with the leaf behind them.
type gap struct {
	span
	next int64
}

// gapsOf finds what is missing before the highest number of a writer.
func gapsOf(runs []NumberRun) (list []gap) {
	next := int64(1)
	for _, r := range runs {
		if r.Counter > next {
			list = append(list, gap{span{next, r.Counter - 1}, r.Leaf})
		}
		next = r.Counter + r.Count
	}
	return list
}

// without gives what is left of some spans when others are taken away.
func without(list, away []span) []span {
	away = slices.Clone(away)
	slices.SortFunc(away, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for _, a := range away {
		var rest []span
		for _, s := range list {
			if a.last < s.first || a.first > s.last {
				rest = append(rest, s)
				continue
			}
			if s.first < a.first {
				rest = append(rest, span{s.first, a.first - 1})
			}
			if s.last > a.last {
				rest = append(rest, span{a.last + 1, s.last})
			}
		}
		list = rest
	}
	return list
}

func (s span) count() int64 { return s.last - s.first + 1 }

// state is what missing numbers come to.
type state int

const (
	takenAway   state = iota // they were given to events and settled, and no account says that these did not commit
	inACrash                 // nobody knows: they did not commit, or were taken away
	unsaid                   // their writer has not accounted for them yet
	afterTheEnd              // they were given after its last account
	forgotten                // their writer knows how many did not commit, and not which
)

// judged is missing numbers with what they come to.
type judged struct {
	span
	state state
}

// judge decides about numbers that are no leaves and do not wait. What the account of a crash says is taken
// only for numbers that no heartbeat has settled: up to where it looked is read from a table.
func (a *account) judge(missing []span) (list []judged) {
	split := func(spans []span, first, last int64, s state) {
		for _, p := range spans {
			if p = (span{max(p.first, first), min(p.last, last)}); p.first <= p.last {
				list = append(list, judged{p, s})
			}
		}
	}
	const most = 1 << 62
	left := without(missing, a.undone)
	settled := takenAway
	if a.lost > 0 {
		settled = forgotten
	}
	split(left, 1, a.settled, settled)
	rest := without(left, a.missing)
	for _, p := range left { // what is in rest is none of it
		split(without([]span{p}, rest), a.settled+1, most, inACrash)
	}
	split(rest, a.settled+1, a.highest, takenAway)
	behind := unsaid
	if a.final {
		behind = afterTheEnd
	}
	split(rest, max(a.settled, a.highest)+1, most, behind)
	return list
}

// accounts makes sure that every number of every writer is a leaf once, or accounted for.
func (v *verifier) accounts(ctx context.Context) error {
	for _, c := range v.clashes {
		if err := v.clash(ctx, c); err != nil {
			return err
		}
	}
	rejected, err := v.src.Rejected(ctx)
	if err != nil {
		return err
	}
	refused := map[string][]span{}
	for _, r := range rejected {
		kind, what := ForgedBeforeSealing, "a row that waited to be sealed was not what a server had written ("+r.Reason+")"
		if r.Reason == "ALREADY_SEALED" {
			kind, what = Replayed, "a number that was sealed already came again to be sealed"
		}
		v.add(kind, -1, r.EventID, "%s: number %d of the writer %s, at %s", what, r.Counter, r.Writer, r.At.Format(time.RFC3339))
		refused[r.Writer] = append(refused[r.Writer], span{r.Counter, r.Counter})
	}
	told := int64(0)
	for _, e := range v.special.rejected {
		if told += e.count; told > int64(len(rejected)) && len(rejected) < MaxFindings {
			v.add(EvidenceRemoved, e.leaf, v.eventAt(ctx, e.leaf), "the event tells of %d rows that were not sealed, and they are not kept any more", e.count)
			told = int64(len(rejected))
		}
	}
	waiting := map[string][]span{}
	if v.live != nil {
		err := v.live.Waiting(ctx, func(w Waiting) error {
			waiting[w.Writer] = append(waiting[w.Writer], span{w.Counter, w.Counter})
			return nil
		})
		if err != nil {
			return err
		}
	}
	writers := make([]string, 0, len(v.writers))
	for w := range v.writers {
		writers = append(writers, w)
	}
	slices.Sort(writers)
	for _, w := range writers {
		v.account(ctx, w, append(refused[w], waiting[w]...))
	}
	return nil
}

// account judges the numbers of one writer.
func (v *verifier) account(ctx context.Context, writer string, elsewhere []span) {
	a := v.special.accounts[writer]
	if a == nil {
		a = &account{}
	}
	counts := map[state]int64{}
	for _, g := range gapsOf(v.writers[writer]) {
		for _, j := range a.judge(without([]span{g.span}, elsewhere)) {
			counts[j.state] += j.count()
			wrong := j.state == takenAway || j.state == unsaid && !v.stillOpen(g.next) ||
				j.state == forgotten && uint64(counts[forgotten]) > a.lost //nolint:gosec // not negative
			switch {
			case !wrong:
			case v.accountRemoved(writer, g.next):
				v.note("the numbers %d-%d of the writer %s are missing, and what accounted for them may have been removed lawfully since", j.first, j.last, writer)
			default:
				v.add(DeletedBeforeSealing, g.next, v.eventAt(ctx, g.next),
					"before this event, the numbers %d-%d of its writer %s are missing: they were given to events, and no account says that these did not commit",
					j.first, j.last, writer)
			}
		}
	}
	for state, text := range map[state]string{
		inACrash:    "the writer %s ended without an account (a crash): whether %d of its numbers did not commit, or were taken away before they were sealed, cannot be told",
		unsaid:      "the writer %s has not accounted for %d of its numbers",
		afterTheEnd: "the writer %s gave %d numbers after its last account, of which nothing is known",
		forgotten:   "the writer %s rolled back so much that it does not know %d numbers of it one by one",
	} {
		if n := counts[state]; n > 0 {
			v.note(text, writer, n)
		}
	}
}

// accountPatience is how long after an event its writer, or whoever finds that it has ended, has accounted
// for the numbers before it: heartbeats come every ten seconds, and a writer is given up after a minute.
const accountPatience = 10 * time.Minute

// stillOpen tells whether an account of what is missing before a leaf may still come: there have to be two
// checkpoints after its time, since a log that stood still goes on with one that covers no account yet.
func (v *verifier) stillOpen(leaf int64) bool {
	n := 0
	var first time.Time
	for _, c := range v.kept {
		if !c.verified || c.Size <= leaf {
			continue
		}
		if n == 0 {
			first = c.Time
		}
		if n++; c.Time.Sub(first) > accountPatience {
			return false
		}
	}
	return true
}

// accountRemoved tells whether a later event of a writer, by which it may have accounted for its numbers, was
// removed lawfully.
func (v *verifier) accountRemoved(writer string, leaf int64) bool {
	for _, r := range v.writers[writer] {
		for _, gone := range v.lawfullyGone {
			if r.Leaf+r.Count > leaf && gone[0] < r.Leaf+r.Count && gone[1] > max(r.Leaf, leaf) {
				return true
			}
		}
	}
	return false
}

// clash tells of two leaves under one number.
func (v *verifier) clash(ctx context.Context, c clash) error {
	first, err := v.entriesOf(ctx, c.first/bundleWidth)
	if err != nil {
		return err
	}
	second, err := v.entriesOf(ctx, c.second/bundleWidth)
	if err != nil {
		return err
	}
	kind, what := CounterReused, "another event than leaf %d has its writer's number %d (of %s)"
	if bytes.Equal(first.entries[c.first%bundleWidth], second.entries[c.second%bundleWidth]) {
		kind, what = Replayed, "the entry is that of leaf %d again, number %d of the writer %s"
	}
	v.add(kind, max(c.first, c.second), v.eventAt(ctx, max(c.first, c.second)), what, min(c.first, c.second), c.counter, c.writer)
	return nil
}
