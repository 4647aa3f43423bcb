package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/rotation"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Ten thousand attempts that fail, each in one of the ways there are, leave nothing behind: no goroutine,
// no connection, no file. A tenth of them go all the way through the tables.
func TestFailuresLeaveNothingOpen(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		alone := 9000
		switch {
		case !strings.HasPrefix(url, "sqlite:"): // no database has a part in these: once is enough
			alone = 0
		case testing.Short():
			alone = 900
		}
		files, goroutines := openFiles(t), runtime.NumGoroutine()
		failMuch(t, url, 250, 4, alone)
		eventually(t, func() bool { return openFiles(t) <= files && runtime.NumGoroutine() <= goroutines }, func() string {
			stacks := make([]byte, 1<<20)
			return fmt.Sprintf("%d files are open, before %d; %d goroutines, before %d:\n%s", openFiles(t), files,
				runtime.NumGoroutine(), goroutines, stacks[:runtime.Stack(stacks, true)])
		})
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func failMuch(t *testing.T, databaseURL string, jobs, attempts, alone int) {
	t.Helper()
	st, err := store.Open(t.Context(), databaseURL, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	quiet := slog.New(slog.DiscardHandler)
	log := audit.New(st, quiet)
	defer log.Close(context.Background())
	set, err := rotation.Load(t.Context(), log, testSecrets)
	if err != nil {
		t.Fatal(err)
	}
	o := fast()
	o.MaxAttempts, o.Backoff, o.EndpointConcurrency = attempts, time.Microsecond, 32
	d := New(log, set.Data, o)
	d.breakers.after = jobs * attempts // it is about failures, all of them
	defer d.transport.CloseIdleConnections()

	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(make([]byte, 64<<10)) // more than is read, so the connection cannot be used again
		case "/broken":
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write(make([]byte, 50))
			panic(http.ErrAbortHandler)
		case "/upgrade":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"))
				go func() { // until the other side closes it
					defer conn.Close() //nolint:errcheck // it is over
					_, _ = conn.Read(make([]byte, 1))
				}()
			}
		case "/reset":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer answers.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer secure.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + free.Addr().String()
	_ = free.Close()

	var endpoints []string
	for _, url := range []string{
		answers.URL + "/busy", answers.URL + "/long", answers.URL + "/broken", answers.URL + "/upgrade",
		answers.URL + "/reset", refused,
	} {
		endpoints = append(endpoints, endpoint(t, d, url).ID)
	}
	distrusted, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{
		Name: "distrusted", Concurrency: 1,
		URL: strings.Replace(secure.URL, "127.0.0.1", "localhost", 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	for start := range 100 {
		accepting.Go(func() {
			for i := start; i < jobs; i += 100 {
				to := endpoints[i%len(endpoints)]
				if i%25 == 0 { // few: a handshake costs more than all the rest
					to = distrusted.ID
				}
				accept(t, d, to, "x")
			}
		})
	}
	accepting.Wait()
	sendAlone(t, d, alone)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	within(t, 3*time.Minute, func() bool { // it is much, and machines are slow
		return count(t, d, `select count(*) from dispatch_job where status <> 'DEAD_LETTER'`) == 0
	}, func() string { return "not all jobs have failed" })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := count(t, d, `select count(*) from dispatch_attempt where outcome = 'FAILED'`); n != jobs*attempts {
		t.Errorf("%d attempts have failed, want %d", n, jobs*attempts)
	}
	if d.load.held == nil || len(d.load.held) != 0 || d.sending != 0 || len(d.inFlight) != 0 || len(d.ended) != 0 {
		t.Errorf("the dispatcher believes that it still sends: %d, %v", d.sending, d.load.held)
	}
}

// sendAlone makes attempts at the endpoints that are there, without storing what comes of them.
func sendAlone(t *testing.T, d *Dispatcher, n int) {
	t.Helper()
	var targets []candidate
	err := d.log.Bookkeep(t.Context(), func(tx *store.Tx) error {
		now, err := tx.Now(t.Context())
		if err != nil {
			return err
		}
		targets, err = d.candidates(t.Context(), tx, now, "", lastID, nil)
		return err
	})
	if err != nil || len(targets) != 7 {
		t.Fatalf("%d endpoints: %v", len(targets), err)
	}
	id := store.NewID()
	box, err := d.data.Encrypt(keys.JobPayload, id, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	for start := range 64 {
		sending.Go(func() {
			for i := start; i < n; i += 64 {
				dl := &delivery{jobID: id, target: targets[i%6].target, contentType: "text/plain", box: box}
				d.deliver(t.Context(), dl)
				if dl.answer.Err == nil && dl.answer.Status < 300 && dl.answer.Status != http.StatusSwitchingProtocols || dl.ours != nil {
					t.Errorf("an attempt at %s ended as %+v, %v", dl.target.url, dl.answer, dl.ours)
				}
			}
		})
	}
	sending.Wait()
}
