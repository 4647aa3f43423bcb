package dispatch

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sealpost/store"
	"sealpost/store/storetest"
)

// A receiver whose certificate has ended gets nothing, not even a header of ours; one that is well is spoken
// to in HTTP/2, and so is one that fails.
func TestReceiversOverTLS(t *testing.T) {
	own := newAuthority(t)
	serve := func(notAfter time.Time, status int) (url string, seen chan string) {
		cert, key := own.issue(t, "localhost", notAfter)
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		seen = make(chan string, 100)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			seen <- r.Proto
			w.WriteHeader(status)
		}))
		server.EnableHTTP2 = true
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		server.StartTLS()
		t.Cleanup(server.Close)
		return strings.Replace(server.URL, "127.0.0.1", "localhost", 1), seen
	}
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.MaxAttempts = 1
		d := newDispatcher(t, st, o)
		run(t, d)
		for _, tt := range []struct {
			name     string
			notAfter time.Time
			status   int
			want     Status
			says     string
			proto    string
		}{
			{"well", time.Time{}, http.StatusNoContent, Dispatched, "", "HTTP/2.0"},
			{"failing", time.Time{}, http.StatusBadGateway, DeadLetter, "502 Bad Gateway", "HTTP/2.0"},
			{"with a certificate that has ended", time.Now().Add(-time.Hour), http.StatusNoContent, DeadLetter, "certificate has expired", ""},
		} {
			url, seen := serve(tt.notAfter, tt.status)
			e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: tt.name, URL: url, Credentials: Credentials{CACertificates: own.pem}})
			if err != nil {
				t.Fatal(err)
			}
			job := await(t, d, accept(t, d, e.ID, "x"), tt.want)
			proto := ""
			if len(seen) > 0 {
				proto = <-seen
			}
			if !strings.Contains(job.LastError, tt.says) || proto != tt.proto {
				t.Errorf("one that is %s was spoken to in %q, and the job is %+v", tt.name, proto, job)
			}
		}
	})
}
