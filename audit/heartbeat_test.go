package audit_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// beat is what a heartbeat event says.
type beat struct {
	Counter, Settled, Lost uint64
	Undone                 [][2]uint64
	Final                  bool

	Highest     uint64 // of audit.writer.lost
	Missing     [][2]uint64
	MoreMissing bool
}

func beats(t *testing.T, log *audit.Log, action string) (list []beat) {
	t.Helper()
	events, err := log.Events(t.Context(), audit.Filter{Action: action}, store.Page{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range slices.Backward(events.Items) {
		var b beat
		text, err := json.Marshal(e.Details)
		if err == nil {
			err = json.Unmarshal(text, &b)
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

func TestHeartbeat(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		if err := log.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := number(t, st, `select count(*) from "AuditLog"`); n != 0 {
			t.Errorf("%d events of a writer that has nothing to tell", n)
		}
		write(t, log, 3)                              // 1 … 3
		if err := log.Beat(t.Context()); err != nil { // 4
			t.Fatal(err)
		}
		for range 3 { // quiet
			if err := log.Beat(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		large, end := fullDisk(t, st)
		if err := log.Change(t.Context(), admin, one(audit.Event{Action: "thing.made", Details: large})); err == nil { // 5
			t.Fatal("it was written")
		}
		end()
		write(t, log, 1)                             // 6, and 7 that tells of the outage
		write(t, log, 1)                             // 8
		if err := log.End(t.Context()); err != nil { // 9
			t.Fatal(err)
		}
		want := []beat{
			{Counter: 3, Settled: 3, Undone: [][2]uint64{}},
			{Counter: 8, Settled: 8, Undone: [][2]uint64{{5, 1}}, Final: true},
		}
		if got := beats(t, log, "audit.heartbeat"); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if n := number(t, st, `select count(*) from audit_writer`); n != 0 {
			t.Errorf("%d writers are still known", n)
		}
		if err := log.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(beats(t, log, "audit.heartbeat")); n != 2 {
			t.Errorf("%d heartbeats after a second end", n)
		}
	})
}

// A number whose transaction has not ended is not accounted for yet.
func TestHeartbeatDuringATransaction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		write(t, log, 1)
		open := log.Open(2) // 2 and 3
		write(t, log, 1)    // 4
		for i, want := range []beat{
			{Counter: 4, Settled: 1, Undone: [][2]uint64{}},
			{Counter: 6, Settled: 6, Undone: [][2]uint64{{2, 2}}},
		} {
			if i == 1 {
				log.Undo(open, 2)
				write(t, log, 1) // 6, behind the heartbeat
			}
			if err := log.Beat(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := beats(t, log, "audit.heartbeat"); len(got) != i+1 || !reflect.DeepEqual(got[i], want) {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
	})
}

// What one heartbeat cannot tell is told by the next, and nothing is told twice.
func TestHeartbeatThatFails(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		write(t, log, 1)
		for i := range uint64(1200) {
			log.Undo(10+2*i, 1)
		}
		log.Use(nil)
		if err := log.Beat(t.Context()); err == nil {
			t.Fatal("it was written without a key")
		}
		log.Use(keys.NewRing(key, nil))
		if err := log.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]int{}
		list := beats(t, log, "audit.heartbeat")
		for _, b := range list {
			for _, s := range b.Undone {
				seen[s[0]]++
			}
		}
		if len(list) != 3 || len(seen) != 1200 {
			t.Errorf("%d heartbeats tell of %d spans", len(list), len(seen))
		}
		for first, n := range seen {
			if n != 1 {
				t.Errorf("%d is told %d times", first, n)
			}
		}
	})
}

// A writer that ended without saying so is told of, with what is missing behind its last account.
func TestLostWriter(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		write(t, log, 2)                              // 1, 2
		if err := log.Beat(t.Context()); err != nil { // 3
			t.Fatal(err)
		}
		log.Open(2)      // 4, 5: its transaction never ends
		write(t, log, 3) // 6 … 8
		execute(t, st,
			`delete from "AuditLog" where counter = 7`, `delete from audit_pending where counter = 7`,
			`update audit_writer set seen_at = seen_at - 61000000`)
		next := logWith(t, st, key)
		s := newSealer(t, next)
		seal(t, s)
		seal(t, s)
		want := []beat{{Settled: 2, Highest: 8, Missing: [][2]uint64{{4, 2}, {7, 1}}}}
		if got := beats(t, next, "audit.writer.lost"); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if n := number(t, st, `select count(*) from audit_writer where writer = '`+log.Writer()+`'`); n != 0 {
			t.Error("it is still known")
		}
		l := readSealed(t, st, next, verifierOf(t, key))
		if len(l.entries) != 3+2+1 {
			t.Errorf("%d entries", len(l.entries))
		}
	})
}
