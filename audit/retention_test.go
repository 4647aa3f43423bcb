package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

const day = 24 * time.Hour

// keeping is a log with a retention of 30 days. Its clock stands 30 days after a time that the test
// chooses, so what happened before that time is old, and what happens now is not.
type keeping struct {
	*audit.Retention
	t      *testing.T
	st     *store.Store
	log    *audit.Log
	sealer *audit.Sealer
	now    time.Time
}

func keep(t *testing.T, st *store.Store) *keeping {
	t.Helper()
	k := &keeping{t: t, st: st, now: time.Now()}
	k.log, _ = newLog(t, st)
	k.sealer = newSealer(t, k.log)
	k.Retention = audit.NewRetention(k.log, audit.RetentionOptions{Days: 30, Sealer: k.sealer, Now: func() time.Time { return k.now }})
	return k
}

// seal puts all that has happened under a checkpoint, and lets others lead.
func (k *keeping) seal() {
	k.t.Helper()
	if err := k.sealer.Drain(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
}

// soFar makes all that has happened until now old, and known to be.
func (k *keeping) soFar() {
	k.t.Helper()
	k.seal()
	k.now = time.Now().Add(30 * day)
}

// happen writes n events of an actor about an entity.
func (k *keeping) happen(n int, actor, entity string) {
	k.t.Helper()
	by := admin
	by.UserID = actor
	var events []audit.Event
	for range n {
		events = append(events, audit.Event{Action: "test.happened", Entity: "Thing", EntityID: entity})
	}
	if err := k.log.Change(k.t.Context(), by, one(events...)); err != nil {
		k.t.Fatal(err)
	}
}

// left counts the test's events that still have their rows.
func (k *keeping) left() int {
	k.t.Helper()
	return number(k.t, k.st, `select count(*) from "AuditLog" where action = 'test.happened'`)
}

func (k *keeping) plan() audit.Report {
	k.t.Helper()
	r, err := k.Plan(k.t.Context(), admin)
	if err != nil {
		k.t.Fatal(err)
	}
	return r
}

func (k *keeping) apply(hash string) audit.Report {
	k.t.Helper()
	r, err := k.Apply(k.t.Context(), admin, hash)
	if err != nil {
		k.t.Fatal(err)
	}
	return r
}

// refused applies a plan that must not be.
func (k *keeping) refused(hash, why string) {
	k.t.Helper()
	left := k.left()
	if _, err := k.Apply(k.t.Context(), admin, hash); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), why) {
		k.t.Errorf("applied: %v, want %q", err, why)
	}
	if k.left() != left {
		k.t.Errorf("a refused plan deleted %d events", left-k.left())
	}
}

func (k *keeping) hold(n audit.NewHold) audit.Hold {
	k.t.Helper()
	n.Reason = "LEGAL-7"
	h, err := k.AddHold(k.t.Context(), admin, n)
	if err != nil {
		k.t.Fatal(err)
	}
	return h
}

func (k *keeping) release(h audit.Hold) {
	k.t.Helper()
	if err := k.ReleaseHold(k.t.Context(), admin, h.ID); err != nil {
		k.t.Fatal(err)
	}
}

// story gives what was recorded of retention, the oldest first.
func (k *keeping) story() string {
	k.t.Helper()
	list, err := k.log.Events(k.t.Context(), audit.Filter{Entity: "AuditRetention"}, store.Page{Limit: 200})
	if err != nil {
		k.t.Fatal(err)
	}
	story := ""
	for _, e := range list.Items {
		story = strings.TrimPrefix(e.Action, "audit.retention.") + " " + story
	}
	return strings.TrimSpace(story)
}

// A dry run deletes nothing. Its plan deletes what it knew, body, search columns and salt, in pieces; the
// envelopes stay, and intent and end are events.
func TestRetention(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		const old = 2*audit.RetentionRows + 7
		k.happen(old, "user-1", "thing-1")
		k.soFar()
		k.happen(3, "user-1", "thing-1")
		p := k.plan()
		if !p.DryRun || p.EligibleCount != old || p.DeletedCount != 0 || p.HeldCount != 0 || p.Complete || len(p.PlanHash) != 64 ||
			!p.Cutoff.Equal(k.now.AddDate(0, 0, -30).UTC().Truncate(time.Microsecond)) || p.AgeProof == "" {
			t.Fatalf("the dry run: %+v", p)
		}
		if k.left() != old+3 || k.story() != "planned" {
			t.Fatalf("after the dry run %d events are left; %s", k.left(), k.story())
		}
		done := k.apply(p.PlanHash)
		if done.DryRun || done.EligibleCount != old || done.DeletedCount != old || !done.Complete || done.PlanHash != p.PlanHash {
			t.Errorf("applied: %+v", done)
		}
		if k.left() != 3 || k.story() != "planned intended deleted deleted deleted completed" {
			t.Errorf("%d events are left; %s", k.left(), k.story())
		}
		if n := number(t, st, `select sum(count) from audit_leaf`) + number(t, st, `select count(*) from audit_pending`); n != old+3+6 {
			t.Errorf("%d envelopes are left of the %d events", n, old+3+6)
		}
		k.refused(p.PlanHash, "was applied")
		again := k.plan()
		if again.EligibleCount != 0 || k.apply(again.PlanHash).DeletedCount != 0 || k.left() != 3 {
			t.Errorf("once more: %+v, and %d are left", again, k.left())
		}
	})
}

// With AUDIT_RETENTION_DAYS=0, in a test, everything before the dry run may go, and nothing after it.
func TestRetentionOfNoDays(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		k.Retention = audit.NewRetention(k.log, audit.RetentionOptions{Sealer: k.sealer})
		k.happen(5, "user-1", "thing-1")
		k.seal()
		p := k.plan()
		k.happen(2, "user-1", "thing-1")
		if done := k.apply(p.PlanHash); p.EligibleCount != 5 || done.DeletedCount != 5 || k.left() != 2 {
			t.Errorf("%+v, then %+v, and %d are left", p, done, k.left())
		}
	})
}

// A plan is for an hour, and for what it knew.
func TestAPlanThatNoLongerFits(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		k.happen(3, "user-1", "thing-1")
		k.soFar()
		k.refused(strings.Repeat("0", 64), "no such plan")

		made := k.now
		p := k.plan()
		k.now = made.Add(time.Hour)
		k.refused(p.PlanHash, "older than an hour")
		k.now = made.Add(time.Hour + time.Microsecond)
		k.plan()
		if n := number(t, st, `select count(*) from audit_retention_plan`); n != 1 {
			t.Errorf("%d plans are kept, of which one is over", n)
		}
		k.now = made

		p = k.plan()
		h := k.hold(audit.NewHold{ActorID: "nobody"})
		k.refused(p.PlanHash, "holds have changed")
		p = k.plan()
		k.release(h)
		k.refused(p.PlanHash, "holds have changed")

		p = k.plan()
		execute(t, st, `delete from "AuditLog" where id = (select min(id) from "AuditLog" where action = 'test.happened')`)
		k.refused(p.PlanHash, "old events have changed")
		if done := k.apply(k.plan().PlanHash); !done.Complete || k.left() != 0 {
			t.Errorf("%+v, and %d are left", done, k.left())
		}
	})
}

// The last moment at which a plan can be begun is the one before its hour is over.
func TestAPlansHour(t *testing.T) {
	k := keep(t, storetest.Open(t, storetest.SQLiteURL(t)))
	k.happen(1, "user-1", "thing-1")
	k.soFar()
	p := k.plan()
	k.now = k.now.Add(time.Hour - time.Microsecond)
	if k.apply(p.PlanHash); k.left() != 0 {
		t.Error("it was not applied")
	}
}

func TestHoldsKeepEvents(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		k.happen(2, "user-1", "thing-1")
		k.happen(3, "user-2", "thing-1")
		between := time.Now()
		k.happen(4, "user-2", "thing-2")
		err := k.log.Record(t.Context(), audit.Principal{Kind: audit.Anonymous}, audit.Event{Action: "test.happened"}) // of nobody, about nothing
		if err != nil {
			t.Fatal(err)
		}
		k.soFar()
		const all = 10
		for _, tt := range []struct {
			name  string
			holds []audit.NewHold
			held  int64
		}{
			{"no hold", nil, 0},
			{"of an actor", []audit.NewHold{{ActorID: "user-2"}}, 7},
			{"about a thing", []audit.NewHold{{EntityID: "thing-1"}}, 5},
			{"of an actor about a thing", []audit.NewHold{{ActorID: "user-2", EntityID: "thing-1"}}, 3},
			{"from a time", []audit.NewHold{{From: between}}, 5},
			{"to a time", []audit.NewHold{{To: between}}, 5},
			{"between two times", []audit.NewHold{{From: between.Add(-time.Hour), To: between}}, 5},
			{"of an actor to a time", []audit.NewHold{{ActorID: "user-2", To: between}}, 3},
			{"of nobody", []audit.NewHold{{ActorID: "nobody"}}, 0},
			{"of everything", []audit.NewHold{{}}, all},
			{"several that overlap", []audit.NewHold{{ActorID: "user-1"}, {EntityID: "thing-1"}, {EntityID: "thing-1"}}, 5},
		} {
			var placed []audit.Hold
			for _, n := range tt.holds {
				placed = append(placed, k.hold(n))
			}
			if p := k.plan(); p.HeldCount != tt.held || p.EligibleCount != all-tt.held {
				t.Errorf("%s: %d held and %d not, want %d and %d", tt.name, p.HeldCount, p.EligibleCount, tt.held, all-tt.held)
			}
			for _, h := range placed {
				k.release(h)
			}
		}
		k.hold(audit.NewHold{EntityID: "thing-1"})
		k.hold(audit.NewHold{ActorID: "user-1"})
		done := k.apply(k.plan().PlanHash)
		if !done.Complete || done.DeletedCount != 5 || done.HeldCount != 5 || k.left() != 5 {
			t.Errorf("%+v, and %d are left, want the 5 about thing-1", done, k.left())
		}
	})
}

// A server that stops in the middle leaves a plan that is gone on with. A hold that is placed meanwhile
// keeps what is still there; one that is released then lets nothing go that the plan did not know.
func TestRetentionThatBrokeOff(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		k.happen(audit.RetentionRows, "user-1", "thing-1")
		const held = audit.RetentionRows + 2 // a piece of them is all held
		k.happen(held, "user-1", "thing-2")
		k.happen(3, "user-1", "thing-3")
		k.happen(4, "user-1", "thing-4")
		k.soFar()
		known := k.hold(audit.NewHold{EntityID: "thing-2"})
		p := k.plan()
		if err := k.Piece(t.Context(), admin, p.PlanHash); err != nil {
			t.Fatal(err)
		}
		if k.left() != held+7 {
			t.Fatalf("%d are left after a piece", k.left())
		}
		k.hold(audit.NewHold{EntityID: "thing-3"})
		k.release(known)
		k.seal()
		k.now = k.now.Add(100 * day) // what was begun may be ended at any time
		next := keep(t, st)
		next.now = k.now
		n, err := next.Resume(t.Context())
		if err != nil || n != 4 || k.left() != held+3 {
			t.Errorf("gone on: %d, %v, and %d are left, want those about thing-2 and the 3 about thing-3", n, err, k.left())
		}
		if k.story() != "planned intended deleted deleted completed" {
			t.Error(k.story())
		}
		if n, err := next.Resume(t.Context()); n != 0 || err != nil {
			t.Errorf("once more: %d, %v", n, err)
		}

		// Applying it again goes on with it as well.
		k.soFar()
		p = k.plan()
		if err := k.Piece(t.Context(), admin, p.PlanHash); err != nil {
			t.Fatal(err)
		}
		if done := k.apply(p.PlanHash); !done.Complete || done.DeletedCount != p.EligibleCount {
			t.Errorf("applied again: %+v", done)
		}
	})
}

// Several servers that apply a plan at once do it once, while others write.
func TestRetentionAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		const old = 4*audit.RetentionRows + 1
		k.happen(old, "user-1", "thing-1")
		k.soFar()
		p := k.plan()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				_, err := k.Apply(t.Context(), admin, p.PlanHash)
				if err != nil && !strings.Contains(err.Error(), "was applied") && !strings.Contains(err.Error(), "have changed") {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			for range 20 {
				k.happen(1, "user-2", "thing-2")
			}
		})
		all.Wait()
		if n, err := k.Resume(t.Context()); n != 0 || err != nil {
			t.Errorf("something was left to do: %d, %v", n, err)
		}
		if k.left() != 20 || number(t, st, `select deleted from audit_retention_plan`) != old {
			t.Errorf("%d are left, and the plan has deleted %d", k.left(), number(t, st, `select deleted from audit_retention_plan`))
		}
		if n := strings.Count(k.story(), "intended") + strings.Count(k.story(), "completed"); n != 2 {
			t.Error(k.story())
		}
	})
}

func TestResumeEndsWithItsContext(t *testing.T) {
	k := keep(t, storetest.Open(t, storetest.SQLiteURL(t)))
	k.happen(audit.RetentionRows+1, "user-1", "thing-1")
	k.happen(audit.RetentionRows, "user-1", "thing-1")
	k.soFar()
	p := k.plan()
	if err := k.Piece(t.Context(), admin, p.PlanHash); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Resume(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if left := k.left(); left != audit.RetentionRows+1 {
		t.Errorf("%d are left", left)
	}
}

func TestHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		long := strings.Repeat("ä", audit.MaxHoldReason)
		h, err := k.AddHold(t.Context(), admin, audit.NewHold{ActorID: "user-1", EntityID: "POST /x", From: from, To: from.Add(1), Reason: long})
		if err == nil {
			t.Errorf("a span without a microsecond is taken: %+v", h)
		}
		h, err = k.AddHold(t.Context(), admin, audit.NewHold{ActorID: "user-1", EntityID: "POST /x", From: from, To: from.Add(time.Hour), Reason: long})
		if err != nil || h.CreatedBy != admin.UserID || !h.From.Equal(from) || h.CreatedAt.IsZero() {
			t.Fatalf("%+v, %v", h, err)
		}
		list, err := k.Holds(t.Context(), store.Page{Limit: 10})
		if err != nil || len(list.Items) != 1 || list.Items[0].ID != h.ID || list.Items[0].Reason != long || !list.Items[0].To.Equal(*h.To) {
			t.Errorf("listed: %+v, %v", list, err)
		}
		for name, n := range map[string]audit.NewHold{
			"reason": {}, "reason: blank": {Reason: " "}, "reason: long": {Reason: long + "ä"}, "reason: NUL": {Reason: "\x00"},
			"actorId: long": {ActorID: strings.Repeat("x", 257), Reason: "r"}, "entityId: lines": {EntityID: "a\nb", Reason: "r"},
			"from: after": {From: from, To: from.Add(-1), Reason: "r"}, "from: at": {From: from, To: from, Reason: "r"},
		} {
			field, _, _ := strings.Cut(name, ":")
			if _, err := k.AddHold(t.Context(), admin, n); !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), field) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := k.ReleaseHold(t.Context(), admin, store.NewID()); !fault.Is(err, fault.NotFound) {
			t.Errorf("released a hold that there is not: %v", err)
		}
		k.release(h)
		events, err := k.log.Events(t.Context(), audit.Filter{Entity: "AuditHold", EntityID: h.ID}, store.Page{Limit: 10})
		if err != nil || len(events.Items) != 2 || events.Items[0].Action != "audit.hold.released" || events.Items[1].Action != "audit.hold.placed" {
			t.Fatalf("%+v, %v", events, err)
		}
		for _, e := range events.Items { // a hold's row goes: its events tell all of it
			if e.Details["actorId"] != "user-1" || e.Details["entityId"] != "POST /x" || e.Details["reason"] != long || fmt.Sprint(e.Details["from"]) != "2026-01-01T00:00:00.000000Z" {
				t.Errorf("%+v", e.Details)
			}
		}
		for range audit.MaxHolds {
			k.hold(audit.NewHold{ActorID: "x"})
		}
		if _, err := k.AddHold(t.Context(), admin, audit.NewHold{Reason: "one more"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("hold %d: %v", audit.MaxHolds+1, err)
		}
		if p := k.plan(); len(p.PlanHash) != 64 { // the largest plan there can be fits into its event
			t.Errorf("%+v", p)
		}
	})
}
