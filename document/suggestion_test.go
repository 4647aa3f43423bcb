package document

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"sealpost/assist"
	"sealpost/assist/assisttest"
	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

const talk = "# Minutes\n\nAll agreed. Nobody was against it. It was boring.\n"

// suggests is an answer with suggestions, and one more that matches nothing.
func suggests(list ...assist.Suggestion) assisttest.Turn {
	list = append(list, assist.Suggestion{Kind: assist.Clarity, Quote: "It was fun.", Replacement: "x", Reason: "y"})
	text, _ := json.Marshal(map[string]any{"suggestions": list})
	return assisttest.Says(string(text))
}

var (
	shorter  = assist.Suggestion{Kind: assist.Clarity, Quote: "Nobody was against it.", Replacement: "Nobody objected.", Reason: "Shorter."}
	gone     = assist.Suggestion{Kind: assist.Clarity, Quote: " It was boring.", Replacement: "", Reason: "Says nothing."}
	with     = assist.Suggestion{Kind: assist.Fact, Quote: "All agreed.", Replacement: "All 12 agreed.", Reason: "The list says.", Source: "12 present"}
	overlaps = assist.Suggestion{Kind: assist.Correction, Quote: "agreed. Nobody", Replacement: "agreed; nobody", Reason: "One sentence."}
)

// discussed makes a document about which AI has suggested something.
func (d *desk) discussed(t *testing.T, by audit.Principal, list ...assist.Suggestion) (Document, Suggestions) {
	t.Helper()
	doc, err := d.Create(t.Context(), by, audit.Once{}, Text{Title: "Minutes", Content: talk})
	if err != nil {
		t.Fatal(err)
	}
	d.assisted(t, suggests(list...))
	got, err := d.Refresh(t.Context(), by, doc.ID, "Those who were there: 12 present, 3 away.")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != len(list) {
		t.Fatalf("of %d suggestions %+v were taken", len(list), got)
	}
	return doc, got
}

func TestSuggestions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		empty := d.draft(t, author)
		if list, err := d.ListSuggestions(ctx, author, empty.ID); err != nil || list.Items == nil || len(list.Items) != 0 || list.PromptVersion != "" {
			t.Errorf("before any call: %+v, %v", list, err)
		}
		doc, got := d.discussed(t, author, shorter, with, gone)
		if got.Dropped != 1 || !strings.HasPrefix(got.PromptVersion, "suggest-") || !store.ValidID(got.TraceID) {
			t.Errorf("got %+v", got)
		}
		if s := got.Items[1]; s.Kind != assist.Fact || s.Quote != with.Quote || s.Replacement != with.Replacement || s.Reason != with.Reason ||
			s.Source != with.Source || s.Status != Open {
			t.Errorf("got %+v", s)
		}
		wantLast(t, d, doc.ID, "document.suggestions.refreshed SUCCESS")
		wantTraces(t, d, doc.ID, "SUGGEST COMPLETE true")

		// Accepting in another order than they are listed.
		doc, err := d.Accept(ctx, author, doc.ID, got.Items[2].ID, match(t, `"r1"`))
		if err != nil || doc.Revision != 2 || doc.Text.Content != "# Minutes\n\nAll agreed. Nobody was against it.\n" {
			t.Fatalf("accepted: %+v, %v", doc, err)
		}
		doc, err = d.Accept(ctx, author, doc.ID, got.Items[1].ID, Match{})
		if err != nil || doc.Text.Content != "# Minutes\n\nAll 12 agreed. Nobody was against it.\n" {
			t.Fatalf("accepted: %+v, %v", doc, err)
		}
		wantLast(t, d, got.Items[1].ID, "document.suggestion.accepted SUCCESS")
		wantLast(t, d, doc.ID, "document.revised SUCCESS", "document.revised SUCCESS")
		dismissed, err := d.Dismiss(ctx, author, doc.ID, got.Items[0].ID, "It is not boring.")
		if err != nil || dismissed.Status != Dismissed || dismissed.Quote != shorter.Quote {
			t.Errorf("dismissed: %+v, %v", dismissed, err)
		}
		wantLast(t, d, got.Items[0].ID, "document.suggestion.dismissed SUCCESS")

		list, err := d.ListSuggestions(ctx, author, doc.ID)
		if err != nil || len(list.Items) != 3 || list.TraceID != got.TraceID || list.PromptVersion != got.PromptVersion || list.Dropped != 1 {
			t.Fatalf("listed %+v, %v", list, err)
		}
		for i, want := range []string{Dismissed, Accepted, Accepted} {
			if list.Items[i].Status != want || list.Items[i].ID != got.Items[i].ID {
				t.Errorf("suggestion %d is %+v, want it %s", i, list.Items[i], want)
			}
		}
		for _, s := range list.Items {
			_, err := d.Accept(ctx, author, doc.ID, s.ID, Match{})
			wantFault(t, err, fault.Conflict)
			_, err = d.Dismiss(ctx, author, doc.ID, s.ID, "")
			wantFault(t, err, fault.Conflict)
		}
	})
}

func TestStale(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc, got := d.discussed(t, author, overlaps, shorter, gone)
		doc, err := d.Accept(ctx, author, doc.ID, got.Items[0].ID, Match{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := d.ListSuggestions(ctx, author, doc.ID)
		if err != nil || list.Items[1].Status != Stale || list.Items[2].Status != Open {
			t.Errorf("listed %+v, %v", list, err)
		}
		_, err = d.Accept(ctx, author, doc.ID, got.Items[1].ID, match(t, `"r1"`))
		wantFault(t, err, fault.PreconditionFailed)
		_, err = d.Accept(ctx, author, doc.ID, got.Items[1].ID, Match{})
		wantFault(t, err, fault.Conflict)
		wantLast(t, d, got.Items[1].ID, "document.suggestion.stale FAILURE")
		if now, err := d.Get(ctx, author, doc.ID); err != nil || now != doc {
			t.Errorf("the document is %+v, %v", now, err)
		}

		// Stale for good, even where the text comes back; the other one opens and closes with it.
		if doc, err = d.Update(ctx, author, doc.ID, match(t, "*"), Text{"Minutes", talk + talk}); err != nil {
			t.Fatal(err)
		}
		if list, err = d.ListSuggestions(ctx, author, doc.ID); err != nil || list.Items[2].Status != Stale {
			t.Errorf("where the quote is there twice: %+v, %v", list, err)
		}
		if _, err = d.Update(ctx, author, doc.ID, match(t, "*"), Text{"Minutes", talk}); err != nil {
			t.Fatal(err)
		}
		list, err = d.ListSuggestions(ctx, author, doc.ID)
		if err != nil || list.Items[1].Status != Stale || list.Items[2].Status != Open {
			t.Errorf("where it is back: %+v, %v", list, err)
		}

		d.assisted(t, suggests(shorter))
		newer, err := d.Refresh(ctx, author, doc.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Accept(ctx, author, doc.ID, got.Items[2].ID, Match{})
		wantFault(t, err, fault.Conflict)
		if list, err = d.ListSuggestions(ctx, author, doc.ID); err != nil || len(list.Items) != 1 || list.Items[0].ID != newer.Items[0].ID {
			t.Errorf("listed %+v, %v", list, err)
		}

		// A call that fails changes nothing of what there is.
		d.assisted(t, assisttest.Says("Nothing to say."))
		_, err = d.Refresh(ctx, author, doc.ID, "")
		wantFault(t, err, fault.Unavailable)
		wantLast(t, d, doc.ID, "document.suggestions.refreshed FAILURE")
		if list, err = d.ListSuggestions(ctx, author, doc.ID); err != nil || len(list.Items) != 1 || list.Items[0].Status != Open {
			t.Errorf("listed %+v, %v", list, err)
		}
	})
}

func TestSuggestionsOfAFinalDocument(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc, got := d.discussed(t, author, shorter)
		d.assisted(t, func(w http.ResponseWriter, r *http.Request) {
			d.sealed(t, author, doc.ID)
			suggests(gone)(w, r)
		})
		_, err := d.Refresh(ctx, author, doc.ID, "")
		wantFault(t, err, fault.Conflict)
		wantTraces(t, d, doc.ID, "SUGGEST COMPLETE true", "SUGGEST COMPLETE false")
		_, err = d.Accept(ctx, author, doc.ID, got.Items[0].ID, Match{})
		wantFault(t, err, fault.Conflict)
		_, err = d.Dismiss(ctx, author, doc.ID, got.Items[0].ID, "")
		wantFault(t, err, fault.Conflict)
		list, err := d.ListSuggestions(ctx, author, doc.ID)
		if err != nil || len(list.Items) != 1 || list.Items[0].ID != got.Items[0].ID || list.Items[0].Status != Stale {
			t.Errorf("listed %+v, %v", list, err)
		}
	})
}

func TestDecideRefuses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc, got := d.discussed(t, author, shorter)
		other := d.draft(t, author)
		for _, tt := range []struct {
			name   string
			by     audit.Principal
			doc, s string
			kind   fault.Kind
		}{
			{"another author", person(audit.Author), doc.ID, got.Items[0].ID, fault.NotFound},
			{"an admin", person(audit.Admin), doc.ID, got.Items[0].ID, fault.NotFound},
			{"an auditor", person(audit.Auditor), doc.ID, got.Items[0].ID, fault.Forbidden},
			{"of another document", author, other.ID, got.Items[0].ID, fault.NotFound},
			{"no such suggestion", author, doc.ID, store.NewID(), fault.NotFound},
		} {
			t.Run(tt.name, func(t *testing.T) {
				_, err := d.Accept(ctx, tt.by, tt.doc, tt.s, Match{})
				wantFault(t, err, tt.kind)
				_, err = d.Dismiss(ctx, tt.by, tt.doc, tt.s, "")
				wantFault(t, err, tt.kind)
			})
		}
		_, err := d.Dismiss(ctx, author, doc.ID, got.Items[0].ID, strings.Repeat("é", 1001))
		wantFault(t, err, fault.Invalid)
		_, err = d.ListSuggestions(ctx, person(audit.Author), doc.ID)
		wantFault(t, err, fault.NotFound)
		_, err = d.ListSuggestions(ctx, person(audit.Auditor), doc.ID)
		wantFault(t, err, fault.Forbidden)
		if list, err := d.ListSuggestions(ctx, person(audit.Admin), doc.ID); err != nil || len(list.Items) != 1 {
			t.Errorf("an admin reads %+v, %v", list, err)
		}
		wantLast(t, d, doc.ID, "document.read_by_admin SUCCESS")

		long, err := d.Update(ctx, author, doc.ID, match(t, "*"), Text{"Minutes", "Ann." + strings.Repeat("x", MaxContent-4)})
		if err != nil {
			t.Fatal(err)
		}
		d.reword(t, long.ID, "Ann.", "Anna.")
		_, err = d.Accept(ctx, author, doc.ID, got.Items[0].ID, Match{})
		wantFault(t, err, fault.Invalid)
		if s, err := d.Dismiss(ctx, author, doc.ID, got.Items[0].ID, strings.Repeat("é", 1000)); err != nil || s.Status != Dismissed {
			t.Errorf("what could not be accepted is no longer open: %+v, %v", s, err)
		}
	})
}

// reword makes a document's suggestions ones about another quote, such as only a text has that is too
// long for AI.
func (d *desk) reword(t *testing.T, id, quote, replacement string) {
	t.Helper()
	err := d.st.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `update suggestion set quote = $2, replacement = $3 where document_id = $1`, id, quote, replacement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAcceptInARace has two windows accept one suggestion at once: it is put in once.
func TestAcceptInARace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		doc, got := d.discussed(t, author, shorter)
		errs := make(chan error, 8)
		for range 8 {
			go func() {
				_, err := d.Accept(t.Context(), author, doc.ID, got.Items[0].ID, Match{})
				errs <- err
			}()
		}
		won := 0
		for range 8 {
			err := <-errs
			if err == nil {
				won++
				continue
			}
			wantFault(t, err, fault.Conflict)
		}
		now, err := d.Get(t.Context(), author, doc.ID)
		if err != nil || won != 1 || now.Revision != 2 || strings.Count(now.Text.Content, "Nobody objected.") != 1 {
			t.Errorf("%d won; the document is %+v, %v", won, now, err)
		}
	})
}
