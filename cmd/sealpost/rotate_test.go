package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/store/storetest"
)

// On a database of several servers the command waits until each of them has the new secret, wherever its
// files are.
func TestRotateWaitsForServersElsewhere(t *testing.T) {
	url := storetest.PostgresURL(t)
	r := start(t, url)
	theirs, here := filepath.Join(r.config.DataDir, "secrets"), t.TempDir()
	files := []string{"JWT_SECRET", "DATA_ENCRYPTION_KEY", "AUDIT_SIGNING_KEY"}
	copyTo := func(from, to string, names ...string) {
		t.Helper()
		if err := os.MkdirAll(to, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	copyTo(theirs, filepath.Join(here, "secrets"), files...)
	old := r.rotation.Keys().JWT.Current().ID
	out, errs := &output{}, &output{}
	p := program{stdout: out, stderr: errs, environ: []string{"NODE_ENV=test", "DATA_DIR=" + here, "DATABASE_URL=" + url}}
	ended := make(chan int, 1)
	go func() {
		ended <- p.main(t.Context(), []string{"rotate", "JWT_SECRET", "--ticket", "SEC-1", "--rollback-plan", "put it back"})
	}()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), "waiting for"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not wait: %s%s", out.String(), errs.String())
		}
	}
	if r.rotation.Keys().JWT.Current().ID != old {
		t.Error("the server has the new secret already")
	}
	copyTo(filepath.Join(here, "secrets"), theirs, "JWT_SECRET_PREVIOUS", "JWT_SECRET")
	if status := <-ended; status != 0 || !strings.Contains(out.String(), "recorded as rotation") || errs.String() != "" {
		t.Fatalf("it ends with %d: %s%s", status, out.String(), errs.String())
	}
	if keys := r.rotation.Keys().JWT; keys.Current().ID == old || keys.Previous() == nil {
		t.Error("the server does not sign with the new secret")
	}
	s, err := r.rotation.Status(t.Context())
	if err != nil || s.LatestRotation == nil || s.LatestRotation.Operator != "system:operator" || !strings.Contains(s.LatestRotation.Notes, "sealpost rotate") {
		t.Errorf("recorded: %+v, %v", s.LatestRotation, err)
	}
}

// Where the server does not take what was written, the files are put back.
func TestRotatePutsTheFilesBack(t *testing.T) {
	r := start(t, storetest.SQLiteURL(t))
	// The server reads other files than the command writes: they share DATA_DIR, and so the socket.
	dir := t.TempDir()
	jwt, previous := filepath.Join(dir, "jwt"), filepath.Join(dir, "previous")
	const text = "a secret that only the command knows, 32 bytes\n"
	for path, content := range map[string]string{jwt: text, previous: ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, errs := &output{}, &output{}
	p := program{stdout: out, stderr: errs, environ: []string{
		"NODE_ENV=test", "DATA_DIR=" + r.config.DataDir, "JWT_SECRET_FILE=" + jwt, "JWT_SECRET_PREVIOUS_FILE=" + previous,
	}}
	if status := p.main(t.Context(), []string{"rotate", "JWT_SECRET", "--ticket", "SEC-1", "--rollback-plan", "put it back"}); status != 1 {
		t.Errorf("it ends with %d", status)
	}
	if !strings.Contains(errs.String(), "reads other files") || !strings.Contains(errs.String(), "as they were before") {
		t.Errorf("it says %s", errs.String())
	}
	for path, want := range map[string]string{jwt: text, previous: ""} {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%s holds %q, %v", filepath.Base(path), got, err)
		}
	}
	if s, err := r.rotation.Status(t.Context()); err != nil || s.HasRecordedRotation {
		t.Errorf("it is recorded: %+v, %v", s, err)
	}
}

// output is what a command prints, which a test may read while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
