package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/assist/fakeprovider"
	"sealpost/config"
	"sealpost/store/storetest"
)

// TestTheRunbookIsWalked follows docs/SECURITY_RUNBOOK.md line by line on the real program, in production
// settings and by its exact paths and names, as an operator would, and looks at each answer and at each
// event that it leaves in AuditLog. Every line has a step (runbook_steps_test.go); the test fails where
// the runbook has a line that nobody walks.
func TestTheRunbookIsWalked(t *testing.T) {
	lines := runbookLines(t)
	storetest.EachURL(t, func(t *testing.T, databaseURL string) {
		w := newWalk(t, databaseURL)
		steps := w.steps()
		for i, line := range lines {
			if i >= len(steps) || steps[i].line != line {
				t.Fatalf("nobody walks this line at its place, the number %d: %s", i+1, line)
			}
		}
		if len(steps) != len(lines) {
			t.Fatalf("%d steps for %d lines", len(steps), len(lines))
		}
		for _, s := range steps {
			w.line = s.line
			s.walk()
			if t.Failed() {
				t.Fatalf("this line does not hold: %s", s.line)
			}
		}
		if err := w.p.stop(); err != nil {
			t.Errorf("it ended with %v", err)
		}
		checkNothingHalfWritten(t, databaseURL)
	})
}

// runbookLines are the lines of the runbook below its title that are no headings.
func runbookLines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/SECURITY_RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sections, ok := strings.Cut(string(text), "\n## ")
	if !ok {
		t.Fatal("the runbook has no sections")
	}
	var lines []string
	for line := range strings.Lines("## " + sections) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "## ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// walkStep is one line of the runbook, and how it is followed.
type walkStep struct {
	line string
	walk func()
}

// walk is an installation in production settings, and the people at it.
type walk struct {
	t        *testing.T
	p        *process
	line     string
	secrets  string // the folder of secret files, as a secret manager keeps them
	http     *http.Client
	requests int
	expected []expectation

	admin, author *walker
	receiver      *walkReceiver
	alerts        chan string

	endpointID, jobID, documentID, enrollment string
}

// walker is a person, with what they have.
type walker struct {
	id, email, password, totp string
	backup                    []string
	token, refresh            string
}

// expectation is what a request must have left in the audit log.
type expectation struct {
	line, request, id string
	events            []string
}

// walkReceiver is where jobs go: it takes nothing until it is fixed.
type walkReceiver struct {
	*httptest.Server
	mu    sync.Mutex
	fixed bool
	taken map[string]int
}

func (r *walkReceiver) fix(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fixed = is
}

func (r *walkReceiver) times(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken[id]
}

const walkAIKey = "sk-walk-0123456789"

// newWalk starts the program. env is more of its environment, to which the folder of secrets is given.
func newWalk(t *testing.T, databaseURL string, env ...string) *walk {
	w := &walk{
		t: t, secrets: t.TempDir(), alerts: make(chan string, 10), receiver: &walkReceiver{taken: map[string]int{}},
		http:   &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{}},
		admin:  &walker{email: "ada@pilot.example", password: "Quiet-Harbour-42-Lanterns"},
		author: &walker{email: "bo@pilot.example", password: "Sturdy-Oak-91-Harbor"},
	}
	t.Cleanup(w.http.CloseIdleConnections)
	w.receiver.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.receiver.mu.Lock()
		defer w.receiver.mu.Unlock()
		if !w.receiver.fixed {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.receiver.taken[r.Header.Get("webhook-id")]++
	}))
	t.Cleanup(w.receiver.Close)
	// What production calls over https only: a model, and the people to be alerted.
	outside := http.NewServeMux()
	outside.Handle("/v1/", fakeprovider.Handler(walkAIKey))
	outside.HandleFunc("POST /alert", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.alerts <- string(body)
	})
	tls := httptest.NewTLSServer(outside)
	t.Cleanup(tls.Close)
	w.put("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})))
	for _, name := range []string{"JWT_SECRET", "DATA_ENCRYPTION_KEY", "AUDIT_SIGNING_KEY"} {
		w.put(name, walkSecret())
	}
	w.put("empty", "")
	w.put("OPENAI_API_KEY", walkAIKey)
	w.put("ALERT_WEBHOOK_URL", tls.URL+"/alert")
	settings := []string{
		"NODE_ENV=production", "ALLOW_DEV_LOGIN=false", "MFA_REQUIRED=true", "PASSWORD_MIN_LENGTH=12",
		"SESSION_TTL_HOURS=12", "REFRESH_TOKEN_TTL_HOURS=168", "AUDIT_RETENTION_DAYS=2555",
		"PUBLIC_URL=https://sealpost.pilot.example", "CREDENTIALS_DIRECTORY=" + w.secrets,
		"OPENAI_BASE_URL=" + tls.URL + "/v1", "SSL_CERT_FILE=" + filepath.Join(w.secrets, "ca.pem"),
		"DISPATCH_ALLOWED_NETWORKS=127.0.0.0/8", "DISPATCH_MAX_ATTEMPTS=2", "DISPATCH_BACKOFF_MS=50",
		"DISPATCH_DEAD_LETTER_ALERT_THRESHOLD=1",
	}
	for _, v := range env {
		settings = append(settings, strings.ReplaceAll(v, "$SECRETS", w.secrets))
	}
	w.p = newProcess(t, databaseURL, settings...)
	w.p.start()
	return w
}

func walkSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// put keeps a secret in a file, as a secret manager does: whole, and by its name.
func (w *walk) put(name, value string) {
	w.t.Helper()
	temp := filepath.Join(w.secrets, "."+name)
	err := os.WriteFile(temp, []byte(value+"\n"), 0o600)
	if err = errors.Join(err, os.Rename(temp, filepath.Join(w.secrets, name))); err != nil {
		w.t.Fatal(err)
	}
}

// deploy starts the program again, as after a change of its settings or secrets.
func (w *walk) deploy() {
	w.t.Helper()
	w.checkEvents()
	if err := w.p.stop(); err != nil {
		w.t.Fatalf("it ended with %v", err)
	}
	w.http.CloseIdleConnections()
	w.p.start()
}

// refusesToStart starts the program with other settings, and wants it to name the variable.
func (w *walk) refusesToStart(variable string, settings ...string) {
	w.t.Helper()
	path, err := binary()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), path, "serve")
	cmd.Env = append(slices.Clone(w.p.env), settings...)
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != config.ExitStatus || !strings.Contains(string(out), variable) {
		w.t.Errorf("with %v it ended with %v:\n%s", settings, err, out)
	}
}

// walkAnswer is an answer, read to its end.
type walkAnswer struct {
	w       *walk
	status  int
	header  http.Header
	text    string
	body    map[string]any
	request string
}

// call makes a request that must be answered with a status, and leave exactly these events, in their
// order. Whoever asks may be nil: nobody is signed in.
func (w *walk) call(by *walker, method, path string, body any, status int, events ...string) walkAnswer {
	w.t.Helper()
	return w.callWith(by, nil, method, path, body, status, events...)
}

// anyEvents stands for events that cannot be told beforehand: a refusal that is only counted for now.
const anyEvents = "*"

func (w *walk) callWith(by *walker, headers []string, method, path string, body any, status int, events ...string) walkAnswer {
	w.t.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.p.api.URL+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	w.requests++
	a := walkAnswer{w: w, request: fmt.Sprintf("walk-%d", w.requests)}
	r.Header.Set("X-Request-Id", a.request)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if by != nil {
		r.Header.Set("Authorization", "Bearer "+by.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := w.http.Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a.status, a.header, a.text = res.StatusCode, res.Header, string(text)
	_ = json.Unmarshal(text, &a.body)
	if a.status != status || a.header.Get("X-Request-Id") != a.request {
		w.t.Fatalf("%s\n%s %s: status %d, want %d: %s", w.line, method, path, a.status, status, a.text)
	}
	if len(events) != 1 || events[0] != anyEvents {
		w.expected = append(w.expected, expectation{w.line, method + " " + path, a.request, events})
	}
	return a
}

// checkEvents holds the audit log against what was expected of the requests so far.
func (w *walk) checkEvents() {
	w.t.Helper()
	expected := w.expected
	w.expected = nil
	for _, e := range expected {
		var actions []string
		list, _ := w.call(w.admin, "GET", "/api/admin/audit/events?requestId="+e.id, nil, 200, anyEvents).body["events"].([]any)
		for _, item := range slices.Backward(list) {
			actions = append(actions, item.(map[string]any)["action"].(string))
		}
		if !slices.Equal(actions, e.events) {
			w.t.Errorf("%s\n%s leaves the events %v, want %v", e.line, e.request, actions, e.events)
		}
	}
}

// at gives the value at a path of names.
func (a walkAnswer) at(path string) any {
	var v any = a.body
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// str gives a text that must be there.
func (a walkAnswer) str(path string) string {
	a.w.t.Helper()
	s, ok := a.at(path).(string)
	if !ok || s == "" {
		a.w.t.Fatalf("%s\nthere is no %s in %s", a.w.line, path, a.text)
	}
	return s
}

// want holds the value at a path.
func (a walkAnswer) want(path string, value any) walkAnswer {
	a.w.t.Helper()
	if got := a.at(path); got != value {
		a.w.t.Errorf("%s\n%s is %v, want %v: %s", a.w.line, path, got, value, a.text)
	}
	return a
}

// issues are the codes of what is wrong with a password.
func (a walkAnswer) issues() []string {
	a.w.t.Helper()
	var codes []string
	list, _ := a.at("details.issues").([]any)
	for _, item := range list {
		issue := item.(map[string]any)
		if issue["message"] == "" {
			a.w.t.Errorf("an issue without a sentence: %s", a.text)
		}
		codes = append(codes, issue["code"].(string))
	}
	return codes
}

// keep takes what a sign-in gives.
func (p *walker) keep(a walkAnswer) {
	a.w.t.Helper()
	p.token, p.id = a.str("token"), a.str("user.id")
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == "sealpost_refresh" && c.HttpOnly && c.Secure && c.SameSite == http.SameSiteStrictMode && c.Path == "/api/auth" {
			p.refresh = c.Value
		}
	}
	if codes, ok := a.body["backupCodes"].([]any); ok {
		p.backup = nil
		for _, c := range codes {
			p.backup = append(p.backup, c.(string))
		}
	}
}

// signIn signs in with a password and a backup code. (A TOTP code works once in 30 s, which is longer
// than a test should wait.)
func (w *walk) signIn(p *walker) walkAnswer {
	w.t.Helper()
	if len(p.backup) == 0 {
		w.t.Fatalf("%s has no backup code left", p.email)
	}
	code := p.backup[0]
	p.backup = p.backup[1:]
	a := w.call(nil, "POST", "/api/auth/login", map[string]string{"email": p.email, "password": p.password, "backupCode": code}, 200,
		"auth.login.succeeded")
	p.keep(a)
	return a
}

// code is what a person's app shows.
func (w *walk) code(secret string) string {
	w.t.Helper()
	code, err := totpCode(secret, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

// await waits until a job has a status.
func (w *walk) await(id, status string) walkAnswer {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		a := w.call(w.admin, "GET", "/api/admin/dispatch/jobs/"+id, nil, 200, anyEvents)
		if a.at("job.status") == status {
			return a
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s\nthe job stays %s: %s", w.line, a.at("job.status"), a.text)
		}
	}
}

// story are the events of a thing, the oldest first.
func (w *walk) story(entityID string) []string {
	w.t.Helper()
	list, _ := w.call(w.admin, "GET", "/api/admin/audit/events?limit=200&entityId="+entityID, nil, 200, anyEvents).body["events"].([]any)
	var actions []string
	for _, item := range slices.Backward(list) {
		actions = append(actions, item.(map[string]any)["action"].(string))
	}
	return actions
}
