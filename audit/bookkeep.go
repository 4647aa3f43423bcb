package audit

import (
	"context"

	"sealpost/store"
)

// bookkeeping is the closed list of what may be written without an event, each with the reason why
// nobody would call it a change. The store refuses anything else, and a test holds this list against
// the one in docs/decisions/0005-audit-doors.md.
var bookkeeping = map[string]bool{
	// Leases: which server is sending a job just now. The job's state has an event with each change.
	"update dispatch_job": true,
	// Heartbeats of servers.
	"insert node": true, "update node": true, "delete node": true,
	// First answers that are older than 24 hours. They are kept in the change that they answer.
	"delete idempotency": true,
	// What is offered to a person and not yet anyone's: enrollment tokens, staged second factors.
	"insert mfa_enrollment": true, "update mfa_enrollment": true, "delete mfa_enrollment": true,
	// Counters of attempts. What they lead to, a refusal, is an event.
	"insert throttle": true, "update throttle": true, "delete throttle": true,
	// Challenges of passkeys that were answered, once nobody could answer them again. What they were good
	// for had its event.
	"delete passkey_challenge": true,
	// Sessions that ended long ago, with their tokens. Their end had its event.
	"delete session": true,
	// Which server makes the next try to send an alert. That it was raised, and each try's end, are events.
	"update alert": true,
	// How far an enforcement of retention has come. What it deletes, its intent and its end are events.
	"update audit_retention_plan": true,
	// The key of fingerprints: made once, and wrapped anew when the key around it is rotated, which is
	// an event.
	"insert secret_fingerprint_key": true, "update secret_fingerprint_key": true,
}

// Bookkeep writes what is no change in anyone's eyes. fn runs as under Change; a write that is not on
// the closed list fails.
func (l *Log) Bookkeep(ctx context.Context, fn func(*store.Tx) error) error {
	return l.st.Write(ctx, func(tx *store.Tx) error {
		tx.Restrict(bookkeeping)
		return fn(tx)
	})
}
