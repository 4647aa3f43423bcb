package dispatch

import (
	"maps"
	"slices"
)

// The share of slots that each endpoint may have on this server.
//
// An endpoint starts with a small window and earns more with each answer, up to its own cap; an
// attempt that times out halves it. So an endpoint that never answers holds a slot or two, and one
// that answers soon has all it may have.
//
// Endpoints that had earned much and then hang, all at once, could still take every slot for one
// timeout. Therefore an eighth of the slots is a reserve, of which no endpoint holds more than a
// sixteenth: what is healthy goes on beside them.
const (
	firstWindow  = 2
	maxWindows   = 4096 // endpoints whose windows are remembered
	reservePart  = 8    // of all slots, one part
	reserveShare = 16   // of the reserve, one part
)

// load is what this server is sending, and may send, to each endpoint.
type load struct {
	slots   int            // on this server, in all
	held    map[string]int // being sent, by endpoint
	windows map[string]int // where it is not the first one
}

func newLoad(slots int) load {
	return load{slots: slots, held: map[string]int{}, windows: map[string]int{}}
}

func (l load) clone() load {
	return load{l.slots, maps.Clone(l.held), maps.Clone(l.windows)}
}

func (l load) window(endpoint string) int {
	if w, ok := l.windows[endpoint]; ok {
		return w
	}
	return firstWindow
}

// begin notes that a delivery is being sent.
func (l load) begin(endpoint string) { l.held[endpoint]++ }

// end notes that it no longer is, and whether the receiver kept it waiting until the timeout.
func (l load) end(endpoint string, timedOut bool) {
	if l.held[endpoint]--; l.held[endpoint] == 0 {
		delete(l.held, endpoint)
	}
	if len(l.windows) >= maxWindows {
		clear(l.windows)
	}
	if timedOut {
		l.windows[endpoint] = max(1, l.window(endpoint)/2)
	} else {
		l.windows[endpoint] = min(MaxConcurrency, l.window(endpoint)+1)
	}
}

// room is how many more an endpoint may have here that has been given some already, of what is free.
func (l load) room(endpoint string, given, free int) int {
	reserve := l.slots / reservePart
	has := l.held[endpoint] + given
	open := free - reserve
	if open <= 0 { // from the reserve
		open = min(free, max(1, reserve/reserveShare)-has)
	}
	return max(0, min(l.window(endpoint)-has, open))
}

// full lists the endpoints that may have no more here, in the order of their ids, so that a claim
// looks at others.
func (l load) full(free int) []string {
	var ids []string
	for id := range l.held {
		if l.room(id, 0, free) == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// share divides what is free over the endpoints that want it, equally, and then gives what some did
// not want to those that can use it.
func share(ring []candidate, free int, l load) []int {
	grants := make([]int, len(ring))
	give := func(i, limit int) {
		n := max(0, min(ring[i].slots-grants[i], l.room(ring[i].id, grants[i], free), limit))
		grants[i] += n
		free -= n
	}
	for i := range ring {
		give(i, max(1, (free-l.slots/reservePart+len(ring)-i-1)/(len(ring)-i)))
	}
	for i := range ring {
		give(i, free)
	}
	return grants
}
