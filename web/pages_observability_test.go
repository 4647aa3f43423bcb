package web_test

import (
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/web/webtest"
)

func TestObservabilityPage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Auditor)
		wantPage(t, signIn(t, s, audit.Author).get("/observability"), 403, "Your role does not allow this")
		a := v.get("/observability")
		wantPage(t, a, 200, "A bar is a minute", `aria-label="Jobs accepted: none since `, `<a href="/observability?windowMinutes=60" aria-current="true">An hour</a>`)
		if strings.Contains(a.Text, "style=") || strings.Contains(a.Text, `id="alert-`) {
			t.Error("it has a style of its own, or an alert")
		}
		admin := s.SignIn(t, "ann", audit.Admin)
		endpoint := text(t, s.Do(t, "POST", "/api/admin/dispatch/endpoints", admin, fields{"name": "receiver", "url": "http://127.0.0.1:9/"}).Want(t, 201), "endpoint.id")
		s.Do(t, "POST", "/api/admin/dispatch/endpoints/"+endpoint+"/pause", admin, nil).Want(t, 200)
		job := text(t, s.Do(t, "POST", "/api/dispatch/jobs", admin, fields{"endpointId": endpoint, "contentType": "application/json", "payload": fields{}}).Want(t, 202), "job.id")
		s.Do(t, "POST", "/api/admin/dispatch/"+job+"/dead-letter", admin, fields{"reason": "for the test"}).Want(t, 200)
		wantPage(t, v.get("/observability?windowMinutes=10080"), 200, "A bar is 3 hours", `aria-label="Jobs dead-lettered: 1 since `, `<path d="M`,
			`id="alert-dispatch.dead_letter"`, "1 dead letter within 60 minutes (alert threshold 1)", `aria-current="true">A week</a>`)
		wantPage(t, v.get("/observability?windowMinutes=1440"), 200, "A bar is 15 minutes")
		wantPage(t, v.get("/observability?windowMinutes=61"), 200, "A bar is a minute") // as where nobody chose
	}, "DISPATCH_DEAD_LETTER_ALERT_THRESHOLD=1")
}
