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
	// When an endpoint with a rate may be sent the next job: counted with the leases.
	"insert dispatch_rate": true, "update dispatch_rate": true,
	// Whose turn it is among jobs of one key. What passes it on is a job's end, which has its event.
	"insert dispatch_order": true, "update dispatch_order": true,
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
	// When a session and an API key were last used, to the minute.
	"insert session_use": true, "update session_use": true,
	"insert api_key_use": true, "update api_key_use": true,
	// Offers to choose a new password that nobody took in their hour. That one was made is an event.
	"delete password_reset": true,
	// Which server makes the next try to send an alert, and that what it told of has ended. That it was
	// raised, and each try's end, are events.
	"update alert": true,
	// Counters of events by the minute, and up to when they count: what they count are events.
	"insert event_count": true, "update event_count": true, "delete event_count": true,
	"insert event_count_mark": true, "update event_count_mark": true,
	// How far an enforcement of retention has come. What it deletes, its intent and its end are events.
	"update audit_retention_plan": true,
	// The key of fingerprints: made once, and wrapped anew when the key around it is rotated, which is
	// an event.
	"insert secret_fingerprint_key": true, "update secret_fingerprint_key": true,
}

// Bookkeep writes what is no change in anyone's eyes. fn runs as under Change; a write that is not on
// the closed list fails.
func (l *Log) Bookkeep(ctx context.Context, fn func(*store.Tx) error) error {
	err := l.st.Write(ctx, func(tx *store.Tx) error {
		tx.Restrict(bookkeeping)
		return fn(tx)
	})
	switch {
	case err == nil:
		l.tellOutage(ctx)
	case store.Outage(err): // a change would meet the same: the health check says so before one does
		l.couldNotWrite(err)
	}
	return err
}
