package document

import (
	"slices"
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

		minute := time.Now().UTC().Truncate(time.Minute)
		err := d.st.Write(t.Context(), func(tx *store.Tx) error { // as if the first two had been made an hour ago
			_, err := tx.Exec(t.Context(), `
				update ai_trace set id = $1 || substr(id, 14), created_at = $2
				 where id in (select id from ai_trace order by id limit 2)`, audit.FirstID(minute.Add(-time.Hour))[:13], minute.Add(-time.Hour).UnixMicro())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		trend, atLeast, err := d.AITrend(t.Context(), audit.Buckets{From: minute.Add(-time.Hour), Each: time.Hour, N: 3})
		want := []AIActivity{{Calls: audit.Tally{N: 2}, Dropped: 3}, {Calls: audit.Tally{N: 3}, Failed: 2}, {}}
		if err != nil || atLeast || !slices.Equal(trend, want) {
			t.Errorf("over time: %+v, %v, %v, want %+v", trend, atLeast, err, want)
		}
	})
}
