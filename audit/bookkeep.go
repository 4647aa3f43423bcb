package audit

import (
	"context"

	"sealpost/store"
)

// bookkeepingTables is the closed list of what may be written without an event, each with the reason
// why nobody would call a write to it a change. The store refuses any other table, and a test holds
// this list against the one in docs/decisions/0005-audit-doors.md.
var bookkeepingTables = map[string]bool{
	"dispatch_job":           true, // leases only: which server is sending a job just now
	"node":                   true, // heartbeats of servers
	"idempotency":            true, // first answers, forgotten after 24 hours
	"mfa_enrollment":         true, // tokens and secrets that are offered and not yet anyone's
	"throttle":               true, // counters of attempts
	"session":                true, // when a session was last seen
	"secret_fingerprint_key": true, // made once, wrapped
}

// Bookkeep writes what is no change in anyone's eyes. fn runs as under Change; a write to a table
// that is not on the closed list fails.
func (l *Log) Bookkeep(ctx context.Context, fn func(*store.Tx) error) error {
	return l.st.Write(ctx, func(tx *store.Tx) error {
		tx.Restrict(bookkeepingTables)
		return fn(tx)
	})
}
