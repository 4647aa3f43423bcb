package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/dispatch"
	"sealpost/fault"
	"sealpost/rotation"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errHelp, 0},
		{errors.New("disk on fire"), 1},
		{fault.New(fault.Unavailable, "the database is away"), 1},
		{usage("no such flag"), 2},
		{errors.Join(store.ErrLocked, errors.New("close")), 75},
		{config.Problems{{Variable: "PORT"}}, 78},
		{rotation.ErrWrongDataKey, 78},
	} {
		if got := status(tt.err); got != tt.want {
			t.Errorf("status(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

// running is a server that the test has wired, and can end.
type running struct {
	*server
	addr string
	end  context.CancelFunc // what a signal does
	done chan error         // what serve returned
}

func start(t *testing.T, databaseURL string, change ...func(*server)) *running {
	t.Helper()
	c, _, err := config.Load([]string{"NODE_ENV=test", "DATA_DIR=" + t.TempDir(), "DATABASE_URL=" + databaseURL})
	if err != nil {
		t.Fatal(err)
	}
	s, err := wire(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	r := &running{server: s, addr: l.Addr().String(), end: end, done: make(chan error, 1)}
	ready := make(chan string, 1)
	go func() { r.done <- s.serve(ctx, l, func(url string) { ready <- url }) }()
	t.Cleanup(func() {
		end()
		if err := s.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if url := <-ready; url != "http://"+r.addr {
		t.Errorf("it says that it listens on %s, not on %s", url, r.addr)
	}
	return r
}

// wait waits for serve's end.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not end")
		return nil
	}
}

// refused waits until the server takes no new connections.
func (r *running) refused(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			return
		}
		_ = conn.Close()
		if time.Now().After(end) {
			t.Fatal("it still takes connections")
		}
	}
}

// halfRequest begins a request whose body is still to come, and returns when its handler reads it.
func halfRequest(t *testing.T, addr, body string) (net.Conn, *bufio.Reader) {
	t.Helper()
	var conn net.Conn
	for end := time.Now().Add(20 * time.Second); conn == nil; time.Sleep(20 * time.Millisecond) {
		var err error
		if conn, err = net.Dial("tcp", addr); err != nil && time.Now().After(end) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := "POST /api/auth/login HTTP/1.1\r\nHost: sealpost\r\nContent-Type: application/json\r\n" +
		"Expect: 100-continue\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the handler does not begin to read: %q, %v", line, err)
	}
	if _, err := r.ReadString('\n'); err != nil { // the empty line behind it
		t.Fatal(err)
	}
	return conn, r
}

// A request that was begun is answered, though the server takes no new ones.
func TestDrainEndsRequests(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := start(t, url)
		const body = `{"email":"nobody@example.org","password":"not a password of anybody 1!"}`
		conn, r := halfRequest(t, s.addr, body)
		s.end()
		s.refused(t)
		if _, err := io.WriteString(conn, body); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("the request was not answered: %v", err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("it is answered with %d", resp.StatusCode)
		}
		if err := s.wait(t); err != nil {
			t.Error(err)
		}
	})
}

// A request that does not end is broken off when the time is over.
func TestDrainHasALimit(t *testing.T) {
	s := start(t, storetest.SQLiteURL(t), func(s *server) { s.drain = 200 * time.Millisecond })
	_, r := halfRequest(t, s.addr, `{"email":"x"}`)
	began := time.Now()
	s.end()
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 200*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if resp, err := http.ReadResponse(r, nil); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode < 500 && resp.StatusCode != http.StatusRequestTimeout && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("half a request is answered with %d", resp.StatusCode)
		}
	}
}

// A delivery that was begun is finished and its end is stored, so that it is not made again.
func TestDrainEndsDeliveries(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := start(t, url)
		arrived, answer := make(chan struct{}), make(chan struct{})
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(arrived)
			<-answer
			w.WriteHeader(http.StatusNoContent)
		}))
		defer receiver.Close()
		admin := audit.Principal{Kind: audit.User, UserID: store.NewID(), Role: audit.Admin}
		e, _, err := s.dispatch.CreateEndpoint(t.Context(), admin, dispatch.NewEndpoint{Name: "receiver", URL: receiver.URL})
		if err != nil {
			t.Fatal(err)
		}
		var id string
		_, err = s.dispatch.Accept(t.Context(), admin, dispatch.NewJob{EndpointID: e.ID, ContentType: "text/plain", Payload: []byte("x")},
			audit.Once{}, func(j dispatch.Job) audit.Answer {
				id = j.ID
				return audit.Answer{}
			})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-arrived:
		case <-time.After(20 * time.Second):
			t.Fatal("the job is not delivered")
		}
		s.end()
		s.refused(t)
		close(answer)
		if err := s.wait(t); err != nil {
			t.Error(err)
		}
		job, err := s.dispatch.Get(t.Context(), admin, id)
		if err != nil || job.Status != dispatch.Dispatched || job.AttemptCount != 1 {
			t.Errorf("the job is %+v, %v", job, err)
		}
	})
}

// Who does not want to wait for the end of what was begun sends the signal again.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	port, err := findFreePort()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sealpost", "serve")
	cmd.Env = append(os.Environ(), "DATA_DIR="+t.TempDir(), "PORT="+port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer cmd.Process.Kill() //nolint:errcheck // it has ended already, if all is well
	addr := "127.0.0.1:" + port
	halfRequest(t, addr, `{"email":"x"}`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	(&running{addr: addr}).refused(t)
	select {
	case err := <-ended:
		t.Fatalf("it has ended with a request under way: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the second signal does not end it")
	}
}

// What cannot be wired leaves nothing behind: the database can be opened again at once.
func TestFailedWiringCloses(t *testing.T) {
	url := storetest.SQLiteURL(t)
	load := func(environ ...string) *config.Config {
		c, _, err := config.Load(append([]string{"NODE_ENV=test", "DATA_DIR=" + t.TempDir(), "DATABASE_URL=" + url}, environ...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := load()
	s, err := wire(t.Context(), first, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := wire(t.Context(), load(), slog.New(slog.DiscardHandler)); !errors.Is(err, rotation.ErrWrongDataKey) {
		t.Errorf("with other keys: %v", err)
	}
	if s, err = wire(t.Context(), first, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
