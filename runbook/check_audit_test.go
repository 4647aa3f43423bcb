package runbook

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestDecideSealed(t *testing.T) {
	at := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	good := sealFacts{
		newest: audit.Record{ID: "x"}, every: time.Second, copyDir: true, rightCopy: true,
		state:  audit.SealState{Now: at, Size: 9, Signed: 9, SignedAt: at},
		copied: audit.Checkpoint{Size: 9, Time: at},
	}
	for _, tt := range []struct {
		name   string
		change func(*sealFacts)
		want   string
	}{
		{"the end does not verify", func(f *sealFacts) {
			f.end.Findings = []verify.Finding{{Kind: verify.BodyEdited, Leaf: 7, Last: 7, Text: "x"}}
		}, "body-edited: leaf 7"},
		{"all that is looked at here holds", func(*sealFacts) {}, "verify one by one"},
		{"no event", func(f *sealFacts) { f.newest = audit.Record{} }, "no event"},
		{"no checkpoint", func(f *sealFacts) { f.state.Signed = 0 }, "no checkpoint yet"},
		{"forged before sealing", func(f *sealFacts) { f.state.Rejected = 1 }, "changed or forged"},
		{"a bad signature", func(f *sealFacts) { f.signature = errors.New("x") }, "does not verify"},
		{"waits a moment", func(f *sealFacts) { f.state.WaitingSince = at.Add(-31 * time.Second) }, "verify one by one"},
		{"waits too long", func(f *sealFacts) { f.state.WaitingSince = at.Add(-32 * time.Second) }, "are not under a checkpoint"},
		{"is sealed and not signed", func(f *sealFacts) { f.state.UnsignedAt = at.Add(-time.Minute) }, "are not under a checkpoint"},
		{"nothing leaves", func(f *sealFacts) { f.copyDir = false }, "neither AUDIT_CHECKPOINT_DIR nor"},
		{"a copy of nothing known", func(f *sealFacts) { f.copyWrong = errors.New("x") }, "is not good"},
		{"a copy of another log", func(f *sealFacts) { f.rightCopy = false }, "another log"},
		{"a copy of more than there is", func(f *sealFacts) { f.copied.Size = 10 }, "another log"},
		{"an old copy", func(f *sealFacts) { f.copied.Time = at.Add(-32 * time.Second) }, "is of 2026"},
		{"a copy of a moment ago", func(f *sealFacts) { f.copied.Time = at.Add(-31 * time.Second) }, "verify one by one"},
		{"a quorum", func(f *sealFacts) { f.copyDir, f.witnesses, f.state.Cosigned = false, 3, 2 }, "2 of 3 witnesses have cosigned"},
		{"no quorum", func(f *sealFacts) { f.copyDir, f.witnesses, f.state.Cosigned = false, 3, 1 }, "and 2 have to"},
		{"no quorum, and a copy", func(f *sealFacts) { f.witnesses, f.state.Cosigned = 3, 1 }, "a copy of 9 events is in"},
	} {
		f := good
		tt.change(&f)
		want := Fail
		if strings.Contains(tt.want, "one by one") || strings.Contains(tt.want, "have cosigned") || strings.Contains(tt.want, "a copy of 9") {
			want = Pass
		}
		if got := decideSealed(f); got.Status != want || !strings.Contains(got.Observed, tt.want) {
			t.Errorf("%s: %s, %s", tt.name, got.Status, got.Observed)
		}
	}
}

func TestAuditLogIsSealed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		dir := t.TempDir()
		c, log := installation(t, st, "AUDIT_CHECKPOINT_DIR="+dir)
		sealer := audit.NewSealer(log, audit.SealerOptions{Origin: "pilot.example/audit/log", CheckpointEvery: time.Second, CheckpointDir: dir})
		observed := func(want string) {
			t.Helper()
			results, err := c.Check(t.Context(), "RB-6.1")
			if err != nil || !strings.Contains(results[0].Observed, want) {
				t.Errorf("%+v, want %q (%v)", results, want, err)
			}
		}
		observed("no checkpoint yet")
		if err := sealer.SealNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		observed("verify one by one, and a copy of")
		// One word of the last events, changed by somebody who may write anything, is found.
		id := ""
		change := func(from, to string) {
			t.Helper()
			err := st.Write(t.Context(), func(tx *store.Tx) error {
				if err := tx.QueryRow(t.Context(), `select max(id) from "AuditLog"`).Scan(&id); err != nil {
					return err
				}
				_, err := tx.Exec(t.Context(), `update "AuditLog" set body = replace(body, $2, $3) where id = $1`, id, from, to)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		change("SUCCESS", "FAILURE")
		observed("does not verify against its checkpoint: body-edited: leaf ")
		observed(id)
		change("FAILURE", "SUCCESS")
		copied, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "checkpoint"), []byte(strings.Replace(string(copied), "time 2", "time 3", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		observed("its copy in AUDIT_CHECKPOINT_DIR is not good")
		if err := os.Remove(filepath.Join(dir, "checkpoint")); err != nil {
			t.Fatal(err)
		}
		observed("its copy in AUDIT_CHECKPOINT_DIR is not good")
	})
}
