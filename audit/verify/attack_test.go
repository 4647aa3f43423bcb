package verify_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/store"
	"sealpost/store/storetest"
)

// victim is what an attack was on: what verify has to name.
type victim struct {
	kind    verify.Kind
	leaf    int64 // -1: it is about no leaf
	event   string
	outside string // a checkpoint without which it cannot be known
}

// attack is something that somebody with full write access to the database does to a log.
type attack struct {
	name string
	do   func(s *site) victim
}

// attacks are all of them. Each is made on a log of 311 events, of which the first 256 are in a full tile.
var attacks = []attack{
	{"a body is edited", func(s *site) victim {
		s.reword(3, "thing.made", "thing.lost")
		return victim{verify.BodyEdited, 3, s.event(3), ""}
	}},
	{"a salt is edited", func(s *site) victim {
		s.run(`update "AuditLog" set salt = $2 where id = $1`, s.event(3), []byte("0123456789abcdef"))
		return victim{verify.BodyEdited, 3, s.event(3), ""}
	}},
	{"the actor alone is edited, where one searches", func(s *site) victim {
		s.run(`update "AuditLog" set actor_id = 'user-2' where id = $1`, s.event(4))
		return victim{verify.ColumnsEdited, 4, s.event(4), ""}
	}},
	{"the actor alone is edited, in row and body", func(s *site) victim {
		s.reword(4, "user-1", "user-2")
		s.run(`update "AuditLog" set actor_id = 'user-2' where id = $1`, s.event(4))
		return victim{verify.BodyEdited, 4, s.event(4), ""}
	}},
	{"a row, its entry and its full tile are edited", func(s *site) victim {
		entries := s.reword(6, "thing.made", "thing.lost")
		s.run(`update "AuditLog" set action = 'thing.lost' where id = $1`, s.event(6))
		s.putEntries(entries)
		s.putTile(0, entries)
		return victim{verify.Rewritten, 6, s.event(6), ""} // between two checkpoints there is just this one
	}},
	{"a row, its entry and its partial tile are edited", func(s *site) victim {
		entries := s.reword(310, "thing.made", "thing.lost")
		s.run(`update "AuditLog" set action = 'thing.lost' where id = $1`, s.event(310))
		s.putEntries(entries)
		s.putTile(1, entries)
		return victim{verify.Rewritten, 310, s.event(309), ""} // it, or the heartbeat before it
	}},
	{"an entry alone is edited", func(s *site) victim {
		entries := s.entries()
		entries[307][50] ^= 1
		s.putEntries(entries)
		return victim{verify.EntryEdited, 307, s.event(307), ""}
	}},
	{"a hash of a tile is edited", func(s *site) victim {
		entries := s.entries()
		entries[20][50] ^= 1
		s.putTile(0, entries)
		return victim{verify.TileEdited, 20, s.event(20), ""}
	}},
	{"a row is edited, and the whole tree made anew", func(s *site) victim {
		entries := s.reword(5, "thing.made", "thing.lost")
		s.run(`update "AuditLog" set action = 'thing.lost' where id = $1`, s.event(5))
		s.rebuild(entries)
		return victim{verify.Rewritten, 5, s.event(5), ""}
	}},
	{"a sealed body is deleted without intent", func(s *site) victim {
		id := s.event(100)
		s.run(`delete from "AuditLog" where id = $1`, id)
		return victim{verify.DeletedWithoutIntent, 100, id, ""}
	}},
	{"a sealed body is emptied without intent", func(s *site) victim {
		id := s.event(100)
		s.run(`update "AuditLog" set body = '', salt = $2, actor_id = null, request_id = null, entity = null, entity_id = null where id = $1`, id, []byte{})
		return victim{verify.DeletedWithoutIntent, 100, id, ""}
	}},
	{"a committed row is deleted before it is sealed", func(s *site) victim {
		s.waiting(3)
		n := s.number(`select max(counter) from audit_pending`) - 1
		s.run(`delete from "AuditLog" where counter = $1`, n)
		s.run(`delete from audit_pending where counter = $1`, n)
		s.beat()
		s.seal()
		return victim{verify.DeletedBeforeSealing, 312, s.event(312), ""} // the event behind the gap
	}},
	{"a row is forged, and waits", func(s *site) victim {
		key := other()
		key.ID = s.key.ID
		return victim{verify.ForgedBeforeSealing, -1, s.sealable(key, s.log.Writer(), 900, time.Now().UTC(), "thing.made", ""), ""}
	}},
	{"a row is forged before it is sealed", func(s *site) victim {
		key := other()
		key.ID = s.key.ID
		id := s.sealable(key, s.log.Writer(), 900, time.Now().UTC(), "thing.made", "")
		s.seal()
		return victim{verify.ForgedBeforeSealing, -1, id, ""}
	}},
	{"a row is forged, and what shows that it was is removed", func(s *site) victim {
		key := other()
		key.ID = s.key.ID
		id := s.sealable(key, s.log.Writer(), 900, time.Now().UTC(), "thing.made", "")
		s.seal()
		s.seal()
		s.run(`delete from audit_rejected`)
		s.run(`delete from "AuditLog" where id = $1`, id)
		return victim{verify.EvidenceRemoved, 311, s.event(311), ""}
	}},
	{"a row is put among the others", func(s *site) victim {
		id := s.sealable(s.key, s.log.Writer(), 900, time.Now().UTC(), "thing.made", "")
		s.run(`delete from audit_pending where event_id = $1`, id)
		return victim{verify.RowInserted, -1, id, ""}
	}},
	{"an event is replayed to the sealer", func(s *site) victim {
		s.waiting(1)
		s.run(`create table kept as select * from audit_pending`)
		s.seal()
		s.run(`insert into audit_pending (writer, counter, event_id, envelope, mac) select writer, counter, event_id, envelope, mac from kept`)
		s.seal()
		return victim{verify.Replayed, -1, s.event(311), ""}
	}},
	{"an event is replayed in the tree", func(s *site) victim {
		entries := s.entries()
		entries[310] = entries[2]
		s.rebuild(entries)
		return victim{verify.Replayed, 310, s.event(310), ""}
	}},
	{"two leaves are swapped", func(s *site) victim {
		entries := s.entries()
		entries[10], entries[11] = entries[11], entries[10]
		s.putEntries(entries)
		return victim{verify.Reordered, 10, s.event(10), ""}
	}},
	{"two leaves are swapped, and the whole tree made anew", func(s *site) victim {
		entries := s.entries()
		entries[5], entries[6] = entries[6], entries[5]
		s.rebuild(entries)
		return victim{verify.Rewritten, 5, s.event(5), ""}
	}},
	{"the tail and the checkpoints over it are cut off", func(s *site) victim {
		s.backup()
		s.write(4)
		outside := s.newest()
		s.restore()
		return victim{verify.Truncated, 311, "", outside}
	}},
	{"the tail is cut off, and a checkpoint over it is left", func(s *site) victim {
		s.backup()
		s.write(4)
		s.run(`create table later as select * from audit_checkpoint`)
		s.restore()
		s.execute(`delete from audit_checkpoint`, `insert into audit_checkpoint select * from later`)
		return victim{verify.Truncated, 311, "", ""}
	}},
	{"an old backup is restored and appended to", func(s *site) victim {
		s.backup()
		s.write(4)
		outside := s.newest()
		s.restore()
		s.server()
		s.write(7)
		return victim{verify.Forked, 312, "", outside}
	}},
	{"an intent is forged among the events", func(s *site) victim {
		id := s.sealable(s.key, s.log.Writer(), 900, time.Now().UTC(), "audit.retention.intended", intentDetails(s, [2]int64{0, 3}))
		s.run(`delete from audit_pending where event_id = $1`, id)
		gone := s.event(1)
		s.run(`delete from "AuditLog" where id = $1`, gone)
		return victim{verify.DeletedWithoutIntent, 1, gone, ""}
	}},
	{"an intent is forged in place of another event", func(s *site) victim {
		s.reword(310, `"action":"thing.made"`, `"action":"audit.retention.intended"`)
		gone := s.event(1)
		s.run(`delete from "AuditLog" where id = $1`, gone)
		return victim{verify.DeletedWithoutIntent, 1, gone, ""}
	}},
	{"an intent's range is widened", func(s *site) victim {
		s.change(intended(s, nil, [2]int64{0, 2}))
		s.seal()
		s.run(`delete from "AuditLog" where id = $1`, s.event(0))
		s.reword(311, `"ranges":[[0,2]]`, `"ranges":[[0,9]]`)
		gone := s.event(5)
		s.run(`delete from "AuditLog" where id = $1`, gone)
		return victim{verify.RangeWidened, 5, gone, ""}
	}},
	{"more is deleted than was intended", func(s *site) victim {
		s.change(intended(s, nil, [2]int64{0, 2}))
		s.seal()
		s.change(audit.Event{Action: "audit.retention.deleted", Entity: "AuditRetention", EntityID: "plan", Details: map[string]any{
			"planHash": "plan", "ranges": [][2]int64{{0, 4}}, "count": 4,
		}})
		s.seal()
		gone := s.event(2)
		for leaf := range int64(4) {
			s.run(`delete from "AuditLog" where id = $1`, s.event(leaf))
		}
		return victim{verify.RangeWidened, 3, gone, ""}
	}},
	{"a row is backdated", func(s *site) victim {
		s.run(`update "AuditLog" set at = at - 86400000000 where id = $1`, s.event(9))
		return victim{verify.TimeEdited, 9, s.event(9), ""}
	}},
	{"an event is dated back by somebody who has the key", func(s *site) victim {
		id := s.sealable(s.key, "0190a1b2-0000-7000-8000-000000000001", 1, time.Now().UTC().AddDate(-1, 0, 0).Truncate(time.Microsecond), "thing.made", "")
		s.seal()
		return victim{verify.Backdated, 311, id, ""}
	}},
	{"a hold's row is removed, and then what it held is deleted", func(s *site) victim {
		s.change(audit.Event{Action: "audit.hold.placed", Entity: "AuditHold", EntityID: "hold-1", Details: map[string]any{"actorId": "user-1", "reason": "a case"}})
		s.seal()
		s.change(intended(s, nil, [2]int64{0, 2})) // of a server that found no hold
		s.seal()
		gone := s.event(1)
		s.run(`delete from "AuditLog" where id = $1`, gone)
		return victim{verify.HoldIgnored, 1, gone, ""}
	}},
	{"what is deleted was not old enough", func(s *site) victim {
		e := intended(s, nil, [2]int64{0, 2})
		e.Details["cutoff"] = time.Now().UTC().AddDate(-7, 0, 0)
		e.Details["checkpointTime"] = e.Details["cutoff"]
		s.change(e)
		s.seal()
		gone := s.event(1)
		s.run(`delete from "AuditLog" where id = $1`, gone)
		return victim{verify.TooYoung, 1, gone, ""}
	}},
	{"the leaf map is edited", func(s *site) victim {
		s.run(`update audit_leaf set counter = counter + 1, leaf = leaf + 1, count = count - 1 where leaf = 0`)
		return victim{verify.LeafMapEdited, 0, "", ""}
	}},
	{"the leaf map leads elsewhere", func(s *site) victim {
		s.run(`update audit_leaf set counter = counter + 1 where leaf = 0`)
		return victim{verify.LeafMapEdited, 0, s.event(0), ""}
	}},
	{"the id of a leaf's event is edited", func(s *site) victim {
		var ids []byte
		s.one(`select event_ids from audit_bundle where n = 0`, nil, &ids)
		id := s.event(7)
		copy(ids[7*16:], idBytes(store.NewID()))
		s.run(`update audit_bundle set event_ids = $1 where n = 0`, ids)
		return victim{verify.EventIDEdited, 7, id, ""}
	}},
	{"a writer's number is used again for the sealer", func(s *site) victim {
		id := s.sealable(s.key, s.log.Writer(), 4, time.Now().UTC().Truncate(time.Microsecond), "thing.made", "")
		s.seal()
		return victim{verify.Replayed, -1, id, ""}
	}},
	{"a writer's number is used again in the tree", func(s *site) victim {
		entries := s.entries()
		copy(entries[310][25:33], entries[2][25:33])
		s.rebuild(entries)
		return victim{verify.CounterReused, 310, s.event(310), ""}
	}},
	{"a checkpoint is signed by another key", func(s *site) victim {
		var root []byte
		var size int64
		s.one(`select root, size from audit_tree`, nil, &root, &size)
		s.run(`update audit_checkpoint set note = $2, at = $3, key_id = $4 where size = $1`, size, s.sign(other(), size, root, time.UnixMicro(1e15)), int64(1e15), other().ID)
		return victim{verify.CheckpointFake, 310, s.event(310), ""}
	}},
	{"a checkpoint is signed by another key, which is in the history", func(s *site) victim {
		s.rebuild(s.reword(310, "user-1", "user-2"))
		s.run(`update "AuditLog" set actor_id = 'user-2' where id = $1`, s.event(310))
		var root []byte
		s.one(`select root from audit_tree`, nil, &root)
		text, _ := audit.VerifierKey(origin, other())
		s.run(`delete from audit_checkpoint where size > 300`)
		s.run(`insert into audit_checkpoint (size, at, root, key_id, note, cosignatures, cosigned_by, link) values (311, 1000000000000000, $1, $2, $3, '', 0, true)`,
			root, other().ID, s.sign(other(), 311, root, time.UnixMicro(1e15)))
		s.run(`insert into audit_key (key_id, verifier, first_size, first_at) values ($1, $2, 311, 0)`, other().ID, text)
		return victim{verify.CheckpointFake, 310, s.event(310), ""}
	}},
	{"a checkpoint's row says another time", func(s *site) victim {
		s.run(`update audit_checkpoint set at = at - 86400000000 where size = 6`)
		return victim{verify.CheckpointFake, 5, "", ""}
	}},
	{"a partial tile is dropped", func(s *site) victim {
		s.run(`delete from audit_tile where level = 0 and n = 1`)
		return victim{verify.TileMissing, 256, "", ""}
	}},
	{"a partial tile of the level above is dropped", func(s *site) victim {
		s.run(`delete from audit_tile where level = 1`)
		return victim{verify.TileMissing, 0, "", ""}
	}},
	{"a bundle is dropped", func(s *site) victim {
		s.run(`delete from audit_bundle where n = 1`)
		return victim{verify.EntryMissing, 256, "", ""}
	}},
	{"a body is written in another form", func(s *site) victim {
		s.reword(8, `"v":1,`, `"v": 1,`)
		return victim{verify.BodyNotCanonical, 8, s.event(8), ""}
	}},
	{"a body is written in another form, and the whole tree made anew", func(s *site) victim {
		s.rebuild(s.reword(8, `"v":1,`, `"v": 1,`))
		return victim{verify.BodyNotCanonical, 8, s.event(8), ""}
	}},
	{"a row's time drifts by a microsecond", func(s *site) victim {
		s.run(`update "AuditLog" set at = at + 1 where id = $1`, s.event(12))
		return victim{verify.TimeEdited, 12, s.event(12), ""}
	}},
	{"a row's time is in nanoseconds", func(s *site) victim {
		s.run(`update "AuditLog" set at = at * 1000 where id = $1`, s.event(12))
		return victim{verify.TimeEdited, 12, s.event(12), ""}
	}},
	{"a body's time drifts, and the whole tree is made anew", func(s *site) victim {
		_, body := s.body(s.event(12))
		at := body[strings.Index(body, `"time":"`)+8:][:27]
		s.rebuild(s.reword(12, at, at[:26]+"123Z"))
		return victim{verify.TimeEdited, 12, s.event(12), ""}
	}},
	{"the head says another root", func(s *site) victim {
		s.run(`update audit_tree set root = $1`, make([]byte, 32))
		return victim{verify.HeadEdited, -1, "", ""}
	}},
	{"what is under no checkpoint yet is made anew", func(s *site) victim {
		s.run(`delete from audit_checkpoint where size > 300`)
		s.rebuild(s.reword(310, "user-1", "user-2"))
		s.run(`update "AuditLog" set actor_id = 'user-2' where id = $1`, s.event(310))
		return victim{verify.HeadEdited, 310, "", ""}
	}},
}

// inDatabase are the findings about what only a database has: an export has no search columns, no leaf map, no
// head but a checkpoint, and no row that is not sealed.
var inDatabase = map[verify.Kind]bool{
	verify.ColumnsEdited: true, verify.LeafMapEdited: true, verify.HeadEdited: true, verify.RowInserted: true, verify.EventIDEdited: true,
}

// intended is an intent as retention writes it: of everything that the newest checkpoint covers.
func intended(s *site, holds []string, ranges ...[2]int64) audit.Event {
	s.t.Helper()
	c, err := s.log.Checkpoint(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if holds == nil {
		holds = []string{}
	}
	return audit.Event{Action: "audit.retention.intended", Entity: "AuditRetention", EntityID: "plan", Details: map[string]any{
		"planHash": "plan", "days": 0, "cutoff": time.Now().UTC(), "checkpointSize": c.Size, "checkpointTime": c.Time,
		"part": 1, "parts": 1, "ranges": ranges, "holds": holds,
	}}
}

func intentDetails(s *site, r [2]int64) string {
	d := intended(s, nil, r).Details
	at := d["checkpointTime"].(time.Time).Format(time.RFC3339Nano)
	return fmt.Sprintf(`{"checkpointSize":%d,"checkpointTime":%q,"cutoff":%q,"days":0,"holds":[],"ranges":[[%d,%d]]}`, d["checkpointSize"], at, at, r[0], r[1])
}

func TestAttacks(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, st *store.Store) {
				s := newSite(t, st)
				s.history()
				v := a.do(s)
				o := s.options()
				if v.outside != "" {
					if r := s.verify(o); r.Verdict() != verify.Holds || !strings.Contains(strings.Join(r.Notes, " "), "cannot be told") {
						t.Errorf("without a checkpoint from outside: %v, notes %v", r.Findings, r.Notes)
					}
				}
				o.Outside = v.outside
				wantFinding(t, s.verify(o), v.kind, v.leaf, v.event)
				if inDatabase[v.kind] || v.kind == verify.TimeEdited && !strings.Contains(a.name, "body's") || strings.Contains(a.name, "waits") {
					return
				}
				dir := s.export()
				event := v.event
				if v.leaf < 0 {
					event = "" // an export has the ids of leaves
				}
				kind := v.kind
				if strings.Contains(a.name, "over it is left") { // and so is what the export ends with
					kind = verify.EntryMissing
				}
				wantFinding(t, s.verifyExport(dir, v.outside), kind, v.leaf, event)
				if st.Dialect() == store.Postgres { // the files are the same
					return
				}
				if status, out := s.python(dir, v.outside, s.key); status != 1 || !strings.Contains(out, "FINDING") {
					t.Errorf("verify.py ends with %d:\n%s", status, out)
				}
			})
		})
	}
}
