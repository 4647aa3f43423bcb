package audit_test

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Evidence is every event about a thing, each proven; with a proof too many, twice, of something else, or
// changed, it does not hold.
func TestEvidence(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		if _, err := k.log.Evidence(t.Context(), "Thing", "thing-1"); !fault.Is(err, fault.NotFound) {
			t.Errorf("of nothing: %v", err)
		}
		k.happen(3, "user-1", "thing-1")
		k.happen(1, "user-1", "thing-2")
		if _, err := k.log.Evidence(t.Context(), "Thing", "thing-1"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("before it is sealed: %v", err)
		}
		k.seal()
		e, err := k.log.Evidence(t.Context(), "Thing", "thing-1")
		if err != nil || len(e.Proofs) != 3 || e.VerifierKey == "" {
			t.Fatalf("%+v, %v", e, err)
		}
		other, err := k.log.Evidence(t.Context(), "Thing", "thing-2")
		if err != nil {
			t.Fatal(err)
		}
		file, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		read, err := audit.ParseEvidence(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := k.log.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		key, err := k.log.VerifierOf(t.Context(), c)
		if err != nil || key != e.VerifierKey {
			t.Errorf("the key is %s, and it says %s (%v)", key, e.VerifierKey, err)
		}
		v, err := note.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		list, err := read.Verify(v)
		if err != nil || len(list) != 3 || list[0].Action != "test.happened" || list[0].ID > list[2].ID || list[0].Checkpoint.Size != c.Size {
			t.Errorf("%+v, %v", list, err)
		}
		for name, change := range map[string]func(e *audit.Evidence){
			"a proof of another thing": func(e *audit.Evidence) { e.Proofs = append(e.Proofs, other.Proofs[0]) },
			"a proof twice":            func(e *audit.Evidence) { e.Proofs = append(e.Proofs, e.Proofs[0]) },
			"of another thing":         func(e *audit.Evidence) { e.EntityID = "thing-2" },
			"another leaf":             func(e *audit.Evidence) { e.Proofs[0] = strings.Replace(e.Proofs[0], "\nindex ", "\nindex 1", 1) },
			"no proof":                 func(e *audit.Evidence) { e.Proofs[0] = "x" },
		} {
			changed := read
			changed.Proofs = append([]string(nil), read.Proofs...)
			change(&changed)
			if list, err := changed.Verify(v); err == nil {
				t.Errorf("%s: it holds: %+v", name, list)
			}
		}
	})
}

func TestEvidenceOfAnotherForm(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "{", "another format": `{"format":"x"}`,
		"about nothing": `{"format":"sealpost-evidence/1","proofs":["x"]}`,
		"no proofs":     `{"format":"sealpost-evidence/1","entity":"a","entityId":"b","proofs":[]}`,
		"too many":      `{"format":"sealpost-evidence/1","entity":"a","entityId":"b","proofs":[` + strings.Repeat(`"",`, audit.MaxEvidence) + `""]}`,
	} {
		if e, err := audit.ParseEvidence([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
