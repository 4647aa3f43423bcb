package verify_test

import (
	"strings"
	"testing"

	"sealpost/audit/verify"
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
