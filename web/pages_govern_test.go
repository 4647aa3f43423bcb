package web_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/store"
	"sealpost/web/webtest"
)

// The record is found by request, by actor and by thing, from whatever event one is at (runbook §4).
func TestAuditPages(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		id := pageJob(t, s, operator, dispatch.NewJob{EndpointID: pageEndpoint(t, s, "Ledger", answering(t, 400, "<b>no</b>"))})
		pageJobIs(t, s, id, dispatch.DeadLetter)
		v := signIn(t, s, audit.Auditor)
		a := v.get("/audit?entityId=" + id)
		wantPage(t, a, 200, "dispatch.job.accepted", "dispatch.job.dead_lettered", "SUCCESS", `href="/audit?actorId=`+url.QueryEscape(operator.UserID))
		if strings.Contains(a.Text, "auth.user.registered") {
			t.Error("the list has events of other things")
		}
		list, err := s.Log.Events(t.Context(), audit.Filter{EntityID: id, Action: "dispatch.job.dead_lettered"}, store.Page{Limit: 1})
		if err != nil || len(list.Items) != 1 {
			t.Fatal(list.Items, err)
		}
		wantPage(t, v.get("/audit/"+list.Items[0].ID), 200, "dispatch.job.dead_lettered", "PERMANENT", id)
		wantPage(t, v.post("/audit/"+list.Items[0].ID+"/redact", "reason", "x"), 403, "Your role does not allow this")
		admin := signIn(t, s, audit.Admin)
		wantPage(t, admin.post("/audit/"+list.Items[0].ID+"/redact", "reason", " "), 422, "Reason has 1 to 500")
		wantTo(t, admin.post("/audit/"+list.Items[0].ID+"/redact", "reason", "GDPR-3"), "/audit?done=redacted")
		wantPage(t, v.get("/audit?entityId="+list.Items[0].ID), 200, "audit.event.redacted")
		wantPage(t, v.get("/audit/"+someID), 404, "There is no audit event")
		wantPage(t, v.get("/audit?action=no.such.action"), 200, "No event is like that")
		wantPage(t, v.get("/audit?from=yesterday"), 422, "From is a time in UTC")
		wantPage(t, v.get("/audit?cursor=zz"), 400, "none of a list of events")
		wantPage(t, v.get("/audit?from=2999-01-01T00:00"), 200, "No event is like that")
		wantPage(t, v.get("/audit?outcome=%3Cscript%3E"), 200, "dispatch.job.accepted") // which is no outcome
		for range jobsShown {
			if err := s.Log.Record(t.Context(), operator, audit.Event{Action: "test.paged", Entity: "Test", EntityID: "1"}); err != nil {
				t.Fatal(err)
			}
		}
		older := regexp.MustCompile(`id="older" href="([^"]*)"`).FindStringSubmatch(v.get("/audit?actorId=" + operator.UserID).Text)
		if older == nil {
			t.Fatal("there is no second page")
		}
		wantPage(t, v.get(strings.ReplaceAll(older[1], "&amp;", "&")), 200, "dispatch.job.accepted", "Newest")
	})
}

const jobsShown = 50

// A rotation is recorded by a form, which says what is missing, and the table then shows it (runbook §3).
func TestSecretPages(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		endpoint := pageEndpoint(t, s, "Ledger & Sons", answering(t, 200, "yes"))
		v := signIn(t, s, audit.Admin)
		wantPage(t, v.get("/secrets"), 200, "JWT_SECRET", "DATA_ENCRYPTION_KEY", "Ledger &amp; Sons", `href="/endpoints/`+endpoint, "No rotation has been recorded")
		wantPage(t, v.post("/secrets", "ticketId", "SEC-1", "environments", "pilot", "rollbackPlan", "back"), 422,
			"Secrets names 1 to", `value="SEC-1"`)
		wantPage(t, v.post("/secrets", "secret.JWT_SECRET", "true", "ticketId", "SEC-1", "environments", " , ", "rollbackPlan", "back"), 422,
			"Environments names 1 to", `name="secret.JWT_SECRET" value="true" checked`)
		wantPage(t, v.post("/secrets", "secret.JWT_SECRET", "true", "ticketId", "SEC-1", "environments", "pilot", "rollbackPlan", "back", "rotatedAt", "soon"), 422,
			"The time is a time in UTC")
		wantPage(t, v.post("/secrets", "secret.PATH", "true", "ticketId", "SEC-1", "environments", "pilot", "rollbackPlan", "back"), 422, "is none of")
		wantTo(t, v.post("/secrets", "secret.JWT_SECRET", "true", "secret.endpoint:"+endpoint, "true", "ticketId", "SEC-1",
			"environments", "pilot, dr", "rollbackPlan", "put it back"), "/secrets?done=recorded")
		wantPage(t, v.get("/secrets?done=recorded"), 200, "The rotation was recorded.", "SEC-1", "pilot, dr", "put it back")
		auditor := signIn(t, s, audit.Auditor).get("/secrets")
		wantPage(t, auditor, 200, "SEC-1")
		if strings.Contains(auditor.Text, `action="/secrets"`) {
			t.Error("an AUDITOR is offered the form")
		}
	})
}

// A dry run makes a plan, which is applied by its hash; holds are made and released (runbook §6).
func TestRetentionPages(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		wantPage(t, v.get("/retention"), 200, "2555 days", "Nothing is held")
		seal(t, s)
		report := v.post("/retention/plan")
		wantPage(t, report, 200, "The plan", `id="eligible">0`, "Nothing is old enough")
		wantPage(t, v.post("/retention/apply", "planHash", strings.Repeat("0", 64)), 409, "plan")
		wantPage(t, v.post("/retention/apply", "planHash", hidden(t, report, "planHash")), 200, "Applied", `id="deleted">0`)
		list, err := s.Log.Events(t.Context(), audit.Filter{Entity: "AuditRetention"}, store.Page{Limit: 10})
		if err != nil || len(list.Items) < 2 {
			t.Errorf("it is recorded as %+v, %v", list.Items, err)
		}

		wantPage(t, v.post("/retention/holds", "actorId", "a", "reason", " "), 422, "Reason has 1 to", `value="a"`)
		wantPage(t, v.post("/retention/holds", "from", "2026-02-01T00:00", "to", "2026-01-01T00:00", "reason", "x"), 422, "From is before to")
		wantPage(t, v.post("/retention/holds", "to", "never", "reason", "x"), 422, "To is a time in UTC")
		wantTo(t, v.post("/retention/holds", "actorId", operator.UserID, "from", "2026-01-01T00:00", "reason", "Case <17>"), "/retention?done=held")
		page := v.get("/retention?done=held")
		wantPage(t, page, 200, "These events are held.", "Case &lt;17&gt;", operator.UserID, "2026-01-01 00:00:00")
		release := regexp.MustCompile(`/retention/holds/[^/"]*/release`).FindString(page.Text)
		wantTo(t, v.post(release), "/retention?done=released")
		wantPage(t, v.get("/retention?done=released"), 200, "The hold was released", "Nothing is held")
		wantPage(t, v.post(release), 404, "hold")
	})
}

// Whoever does not confirm a guarded action goes back to the page that it was on.
func TestReauthLeadsBack(t *testing.T) {
	s := pageServer(t, "REAUTH_MAX_AGE_MINUTES=1")
	v := signIn(t, s, audit.Admin)
	stale(t, s)
	for path, back := range map[string]string{
		"/retention/apply": "/retention", "/retention/holds": "/retention", "/retention/holds/" + someID + "/release": "/retention",
		"/secrets": "/secrets", "/endpoints": "/endpoints", "/endpoints/" + someID + "/pause": "/endpoints/" + someID,
	} {
		wantPage(t, v.post(path), 403, "Confirm that it is you", `href="`+back+`">Cancel`)
	}
}
