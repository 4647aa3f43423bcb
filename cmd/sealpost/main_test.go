package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sealpost/store/storetest/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(stopsPostgres{m}, map[string]func(){"sealpost": main})
}

// stopsPostgres ends, after all tests, the PostgreSQL that they have started.
type stopsPostgres struct{ m *testing.M }

func (s stopsPostgres) Run() int {
	code := s.m.Run()
	if err := pgtest.StopShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs the scripts of testdata/script, which show how the program behaves on a command
// line. Each runs in an empty folder and an empty environment, with these commands added:
//
//	status N PROGRAM ARGS…   runs a program that must end with the exit status N
//	freeport NAME            sets a variable to a port that nobody listens on
//	serving URL              waits until a server answers there
//	get URL                  makes the answer's body the standard output
//	post URL FILE [SECRET ID [AGE]]   sends a file, signed, and makes "STATUS" the standard output
//	terminate                sends SIGTERM to the programs in the background
//	fakesecrets FILE…        makes each FILE hold 32 random bytes in base64
//	waitfile FILE            waits until a file is there
//	replaceonce FILE OLD NEW replaces the first OLD of a file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": scriptStatus, "freeport": scriptFreePort, "serving": scriptServing, "get": scriptGet,
			"post": scriptPost, "terminate": scriptTerminate, "fakesecrets": scriptSecrets,
			"waitfile": scriptWaitFile, "replaceonce": scriptReplaceOnce,
		},
	})
}

func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARGS…")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("it ended with status %d, not %s", got, args[0])
	}
}

func scriptFreePort(ts *testscript.TestScript, _ bool, args []string) {
	port, err := findFreePort()
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// findFreePort gives a port that nobody listens on just now.
func findFreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), l.Close()
}

// scriptClient believes any certificate: the scripts make their own.
var scriptClient = &http.Client{
	Timeout:   5 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
}

func scriptServing(ts *testscript.TestScript, _ bool, args []string) {
	var last error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := scriptClient.Get(args[0])
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		last = err
	}
	ts.Fatalf("nobody serves there: %v", last)
}

func scriptGet(ts *testscript.TestScript, _ bool, args []string) {
	resp, err := scriptClient.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close() //nolint:errcheck // read to its end
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}

func scriptPost(ts *testscript.TestScript, _ bool, args []string) {
	body := ts.ReadFile(args[1])
	req, err := http.NewRequest(http.MethodPost, args[0], strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	if len(args) > 3 {
		at := time.Now()
		if len(args) > 4 {
			age, err := time.ParseDuration(args[4])
			ts.Check(err)
			at = at.Add(-age)
		}
		wh, err := webhook.NewWebhook(args[2])
		ts.Check(err)
		signature, err := wh.Sign(args[3], at, []byte(body))
		ts.Check(err)
		req.Header.Set("webhook-id", args[3])
		req.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		req.Header.Set("webhook-signature", signature)
	}
	resp, err := scriptClient.Do(req)
	ts.Check(err)
	_ = resp.Body.Close()
	_, err = fmt.Fprintln(ts.Stdout(), resp.StatusCode)
	ts.Check(err)
}

func scriptTerminate(ts *testscript.TestScript, _ bool, _ []string) {
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	}
}

func scriptSecrets(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
		b := make([]byte, 32)
		_, _ = rand.Read(b)
		ts.Check(os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(b)+"\n"), 0o600))
	}
}

func scriptWaitFile(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
	}
	ts.Fatalf("%s does not come", args[0])
}

func scriptReplaceOnce(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %s", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600))
}
