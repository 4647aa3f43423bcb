package web_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

// quick are settings under which a test need not wait for retries.
var quick = []string{"DISPATCH_BACKOFF_MS=1", "DISPATCH_MAX_ATTEMPTS=2"}

// Who may use which of dispatch's routes.
func TestDispatchRoles(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		tokens := map[string]string{
			"nobody": "", "author": s.SignIn(t, "ann", audit.Author), "auditor": s.SignIn(t, "kim", audit.Auditor), "admin": s.SignIn(t, "eve", audit.Admin),
		}
		endpoint, none := paused(t, s), store.NewID()
		const jobs, endpoints = "/api/admin/dispatch/jobs", "/api/admin/dispatch/endpoints"
		mine := accept(t, s, tokens["author"], endpoint, "x")
		for _, tt := range []struct {
			method, path           string
			body                   any
			author, auditor, admin int // what each is answered with; nobody always with 401
		}{
			{"POST", jobsPath, fields{"endpointId": endpoint, "contentType": "text/plain", "payload": ""}, 202, 403, 202},
			{"POST", batchPath, []fields{{"endpointId": endpoint, "contentType": "text/plain", "payload": ""}}, 202, 403, 202},
			{"GET", jobsPath, nil, 200, 200, 200},
			{"GET", jobsPath + "/" + mine, nil, 200, 404, 404},
			{"GET", jobs, nil, 403, 200, 200},
			{"GET", jobs + "/" + mine, nil, 403, 200, 200},
			{"GET", jobs + "/" + mine + "/payload", nil, 403, 403, 200},
			{"POST", "/api/admin/dispatch/retry-due", nil, 403, 403, 200},
			{"POST", "/api/admin/dispatch/" + mine + "/replay", nil, 403, 403, 200},
			{"POST", "/api/admin/dispatch/replay", fields{"filter": fields{}, "limit": 1}, 403, 403, 200},
			{"POST", "/api/admin/dispatch/" + mine + "/dead-letter", fields{"reason": "r"}, 403, 403, 200},
			{"GET", endpoints, nil, 403, 200, 200},
			{"GET", endpoints + "/" + endpoint, nil, 403, 200, 200},
			{"POST", endpoints, fields{"name": "n", "url": "https://receiver.example"}, 403, 403, 201},
			{"PATCH", endpoints + "/" + endpoint, fields{"name": "n"}, 403, 403, 200},
			{"POST", endpoints + "/" + endpoint + "/rotate-secret", fields{"overlapHours": 0}, 403, 403, 200},
			{"POST", endpoints + "/" + endpoint + "/test", nil, 403, 403, 200},
			{"POST", endpoints + "/" + endpoint + "/pause", nil, 403, 403, 200},
			{"POST", endpoints + "/" + endpoint + "/resume", nil, 403, 403, 200},
			{"DELETE", endpoints + "/" + none, nil, 403, 403, 404},
		} {
			for who, want := range map[string]int{"nobody": 401, "author": tt.author, "auditor": tt.auditor, "admin": tt.admin} {
				if a := s.Do(t, tt.method, tt.path, tokens[who], tt.body); a.Status != want {
					t.Errorf("%s %s by %s: %d, want %d: %s", tt.method, tt.path, who, a.Status, want, a.Text)
				}
			}
		}
		s.Do(t, "POST", endpoints+"/"+endpoint+"/rotate-secret", tokens["auditor"], fields{"overlapHours": 0}).Want(t, 403)
		denied := actions(t, s, audit.Filter{Action: "access.denied"})
		if len(denied) < 10 {
			t.Errorf("%d refusals are recorded", len(denied))
		}
	})
}

// What says where payloads go, and with which secret, needs a fresh sign-in; what an operator does in
// the night does not.
func TestGuardedDispatch(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		admin := s.SignIn(t, "eve", audit.Admin)
		endpoint := paused(t, s)
		job := accept(t, s, admin, endpoint, "x")
		age := func(back time.Duration) {
			t.Helper()
			err := s.Store.Write(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), `update session set authenticated_at = $1`, time.Now().Add(-back).UnixMicro())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		const endpoints = "/api/admin/dispatch/endpoints"
		one := endpoints + "/" + endpoint
		guarded := []struct {
			method, path string
			body         any
			status       int
		}{
			{"POST", endpoints, fields{"name": "n", "url": "https://receiver.example"}, 201},
			{"PATCH", one, fields{"url": "https://thief.example"}, 200},
			{"POST", one + "/rotate-secret", fields{"overlapHours": 1}, 200},
			{"DELETE", one, nil, 409},
		}
		age(15*time.Minute + time.Second)
		for _, g := range guarded {
			a := s.Do(t, g.method, g.path, admin, g.body)
			wantProblem(t, a, 401, "fresh sign-in")
			if a.At("details.reauthRequired") != true {
				t.Errorf("%s %s: %s", g.method, g.path, a.Text)
			}
		}
		if a := s.Do(t, "GET", one, admin, nil).Want(t, 200); a.At("endpoint.url") != "http://127.0.0.1:9/" {
			t.Errorf("the endpoint was changed all the same: %s", a.Text)
		}
		events := s.Do(t, "GET", "/api/admin/audit/events?action=access.denied", admin, nil).Want(t, 200)
		if n := strings.Count(events.Text, `"reauthRequired"`); n != len(guarded) {
			t.Errorf("%d refusals are recorded: %s", n, events.Text)
		}
		s.Do(t, "POST", "/api/admin/dispatch/"+job+"/replay", admin, nil).Want(t, 200)
		s.Do(t, "POST", "/api/admin/dispatch/"+job+"/dead-letter", admin, fields{"reason": "r"}).Want(t, 200)
		for _, path := range []string{one + "/resume", one + "/pause", "/api/admin/dispatch/retry-due"} {
			s.Do(t, "POST", path, admin, nil).Want(t, 200)
		}
		accept(t, s, admin, endpoint, "x")
		age(14 * time.Minute)
		for _, g := range guarded {
			s.Do(t, g.method, g.path, admin, g.body).Want(t, g.status)
		}
	})
}

// The runbook's section 5: a receiver fails, jobs die, it is mended, and they are replayed.
func TestDeadLettersAndReplay(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ann, admin := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "eve", audit.Admin)
		rc := newReceiver(t)
		endpoint, _ := newEndpoint(t, s, rc.URL+"/hook?token=s3cret")
		rc.answer(http.StatusServiceUnavailable)
		id := accept(t, s, ann, endpoint, "x")
		dead := awaitJob(t, s, admin, id, "DEAD_LETTER")
		for name, want := range (fields{
			"attemptCount": 2.0, "maxAttempts": 2.0, "nextRetryAt": nil, "dispatchedAt": nil,
			"deadLetterReason": "EXHAUSTED", "lastError": "503 Service Unavailable",
		}) {
			if got := dead.At("job." + name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if dead.At("job.deadLetteredAt") == nil || strings.Contains(dead.Text, "s3cret") {
			t.Errorf("the dead job is %s", dead.Text)
		}
		attempts, _ := dead.At("job.attempts").([]any)
		if len(attempts) != 2 {
			t.Fatalf("the attempts are %v", attempts)
		}
		for i, v := range attempts {
			wantNames(t, v, "number", "outcome", "startedAt", "endedAt", "durationMs", "statusCode", "error", "answer")
			a := v.(map[string]any)
			if a["number"] != float64(i+1) || a["outcome"] != "FAILED" || a["statusCode"] != 503.0 || a["error"] != "503 Service Unavailable" || a["answer"] != nil {
				t.Errorf("attempt %d is %v", i, a)
			}
		}
		replay := "/api/admin/dispatch/" + id + "/replay"
		for _, tt := range []struct {
			body    any
			status  int
			message string
		}{
			{fields{"force": true}, 422, "reason"},
			{fields{"force": true, "reason": " "}, 422, "reason"},
			{fields{"reason": strings.Repeat("ä", 501)}, 422, "form"},
			{fields{"expireAt": "2020-01-01T00:00:00Z"}, 422, "over already"},
			{fields{"expireAt": "9999-12-31T23:59:59-12:00"}, 422, "9999"},
			{fields{"because": "x"}, 422, "form"},
			{"[]", 422, "form"},
			{"{", 400, "lacks"},
		} {
			wantProblem(t, s.Do(t, "POST", replay, admin, tt.body), tt.status, tt.message)
		}
		wantProblem(t, s.Do(t, "POST", "/api/admin/dispatch/"+store.NewID()+"/replay", admin, nil), 404, "no job")
		wantProblem(t, s.Do(t, "POST", "/api/admin/dispatch/x/replay", admin, nil), 404, "no job")

		rc.answer(http.StatusOK)
		replayed := s.Do(t, "POST", replay, admin, nil, "X-Request-Id", "replay-1").Want(t, 200)
		wantNames(t, replayed.At("job"), jobNames...)
		if replayed.At("job.id") != id || replayed.At("job.status") != "PENDING" || replayed.At("job.deadLetterReason") != nil ||
			replayed.At("job.deadLetteredAt") != nil || replayed.At("job.attemptCount") != 2.0 {
			t.Errorf("replayed: %s", replayed.Text)
		}
		if at, err := time.Parse(time.RFC3339, text(t, replayed, "job.nextRetryAt")); err != nil || time.Since(at) > time.Minute {
			t.Errorf("the next attempt is said to be at %s", at)
		}
		done := awaitJob(t, s, admin, id, "DISPATCHED")
		if attempts, _ = done.At("job.attempts").([]any); len(attempts) != 3 || done.At("job.lastError") != nil || done.At("job.dispatchedAt") == nil {
			t.Errorf("in the end it is %s", done.Text)
		}
		if got := rc.got(id).header; got.Get("Idempotency-Key") != id {
			t.Errorf("the last attempt has the key %s", got.Get("Idempotency-Key"))
		}
		a := s.Do(t, "POST", replay, admin, nil)
		wantProblem(t, a, 409, "force and a reason")
		if a.At("details.status") != "DISPATCHED" {
			t.Errorf("the refusal is %s", a.Text)
		}
		s.Do(t, "POST", replay, admin, fields{"force": true, "reason": strings.Repeat("ä", 500)}).Want(t, 200)
		awaitJob(t, s, admin, id, "DISPATCHED")

		want := []string{
			"dispatch.job.accepted", "dispatch.attempt.failed", "dispatch.job.dead_lettered", "dispatch.job.replayed",
			"dispatch.job.dispatched", "dispatch.job.replayed", "dispatch.job.dispatched",
		}
		if got := actions(t, s, audit.Filter{EntityID: id}); !slices.Equal(got, want) {
			t.Errorf("the job's events are %v, want %v", got, want)
		}
		if got := actions(t, s, audit.Filter{RequestID: "replay-1"}); !slices.Equal(got, []string{"dispatch.job.replayed"}) {
			t.Errorf("the replay's request has the events %v", got)
		}
		if strings.Contains(s.Logged(), "s3cret") {
			t.Error("the log has the URL's query")
		}
	}, quick...)
}

func TestReplayOfWhatIsOver(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		admin := s.SignIn(t, "eve", audit.Admin)
		rc := newReceiver(t)
		endpoint, _ := newEndpoint(t, s, rc.URL)
		one := "/api/admin/dispatch/endpoints/" + endpoint
		s.Do(t, "POST", one+"/pause", admin, nil).Want(t, 200)
		a := s.Do(t, "POST", jobsPath, admin, fields{
			"endpointId": endpoint, "contentType": "text/plain", "payload": "x",
			"expireAt": time.Now().Add(300 * time.Millisecond),
		}).Want(t, 202)
		id := text(t, a, "job.id")
		time.Sleep(350 * time.Millisecond)
		s.Do(t, "POST", one+"/resume", admin, nil).Want(t, 200)
		if dead := awaitJob(t, s, admin, id, "DEAD_LETTER"); dead.At("job.deadLetterReason") != "EXPIRED" || dead.At("job.attemptCount") != 0.0 {
			t.Errorf("the expired job is %s", dead.Text)
		}
		replay := "/api/admin/dispatch/" + id + "/replay"
		wantProblem(t, s.Do(t, "POST", replay, admin, fields{}), 409, "new expireAt")
		s.Do(t, "POST", replay, admin, fields{"expireAt": time.Now().Add(time.Hour)}).Want(t, 200)
		awaitJob(t, s, admin, id, "DISPATCHED")
		if n := len(rc.got(id).body); n != 1 {
			t.Errorf("%d bytes arrived", n)
		}
		s.Do(t, "DELETE", one, admin, nil).Want(t, 204)
		wantProblem(t, s.Do(t, "POST", replay, admin, fields{"force": true, "reason": "again", "expireAt": time.Now().Add(2 * time.Hour)}), 409, "deleted")
	}, quick...)
}

func TestDeadLetterByOperator(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		admin := s.SignIn(t, "eve", audit.Admin)
		id := accept(t, s, admin, paused(t, s), "x")
		path := "/api/admin/dispatch/" + id + "/dead-letter"
		for _, tt := range []struct {
			body    any
			status  int
			message string
		}{
			{nil, 400, "body"},
			{fields{}, 422, "form"},
			{fields{"reason": ""}, 422, "form"},
			{fields{"reason": " \n"}, 422, "reason"},
			{fields{"reason": strings.Repeat("x", 501)}, 422, "form"},
			{fields{"reason": 1}, 422, "form"},
			{fields{"reason": "r", "force": true}, 422, "form"},
		} {
			wantProblem(t, s.Do(t, "POST", path, admin, tt.body), tt.status, tt.message)
		}
		wantProblem(t, s.Do(t, "POST", "/api/admin/dispatch/"+store.NewID()+"/dead-letter", admin, fields{"reason": "r"}), 404, "no job")
		a := s.Do(t, "POST", path, admin, fields{"reason": strings.Repeat("ä", 500)}, "X-Request-Id", "dead-1").Want(t, 200)
		wantNames(t, a.At("job"), jobNames...)
		for name, want := range (fields{"status": "DEAD_LETTER", "deadLetterReason": "OPERATOR", "nextRetryAt": nil, "attemptCount": 0.0}) {
			if got := a.At("job." + name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		wantProblem(t, s.Do(t, "POST", path, admin, fields{"reason": "r"}), 409, "DEAD_LETTER already")
		events := s.Do(t, "GET", "/api/admin/audit/events?requestId=dead-1", admin, nil).Want(t, 200)
		if strings.Count(events.Text, `"dispatch.job.dead_lettered"`) != 1 || !strings.Contains(events.Text, `"why":"ää`) {
			t.Errorf("the event is %s", events.Text)
		}
	})
}

func TestRetryDueOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		admin := s.SignIn(t, "eve", audit.Admin)
		rc := newReceiver(t)
		endpoint, _ := newEndpoint(t, s, rc.URL)
		rc.answer(http.StatusServiceUnavailable)
		var jobs []string
		for range 3 {
			jobs = append(jobs, accept(t, s, admin, endpoint, "x"))
		}
		later := s.Do(t, "POST", jobsPath, admin, fields{"endpointId": endpoint, "contentType": "text/plain", "payload": "x", "deliverAfter": "2099-01-01T00:00:00Z"}).Want(t, 202)
		for _, id := range jobs {
			awaitJob(t, s, admin, id, "RETRYING")
		}
		rc.answer(http.StatusOK)
		const path = "/api/admin/dispatch/retry-due"
		processed := func(body any) []any {
			t.Helper()
			a := s.Do(t, "POST", path, admin, body).Want(t, 200)
			wantNames(t, a.Body, "processed")
			list, ok := a.At("processed").([]any)
			if !ok {
				t.Fatalf("processed is no list: %s", a.Text)
			}
			for _, p := range list {
				wantNames(t, p, "id", "status", "attemptCount", "nextRetryAt", "lastError")
			}
			return list
		}
		for _, body := range []any{nil, fields{}, fields{"limit": 1}, fields{"limit": 200}, fields{"includeWaiting": false}} {
			if list := processed(body); len(list) != 0 {
				t.Errorf("nothing is due, and %v gives %v", body, list)
			}
		}
		for _, tt := range []struct {
			body    any
			status  int
			message string
		}{
			{fields{"limit": 0}, 422, "form"},
			{fields{"limit": 201}, 422, "form"},
			{fields{"limit": 1.5}, 422, "form"},
			{fields{"limit": "20"}, 422, "form"},
			{fields{"all": true}, 422, "form"},
			{"null", 422, "form"},
			{"x", 400, "JSON"},
		} {
			wantProblem(t, s.Do(t, "POST", path, admin, tt.body), tt.status, tt.message)
		}
		if list := processed(fields{"limit": 1, "includeWaiting": true}); len(list) != 1 || list[0].(map[string]any)["status"] != "DISPATCHED" ||
			list[0].(map[string]any)["attemptCount"] != 2.0 || list[0].(map[string]any)["lastError"] != nil || list[0].(map[string]any)["nextRetryAt"] != nil {
			t.Errorf("one: %v", list)
		}
		// One that is to be delivered later is not one that waits for a retry.
		if list := processed(fields{"includeWaiting": true}); len(list) != 2 {
			t.Errorf("the others: %v", list)
		}
		if a := awaitAny(t, s, admin, text(t, later, "job.id")); a.At("job.status") != "PENDING" || a.At("job.nextRetryAt") != "2099-01-01T00:00:00Z" {
			t.Errorf("the later one is %s", a.Text)
		}
		if n := len(actions(t, s, audit.Filter{Action: "dispatch.retry_due.requested"})); n != 7 {
			t.Errorf("%d requests are recorded, want 7", n)
		}
	}, "DISPATCH_BACKOFF_MS=3600000")
}

func TestJobPayload(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ann, admin := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "eve", audit.Admin)
		id := accept(t, s, ann, paused(t, s), "ä <secret>")
		a := s.Do(t, "GET", "/api/admin/dispatch/jobs/"+id+"/payload", admin, nil, "X-Request-Id", "read-1").Want(t, 200)
		wantNames(t, a.Body, "contentType", "payload")
		if a.At("contentType") != "text/plain" || a.At("payload") != base64.StdEncoding.EncodeToString([]byte("ä <secret>")) {
			t.Errorf("the payload is %s", a.Text)
		}
		if got := actions(t, s, audit.Filter{RequestID: "read-1"}); !slices.Equal(got, []string{"dispatch.payload.read"}) {
			t.Errorf("reading it has the events %v", got)
		}
		wantProblem(t, s.Do(t, "GET", "/api/admin/dispatch/jobs/"+store.NewID()+"/payload", admin, nil), 404, "no job")
		if text := fmt.Sprint(s.Logged()); strings.Contains(text, "secret>") {
			t.Error("the log has the payload")
		}
	})
}

// Dead jobs are replayed together by a filter, at a rate, and the answer says which.
func TestReplayOfMany(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin := s.SignIn(t, "eve", audit.Admin)
		rc := newReceiver(t)
		rc.answer(422)
		endpoint, _ := newEndpoint(t, s, rc.URL)
		var ids []any
		for range 3 {
			id := accept(t, s, admin, endpoint, "x")
			awaitJob(t, s, admin, id, "DEAD_LETTER")
			ids = append(ids, id)
		}
		rc.answer(204)
		const path = "/api/admin/dispatch/replay"
		for name, body := range map[string]fields{
			"no filter": {"limit": 1}, "no limit": {"filter": fields{}}, "too many": {"filter": fields{}, "limit": 1001},
			"others than dead ones": {"filter": fields{"status": "RETRYING"}, "limit": 1}, "an unknown field": {"filter": fields{"owner": "x"}, "limit": 1},
			"too fast": {"filter": fields{}, "limit": 1, "ratePerSecond": 10001},
		} {
			t.Run(name, func(t *testing.T) { wantProblem(t, s.Do(t, "POST", path, admin, body), 422, "form") })
		}
		a := s.Do(t, "POST", path, admin, fields{"filter": fields{"endpointId": endpoint, "deadLetterReason": "PERMANENT"}, "limit": 2, "ratePerSecond": 100}).Want(t, 200)
		wantNames(t, a.Body, "replayed", "more")
		if got, _ := a.At("replayed").([]any); !slices.Equal(got, ids[:2]) || a.At("more") != true {
			t.Errorf("answered %s, the jobs are %v", a.Text, ids)
		}
		a = s.Do(t, "POST", path, admin, fields{"filter": fields{}, "limit": 1000}).Want(t, 200)
		if got, _ := a.At("replayed").([]any); !slices.Equal(got, ids[2:]) || a.At("more") != false {
			t.Errorf("answered %s", a.Text)
		}
		for _, id := range ids {
			awaitJob(t, s, admin, id.(string), "DISPATCHED")
		}
		if a = s.Do(t, "POST", path, admin, fields{"filter": fields{}, "limit": 1000}).Want(t, 200); a.Text != `{"replayed":[],"more":false}`+"\n" {
			t.Errorf("answered %q", a.Text)
		}
	})
}
