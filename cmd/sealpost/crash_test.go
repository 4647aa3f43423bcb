package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/client"
	"sealpost/store"
	"sealpost/store/storetest"
)

// binary builds the program once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sealpost-binary-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sealpost")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

// process is the real program, serving.
type process struct {
	t   *testing.T
	api *client.Client
	env []string
	cmd *exec.Cmd
	log bytes.Buffer

	within []string // a command that runs the program, and becomes it
}

// newProcess makes ready to serve on a database; start starts it.
func newProcess(t *testing.T, databaseURL string, env ...string) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	p := &process{t: t, api: &client.Client{
		URL: "http://127.0.0.1:" + strconv.Itoa(port), HTTP: &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second},
	}}
	p.env = append([]string{
		"NODE_ENV=development", "MFA_REQUIRED=false", "DATA_DIR=" + t.TempDir(), "DATABASE_URL=" + databaseURL,
		"PORT=" + strconv.Itoa(port), "DISPATCH_BACKOFF_MS=100",
	}, env...)
	t.Cleanup(func() {
		p.kill()
		p.api.HTTP.CloseIdleConnections()
		if t.Failed() {
			t.Logf("the server's log:\n%s", p.log.String())
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	path, err := binary()
	if err != nil {
		p.t.Fatal(err)
	}
	args := append(slices.Clone(p.within), path, "serve")
	p.cmd = exec.CommandContext(context.Background(), args[0], args[1:]...)
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; {
		res, err := p.api.HTTP.Get(p.api.URL + "/livez")
		if err == nil {
			_ = res.Body.Close()
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("the server does not answer: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill ends the process as a power cut does.
func (p *process) kill() {
	if p.cmd != nil && p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// stop ends the process in order and tells its status.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.cmd.Wait()
}

// must makes a call that has to succeed.
func (p *process) must(method, path string, body, answer any) {
	p.t.Helper()
	if err := p.api.Call(p.t.Context(), method, path, body, answer); err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// one, many and job are the parts of answers that the tests look at.
type (
	job struct{ ID, Status string }
	one struct {
		Job      job
		Endpoint struct{ ID string }
		Token    string
	}
	many struct{ Jobs []job }
)

// firstAdmin registers the first account and signs in as it.
func (p *process) firstAdmin() {
	p.t.Helper()
	var answer one
	p.must("POST", "/api/auth/register-first",
		map[string]string{"email": "admin@example.com", "name": "Admin", "password": "Quiet-Harbour-42-Lanterns"}, &answer)
	p.api.Token = answer.Token
}

// endpoint makes an endpoint and gives its id.
func (p *process) endpoint(url string) string {
	p.t.Helper()
	var answer one
	p.must("POST", "/api/admin/dispatch/endpoints", map[string]any{"name": "receiver", "url": url}, &answer)
	return answer.Endpoint.ID
}

// TestKilledUnderLoad kills the program at random moments while jobs are posted and delivered: every
// job that was answered 202 arrives, under its one key, and nothing is half-written.
func TestKilledUnderLoad(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, databaseURL string) {
		var mu sync.Mutex
		arrived := map[string]int{}
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if rand.IntN(10) == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			mu.Lock()
			arrived[r.Header.Get("webhook-id")]++
			mu.Unlock()
		}))
		defer receiver.Close()

		p := newProcess(t, databaseURL)
		p.start()
		p.firstAdmin()
		endpoints := []string{p.endpoint(receiver.URL), p.endpoint(receiver.URL), p.endpoint(receiver.URL)}

		accepted := map[string]bool{}
		for round := range 4 {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { // posts until the server is gone
					for i := 0; ; i++ {
						var answer one
						err := p.api.Call(context.Background(), "POST", "/api/dispatch/jobs", map[string]any{
							"endpointId": endpoints[i%3], "contentType": "application/json", "payload": map[string]int{"i": i},
						}, &answer)
						if client.StatusOf(err) != 0 {
							t.Errorf("round %d: %v", round, err)
						}
						if err != nil {
							return
						}
						mu.Lock()
						accepted[answer.Job.ID] = true
						mu.Unlock()
					}
				})
			}
			time.Sleep(300*time.Millisecond + rand.N(500*time.Millisecond))
			p.kill()
			wg.Wait()
			p.api.HTTP.CloseIdleConnections()
			p.start()
		}

		missing := func() (n int) {
			mu.Lock()
			defer mu.Unlock()
			for id := range accepted {
				if arrived[id] == 0 {
					n++
				}
			}
			return n
		}
		for end := time.Now().Add(60 * time.Second); missing() > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d of %d accepted jobs did not arrive", missing(), len(accepted))
			}
		}
		mu.Lock()
		twice := 0
		for _, n := range arrived {
			if n > 1 {
				twice++
			}
		}
		t.Logf("%d jobs accepted over 4 crashes, all arrived, %d more than once", len(accepted), twice)
		mu.Unlock()
		waitUntilNothingIsUnfinished(t, p)
		if err := p.stop(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		checkNothingHalfWritten(t, databaseURL)
	})
}

// TestKilledIsSentAgain kills the program while the receiver has jobs in its hands, and starts it again: it
// knows them for its own, and waits for nobody's silence before it sends them again.
func TestKilledIsSentAgain(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, databaseURL string) {
		rc := newCountingReceiver(t)
		p := newProcess(t, databaseURL)
		p.start()
		p.firstAdmin()
		var held []string
		for range 8 {
			held = append(held, p.accept(p.endpoint(rc.URL), "hold"))
		}
		await(t, "the jobs are at the receiver", func() bool {
			return !slices.ContainsFunc(held, func(id string) bool { return rc.seenTimes(id) == 0 })
		})
		p.kill()
		restarted := time.Now()
		p.start()
		await(t, "the jobs are sent again", func() bool { return len(rc.missing(held)) == 0 })
		rc.mu.Lock()
		var last time.Duration
		for _, id := range held {
			last = max(last, rc.again[id].Sub(restarted))
		}
		rc.mu.Unlock()
		t.Logf("%d jobs that were in flight are sent again within %d ms of the restart", len(held), last.Milliseconds())
		if last > 10*time.Second { // without a name of its own a server's leases end after 15 s
			t.Errorf("they were sent again after %v, as those of a server that nobody knows", last)
		}
	})
}

func waitUntilNothingIsUnfinished(t *testing.T, p *process) {
	t.Helper()
	for _, status := range []string{"PENDING", "RETRYING", "IN_FLIGHT"} {
		for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			var answer many
			p.must("GET", "/api/admin/dispatch/jobs?limit=1&status="+status, nil, &answer)
			if len(answer.Jobs) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("a job stays %s: %v", status, answer.Jobs)
			}
		}
	}
}

// checkNothingHalfWritten looks for rows without what was to be written with them.
func checkNothingHalfWritten(t *testing.T, databaseURL string) {
	t.Helper()
	st := storetest.Open(t, databaseURL)
	for what, query := range map[string]string{
		"jobs without a payload":      `select count(*) from dispatch_job j where not exists (select 1 from dispatch_payload p where p.job_id = j.id)`,
		"payloads without a job":      `select count(*) from dispatch_payload p where not exists (select 1 from dispatch_job j where j.id = p.job_id)`,
		"jobs without their event":    `select count(*) from dispatch_job j where not exists (select 1 from "AuditLog" a where a.entity_id = j.id and a.action = 'dispatch.job.accepted')`,
		"events of jobs that are not": `select count(*) from "AuditLog" a where a.action = 'dispatch.job.accepted' and not exists (select 1 from dispatch_job j where j.id = a.entity_id)`,
		"events without an envelope": `select count(*) from "AuditLog" a
			where not exists (select 1 from audit_pending p where p.event_id = a.id and p.writer = a.writer and p.counter = a.counter)
			  and not exists (select 1 from audit_leaf l where l.writer = a.writer and l.counter <= a.counter and a.counter < l.counter + l.count)`,
		"envelopes too many or too few":   `select (select count(*) from "AuditLog") - (select count(*) from audit_pending) - (select coalesce(sum(count), 0) from audit_leaf)`,
		"leaves too many or too few":      `select (select size from audit_tree) - (select coalesce(sum(count), 0) from audit_leaf)`,
		"rows that were not ours":         `select count(*) from audit_rejected`,
		"envelopes without an event":      `select count(*) from audit_pending p where not exists (select 1 from "AuditLog" a where a.id = p.event_id)`,
		"dispatched jobs never delivered": `select count(*) from dispatch_job j where j.status = 'DISPATCHED' and not exists (select 1 from dispatch_attempt a where a.job_id = j.id and a.outcome = 'DELIVERED')`,
		"jobs delivered twice over":       `select count(*) from (select job_id from dispatch_attempt where outcome = 'DELIVERED' group by job_id having count(*) > 1) d`,
		"leases of nobody":                `select count(*) from dispatch_job where lease_until is not null`,
	} {
		var n int
		err := st.Read(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(t.Context(), query).Scan(&n) })
		if err != nil {
			t.Fatal(err)
		}
		if n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	if st.Dialect() == store.SQLite { // elsewhere the lease of a server that was killed may last longer than this
		log := audit.New(st, slog.New(slog.DiscardHandler))
		state, err := log.Sealing(t.Context())
		if err != nil || !state.WaitingSince.IsZero() || state.Size == 0 || state.Size != state.Signed {
			t.Errorf("a server that ended in order left %+v (%v)", state, err)
		}
	}
}

// TestASecondProcessIsRefused starts the program twice on one SQLite file.
func TestASecondProcessIsRefused(t *testing.T) {
	databaseURL := storetest.SQLiteURL(t)
	first := newProcess(t, databaseURL)
	first.start()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	second := newProcess(t, databaseURL)
	cmd := exec.CommandContext(t.Context(), path, "serve")
	cmd.Env = second.env
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != store.ExitLocked || !bytes.Contains(out, []byte(strconv.Itoa(first.cmd.Process.Pid))) {
		t.Errorf("the second process: %v\n%s", err, out)
	}
}
