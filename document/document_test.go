package document

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestCreateReviseRead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc, err := d.Create(ctx, author, audit.Once{}, Text{"Minutes", "# One"})
		if err != nil {
			t.Fatal(err)
		}
		if doc.Revision != 1 || doc.AuthorID != author.UserID || doc.Status() != Draft || doc.ETag() != `"r1"` ||
			!store.ValidID(doc.ID) || doc.CreatedAt.IsZero() || !doc.CreatedAt.Equal(doc.RevisedAt) {
			t.Errorf("created %+v", doc)
		}
		if got, err := d.Get(ctx, author, doc.ID); err != nil || got != doc {
			t.Errorf("read back %+v, %v; created %+v", got, err, doc)
		}
		second, err := d.Update(ctx, author, doc.ID, match(t, doc.ETag()), Text{"Minutes 2", "# Two\u0001\u2028"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.Get(ctx, author, doc.ID); err != nil || got != second || got.Revision != 2 || got.ETag() != `"r2"` || got.Text.Title != "Minutes 2" {
			t.Errorf("read back %+v, %v; revised %+v", got, err, second)
		}
		same, err := d.Update(ctx, author, doc.ID, match(t, `"r2"`), second.Text)
		if err != nil || same != second {
			t.Errorf("saying the same made %+v, %v", same, err)
		}
		want := []string{"document.created SUCCESS", "document.revised SUCCESS"}
		if got := d.events(t, doc.ID); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("events %v, want %v", got, want)
		}
	})
}

func match(t *testing.T, header string) Match {
	t.Helper()
	m, err := ParseMatch(header)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestUpdateRefuses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		doc, final := d.draft(t, author), d.final(t, author)
		good := Text{"T", "c"}
		for _, tt := range []struct {
			name string
			by   audit.Principal
			id   string
			tag  string
			text Text
			want fault.Kind
		}{
			{"no version named", author, doc.ID, ``, good, fault.PreconditionRequired},
			{"a stale version", author, doc.ID, `"r0"`, good, fault.PreconditionFailed},
			{"a weak tag", author, doc.ID, `W/"r1"`, good, fault.PreconditionFailed},
			{"a bad text", author, doc.ID, `"r1"`, Text{}, fault.Invalid},
			{"a final document, at its version", author, final.ID, final.ETag(), good, fault.Conflict},
			{"a final document, stale", author, final.ID, `"r1"`, good, fault.Conflict},
			{"a final document, any version", author, final.ID, `*`, good, fault.Conflict},
			{"another's", person(audit.Author), doc.ID, `"r1"`, good, fault.NotFound},
			{"another's, as an admin", person(audit.Admin), doc.ID, `"r1"`, good, fault.NotFound},
			{"as an auditor", person(audit.Auditor), doc.ID, `"r1"`, good, fault.Forbidden},
			{"none", author, store.NewID(), `"r1"`, good, fault.NotFound},
			{"no id", author, "x", `"r1"`, good, fault.NotFound},
		} {
			t.Run(tt.name, func(t *testing.T) {
				_, err := d.Update(t.Context(), tt.by, tt.id, match(t, tt.tag), tt.text)
				wantFault(t, err, tt.want)
			})
		}
		for _, want := range []Document{doc, final} {
			if got, err := d.Get(t.Context(), author, want.ID); err != nil || got != want {
				t.Errorf("after the refusals it is %+v, %v; it was %+v", got, err, want)
			}
		}
	})
}

// Of writers who have read the same version, one gets through.
func TestRacingRevisions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		doc := d.draft(t, author)
		const writers = 12
		errs := make([]error, writers)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				_, errs[i] = d.Update(t.Context(), author, doc.ID, match(t, doc.ETag()), Text{"T", fmt.Sprint(i)})
			})
		}
		all.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Errorf("writers %d and %d both got through", winner, i)
			case err == nil:
				winner = i
			default:
				wantFault(t, err, fault.PreconditionFailed)
			}
		}
		got, err := d.Get(t.Context(), author, doc.ID)
		if err != nil || winner < 0 || got.Text.Content != fmt.Sprint(winner) || got.Revision != 2 {
			t.Errorf("writer %d won and the document is %+v, %v", winner, got, err)
		}
	})
}

func TestWhoReads(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc := d.draft(t, author)

		admin := person(audit.Admin)
		if got, err := d.Get(ctx, admin, doc.ID); err != nil || got != doc {
			t.Errorf("an admin reads %+v, %v", got, err)
		}
		if _, err := d.Revisions(ctx, admin, doc.ID, store.Page{Limit: 1}); err != nil {
			t.Error(err)
		}
		for _, by := range []audit.Principal{person(audit.Author), person(audit.Auditor)} {
			want := fault.NotFound
			if by.Role == audit.Auditor {
				want = fault.Forbidden
			}
			got, err := d.Get(ctx, by, doc.ID)
			wantFault(t, err, want)
			if strings.Contains(fmt.Sprint(err), "Minutes") {
				t.Errorf("the refusal tells the title: %v", err)
			}
			_ = got
			_, err = d.Revisions(ctx, by, doc.ID, store.Page{Limit: 1})
			wantFault(t, err, want)
		}
		for _, by := range []audit.Principal{author, admin, person(audit.Author)} {
			_, err := d.Get(ctx, by, store.NewID())
			wantFault(t, err, fault.NotFound)
		}
		want := []string{
			"document.created SUCCESS", "document.read_by_admin SUCCESS", "document.read_by_admin SUCCESS",
			"document.refused DENIED", "document.refused DENIED",
		}
		if got := d.events(t, doc.ID); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("events %v, want %v", got, want)
		}
		_, err := d.List(ctx, person(audit.Auditor), store.Page{Limit: 1})
		wantFault(t, err, fault.Forbidden)
		_, err = d.Create(ctx, person(audit.Auditor), audit.Once{}, Text{"T", ""})
		wantFault(t, err, fault.Forbidden)
	})
}

// Where the reading cannot be recorded, nothing is read.
func TestAdminsReadingFailsClosed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		doc := d.draft(t, person(audit.Author))
		execute(t, st, `alter table audit_pending rename to audit_pending_away`)
		if _, err := d.Get(t.Context(), person(audit.Admin), doc.ID); err == nil {
			t.Error("an admin has read a document without an event")
		}
	})
}

// execute changes the database behind the program's back.
func execute(t *testing.T, st *store.Store, statement string) {
	t.Helper()
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestList(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		d.draft(t, person(audit.Author)) // another's is not in it
		var want []string
		for range 5 {
			want = append([]string{d.draft(t, author).ID}, want...)
		}
		var got []string
		page := store.Page{Limit: 2}
		for n := 0; ; n++ {
			list, err := d.List(ctx, author, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, doc := range list.Items {
				got = append(got, doc.ID)
				if doc.Text.Content != "" || doc.Text.Title != "Minutes" {
					t.Errorf("listed with the text %+v", doc.Text)
				}
			}
			if page.After = list.Next; list.Next == "" || n > 5 {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("listed %v, want %v", got, want)
		}
		if list, err := d.List(ctx, person(audit.Admin), page); err != nil || len(list.Items) != 0 {
			t.Errorf("an admin without documents lists %v, %v", list, err)
		}
	})
}

func TestRevisions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc := d.draft(t, author)
		big := strings.Repeat("x", MaxContent)
		for n := 2; n <= 5; n++ {
			var err error
			doc, err = d.Update(ctx, author, doc.ID, match(t, doc.ETag()), Text{fmt.Sprintf("T%d", n), fmt.Sprint(n) + big[1:]})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			name string
			page store.Page
			want string
			next string
		}{
			{"a page ends when its texts are 2 MiB", store.Page{Limit: 10}, "5 4", "4"},
			{"and goes on", store.Page{Limit: 10, After: "4"}, "3 2 1", ""},
			{"a page has as many as it may", store.Page{Limit: 1}, "5", "5"},
			{"the last one", store.Page{Limit: 1, After: "2"}, "1", ""},
			{"nothing is left", store.Page{Limit: 1, After: "1"}, "", ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				list, err := d.Revisions(ctx, author, doc.ID, tt.page)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, r := range list.Items {
					got = append(got, fmt.Sprint(r.Number))
					if r.CreatedAt.IsZero() || (r.Number > 1 && (r.Text.Title != fmt.Sprintf("T%d", r.Number) || len(r.Text.Content) != MaxContent)) {
						t.Errorf("revision %d has the title %q and %d bytes", r.Number, r.Text.Title, len(r.Text.Content))
					}
				}
				if strings.Join(got, " ") != tt.want || list.Next != tt.next {
					t.Errorf("revisions %q and next %q, want %q and %q", strings.Join(got, " "), list.Next, tt.want, tt.next)
				}
			})
		}
		_, err := d.Revisions(ctx, author, doc.ID, store.Page{Limit: 1, After: "x"})
		wantFault(t, err, fault.BadRequest)
	})
}
