package web_test

import (
	"fmt"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

const batchPath = jobsPath + "/batch"

func TestAcceptJobs(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann := s.SignIn(t, "ann", audit.Author)
		endpoint := paused(t, s)
		job := func(payload any) fields {
			return fields{"endpointId": endpoint, "contentType": "application/json", "payload": payload}
		}
		a := s.Do(t, "POST", batchPath, ann, []any{job("first"), job(fields{"n": 2}), job(nil)}, "Idempotency-Key", "k").Want(t, 202)
		wantNames(t, a.Body, "jobs")
		jobs, _ := a.At("jobs").([]any)
		if len(jobs) != 3 {
			t.Fatalf("answered %s", a.Text)
		}
		for i, bytes := range []float64{5, 7, 4} {
			one, _ := jobs[i].(map[string]any)
			wantNames(t, one, jobNames...)
			id, _ := one["id"].(string)
			if got := s.Do(t, "GET", jobsPath+"/"+id, ann, nil).Want(t, 200); got.At("job.payloadBytes") != bytes {
				t.Errorf("job %d has %v bytes, want %v", i, got.At("job.payloadBytes"), bytes)
			}
		}
		again := s.Do(t, "POST", batchPath, ann, []any{job("first"), job(fields{"n": 2}), job(nil)}, "Idempotency-Key", "k").Want(t, 202)
		if again.Text != a.Text {
			t.Errorf("answered %s and then %s", a.Text, again.Text)
		}
		wantProblem(t, s.Do(t, "POST", batchPath, ann, []any{job("other")}, "Idempotency-Key", "k"), 409, "Idempotency-Key")

		none := store.NewID()
		many := func(n int) string {
			one := `{"endpointId":"` + endpoint + `","contentType":"text/plain","payload":"x"}`
			return "[" + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + "]"
		}
		for _, tt := range []struct {
			name    string
			body    any
			status  int
			message string
			index   any
		}{
			{"no job", "[]", 422, "form", nil},
			{"one too many", many(1001), 422, "form", nil},
			{"no array", job("x"), 422, "form", nil},
			{"unknown field", []any{fields{"endpointId": endpoint, "contentType": "text/plain", "payload": "x", "priority": 1}}, 422, "form", nil},
			{"an endpoint that is not there", []any{job("x"), fields{"endpointId": none, "contentType": "text/plain", "payload": "x"}}, 422, "job 1: there is no endpoint " + none, 1.0},
			{"a value that is not JSON's to send", []any{job("x"), job("y"), fields{"endpointId": endpoint, "contentType": "text/plain", "payload": 1}}, 422, "job 2: a payload of text/plain", 2.0},
			{"more than 8 MiB", []any{job(strings.Repeat("x", 5<<20)), job(strings.Repeat("x", 4<<20))}, 413, "larger", nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				got := s.Do(t, "POST", batchPath, ann, tt.body)
				wantProblem(t, got, tt.status, tt.message)
				if got.At("details.index") != tt.index {
					t.Errorf("details are %v", got.At("details"))
				}
			})
		}
		if list := s.Do(t, "GET", jobsPath, ann, nil).Want(t, 200); list.At("pageInfo.returned") != 3.0 {
			t.Errorf("refused jobs are there: %s", list.Text)
		}
		full := s.Do(t, "POST", batchPath, ann, many(1000)).Want(t, 202)
		if jobs, _ := full.At("jobs").([]any); len(jobs) != 1000 {
			t.Error(fmt.Sprint(len(jobs), " jobs are answered"))
		}
	})
}
