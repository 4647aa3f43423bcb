package runbook

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sealpost/config"
	"sealpost/fault"
	"sealpost/rotation"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestRotationDecisions(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	tracked := func(name string, days int, matches bool) rotation.Tracked {
		return rotation.Tracked{Secret: name, AgeDays: days, RecordMatches: matches}
	}
	ages := func(policy int, list ...rotation.Tracked) Finding {
		return decideAges(rotation.Status{PolicyDays: policy, SecretsTracked: list})
	}
	whole := rotation.Rotation{
		ID: "r1", RotatedAt: at, Operator: "ada@example.org", TicketID: "SEC-1", Secrets: []string{"JWT_SECRET"},
		Environments: []string{"pilot"}, RollbackPlan: "back",
	}
	record := func(change func(*rotation.Rotation), changed []string, list ...rotation.Tracked) Finding {
		s := rotation.Status{SecretsTracked: list}
		if change != nil {
			r := whole
			change(&r)
			s.LatestRotation = &r
		}
		by := map[string]bool{}
		for _, name := range changed {
			by[name] = true
		}
		return decideRecord(s, by)
	}
	same := func(*rotation.Rotation) {}
	for _, tt := range []struct {
		name string
		got  Finding
		want Status
		says string
	}{
		{"90 days old", ages(90, tracked("JWT_SECRET", 90, false)), Pass, "all of 1 secrets"},
		{"91 days old", ages(90, tracked("JWT_SECRET", 91, false)), Fail, "JWT_SECRET (91 days)"},
		{"a policy that is laxer than the runbook", ages(365, tracked("JWT_SECRET", 91, false)), Fail, "older than 90 days"},
		{"a policy that is stricter", ages(30, tracked("JWT_SECRET", 31, false)), Fail, "older than 30 days"},
		{"one of several", ages(90, tracked("JWT_SECRET", 1, false), tracked("endpoint:e1", 100, false)), Fail, "endpoint:e1 (100 days)"},
		{"no secret at all", ages(90), Fail, "no secret is known"},

		{"no window", decideWindow(window{}), Pass, "no window is open"},
		{"an open window that ends", decideWindow(window{previous: "k", open: true, ends: true}), Pass, "that ends: true"},
		{"an open window without an end", decideWindow(window{previous: "k", open: true}), Fail, "that ends: false"},
		{"a window that is over", decideWindow(window{previous: "k", ends: true}), Pass, "is over"},
		{"the trial failed", decideWindow(window{trial: errors.New("it verifies for ever")}), Fail, "it verifies for ever"},

		{"nothing was rotated", record(nil, nil, tracked("JWT_SECRET", 1, false)), NotApplicable, "no secret has been rotated yet"},
		{"a change without a record", record(nil, []string{"JWT_SECRET"}, tracked("JWT_SECRET", 1, false)), Fail, "no record tells of it: JWT_SECRET"},
		{"a whole record of a change", record(same, []string{"JWT_SECRET"}, tracked("JWT_SECRET", 1, true)), Pass, "SEC-1, by ada@example.org"},
		{"a record of no change", record(same, nil, tracked("JWT_SECRET", 60, false)), Fail, "did not change then: JWT_SECRET"},
		{"another change without a record", record(same, []string{"DATA_ENCRYPTION_KEY"}, tracked("JWT_SECRET", 1, true), tracked("DATA_ENCRYPTION_KEY", 1, false)), Fail, "DATA_ENCRYPTION_KEY"},
		{"without an operator", record(func(r *rotation.Rotation) { r.Operator = "" }, nil, tracked("JWT_SECRET", 1, true)), Fail, "is not whole"},
		{"without a ticket", record(func(r *rotation.Rotation) { r.TicketID = "" }, nil, tracked("JWT_SECRET", 1, true)), Fail, "is not whole"},
		{"without environments", record(func(r *rotation.Rotation) { r.Environments = nil }, nil, tracked("JWT_SECRET", 1, true)), Fail, "is not whole"},
		{"without a rollback plan", record(func(r *rotation.Rotation) { r.RollbackPlan = "" }, nil, tracked("JWT_SECRET", 1, true)), Fail, "is not whole"},
		{"without a time", record(func(r *rotation.Rotation) { r.RotatedAt = time.Time{} }, nil, tracked("JWT_SECRET", 1, true)), Fail, "is not whole"},

		{"both answer", decideAnswers(3, fault.New(fault.Invalid, "no")), Pass, "refused: true"},
		{"what is not whole is taken", decideAnswers(3, nil), Fail, "refused: false"},
		{"no database", decideAnswers(3, errors.New("no database")), Fail, "refused: false"},
		{"no secrets", decideAnswers(0, fault.New(fault.Invalid, "no")), Fail, "0 secrets"},
	} {
		if tt.got.Status != tt.want || !strings.Contains(tt.got.Observed, tt.says) || len(tt.got.Evidence) == 0 {
			t.Errorf("%s: %+v", tt.name, tt.got)
		}
	}
	if err := tryWindow(at); err != nil {
		t.Errorf("the trial: %v", err)
	}
}

// A real change of a secret, first without its record and then with it.
func TestRotationIsRead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		c, _ := installation(t, st)
		check := func(when string, want map[string]Status) {
			t.Helper()
			by := of(t, c)
			for id, status := range want {
				if by[id].Status != status {
					t.Errorf("%s, %s: %+v", when, id, by[id])
				}
			}
		}
		check("at the start", map[string]Status{"RB-3.1": Pass, "RB-3.2": Pass, "RB-3.5": NotApplicable, "RB-3.6": Pass})
		next := rotation.Sources{Secrets: c.o.Config.Secrets}
		next.JWTPrevious, next.JWT = next.JWT, config.NewSecret([]byte("another-signing-secret-for-this-test-42"))
		keeper, err := rotation.Open(t.Context(), c.o.Log, next, rotation.Options{MaxAgeDays: 90, TokenLife: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		c.o.Rotation = keeper
		check("rotated", map[string]Status{"RB-3.1": Pass, "RB-3.2": Pass, "RB-3.5": Fail, "RB-3.6": Pass})
		if _, err := keeper.Record(t.Context(), admin, rotation.NewRotation{
			TicketID: "SEC-1", Secrets: []string{"JWT_SECRET"}, Environments: []string{"pilot"}, RollbackPlan: "back",
		}); err != nil {
			t.Fatal(err)
		}
		check("recorded", map[string]Status{"RB-3.5": Pass})
		write(t, st, `update secret_version set first_seen = first_seen - $1`, 91*24*time.Hour.Microseconds())
		c.o.Rotation, err = rotation.Open(t.Context(), c.o.Log, next, rotation.Options{MaxAgeDays: 90, TokenLife: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		check("91 days later", map[string]Status{"RB-3.1": Fail, "RB-3.5": Fail})
		c.o.Rotation = nil
		for _, id := range []string{"RB-3.1", "RB-3.2", "RB-3.5", "RB-3.6"} {
			if r := of(t, c)[id]; r.Status != Fail || r.Observed != "the check could not be made: only a running server knows which secrets it uses" {
				t.Errorf("without a server, %s: %+v", id, r)
			}
		}
	})
}
