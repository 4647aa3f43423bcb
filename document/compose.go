package document

import (
	"context"
	"time"

	"sealpost/assist"
	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// Composition is what an author wants AI to write.
type Composition struct {
	Instructions string // 1 to 4,000 code points
	Source       string // what it may be based on; may be empty
	Match        Match  // optional: the version that was read
}

// Composed is the revision that AI has written.
type Composed struct {
	Revision      Revision
	ETag          string // of the document with that revision
	TraceID       string
	PromptVersion string
}

// Compose has AI write the document's content anew, and makes a revision of it, under the title as it
// is. onDelta, where it is not nil, gets the text as it comes; an error of it ends the call.
//
// The revision is made when the text is whole, and not otherwise: when the caller goes away, or the
// server fails in the middle, the document is as it was. The revision that was read must still be the
// current one then, as with If-Match. Where it is not, somebody's minutes are not thrown away: the
// answer, fault.PreconditionFailed (or Conflict, where the document has become final), has the text in
// details.content. A text that says what the revision says makes no other.
//
// Besides those: fault.Unavailable (AI is off, or failed), fault.Forbidden, fault.NotFound,
// fault.Invalid, fault.TooLarge.
func (d *Documents) Compose(ctx context.Context, by audit.Principal, id string, c Composition, onDelta func(text string) error) (Composed, error) {
	base, err := d.toAssist(ctx, by, id)
	if err != nil {
		return Composed{}, err
	}
	if err := c.Match.check(base); err != nil {
		return Composed{}, err
	}
	got, err := d.assist.Compose(ctx, assist.ComposeRequest{
		Title: base.Text.Title, Content: base.Text.Content, Instructions: c.Instructions, Source: c.Source,
	}, onDelta)
	if err != nil {
		return Composed{}, d.keepFailed(ctx, by, actComposed, base, got.Trace, err)
	}
	text := Text{Title: base.Text.Title, Content: got.Text}
	var doc Document
	var late *fault.Error
	err = d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		var err error
		if doc, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		late = tooLate(base, doc, got)
		if err := insertTrace(ctx, tx, by, base, got.Trace, late == nil); err != nil {
			return nil, err
		}
		if late == nil && doc.Text != text {
			if err := revise(ctx, tx, &doc, text); err != nil {
				return nil, err
			}
		}
		e := traced(actComposed, doc, got.Trace)
		e.Details["baseRevision"], e.Details["contentBytes"] = base.Revision, len(text.Content)
		if late != nil {
			e.Outcome = audit.Failure
		}
		return []audit.Event{e}, nil
	})
	switch {
	case err != nil:
		return Composed{}, d.keepFailed(ctx, by, actComposed, base, got.Trace, err)
	case late != nil:
		return Composed{}, late
	}
	return Composed{
		Revision: Revision{Number: doc.Revision, Text: doc.Text, CreatedAt: doc.RevisedAt}, ETag: doc.ETag(),
		TraceID: got.Trace.ID, PromptVersion: got.Trace.PromptVersion,
	}, nil
}

const actComposed = "document.composed"

// Whatever AI answers fits into a document: it is UTF-8 without NUL, and not longer than this.
const _ = uint(MaxContent - assist.MaxAnswer)

// tooLate tells whether a document has gone on since it was read, and then gives back what was written.
func tooLate(base, doc Document, got assist.Composed) *fault.Error {
	var late *fault.Error
	switch {
	case doc.Final():
		late = fault.New(fault.Conflict, "the document has become final meanwhile: the text was not kept, and is in details.content")
	case doc.Revision != base.Revision:
		late = fault.New(fault.PreconditionFailed, "the document has changed meanwhile: the text was not kept, and is in details.content")
	default:
		return nil
	}
	return late.With("etag", doc.ETag()).With("content", got.Text).
		With("traceId", got.Trace.ID).With("promptVersionId", got.Trace.PromptVersion)
}

// AIEnabled tells whether AI is on.
func (d *Documents) AIEnabled() bool { return d.assist.Enabled() }

// AITimeout is how long a call of AI may take.
func (d *Documents) AITimeout() time.Duration { return d.assist.Timeout() }

// toAssist gives a document that its author may have AI work on. fault.Forbidden, fault.Unavailable
// (AI is off), fault.NotFound, fault.Conflict (it is final).
func (d *Documents) toAssist(ctx context.Context, by audit.Principal, id string) (Document, error) {
	if err := d.enter(ctx, by); err != nil {
		return Document{}, err
	}
	if err := d.assist.Check(); err != nil {
		return Document{}, err
	}
	if err := d.own(ctx, by, id); err != nil {
		return Document{}, err
	}
	doc, err := d.read(ctx, id)
	if err != nil {
		return Document{}, err
	}
	if doc.Final() {
		return Document{}, isFinal()
	}
	return doc, nil
}
