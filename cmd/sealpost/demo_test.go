package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sealpost/store/storetest"
)

// The demo is the real program, and holds every step that it tells of, with nothing configured. What it
// made in its scratch folder is gone then.
func TestDemo(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		path, err := binary()
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"demo", "--exit"}
		if strings.HasPrefix(url, "postgres") {
			args = append(args, "--database", url)
		}
		scratch := t.TempDir()
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = []string{"TMPDIR=" + scratch}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
		}
		for _, part := range []string{
			"the password Summer2026!! is refused", "8 backup codes", "built-in fake one that says so", "was dropped", "FINALIZED",
			"DEAD_LETTER, EXHAUSTED after 3 attempts", "DISPATCHED at attempt 4", "dispatch.job.replayed", "DEMO-1",
			"retention's dry run: 0 events", "RB-6.3", "holds offline, with the log's key alone",
			"`sealpost audit verify` beside the running server", "the log holds", "every step held", "`sealpost evidence verify` holds",
		} {
			if !strings.Contains(stdout.String(), part) {
				t.Errorf("the demo does not say %q:\n%s", part, &stdout)
			}
		}
		if stderr.Len() > 0 {
			t.Errorf("it says on its error output: %s", &stderr)
		}
		if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
			t.Errorf("it leaves %v, %v", left, err)
		}
	})
}
