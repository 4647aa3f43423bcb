package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sealpost/audit"
)

// BenchmarkFrame measures what the frame costs over a bare handler that answers the same bytes, on
// real sockets with clients that do next to nothing themselves.
func BenchmarkFrame(b *testing.B) {
	s := start(b)
	token := s.SignIn(b, "ann", audit.Admin)
	answer := s.Do(b, "GET", "/test/me", token, nil).Text
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	defer bare.Close()

	body := `{"name":"twenty characters xx","tags":["a","b"],"any":"` + strings.Repeat("x", 1024) + `"}`
	get := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	}
	post := fmt.Sprintf("POST /test/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for _, bb := range []struct{ name, url, request string }{
		{"bare", bare.URL, get("/")},
		{"public", s.URL, get("/livez")},
		{"authenticated", s.URL, get("/test/me")},
		{"me", s.URL, get("/api/auth/me")},
		{"body", s.URL, post},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			begun := cpuTime()
			defer func() {
				// Of server and clients together: says more than the time on a machine that others use too.
				b.ReportMetric(float64((cpuTime()-begun).Microseconds())/float64(b.N), "cpu-µs/op")
			}()
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", strings.TrimPrefix(bb.url, "http://"))
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close() //nolint:errcheck // done
				r := bufio.NewReader(conn)
				for pb.Next() {
					if _, err := io.WriteString(conn, bb.request); err != nil {
						b.Error(err)
						return
					}
					if err := readAnswer(r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// cpuTime is how long this process has been computing.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readAnswer reads over one answer of status 200 with a length.
func readAnswer(r *bufio.Reader) error {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !strings.HasPrefix(string(line), "HTTP/1.1 200") {
			return fmt.Errorf("answered %s", line)
		}
		if len(line) == 2 {
			break
		}
		if value, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	_, err := r.Discard(length)
	return err
}
