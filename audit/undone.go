package audit

import (
	"slices"
	"sync"
)

// span is the numbers of one transaction's events.
type span struct{ first, n uint64 }

// undone keeps the numbers of events whose transactions did not commit, or are not known to have, so
// that a gap in the count can be told from an event that was taken away. Heartbeats tell of them.
type undone struct {
	mu    sync.Mutex
	given uint64            // the last number that was given out
	open  map[uint64]uint64 // spans whose transactions have not ended, by their first number
	spans []span
	lost  uint64 // numbers that are not kept any more
}

// maxUndone bounds what is kept between two heartbeats; a server that rolls back more than this has told
// of an outage.
const maxUndone = 1 << 14

// give gives out the next n numbers.
func (u *undone) give(n uint64) span {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := span{first: u.given + 1, n: n}
	u.given += n
	if u.open == nil {
		u.open = map[uint64]uint64{}
	}
	u.open[s.first] = n
	return s
}

// committed says that a span's events are in the table.
func (u *undone) committed(s span) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, s.first)
}

func (u *undone) add(s span) {
	if s.n == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, s.first)
	if last := len(u.spans) - 1; last >= 0 && u.spans[last].first+u.spans[last].n == s.first {
		u.spans[last].n += s.n
		return
	}
	if len(u.spans) == maxUndone {
		u.lost += s.n
		return
	}
	u.spans = append(u.spans, s)
}

// account is how the numbers stand at a moment.
type account struct {
	given   uint64 // the last one that was given out
	settled uint64 // how every one up to this has ended is known, and told by this account or an earlier one
	spans   []span // those that did not commit, since the account before
	lost    uint64 // how many more did not, whose numbers are not known any more
}

// take gives an account, and forgets what it tells.
func (u *undone) take() account {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := account{given: u.given, settled: u.given, spans: u.spans, lost: u.lost}
	for first := range u.open {
		a.settled = min(a.settled, first-1)
	}
	u.spans, u.lost = nil, 0
	return a
}

// putBack takes back an account that could not be told.
func (u *undone) putBack(a account) {
	u.mu.Lock()
	defer u.mu.Unlock()
	room := maxUndone - len(u.spans)
	for _, s := range a.spans[min(room, len(a.spans)):] {
		u.lost += s.n
	}
	u.spans = slices.Concat(a.spans[:min(room, len(a.spans))], u.spans)
	u.lost += a.lost
}
