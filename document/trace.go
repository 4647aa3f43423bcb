package document

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/assist"
	"sealpost/audit"
	"sealpost/store"
)

// keepFor is how long recording a call may take that its caller no longer waits for.
const keepFor = 10 * time.Second

// insertTrace writes what is kept of a call about a document's revision. used tells whether anything
// came of the answer.
func insertTrace(ctx context.Context, tx *store.Tx, by audit.Principal, doc Document, t assist.Trace, used bool) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	return tx.Insert(ctx, "ai_trace", []string{
		"id", "document_id", "user_id", "revision", "purpose", "prompt_version", "model", "outcome", "used", "finish_reason",
		"input_tokens", "output_tokens", "latency_micros", "dropped", "retried", "salt", "sent_hash", "received_hash", "created_at",
	}, [][]any{{
		t.ID, doc.ID, by.UserID, doc.Revision, string(t.Purpose), t.PromptVersion, t.Model, string(t.Outcome), used, t.FinishReason,
		t.InputTokens, t.OutputTokens, t.Latency.Microseconds(), t.Dropped, t.Retried, t.Salt, t.SentHash[:], t.ReceivedHash[:], now.UnixMicro(),
	}})
}

// traced is an event of a call: what was asked of which model, how it ended, and never what was said.
func traced(action string, doc Document, t assist.Trace) audit.Event {
	e := audit.Event{Action: action, Entity: "Document", EntityID: doc.ID, Details: map[string]any{
		"revision": doc.Revision, "traceId": t.ID, "promptVersionId": t.PromptVersion, "model": t.Model,
		"aiOutcome": string(t.Outcome), "inputTokens": t.InputTokens, "outputTokens": t.OutputTokens,
	}}
	if t.Outcome != assist.Complete {
		e.Outcome = audit.Failure
	}
	return e
}

// keepFailed records a call that came to nothing, also when its caller has gone, and gives back why it
// did, joined with the audit log's own error if it cannot be recorded. A call that was never made
// leaves nothing.
func (d *Documents) keepFailed(ctx context.Context, by audit.Principal, action string, doc Document, t assist.Trace, why error) error {
	if t.ID == "" {
		return why
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
	defer cancel()
	err := d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		e := traced(action, doc, t)
		e.Outcome = audit.Failure
		return []audit.Event{e}, insertTrace(ctx, tx, by, doc, t, false)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("keep the trace of an AI call: %w", err), why)
	}
	return why
}
