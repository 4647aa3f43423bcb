package document

import (
	"fmt"
	"sync"
	"testing"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func once(by audit.Principal, route, key, body string) audit.Once {
	return audit.Once{Caller: by.UserID, Route: route, Key: key, Body: []byte(body)}
}

// The same key and body make one document, whatever has become of it, and the first answer.
func TestCreateOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		text := Text{"T", "c"}
		first, err := d.Create(ctx, author, once(author, "r", "k", "b"), text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Update(ctx, author, first.ID, match(t, `"r1"`), Text{"T2", "c2"}); err != nil {
			t.Fatal(err)
		}
		again, err := d.Create(ctx, author, once(author, "r", "k", "b"), text)
		if err != nil || again != first {
			t.Errorf("the second answer is %+v, %v; the first was %+v", again, err, first)
		}
		_, err = d.Create(ctx, author, once(author, "r", "k", "other"), text)
		wantFault(t, err, fault.Conflict)
		if n := d.count(t, "document"); n != 1 {
			t.Errorf("there are %d documents", n)
		}
		other := person(audit.Author)
		if doc, err := d.Create(ctx, other, once(other, "r", "k", "b"), text); err != nil || doc.ID == first.ID {
			t.Errorf("another's request with the same key got %+v, %v", doc, err)
		}
	})
}

func TestRacingRequestsWithOneKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		const clients = 12
		ids := make([]string, clients)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				doc, err := d.Create(t.Context(), author, once(author, "r", "k", "b"), Text{"T", "c"})
				if err != nil {
					t.Error(err)
				}
				ids[i] = doc.ID
			})
		}
		all.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("the answers name several documents: %v", ids)
			}
		}
		if n := d.count(t, "document"); n != 1 {
			t.Errorf("there are %d documents", n)
		}
	})
}

func TestFinalizeAndDispatchOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc := d.draft(t, author)
		f := Finalization{Attest: true, EndpointIDs: []string{d.endpoint(t), d.endpoint(t)}}
		first, err := d.Finalize(ctx, author, once(author, "f", "k", "b"), doc.ID, f)
		if err != nil {
			t.Fatal(err)
		}
		again, err := d.Finalize(ctx, author, once(author, "f", "k", "b"), doc.ID, f)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(first) || len(again.Dispatch) != 2 {
			t.Errorf("the second answer is %+v, %v; the first was %+v", again, err, first)
		}
		_, err = d.Finalize(ctx, author, audit.Once{}, doc.ID, f)
		wantFault(t, err, fault.Conflict)
		more := []string{d.endpoint(t)}
		sent, err := d.Dispatch(ctx, author, once(author, "d", "k", "b"), doc.ID, more)
		if err != nil {
			t.Fatal(err)
		}
		sentAgain, err := d.Dispatch(ctx, author, once(author, "d", "k", "b"), doc.ID, more)
		if err != nil || fmt.Sprint(sentAgain) != fmt.Sprint(sent) {
			t.Errorf("the second answer is %v, %v; the first was %v", sentAgain, err, sent)
		}
		_, err = d.Dispatch(ctx, author, audit.Once{}, doc.ID, more)
		wantFault(t, err, fault.Conflict)
		if n := d.count(t, "dispatch_job"); n != 3 {
			t.Errorf("there are %d jobs", n)
		}
	})
}
