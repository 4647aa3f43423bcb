package web_test

import (
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

const retentionPath = "/api/admin/audit-retention/"

func TestRetentionRoutes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st, "AUDIT_RETENTION_DAYS=0") // so that what happens here is old at once
		admin, auditor, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "eve", audit.Auditor), s.SignIn(t, "bob", audit.Author)
		const path = retentionPath + "enforce"
		seal(t, s)
		for _, body := range []any{nil, fields{}, fields{"dryRun": true}} {
			a := s.Do(t, "POST", path, admin, body).Want(t, 200)
			wantNames(t, a.At("report"), "dryRun", "cutoff", "eligibleCount", "deletedCount", "heldCount", "planHash", "complete", "ageProof")
			if a.At("report.dryRun") != true || a.At("report.deletedCount") != 0.0 || a.At("report.eligibleCount").(float64) < 3 {
				t.Errorf("a dry run: %s", a.Text)
			}
		}
		plan := func() string {
			t.Helper()
			seal(t, s)
			return s.Do(t, "POST", path, admin, nil).Want(t, 200).At("report.planHash").(string)
		}
		hash := plan()
		for name, body := range map[string]any{
			"no hash": fields{"dryRun": false}, "a hash that is none": fields{"dryRun": false, "planHash": "abc"},
			"capitals": fields{"dryRun": false, "planHash": strings.ToUpper(hash[:63]) + "A"}, "a dry run of a plan": fields{"planHash": hash},
			"another type": fields{"dryRun": "no"}, "another field": fields{"force": true}, "null": `{"dryRun":null,"planHash":5}`,
		} {
			if a := s.Do(t, "POST", path, admin, body); a.Status != 422 {
				t.Errorf("%s: %d %s", name, a.Status, a.Text)
			}
		}
		wantProblem(t, s.Do(t, "POST", path, admin, fields{"dryRun": false, "planHash": strings.Repeat("0", 64)}), 409, "no such plan")
		wantProblem(t, s.Do(t, "POST", path, "", nil), 401, "sign in")
		wantProblem(t, s.Do(t, "POST", path, author, nil), 403, "your role")
		wantProblem(t, s.Do(t, "POST", path, auditor, nil), 403, "your role")

		held := s.Do(t, "POST", retentionPath+"holds", admin, fields{"actorId": s.Do(t, "GET", "/api/auth/me", author, nil).At("user.id"), "reason": "LEGAL-7"}).Want(t, 201)
		wantNames(t, held.At("hold"), "id", "actorId", "reason", "createdBy", "createdAt")
		wantProblem(t, s.Do(t, "POST", path, admin, fields{"dryRun": false, "planHash": hash}), 409, "have changed")
		hash = plan()
		done := s.Do(t, "POST", path, admin, fields{"dryRun": false, "planHash": hash}).Want(t, 200)
		if done.At("report.dryRun") != false || done.At("report.complete") != true || done.At("report.deletedCount") != done.At("report.eligibleCount") || done.At("report.heldCount").(float64) < 1 {
			t.Errorf("applied: %s", done.Text)
		}
		wantProblem(t, s.Do(t, "POST", path, admin, fields{"dryRun": false, "planHash": hash}), 409, "was applied")
		if left := actions(t, s, audit.Filter{Action: "auth.dev_login.succeeded"}); len(left) > 1 {
			t.Errorf("sign-ins of those who are not held are left: %v", left)
		}
		if left := actions(t, s, audit.Filter{ActorID: held.At("hold.actorId").(string)}); len(left) == 0 {
			t.Error("nothing is left of whom is held")
		}

		hash = plan()
		stale(t, s)
		if a := s.Do(t, "POST", path, admin, fields{"dryRun": false, "planHash": hash}); a.Status != 401 || a.At("details.reauthRequired") != true {
			t.Errorf("applied with an old sign-in: %d %s", a.Status, a.Text)
		}
		plan() // a dry run deletes nothing, and asks for none
	})
}

// seal puts everything so far under a checkpoint.
func seal(t *testing.T, s *webtest.Server) {
	t.Helper()
	if err := s.Sealer.SealNow(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// One event's body goes, with a reason; the event that tells of it is in its place.
func TestRedactRoute(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st)
		admin, auditor := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "eve", audit.Auditor)
		id := s.Do(t, "GET", "/api/admin/audit/events?limit=1", admin, nil).Want(t, 200).At("events").([]any)[0].(map[string]any)["id"].(string)
		path := "/api/admin/audit/events/" + id + "/redact"
		wantProblem(t, s.Do(t, "POST", path, auditor, fields{"reason": "GDPR-3"}), 403, "your role")
		for name, body := range map[string]any{"nothing": nil, "no reason": fields{}, "an empty one": fields{"reason": ""}, "a long one": fields{"reason": strings.Repeat("x", 501)}} {
			if a := s.Do(t, "POST", path, admin, body); a.Status != 422 && a.Status != 400 {
				t.Errorf("%s: %d %s", name, a.Status, a.Text)
			}
		}
		wantProblem(t, s.Do(t, "POST", path, admin, fields{"reason": " "}), 422, "reason has 1 to 500")
		done := s.Do(t, "POST", path, admin, fields{"reason": "GDPR-3"}).Want(t, 200)
		wantNames(t, done.At("redaction"), "eventId", "leaf", "reason", "redactedAt")
		wantProblem(t, s.Do(t, "POST", path, admin, fields{"reason": "GDPR-3"}), 404, "has been removed")
		s.Do(t, "GET", "/api/admin/audit/events/"+id, admin, nil).Want(t, 404)
		if got := actions(t, s, audit.Filter{EntityID: id}); len(got) != 2 {
			t.Errorf("the events are %v", got)
		}
	})
}

func TestHoldRoutes(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin, auditor, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "eve", audit.Auditor), s.SignIn(t, "bob", audit.Author)
		const path = retentionPath + "holds"
		if a := s.Do(t, "GET", path, auditor, nil).Want(t, 200); len(a.Body["holds"].([]any)) != 0 {
			t.Errorf("at first: %s", a.Text)
		}
		whole := fields{"actorId": "user-1", "entityId": "job-1", "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T02:00:00+01:00", "reason": "LEGAL-7"}
		a := s.Do(t, "POST", path, admin, whole).Want(t, 201)
		wantNames(t, a.At("hold"), "id", "actorId", "entityId", "from", "to", "reason", "createdBy", "createdAt")
		if a.At("hold.to") != "2026-01-01T01:00:00Z" {
			t.Errorf("times are not in UTC: %s", a.Text)
		}
		id := a.At("hold.id").(string)
		s.Do(t, "POST", path, admin, fields{"reason": "everything"}).Want(t, 201)
		first := s.Do(t, "GET", path+"?limit=1", admin, nil).Want(t, 200)
		if first.At("pageInfo.hasMore") != true || first.Body["holds"].([]any)[0].(map[string]any)["id"] != id {
			t.Errorf("the first page: %s", first.Text)
		}
		for name, body := range map[string]fields{
			"no reason": {"actorId": "x"}, "an empty reason": {"reason": ""}, "a blank reason": {"reason": " "}, "a long reason": {"reason": strings.Repeat("x", 501)},
			"a long actor": {"reason": "r", "actorId": strings.Repeat("x", 257)}, "backwards": {"reason": "r", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
			"no time": {"reason": "r", "from": "soon"}, "another field": {"reason": "r", "until": "2026-01-01T00:00:00Z"},
		} {
			if a := s.Do(t, "POST", path, admin, body); a.Status != 422 {
				t.Errorf("%s: %d %s", name, a.Status, a.Text)
			}
		}
		wantProblem(t, s.Do(t, "DELETE", path+"/"+store.NewID(), admin, nil), 404, "no hold")
		wantProblem(t, s.Do(t, "GET", path, author, nil), 403, "your role")
		wantProblem(t, s.Do(t, "GET", path, "", nil), 401, "sign in")
		for _, who := range []string{author, auditor} {
			wantProblem(t, s.Do(t, "POST", path, who, whole), 403, "your role")
			wantProblem(t, s.Do(t, "DELETE", path+"/"+id, who, nil), 403, "your role")
		}
		s.Do(t, "DELETE", path+"/"+id, admin, nil).Want(t, 204)
		wantProblem(t, s.Do(t, "DELETE", path+"/"+id, admin, nil), 404, "no hold")
		stale(t, s)
		for _, a := range []webtest.Answer{s.Do(t, "POST", path, admin, whole), s.Do(t, "DELETE", path+"/"+id, admin, nil)} {
			if a.Status != 401 || a.At("details.reauthRequired") != true {
				t.Errorf("with an old sign-in: %d %s", a.Status, a.Text)
			}
		}
		if got := actions(t, s, audit.Filter{Entity: "AuditHold"}); len(got) != 3 {
			t.Errorf("the events are %v", got)
		}
	})
}
