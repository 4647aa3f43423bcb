package store

import "sync"

// remembered keeps what was found out about something, for as long as the program runs. It is for what
// the program itself brings along, texts of statements and names of tables, of which there are some
// hundreds.
type remembered[K comparable, V any] struct {
	mu    sync.RWMutex
	known map[K]V
}

func (r *remembered[K, V]) get(key K) (V, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	v, ok := r.known[key]
	return v, ok
}

func (r *remembered[K, V]) put(key K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[K]V{}
	}
	r.known[key] = v
}
