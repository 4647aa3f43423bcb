package document

import (
	"testing"
	"time"

	"sealpost/assist"
	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestAIActivity(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		since := time.Now().Add(-time.Minute)
		see := func(since time.Time, want AIActivity) {
			t.Helper()
			if got, err := d.AIActivity(t.Context(), since); err != nil || got != want {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		}
		see(since, AIActivity{})
		by := person(audit.Author)
		doc := d.draft(t, by)
		for _, trace := range []assist.Trace{
			{ID: store.NewID(), Purpose: assist.Suggesting, Outcome: assist.Complete, Dropped: 2},
			{ID: store.NewID(), Purpose: assist.Suggesting, Outcome: assist.Complete, Dropped: 1},
			{ID: store.NewID(), Purpose: assist.Composing, Outcome: assist.TimedOut},
			{ID: store.NewID(), Purpose: assist.Composing, Outcome: assist.Cut},
			{ID: store.NewID(), Purpose: assist.Composing, Outcome: assist.Withdrawn},
		} {
			err := d.log.Change(t.Context(), by, func(tx *store.Tx) ([]audit.Event, error) {
				return []audit.Event{traced("document.composed", doc, trace)}, insertTrace(t.Context(), tx, by, doc, trace, false)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		see(since, AIActivity{Calls: audit.Tally{N: 5}, Failed: 2, Dropped: 3})
		see(time.Now().Add(time.Minute), AIActivity{})
	})
}
