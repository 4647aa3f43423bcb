package audit

import "sync"

// span is the numbers of one transaction's events.
type span struct{ first, n uint64 }

// undone keeps the numbers of events whose transactions did not commit, or are not known to have, so
// that a gap in the count can be told from an event that was taken away.
type undone struct {
	mu    sync.Mutex
	spans []span
	lost  uint64 // numbers that are not kept any more
}

// maxUndone bounds what is kept; a server that rolls back more than this has told of an outage.
const maxUndone = 1 << 14

func (u *undone) add(s span) {
	if s.n == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
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
