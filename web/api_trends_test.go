package web_test

import (
	"fmt"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

func TestObservabilityTrends(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st)
		admin, auditor, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "olga", audit.Auditor), s.SignIn(t, "bob", audit.Author)
		path := "/api/admin/observability/trends"
		wantProblem(t, s.Do(t, "GET", path, author, nil), 403, "")
		wantProblem(t, s.Do(t, "GET", path, "", nil), 401, "")
		endpoint := text(t, s.Do(t, "POST", "/api/admin/dispatch/endpoints", admin, fields{"name": "receiver", "url": "http://127.0.0.1:9/"}).Want(t, 201), "endpoint.id")
		s.Do(t, "POST", "/api/admin/dispatch/endpoints/"+endpoint+"/pause", admin, nil).Want(t, 200)
		for i := range 3 {
			job := text(t, s.Do(t, "POST", "/api/dispatch/jobs", author, fields{"endpointId": endpoint, "contentType": "application/json", "payload": fields{}}).Want(t, 202), "job.id")
			if i < 2 {
				s.Do(t, "POST", "/api/admin/dispatch/"+job+"/dead-letter", admin, fields{"reason": "for the test"}).Want(t, 200)
			}
		}

		a := s.Do(t, "GET", path+"?windowMinutes=30&bucketMinutes=10", auditor, nil).Want(t, 200)
		wantNames(t, a.Body, "windowMinutes", "bucketMinutes", "from", "to", "buckets", "atLeast")
		buckets := a.Body["buckets"].([]any)
		from := at(t, a, "from")
		if len(buckets) != 4 || a.At("windowMinutes") != 30.0 || a.At("bucketMinutes") != 10.0 || from.Unix()%600 != 0 ||
			fmt.Sprint(a.Body["atLeast"]) != "[]" {
			t.Errorf("the trends are %s", a.Text)
		}
		sum := map[string]float64{}
		for i, b := range buckets {
			b := b.(map[string]any)
			wantNames(t, b, "from", "dispatch", "auth", "ai")
			wantNames(t, b["dispatch"], "accepted", "dispatched", "retriedAttempts", "interruptedAttempts", "replayed", "deadLettered",
				"deadLetterReasons", "alertsRaised")
			wantNames(t, b["auth"], "signIns", "failedSignIns", "refreshes", "reusedRefreshTokens", "refused")
			wantNames(t, b["ai"], "calls", "failedCalls", "droppedSuggestions")
			if start, err := time.Parse(time.RFC3339Nano, b["from"].(string)); err != nil || !start.Equal(from.Add(time.Duration(i)*10*time.Minute)) {
				t.Errorf("bucket %d begins at %v, %v", i, b["from"], err)
			}
			for part, numbers := range b {
				if m, ok := numbers.(map[string]any); ok {
					for name, n := range m {
						if n, ok := n.(float64); ok {
							sum[part+"."+name] += n
						}
					}
				}
			}
			for reason, n := range b["dispatch"].(map[string]any)["deadLetterReasons"].(map[string]any) {
				sum[reason] += n.(float64)
			}
		}
		for name, want := range map[string]float64{
			"dispatch.accepted": 3, "dispatch.deadLettered": 2, "OPERATOR": 2, "dispatch.dispatched": 0,
			"auth.signIns": 3, "auth.refused": 1, "ai.calls": 0,
		} {
			if sum[name] != want {
				t.Errorf("%s: %v in all, want %v", name, sum[name], want)
			}
		}

		for query, want := range map[string]int{
			"": 200, "windowMinutes=1": 200, "windowMinutes=0": 422, "windowMinutes=10080": 200, "windowMinutes=10081": 422,
			"bucketMinutes=0": 422, "bucketMinutes=60": 200, "bucketMinutes=61": 422, "windowMinutes=10080&bucketMinutes=1440": 200,
			"windowMinutes=10080&bucketMinutes=1441": 422, "windowMinutes=1440&bucketMinutes=1": 200, "windowMinutes=1441&bucketMinutes=1": 422,
			"windowMinutes=10080&bucketMinutes=7": 200, "windowMinutes=10080&bucketMinutes=6": 422, "bucket=5": 422,
		} {
			if a := s.Do(t, "GET", path+"?"+query, admin, nil); a.Status != want {
				t.Errorf("%q: %d %s", query, a.Status, a.Body["error"])
			}
		}
	})
}
