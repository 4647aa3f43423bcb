package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

func TestObservabilitySummary(t *testing.T) {
	received := make(chan struct{}, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { received <- struct{}{} }))
	defer hook.Close()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st, "DISPATCH_DEAD_LETTER_ALERT_THRESHOLD=2", "ALERT_WEBHOOK_URL="+hook.URL+"/secret-path")
		admin, auditor, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "olga", audit.Auditor), s.SignIn(t, "bob", audit.Author)
		path := "/api/admin/observability/summary"

		a := s.Do(t, "GET", path, auditor, nil).Want(t, 200)
		wantNames(t, a.Body, "windowMinutes", "from", "to", "dispatch", "auth", "ai", "alerts", "atLeast")
		wantNames(t, a.Body["dispatch"], "accepted", "dispatched", "retriedAttempts", "interruptedAttempts", "replayed", "deadLettered",
			"deadLetterReasons", "inFlight", "waiting", "deadLetters", "oldestWaitingSeconds", "oldestWaitingId")
		wantNames(t, a.Body["auth"], "signIns", "failedSignIns", "refreshes", "reusedRefreshTokens", "refused", "liveSessions")
		wantNames(t, a.Body["ai"], "enabled", "calls", "failedCalls", "droppedSuggestions")
		if a.Body["windowMinutes"] != 60.0 || a.At("dispatch.oldestWaitingSeconds") != nil || a.At("dispatch.accepted") != 0.0 ||
			a.At("auth.signIns") != 3.0 || a.At("auth.liveSessions") != 3.0 || a.At("ai.enabled") != false || a.At("ai.calls") != 0.0 {
			t.Errorf("at the start: %s", a.Text)
		}
		from, to := at(t, a, "from"), at(t, a, "to")
		if window := to.Sub(from); window < time.Hour || window >= time.Hour+time.Minute || !from.Equal(from.Truncate(time.Minute)) || time.Since(to) > time.Minute {
			t.Errorf("the window is from %v to %v", from, to)
		}
		alert := a.Body["alerts"].([]any)[0].(map[string]any)
		wantNames(t, alert, "name", "up", "text", "path", "count", "threshold", "windowMinutes", "raisedAt", "delivery", "sentAt", "lastError")
		if alert["name"] != "dispatch.dead_letter" || alert["up"] != false || alert["threshold"] != 2.0 || alert["raisedAt"] != nil {
			t.Errorf("the alert is %v", alert)
		}

		endpoint := text(t, s.Do(t, "POST", "/api/admin/dispatch/endpoints", admin, fields{"name": "receiver", "url": "http://127.0.0.1:9/"}).Want(t, 201), "endpoint.id")
		s.Do(t, "POST", "/api/admin/dispatch/endpoints/"+endpoint+"/pause", admin, nil).Want(t, 200)
		for i := range 3 {
			job := text(t, s.Do(t, "POST", "/api/dispatch/jobs", author, fields{"endpointId": endpoint, "contentType": "application/json", "payload": fields{}}).Want(t, 202), "job.id")
			if i < 2 {
				s.Do(t, "POST", "/api/admin/dispatch/"+job+"/dead-letter", admin, fields{"reason": "for the test"}).Want(t, 200)
			}
		}
		wantProblem(t, s.Do(t, "GET", path, author, nil), 403, "")
		wantProblem(t, s.Do(t, "GET", path, "", nil), 401, "")
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() {
			defer close(ran)
			s.Alerts.Run(ctx)
		}()
		<-received
		stop()
		<-ran // what was begun is stored

		a = s.Do(t, "GET", path+"?windowMinutes=10080", admin, nil).Want(t, 200)
		age, _ := a.At("dispatch.oldestWaitingSeconds").(float64)
		if a.At("dispatch.accepted") != 3.0 || a.At("dispatch.deadLettered") != 2.0 || a.At("dispatch.deadLetterReasons.OPERATOR") != 2.0 ||
			a.At("dispatch.waiting") != 1.0 || a.At("dispatch.deadLetters") != 2.0 || age <= 0 || age > 60 || a.At("auth.refused") != 1.0 ||
			len(a.Body["atLeast"].([]any)) != 0 {
			t.Errorf("with jobs: %s", a.Text)
		}
		alert = a.Body["alerts"].([]any)[0].(map[string]any)
		if alert["up"] != true || alert["count"] != 2.0 || alert["delivery"] != "SENT" || alert["sentAt"] == nil || alert["lastError"] != nil {
			t.Errorf("the alert is %v", alert)
		}
		for query, status := range map[string]int{
			"windowMinutes=1": 200, "windowMinutes=0": 422, "windowMinutes=10081": 422, "windowMinutes=x": 422, "window=5": 422,
		} {
			if a := s.Do(t, "GET", path+"?"+query, admin, nil); a.Status != status {
				t.Errorf("%s: %s", query, a.Text)
			}
		}
	})
}

func at(t *testing.T, a webtest.Answer, path string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, text(t, a, path))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
