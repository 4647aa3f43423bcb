// Package examples_test runs what the examples show, as the readers of the documentation would.
package examples_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"
	_ "modernc.org/sqlite" // reads the receiver's file
)

const (
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	other  = "whsec_c2VhbHBvc3QncyBvdGhlciBzZWNyZXQsIG5ldmVyIHVzZWQ="
)

// receiver is examples/receiver.py at work.
type receiver struct {
	url, db string
}

func startReceiver(t *testing.T) receiver {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("the example needs python3, which every Debian has (apt-get install python3)")
	}
	db := filepath.Join(t.TempDir(), "inbox.db")
	cmd := exec.Command(python, "receiver.py", "--port", "0", "--db", db)
	cmd.Env = append(os.Environ(), "SEALPOST_SECRET="+secret, "PYTHONDONTWRITEBYTECODE=1")
	var said bytes.Buffer
	cmd.Stderr = &said
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the receiver's errors:\n%s", said.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the receiver did not start: %v\n%s", err, said.String())
	}
	_, port, ok := strings.Cut(strings.TrimSpace(line), "listening on port ")
	if !ok {
		t.Fatalf("the receiver's first line is %q", line)
	}
	go io.Copy(io.Discard, stdout) //nolint:errcheck // so that it never waits for us
	return receiver{url: "http://127.0.0.1:" + port + "/", db: db}
}

// delivery is one request. Its zero signature is made with secret.
type delivery struct {
	id, body, signature string
	at                  time.Time
}

// sign makes the header that a sender with these secrets sends.
func (d delivery) sign(t *testing.T, secrets ...string) delivery {
	t.Helper()
	var all []string
	for _, s := range secrets {
		wh, err := webhook.NewWebhook(s)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := wh.Sign(d.id, d.at, []byte(d.body))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, signature)
	}
	d.signature = strings.Join(all, " ")
	return d
}

// send gives the status of the answer.
func (r receiver) send(t *testing.T, d delivery) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, strings.NewReader(d.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("webhook-id", d.id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(d.at.Unix(), 10))
	req.Header.Set("webhook-signature", d.signature)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it is empty
	return resp.StatusCode
}

// inbox gives the bodies of the work that was done.
func (r receiver) inbox(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(r.db); errors.Is(err, os.ErrNotExist) {
		return nil // it has taken nothing yet
	}
	db, err := sql.Open("sqlite", "file:"+r.db+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // only read
	rows, err := db.QueryContext(t.Context(), `select body from inbox order by rowid`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // Err tells
	var bodies []string
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return bodies
}

func TestReceiver(t *testing.T) {
	r := startReceiver(t)
	now := time.Now()
	good := delivery{id: "job-1", body: `{"n":1}`, at: now}.sign(t, secret)
	with := func(change func(*delivery)) delivery {
		d := good
		d.id = "job-refused"
		d = d.sign(t, secret)
		change(&d)
		return d
	}
	signedAt := func(id string, at time.Time, secrets ...string) delivery {
		return delivery{id: id, body: `{"n":2}`, at: at}.sign(t, secrets...)
	}
	for _, tt := range []struct {
		name string
		d    delivery
		want int
		took bool // whether the work was done
	}{
		{"signed", good, 204, true},
		{"the same again is answered and not done", good, 204, false},
		{"changed body", with(func(d *delivery) { d.body = `{"n":9}` }), 401, false},
		{"another id under a signature", with(func(d *delivery) { d.id = "job-x" }), 401, false},
		{"another time under a signature", with(func(d *delivery) { d.at = d.at.Add(time.Second) }), 401, false},
		{"no signature", with(func(d *delivery) { d.signature = "" }), 401, false},
		{"a version that is not known", with(func(d *delivery) { d.signature = strings.Replace(d.signature, "v1,", "v2,", 1) }), 401, false},
		{"another's secret", signedAt("job-2", now, other), 401, false},
		{"just young enough", signedAt("job-3", now.Add(-290*time.Second), secret), 204, true},
		{"too old", signedAt("job-4", now.Add(-301*time.Second), secret), 401, false},
		{"just not too far ahead", signedAt("job-5", now.Add(290*time.Second), secret), 204, true},
		{"of the future", signedAt("job-6", now.Add(330*time.Second), secret), 401, false},
		{"two signatures, ours second", signedAt("job-7", now, other, secret), 204, true},
		{"two signatures, ours first", signedAt("job-8", now, secret, other), 204, true},
		{"two signatures, none ours", signedAt("job-9", now, other, other), 401, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(r.inbox(t))
			if got := r.send(t, tt.d); got != tt.want {
				t.Errorf("it answers %d, want %d", got, tt.want)
			}
			bodies := r.inbox(t)
			if took := len(bodies) > before; took != tt.took {
				t.Errorf("took the job: %v, want %v", took, tt.took)
			}
			if tt.took && bodies[len(bodies)-1] != tt.d.body {
				t.Errorf("the work was done on %q, not on %q", bodies[len(bodies)-1], tt.d.body)
			}
		})
	}
}

// One job that comes twenty times at once, as after a sender's restart, is done once.
func TestReceiverTakesAJobOnce(t *testing.T) {
	r := startReceiver(t)
	d := delivery{id: "job-1", body: `{"n":1}`, at: time.Now()}.sign(t, secret)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := r.send(t, d); got != 204 {
				t.Errorf("it answers %d, want 204", got)
			}
		})
	}
	all.Wait()
	if got := len(r.inbox(t)); got != 1 {
		t.Errorf("the work was done %d times", got)
	}
}

// What is signed and still cannot be right is refused for good, before it is stored.
func TestReceiverRefuses(t *testing.T) {
	r := startReceiver(t)
	for _, tt := range []struct {
		name, body string
		want       int
	}{
		{"a sealed document that was changed", `{"data":{"contentHash":"sha256:00","document":{"title":"x"}},"type":"document.finalized"}`, 422},
		{"as much as a payload can have", strings.Repeat("x", 8<<20), 204},
		{"what is no JSON", "\xff\xfe", 204},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := delivery{id: "job-" + tt.name, body: tt.body, at: time.Now()}.sign(t, secret)
			if got := r.send(t, d); got != tt.want {
				t.Errorf("it answers %d, want %d", got, tt.want)
			}
		})
	}
}

// The length decides, before a byte of the body is read.
func TestReceiverRefusesALength(t *testing.T) {
	r := startReceiver(t)
	for _, length := range []string{
		"Content-Length: 8388609", "Content-Length: -1", "Content-Length: 1e3", "X-None: 1",
		"Content-Length: " + strings.Repeat("9", 5000),
	} {
		conn, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(r.url, "http:"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the answer is all
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: receiver\r\n"+length+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 413 {
			t.Errorf("%.40s is answered with %d, want 413", length, resp.StatusCode)
		}
	}
}
