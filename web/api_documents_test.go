package web_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/web/webtest"
)

// newEndpoint makes an endpoint and gives its id and secret.
func newEndpoint(t *testing.T, s *webtest.Server, url string) (id, secret string) {
	t.Helper()
	e, secret, err := s.Dispatch.CreateEndpoint(t.Context(), audit.Itself("test"), dispatch.NewEndpoint{Name: "receiver", URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return e.ID, secret
}

type fields map[string]any

func TestDocuments(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		author := s.SignIn(t, "ann", audit.Author)
		a := s.Do(t, "POST", "/api/documents", author, fields{"title": "Minutes", "content": "# One <b>&\u2028"}).Want(t, 201)
		id, _ := a.At("document.id").(string)
		path := "/api/documents/" + id
		for name, want := range (fields{
			"status": "DRAFT", "revision": 1.0, "title": "Minutes", "content": "# One <b>&\u2028",
			"finalizedAt": nil, "contentHash": nil,
		}) {
			if got := a.At("document." + name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if got := a.Header.Get("ETag"); got != `"r1"` {
			t.Errorf("the ETag is %s", got)
		}
		if got := s.Do(t, "GET", path, author, nil).Want(t, 200); got.Text != a.Text || got.Header.Get("ETag") != `"r1"` {
			t.Errorf("read back %s", got.Text)
		}
		second := fields{"title": "Minutes", "content": ""}
		a = s.Do(t, "PUT", path, author, second, "If-Match", `"r1"`).Want(t, 200)
		if a.Header.Get("ETag") != `"r2"` || a.At("document.revision") != 2.0 || a.At("document.content") != "" {
			t.Errorf("revised: %s", a.Text)
		}
		a = s.Do(t, "PUT", path, author, second, "If-Match", `"r2"`).Want(t, 200)
		if a.Header.Get("ETag") != `"r2"` {
			t.Errorf("saying the same again: %s", a.Text)
		}
		a = s.Do(t, "GET", path+"/revisions?limit=1", author, nil).Want(t, 200)
		next, _ := a.At("pageInfo.nextCursor").(string)
		if next == "" || !strings.Contains(a.Text, `"number":2`) || strings.Contains(a.Text, `"number":1`) {
			t.Errorf("revisions: %s", a.Text)
		}
		a = s.Do(t, "GET", path+"/revisions?limit=1&cursor="+next, author, nil).Want(t, 200)
		if a.At("pageInfo.hasMore") != false || !strings.Contains(a.Text, `"number":1`) {
			t.Errorf("revisions: %s", a.Text)
		}
		s.Do(t, "POST", "/api/documents", author, second).Want(t, 201)
		a = s.Do(t, "GET", "/api/documents?limit=1", author, nil).Want(t, 200)
		next, _ = a.At("pageInfo.nextCursor").(string)
		a = s.Do(t, "GET", "/api/documents?limit=1&cursor="+next, author, nil).Want(t, 200)
		if a.At("pageInfo.returned") != 1.0 || a.At("pageInfo.hasMore") != false || !strings.Contains(a.Text, id) || strings.Contains(a.Text, `"content"`) {
			t.Errorf("the second page: %s", a.Text)
		}
	})
}

func TestDocumentRefusals(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann, bob := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "bob", audit.Author)
		admin, auditor := s.SignIn(t, "eve", audit.Admin), s.SignIn(t, "kim", audit.Auditor)
		endpoint, _ := newEndpoint(t, s, "http://127.0.0.1:9/")
		create := func() string {
			return "/api/documents/" + s.Do(t, "POST", "/api/documents", ann, fields{"title": "Minutes", "content": "secret text"}).Want(t, 201).At("document.id").(string)
		}
		draft, final := create(), create()
		seal := fields{"attest": true, "endpointIds": []string{endpoint}}
		s.Do(t, "POST", final+"/finalize", ann, seal).Want(t, 200)
		text := fields{"title": "T", "content": "c"}
		id := strings.TrimPrefix(draft, "/api/documents/")
		many := make([]string, 65)
		for i := range many {
			many[i] = fmt.Sprintf("01890000-0000-7000-8000-%012d", i)
		}
		for _, tt := range []struct {
			name, method, path, token string
			body                      any
			match                     []string
			status                    int
			message                   string
		}{
			{"no version", "PUT", draft, ann, text, nil, 428, "If-Match"},
			{"stale", "PUT", draft, ann, text, []string{`"r7"`}, 412, "has changed"},
			{"stale, in two lines", "PUT", draft, ann, text, []string{`"r7"`, `"r8"`}, 412, "has changed"},
			{"weak", "PUT", draft, ann, text, []string{`W/"r1"`}, 412, "has changed"},
			{"not a tag", "PUT", draft, ann, text, []string{`r1`}, 400, "entity tags"},
			{"final", "PUT", final, ann, text, []string{`"r1-final"`}, 409, "final"},
			{"another's", "PUT", draft, bob, text, []string{`"r1"`}, 404, "no such document"},
			{"another's, by an admin", "PUT", draft, admin, text, []string{`"r1"`}, 404, "no such document"},
			{"by an auditor", "PUT", draft, auditor, text, []string{`"r1"`}, 403, "role"},
			{"unknown field", "PUT", draft, ann, fields{"title": "T", "content": "c", "status": "DRAFT"}, []string{`"r1"`}, 422, "form"},
			{"read another's", "GET", draft, bob, nil, nil, 404, "no such document"},
			{"read by an auditor", "GET", draft, auditor, nil, nil, 403, "role"},
			{"read by nobody", "GET", draft, "", nil, nil, 401, "sign in"},
			{"read none", "GET", "/api/documents/x", ann, nil, nil, 404, "no such document"},
			{"revisions of another's", "GET", draft + "/revisions", bob, nil, nil, 404, "no such document"},
			{"revisions by a wrong cursor", "GET", draft + "/revisions?cursor=MXg", ann, nil, nil, 400, "cursor"},
			{"list by an auditor", "GET", "/api/documents", auditor, nil, nil, 403, "role"},
			{"no title", "POST", "/api/documents", ann, fields{"content": "c"}, nil, 422, "form"},
			{"empty title", "POST", "/api/documents", ann, fields{"title": "", "content": "c"}, nil, 422, "form"},
			{"blank title", "POST", "/api/documents", ann, fields{"title": " ", "content": "c"}, nil, 422, "title is empty"},
			{"long title", "POST", "/api/documents", ann, fields{"title": strings.Repeat("ä", 301), "content": "c"}, nil, 422, "form"},
			{"two lines of title", "POST", "/api/documents", ann, fields{"title": "a\nb", "content": "c"}, nil, 422, "control character"},
			{"large content", "POST", "/api/documents", ann, fields{"title": "T", "content": strings.Repeat("x", 900<<10+1)}, nil, 422, "more than 921600 bytes"},
			{"large body", "POST", "/api/documents", ann, fields{"title": "T", "content": strings.Repeat("x", 1<<20)}, nil, 413, "larger"},
			{"no attestation", "POST", draft + "/finalize", ann, fields{"attest": false, "endpointIds": []string{endpoint}}, nil, 422, "attest"},
			{"attestation left out", "POST", draft + "/finalize", ann, fields{"endpointIds": []string{endpoint}}, nil, 422, "form"},
			{"no receiver", "POST", draft + "/finalize", ann, fields{"attest": true, "endpointIds": []string{}}, nil, 422, "form"},
			{"65 receivers", "POST", draft + "/finalize", ann, fields{"attest": true, "endpointIds": many}, nil, 422, "form"},
			{"one receiver twice", "POST", draft + "/finalize", ann, fields{"attest": true, "endpointIds": []string{endpoint, endpoint}}, nil, 422, "twice"},
			{"unknown receiver", "POST", draft + "/finalize", ann, fields{"attest": true, "endpointIds": []string{endpoint, id}}, nil, 422, id},
			{"finalize a stale version", "POST", draft + "/finalize", ann, seal, []string{`"r7"`}, 412, "has changed"},
			{"finalize again", "POST", final + "/finalize", ann, seal, nil, 409, "final already"},
			{"finalize another's", "POST", draft + "/finalize", bob, seal, nil, 404, "no such document"},
			{"finalize by an auditor", "POST", draft + "/finalize", auditor, seal, nil, 403, "role"},
			{"dispatch a draft", "POST", draft + "/dispatch", ann, fields{"endpointIds": []string{endpoint}}, nil, 409, "draft"},
			{"dispatch to the same", "POST", final + "/dispatch", ann, fields{"endpointIds": []string{endpoint}}, nil, 409, "replay"},
			{"dispatch another's", "POST", final + "/dispatch", admin, fields{"endpointIds": []string{endpoint}}, nil, 404, "no such document"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				var headers []string
				for _, m := range tt.match {
					headers = append(headers, "If-Match", m)
				}
				a := s.Do(t, tt.method, tt.path, tt.token, tt.body, headers...)
				wantProblem(t, a, tt.status, tt.message)
				if strings.Contains(a.Text, "secret text") {
					t.Error("a refusal has the document's text")
				}
			})
		}
		s.Do(t, "POST", "/api/documents", ann, fields{"title": strings.Repeat("ä", 300), "content": strings.Repeat("x", 900<<10)}).Want(t, 201)
		if got := s.Do(t, "GET", draft, ann, nil).Want(t, 200); got.At("document.revision") != 1.0 || got.At("document.status") != "DRAFT" {
			t.Errorf("after all that it is %s", got.Text)
		}
		if strings.Contains(s.Logged(), "secret text") {
			t.Error("the log has the document's text")
		}
	})
}

// An admin may read what others write; that it happened is found by the document and by the request.
func TestAdminsReadingIsAudited(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann, admin := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "eve", audit.Admin)
		id := s.Do(t, "POST", "/api/documents", ann, fields{"title": "Minutes", "content": "secret text"}).Want(t, 201).At("document.id").(string)
		read := s.Do(t, "GET", "/api/documents/"+id, admin, nil).Want(t, 200)
		if read.At("document.content") != "secret text" {
			t.Errorf("an admin reads %s", read.Text)
		}
		events := s.Do(t, "GET", "/api/admin/audit/events?entityId="+id, admin, nil).Want(t, 200)
		if strings.Count(events.Text, `"document.read_by_admin"`) != 1 || strings.Contains(events.Text, "Minutes") || strings.Contains(events.Text, "secret text") {
			t.Errorf("the events are %s", events.Text)
		}
		byRequest := s.Do(t, "GET", "/api/admin/audit/events?requestId="+read.Header.Get("X-Request-Id"), admin, nil).Want(t, 200)
		if !strings.Contains(byRequest.Text, `"document.read_by_admin"`) {
			t.Errorf("by the request: %s", byRequest.Text)
		}
	})
}

// delivered is a request that a receiver got.
type delivered struct {
	header http.Header
	body   []byte
}

// A finalized document arrives, signed, with the hash that the author was answered with.
func TestFinalizeDelivers(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		arrived := make(chan delivered, 10)
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			arrived <- delivered{r.Header.Clone(), body}
			w.WriteHeader(http.StatusNoContent)
		}))
		defer receiver.Close()
		ann := s.SignIn(t, "ann", audit.Author)
		first, secret := newEndpoint(t, s, receiver.URL)
		path := "/api/documents/" + s.Do(t, "POST", "/api/documents", ann, fields{"title": "Minutes", "content": "# One"}).Want(t, 201).At("document.id").(string)
		a := s.Do(t, "POST", path+"/finalize", ann, fields{"attest": true, "endpointIds": []string{first}},
			"Idempotency-Key", "k", "If-Match", `"r1"`).Want(t, 200)
		again := s.Do(t, "POST", path+"/finalize", ann, fields{"attest": true, "endpointIds": []string{first}},
			"Idempotency-Key", "k", "If-Match", `"r1"`).Want(t, 200)
		if again.Text != a.Text || a.At("status") != "FINALIZED" {
			t.Errorf("answered %s and then %s", a.Text, again.Text)
		}
		wantProblem(t, s.Do(t, "POST", path+"/finalize", ann, fields{"attest": true, "endpointIds": []string{path[len("/api/documents/"):]}},
			"Idempotency-Key", "k"), 409, "Idempotency-Key")

		got := receive(t, arrived)
		wh, err := webhook.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := wh.Verify(got.body, got.header); err != nil {
			t.Errorf("the signature does not hold: %v", err)
		}
		var m struct {
			Data struct {
				ContentHash string
				Document    json.RawMessage
			}
		}
		if err := json.Unmarshal(got.body, &m); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(m.Data.Document)
		if hash := "sha256:" + hex.EncodeToString(sum[:]); hash != a.At("contentHash") || hash != m.Data.ContentHash {
			t.Errorf("the document's hash is %s; the author was answered with %v; the message says %s", hash, a.At("contentHash"), m.Data.ContentHash)
		}

		second, _ := newEndpoint(t, s, receiver.URL)
		more := s.Do(t, "POST", path+"/dispatch", ann, fields{"endpointIds": []string{second}}, "Idempotency-Key", "k").Want(t, 200)
		if s.Do(t, "POST", path+"/dispatch", ann, fields{"endpointIds": []string{second}}, "Idempotency-Key", "k").Want(t, 200).Text != more.Text {
			t.Error("the same request has got another answer")
		}
		if other := receive(t, arrived); string(other.body) != string(got.body) || other.header.Get("webhook-id") == got.header.Get("webhook-id") {
			t.Error("the second receiver got something else, or the first one's job")
		}
		jobs := s.Do(t, "GET", "/api/dispatch/jobs", ann, nil).Want(t, 200)
		if n := len(jobs.At("jobs").([]any)); n != 2 {
			t.Errorf("the author has %d jobs: %s", n, jobs.Text)
		}
		final := s.Do(t, "GET", path, ann, nil).Want(t, 200)
		if final.At("document.status") != "FINALIZED" || final.At("document.contentHash") != a.At("contentHash") || final.Header.Get("ETag") != `"r1-final"` {
			t.Errorf("the document is %s", final.Text)
		}
	})
}

func receive(t *testing.T, arrived chan delivered) delivered {
	t.Helper()
	select {
	case d := <-arrived:
		return d
	case <-time.After(20 * time.Second):
		t.Fatal("nothing arrives")
		return delivered{}
	}
}

// Of twenty who finalize at once through the socket, one is answered with 200.
func TestRacingFinalizes(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann := s.SignIn(t, "ann", audit.Author)
		endpoint, _ := newEndpoint(t, s, "http://127.0.0.1:9/")
		path := "/api/documents/" + s.Do(t, "POST", "/api/documents", ann, fields{"title": "T", "content": "c"}).Want(t, 201).At("document.id").(string)
		statuses := make([]int, 20)
		var all sync.WaitGroup
		for i := range statuses {
			all.Go(func() {
				statuses[i] = s.Do(t, "POST", path+"/finalize", ann, fields{"attest": true, "endpointIds": []string{endpoint}}).Status
			})
		}
		all.Wait()
		count := map[int]int{}
		for _, status := range statuses {
			count[status]++
		}
		if count[200] != 1 || count[409] != len(statuses)-1 {
			t.Errorf("the statuses are %v", count)
		}
	})
}

// The same POST with the same key makes one document.
func TestCreateDocumentOnce(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ann, bob := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "bob", audit.Author)
		text := fields{"title": "T", "content": "c"}
		first := s.Do(t, "POST", "/api/documents", ann, text, "Idempotency-Key", "k").Want(t, 201)
		s.Do(t, "PUT", "/api/documents/"+first.At("document.id").(string), ann, fields{"title": "T2", "content": "c2"}, "If-Match", "*").Want(t, 200)
		if again := s.Do(t, "POST", "/api/documents", ann, text, "Idempotency-Key", "k").Want(t, 201); again.Text != first.Text ||
			again.Header.Get("ETag") != first.Header.Get("ETag") {
			t.Errorf("answered %s and then %s", first.Text, again.Text)
		}
		wantProblem(t, s.Do(t, "POST", "/api/documents", ann, fields{"title": "T", "content": "d"}, "Idempotency-Key", "k"), 409, "Idempotency-Key")
		if other := s.Do(t, "POST", "/api/documents", bob, text, "Idempotency-Key", "k").Want(t, 201); other.At("document.id") == first.At("document.id") {
			t.Error("another author has got this one's document")
		}
	})
}
