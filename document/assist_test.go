package document

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sealpost/assist"
	"sealpost/assist/assisttest"
	"sealpost/audit"
	"sealpost/config"
	"sealpost/store"
)

// assisted switches AI on, with a server that says what a script says.
func (d *desk) assisted(t *testing.T, script ...assisttest.Turn) *assisttest.Server {
	t.Helper()
	s := assisttest.Start(t, script...)
	d.assist = assist.New(assist.Options{APIKey: config.NewSecret([]byte(assisttest.Key)), BaseURL: s.URL, Model: "asked-for"})
	return s
}

// sealed makes a document final.
func (d *desk) sealed(t *testing.T, by audit.Principal, id string) {
	t.Helper()
	_, err := d.Finalize(t.Context(), by, audit.Once{}, id, Finalization{Attest: true, EndpointIDs: []string{d.endpoint(t)}})
	if err != nil {
		t.Fatal(err)
	}
}

// traces gives the calls about a document: purpose, outcome, whether it was used.
func (d *desk) traces(t *testing.T, id string) (all []string) {
	t.Helper()
	err := d.st.Read(t.Context(), func(tx *store.Tx) error {
		all = nil
		return tx.Each(t.Context(), func(scan func(...any) error) error {
			var purpose, outcome string
			var used bool
			err := scan(&purpose, &outcome, &used)
			all = append(all, fmt.Sprint(purpose, " ", outcome, " ", used))
			return err
		}, `select purpose, outcome, used from ai_trace where document_id = $1 order by created_at, id`, id)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantTraces(t *testing.T, d *desk, id string, want ...string) {
	t.Helper()
	if got := d.traces(t, id); !slices.Equal(got, want) {
		t.Errorf("the traces are %q, want %q", got, want)
	}
}

// wantLast fails the test where the last events of a thing are not these, or any event holds a word
// of a text.
func wantLast(t *testing.T, d *desk, entityID string, want ...string) {
	t.Helper()
	got := d.events(t, entityID)
	if len(got) < len(want) || !slices.Equal(got[len(got)-len(want):], want) {
		t.Errorf("the events are %q, want %q at their end", got, want)
	}
	err := d.st.Read(t.Context(), func(tx *store.Tx) error {
		return tx.Each(t.Context(), func(scan func(...any) error) error {
			var body string
			err := scan(&body)
			for _, word := range []string{"agreed", "Nobody", "Ann", "against", "boring"} {
				if strings.Contains(body, word) {
					t.Errorf("an event holds a word of a text: %s", body)
				}
			}
			return err
		}, `select body from "AuditLog"`)
	})
	if err != nil {
		t.Fatal(err)
	}
}
