package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Only what a checkpoint covers that is itself old enough goes: neither a row's own time nor a checkpoint
// that somebody has put in makes an event old.
func TestAgeIsProvenByCheckpoints(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		k.happen(3, "user-1", "thing-1")
		k.now = time.Now().Add(30 * day)
		if p := k.plan(); p.EligibleCount != 0 || !strings.Contains(p.AgeProof, "no checkpoint is older") {
			t.Errorf("without a checkpoint: %+v", p)
		}
		k.soFar()
		k.happen(2, "user-1", "thing-2") // under no checkpoint that is old enough, whatever its row says
		execute(t, st, `update "AuditLog" set at = 1 where entity_id = 'thing-2'`)
		p := k.plan() // of the three, and of the plan before
		if p.EligibleCount != 4 || !strings.Contains(p.AgeProof, "vouched for by this server only") {
			t.Errorf("with one: %+v", p)
		}
		k.seal()
		execute(t, st, `update audit_checkpoint set at = 1000000 where size = (select max(size) from audit_checkpoint)`,
			`delete from audit_checkpoint where at > 1000000`)
		if _, err := k.Plan(t.Context(), admin); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "not what was signed") {
			t.Errorf("by a checkpoint with another time: %v", err)
		}
	})
}

// What goes is named, leaf by leaf, before and while it does; what accounts for the log itself stays.
func TestRetentionNamesItsLeaves(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		const each = 400
		for i := range each { // every second one is held, so each leaf is a range of its own
			k.happen(1, "user-1", fmt.Sprintf("thing-%d", i%2))
		}
		h := k.hold(audit.NewHold{EntityID: "thing-1"})
		k.soFar()
		p := k.plan()
		if p.EligibleCount != each/2 || p.HeldCount != each/2 {
			t.Fatalf("%+v", p)
		}
		k.apply(p.PlanHash)
		k.release(h)
		intents := events(t, k.log, "audit.retention.intended")
		named, parts := 0, 0
		for _, e := range intents {
			ranges, _ := e.Details["ranges"].([]any)
			for _, r := range ranges {
				r := r.([]any)
				named += int(r[1].(float64) - r[0].(float64))
			}
			parts = int(e.Details["parts"].(float64))
			if e.Details["days"] != 30.0 || e.Details["checkpointSize"].(float64) < each || fmt.Sprint(e.Details["holds"]) != "["+h.ID+"]" {
				t.Errorf("an intent: %v", e.Details)
			}
		}
		if named != each/2 || parts != len(intents) {
			t.Errorf("%d leaves are named, by %d of %d events", named, len(intents), parts)
		}
		gone := 0
		for _, e := range events(t, k.log, "audit.retention.deleted") {
			gone += int(e.Details["count"].(float64))
		}
		if gone != each/2 || k.left() != each/2 {
			t.Errorf("%d went, and %d are left", gone, k.left())
		}
		k.soFar()
		k.apply(k.plan().PlanHash) // the hold is over
		if k.left() != 0 || len(events(t, k.log, "audit.hold.placed"))+len(events(t, k.log, "audit.hold.released")) != 2 ||
			len(events(t, k.log, "audit.retention.intended")) != len(intents)+1 {
			t.Errorf("%d are left; the log has lost what accounts for it", k.left())
		}
	})
}

func events(t *testing.T, log *audit.Log, action string) []audit.Record {
	t.Helper()
	list, err := log.Events(t.Context(), audit.Filter{Action: action}, store.Page{Limit: 200})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// One event's body goes, with its reason, before its time; never one that is held, or that the log needs.
func TestRedaction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		k.happen(3, "user-1", "thing-1")
		id := events(t, k.log, "test.happened")[1].ID
		refused := func(id, reason string, kind fault.Kind, part string) {
			t.Helper()
			if _, err := k.Redact(t.Context(), admin, id, reason); !fault.Is(err, kind) || !strings.Contains(err.Error(), part) {
				t.Errorf("%v, want %q", err, part)
			}
		}
		refused(id, " ", fault.Invalid, "1 to 500")
		refused(id, strings.Repeat("ä", audit.MaxRedactionReason+1), fault.Invalid, "1 to 500")
		refused("x", "GDPR-3", fault.NotFound, "there is no audit event x")
		refused(store.NewID(), "GDPR-3", fault.NotFound, "there is no audit event")
		h := k.hold(audit.NewHold{ActorID: "user-1"})
		refused(id, "GDPR-3", fault.Conflict, "legal hold")
		k.release(h)
		refused(events(t, k.log, "audit.hold.placed")[0].ID, "GDPR-3", fault.Conflict, "accounts for the log itself")
		r, err := k.Redact(t.Context(), admin, id, strings.Repeat("ä", audit.MaxRedactionReason))
		if err != nil || r.EventID != id || r.RedactedAt.IsZero() {
			t.Fatalf("%+v, %v", r, err)
		}
		if k.left() != 2 {
			t.Errorf("%d are left", k.left())
		}
		refused(id, "GDPR-3", fault.NotFound, "has been removed")
		for _, action := range []string{"audit.event.redaction_intended", "audit.event.redacted"} {
			list := events(t, k.log, action)
			if len(list) != 1 || list[0].EntityID != id || list[0].Details["leaf"] != float64(r.Leaf) || list[0].Actor.ID != admin.UserID {
				t.Errorf("%s: %+v", action, list)
			}
		}
		if _, err := k.log.Prove(t.Context(), id); !fault.Is(err, fault.NotFound) {
			t.Errorf("it can still be proven: %v", err)
		}
	})
}

// Enforcement by itself comes once in so many days, and off is off.
func TestEnforcementByItself(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		k.happen(3, "user-1", "thing-1")
		k.soFar()
		if n, err := k.Enforce(t.Context()); n != 0 || err != nil || k.left() != 3 {
			t.Errorf("off: %d, %v, and %d are left", n, err, k.left())
		}
		every := audit.NewRetention(k.log, audit.RetentionOptions{Days: 30, EveryDays: 7, Sealer: k.sealer, Now: func() time.Time { return k.now }})
		if n, err := every.Enforce(t.Context()); n != 3 || err != nil || k.left() != 0 {
			t.Errorf("the first time: %d, %v, and %d are left", n, err, k.left())
		}
		k.now = time.Now().Add(7*day - time.Minute)
		if n, err := every.Enforce(t.Context()); n != 0 || err != nil || strings.Count(k.story(), "completed") != 1 {
			t.Errorf("within the week: %d, %v, %s", n, err, k.story())
		}
		k.now = time.Now().Add(7*day + time.Minute)
		if _, err := every.Enforce(t.Context()); err != nil || strings.Count(k.story(), "completed") != 2 {
			t.Errorf("after it: %v, %s", err, k.story())
		}
	})
}

// What an enforcement should have removed and did not is seen.
func TestInspectRetention(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		inspect := func() audit.Enforcement {
			t.Helper()
			e, err := audit.InspectRetention(t.Context(), st)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		if e := inspect(); !e.FirstEvent.IsZero() || !e.CompletedAt.IsZero() || e.Left != 0 {
			t.Errorf("an empty log: %+v", e)
		}
		k.happen(3, "user-1", "thing-1")
		k.soFar()
		k.apply(k.plan().PlanHash)
		if e := inspect(); e.CompletedAt.IsZero() || e.Cutoff.IsZero() || e.Left != 0 || e.Unfinished != 0 {
			t.Errorf("after an enforcement: %+v", e)
		}
		// Two hours ago, as far as anybody can tell.
		execute(t, st, `update audit_retention_plan set checkpoint_at = checkpoint_at + 36000000000`)
		k.happen(2, "user-1", "thing-1")
		if e := inspect(); e.Left < 2 {
			t.Errorf("with events that should have gone: %+v", e)
		}
		k.hold(audit.NewHold{})
		if e := inspect(); e.Left != 0 {
			t.Errorf("with everything held: %+v", e)
		}
	})
}

// A checkpoint that an enforcement has relied on is not thinned out: without it nobody could tell later
// that the events were old enough.
func TestTheProofOfAgeIsKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		k := keep(t, st)
		k.happen(1, "user-1", "thing-1")
		k.soFar()
		k.apply(k.plan().PlanHash)
		relied := number(t, st, `select checkpoint_size from audit_retention_plan where completed_at is not null`)
		k.happen(1, "user-1", "thing-1")
		k.seal()
		// Both of one hour, long ago.
		execute(t, st, `update audit_checkpoint set at = 3600000000 + size, link = false`)
		if err := newSealer(t, k.log).Thin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := number(t, st, `select count(*) from audit_checkpoint where size = $1`, relied); n != 1 {
			t.Error("it is gone")
		}
		if n := number(t, st, `select count(*) from audit_checkpoint`); n != 2 {
			t.Errorf("%d checkpoints are kept, want it and the newest", n)
		}
	})
}
