package web_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

const jobsPath = "/api/dispatch/jobs"

// jobNames are the members of a job, as the contract lists them.
var jobNames = []string{
	"id", "endpointId", "documentId", "status", "attemptCount", "maxAttempts", "nextRetryAt", "dispatchedAt",
	"deadLetteredAt", "deadLetterReason", "lastError", "orderingKey", "outOfOrder", "createdAt", "updatedAt",
}

// receivers is a receiver that keeps what arrives, by job, and answers as it is told.
type receivers struct {
	*httptest.Server
	mu      sync.Mutex
	status  int
	arrived map[string]delivered
}

func newReceiver(t *testing.T) *receivers {
	t.Helper()
	rc := &receivers{status: http.StatusNoContent, arrived: map[string]delivered{}}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rc.mu.Lock()
		rc.arrived[r.Header.Get("webhook-id")] = delivered{r.Header.Clone(), body}
		status := rc.status
		rc.mu.Unlock()
		w.WriteHeader(status)
	}))
	t.Cleanup(rc.Close)
	return rc
}

func (rc *receivers) answer(status int) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.status = status
}

func (rc *receivers) got(id string) delivered {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.arrived[id]
}

// paused makes an endpoint whose jobs stay as they were accepted.
func paused(t *testing.T, s *webtest.Server) (id string) {
	t.Helper()
	id, _ = newEndpoint(t, s, "http://127.0.0.1:9/")
	if _, err := s.Dispatch.SetPaused(t.Context(), audit.Itself("test"), id, true, ""); err != nil {
		t.Fatal(err)
	}
	return id
}

// accept posts a job and gives its id.
func accept(t *testing.T, s *webtest.Server, token, endpointID, payload string) string {
	t.Helper()
	a := s.Do(t, "POST", jobsPath, token, fields{"endpointId": endpointID, "contentType": "text/plain", "payload": payload}).Want(t, 202)
	return text(t, a, "job.id")
}

// awaitJob waits until a job has a status.
func awaitJob(t *testing.T, s *webtest.Server, token, id, status string) webtest.Answer {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		a := s.Do(t, "GET", "/api/admin/dispatch/jobs/"+id, token, nil).Want(t, 200)
		if a.At("job.status") == status {
			return a
		}
		if time.Now().After(end) {
			t.Fatalf("the job is not %s: %s", status, a.Text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAcceptJob(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann := s.SignIn(t, "ann", audit.Author)
		endpoint := paused(t, s)
		before := time.Now().Add(-time.Second)
		a := s.Do(t, "POST", jobsPath, ann, fields{
			"endpointId": endpoint, "contentType": "text/plain", "payload": "hello", "orderingKey": "customer-7",
			"deliverAfter": "2099-01-01T01:00:00+01:00", "expireAt": "2099-06-01T02:00:00.123456789+02:00",
		}, "X-Request-Id", "accept-1").Want(t, 202)
		wantNames(t, a.Body, "job")
		wantNames(t, a.At("job"), jobNames...)
		for name, want := range (fields{
			"endpointId": endpoint, "documentId": nil, "status": "PENDING", "attemptCount": 0.0, "maxAttempts": 12.0,
			"nextRetryAt": "2099-01-01T00:00:00Z", "dispatchedAt": nil, "deadLetteredAt": nil, "deadLetterReason": nil, "lastError": nil,
			"orderingKey": "customer-7", "outOfOrder": false,
		}) {
			if got := a.At("job." + name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		for _, name := range []string{"createdAt", "updatedAt"} {
			at, err := time.Parse(time.RFC3339, text(t, a, "job."+name))
			if err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) || !strings.HasSuffix(text(t, a, "job."+name), "Z") {
				t.Errorf("%s is %s", name, at)
			}
		}
		id := text(t, a, "job.id")
		if !store.ValidID(id) {
			t.Errorf("the id is %s", id)
		}

		// Alone it shows more, and the same.
		one := s.Do(t, "GET", jobsPath+"/"+id, ann, nil).Want(t, 200)
		wantNames(t, one.At("job"), append([]string{"expireAt", "contentType", "payloadBytes", "attempts"}, jobNames...)...)
		for name, want := range (fields{"expireAt": "2099-06-01T00:00:00.123456Z", "contentType": "text/plain", "payloadBytes": 5.0}) {
			if got := one.At("job." + name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if attempts, ok := one.At("job.attempts").([]any); !ok || len(attempts) != 0 {
			t.Errorf("the attempts are %v", one.At("job.attempts"))
		}
		for _, name := range jobNames {
			if one.At("job."+name) != a.At("job."+name) {
				t.Errorf("%s was %v and is %v", name, a.At("job."+name), one.At("job."+name))
			}
		}

		// What happened is found by the request, with who asked, and without what was sent.
		admin := s.SignIn(t, "eve", audit.Admin)
		events := s.Do(t, "GET", "/api/admin/audit/events?requestId=accept-1", admin, nil).Want(t, 200)
		list, _ := events.At("events").([]any)
		if len(list) != 1 {
			t.Fatalf("the events of the request: %s", events.Text)
		}
		e, _ := list[0].(map[string]any)
		actor, _ := e["actor"].(map[string]any)
		me := s.Do(t, "GET", "/api/auth/me", ann, nil).Want(t, 200)
		if e["action"] != "dispatch.job.accepted" || e["entityId"] != id || actor["id"] != me.At("user.id") || actor["kind"] != "user" ||
			strings.Contains(events.Text, "hello") {
			t.Errorf("the event is %v", e)
		}
	})
}

// A string is sent as its text, and any other value byte for byte as it was written.
func TestPayloadForms(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann, admin := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "eve", audit.Admin)
		rc := newReceiver(t)
		endpoint, _ := newEndpoint(t, s, rc.URL)
		jobs := map[string]string{} // id → what is to arrive
		types := map[string]string{}
		for _, tt := range []struct{ contentType, payload, want string }{
			{"text/plain", `"text"`, "text"},
			{"text/plain; charset=utf-8", `"\u00e4\n\t\"\\\/\ud83d\ude00 ä\u2028<&>"`, "ä\n\t\"\\/😀 ä\u2028<&>"},
			{"application/octet-stream", `""`, ""},
			{"application/json", `"{\"a\": 1}"`, `{"a": 1}`},
			{
				"application/json", `  {"b" : 1, "a":12345678901234567890123, "c":1.0e+5,	"u":"\u00e4\ud83d\ude00\/<&>ä` + "\u2028" + `" , "n":-0.0} `,
				`{"b" : 1, "a":12345678901234567890123, "c":1.0e+5,	"u":"\u00e4\ud83d\ude00\/<&>ä` + "\u2028" + `" , "n":-0.0}`,
			},
			{"application/cloudevents+json; charset=utf-8", "[ 1,\n 2]", "[ 1,\n 2]"},
			{"Application/JSON", `null`, `null`},
			{"application/json", `true`, `true`},
			{"application/json", `0.10`, `0.10`},
			{"application/json", `{}`, `{}`},
		} {
			body := fmt.Sprintf(`{"contentType":%q,"payload":%s,"endpointId":%q}`, tt.contentType, tt.payload, endpoint)
			id := text(t, s.Do(t, "POST", jobsPath, ann, body).Want(t, 202), "job.id")
			jobs[id], types[id] = tt.want, tt.contentType
		}
		for id, want := range jobs {
			awaitJob(t, s, admin, id, "DISPATCHED")
			got := rc.got(id)
			if string(got.body) != want || got.header.Get("Content-Type") != types[id] {
				t.Errorf("arrived as %s: %q, want %q", got.header.Get("Content-Type"), got.body, want)
			}
			if one := s.Do(t, "GET", jobsPath+"/"+id, ann, nil).Want(t, 200); one.At("job.payloadBytes") != float64(len(want)) {
				t.Errorf("%d bytes are shown as %v", len(want), one.At("job.payloadBytes"))
			}
		}
	})
}

func TestJobsThatAreRefused(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann := s.SignIn(t, "ann", audit.Author)
		endpoint, none := paused(t, s), store.NewID()
		job := func(more fields) fields {
			f := fields{"endpointId": endpoint, "contentType": "text/plain", "payload": "x"}
			maps.Copy(f, more)
			return f
		}
		without := func(name string) fields {
			f := job(nil)
			delete(f, name)
			return f
		}
		for _, tt := range []struct {
			name    string
			body    any
			status  int
			message string
		}{
			{"unknown endpoint", job(fields{"endpointId": none}), 422, "there is no endpoint " + none},
			{"an endpoint that is no id", job(fields{"endpointId": "x"}), 422, "endpointId"},
			{"an id in capitals", job(fields{"endpointId": strings.ToUpper(none)}), 422, "endpointId"},
			{"no endpoint", without("endpointId"), 422, "form"},
			{"no payload", without("payload"), 422, "form"},
			{"no content type", without("contentType"), 422, "form"},
			{"empty content type", job(fields{"contentType": ""}), 422, "form"},
			{"a content type that is none", job(fields{"contentType": "text"}), 422, "contentType is not a media type"},
			{"a content type with a line break", job(fields{"contentType": "text/plain\r\nX: y"}), 422, "contentType"},
			{"a content type beyond ASCII", job(fields{"contentType": "text/plain; name=\"ä\""}), 422, "contentType"},
			{"a long content type", job(fields{"contentType": "text/" + strings.Repeat("x", 251)}), 422, "form"},
			{"a value that is not JSON's to send", job(fields{"payload": 1}), 422, "text/plain is given as a JSON string"},
			{"unknown field", job(fields{"priority": 1}), 422, "form"},
			{"a field in other case", job(fields{"Payload": "y"}), 422, "form"},
			{"a field twice", `{"endpointId":"` + endpoint + `","contentType":"text/plain","payload":"x","payload":"y"}`, 400, "twice"},
			{"half a surrogate", `{"endpointId":"` + endpoint + `","contentType":"text/plain","payload":"\ud800"}`, 400, "surrogate"},
			{"something behind it", `{"endpointId":"` + endpoint + `","contentType":"text/plain","payload":"x"}{}`, 400, "behind"},
			{"no body", nil, 400, "body"},
			{"a long key", job(fields{"orderingKey": strings.Repeat("k", 256)}), 422, "form"},
			{"a long key in bytes", job(fields{"orderingKey": strings.Repeat("ä", 128)}), 422, "orderingKey has at most 255"},
			{"a key with a control character", job(fields{"orderingKey": "a\tb"}), 422, "orderingKey"},
			{"over before it came", job(fields{"expireAt": "2020-01-01T00:00:00Z"}), 422, "expireAt is over"},
			{"due when it is over", job(fields{"expireAt": "2099-01-01T00:00:00Z", "deliverAfter": "2099-01-01T00:00:00Z"}), 422, "deliverAfter is not before expireAt"},
			{"later than there is a form for", job(fields{"deliverAfter": "9999-12-31T23:59:59-12:00"}), 422, "9999"},
			{"over later than that", job(fields{"expireAt": "9999-12-31T23:59:59-12:00"}), 422, "9999"},
			{"a time that is none", job(fields{"deliverAfter": "tomorrow"}), 422, "form"},
			{"a number for a time", job(fields{"deliverAfter": 1}), 422, "form"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				wantProblem(t, s.Do(t, "POST", jobsPath, ann, tt.body), tt.status, tt.message)
			})
		}
		if a := s.Do(t, "POST", jobsPath, ann, job(fields{"endpointId": none})); a.At("details.endpointId") != none {
			t.Errorf("the unknown endpoint is not named: %s", a.Text)
		}
		// The last times that there are.
		s.Do(t, "POST", jobsPath, ann, job(fields{"deliverAfter": "9999-12-31T23:59:58Z", "expireAt": "9999-12-31T23:59:59Z"})).Want(t, 202)
		if list := s.Do(t, "GET", jobsPath, ann, nil).Want(t, 200); list.At("pageInfo.returned") != 1.0 {
			t.Errorf("refused jobs are there: %s", list.Text)
		}
	})
}

// A body of 8 MiB is taken, and one byte more is not.
func TestPayloadSizes(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann, admin := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "eve", audit.Admin)
		rc := newReceiver(t)
		endpoint, _ := newEndpoint(t, s, rc.URL)
		head := `{"endpointId":"` + endpoint + `","contentType":"text/plain","payload":"`
		size := 8<<20 - len(head) - len(`"}`)
		id := text(t, s.Do(t, "POST", jobsPath, ann, head+strings.Repeat("x", size)+`"}`).Want(t, 202), "job.id")
		a := s.Do(t, "POST", jobsPath, ann, head+strings.Repeat("x", size+1)+`"}`)
		wantProblem(t, a, 413, "larger")
		if a.At("details.limitBytes") != float64(8<<20) {
			t.Errorf("the limit is not named: %s", a.Text)
		}
		awaitJob(t, s, admin, id, "DISPATCHED")
		if got := len(rc.got(id).body); got != size {
			t.Errorf("%d bytes arrived, want %d", got, size)
		}
	})
}

func TestJobsByIdempotencyKey(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann, bob := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "bob", audit.Author)
		endpoint := paused(t, s)
		body := func(payload string) string {
			return `{"endpointId":"` + endpoint + `","contentType":"text/plain","payload":"` + payload + `<"}`
		}
		post := func(token, key, body string) webtest.Answer {
			return s.Do(t, "POST", jobsPath, token, body, "Idempotency-Key", key)
		}
		first := post(ann, "k", body("x")).Want(t, 202)
		again := post(ann, "k", body("x")).Want(t, 202)
		if again.Text != first.Text || again.Header.Get("Content-Type") != first.Header.Get("Content-Type") {
			t.Errorf("answered %s and then %s", first.Text, again.Text)
		}
		for _, other := range []string{body("y"), body("x") + " ", strings.Replace(body("x"), `"payload"`, ` "payload"`, 1)} {
			wantProblem(t, post(ann, "k", other), 409, "Idempotency-Key")
		}
		if theirs := post(bob, "k", body("x")).Want(t, 202); theirs.At("job.id") == first.At("job.id") {
			t.Error("another caller has got this one's job")
		}
		// A refusal makes nothing, and so uses nothing up.
		missing := strings.Replace(body("z"), endpoint, store.NewID(), 1)
		wantProblem(t, post(ann, "refused", missing), 422, "no endpoint")
		post(ann, "refused", body("z")).Want(t, 202)
		for _, key := range []string{"", "ä", strings.Repeat("k", 256)} {
			wantProblem(t, post(ann, key, body("x")), 422, "form")
		}
		post(ann, strings.Repeat("k", 255), body("x")).Want(t, 202)

		// Of twenty at once with one key, all get the same answer.
		answers := make([]webtest.Answer, 20)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i] = post(ann, "race", body("x")) })
		}
		all.Wait()
		for _, a := range answers {
			if a.Status != 202 || a.Text != answers[0].Text {
				t.Errorf("answered %d %s, and another %d %s", a.Status, a.Text, answers[0].Status, answers[0].Text)
			}
		}
		if list := s.Do(t, "GET", jobsPath, ann, nil).Want(t, 200); list.At("pageInfo.returned") != 4.0 {
			t.Errorf("there are other jobs than four: %s", list.Text)
		}
	})
}

func TestJobLists(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann, bob := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "bob", audit.Author)
		admin, auditor := s.SignIn(t, "eve", audit.Admin), s.SignIn(t, "kim", audit.Auditor)
		rc := newReceiver(t)
		open, _ := newEndpoint(t, s, rc.URL)
		shut := paused(t, s)
		var jobs []string // the oldest first
		for i, who := range []string{ann, bob, ann, ann, bob} {
			jobs = append(jobs, accept(t, s, who, []string{shut, open}[i%2], "x"))
		}
		awaitJob(t, s, admin, jobs[1], "DISPATCHED")
		awaitJob(t, s, admin, jobs[3], "DISPATCHED")
		s.Do(t, "POST", "/api/admin/dispatch/"+jobs[0]+"/dead-letter", admin, fields{"reason": "r"}).Want(t, 200)
		doc := text(t, s.Do(t, "POST", "/api/documents", ann, fields{"title": "T", "content": "c"}).Want(t, 201), "document.id")
		s.Do(t, "POST", "/api/documents/"+doc+"/finalize", ann, fields{"attest": true, "endpointIds": []string{shut}}).Want(t, 200)
		created := func(i int) string { return text(t, awaitAny(t, s, admin, jobs[i]), "job.createdAt") }
		const all = "/api/admin/dispatch/jobs"
		ofDoc := listed(t, s, admin, all+"?q="+doc, 200)[0]
		jobs = append(jobs, ofDoc)

		for _, tt := range []struct {
			name, path, token string
			want              []int
		}{
			{"all", all, admin, []int{5, 4, 3, 2, 1, 0}},
			{"all, for an auditor", all, auditor, []int{5, 4, 3, 2, 1, 0}},
			{"ann's own", jobsPath, ann, []int{5, 3, 2, 0}},
			{"bob's own", jobsPath, bob, []int{4, 1}},
			{"an admin's own", jobsPath, admin, nil},
			{"an auditor's own", jobsPath, auditor, nil},
			{"pending", all + "?status=PENDING", admin, []int{5, 4, 2}},
			{"dispatched", all + "?status=DISPATCHED", admin, []int{3, 1}},
			{"dead", all + "?status=DEAD_LETTER", auditor, []int{0}},
			{"in flight", all + "?status=IN_FLIGHT", admin, nil},
			{"retrying", all + "?status=RETRYING", admin, nil},
			{"own pending", jobsPath + "?status=PENDING", bob, []int{4}},
			{"own dead", jobsPath + "?status=DEAD_LETTER", bob, nil},
			{"of an endpoint", all + "?endpointId=" + open, admin, []int{3, 1}},
			{"own of an endpoint", jobsPath + "?endpointId=" + open, ann, []int{3}},
			{"of no endpoint", all + "?endpointId=" + store.NewID(), admin, nil},
			{"pending of an endpoint", all + "?status=PENDING&endpointId=" + shut, admin, []int{5, 4, 2}},
			{"from", all + "?from=" + created(2), admin, []int{5, 4, 3, 2}},
			{"to", all + "?to=" + created(2), admin, []int{1, 0}},
			{"from and to", all + "?from=" + created(1) + "&to=" + created(4), admin, []int{3, 2, 1}},
			{"from the first year", all + "?from=0001-01-02T00:00:00Z", admin, []int{5, 4, 3, 2, 1, 0}},
			{"to the last year", all + "?to=9999-12-31T23:59:59Z", admin, []int{5, 4, 3, 2, 1, 0}},
			{"to before 1970", all + "?to=1969-01-01T00:00:00Z", admin, nil},
			{"own from", jobsPath + "?from=" + created(2), bob, []int{4}},
			{"dispatched from", all + "?status=DISPATCHED&from=" + created(2), admin, []int{3}},
			{"a job's id", all + "?q=" + jobs[2], admin, []int{2}},
			{"a job's id in capitals", all + "?q=" + strings.ToUpper(jobs[2]), admin, []int{2}},
			{"how ids begin", all + "?q=" + jobs[0][:8], admin, []int{5, 4, 3, 2, 1, 0}},
			{"how ids begin, own", jobsPath + "?q=" + jobs[0][:8], bob, []int{4, 1}},
			{"how ids begin, dispatched", all + "?status=DISPATCHED&q=" + jobs[0][:9], admin, []int{3, 1}},
			{"a document's id", all + "?q=" + doc, auditor, []int{5}},
			{"how a document's id begins", all + "?q=" + doc[:30], admin, []int{5}},
			{"another's document", jobsPath + "?q=" + doc, bob, nil},
			{"an id of nothing", all + "?q=" + store.NewID(), admin, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				var want []string
				for _, i := range tt.want {
					want = append(want, jobs[i])
				}
				for _, limit := range []int{2, 200} {
					if got := listed(t, s, tt.token, tt.path, limit); !slices.Equal(got, want) {
						t.Errorf("with a limit of %d: %v, want %v", limit, got, want)
					}
				}
			})
		}
		cursorOfEvents := text(t, s.Do(t, "GET", "/api/admin/audit/events?limit=1", admin, nil).Want(t, 200), "pageInfo.nextCursor")
		for _, tt := range []struct {
			query   string
			status  int
			message string
		}{
			{"status=pending", 422, "form"},
			{"status=DONE", 422, "form"},
			{"from=yesterday", 422, "form"},
			{"limit=0", 422, "form"},
			{"limit=201", 422, "form"},
			{"cursor=x", 422, "form"},
			{"cursor=MXg", 400, "cursor"},
			{"owner=x", 422, "form"},
			{"q=0199abc", 422, "first 8 to 36"},
			{"q=not+an+id", 422, "hexadecimal"},
			{"q=01990000_0000", 422, "hexadecimal"},
			{"q=" + strings.Repeat("0", 37), 422, "form"},
			{"status=PENDING&status=RETRYING", 422, "form"},
		} {
			for _, path := range []string{all, jobsPath} {
				wantProblem(t, s.Do(t, "GET", path+"?"+tt.query, admin, nil), tt.status, tt.message)
			}
		}
		s.Do(t, "GET", all+"?cursor="+cursorOfEvents, admin, nil).Want(t, 200) // it is an id, too

		// One's own job is found by its id, another's is not there.
		s.Do(t, "GET", jobsPath+"/"+jobs[0], ann, nil).Want(t, 200)
		for _, token := range []string{bob, admin, auditor} {
			wantProblem(t, s.Do(t, "GET", jobsPath+"/"+jobs[0], token, nil), 404, "no job")
		}
		if a := s.Do(t, "GET", jobsPath+"/"+ofDoc, ann, nil).Want(t, 200); a.At("job.documentId") != doc {
			t.Errorf("the document's job is %s", a.Text)
		}
	})
}

func awaitAny(t *testing.T, s *webtest.Server, token, id string) webtest.Answer {
	t.Helper()
	return s.Do(t, "GET", "/api/admin/dispatch/jobs/"+id, token, nil).Want(t, 200)
}

// listed gives the ids of a whole list, page by page, and holds its pageInfo.
func listed(t *testing.T, s *webtest.Server, token, path string, limit int) (ids []string) {
	t.Helper()
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	next := ""
	for range 20 {
		a := s.Do(t, "GET", fmt.Sprintf("%s%slimit=%d%s", path, separator, limit, next), token, nil).Want(t, 200)
		var list struct {
			Jobs     []map[string]any
			PageInfo struct {
				HasMore    bool
				NextCursor *string
				Returned   int
			}
		}
		if err := json.Unmarshal([]byte(a.Text), &list); err != nil {
			t.Fatal(err)
		}
		wantNames(t, a.Body, "jobs", "pageInfo")
		for _, j := range list.Jobs {
			wantNames(t, j, jobNames...)
			ids = append(ids, j["id"].(string))
		}
		if list.Jobs == nil || list.PageInfo.Returned != len(list.Jobs) || list.PageInfo.HasMore != (list.PageInfo.NextCursor != nil) ||
			list.PageInfo.HasMore && len(list.Jobs) != limit {
			t.Fatalf("a page of %d: %s", limit, a.Text)
		}
		if !list.PageInfo.HasMore {
			return ids
		}
		next = "&cursor=" + *list.PageInfo.NextCursor
	}
	t.Fatal("the list has no end")
	return nil
}
