package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/web"
)

// pipes is a listener whose connections are pipes in memory, which a test's own clock goes for.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// overPipes runs a test in a bubble of its own time, with a connection to the server. What the test
// starts among clients ends with the connection.
func overPipes(t *testing.T, test func(t *testing.T, conn net.Conn, clients *sync.WaitGroup)) {
	t.Helper()
	handler := start(t).Web.Handler()
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		server := web.HTTPServer("", handler)
		server.ErrorLog = nil
		var served, clients sync.WaitGroup
		served.Go(func() { _ = server.Serve(l) })
		client, peer := net.Pipe()
		l.conns <- peer
		test(t, client, &clients)
		_ = client.Close()
		clients.Wait()
		_ = server.Close()
		served.Wait()
	})
}

// closedAfter tells how long it takes the server to close a connection, and what it says before.
func closedAfter(conn net.Conn) (time.Duration, string) {
	begun := time.Now()
	text, _ := io.ReadAll(conn)
	return time.Since(begun), string(text)
}

func TestSlowHeaders(t *testing.T) {
	overPipes(t, func(t *testing.T, conn net.Conn, clients *sync.WaitGroup) {
		clients.Go(func() {
			for _, b := range []byte("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaa") {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		if took, text := closedAfter(conn); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("closed after %v with %q", took, text)
		}
	})
}

func TestIdleConnection(t *testing.T) {
	overPipes(t, func(t *testing.T, conn net.Conn, clients *sync.WaitGroup) {
		clients.Go(func() { _, _ = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n") })
		if took, text := closedAfter(conn); took != 120*time.Second || !strings.HasPrefix(text, "HTTP/1.1 200") {
			t.Errorf("closed after %v with %q", took, text)
		}
	})
}

func TestSlowBody(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes int // of a body of 20, one each 2 seconds
		want  string
	}{
		{"in time", 14, "HTTP/1.1 200"}, // the last comes after 28 s
		{"too late", 16, "HTTP/1.1 408"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overPipes(t, func(t *testing.T, conn net.Conn, clients *sync.WaitGroup) {
				clients.Go(func() {
					_, _ = fmt.Fprintf(conn, "POST /test/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", tt.bytes)
					for _, b := range []byte(padded(`{"name":"abc"}`, 20))[:tt.bytes] {
						time.Sleep(2 * time.Second)
						if _, err := conn.Write([]byte{b}); err != nil {
							return
						}
					}
				})
				begun := time.Now()
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close() //nolint:errcheck // done
				_, _ = io.Copy(io.Discard, response.Body)
				if got := response.Proto + " " + response.Status; !strings.HasPrefix(got, tt.want) || time.Since(begun) > 30*time.Second {
					t.Errorf("%s after %v", got, time.Since(begun))
				}
				if response.StatusCode == 408 && response.Header.Get("Content-Type") != "application/problem+json" {
					t.Error("it is no problem document")
				}
			})
		})
	}
}

// TestSlowBodyThatNobodyReads has a refused request trickle its body: it does not hold its connection.
func TestSlowBodyThatNobodyReads(t *testing.T) {
	overPipes(t, func(t *testing.T, conn net.Conn, clients *sync.WaitGroup) {
		clients.Go(func() {
			_, _ = io.WriteString(conn, "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
			for {
				time.Sleep(time.Second)
				if _, err := conn.Write([]byte{'x'}); err != nil {
					return
				}
			}
		})
		took, text := closedAfter(conn)
		if took > 31*time.Second || !strings.HasPrefix(text, "HTTP/1.1 404") {
			t.Errorf("closed after %v with %q", took, text)
		}
	})
}

// TestHandlerOutlivesItsBody has a handler take longer than a body may: the body's limit is over once
// it has been read.
func TestHandlerOutlivesItsBody(t *testing.T) {
	overPipes(t, func(t *testing.T, conn net.Conn, clients *sync.WaitGroup) {
		clients.Go(func() {
			_, _ = io.WriteString(conn, "POST /test/slow HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"name\":\"abc\"}")
		})
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close() //nolint:errcheck // done
		text, _ := io.ReadAll(response.Body)
		if response.StatusCode != 200 {
			t.Errorf("%s: %s", response.Status, text)
		}
	})
}

func TestHeaderSize(t *testing.T) {
	s := start(t)
	// net/http allows some KiB more than its MaxHeaderBytes, for its own buffer.
	s.Do(t, "GET", "/livez", "", nil, "X-Large", strings.Repeat("x", 32<<10)).Want(t, 200)
	s.Do(t, "GET", "/livez", "", nil, "X-Large", strings.Repeat("x", 40<<10)).Want(t, 431)
}
