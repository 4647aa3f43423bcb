package document

import (
	"context"
	"fmt"

	"sealpost/assist"
	"sealpost/audit"
	"sealpost/store"
)

// Suggestions are what one call of AI suggested.
type Suggestions struct {
	Items         []Suggestion // at most 20
	Dropped       int          // how many more there were, which did not match the texts
	TraceID       string       // "" where there was no call yet
	PromptVersion string
}

const actRefreshed = "document.suggestions.refreshed"

// Refresh has AI suggest changes to a document. What was open before is stale from then on. source is
// what facts may be taken from; it may be empty. fault.Unavailable (AI is off, or failed),
// fault.Forbidden, fault.NotFound, fault.Conflict (the document is final), fault.Invalid,
// fault.TooLarge.
func (d *Documents) Refresh(ctx context.Context, by audit.Principal, id, source string) (Suggestions, error) {
	base, err := d.toAssist(ctx, by, id)
	if err != nil {
		return Suggestions{}, err
	}
	got, err := d.assist.Suggest(ctx, assist.SuggestRequest{Title: base.Text.Title, Content: base.Text.Content, Source: source})
	if err != nil {
		return Suggestions{}, d.keepFailed(ctx, by, actRefreshed, base, got.Trace, err)
	}
	var doc Document
	var items []Suggestion
	err = d.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		var err error
		if doc, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		if doc.Final() {
			return nil, isFinal()
		}
		if err := insertTrace(ctx, tx, by, base, got.Trace, true); err != nil {
			return nil, err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		stale, err := tx.Exec(ctx, `update suggestion set status = 'STALE', decided_at = $2 where document_id = $1 and status = 'OPEN'`,
			id, now.UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("end the open suggestions: %w", err)
		}
		if items, err = insertSuggestions(ctx, tx, id, got, now); err != nil {
			return nil, err
		}
		e := traced(actRefreshed, base, got.Trace)
		e.Details["suggestions"], e.Details["dropped"], e.Details["stale"] = len(items), got.Dropped, stale
		return []audit.Event{e}, nil
	})
	if err != nil {
		return Suggestions{}, d.keepFailed(ctx, by, actRefreshed, base, got.Trace, err)
	}
	show(doc, items)
	return Suggestions{Items: items, Dropped: got.Dropped, TraceID: got.Trace.ID, PromptVersion: got.Trace.PromptVersion}, nil
}

// ListSuggestions gives what AI suggested last, with what has become of it. Reading is as for Get.
// fault.Forbidden, fault.NotFound.
func (d *Documents) ListSuggestions(ctx context.Context, by audit.Principal, id string) (Suggestions, error) {
	doc, err := d.Get(ctx, by, id)
	if err != nil {
		return Suggestions{}, err
	}
	var list Suggestions
	err = d.log.Store().Read(ctx, func(tx *store.Tx) error {
		list = Suggestions{Items: []Suggestion{}}
		err := tx.QueryRow(ctx, `
			select id, prompt_version, dropped from ai_trace
			 where document_id = $1 and purpose = 'SUGGEST' and used
			 order by created_at desc, id desc limit 1`, id).Scan(&list.TraceID, &list.PromptVersion, &list.Dropped)
		if store.NoRow(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.Each(ctx, func(scan func(...any) error) error {
			var s Suggestion
			err := scan(s.fields()...)
			list.Items = append(list.Items, s)
			return err
		}, selectSuggestion+` where trace_id = $1 order by id`, list.TraceID)
	})
	if err != nil {
		return Suggestions{}, fmt.Errorf("list suggestions: %w", err)
	}
	show(doc, list.Items)
	return list, nil
}

// show marks as stale what is open and can no longer be accepted. The rows are left alone: a text that
// is changed back makes its suggestions good again.
func show(doc Document, items []Suggestion) {
	for i := range items {
		if s := &items[i]; s.Status == Open && (doc.Final() || assist.Occurrences(doc.Text.Content, s.Quote) != 1) {
			s.Status = Stale
		}
	}
}
