package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// All checkpoints of the last hour stay, the last of each hour for 31 days, the last of each day for ever, and
// the first of each key.
func TestCheckpointsAreThinnedOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		now := time.Now().UTC()
		hour, day := now.Add(-10*24*time.Hour).Truncate(time.Hour), now.Add(-100*24*time.Hour).Truncate(24*time.Hour)
		size := 0
		insert := func(at time.Time, link bool) int {
			size++
			execute(t, st, fmt.Sprintf(`insert into audit_checkpoint (size, at, root, key_id, note, cosignatures, cosigned_by, link)
				values (%d, %d, cast('x' as blob), 'k', 'n', '', 0, %t)`, size, at.UnixMicro(), link))
			return size
		}
		insert(day.Add(-24*time.Hour), true) // the first of a key
		stay := []int{1, insert(day.Add(-time.Microsecond), false)}
		insert(day, false)
		insert(day.Add(23*time.Hour), false)
		stay = append(stay, insert(day.Add(24*time.Hour-time.Microsecond), false), insert(day.Add(24*time.Hour), false))
		insert(hour, false)
		insert(hour.Add(59*time.Minute), false)
		stay = append(stay, insert(hour.Add(time.Hour-time.Microsecond), false), insert(hour.Add(time.Hour), false))
		stay = append(stay, insert(now.Add(-59*time.Minute), false), insert(now.Add(-59*time.Minute+time.Second), false), insert(now.Add(-time.Second), false))
		if err := newSealer(t, log).Thin(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left []int
		err := st.Read(t.Context(), func(tx *store.Tx) error {
			return tx.Each(t.Context(), func(scan func(...any) error) error {
				var n int
				err := scan(&n)
				left = append(left, n)
				return err
			}, `select size from audit_checkpoint order by size`)
		})
		if err != nil || fmt.Sprint(left) != fmt.Sprint(stay) {
			t.Errorf("left are %v, want %v (%v)", left, stay, err)
		}
	})
}

// The folder of copies keeps the newest days.
func TestCopiesAreBounded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		dir := t.TempDir()
		first := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		for i := range audit.MaxCopies {
			name := "checkpoint-" + first.AddDate(0, 0, i).Format(time.DateOnly)
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "checkpoint-notes.txt"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, log, 1)
		seal(t, newSealer(t, log, func(o *audit.SealerOptions) { o.CheckpointDir = dir }))
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != audit.MaxCopies+2 {
			t.Errorf("%d files (%v)", len(entries), err)
		}
		for name, want := range map[string]bool{"checkpoint-2000-01-01": false, "checkpoint-2000-01-02": true, "checkpoint-notes.txt": true, "checkpoint": true} {
			if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// While one server leads, another one does not; when the lease is over or given back, it does.
func TestLeaseOfSealing(t *testing.T) {
	st := storetest.Open(t, storetest.PostgresURL(t))
	log, key := newLog(t, st)
	write(t, log, 1)
	first, second := newSealer(t, log), newSealer(t, logWith(t, st, key))
	seal(t, first)
	write(t, log, 1)
	seal(t, second)
	if n := number(t, st, `select count(*) from audit_pending`); n != 1 {
		t.Error("two lead")
	}
	execute(t, st, `update audit_tree set lease_until = lease_until - 10000000`)
	seal(t, second)
	if n := number(t, st, `select count(*) from audit_pending`); n != 0 {
		t.Error("nobody leads")
	}
	write(t, log, 1)
	seal(t, first) // which has been deposed
	if n := number(t, st, `select count(*) from audit_pending`); n != 1 {
		t.Error("a server that was deposed seals")
	}
	if err := second.Drain(t.Context()); err != nil { // and gives the lease back
		t.Fatal(err)
	}
	write(t, log, 1)
	seal(t, first)
	if l := readSealed(t, st, log, verifierOf(t, key)); len(l.entries) != 4 {
		t.Errorf("%d entries", len(l.entries))
	}
}

func TestAwait(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, key := newLog(t, st)
		write(t, log, 1)
		id := rows(t, st)[0].id
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := log.Await(short, id); !fault.Is(err, fault.Unavailable) {
			t.Errorf("nobody seals: %v", err)
		}
		s := newSealer(t, log)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx)
		}()
		p, err := log.Await(t.Context(), id)
		stop()
		<-done
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Verify(verifierOf(t, key)); err != nil {
			t.Error(err)
		}
	})
}

// What waits too long, or is a leaf and not signed, makes the log unhealthy.
func TestSealingLags(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		log, _ := newLog(t, st)
		s := newSealer(t, log, func(o *audit.SealerOptions) { o.CheckpointEvery = time.Hour })
		check := func(want string) {
			t.Helper()
			err := s.Check(t.Context())
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("it says %v, want %q", err, want)
			}
		}
		check("")
		write(t, log, 1)
		check("")
		old := audit.FirstID(time.Now().Add(-31 * time.Second))
		execute(t, st, `update audit_pending set event_id = '`+old+`'`)
		check("waiting to be sealed since")
		execute(t, st, `delete from audit_pending`)
		write(t, log, 2)
		seal(t, s)
		check("")
		execute(t, st, `delete from audit_checkpoint`) // as it is between the two
		check("")
	})
}
