package web_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

// wantProblem fails the test where an answer is not a whole problem document of a status.
func wantProblem(t *testing.T, a webtest.Answer, status int, message string) {
	t.Helper()
	a.Want(t, status)
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	for name, want := range map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": float64(status),
		"requestId": a.Header.Get("X-Request-Id"),
	} {
		if a.Body[name] != want {
			t.Errorf("%s is %v, want %v: %s", name, a.Body[name], want, a.Text)
		}
	}
	for _, name := range []string{"detail", "instance", "error"} {
		if text, _ := a.Body[name].(string); text == "" {
			t.Errorf("there is no %s: %s", name, a.Text)
		}
	}
	if !strings.Contains(a.Body["error"].(string), message) {
		t.Errorf("error is %q, want one with %q", a.Body["error"], message)
	}
	for name := range a.Body {
		if !slices.Contains([]string{"type", "title", "status", "detail", "instance", "error", "requestId", "details"}, name) {
			t.Errorf("there is an extension %s", name)
		}
	}
}

func TestProblems(t *testing.T) {
	s := start(t)
	for _, tt := range []struct {
		method, path string
		status       int
		message      string
	}{
		{"GET", "/test/fail/internal", 500, "something went wrong on our side"},
		{"GET", "/test/fail/panic", 500, "something went wrong on our side"},
		{"GET", "/test/fail/conflict", 409, "it is final"},
		{"GET", "/test/fail/throttled", 429, "slow down"},
		{"GET", "/test/fail/away", 503, "try later"},
		{"GET", "/test/fail/huma", 409, "by huma"},
		{"GET", "/test/fail/nodetails", 409, "odd"},
		{"GET", "/test/fail/wrapped", 404, "not here"},
		{"GET", "/test/fail/preRequired", 428, "name the version"},
		{"GET", "/nothing", 404, "nothing at this address"},
		{"GET", "/livez/", 404, "nothing at this address"},
		{"GET", "//livez", 404, "nothing at this address"},
		{"GET", "/x/../livez", 404, "nothing at this address"},
		{"GET", "/test/fail/%00", 404, "nothing at this address"},
		{"GET", "/test/fail/%ff", 404, "nothing at this address"},
		{"POST", "/livez", 405, "does not take POST"},
		{"OPTIONS", "/livez", 405, "does not take OPTIONS"},
		{"TRACE", "/livez", 405, "does not take TRACE"},
		{"PROPFINDPROPFINDPROPFIND", "/livez", 405, "does not take that method"},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			a := s.Do(t, tt.method, tt.path, "", nil)
			wantProblem(t, a, tt.status, tt.message)
			if path, _, _ := strings.Cut(tt.path, "?"); a.Body["instance"] != path {
				t.Errorf("instance is %v", a.Body["instance"])
			}
			if strings.Contains(a.Text, "hunter2") || strings.Contains(a.Text, "10.0.0.7") {
				t.Errorf("the answer shows what is not the caller's: %s", a.Text)
			}
		})
	}
}

func TestProblemsSayMore(t *testing.T) {
	s := start(t)
	if got := s.Do(t, "GET", "/test/fail/conflict", "", nil).At("details.version"); got != 3.0 {
		t.Errorf("details.version is %v", got)
	}
	if got := s.Do(t, "GET", "/test/fail/throttled", "", nil).Header.Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After is %q, want the 1.5 s rounded up", got)
	}
	if got := s.Do(t, "POST", "/livez", "", nil).Header.Get("Allow"); got != "GET, HEAD" {
		t.Errorf("Allow is %q", got)
	}
	if got := s.Do(t, "DELETE", "/test/echo", "", nil).Header.Get("Allow"); got != "POST" {
		t.Errorf("Allow is %q", got)
	}
	if got := s.Do(t, "GET", "/test/me", "", nil).Want(t, 401).Header.Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("WWW-Authenticate is %q", got)
	}
}

func TestWhatNobodyIntendedIsLogged(t *testing.T) {
	for how, want := range map[string]string{
		"internal": "password is hunter2", "panic": "export_test.go", "away": "dial 10.0.0.7", "nodetails": "unsupported type",
		"wrapped": "could not be recorded",
	} {
		s := start(t)
		id := s.Do(t, "GET", "/test/fail/"+how, "", nil).Header.Get("X-Request-Id")
		found := false
		for line := range strings.Lines(s.Logged()) {
			found = found || strings.Contains(line, id) && strings.Contains(line, want)
		}
		if !found {
			t.Errorf("%s: no line has request id and %q:\n%s", how, want, s.Logged())
		}
	}
}

func TestHalfAnAnswerIsBrokenOff(t *testing.T) {
	s := start(t)
	response, err := http.Get(s.URL + "/test/half")
	if err != nil {
		return // broken off before it began
	}
	defer response.Body.Close() //nolint:errcheck // broken
	if text, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("read %q to its end, though the handler panicked", text)
	}
}

func TestRequestID(t *testing.T) {
	s := start(t)
	long := strings.Repeat("a", 128)
	for _, tt := range []struct {
		sent []string
		kept bool
	}{
		{[]string{"abc-123_X.y"}, true},
		{[]string{"a"}, true},
		{[]string{long}, true},
		{nil, false},
		{[]string{""}, false},
		{[]string{long + "a"}, false},
		{[]string{"a b"}, false},
		{[]string{"é"}, false},
		{[]string{"a/b"}, false},
		{[]string{"<script>"}, false},
		{[]string{"one", "two"}, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/nothing", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header["X-Request-Id"] = tt.sent
		a := s.Send(t, r)
		got := a.Header.Get("X-Request-Id")
		if kept := len(tt.sent) == 1 && got == tt.sent[0]; kept != tt.kept {
			t.Errorf("%.20q: the answer has %.20q", tt.sent, got)
		}
		if !tt.kept && !store.ValidID(got) {
			t.Errorf("%.20q: %q is no new id", tt.sent, got)
		}
		if a.Body["requestId"] != got {
			t.Errorf("the problem says %v, the header %s", a.Body["requestId"], got)
		}
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	s := start(t)
	for _, path := range []string{"/livez", "/nothing", "/test/fail/panic", "/test/me", "/openapi.json", "/metrics"} {
		a := s.Do(t, "GET", path, "", nil)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'",
			"Strict-Transport-Security": "", // not over plain HTTP
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if a.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", path)
		}
	}
	s = start(t, "PUBLIC_URL=https://pilot.example.org")
	if got := s.Do(t, "GET", "/livez", "", nil).Header.Get("Strict-Transport-Security"); !strings.HasPrefix(got, "max-age=63072000") {
		t.Errorf("HSTS is %q where the public address is https", got)
	}
}

func TestAcceptDoesNotChangeTheFormat(t *testing.T) {
	s := start(t)
	for _, accept := range []string{"text/html", "json", "application/problem+json", "application/cbor", "*/*;q=0"} {
		if got := s.Do(t, "GET", "/livez", "", nil, "Accept", accept).Want(t, 200).Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Accept %s: %s", accept, got)
		}
	}
}

func TestHead(t *testing.T) {
	s := start(t)
	if a := s.Do(t, "HEAD", "/livez", "", nil).Want(t, 200); a.Text != "" {
		t.Errorf("HEAD has a body: %q", a.Text)
	}
}

func TestRequestsAreLoggedWithoutSecrets(t *testing.T) {
	s := start(t)
	token := s.SignIn(t, "ann", audit.Admin)
	s.Do(t, "GET", "/test/me", token, nil)
	s.Do(t, "GET", "/test/list?cursor=hunter2", token, nil)
	s.Do(t, "POST", "/test/echo", "", `{"name":"hunter2"}`)
	log := s.Logged()
	for _, want := range []string{`route="GET /test/me"`, `route="GET /test/list"`, "status=422", "method=POST", "took=", "requestId=", "actorId="} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	if strings.Contains(log, "hunter2") || strings.Contains(log, token) {
		t.Errorf("the log has a query, a body or a token:\n%s", log)
	}
}
