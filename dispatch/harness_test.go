package dispatch

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/rotation"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var admin = audit.Principal{Kind: audit.User, UserID: "admin-1", Role: audit.Admin, IP: "127.0.0.1", RequestID: "r1"}

// fast are options under which a test need not wait for retries.
func fast() Options {
	return Options{
		MaxAttempts: 3, Backoff: 10 * time.Millisecond, Timeout: 2 * time.Second, Concurrency: 64,
		EndpointConcurrency: 8, AllowPrivateNetworks: true, Logger: slog.New(slog.DiscardHandler),
	}
}

var testSecrets = func() rotation.Secrets {
	key := func() []byte { b := make([]byte, 32); _, _ = rand.Read(b); return b }
	return rotation.Secrets{JWT: key(), Data: key(), Audit: key()}
}()

// newDispatcher makes a dispatcher on a database, as a server of its own.
func newDispatcher(t *testing.T, st *store.Store, o Options) *Dispatcher {
	t.Helper()
	log := audit.New(st, slog.New(slog.DiscardHandler))
	set, err := rotation.Load(t.Context(), log, testSecrets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close(context.Background()) })
	d := New(log, set.Data, o)
	t.Cleanup(d.transport.CloseIdleConnections)
	return d
}

// run runs a dispatcher until the test ends or the returned function is called.
func run(t *testing.T, d *Dispatcher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// receiver is an HTTP receiver that keeps what arrives.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	arrived []arrival
	answer  func(n int, w http.ResponseWriter, r *http.Request) // n counts from 1
}

type arrival struct {
	id   string
	body string
	at   time.Time
	head http.Header
}

func receive(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	rc := &receiver{answer: answer}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rc.mu.Lock()
		rc.arrived = append(rc.arrived, arrival{r.Header.Get("webhook-id"), string(body), time.Now(), r.Header.Clone()})
		n := len(rc.arrived)
		rc.mu.Unlock()
		if rc.answer != nil {
			rc.answer(n, w, r)
		}
	}))
	t.Cleanup(rc.Close)
	return rc
}

func (rc *receiver) all() []arrival {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return append([]arrival(nil), rc.arrived...)
}

func status(code int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func endpoint(t *testing.T, d *Dispatcher, url string) Endpoint {
	t.Helper()
	e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "receiver", URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var noKey audit.Once

func renderJob(j Job) audit.Answer {
	b, _ := json.Marshal(map[string]string{"id": j.ID})
	return audit.Answer{Status: http.StatusAccepted, Body: b}
}

// accept accepts one job and gives its id.
func accept(t *testing.T, d *Dispatcher, endpointID, payload string) string {
	t.Helper()
	a, err := d.Accept(t.Context(), admin, NewJob{EndpointID: endpointID, ContentType: "text/plain", Payload: []byte(payload)}, audit.Once{}, renderJob)
	if err != nil {
		t.Fatal(err)
	}
	return idOf(t, a)
}

func idOf(t *testing.T, a audit.Answer) string {
	t.Helper()
	var v struct{ ID string }
	if err := json.Unmarshal(a.Body, &v); err != nil {
		t.Fatal(err)
	}
	return v.ID
}

// await waits until a job has a status.
func await(t *testing.T, d *Dispatcher, id string, want Status) Job {
	t.Helper()
	var job Job
	eventually(t, func() bool {
		var err error
		if job, err = d.Get(t.Context(), admin, id); err != nil {
			t.Fatal(err)
		}
		return job.Status == want
	}, func() string {
		return "job " + id + " is " + string(job.Status) + " (" + job.LastError + "), want " + string(want)
	})
	return job
}

// eventually waits at most 20 s for a condition.
func eventually(t *testing.T, holds func() bool, what func() string) {
	t.Helper()
	within(t, 20*time.Second, holds, what)
}

// within waits for a condition, at most for a limit.
func within(t *testing.T, limit time.Duration, holds func() bool, what func() string) {
	t.Helper()
	end := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(end) {
			t.Fatal(what())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// count runs a query for one number.
func count(t *testing.T, d *Dispatcher, query string, args ...any) int {
	t.Helper()
	var n int
	err := d.log.Store().Read(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(t.Context(), query, args...).Scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}
