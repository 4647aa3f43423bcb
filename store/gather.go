package store

import (
	"context"
	"errors"
	"sync"
)

// Gather reads rows by their keys, many at once where many are asked for at once. A few reads run side
// by side; whoever comes while they do waits for the next one, which takes all who wait. Nobody waits
// to fill a read, and each read begins after it was asked for, so an answer is never older than its
// question. On a database behind a socket this makes a hundred small questions a few.
type Gather[K comparable, V any] struct {
	// Load reads what there is of these keys, each given once. It is told by a context that no single
	// asker can cancel.
	Load func(ctx context.Context, keys []K) (map[K]V, error)

	mu      sync.Mutex
	waiting []*ask[K, V]
	running int
}

const (
	gatherSide = 2   // reads side by side
	gatherMost = 128 // keys of one read
)

type ask[K comparable, V any] struct {
	key   K
	lead  chan struct{} // closed: it is this one's turn to read for those who wait
	done  chan struct{} // closed: it has its answer
	value V
	found bool
	err   error
}

// Get gives the row of a key, and whether there is one.
func (g *Gather[K, V]) Get(ctx context.Context, key K) (value V, found bool, err error) {
	a := &ask[K, V]{key: key, lead: make(chan struct{}), done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, a)
	if g.running < gatherSide {
		g.running++
		g.handOn()
	}
	g.mu.Unlock()
	for {
		select {
		case <-a.done:
			return g.answered(a)
		case <-a.lead:
			g.readBatch(ctx)
			<-a.done
			return a.value, a.found, a.err
		case <-ctx.Done():
			if g.withdraw(a) {
				return value, false, ctx.Err()
			}
			<-a.done // a read for it has begun, and ends by itself
			return g.answered(a)
		}
	}
}

// answered gives the answer of an ask that has not led. Where it had the lead, and the other run has read
// for it meanwhile, the lead goes on: it would be lost, and its run with it.
func (g *Gather[K, V]) answered(a *ask[K, V]) (V, bool, error) {
	select {
	case <-a.lead:
		g.mu.Lock()
		g.handOn()
		g.mu.Unlock()
	default:
	}
	return a.value, a.found, a.err
}

// handOn gives the lead to the first who waits, or ends the run where nobody does. mu is held.
func (g *Gather[K, V]) handOn() {
	for _, a := range g.waiting {
		select {
		case <-a.lead: // has it already: it leads the other run
		default:
			close(a.lead)
			return
		}
	}
	g.running--
}

// readBatch reads for those who wait, and hands the lead on.
func (g *Gather[K, V]) readBatch(ctx context.Context) {
	g.mu.Lock()
	n := min(len(g.waiting), gatherMost)
	batch := append([]*ask[K, V](nil), g.waiting[:n]...)
	g.waiting = append(g.waiting[:0], g.waiting[n:]...)
	g.mu.Unlock()
	defer func() {
		for _, a := range batch {
			close(a.done)
		}
		g.mu.Lock()
		g.handOn()
		g.mu.Unlock()
	}()
	if len(batch) == 0 { // the other run has read for this one
		return
	}
	keys := make([]K, 0, len(batch))
	once := make(map[K]bool, len(batch))
	for _, a := range batch {
		a.err = errNotRead // should a panic come before the answer
		if !once[a.key] {
			once[a.key] = true
			keys = append(keys, a.key)
		}
	}
	rows, err := g.Load(context.WithoutCancel(ctx), keys)
	for _, a := range batch {
		a.err = err
		if err == nil {
			a.value, a.found = rows[a.key]
		}
	}
}

// withdraw takes an ask out of the queue. false: a read for it has begun.
func (g *Gather[K, V]) withdraw(a *ask[K, V]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w != a {
			continue
		}
		g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
		select {
		case <-a.lead: // it had the lead and did not take it
			g.handOn()
		default:
		}
		return true
	}
	return false
}

// errNotRead is an answer until there is another.
var errNotRead = errors.New("the read ended without an answer")
