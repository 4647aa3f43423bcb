package audit_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

const origin = "pilot.example.org/audit/log"

// newSealer makes a sealer of a log.
func newSealer(t *testing.T, log *audit.Log, change ...func(*audit.SealerOptions)) *audit.Sealer {
	t.Helper()
	o := audit.SealerOptions{Origin: origin, CheckpointEvery: time.Second, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	return audit.NewSealer(log, o)
}

// logWith makes the log of another server that has the same key.
func logWith(t *testing.T, st *store.Store, key *keys.Key) *audit.Log {
	t.Helper()
	log, _ := newLog(t, st)
	log.Use(keys.NewRing(key, nil))
	return log
}

// write writes events of a kind.
func write(t *testing.T, log *audit.Log, n int) {
	t.Helper()
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = audit.Event{Action: "thing.made", Entity: "Thing", EntityID: fmt.Sprint(i)}
	}
	if err := log.Change(t.Context(), admin, one(events...)); err != nil {
		t.Fatal(err)
	}
}

func seal(t *testing.T, s *audit.Sealer) {
	t.Helper()
	if err := s.SealNow(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func verifierOf(t *testing.T, key *keys.Key) note.Verifier {
	t.Helper()
	text, err := audit.VerifierKey(origin, key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sealedLog is the log as its tables have it.
type sealedLog struct {
	entries [][]byte
	ids     []string
	newest  audit.Checkpoint
}

// readSealed reads the whole log, and holds it together: every entry's hash makes the newest checkpoint's
// root, every tile is that of the tree, and the leaf map finds every entry.
func readSealed(t *testing.T, st *store.Store, log *audit.Log, verifiers ...note.Verifier) sealedLog {
	t.Helper()
	var l sealedLog
	newest, err := log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l.newest, err = audit.OpenCheckpoint(newest.Note, verifiers...); err != nil {
		t.Fatal(err)
	}
	if l.newest.Size != newest.Size || l.newest.Root != newest.Root || !l.newest.Time.Equal(newest.Time) || l.newest.Origin != origin {
		t.Errorf("the note says %+v, its row %+v", l.newest, newest)
	}
	size, err := log.TreeSize(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = st.Read(t.Context(), func(tx *store.Tx) error {
		return tx.Each(t.Context(), func(scan func(...any) error) error {
			var n int64
			var width int
			var entries, ids []byte
			if err := scan(&n, &width, &entries, &ids); err != nil {
				return err
			}
			list, err := audit.ParseBundle(entries)
			if err != nil {
				return err
			}
			named, err := audit.ParseEventIDs(ids)
			if err != nil {
				return err
			}
			if n*256 != int64(len(l.entries)) || len(list) != width || len(named) != width {
				t.Errorf("bundle %d has %d entries, %d ids and the width %d, behind %d", n, len(list), len(named), width, len(l.entries))
			}
			l.entries, l.ids = append(l.entries, list...), append(l.ids, named...)
			return nil
		}, `select n, width, entries, event_ids from audit_bundle order by n`)
	})
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(l.entries)) != size {
		t.Fatalf("%d entries of a tree of %d", len(l.entries), size)
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		list := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			list[i] = stored[at]
		}
		return list, nil
	})
	for i, e := range l.entries {
		hashes, err := tlog.StoredHashes(int64(i), e, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
	}
	root, err := tlog.TreeHash(l.newest.Size, reader)
	if err != nil || root != l.newest.Root {
		t.Fatalf("the entries make the root %v, the checkpoint says %v (%v)", root, l.newest.Root, err)
	}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		want, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := log.Tile(t.Context(), audit.TilePath{Level: tile.L, N: tile.N, Width: tile.W})
		if err != nil || string(got) != string(want) {
			t.Errorf("tile %v is not that of the tree (%v)", tile, err)
		}
	}
	checkLeafMap(t, st, l)
	return l
}

// checkLeafMap holds the leaf map against the entries.
func checkLeafMap(t *testing.T, st *store.Store, l sealedLog) {
	t.Helper()
	next := int64(0)
	err := st.Read(t.Context(), func(tx *store.Tx) error {
		return tx.Each(t.Context(), func(scan func(...any) error) error {
			var writer string
			var counter, count, leaf int64
			if err := scan(&writer, &counter, &count, &leaf); err != nil {
				return err
			}
			if leaf != next {
				t.Errorf("a run begins at leaf %d, want %d", leaf, next)
			}
			next += count
			for i := range count {
				e, err := audit.ParseEnvelope(l.entries[leaf+i])
				if err != nil {
					return err
				}
				if e.Writer != writer || e.Counter != uint64(counter+i) {
					t.Errorf("leaf %d is number %d of %s, the map says %d of %s", leaf+i, e.Counter, e.Writer, counter+i, writer)
				}
			}
			return nil
		}, `select writer, counter, count, leaf from audit_leaf order by leaf`)
	})
	if err != nil {
		t.Fatal(err)
	}
	if next != int64(len(l.entries)) {
		t.Errorf("the leaf map has %d of %d leaves", next, len(l.entries))
	}
}

func TestSealing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		s := newSealer(t, log)
		seal(t, s) // nothing
		if n := number(t, st, `select count(*) from audit_checkpoint`); n != 0 {
			t.Errorf("%d checkpoints of an empty log", n)
		}
		total := 0
		for _, n := range []int{1, 3, 251, 1, 1, 255, 256, 257, 2050, 600} {
			write(t, log, n)
			total += n
			seal(t, s)
			l := readSealed(t, st, log, verifierOf(t, key))
			if len(l.entries) != total || l.newest.Size != int64(total) {
				t.Fatalf("%d of %d events are sealed, %d under the checkpoint", len(l.entries), total, l.newest.Size)
			}
		}
		if n := number(t, st, `select count(*) from audit_pending`); n != 0 {
			t.Errorf("%d rows still wait", n)
		}
		if n := number(t, st, `select count(*) from audit_leaf`); n != 1 {
			t.Errorf("the leaf map of one writer has %d rows", n)
		}
		before := number(t, st, `select count(*) from audit_checkpoint`)
		seal(t, s)
		if n := number(t, st, `select count(*) from audit_checkpoint`); n != before {
			t.Error("an idle log was signed again")
		}
		// Every event's envelope is its row's.
		l := readSealed(t, st, log, verifierOf(t, key))
		for i, id := range l.ids {
			if n := number(t, st, `select count(*) from "AuditLog" where id = $1`, id); i%97 == 0 && n != 1 {
				t.Errorf("leaf %d is event %s, which is not there", i, id)
			}
		}
	})
}

// A sealer that begins anew goes on from what the tables have.
func TestSealingGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		for i, n := range []int{5, 300, 211, 40} {
			write(t, log, n)
			s := newSealer(t, log)
			if err := s.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if l := readSealed(t, st, log, verifierOf(t, key)); i == 3 && len(l.entries) != 556 {
				t.Errorf("%d entries", len(l.entries))
			}
		}
	})
}

// Several servers write, and their sealers take turns; none of them seals twice, and none skips what
// commits late.
func TestSealersOfSeveralServers(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		st := storetest.Open(t, url)
		stores := []*store.Store{st, st, st}
		if st.Dialect() == store.Postgres {
			stores = []*store.Store{st, storetest.Open(t, url), storetest.Open(t, url)}
		}
		const writers, changes = 4, 40
		var writing, sealing sync.WaitGroup
		done := make(chan struct{})
		_, key := newLog(t, st)
		for _, st := range stores {
			log := logWith(t, st, key)
			s := newSealer(t, log)
			sealing.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						_ = s.SealNow(context.Background()) // deposed, most of the time
						if n := number(t, st, `select count(*) from audit_tree`); n == 1 {
							_ = s.Resign(context.Background())
						}
						time.Sleep(time.Millisecond)
					}
				}
			})
			for w := range writers {
				writing.Go(func() {
					for i := range changes {
						_ = log.Change(context.Background(), admin, func(*store.Tx) ([]audit.Event, error) {
							if (i+w)%5 == 0 {
								time.Sleep(time.Duration(i%3) * time.Millisecond)
							}
							events := make([]audit.Event, 1+i%3)
							for j := range events {
								events[j] = audit.Event{Action: "thing.made"}
							}
							if i%7 == 3 {
								events[0].Action = "" // rolls back
							}
							return events, nil
						})
					}
				})
			}
		}
		writing.Wait()
		close(done)
		sealing.Wait()
		log := logWith(t, st, key)
		deadline := time.Now().Add(20 * time.Second)
		s := newSealer(t, log)
		for number(t, st, `select count(*) from audit_pending`) > 0 && time.Now().Before(deadline) {
			if err := s.SealNow(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		l := readSealed(t, st, log, verifierOf(t, key))
		if n := number(t, st, `select count(*) from "AuditLog"`); n != len(l.entries) || n < writers*changes {
			t.Errorf("%d events, %d leaves", n, len(l.entries))
		}
		if n := number(t, st, `select count(*) from audit_rejected`); n != 0 {
			t.Errorf("%d rows were rejected", n)
		}
	})
}

// What is not as a server of ours wrote it is not sealed, is told of, and holds up nothing else.
func TestSealingRejects(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		s := newSealer(t, log)
		write(t, log, 3)
		execute(t, st, `create table kept as select * from audit_pending where counter = 2`)
		seal(t, s)
		write(t, log, 6) // 4 … 9
		execute(t, st,
			`update audit_pending set mac = (select mac from audit_pending where counter = 5) where counter = 4`,
			`update audit_pending set envelope = (select envelope from audit_pending where counter = 6) where counter = 5`,
			`insert into audit_pending (writer, counter, event_id, envelope, mac) select writer, 99, event_id, envelope, mac from audit_pending where counter = 7`,
			`insert into audit_pending (writer, counter, event_id, envelope, mac) select 'x', 9223372036854775807, 'y', mac, mac from audit_pending where counter = 7`,
			`insert into audit_pending (writer, counter, event_id, envelope, mac) select writer, -1, event_id, envelope, mac from audit_pending where counter = 7`,
			`insert into audit_pending (writer, counter, event_id, envelope, mac) select writer, counter, event_id, envelope, mac from kept`,
		)
		seal(t, s)
		seal(t, s) // the event that tells of it
		l := readSealed(t, st, log, verifierOf(t, key))
		if len(l.entries) != 3+4+1 {
			t.Errorf("%d leaves", len(l.entries))
		}
		for reason, want := range map[string]int{"BAD_MAC": 1, "MALFORMED": 4, "ALREADY_SEALED": 1} {
			if n := number(t, st, `select count(*) from audit_rejected where reason = $1`, reason); n != want {
				t.Errorf("%d rows rejected as %s, want %d", n, reason, want)
			}
		}
		list, err := log.Events(t.Context(), audit.Filter{Action: "audit.seal.rejected"}, store.Page{Limit: 10})
		if err != nil || len(list.Items) != 1 || list.Items[0].Outcome != audit.Failure || fmt.Sprint(list.Items[0].Details["count"]) != "6" {
			t.Errorf("it was told of by %+v (%v)", list.Items, err)
		}
		if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "changed or forged") {
			t.Errorf("the health says %v", err)
		}
	})
}

// The sealer's list in the code is the one that was decided on.
func TestSealingIsWhatWasDecided(t *testing.T) {
	text, err := os.ReadFile("../docs/decisions/0015-sealed-log.md")
	if err != nil {
		t.Fatal(err)
	}
	decided := map[string]bool{}
	entry := regexp.MustCompile("`((?:insert|update|delete) [a-z_]+)`")
	for line := range strings.SplitSeq(string(text), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for _, m := range entry.FindAllStringSubmatch(cells[1], -1) {
				decided[m[1]] = true
			}
		}
	}
	if !maps.Equal(decided, audit.SealingWrites()) {
		t.Errorf("decided is %v, the code has %v", decided, audit.SealingWrites())
	}
}
