package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"sealpost/assist/assisttest"
	"sealpost/assist/fakeprovider"
	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

// assisted starts a server on each database, with an AI server that has no script yet.
func assisted(t *testing.T, test func(*testing.T, *webtest.Server, *assisttest.Server)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		t.Helper()
		ai := assisttest.Start(t)
		test(t, webtest.Start(t, st, "OPENAI_API_KEY="+assisttest.Key, "OPENAI_BASE_URL="+ai.URL, "OPENAI_MODEL=asked-for"), ai)
	})
}

// newDocument makes a document and gives its path.
func newDocument(t *testing.T, s *webtest.Server, token, content string) string {
	t.Helper()
	id, _ := s.Do(t, "POST", "/api/documents", token, fields{"title": "Minutes", "content": content}).Want(t, 201).At("document.id").(string)
	return "/api/documents/" + id
}

// sse is one event of a stream.
type sse struct {
	name string
	data map[string]any
}

// stream is a stream that is being read.
type stream struct {
	t        *testing.T
	response *http.Response
	lines    *bufio.Scanner
	comments int
}

// compose asks for a stream. The context ends the connection.
func compose(ctx context.Context, t *testing.T, s *webtest.Server, path, token string, body fields) *stream {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, "POST", s.URL+path+"/compose", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "text/event-stream"} {
		r.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = response.Body.Close()
		client.CloseIdleConnections()
	})
	return &stream{t: t, response: response, lines: bufio.NewScanner(response.Body)}
}

// next reads the next event; ok is false at the end.
func (s *stream) next() (e sse, ok bool) {
	s.t.Helper()
	for s.lines.Scan() {
		switch line := s.lines.Text(); {
		case line == "":
			if e.name != "" {
				return e, true
			}
		case strings.HasPrefix(line, ":"):
			s.comments++
		case strings.HasPrefix(line, "event: "):
			e.name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			if err := json.Unmarshal([]byte(line[len("data: "):]), &e.data); err != nil {
				s.t.Errorf("the data of %s: %v", e.name, err)
			}
		default:
			s.t.Errorf("the stream has the line %q", line)
		}
	}
	return sse{}, false
}

// rest reads to the end: the text of the deltas, and what comes behind them.
func (s *stream) rest() (text string, last sse) {
	s.t.Helper()
	for {
		e, ok := s.next()
		switch {
		case !ok:
			return text, last
		case last.name != "":
			s.t.Errorf("there is %s behind %s", e.name, last.name)
		case e.name == "delta":
			piece, _ := e.data["text"].(string)
			text += piece
		default:
			last = e
		}
	}
}

func TestCompose(t *testing.T) {
	assisted(t, func(t *testing.T, s *webtest.Server, ai *assisttest.Server) {
		author := s.SignIn(t, "ann", audit.Author)
		path := newDocument(t, s, author, "# One\n")
		body := fields{"instructions": "Go on.", "source": "A source."}

		ai.Then(assisttest.Says("# One\n", "\nTwo\n"))
		a := s.Do(t, "POST", path+"/compose", author, body).Want(t, 200)
		if a.At("revision.number") != 2.0 || a.At("revision.content") != "# One\n\nTwo\n" || a.At("revision.title") != "Minutes" ||
			a.At("etag") != `"r2"` || a.Header.Get("ETag") != `"r2"` || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("composed %s with %v", a.Text, a.Header)
		}
		version, _ := a.Body["promptVersionId"].(string)
		trace, _ := a.Body["traceId"].(string)
		if !strings.HasPrefix(version, "compose-") || !store.ValidID(trace) {
			t.Errorf("composed %s", a.Text)
		}
		admin := s.SignIn(t, "eve", audit.Admin)
		events := s.Do(t, "GET", "/api/admin/audit/events?action=document.composed", admin, nil).Want(t, 200).Text
		if !strings.Contains(events, trace) || !strings.Contains(events, version) || strings.Contains(events, "Two") {
			t.Errorf("the events are %s", events)
		}

		ai.Then(assisttest.Says("# One\n", "\nTwo\n", "\nThree: <ü>\n"))
		st := compose(t.Context(), t, s, path, author, body)
		if h := st.response.Header; st.response.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" ||
			h.Get("X-Request-Id") == "" || h.Get("X-Accel-Buffering") != "no" {
			t.Errorf("status %d, %v", st.response.StatusCode, h)
		}
		text, last := st.rest()
		revision, _ := last.data["revision"].(map[string]any)
		if text != "# One\n\nTwo\n\nThree: <ü>\n" || last.name != "done" || revision["number"] != 3.0 || revision["content"] != text ||
			last.data["etag"] != `"r3"` || last.data["traceId"] == trace || last.data["promptVersionId"] != version {
			t.Errorf("streamed %q and %+v", text, last)
		}
		if got := s.Do(t, "GET", path, author, nil).Want(t, 200); got.At("document.content") != text || got.Header.Get("ETag") != `"r3"` {
			t.Errorf("the document is %s", got.Text)
		}
		if strings.Contains(s.Logged(), assisttest.Key) {
			t.Error("the log shows the key")
		}
	})
}

// TestComposeRefusals are answered with a status of their own, also where a stream was asked for.
func TestComposeRefusals(t *testing.T) {
	assisted(t, func(t *testing.T, s *webtest.Server, ai *assisttest.Server) {
		author, other := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "bob", audit.Author)
		auditor := s.SignIn(t, "eve", audit.Auditor)
		path, final := newDocument(t, s, author, "# One\n"), newDocument(t, s, author, "# Two\n")
		endpoint, _ := newEndpoint(t, s, "http://127.0.0.1:9/")
		s.Do(t, "POST", final+"/finalize", author, fields{"attest": true, "endpointIds": []string{endpoint}}).Want(t, 200)
		good := fields{"instructions": "Go on."}
		for _, tt := range []struct {
			name, path, token string
			body              any
			match             string
			ai                assisttest.Turn
			status            int
			message           string
		}{
			{"nobody", path, "", good, "", nil, 401, "sign in first"},
			{"an auditor", path, auditor, good, "", nil, 403, "your role"},
			{"another author", path, other, good, "", nil, 404, "no such document"},
			{"a final document", final, author, good, "", nil, 409, "is final"},
			{"another version", path, author, good, `"r9"`, nil, 412, "has changed"},
			{"a version that is none", path, author, good, `r1`, nil, 400, "If-Match"},
			{"no body", path, author, nil, "", nil, 400, "needs a request body"},
			{"no instructions", path, author, fields{}, "", nil, 422, "not of the form"},
			{"empty instructions", path, author, fields{"instructions": ""}, "", nil, 422, "not of the form"},
			{"blank instructions", path, author, fields{"instructions": " "}, "", nil, 422, "are empty"},
			{"longer instructions", path, author, fields{"instructions": strings.Repeat("é", 4001)}, "", nil, 422, "not of the form"},
			{"an unknown field", path, author, fields{"instructions": "x", "model": "y"}, "", nil, 422, "not of the form"},
			{"too much text", path, author, fields{"instructions": "x", "source": strings.Repeat("y", 256<<10)}, "", nil, 413, "262144"},
			{"an AI server that is away", path, author, good, "", assisttest.Refuses(503, "", "Retry-After", "7"), 503, "a fault of its own"},
			{"one that does not know us", path, author, good, "", assisttest.Refuses(401, "invalid_api_key"), 503, "does not accept our key"},
			{"a model that declines", path, author, good, "", func(w http.ResponseWriter, _ *http.Request) {
				st := fakeprovider.NewStream(w, assisttest.Model)
				_ = st.Refusal("no")
				_ = st.Finish("stop")
			}, 422, "declined"},
		} {
			for _, accept := range []string{"application/json", "text/event-stream"} {
				t.Run(tt.name+", "+accept, func(t *testing.T) {
					if tt.ai != nil {
						ai.Then(tt.ai)
					}
					headers := []string{"Accept", accept}
					if tt.match != "" {
						headers = append(headers, "If-Match", tt.match)
					}
					a := s.Do(t, "POST", tt.path+"/compose", tt.token, tt.body, headers...)
					wantProblem(t, a, tt.status, tt.message)
					if strings.Contains(a.Text, assisttest.Key) || strings.Contains(a.Text, "chatter") {
						t.Errorf("it shows what it must not: %s", a.Text)
					}
					if tt.status == 503 && strings.Contains(tt.message, "fault") && a.Header.Get("Retry-After") != "7" {
						t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
					}
				})
			}
		}
		if got := s.Do(t, "GET", path, author, nil).Want(t, 200); got.Header.Get("ETag") != `"r1"` {
			t.Errorf("the document is %s", got.Text)
		}
		if log := s.Logged(); strings.Contains(log, assisttest.Key) || strings.Contains(log, "chatter") {
			t.Error("the log shows what it must not")
		}
	})
}

func TestAIOff(t *testing.T) {
	s := start(t)
	author := s.SignIn(t, "ann", audit.Author)
	path := newDocument(t, s, author, "# One\n")
	for _, what := range []string{"/compose", "/suggestions/refresh"} {
		var body any
		if what == "/compose" {
			body = fields{"instructions": "Go on."}
		}
		a := s.Do(t, "POST", path+what, author, body)
		wantProblem(t, a, 503, "AI is not enabled")
		if a.Body["error"] != "AI is not enabled" {
			t.Errorf("it says %v", a.Body["error"])
		}
	}
	if a := s.Do(t, "GET", path+"/suggestions", author, nil).Want(t, 200); a.Body["promptVersionId"] != nil || a.Body["suggestions"] == nil {
		t.Errorf("the suggestions are %s", a.Text)
	}
}

// TestStreamBreaks has an AI server that breaks off when a part has been shown already.
func TestStreamBreaks(t *testing.T) {
	assisted(t, func(t *testing.T, s *webtest.Server, ai *assisttest.Server) {
		author := s.SignIn(t, "ann", audit.Author)
		path := newDocument(t, s, author, "# One\n")
		ai.Then(assisttest.Breaks("Half", " a text"))
		text, last := compose(t.Context(), t, s, path, author, fields{"instructions": "Go on."}).rest()
		if text != "Half a text" || last.name != "error" || last.data["status"] != 503.0 || last.data["requestId"] == "" ||
			!strings.Contains(last.data["error"].(string), "broke off") {
			t.Errorf("streamed %q and %+v", text, last)
		}
		if got := s.Do(t, "GET", path+"/revisions", author, nil).Want(t, 200); strings.Contains(got.Text, "Half") {
			t.Errorf("half a text was kept: %s", got.Text)
		}
	})
}

// TestStreamTooLate has the document revised while the stream runs: its text is given back.
func TestStreamTooLate(t *testing.T) {
	assisted(t, func(t *testing.T, s *webtest.Server, ai *assisttest.Server) {
		author := s.SignIn(t, "ann", audit.Author)
		path := newDocument(t, s, author, "# One\n")
		ai.Then(func(w http.ResponseWriter, r *http.Request) {
			s.Do(t, "PUT", path, author, fields{"title": "Minutes", "content": "Mine"}, "If-Match", "*").Want(t, 200)
			assisttest.Says("Its own.")(w, r)
		})
		text, last := compose(t.Context(), t, s, path, author, fields{"instructions": "Go on."}).rest()
		details, _ := last.data["details"].(map[string]any)
		if text != "Its own." || last.name != "error" || last.data["status"] != 412.0 || details["content"] != "Its own." || details["etag"] != `"r2"` {
			t.Errorf("streamed %q and %+v", text, last)
		}
		if got := s.Do(t, "GET", path, author, nil).Want(t, 200); got.At("document.content") != "Mine" {
			t.Errorf("the document is %s", got.Text)
		}
	})
}

// TestReaderLeaves has the browser go away in the middle: the AI server's work ends, nothing is
// written, and the call is on record.
func TestReaderLeaves(t *testing.T) {
	assisted(t, func(t *testing.T, s *webtest.Server, ai *assisttest.Server) {
		author, admin := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "eve", audit.Admin)
		path := newDocument(t, s, author, "# One\n")
		ai.Then(assisttest.Hangs("Half"))
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		st := compose(ctx, t, s, path, author, fields{"instructions": "Go on."})
		if e, ok := st.next(); !ok || e.name != "delta" || e.data["text"] != "Half" {
			t.Fatalf("streamed %+v", e)
		}
		leave()
		ai.Left(t)
		deadline := time.Now().Add(5 * time.Second)
		for {
			events := s.Do(t, "GET", "/api/admin/audit/events?action=document.composed", admin, nil).Want(t, 200).Text
			if strings.Contains(events, "WITHDRAWN") && strings.Contains(events, "FAILURE") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the events are %s", events)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := s.Do(t, "GET", path, author, nil).Want(t, 200); got.Header.Get("ETag") != `"r1"` || got.At("document.content") != "# One\n" {
			t.Errorf("the document is %s", got.Text)
		}
		if strings.Contains(s.Logged(), "a request failed") {
			t.Errorf("somebody's leaving is logged as our failure:\n%s", s.Logged())
		}
	})
}

// TestRevokedInTheMiddle ends the reader's session while a stream is open (SPEC §3): it ends within a
// second or two, and nothing is written for somebody who is signed out.
func TestRevokedInTheMiddle(t *testing.T) {
	assisted(t, func(t *testing.T, s *webtest.Server, ai *assisttest.Server) {
		author := s.SignIn(t, "ann", audit.Author)
		path := newDocument(t, s, author, "# One\n")
		ai.Then(assisttest.Hangs("Half"))
		st := compose(t.Context(), t, s, path, author, fields{"instructions": "Go on."})
		if e, ok := st.next(); !ok || e.name != "delta" {
			t.Fatalf("streamed %+v", e)
		}
		s.Do(t, "POST", "/api/auth/logout", author, nil).Want(t, 204)
		began := time.Now()
		_, last := st.rest()
		if last.name != "error" || last.data["status"] != 401.0 {
			t.Errorf("the stream ended with %+v", last)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		ai.Left(t)
		events := s.Do(t, "GET", "/api/admin/audit/events?action=document.composed", s.SignIn(t, "eve", audit.Admin), nil).Want(t, 200).Text
		if !strings.Contains(events, "WITHDRAWN") || !strings.Contains(events, "FAILURE") {
			t.Errorf("the events are %s", events)
		}
		again := s.SignIn(t, "ann", audit.Author)
		if got := s.Do(t, "GET", path, again, nil).Want(t, 200); got.Header.Get("ETag") != `"r1"` {
			t.Errorf("the document is %s", got.Text)
		}
	})
}

func TestSuggestionRoutes(t *testing.T) {
	assisted(t, func(t *testing.T, s *webtest.Server, ai *assisttest.Server) {
		author, other := s.SignIn(t, "ann", audit.Author), s.SignIn(t, "bob", audit.Author)
		path := newDocument(t, s, author, "All agreed. Nobody was against it. It was boring.")
		ai.Then(assisttest.Says(`{"suggestions":[
			{"kind":"CLARITY","quote":"Nobody was against it.","replacement":"Nobody objected.","reason":"Shorter.","source":""},
			{"kind":"FACT","quote":"All agreed.","replacement":"All 12 agreed.","reason":"The list says so.","source":"12 present"},
			{"kind":"CLARITY","quote":" It was boring.","replacement":"","reason":"Says nothing.","source":""},
			{"kind":"CLARITY","quote":"It was fun.","replacement":"x","reason":"y","source":""}]}`))
		a := s.Do(t, "POST", path+"/suggestions/refresh", author, fields{"source": "The list: 12 present."}).Want(t, 200)
		version, _ := a.Body["promptVersionId"].(string)
		list, _ := a.Body["suggestions"].([]any)
		if len(list) != 3 || a.Body["dropped"] != 1.0 || !strings.HasPrefix(version, "suggest-") {
			t.Fatalf("suggested %s", a.Text)
		}
		var ids []string
		for _, item := range list {
			ids = append(ids, item.(map[string]any)["id"].(string))
		}
		first, second := list[0].(map[string]any), list[1].(map[string]any)
		if first["kind"] != "CLARITY" || first["quote"] != "Nobody was against it." || first["replacement"] != "Nobody objected." ||
			first["reason"] != "Shorter." || first["status"] != "OPEN" || second["source"] != "12 present" {
			t.Errorf("suggested %s", a.Text)
		}
		if _, has := first["source"]; has {
			t.Errorf("a suggestion without a source has one: %s", a.Text)
		}
		if got := s.Do(t, "GET", path+"/suggestions", author, nil).Want(t, 200); got.Text != a.Text {
			t.Errorf("listed %s, refreshed %s", got.Text, a.Text)
		}

		at := func(i int, what string) string { return path + "/suggestions/" + ids[i] + "/" + what }
		wantProblem(t, s.Do(t, "POST", at(0, "accept"), other, nil), 404, "no such document")
		wantProblem(t, s.Do(t, "POST", at(0, "accept"), author, nil, "If-Match", `"r2"`), 412, "has changed")
		wantProblem(t, s.Do(t, "POST", path+"/suggestions/"+store.NewID()+"/accept", author, nil), 404, "no such suggestion")
		a = s.Do(t, "POST", at(1, "accept"), author, nil, "If-Match", `"r1"`).Want(t, 200)
		if a.At("document.content") != "All 12 agreed. Nobody was against it. It was boring." || a.Header.Get("ETag") != `"r2"` {
			t.Errorf("accepted: %s", a.Text)
		}
		a = s.Do(t, "POST", at(1, "accept"), author, nil)
		wantProblem(t, a, 409, "no longer open")
		if a.At("details.status") != "ACCEPTED" {
			t.Errorf("accepted again: %s", a.Text)
		}
		a = s.Do(t, "POST", at(2, "dismiss"), author, fields{"reason": strings.Repeat("é", 1000)}).Want(t, 200)
		if a.At("suggestion.status") != "DISMISSED" || a.At("suggestion.id") != ids[2] {
			t.Errorf("dismissed: %s", a.Text)
		}
		wantProblem(t, s.Do(t, "POST", at(0, "dismiss"), author, fields{"reason": strings.Repeat("é", 1001)}), 422, "not of the form")
		s.Do(t, "PUT", path, author, fields{"title": "Minutes", "content": "Something else."}, "If-Match", "*").Want(t, 200)
		a = s.Do(t, "POST", at(0, "accept"), author, nil)
		wantProblem(t, a, 409, "no longer there exactly once")
		if a.At("details.status") != "STALE" {
			t.Errorf("accepted what is not there: %s", a.Text)
		}
		wantProblem(t, s.Do(t, "POST", at(0, "dismiss"), author, nil), 409, "no longer open")

		ai.Then(assisttest.Says(`{"suggestions":[]}`))
		a = s.Do(t, "POST", path+"/suggestions/refresh", author, nil).Want(t, 200) // without a body
		if list, _ := a.Body["suggestions"].([]any); list == nil || len(list) != 0 || a.Body["dropped"] != 0.0 {
			t.Errorf("suggested %s", a.Text)
		}
	})
}

func TestComposeIsDocumented(t *testing.T) {
	s := start(t)
	a := s.Do(t, "GET", "/openapi.json", "", nil).Want(t, 200)
	path, _ := a.At("paths").(map[string]any)["/api/documents/{id}/compose"].(map[string]any)
	text, err := json.Marshal(path["post"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"text/event-stream", "schemas/Composed", "If-Match", "ETag"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document does not say %s: %s", want, text)
		}
	}
}

// TestAccept holds which Accept asks for a stream.
func TestAccept(t *testing.T) {
	fake, err := fakeprovider.Start(t.Context(), assisttest.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close() //nolint:errcheck // it has nothing to lose
	s := start(t, "OPENAI_API_KEY="+assisttest.Key, "OPENAI_BASE_URL="+fake.URL)
	author := s.SignIn(t, "ann", audit.Author)
	path := newDocument(t, s, author, "# One\n")
	for _, tt := range []struct{ accept, contentType string }{
		{"*/*", "application/json"},
		{"application/json", "application/json"},
		{"text/event-stream", "text/event-stream"},
		{"application/json, Text/Event-Stream;q=0.5", "text/event-stream"},
		{"text/event-stream;q=0", "application/json"},
		{"text/event-stream;q=x", "application/json"},
		{"text/*, ;", "application/json"},
	} {
		a := s.Do(t, "POST", path+"/compose", author, fields{"instructions": "Go on."}, "Accept", tt.accept).Want(t, 200)
		if got := a.Header.Get("Content-Type"); got != tt.contentType {
			t.Errorf("%q is answered with %s", tt.accept, got)
		}
		if !strings.Contains(a.Text, "Fake AI") {
			t.Errorf("%q is answered with %s", tt.accept, a.Text)
		}
	}
}
