package keys

import "time"

// ReplaceUntil is Replace with an end for the window of the previous key, after which FindAt no longer
// gives it (runbook §3). The zero time is no end.
func (r *Ring) ReplaceUntil(current, previous *Key, until time.Time) {
	r.state.Store(&ringState{current: current, previous: previous, until: until})
}

// FindAt is Find at a time: a previous key whose window is over is not found. It is for what is bound
// to end, such as tokens. What was encrypted with a previous key stays readable, by Decrypt.
func (r *Ring) FindAt(id string, now time.Time) *Key {
	s := r.state.Load()
	switch {
	case s.current != nil && s.current.ID == id:
		return s.current
	case s.previous != nil && s.previous.ID == id && (s.until.IsZero() || now.Before(s.until)):
		return s.previous
	}
	return nil
}
