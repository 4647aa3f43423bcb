package audit

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/fault"
	"sealpost/store"
)

// MaxRedactionReason is the longest reason for a redaction, in code points.
const MaxRedactionReason = 500

// Redaction is an event whose body was removed.
type Redaction struct {
	EventID    string    `json:"eventId"`
	Leaf       int64     `json:"leaf" doc:"The event's place in the log, which keeps its hash"`
	Reason     string    `json:"reason"`
	RedactedAt time.Time `json:"redactedAt"`
}

// Redact removes what one event said (body, search columns and salt) before its time, because the law asks
// for it. Its envelope stays. As with retention the intent is an event of its own, and is under a
// checkpoint before anything goes; the removal is another one. fault.NotFound where there is no such event
// or it has gone already, fault.Conflict where it is held or accounts for the log itself, fault.Invalid,
// fault.Unavailable where the intent could not be sealed in time: then it can be asked for again.
func (r *Retention) Redact(ctx context.Context, by Principal, eventID, reason string) (Redaction, error) {
	reason = strings.TrimSpace(reason)
	if reason == "" || utf8.RuneCountInString(reason) > MaxRedactionReason || !utf8.ValidString(reason) || strings.IndexByte(reason, 0) >= 0 {
		return Redaction{}, fault.New(fault.Invalid, "reason has 1 to %d characters", MaxRedactionReason)
	}
	if !store.ValidID(eventID) {
		return Redaction{}, errNoEvent(eventID)
	}
	done := Redaction{EventID: eventID, Reason: reason}
	covered, err := r.await(ctx, eventID)
	switch {
	case fault.Is(err, fault.NotFound):
		return Redaction{}, errNoEvent(eventID)
	case err != nil:
		return Redaction{}, err
	case !covered:
		return Redaction{}, errNotSealed(eventID)
	}
	err = r.log.Change(ctx, by, func(tx *store.Tx) (_ []Event, err error) {
		if done.Leaf, err = redactable(ctx, tx, eventID); err != nil {
			return nil, err
		}
		return []Event{redactionEvent("audit.event.redaction_intended", done)}, nil
	})
	if err != nil {
		return Redaction{}, err
	}
	intent, err := r.redactionIntent(ctx, eventID)
	if err != nil {
		return Redaction{}, err
	}
	switch covered, err := r.await(ctx, intent); {
	case err != nil:
		return Redaction{}, err
	case !covered:
		return Redaction{}, fault.New(fault.Unavailable, "the intent to redact %s is recorded, and not under a checkpoint yet: ask again", eventID).After(coverFor)
	}
	err = r.log.Change(ctx, by, func(tx *store.Tx) ([]Event, error) {
		if err := lockHolds(ctx, tx); err != nil {
			return nil, err
		}
		if _, err := redactable(ctx, tx, eventID); err != nil {
			return nil, err
		}
		var err error
		if done.RedactedAt, err = tx.Now(ctx); err != nil {
			return nil, err
		}
		if err := deleteEvents(ctx, tx, []any{eventID}); err != nil {
			return nil, err
		}
		return []Event{redactionEvent("audit.event.redacted", done)}, nil
	})
	if err != nil {
		return Redaction{}, err
	}
	return done, nil
}

func errNoEvent(id string) error {
	return fault.New(fault.NotFound, "there is no audit event %s, or what it said has been removed", word(id))
}

// accounting are the events that nobody redacts: those by which the log accounts for itself, its numbers
// among them. A condition of SQL.
const accounting = `action like 'audit.%'`

// redactable gives the leaf of an event whose body may go.
func redactable(ctx context.Context, tx *store.Tx, eventID string) (int64, error) {
	held, err := readHolds(ctx, tx)
	if err != nil {
		return 0, err
	}
	condition, args := held.condition(2)
	var row oldRow
	var isHeld, lasts int
	err = tx.QueryRow(ctx, `
		select writer, counter, case when `+condition+` then 1 else 0 end, case when `+accounting+` then 1 else 0 end
		  from "AuditLog" where id = $1`, append([]any{eventID}, args...)...).Scan(&row.writer, &row.counter, &isHeld, &lasts)
	switch {
	case store.NoRow(err):
		return 0, errNoEvent(eventID)
	case err != nil:
		return 0, err
	case lasts == 1:
		return 0, fault.New(fault.Conflict, "event %s accounts for the log itself, and stays", eventID)
	case isHeld == 1:
		return 0, fault.New(fault.Conflict, "event %s is under a legal hold: release that first", eventID)
	}
	r, leaf, err := sealedOf(ctx, tx, row.writer, row.counter)
	if err != nil {
		return 0, err
	}
	if row.counter >= r.end() {
		return 0, errNotSealed(eventID)
	}
	return leaf + row.counter - r.counter, nil
}

// redactionIntent finds the newest intent to redact an event.
func (r *Retention) redactionIntent(ctx context.Context, eventID string) (id string, err error) {
	err = r.log.st.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `
			select id from "AuditLog" where entity_id = $1 and action = 'audit.event.redaction_intended' order by id desc limit 1`, eventID).Scan(&id)
	})
	return id, err
}

func redactionEvent(action string, d Redaction) Event {
	return Event{
		Action: action, Entity: "AuditEvent", EntityID: d.EventID,
		Details: map[string]any{"eventId": d.EventID, "leaf": d.Leaf, "reason": d.Reason},
	}
}
