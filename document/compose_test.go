package document

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"sealpost/assist"
	"sealpost/assist/assisttest"
	"sealpost/assist/fakeprovider"
	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

var ask = Composition{Instructions: "Say that Ann was there.", Source: "Ann was there."}

func TestCompose(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc := d.draft(t, author)
		_, err := d.Compose(ctx, author, doc.ID, ask, nil)
		wantFault(t, err, fault.Unavailable)
		if err.Error() != "AI is not enabled" {
			t.Errorf("it says %q", err)
		}
		wantTraces(t, d, doc.ID)

		s := d.assisted(t, assisttest.Says("# All agreed\n", "\nAnn too.\n"), assisttest.Says("# All agreed\n\nAnn too.\n"))
		var preview strings.Builder
		got, err := d.Compose(ctx, author, doc.ID, ask, func(text string) error {
			preview.WriteString(text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := Text{Title: "Minutes", Content: "# All agreed\n\nAnn too.\n"}
		if got.Revision.Number != 2 || got.Revision.Text != want || got.ETag != `"r2"` || preview.String() != want.Content || got.Revision.CreatedAt.IsZero() {
			t.Errorf("got %+v, preview %q", got, preview.String())
		}
		if !store.ValidID(got.TraceID) || !strings.HasPrefix(got.PromptVersion, "compose-") {
			t.Errorf("got %+v", got)
		}
		if now, err := d.Get(ctx, author, doc.ID); err != nil || now.Text != want || now.Revision != 2 {
			t.Errorf("the document is %+v, %v", now, err)
		}
		sent := s.Requests()[0].Messages[1].Content
		for _, part := range []string{"Minutes", "# All agreed\n", ask.Instructions, ask.Source} {
			if !strings.Contains(sent, part) {
				t.Errorf("%q was not sent", part)
			}
		}
		wantTraces(t, d, doc.ID, "COMPOSE COMPLETE true")
		wantLast(t, d, doc.ID, "document.composed SUCCESS")

		again, err := d.Compose(ctx, author, doc.ID, ask, nil)
		if err != nil || again.Revision.Number != 2 || again.TraceID == got.TraceID || !again.Revision.CreatedAt.Equal(got.Revision.CreatedAt) {
			t.Errorf("a text that changes nothing made %+v, %v", again, err)
		}
		wantTraces(t, d, doc.ID, "COMPOSE COMPLETE true", "COMPOSE COMPLETE true")
	})
}

// TestTraceRow reads back what is kept of a call, and finds the texts' hashes by its salt.
func TestTraceRow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		doc := d.draft(t, author)
		s := d.assisted(t, assisttest.Says("Ann."))
		got, err := d.Compose(t.Context(), author, doc.ID, ask, nil)
		if err != nil {
			t.Fatal(err)
		}
		var user, version, model, finish string
		var revision, in, out, latency, retried int64
		var salt, sent, received []byte
		err = st.Read(t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(t.Context(), `
				select user_id, revision, prompt_version, model, finish_reason, input_tokens, output_tokens, latency_micros, retried,
				       salt, sent_hash, received_hash from ai_trace where id = $1`, got.TraceID).
				Scan(&user, &revision, &version, &model, &finish, &in, &out, &latency, &retried, &salt, &sent, &received)
		})
		if err != nil {
			t.Fatal(err)
		}
		if user != author.UserID || revision != 1 || version != got.PromptVersion || model != assisttest.Model || finish != "stop" ||
			in != 100 || out != 50 || latency <= 0 || retried != 0 {
			t.Errorf("kept %s %d %s %s %s %d %d %d %d", user, revision, version, model, finish, in, out, latency, retried)
		}
		m := s.Requests()[0].Messages
		wantSent, wantReceived := assist.Hash(salt, m[0].Content, m[1].Content), assist.Hash(salt, "Ann.")
		if hex.EncodeToString(sent) != hex.EncodeToString(wantSent[:]) || hex.EncodeToString(received) != hex.EncodeToString(wantReceived[:]) {
			t.Errorf("the hashes %x and %x are not those of the texts", sent, received)
		}
	})
}

// TestComposeComesToNothing has calls that fail or are left: the document is as it was, and the call
// is recorded.
func TestComposeComesToNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		for _, tt := range []struct {
			name   string
			turn   assisttest.Turn
			leaves bool
			kind   fault.Kind
			trace  string
		}{
			{"it breaks", assisttest.Breaks("Half"), false, fault.Unavailable, "COMPOSE UNREACHABLE false"},
			{"it is refused", assisttest.Refuses(401, ""), false, fault.Unavailable, "COMPOSE REFUSED false"},
			{"the caller goes", assisttest.Hangs("Half"), true, fault.Internal, "COMPOSE WITHDRAWN false"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				s := d.assisted(t, tt.turn)
				doc := d.draft(t, author)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				got, err := d.Compose(ctx, author, doc.ID, ask, func(string) error {
					if tt.leaves {
						cancel()
					}
					return nil
				})
				wantFault(t, err, tt.kind)
				if tt.leaves {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("the error is %v", err)
					}
					s.Left(t)
				}
				if got != (Composed{}) {
					t.Errorf("got %+v", got)
				}
				if now, err := d.Get(t.Context(), author, doc.ID); err != nil || now != doc {
					t.Errorf("the document is %+v, %v", now, err)
				}
				wantTraces(t, d, doc.ID, tt.trace)
				wantLast(t, d, doc.ID, "document.composed FAILURE")
			})
		}
	})
}

// TestComposeTooLate changes the document while AI writes: nothing of either is lost.
func TestComposeTooLate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		for _, tt := range []struct {
			name   string
			change func(t *testing.T, doc Document)
			kind   fault.Kind
			etag   string
		}{
			{"revised", func(t *testing.T, doc Document) {
				t.Helper()
				if _, err := d.Update(t.Context(), author, doc.ID, match(t, "*"), Text{"Minutes", "Mine"}); err != nil {
					t.Error(err)
				}
			}, fault.PreconditionFailed, `"r2"`},
			{"finalized", func(t *testing.T, doc Document) { t.Helper(); d.sealed(t, author, doc.ID) }, fault.Conflict, `"r1-final"`},
		} {
			t.Run(tt.name, func(t *testing.T) {
				doc := d.draft(t, author)
				d.assisted(t, func(w http.ResponseWriter, _ *http.Request) {
					tt.change(t, doc)
					s := fakeprovider.NewStream(w, assisttest.Model)
					_ = s.Delta("Ann wrote this.")
					_ = s.Finish("stop")
					_ = s.Done()
				})
				_, err := d.Compose(t.Context(), author, doc.ID, ask, nil)
				wantFault(t, err, tt.kind)
				f, _ := errors.AsType[*fault.Error](err)
				if f.Details["content"] != "Ann wrote this." || f.Details["etag"] != tt.etag || f.Details["traceId"] == "" {
					t.Errorf("the details are %v", f.Details)
				}
				now, err := d.Get(t.Context(), author, doc.ID)
				if err != nil || now.ETag() != tt.etag || strings.Contains(now.Text.Content, "Ann") {
					t.Errorf("the document is %+v, %v", now, err)
				}
				wantTraces(t, d, doc.ID, "COMPOSE COMPLETE false")
				wantLast(t, d, doc.ID, "document.composed FAILURE")
			})
		}
	})
}

func TestWhoMayAskAI(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		d.assisted(t) // nothing is asked
		author := person(audit.Author)
		doc, final := d.draft(t, author), d.final(t, author)
		service := person(audit.Author)
		service.Kind = audit.Service
		for _, tt := range []struct {
			name string
			by   audit.Principal
			id   string
			c    Composition
			kind fault.Kind
		}{
			{"another author", person(audit.Author), doc.ID, ask, fault.NotFound},
			{"an admin", person(audit.Admin), doc.ID, ask, fault.NotFound},
			{"an auditor", person(audit.Auditor), doc.ID, ask, fault.Forbidden},
			{"an API key", service, doc.ID, ask, fault.Forbidden},
			{"no such document", author, store.NewID(), ask, fault.NotFound},
			{"a final one", author, final.ID, ask, fault.Conflict},
			{"another version", author, doc.ID, Composition{Instructions: "x", Match: match(t, `"r7"`)}, fault.PreconditionFailed},
			{"no instructions", author, doc.ID, Composition{}, fault.Invalid},
			{"too much", author, doc.ID, Composition{Instructions: "x", Source: strings.Repeat("x", assist.MaxInput)}, fault.TooLarge},
		} {
			t.Run(tt.name, func(t *testing.T) {
				_, err := d.Compose(t.Context(), tt.by, tt.id, tt.c, nil)
				wantFault(t, err, tt.kind)
				if tt.c.Instructions == "" || tt.kind == fault.PreconditionFailed {
					return
				}
				_, err = d.Refresh(t.Context(), tt.by, tt.id, tt.c.Source)
				wantFault(t, err, tt.kind)
			})
		}
		if n := d.count(t, "ai_trace"); n != 0 {
			t.Errorf("%d calls were made", n)
		}
	})
}

// TestTwoAtOnce has AI write two revisions of one document at once: one is kept, the other given back.
func TestTwoAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		doc := d.draft(t, author)
		both := make(chan struct{}, 2)
		turn := func(w http.ResponseWriter, _ *http.Request) {
			both <- struct{}{}
			for len(both) < 2 {
				time.Sleep(time.Millisecond)
			}
			assisttest.Says("A new text.")(w, nil)
		}
		d.assisted(t, turn, turn)
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := d.Compose(t.Context(), author, doc.ID, ask, nil)
				errs <- err
			}()
		}
		var won, lost int
		for range 2 {
			switch err := <-errs; {
			case err == nil:
				won++
			case fault.Is(err, fault.PreconditionFailed):
				lost++
			default:
				t.Error(err)
			}
		}
		if won != 1 || lost != 1 {
			t.Errorf("%d won and %d lost", won, lost)
		}
	})
}
