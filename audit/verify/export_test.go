package verify_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// An export is refused where it could not be whole, and says so where it is not.
func TestExportRefuses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := newSite(t, st)
		dir := filepath.Join(t.TempDir(), "a", "b")
		if _, err := audit.Export(t.Context(), st, dir, nil); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "no checkpoint yet") {
			t.Errorf("of nothing: %v", err)
		}
		s.history()
		used := t.TempDir()
		if err := os.WriteFile(filepath.Join(used, "x"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Export(t.Context(), st, used, nil); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("into a folder with something in it: %v", err)
		}
		// An intent that waits to be sealed, beside a body that is gone: the export would not have it.
		s.run(`delete from "AuditLog" where id = $1`, s.event(1))
		s.change(intended(s, nil, [2]int64{1, 2}))
		if _, err := audit.Export(t.Context(), st, t.TempDir(), nil); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "export again") {
			t.Errorf("while something goes: %v", err)
		}
		s.seal()
		s.holdsExported("")

		dir = s.export()
		if verify.IsExport(t.TempDir()) || !verify.IsExport(dir) {
			t.Error("an export is not told from another folder")
		}
		if err := os.Remove(filepath.Join(dir, "manifest.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := verify.Run(t.Context(), verify.Export(dir), verify.Options{}); err == nil || !strings.Contains(err.Error(), "broke off") {
			t.Errorf("one that broke off: %v", err)
		}
	})
}

// Files that are gone or damaged are findings, or cannot be told; they are never passed over.
func TestDamagedExports(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	s := newSite(t, st)
	s.history()
	for _, tt := range []struct {
		name   string
		damage func(dir string) error
		want   verify.Kind // "": it cannot be told
	}{
		{"no events", func(dir string) error { return os.Remove(filepath.Join(dir, "bodies", "001.jsonl")) }, verify.DeletedWithoutIntent},
		{"no entries", func(dir string) error { return os.Remove(filepath.Join(dir, "tile", "entries", "000")) }, verify.EntryMissing},
		{"no tile", func(dir string) error { return os.Remove(filepath.Join(dir, "tile", "0", "000")) }, verify.TileMissing},
		{"half a tile", func(dir string) error { return os.Truncate(filepath.Join(dir, "tile", "0", "000"), 4095) }, verify.TileMissing},
		{"half a bundle", func(dir string) error { return os.Truncate(filepath.Join(dir, "tile", "entries", "000"), 7500) }, verify.EntryMissing},
		{"a bundle that breaks off", func(dir string) error { return os.Truncate(filepath.Join(dir, "tile", "entries", "000"), 7501) }, verify.EntryMissing},
		{"no checkpoint", func(dir string) error { return os.Remove(filepath.Join(dir, "checkpoint")) }, ""},
		{"a line that breaks off", func(dir string) error { return os.Truncate(filepath.Join(dir, "bodies", "000.jsonl"), 1000) }, ""},
		{"keys that are none", func(dir string) error { return os.WriteFile(filepath.Join(dir, "keys.json"), []byte("x"), 0o600) }, ""},
		{"a checkpoint that is none", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "checkpoint"), []byte("x\n-1\n\n"), 0o600)
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := s.export()
			if err := tt.damage(dir); err != nil {
				t.Fatal(err)
			}
			status, out := s.python(dir, "", s.key)
			if tt.want != "" {
				wantFinding(t, s.verifyExport(dir, ""), tt.want, -1, "")
				if status != 1 {
					t.Errorf("verify.py ends with %d:\n%s", status, out)
				}
				return
			}
			if r, err := verify.Run(t.Context(), verify.Export(dir), s.options()); err == nil {
				t.Errorf("it is %+v", r)
			}
			if status != 2 {
				t.Errorf("verify.py ends with %d:\n%s", status, out)
			}
		})
	}
	// A body that is no text any more is exported as the bytes that it is.
	s.run(`update "AuditLog" set body = cast(x'7bff7d' as text) where id = $1`, s.event(2))
	dir := s.export()
	wantFinding(t, s.verifyExport(dir, ""), verify.BodyEdited, 2, s.event(2))
	if status, out := s.python(dir, "", s.key); status != 1 || !strings.Contains(out, "leaf 2") {
		t.Errorf("verify.py ends with %d:\n%s", status, out)
	}
}

// Without a key, or with another one, nothing is said to hold.
func TestOtherKeys(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	s := newSite(t, st)
	s.history()
	dir := s.export()
	if status, out := s.python(dir, ""); status != 2 {
		t.Errorf("verify.py without a key ends with %d:\n%s", status, out)
	}
	if status, out := s.python(dir, "", other()); status != 1 {
		t.Errorf("verify.py with another key ends with %d:\n%s", status, out)
	}
	o := s.options()
	o.Keys[0] = verifierOf(t, other())
	wantFinding(t, s.verify(o), verify.CheckpointFake, 310, "")
	o = s.options()
	o.Outside = strings.Replace(s.newest(), "time 2", "time 3", 1)
	if r := s.verify(o); r.Verdict() != verify.CannotTell {
		t.Errorf("a checkpoint from outside that nobody has signed: %v %v", r.Findings, r.Unknown)
	}
	o.Outside = "nonsense"
	if r := s.verify(o); r.Verdict() != verify.CannotTell {
		t.Errorf("one that is none: %v %v", r.Findings, r.Unknown)
	}
}
