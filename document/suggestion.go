package document

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/assist"
	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// The states of a suggestion. Only an open one can be accepted or dismissed.
const (
	Open      = "OPEN"
	Accepted  = "ACCEPTED"
	Dismissed = "DISMISSED"
	Stale     = "STALE" // its quote is no longer there, or there are newer suggestions
)

// MaxDismissReason bounds why a suggestion is dismissed, in code points.
const MaxDismissReason = 1000

// Suggestion is a change that AI suggests, with the quotes that it was verified by.
type Suggestion struct {
	ID          string
	Kind        string // as assist has them
	Quote       string // what it is about
	Replacement string // what is to stand there
	Reason      string
	Source      string // the quote of the source that supports it; "" where it adds no fact
	Status      string
}

const selectSuggestion = `select id, kind, quote, replacement, reason, source, status from suggestion`

// fields are where the columns of selectSuggestion go.
func (s *Suggestion) fields() []any {
	return []any{&s.ID, &s.Kind, &s.Quote, &s.Replacement, &s.Reason, store.String(&s.Source), &s.Status}
}

func insertSuggestions(ctx context.Context, tx *store.Tx, documentID string, got assist.Suggested, now time.Time) ([]Suggestion, error) {
	items, rows := make([]Suggestion, len(got.Suggestions)), make([][]any, len(got.Suggestions))
	for i, s := range got.Suggestions {
		items[i] = Suggestion{
			ID: store.NewID(), Kind: s.Kind, Quote: s.Quote, Replacement: s.Replacement, Reason: s.Reason, Source: s.Source, Status: Open,
		}
		rows[i] = []any{items[i].ID, documentID, got.Trace.ID, s.Kind, s.Quote, s.Replacement, s.Reason, store.Text(s.Source), Open, now.UnixMicro()}
	}
	err := tx.Insert(ctx, "suggestion", []string{
		"id", "document_id", "trace_id", "kind", "quote", "replacement", "reason", "source", "status", "created_at",
	}, rows)
	return items, err
}

// Accept puts a suggestion's replacement in the place of its quote, which makes a revision. match is
// optional: the version that was read. Where the quote does not stand there exactly once any more, the
// suggestion is stale from then on. fault.Forbidden, fault.NotFound, fault.Conflict (the document is
// final, the suggestion is not open or has become stale, in details.status), fault.PreconditionFailed,
// fault.Invalid (the document would be too long).
func (d *Documents) Accept(ctx context.Context, by audit.Principal, id, suggestionID string, match Match) (Document, error) {
	var doc Document
	var stale error
	err := d.decide(ctx, by, id, suggestionID, func(tx *store.Tx, locked Document, s *Suggestion) ([]audit.Event, error) {
		doc, stale = locked, nil
		if err := match.check(doc); err != nil {
			return nil, err
		}
		if assist.Occurrences(doc.Text.Content, s.Quote) != 1 {
			s.Status = Stale
			stale = fault.New(fault.Conflict, "the text that the suggestion is about is no longer there exactly once").With("status", Stale)
			e := suggestionEvent("document.suggestion.stale", doc, *s)
			e.Outcome = audit.Failure
			return []audit.Event{e}, nil
		}
		text := Text{Title: doc.Text.Title, Content: strings.Replace(doc.Text.Content, s.Quote, s.Replacement, 1)}
		if err := text.check(); err != nil {
			return nil, err
		}
		if err := revise(ctx, tx, &doc, text); err != nil {
			return nil, err
		}
		s.Status = Accepted
		return []audit.Event{suggestionEvent("document.suggestion.accepted", doc, *s), event("document.revised", doc)}, nil
	})
	if err == nil {
		err = stale
	}
	if err != nil {
		return Document{}, err
	}
	return doc, nil
}

// Dismiss turns a suggestion down. The reason, which may be empty, is kept with it and not in the audit
// log, since it may quote the text. fault.Forbidden, fault.NotFound, fault.Invalid, fault.Conflict (as
// for Accept).
func (d *Documents) Dismiss(ctx context.Context, by audit.Principal, id, suggestionID, reason string) (Suggestion, error) {
	if !utf8.ValidString(reason) || utf8.RuneCountInString(reason) > MaxDismissReason {
		return Suggestion{}, fault.New(fault.Invalid, "the reason is no text of at most %d characters", MaxDismissReason)
	}
	var dismissed Suggestion
	err := d.decide(ctx, by, id, suggestionID, func(tx *store.Tx, doc Document, s *Suggestion) ([]audit.Event, error) {
		s.Status = Dismissed
		dismissed = *s
		_, err := tx.Exec(ctx, `update suggestion set dismiss_reason = $2 where id = $1`, s.ID, store.Text(reason))
		if err != nil {
			return nil, fmt.Errorf("keep why the suggestion was dismissed: %w", err)
		}
		return []audit.Event{suggestionEvent("document.suggestion.dismissed", doc, *s)}, nil
	})
	if err != nil {
		return Suggestion{}, err
	}
	return dismissed, nil
}

// decide changes the state of an open suggestion to what fn sets it to, while its document is locked.
func (d *Documents) decide(ctx context.Context, by audit.Principal, id, suggestionID string,
	fn func(*store.Tx, Document, *Suggestion) ([]audit.Event, error),
) error {
	if err := d.enter(ctx, by); err != nil {
		return err
	}
	if err := d.own(ctx, by, id); err != nil {
		return err
	}
	return d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		doc, err := lock(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if doc.Final() {
			return nil, isFinal()
		}
		var s Suggestion
		err = tx.QueryRow(ctx, selectSuggestion+` where id = $1 and document_id = $2`, suggestionID, id).Scan(s.fields()...)
		switch {
		case store.NoRow(err):
			return nil, fault.New(fault.NotFound, "there is no such suggestion")
		case err != nil:
			return nil, fmt.Errorf("read the suggestion: %w", err)
		case s.Status != Open:
			return nil, fault.New(fault.Conflict, "the suggestion is no longer open: it is %s", s.Status).With("status", s.Status)
		}
		events, err := fn(tx, doc, &s)
		if err != nil {
			return nil, err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, `update suggestion set status = $2, decided_at = $3 where id = $1`, s.ID, s.Status, now.UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("update the suggestion: %w", err)
		}
		return events, nil
	})
}

// suggestionEvent tells what became of a suggestion, without any of its texts.
func suggestionEvent(action string, doc Document, s Suggestion) audit.Event {
	return audit.Event{Action: action, Entity: "Suggestion", EntityID: s.ID, Details: map[string]any{
		"documentId": doc.ID, "revision": doc.Revision, "kind": s.Kind, "status": s.Status,
	}}
}
