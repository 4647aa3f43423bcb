package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sealpost/runbook"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestThePostureTableFits(t *testing.T) {
	var results []runbook.Result
	for _, c := range runbook.Controls() {
		results = append(results, runbook.Result{
			ID: c.ID, Title: c.Title, Status: runbook.NotApplicable,
			Observed: "a\tsentence\x1b[31m of " + strings.Repeat("möglichst ", 20) + strings.Repeat("x", 120),
		})
	}
	for line := range strings.Lines(postureTable(results)) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > 100 || strings.ContainsAny(line, "\x1b\t") || strings.HasSuffix(line, " ") {
			t.Errorf("%d characters: %q", n, line)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"one", "one"},
		{"four five", "four|five"},
		{"to be or", "to be|or"},
		{"to be  or", "to be|or"},
		{"12345", "12345"},
		{"123456", "12345|6"},
		{"1234567890", "12345|67890"},
		{"a 123456789 b", "a|12345|6789|b"},
		{"äöüäöü", "äöüäö|ü"},
	} {
		if got := strings.Join(wrap(tt.text, 5), "|"); got != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.text, got, tt.want)
		}
	}
}

// After a crash the socket is still there, and nobody behind it. Then the database is looked at; the
// next start takes the socket's place.
func TestVerifyAfterACrash(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, databaseURL string) {
		p := newProcess(t, databaseURL)
		verify := func() string {
			t.Helper()
			path, err := binary()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), path, "runbook", "verify")
			cmd.Env = p.env
			out, err := cmd.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
				t.Fatalf("it ended with %v:\n%s", err, out)
			}
			return string(out)
		}
		p.start()
		p.operator(t)
		if out := verify(); !strings.Contains(out, "by the server that runs here") {
			t.Errorf("of a running server:\n%s", out)
		}
		p.kill()
		if _, err := os.Stat(operatorPath(p.dataDir())); err != nil {
			t.Fatalf("the test is not about what it should be: %v", err)
		}
		if out := verify(); !strings.Contains(out, "by this command") {
			t.Errorf("after a crash:\n%s", out)
		}
		p.start()
		p.operator(t)
		if out := verify(); !strings.Contains(out, "by the server that runs here") {
			t.Errorf("after the next start:\n%s", out)
		}
	})
}

func (p *process) dataDir() string {
	for _, v := range p.env {
		if dir, ok := strings.CutPrefix(v, "DATA_DIR="); ok {
			return dir
		}
	}
	return ""
}

// operator waits until a process answers on its operator's socket, and looks at who may use that.
func (p *process) operator(t *testing.T) {
	t.Helper()
	path := operatorPath(p.dataDir())
	client := operatorClient(path, 5*time.Second)
	defer client.CloseIdleConnections()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		res, err := client.Get("http://operator/livez")
		if err == nil {
			_ = res.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(p.dataDir() + "/" + operatorFolder)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: %v, %v", info, err)
	}
}

// A folder that was there before, and open to others, is closed; a second server on one DATA_DIR leaves
// the first one's socket alone.
func TestOperatorsSocketIsPrivate(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/"+operatorFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := listenOperator(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir + "/" + operatorFolder)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: %v, %v", info, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(operatorPath(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an ended server leaves its socket: %v", err)
	}
}

func TestASecondServerLeavesTheSocket(t *testing.T) {
	databaseURL := storetest.PostgresURL(t)
	first := newProcess(t, databaseURL)
	first.start()
	first.operator(t)
	second := newProcess(t, databaseURL, "DATA_DIR="+first.dataDir())
	second.start()
	if err := second.stop(); err != nil {
		t.Error(err)
	}
	first.operator(t)
	if !strings.Contains(second.log.String(), "another process serves from this DATA_DIR") {
		t.Errorf("it says nothing: %s", second.log.String())
	}
}

// A DATA_DIR whose path is too long for a socket has a server without one, and verify says what there is
// to do instead; without a server the database is looked at.
func TestVerifyWithoutASocket(t *testing.T) {
	dir := t.TempDir() + "/" + strings.Repeat("long/", 20)
	p := newProcess(t, storetest.SQLiteURL(t), "DATA_DIR="+dir)
	p.start()
	var out, errs strings.Builder
	verify := program{stdout: &out, stderr: &errs, environ: p.env}
	if status := verify.main(t.Context(), []string{"runbook", "verify"}); status != exitCannotTell || !strings.Contains(errs.String(), "give --url") {
		t.Errorf("of a running server: status %d, %s%s", status, out.String(), errs.String())
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.log.String(), "no operator's socket") {
		t.Errorf("the server says nothing: %s", p.log.String())
	}
	if status := verify.main(t.Context(), []string{"runbook", "verify", "--only", "RB-2.1"}); status != exitOK {
		t.Errorf("of none: status %d, %s%s", status, out.String(), errs.String())
	}
}

// While another process has the SQLite database and answers nothing, nobody can tell.
func TestVerifyOfALockedDatabase(t *testing.T) {
	databaseURL := storetest.SQLiteURL(t)
	st, err := store.Open(t.Context(), databaseURL, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close() //nolint:errcheck // the test's own
	var out, errs strings.Builder
	p := program{stdout: &out, stderr: &errs, environ: []string{"DATA_DIR=" + t.TempDir(), "DATABASE_URL=" + databaseURL}}
	if status := p.main(t.Context(), []string{"runbook", "verify"}); status != exitCannotTell || out.Len() != 0 ||
		!strings.Contains(errs.String(), "does not answer on the operator's socket: give --url") {
		t.Errorf("status %d, %s%s", status, out.String(), errs.String())
	}
}
