package verify_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/store"
	"sealpost/store/storetest"
)

// A log that goes on while it is verified, with events, rollbacks, sealing, checkpoints, retention and
// redactions, holds each time; and so do its exports.
func TestARunningLogHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := newSite(t, st)
		s.history()
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		undo := errors.New("undo")
		for range 3 {
			running.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					_ = s.log.Change(ctx, admin, func(*store.Tx) ([]audit.Event, error) {
						if i%7 == 3 {
							return nil, undo
						}
						events := make([]audit.Event, 1+i%5)
						for j := range events {
							events[j] = audit.Event{Action: "thing.made", Entity: "Thing"}
						}
						return events, nil
					})
				}
			})
		}
		running.Go(func() {
			for ctx.Err() == nil {
				_ = s.sealer.SealNow(ctx)
				_ = s.log.Beat(ctx)
				time.Sleep(5 * time.Millisecond)
			}
		})
		running.Go(func() {
			r := s.retention()
			for i := int64(0); ctx.Err() == nil; i++ {
				_, _ = r.Redact(ctx, admin, s.event(300+i%11), "by mistake")
				if plan, err := r.Plan(ctx, admin); err == nil && i%3 == 0 {
					_, _ = r.Apply(ctx, admin, plan.PlanHash)
				}
			}
		})
		exports := 0
		for range 8 {
			s.holds(s.options())
			dir := t.TempDir()
			if _, err := audit.Export(t.Context(), st, dir, nil); err == nil { // else something was just being removed
				exports++
				if r := s.verifyExport(dir, ""); r.Verdict() != verify.Holds {
					t.Errorf("an export of a running log: %v %v", r.Findings, r.Unknown)
				}
			}
		}
		stop()
		running.Wait()
		if err := s.sealer.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := s.holdsExported(s.newest())
		if r.Removed == 0 || r.Size < 400 || exports == 0 {
			t.Errorf("%+v after %d exports", r, exports)
		}
	})
}
