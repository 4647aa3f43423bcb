package document

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestFinalize(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc := d.draft(t, author)
		endpoints := []string{d.endpoint(t), d.endpoint(t)}
		sealed, err := d.Finalize(ctx, author, audit.Once{}, doc.ID, Finalization{Attest: true, EndpointIDs: endpoints})
		if err != nil {
			t.Fatal(err)
		}
		final, err := d.Get(ctx, author, doc.ID)
		if err != nil {
			t.Fatal(err)
		}
		if final.Status() != Finalized || final.ContentHash != sealed.ContentHash || final.Text != doc.Text || final.Revision != 1 || final.ETag() != `"r1-final"` {
			t.Errorf("the final document is %+v", final)
		}

		var s Seal
		if err := st.Read(ctx, func(tx *store.Tx) (err error) {
			s, err = findSeal(ctx, tx, doc.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(s.Canonical)
		if sealed.ContentHash != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Errorf("the hash %s is not of the canonical bytes", sealed.ContentHash)
		}
		key := d.set.Audit.Current()
		want := ed25519.NewKeyFromSeed(key.Derive(keys.DocumentSeal)).Public().(ed25519.PublicKey)
		if !s.PublicKey.Equal(want) || s.KeyID != key.ID || !ed25519.Verify(want, s.Canonical, s.Signature) {
			t.Error("the seal does not hold")
		}

		if strings.Contains(string(s.Canonical), `"salt":"AAAAAAAAAAAAAAAAAAAAAA=="`) {
			t.Error("the salt is not random")
		}
		if record := dump(t, st, `"AuditLog"`); strings.Contains(record, doc.Text.Title) || strings.Contains(record, "agreed") {
			t.Error("the audit log has the document's text")
		}
		if len(sealed.Dispatch) != 2 {
			t.Fatalf("%d jobs for 2 endpoints", len(sealed.Dispatch))
		}
		for i, sent := range sealed.Dispatch {
			job, err := d.dispatch.Get(ctx, author, sent.ID)
			if err != nil {
				t.Fatal(err)
			}
			if job.DocumentID != doc.ID || job.EndpointID != endpoints[i] || sent.Status != "PENDING" || job.ContentType != "application/json" {
				t.Errorf("job %d is %+v", i, job)
			}
		}
		want3 := []string{"document.created SUCCESS", "document.finalized SUCCESS"}
		if got := d.events(t, doc.ID); fmt.Sprint(got) != fmt.Sprint(want3) {
			t.Errorf("events %v, want %v", got, want3)
		}
		if got := d.events(t, sealed.Dispatch[0].ID); fmt.Sprint(got) != "[dispatch.job.accepted SUCCESS]" {
			t.Errorf("a job's events are %v", got)
		}
	})
}

// The message is JSON in which the canonical document stands byte by byte.
func TestMessage(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := Canonical{ID: "d", AuthorID: "a", AuthorEmail: "e", Revision: 1, Text: Text{"<T>\u2028", "c\x01"}, CreatedAt: at, FinalizedAt: at}
	canonical, err := c.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s := seal(keys.NewKey("0123456789abcdef", make([]byte, 32)), canonical)
	var m struct {
		Type, Timestamp string
		Data            struct {
			ContentHash string
			Document    json.RawMessage
			Seal        struct {
				Algorithm, KeyID     string
				PublicKey, Signature []byte
			}
		}
	}
	if err := json.Unmarshal(s.message(at), &m); err != nil {
		t.Fatal(err)
	}
	if m.Type != "document.finalized" || m.Timestamp != "2026-01-02T03:04:05.000000Z" || m.Data.ContentHash != s.ContentHash {
		t.Errorf("the message is %s", s.message(at))
	}
	if string(m.Data.Document) != string(canonical) {
		t.Errorf("the document in it is\n%s\nnot\n%s", m.Data.Document, canonical)
	}
	if v := m.Data.Seal; v.Algorithm != "Ed25519" || v.KeyID != "0123456789abcdef" || !ed25519.Verify(v.PublicKey, canonical, v.Signature) {
		t.Errorf("the seal in it is %+v", v)
	}
	changed := append([]byte(nil), canonical...)
	changed[len(changed)-3] ^= 1
	if ed25519.Verify(m.Data.Seal.PublicKey, changed, m.Data.Seal.Signature) {
		t.Error("the seal holds for another document")
	}
}

func TestFinalizeRefuses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		doc, final := d.draft(t, author), d.final(t, author)
		there, unknown := d.endpoint(t), store.NewID()
		many := make([]string, MaxReceivers+1)
		for i := range many {
			many[i] = store.NewID()
		}
		for _, tt := range []struct {
			name string
			by   audit.Principal
			id   string
			f    Finalization
			want fault.Kind
		}{
			{"no attestation", author, doc.ID, Finalization{EndpointIDs: []string{there}}, fault.Invalid},
			{"no receiver", author, doc.ID, Finalization{Attest: true}, fault.Invalid},
			{"65 receivers", author, doc.ID, Finalization{Attest: true, EndpointIDs: many}, fault.Invalid},
			{"one twice", author, doc.ID, Finalization{Attest: true, EndpointIDs: []string{there, there}}, fault.Invalid},
			{"no id", author, doc.ID, Finalization{Attest: true, EndpointIDs: []string{"x"}}, fault.Invalid},
			{"an unknown one", author, doc.ID, Finalization{Attest: true, EndpointIDs: []string{there, unknown}}, fault.Invalid},
			{"another version", author, doc.ID, Finalization{Attest: true, EndpointIDs: []string{there}, Match: match(t, `"r2"`)}, fault.PreconditionFailed},
			{"a final one", author, final.ID, Finalization{Attest: true, EndpointIDs: []string{there}}, fault.Conflict},
			{"another's", person(audit.Author), doc.ID, Finalization{Attest: true, EndpointIDs: []string{there}}, fault.NotFound},
			{"another's, as an admin", person(audit.Admin), doc.ID, Finalization{Attest: true, EndpointIDs: []string{there}}, fault.NotFound},
			{"as an auditor", person(audit.Auditor), doc.ID, Finalization{Attest: true, EndpointIDs: []string{there}}, fault.Forbidden},
			{"none", author, store.NewID(), Finalization{Attest: true, EndpointIDs: []string{there}}, fault.NotFound},
		} {
			t.Run(tt.name, func(t *testing.T) {
				before := d.count(t, "dispatch_job")
				_, err := d.Finalize(t.Context(), tt.by, audit.Once{}, tt.id, tt.f)
				wantFault(t, err, tt.want)
				if tt.name == "an unknown one" && !strings.Contains(fmt.Sprint(err), unknown) {
					t.Errorf("the refusal does not name it: %v", err)
				}
				if after := d.count(t, "dispatch_job"); after != before {
					t.Errorf("%d jobs have been made", after-before)
				}
			})
		}
		if got, err := d.Get(t.Context(), author, doc.ID); err != nil || got != doc {
			t.Errorf("after the refusals it is %+v, %v", got, err)
		}
		_, err := d.Dispatch(t.Context(), author, audit.Once{}, doc.ID, []string{there})
		wantFault(t, err, fault.Conflict) // a draft
		_, err = d.Dispatch(t.Context(), person(audit.Admin), audit.Once{}, final.ID, []string{there})
		wantFault(t, err, fault.NotFound)
		_, err = d.Dispatch(t.Context(), author, audit.Once{}, final.ID, nil)
		wantFault(t, err, fault.Invalid)
		_, err = d.Dispatch(t.Context(), author, audit.Once{}, final.ID, []string{there, unknown})
		wantFault(t, err, fault.Invalid)
	})
}

// The edges of what a request may name and a document may be.
func TestFinalizeAtTheLimits(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		// Every byte of it is six in JSON: the largest message there can be.
		doc, err := d.Create(ctx, author, audit.Once{}, Text{strings.Repeat("\u00e9", MaxTitle), strings.Repeat("\x01", MaxContent)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Finalize(ctx, author, audit.Once{}, doc.ID, Finalization{Attest: true, EndpointIDs: []string{d.endpoint(t)}}); err != nil {
			t.Errorf("the largest document: %v", err)
		}
		endpoints := make([]string, MaxReceivers)
		for i := range endpoints {
			endpoints[i] = d.endpoint(t)
		}
		sealed, err := d.Finalize(ctx, author, audit.Once{}, d.draft(t, author).ID, Finalization{Attest: true, EndpointIDs: endpoints})
		if err != nil || len(sealed.Dispatch) != MaxReceivers {
			t.Errorf("%d receivers: %d jobs, %v", MaxReceivers, len(sealed.Dispatch), err)
		}
	})
}

// Of those who finalize at once one wins, and its jobs are the only ones.
func TestRacingFinalizations(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		author := person(audit.Author)
		doc, endpoint := d.draft(t, author), d.endpoint(t)
		const racers = 12
		errs := make([]error, racers)
		hashes := make([]string, racers)
		var all sync.WaitGroup
		for i := range racers {
			all.Go(func() {
				sealed, err := d.Finalize(t.Context(), author, audit.Once{}, doc.ID, Finalization{Attest: true, EndpointIDs: []string{endpoint}})
				errs[i], hashes[i] = err, sealed.ContentHash
			})
			if i%4 == 0 { // and somebody revises meanwhile
				all.Go(func() {
					_, err := d.Update(t.Context(), author, doc.ID, match(t, "*"), Text{"T", fmt.Sprint(i)})
					if err != nil && !fault.Is(err, fault.Conflict) {
						t.Errorf("a revision meanwhile: %v", err)
					}
				})
			}
		}
		all.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Errorf("%d and %d both finalized it", winner, i)
			case err == nil:
				winner = i
			default:
				wantFault(t, err, fault.Conflict)
			}
		}
		if winner < 0 {
			t.Fatal("nobody finalized it")
		}
		final, err := d.Get(t.Context(), author, doc.ID)
		if err != nil || final.ContentHash != hashes[winner] {
			t.Errorf("the document is %+v, %v; the winner's hash is %s", final, err, hashes[winner])
		}
		if n := d.count(t, "dispatch_job"); n != 1 {
			t.Errorf("there are %d jobs", n)
		}
		if got := d.events(t, doc.ID); got[len(got)-1] != "document.finalized SUCCESS" {
			t.Errorf("the last event is %v", got[len(got)-1])
		}
	})
}

// Where the jobs cannot be stored, the document is not final and nothing says that it is.
func TestFinalizeIsWhole(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		doc := d.draft(t, author)
		f := Finalization{Attest: true, EndpointIDs: []string{d.endpoint(t)}}
		for _, table := range []string{"dispatch_payload", "document_dispatch", "audit_pending"} {
			before := dump(t, st)
			execute(t, st, `alter table `+table+` rename to away`)
			if _, err := d.Finalize(ctx, author, once(author, "f", table, "b"), doc.ID, f); err == nil || fault.Of(err) != fault.Internal {
				t.Errorf("without %s it answered %v", table, err)
			}
			execute(t, st, `alter table away rename to `+table)
			if after := dump(t, st); after != before {
				t.Errorf("without %s something has been stored:\n%s\nbefore:\n%s", table, after, before)
			}
		}
		if got, err := d.Get(ctx, author, doc.ID); err != nil || got != doc {
			t.Errorf("it is %+v, %v", got, err)
		}
		if _, err := d.Finalize(ctx, author, audit.Once{}, doc.ID, f); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// A final document never changes, whatever is tried.
func TestFinalStaysAsItIs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		final := d.final(t, author)
		before := dump(t, st, "document", "document_revision", "document_seal")
		for _, by := range []audit.Principal{author, person(audit.Author), person(audit.Admin), person(audit.Auditor)} {
			for _, tag := range []string{`*`, final.ETag(), `"r1"`} {
				if _, err := d.Update(ctx, by, final.ID, match(t, tag), Text{"other", "other"}); err == nil {
					t.Errorf("%s revised it with %s", by.Role, tag)
				}
			}
			_, err := d.Finalize(ctx, by, audit.Once{}, final.ID, Finalization{Attest: true, EndpointIDs: []string{d.endpoint(t)}})
			if err == nil {
				t.Errorf("%s finalized it again", by.Role)
			}
		}
		if _, err := d.Dispatch(ctx, author, audit.Once{}, final.ID, []string{d.endpoint(t)}); err != nil {
			t.Errorf("sending it to one more: %v", err)
		}
		// Another audit key: what was sealed is not sealed again.
		old := d.set.Audit.Current()
		d.set.Audit.Replace(keys.NewKey(keys.NewID(), []byte("another key of thirty-two bytes!")), old)
		if _, err := d.Dispatch(ctx, author, audit.Once{}, final.ID, []string{d.endpoint(t)}); err != nil {
			t.Errorf("sending it after a rotation: %v", err)
		}
		if after := dump(t, st, "document", "document_revision", "document_seal"); after != before {
			t.Errorf("it is now\n%s\nit was\n%s", after, before)
		}
		if got, err := d.Get(ctx, author, final.ID); err != nil || got != final {
			t.Errorf("it is now %+v, %v; it was %+v", got, err, final)
		}
	})
}

// To send a document to a receiver that has it, its job is replayed.
func TestDispatchNamesWhoHasIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDesk(t, st)
		ctx, author := t.Context(), person(audit.Author)
		final := d.final(t, author)
		first, second, third := d.endpoint(t), d.endpoint(t), d.endpoint(t)
		if sent, err := d.Dispatch(ctx, author, audit.Once{}, final.ID, []string{first, second}); err != nil || len(sent) != 2 {
			t.Fatalf("sent %v, %v", sent, err)
		}
		_, err := d.Dispatch(ctx, author, audit.Once{}, final.ID, []string{third, second})
		wantFault(t, err, fault.Conflict)
		if f, ok := errors.AsType[*fault.Error](err); !ok || !slices.Equal(f.Details["sent"].([]string), []string{second}) {
			t.Errorf("the refusal is %+v", err)
		}
		if n := d.count(t, "dispatch_job"); n != 3 {
			t.Errorf("there are %d jobs", n)
		}
		want := []string{"document.created SUCCESS", "document.finalized SUCCESS", "document.dispatched SUCCESS"}
		if got := d.events(t, final.ID); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("events %v, want %v", got, want)
		}
	})
}

// dump gives every row of tables as text: of all that documents and jobs are in, where none is named.
func dump(t *testing.T, st *store.Store, tables ...string) string {
	t.Helper()
	if len(tables) == 0 {
		tables = []string{
			"document", "document_revision", "document_seal", "document_dispatch",
			"dispatch_job", "dispatch_payload", "idempotency", `"AuditLog"`, "audit_pending",
		}
	}
	var b strings.Builder
	for _, table := range tables {
		err := st.Read(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(t.Context(), `select * from `+table+` order by 1, 2`)
			if err != nil {
				return err
			}
			defer rows.Close() //nolint:errcheck // Err tells
			columns, err := rows.Columns()
			if err != nil {
				return err
			}
			for rows.Next() {
				values, to := make([]any, len(columns)), make([]any, len(columns))
				for i := range values {
					to[i] = &values[i]
				}
				if err := rows.Scan(to...); err != nil {
					return err
				}
				fmt.Fprintf(&b, "%s %q\n", table, values)
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}
