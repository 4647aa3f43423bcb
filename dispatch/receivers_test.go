package dispatch

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// rawReceiver is a TCP server that does with each connection what it likes.
func rawReceiver(t *testing.T, serve func(conn *net.TCPConn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			all.Go(func() {
				defer conn.Close() //nolint:errcheck // either side may be first
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return listener.Addr().String()
}

// says reads the request and answers with a text, and leaves the connection open until the other side
// closes it.
func says(answer string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		readRequest(conn)
		_, _ = io.WriteString(conn, answer)
		_, _ = io.Copy(io.Discard, conn)
	}
}

func readRequest(conn net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

// drips writes a text slowly, again and again.
func drips(first, again string, pause time.Duration) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		readRequest(conn)
		_, err := io.WriteString(conn, first)
		for err == nil {
			time.Sleep(pause)
			_, err = io.WriteString(conn, again)
		}
	}
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// Receivers that do not behave each get the verdict that is theirs, within the time for an attempt, with
// one plain line about it, and take nothing with them.
func TestReceiversThatMisbehave(t *testing.T) {
	const (
		timeout = 2 * time.Second
		closed  = "the connection was closed before an answer"
		late    = "no answer within 2s"
	)
	inFuture := time.Now().AddDate(3, 0, 0).UTC().Format(http.TimeFormat)
	inPast := time.Now().AddDate(-3, 0, 0).UTC().Format(http.TimeFormat)
	day := 24 * time.Hour
	canary := receive(t, nil)
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	_, tlsPort, _ := net.SplitHostPort(tls.Listener.Addr().String())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := free.Addr().String()
	_ = free.Close()

	cases := []struct {
		name   string
		serve  func(*net.TCPConn)
		url    string // where it is not serve's
		status Status
		reason Reason
		code   int
		says   string        // lastError, or a part of it behind a *
		wait   time.Duration // the least until the next attempt
		most   time.Duration // the most, where that is said
		answer int           // bytes of it that are kept
	}{
		{name: "slow headers", serve: drips("HTTP/1.1 200 OK\r\n", "X: y\r\n", 50*time.Millisecond), status: Retrying, says: late},
		{name: "no answer", serve: says(""), status: Retrying, says: late},
		{name: "reads nothing", serve: func(conn *net.TCPConn) { time.Sleep(2 * timeout) }, status: Retrying, says: late},
		{name: "slow body", serve: drips("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "x", 50*time.Millisecond), status: Dispatched, code: 200, answer: 1},
		{name: "slow body of a failure", serve: drips("HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\n", "x", 50*time.Millisecond), status: Retrying, code: 503, says: "503 Service Unavailable", answer: 1},
		{name: "endless body", serve: drips("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("y", 32<<10), 0), status: Dispatched, code: 200, answer: maxAnswer},
		{name: "endless chunks", serve: drips("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", "4000\r\n"+strings.Repeat("z", 0x4000)+"\r\n", 0), status: Retrying, code: 500, says: "500 Internal Server Error", answer: maxAnswer},
		{name: "reset at once", serve: reset, status: Retrying, says: closed},
		{name: "reset in the headers", serve: func(conn *net.TCPConn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-A: b\r\n")
			reset(conn)
		}, status: Retrying, says: closed},
		{name: "closed in the headers", serve: func(conn *net.TCPConn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 O")
		}, status: Retrying, says: closed},
		{name: "closed in the body", serve: func(conn *net.TCPConn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		}, status: Dispatched, code: 200, answer: 4},
		{name: "no byte of an answer", serve: func(conn *net.TCPConn) { readRequest(conn) }, status: Retrying, says: closed},
		{name: "redirect", serve: says("HTTP/1.1 302 Found\r\nLocation: " + canary.URL + "/elsewhere\r\nContent-Length: 0\r\n\r\n"), status: Retrying, code: 302, says: "302 Found (redirects are not followed)"},
		{name: "redirect that keeps the method", serve: says("HTTP/1.1 308 Go\r\nLocation: " + canary.URL + "\r\nContent-Length: 0\r\n\r\n"), status: Retrying, code: 308, says: "308 Permanent Redirect (redirects are not followed)"},
		{name: "redirect to nowhere", serve: says("HTTP/1.1 301 Moved\r\nLocation: http://[::1?token=s3cret\r\nContent-Length: 0\r\n\r\n"), status: Retrying, code: 301, says: "301 Moved Permanently (redirects are not followed)"},
		{name: "wait until the past", serve: says("HTTP/1.1 429 Wait\r\nRetry-After: " + inPast + "\r\nContent-Length: 0\r\n\r\n"), status: Retrying, code: 429, says: "429 Too Many Requests", most: 2 * time.Hour},
		{name: "wait for years", serve: says("HTTP/1.1 429 Wait\r\nRetry-After: " + inFuture + "\r\nContent-Length: 0\r\n\r\n"), status: Retrying, code: 429, says: "429 Too Many Requests", wait: day - time.Minute, most: day},
		{name: "wait for more seconds than there are", serve: says("HTTP/1.1 503 Busy\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n"), status: Retrying, code: 503, says: "503 Service Unavailable", wait: day - time.Minute, most: day},
		{name: "wait for nonsense", serve: says("HTTP/1.1 503 Busy\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n"), status: Retrying, code: 503, says: "503 Service Unavailable", most: 2 * time.Hour},
		{name: "too many headers", serve: drips("HTTP/1.1 200 OK\r\n", strings.Repeat("X-Long: "+strings.Repeat("h", 1000)+"\r\n", 100), 0), status: Retrying, says: "net/http: server response headers exceeded 65536 bytes; aborted"},
		{name: "continue first", serve: says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 Taken\r\n\r\n"), status: Dispatched, code: 204},
		{name: "continue for ever", serve: drips("", "HTTP/1.1 100 Continue\r\n\r\n", 0), status: Retrying, says: "*"},
		{name: "another protocol", serve: says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), status: Retrying, code: 101, says: "101 Switching Protocols"},
		{name: "a status nobody knows", serve: says("HTTP/1.1 799 What\r\nContent-Length: 0\r\n\r\n"), status: Retrying, code: 799, says: "799"},
		{name: "not HTTP", serve: says("SSH-2.0-OpenSSH_9.9\r\nboo\x00\xff\r\n"), status: Retrying, says: "*malformed HTTP"},
		{name: "bytes in a header", serve: says("HTTP/1.1 200 OK\r\nbad\x00\xff header\r\n\r\n"), status: Retrying, says: "*"},
		{name: "a length that is none", serve: says("HTTP/1.1 200 OK\r\nContent-Length: -\u202e1\r\n\r\n"), status: Retrying, says: "*"},
		{name: "not wanted", serve: says("HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n\x00\xff"), status: DeadLetter, reason: Permanent, code: 400, says: "400 Bad Request", answer: 4},
		{name: "too large", serve: says("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), status: DeadLetter, reason: Permanent, code: 413, says: "413 Request Entity Too Large"},
		{name: "ten megabytes of headers", serve: drips("HTTP/1.1 200 OK\r\n", "X-Long: "+strings.Repeat("h", 10<<20)+"\r\n", 0), status: Retrying, says: "net/http: server response headers exceeded 65536 bytes; aborted"},
		{name: "nobody listens", url: "http://" + refused, status: Retrying, says: "the connection was refused"},
		{name: "a certificate for another name", url: "https://localhost:" + tlsPort, status: Retrying, says: "*tls: failed to verify certificate: x509: certificate is valid for"},
		{name: "no TLS at all", serve: func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 400 No\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
		}, url: "https", status: Retrying, says: "tls: first record does not look like a TLS handshake"},
		{name: "no end of the handshake", serve: func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }, url: "https", status: Retrying, says: late},
	}
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Timeout, o.Backoff = timeout, 2*time.Hour // cut to one
		var log bytes.Buffer
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		d := newDispatcher(t, st, o)
		d.jitter = func(longest time.Duration) time.Duration { return longest }
		ids := make([]string, len(cases))
		for i, tt := range cases {
			url := tt.url
			switch url {
			case "":
				url = "http://" + rawReceiver(t, tt.serve)
			case "https":
				url = "https://" + rawReceiver(t, tt.serve)
			}
			ids[i] = accept(t, d, endpoint(t, d, url+"/hook?token=s3cret").ID, strings.Repeat("payload", 10_000))
		}
		well := endpoint(t, d, canary.URL)
		started := time.Now()
		stop := run(t, d)
		for range 10 { // one beside them that behaves
			await(t, d, accept(t, d, well.ID, "x"), Dispatched)
		}
		for i, tt := range cases {
			await(t, d, ids[i], tt.status)
		}
		if took := time.Since(started); took > timeout+5*time.Second {
			t.Errorf("the attempts took %s", took)
		}
		started = time.Now()
		stop() // although some receivers hold on to their connections
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("the dispatcher's end took %s", took)
		}
		for i, tt := range cases {
			t.Run(tt.name, func(t *testing.T) {
				job, err := d.Get(t.Context(), admin, ids[i])
				if err != nil {
					t.Fatal(err)
				}
				if part, ok := strings.CutPrefix(tt.says, "*"); job.LastError != tt.says && (!ok || !strings.Contains(job.LastError, part)) {
					t.Errorf("lastError is %q, want %q", job.LastError, tt.says)
				}
				if len(job.LastError) > maxLastError || strings.ContainsFunc(job.LastError, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("lastError is not one plain line: %q", job.LastError)
				}
				if job.Status != tt.status || job.DeadLetterReason != tt.reason {
					t.Errorf("the job is %s, %s", job.Status, job.DeadLetterReason)
				}
				if wait := time.Until(job.NextRetryAt); tt.wait > 0 && wait < tt.wait || tt.most > 0 && wait > tt.most {
					t.Errorf("the next attempt comes in %s, want %s to %s", wait, tt.wait, tt.most)
				}
				attempts, err := d.Attempts(t.Context(), job.ID)
				if err != nil || len(attempts) != 1 {
					t.Fatalf("%d attempts: %v", len(attempts), err)
				}
				if a := attempts[0]; a.StatusCode != tt.code || len(a.Answer) < tt.answer || len(a.Answer) > maxAnswer || a.Error != job.LastError {
					t.Errorf("the attempt is %+v", a)
				}
				events, err := d.log.Events(t.Context(), audit.Filter{EntityID: job.ID}, store.Page{Limit: 10})
				if err != nil || len(events.Items) != 2 {
					t.Errorf("%d events: %v", len(events.Items), err)
				}
				if told := fmt.Sprint(job.LastError, events); strings.Contains(told, "s3cret") {
					t.Errorf("the URL's query is told: %s", told)
				}
			})
		}
		if strings.Contains(log.String(), "s3cret") {
			t.Errorf("the log has the URL's query: %s", log.String())
		}
	})
	for _, a := range canary.all() {
		if a.body != "x" {
			t.Errorf("a redirect was followed, with %q", a.body)
		}
	}
}
