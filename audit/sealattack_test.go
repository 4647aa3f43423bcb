package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// A tree that is not the one that was sealed is not gone on with, nor signed.
func TestSealerStopsAtADamagedTree(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		statements []string
	}{
		{"a smaller head", "not written by this program", []string{`update audit_tree set size = 3`}},
		{"another root", "not written by this program", []string{`update audit_tree set root = (select envelope_hash from stolen)`}},
		{"the last tile", "do not make the root", []string{`update audit_tile set hashes = (select h from other)`}},
		{"no last tile", "has 0 of 5 hashes", []string{`delete from audit_tile`}},
		{"no last bundle", "are missing", []string{`delete from audit_bundle`}},
		{"another entry", "not what was sealed", []string{`update audit_bundle set entries = (select entries from other)`}},
		{"another checkpoint", "not signed by a key of this log", []string{`update audit_checkpoint set note = replace(note, '5', '6')`}},
		{"an older copy of everything", "do not go on from the log as this server knew it", []string{
			`delete from audit_checkpoint where size = 5`, `delete from audit_tile`, `delete from audit_bundle`, `delete from audit_tree`, `delete from audit_leaf`,
			`insert into audit_tree select * from old_tree`, `insert into audit_tile select * from old_tile`, `insert into audit_bundle select * from old_bundle`,
			`insert into audit_leaf select * from old_leaf`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, st *store.Store) {
				log, _ := newLog(t, st)
				s := newSealer(t, log)
				write(t, log, 4)
				seal(t, s)
				for _, table := range []string{"tree", "tile", "bundle", "leaf"} {
					execute(t, st, `create table old_`+table+` as select * from audit_`+table)
				}
				write(t, log, 1)
				seal(t, s)
				execute(t, st, `create table stolen as select mac as envelope_hash from audit_tree`,
					`create table other as select hashes as h, hashes as entries from audit_tile`)
				// Hashes and entries of another log.
				elsewhere(t, st)
				execute(t, st, tt.statements...)
				if err := s.Resign(t.Context()); err != nil {
					t.Fatal(err)
				}
				write(t, log, 1)
				checkpoints := number(t, st, `select count(*) from audit_checkpoint`)
				err := s.SealNow(t.Context())
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if n := number(t, st, `select count(*) from audit_checkpoint`); n != checkpoints {
					t.Error("it was signed")
				}
				if n := number(t, st, `select count(*) from audit_pending`); n != 1 {
					t.Errorf("%d rows wait", n)
				}
			})
		})
	}
}

// elsewhere fills the table other with a tile and a bundle of the same width and another content.
func elsewhere(t *testing.T, st *store.Store) {
	t.Helper()
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		var entries []byte
		if err := tx.QueryRow(t.Context(), `select entries from audit_bundle where n = 0`).Scan(&entries); err != nil {
			return err
		}
		list, err := audit.ParseBundle(entries)
		if err != nil {
			return err
		}
		var bundle, hashes []byte
		for _, e := range list {
			e[50] ^= 1
			bundle = append(bundle, 0, byte(len(e)))
			bundle = append(bundle, e...)
			h := audit.LeafHash(e)
			hashes = append(hashes, h[:]...)
		}
		_, err = tx.Exec(t.Context(), `update other set h = $1, entries = $2`, hashes, bundle)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A leader that goes on does not take over what somebody changed behind its back.
func TestLeaderNoticesAChangedHead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		s := newSealer(t, log)
		write(t, log, 5)
		seal(t, s)
		execute(t, st, `update audit_tree set size = 4`)
		write(t, log, 1)
		if err := s.SealNow(t.Context()); err == nil {
			t.Error("it went on")
		}
		if err := s.SealNow(t.Context()); err == nil || !strings.Contains(err.Error(), "not written by this program") {
			t.Errorf("then it says %v", err)
		}
	})
}

// A checkpoint outside shows that a database was set back, also to a server that knows nothing of it.
func TestCheckpointDir(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		dir := t.TempDir()
		with := func(o *audit.SealerOptions) { o.CheckpointDir = dir }
		write(t, log, 4)
		s := newSealer(t, log, with)
		seal(t, s)
		for _, table := range []string{"tree", "tile", "bundle", "leaf", "checkpoint"} {
			execute(t, st, `create table old_`+table+` as select * from audit_`+table)
		}
		write(t, log, 3)
		seal(t, s)
		copied, err := audit.ReadCopy(dir)
		if err != nil || copied.Size != 7 {
			t.Fatalf("%+v (%v)", copied, err)
		}
		if c, err := audit.OpenCheckpoint(copied.Note, verifierOf(t, key)); err != nil || c.Size != 7 {
			t.Errorf("the copy: %+v (%v)", c, err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) != 2 {
			t.Errorf("the folder has %v (%v)", files, err)
		}
		for _, table := range []string{"tree", "tile", "bundle", "leaf", "checkpoint"} {
			execute(t, st, `delete from audit_`+table, `insert into audit_`+table+` select * from old_`+table)
		}
		again := newSealer(t, logWith(t, st, key), with)
		execute(t, st, `update audit_tree set lease_until = 0`)
		if err := again.SealNow(t.Context()); err == nil || !strings.Contains(err.Error(), "AUDIT_CHECKPOINT_DIR, which has 7") {
			t.Errorf("a database that was set back: %v", err)
		}
		// Moving the copy away is how an operator says that it was they.
		if err := os.Remove(filepath.Join(dir, "checkpoint")); err != nil {
			t.Fatal(err)
		}
		seal(t, again)
	})
}

// A directory that cannot be written, or has another log's checkpoint, holds up nothing and is told of.
func TestCheckpointDirFails(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		dir := t.TempDir()
		for i, text := range []string{"junk", "elsewhere.example\n1\n" + strings.Repeat("A", 43) + "=\n\n"} {
			if err := os.WriteFile(filepath.Join(dir, "checkpoint"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s := newSealer(t, log, func(o *audit.SealerOptions) { o.CheckpointDir = dir })
			write(t, log, 1)
			seal(t, s)
			readSealed(t, st, log, verifierOf(t, key))
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("at once: %v", err)
			}
			s.CopyingFailsSince(-2 * audit.CopyPatience)
			if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "AUDIT_CHECKPOINT_DIR") {
				t.Errorf("%d: after a while: %v", i, err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "checkpoint")); err != nil || string(b) != text {
				t.Errorf("it was replaced by %q", b)
			}
		}
	})
}

func TestKeyRotation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		next := keys.NewKey(keys.NewID(), []byte(strings.Repeat("n", 32)))
		s := newSealer(t, log)
		write(t, log, 3)
		seal(t, s)
		write(t, log, 2) // waits under the old key
		log.Use(keys.NewRing(next, nil))
		write(t, log, 2) // under the new one
		seal(t, s)
		both, err := log.Checkpoint(t.Context())
		if err != nil || both.Size != 3+2+2+1 || both.KeyID != next.ID || !both.Link {
			t.Fatalf("%+v (%v)", both, err)
		}
		for _, k := range []*keys.Key{key, next} {
			if _, err := audit.OpenCheckpoint(both.Note, verifierOf(t, k)); err != nil {
				t.Errorf("whoever has %v: %v", k, err)
			}
		}
		list, err := log.Events(t.Context(), audit.Filter{Action: "audit.key.changed"}, store.Page{Limit: 5})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%+v (%v)", list, err)
		}
		oldText, _ := audit.VerifierKey(origin, key)
		newText, _ := audit.VerifierKey(origin, next)
		if d := list.Items[0].Details; d["previousVerifierKey"] != oldText || d["verifierKey"] != newText || d["signedByBoth"] != true {
			t.Errorf("the event says %v", d)
		}
		write(t, log, 1)
		seal(t, s)
		l := readSealed(t, st, log, verifierOf(t, next))
		if _, err := audit.OpenCheckpoint(l.newest.Note, verifierOf(t, key)); err == nil {
			t.Error("the old key signs on")
		}
		history, err := log.LogKeys(t.Context())
		if err != nil || len(history) != 2 || history[0].Verifier != oldText || history[1].Verifier != newText || history[1].FirstSize != 8 {
			t.Errorf("the history is %+v (%v)", history, err)
		}
		// A server that starts with the new key alone goes on.
		fresh := newSealer(t, logWith(t, st, next))
		execute(t, st, `update audit_tree set lease_until = 0`)
		seal(t, fresh)
	})
}

// What waits under a key that is not known waits for it, and not for ever.
func TestUnknownKeyWaits(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		write(t, log, 2)
		other := keys.NewKey(keys.NewID(), []byte(strings.Repeat("o", 32)))
		late := logWith(t, st, other)
		write(t, late, 1)
		s := newSealer(t, late)
		seal(t, s)
		if n := number(t, st, `select count(*) from audit_pending where writer = $1`, log.Writer()); n != 2 {
			t.Errorf("%d rows wait for their key", n)
		}
		s.Later(audit.KeyGrace + 1)
		seal(t, s)
		if n := number(t, st, `select count(*) from audit_rejected where reason = 'UNKNOWN_KEY'`); n != 2 {
			t.Errorf("%d rows are rejected", n)
		}
	})
}

func TestProof(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		s := newSealer(t, log)
		write(t, log, 300)
		var ids []string
		for _, r := range rows(t, st) {
			ids = append(ids, r.id)
		}
		if _, err := log.Prove(t.Context(), ids[0]); err == nil || !strings.Contains(err.Error(), "not under a checkpoint yet") {
			t.Errorf("before it is sealed: %v", err)
		}
		seal(t, s)
		for _, i := range []int{0, 1, 255, 256, 299} {
			p, err := log.Prove(t.Context(), ids[i])
			if err != nil {
				t.Fatal(err)
			}
			text, err := p.Text()
			if err != nil {
				t.Fatal(err)
			}
			read, err := audit.ParseProof(text)
			if err != nil {
				t.Fatal(err)
			}
			c, e, err := read.Verify(verifierOf(t, key))
			if err != nil || c.Size != 300 || read.Leaf != int64(i) || e.Writer != log.Writer() || !strings.Contains(read.Event.Body, ids[i]) {
				t.Errorf("proof %d: %+v %+v (%v)", i, c, e, err)
			}
			for what, change := range map[string]func(*audit.Proof){
				"another leaf":  func(p *audit.Proof) { p.Leaf++ },
				"another body":  func(p *audit.Proof) { p.Event.Body += " " },
				"another salt":  func(p *audit.Proof) { p.Event.Salt = append([]byte{1}, p.Event.Salt...) },
				"another entry": func(p *audit.Proof) { p.Event.Entry = append([]byte{}, p.Event.Entry...); p.Event.Entry[40] ^= 1 },
				"no path":       func(p *audit.Proof) { p.Path = nil },
				"another note":  func(p *audit.Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "300", "301", 1) },
			} {
				forged := read
				change(&forged)
				if _, _, err := forged.Verify(verifierOf(t, key)); err == nil {
					t.Errorf("a proof with %s holds", what)
				}
			}
		}
		execute(t, st, `update "AuditLog" set body = replace(body, 'thing.made', 'thing.lost') where id = '`+ids[3]+`'`)
		if _, err := log.Prove(t.Context(), ids[3]); err == nil || !strings.Contains(err.Error(), "its row has been changed") {
			t.Errorf("a changed body: %v", err)
		}
		if _, err := log.Prove(t.Context(), store.NewID()); err == nil || !strings.Contains(err.Error(), "there is no audit event") {
			t.Errorf("no event: %v", err)
		}
		elsewhereTile := `update audit_tile set hashes = (select hashes from audit_tile where level = 0 and n = 0) where level = 0 and n = 1`
		execute(t, st, elsewhereTile)
		if _, err := log.Prove(t.Context(), ids[280]); err == nil {
			t.Error("a changed tile is used")
		}
	})
}

func TestTilePath(t *testing.T) {
	for path, want := range map[string]audit.TilePath{
		"0/000":                 {Level: 0, N: 0, Width: 256},
		"0/x001/x234/067":       {Level: 0, N: 1234067, Width: 256},
		"63/x001/000.p/255":     {Level: 63, N: 1000, Width: 255},
		"entries/000.p/1":       {Entries: true, N: 0, Width: 1},
		"entries/x999/x999/999": {Entries: true, N: 999999999, Width: 256},
		"1/x100/x000/x000/000":  {Level: 1, N: 100000000000, Width: 256},
	} {
		got, err := audit.ParseTilePath(path)
		if err != nil || got != want || got.String() != "tile/"+path {
			t.Errorf("%s: %+v (%v)", path, got, err)
		}
	}
	for _, path := range []string{
		"", "0", "0/", "0/0", "0/00", "0/0000", "0/1", "0/x000/001", "0/001/000", "0/x001", "00/000", "-1/000", "+1/000", "64/000", "0/000.p/0",
		"0/000.p/256", "0/000.p/01", "0/000.p/", "0/000.p/1/2", "0/000.p/1.p/2", "entries", "entries/", "data/000", "0/+01", "0/x-01/001", "0/ 01",
		"0/x001/x001/x001/x001/x001/x001/001", "0/000/", "/0/000", "0//000", "1e0/000",
	} {
		if got, err := audit.ParseTilePath(path); err == nil {
			t.Errorf("%q is %+v", path, got)
		}
	}
}

func FuzzParseTilePath(f *testing.F) {
	f.Add("0/x001/234.p/17")
	f.Add("entries/000")
	f.Fuzz(func(t *testing.T, path string) {
		if p, err := audit.ParseTilePath(path); err == nil && p.String() != "tile/"+path {
			t.Errorf("%q is read as %q", path, p)
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte{0, 1, 7, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := audit.ParseBundle(b)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			again = append(again, byte(len(e)>>8), byte(len(e)))
			again = append(again, e...)
		}
		if string(again) != string(b) {
			t.Errorf("%x is read as %x", b, again)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	f.Add("c2sp.org/tlog-proof@v1\nextra e30=\nindex 7\n" + strings.Repeat("A", 43) + "=\n\nlog\n8\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := audit.ParseProof(text)
		if err != nil {
			return
		}
		again, err := p.Text()
		if err != nil {
			t.Fatal(err)
		}
		if q, err := audit.ParseProof(again); err != nil || fmt.Sprint(q) != fmt.Sprint(p) {
			t.Errorf("%q is read as %+v and then as %+v (%v)", text, p, q, err)
		}
		_, _, _ = p.Verify()
	})
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add("log\n8\n" + strings.Repeat("A", 43) + "=\ntime 2026-11-25T02:37:11.000000Z\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := audit.ParseCheckpoint(text)
		if err == nil && (c.Origin == "" || c.Size < 0) {
			t.Errorf("%q is read as %+v", text, c)
		}
	})
}
