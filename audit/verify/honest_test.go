package verify_test

import (
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestAnHonestLogHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := newSite(t, st)
		if r := s.verify(s.options()); r.Verdict() != verify.CannotTell || !strings.Contains(strings.Join(r.Unknown, " "), "nothing has been sealed") {
			t.Errorf("an empty log: %+v", r)
		}
		s.history()
		r := s.holds(s.options())
		if r.Size != 311 || r.Signed != 311 || r.Bodies != 311 || r.Checkpoints != 6 || r.Origin != origin {
			t.Errorf("%+v", r)
		}
		r = s.holdsExported(s.newest())
		if r.Size != 311 || r.Signed != 311 || r.Bodies != 311 || r.Checkpoints != 6 || r.Outside != 311 {
			t.Errorf("the export: %+v", r)
		}
		s.waiting(3)
		s.holds(s.options())
		// Without a key nobody vouches for it.
		if r := s.verify(verify.Options{}); r.Verdict() != verify.CannotTell {
			t.Errorf("without a key: %+v", r)
		}
	})
}

// What goes wrong in an honest way, and right, leaves a log that holds.
func TestHonestCasesHold(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, s *site) []*keys.Key // that an auditor has beside the site's
	}{
		{"a transaction rolls back", func(_ *testing.T, s *site) []*keys.Key {
			s.write(1)
			s.undo(40)
			s.write(1)
			s.beat()
			s.seal()
			return nil
		}},
		{"a writer crashes", func(_ *testing.T, s *site) []*keys.Key {
			s.undo(40) // its transaction never ended: nobody tells of it
			s.waiting(2)
			s.run(`update audit_writer set seen_at = seen_at - 61000000`)
			s.run(`update audit_tree set lease_until = 0`)
			s.server()
			s.seal()
			s.seal()
			return nil
		}},
		{"the leader fails over", func(_ *testing.T, s *site) []*keys.Key {
			s.waiting(5)
			first := s.sealer
			s.run(`update audit_tree set lease_until = 0`)
			s.server()
			s.write(5)
			_ = first.SealNow(s.t.Context()) // deposed
			s.waiting(2)
			s.seal()
			return nil
		}},
		{"the key is rotated", func(_ *testing.T, s *site) []*keys.Key {
			old := s.key
			s.waiting(2)
			s.key = keys.NewKey("aa00112233445566", []byte(strings.Repeat("n", 32)))
			s.log.Use(keys.NewRing(s.key, old))
			s.seal()
			s.write(3)
			return nil
		}},
		{"the key is rotated, and an auditor has the old one", func(_ *testing.T, s *site) []*keys.Key {
			old := s.key
			next := keys.NewKey("aa00112233445566", []byte(strings.Repeat("n", 32)))
			s.log.Use(keys.NewRing(next, old))
			s.seal()
			s.write(3)
			return nil
		}},
		{"retention removes what is old", func(t *testing.T, s *site) []*keys.Key {
			s.retain(t)
			s.write(2)
			return nil
		}},
		{"retention leaves what is held", func(t *testing.T, s *site) []*keys.Key {
			r := s.retention()
			if _, err := r.AddHold(t.Context(), admin, audit.NewHold{EntityID: "3", Reason: "a case"}); err != nil {
				t.Fatal(err)
			}
			released, err := r.AddHold(t.Context(), admin, audit.NewHold{From: time.Now().Add(-time.Hour), Reason: "another"})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.ReleaseHold(t.Context(), admin, released.ID); err != nil {
				t.Fatal(err)
			}
			s.seal()
			s.retain(t)
			if n := s.number(`select count(*) from "AuditLog" where entity_id = '3'`); n == 0 {
				t.Error("what is held is gone")
			}
			return nil
		}},
		{"one event is redacted", func(t *testing.T, s *site) []*keys.Key {
			if _, err := s.retention().Redact(t.Context(), admin, s.event(20), "a name that was written by mistake"); err != nil {
				t.Fatal(err)
			}
			s.seal()
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, st *store.Store) {
				s := newSite(t, st)
				s.history()
				outside := s.newest()
				more := tt.do(t, s)
				o := s.options()
				o.Outside = outside
				r := s.holds(o)
				if r.Size <= 311 || r.Signed != r.Size || r.Outside != 311 {
					t.Errorf("%+v", r)
				}
				if strings.Contains(tt.name, "retention") && r.Removed < 290 || strings.Contains(tt.name, "redacted") && r.Removed != 1 {
					t.Errorf("%d events were removed", r.Removed)
				}
				s.holdsExported(outside, more...)
			})
		})
	}
}

// A hold on a time alone is seen to have been ignored also where the body is gone.
func TestRetentionOfWhatIsHeldIsFound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := newSite(t, st)
		s.history()
		if _, err := s.retention().AddHold(t.Context(), admin, audit.NewHold{From: time.Now().Add(-time.Hour), EntityID: "3", Reason: "a case"}); err != nil {
			t.Fatal(err)
		}
		s.seal()
		s.run(`delete from audit_hold`)
		s.retain(t)
		wantFinding(t, s.verify(s.options()), verify.HoldIgnored, 3, s.event(0))
	})
}
