package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/web"
	"sealpost/web/webtest"
)

// events is an open stream as a client reads it.
type events struct {
	t      *testing.T
	header http.Header
	lines  chan string // closed at the stream's end
	close  func()
}

// listen opens a stream. Whoever gives a cookie asks for the pages' own.
func listen(t *testing.T, client *http.Client, url, token, cookie string) *events {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	path := "/stream"
	if token != "" {
		path = "/api/admin/events/stream"
	}
	r, err := http.NewRequestWithContext(ctx, "GET", url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "sealpost", Value: cookie})
	}
	response, err := client.Do(r) //nolint:bodyclose // by whoever reads it to its end
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if response.StatusCode != 200 {
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		cancel()
		t.Fatalf("status %d: %s", response.StatusCode, text)
	}
	e := &events{t: t, header: response.Header, lines: make(chan string, 1024)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(e.lines)
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			e.lines <- lines.Text()
		}
		_ = response.Body.Close()
	}()
	e.close = func() {
		cancel()
		<-read
	}
	t.Cleanup(e.close)
	return e
}

// streamWait is how long something may take that should take no time.
const streamWait = 20 * time.Second

// line gives the next line; "" and false at the end.
func (e *events) line(wait time.Duration) (string, bool) {
	e.t.Helper()
	select {
	case line, ok := <-e.lines:
		return line, ok
	case <-time.After(wait):
		e.t.Fatal("the stream says nothing")
		return "", false
	}
}

// next gives the next event.
func (e *events) next() (name, data string) {
	e.t.Helper()
	for {
		line, ok := e.line(streamWait)
		if !ok {
			e.t.Fatal("the stream has ended")
		}
		switch {
		case strings.HasPrefix(line, "event: "):
			name = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			data = strings.TrimPrefix(line, "data: ")
		case line == "" && name != "":
			return name, data
		}
	}
}

// job waits until a job is told of in a status, and gives what was told.
func (e *events) job(id string, status dispatch.Status) map[string]any {
	e.t.Helper()
	for {
		name, data := e.next()
		var told map[string]any
		if err := json.Unmarshal([]byte(data), &told); err != nil {
			e.t.Fatalf("the data of %s: %v", name, err)
		}
		if name == "job" && told["id"] == id && told["status"] == string(status) {
			return told
		}
	}
}

// ended waits for the stream's end.
func (e *events) ended() {
	e.t.Helper()
	for {
		if _, ok := e.line(streamWait); !ok {
			return
		}
	}
}

func streamClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestStream(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		token := s.SignIn(t, "ann", audit.Admin)
		client := streamClient(t)
		e := listen(t, client, s.URL, token, "")
		if e.header.Get("Content-Type") != "text/event-stream" || e.header.Get("Cache-Control") != "no-store" || e.header.Get("X-Accel-Buffering") != "no" {
			t.Errorf("the headers are %v", e.header)
		}
		if name, data := e.next(); name != "resync" || data != "{}" {
			t.Errorf("it begins with %s %s", name, data)
		}
		endpoint := pageEndpoint(t, s, "Ledger", answering(t, 400, "no"))
		id := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint})
		told := e.job(id, dispatch.DeadLetter)
		asked := s.Do(t, "GET", "/api/admin/dispatch/jobs?limit=1", token, nil).Want(t, 200).At("jobs").([]any)[0].(map[string]any)
		for name, value := range asked {
			if told[name] != value {
				t.Errorf("%s is %v, and in the list %v", name, told[name], value)
			}
		}

		// The page's own says no more than which.
		v := signIn(t, s, audit.Admin)
		own := listen(t, client, s.URL, "", v.cookies["sealpost"])
		if name, _ := own.next(); name != "resync" {
			t.Errorf("it begins with %s", name)
		}
		if _, err := s.Dispatch.Replay(t.Context(), operator, id, dispatch.ReplayRequest{}); err != nil {
			t.Fatal(err)
		}
		wantNames(t, own.job(id, dispatch.DeadLetter), "id", "status")

		// Both end with their sign-ins.
		s.Do(t, "POST", "/api/auth/logout", token, nil).Want(t, 204)
		e.ended()
		v.post("/logout").Want(t, 303)
		own.ended()
		for end := time.Now().Add(streamWait); web.OpenStreams(s.Web) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("streams that have ended are counted")
			}
		}
	})
}

func TestStreamIsForAdmins(t *testing.T) {
	s := pageServer(t)
	wantProblem(t, s.Do(t, "GET", "/api/admin/events/stream", "", nil), 401, "sign in first")
	for _, role := range []audit.Role{audit.Author, audit.Auditor} {
		wantProblem(t, s.Do(t, "GET", "/api/admin/events/stream", s.SignIn(t, "bob-"+strings.ToLower(string(role)), role), nil), 403, "your role")
	}
	// One who is an admin no longer hears nothing more.
	token := s.SignIn(t, "ann", audit.Admin)
	e := listen(t, streamClient(t), s.URL, token, "")
	e.next()
	by, err := s.Accounts.Authenticate(t.Context(), token, audit.Principal{})
	if err != nil {
		t.Fatal(err)
	}
	role := "AUDITOR"
	if _, err := s.Accounts.ChangeUser(t.Context(), audit.Itself("test"), by.UserID, account.UserPatch{Role: &role}); err != nil {
		t.Fatal(err)
	}
	e.ended()
}

// An AUTHOR hears of own jobs and of nobody else's.
func TestStreamOfOwnJobs(t *testing.T) {
	s := pageServer(t)
	client := streamClient(t)
	author, auditor := signIn(t, s, audit.Author), signIn(t, s, audit.Auditor)
	by, err := s.Accounts.AuthenticatePage(t.Context(), author.cookies["sealpost"], audit.Principal{})
	if err != nil {
		t.Fatal(err)
	}
	own, all := listen(t, client, s.URL, "", author.cookies["sealpost"]), listen(t, client, s.URL, "", auditor.cookies["sealpost"])
	own.next()
	all.next()
	endpoint := pageEndpoint(t, s, "Ledger", answering(t, 200, "ok"))
	others := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint})
	all.job(others, dispatch.Dispatched)
	mine := pageJob(t, s, by, dispatch.NewJob{EndpointID: endpoint})
	all.job(mine, dispatch.Dispatched)
	for {
		name, data := own.next()
		if name != "job" || strings.Contains(data, others) {
			t.Fatalf("an author hears %s %s", name, data)
		}
		if strings.Contains(data, string(dispatch.Dispatched)) {
			break
		}
	}
}

func TestStreamLimits(t *testing.T) {
	s := pageServer(t)
	client := streamClient(t)
	token := s.SignIn(t, "ann", audit.Admin)
	var open []*events
	for range web.MaxOwn {
		open = append(open, listen(t, client, s.URL, token, ""))
	}
	a := s.Do(t, "GET", "/api/admin/events/stream", token, nil)
	wantProblem(t, a, 429, "at most 8 streams")
	if a.Header.Get("Retry-After") != "15" {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	open[3].close()
	for end := time.Now().Add(streamWait); web.OpenStreams(s.Web) == web.MaxOwn; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a stream whose reader has gone stays open")
		}
	}
	listen(t, client, s.URL, token, "").next()

	other := s.SignIn(t, "bea", audit.Admin)
	undo := web.FillStreams(s.Web, web.MaxStreams-web.MaxOwn-1)
	listen(t, client, s.URL, other, "").next() // the last that there may be
	wantProblem(t, s.Do(t, "GET", "/api/admin/events/stream", other, nil), 503, "too many streams")
	undo()
	listen(t, client, s.URL, other, "").next()
}

// A server that ends does not wait for streams.
func TestStreamsEndWithTheServer(t *testing.T) {
	s := pageServer(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := web.HTTPServer(listener.Addr().String(), s.Web.Handler())
	server.RegisterOnShutdown(s.Web.EndStreams)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	token := s.SignIn(t, "ann", audit.Admin)
	e := listen(t, streamClient(t), "http://"+listener.Addr().String(), token, "")
	e.next()
	ctx, cancel := context.WithTimeout(t.Context(), streamWait)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("the server waited: %v", err)
	}
	e.ended()
	served.Wait()
	wantProblem(t, s.Do(t, "GET", "/api/admin/events/stream", token, nil), 503, "the server is ending")
	s.Web.EndStreams() // twice is once
}

// Over HTTP/2 a deadline that passes between two events would break the stream.
func TestStreamOverHTTP2(t *testing.T) {
	s := pageServer(t)
	server := httptest.NewUnstartedServer(s.Web.Handler())
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer server.CloseClientConnections()
	e := listen(t, server.Client(), server.URL, s.SignIn(t, "ann", audit.Admin), "")
	e.next()
	time.Sleep(1500 * time.Millisecond) // longer than a write may take
	endpoint := pageEndpoint(t, s, "Ledger", answering(t, 200, "ok"))
	e.job(pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint}), dispatch.Dispatched)
	e.close()
}

// A reader that takes nothing is dropped, and holds nobody up.
func TestSlowReaderIsDropped(t *testing.T) {
	s := pageServer(t)
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})} // which hold nothing: a write waits for its reader
	server := web.HTTPServer("", s.Web.Handler())
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(p) })
	ours, theirs := net.Pipe()
	p.conns <- theirs
	defer ours.Close() //nolint:errcheck // closed already
	_, err := io.WriteString(ours, "GET /api/admin/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+s.SignIn(t, "ann", audit.Admin)+"\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	read := bufio.NewReader(ours)
	response, err := http.ReadResponse(read, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(response.Body)
	for line := ""; line != "data: {}\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	endpoint := pageEndpoint(t, s, "Ledger", answering(t, 200, "ok"))
	pageJobIs(t, s, pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint}), dispatch.Dispatched)
	for end := time.Now().Add(streamWait); web.OpenStreams(s.Web) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is still served")
		}
	}
	_ = response.Body.Close()
	_ = ours.Close()
	_ = server.Close()
	served.Wait()
}

// Silence is not taken for the end: a comment comes after 15 s.
func TestStreamBeats(t *testing.T) {
	t.Parallel()
	s := pageServer(t)
	e := listen(t, streamClient(t), s.URL, s.SignIn(t, "ann", audit.Admin), "")
	e.next()
	if line, ok := e.line(3 * streamWait); !ok || line != ":" {
		t.Errorf("after a while comes %q", line)
	}
}
