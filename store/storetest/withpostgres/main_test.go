package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sealpost/store/storetest/pgtest"
)

// asCommand makes this test binary behave as the command itself.
const asCommand = "WITHPOSTGRES_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command is withpostgres with the given arguments, and with no server named by the environment.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1", pgtest.SharedEnv+"=")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal, wherever the test runs
	return cmd
}

func TestExitStatusIsTheCommands(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"success", []string{"true"}, 0},
		{"failure", []string{"sh", "-c", "exit 7"}, 7},
		{"killed", []string{"sh", "-c", "kill -KILL $$"}, 137},
		{"no such command", []string{"/nonexistent/command"}, exitNotStarted},
		{"no arguments", nil, exitUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := command(t, tt.args...)
			cmd.Stderr = io.Discard
			err := cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != tt.want {
				t.Errorf("exit status %d (%v), want %d", got, err, tt.want)
			}
		})
	}
}

func TestWhere(t *testing.T) {
	want, err := pgtest.FindServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := command(t, "-where").Output(); err != nil || string(got) != want+"\n" {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}

	missing := command(t, "-where")
	missing.Env = append(missing.Env, pgtest.BinDirEnv+"="+t.TempDir())
	missing.Stderr = io.Discard
	if out, err := missing.Output(); err == nil {
		t.Errorf("no server, and yet %q", out)
	}
}

func TestNamedServerIsLeftAlone(t *testing.T) {
	const named = "postgres://u:p@127.0.0.1:1/postgres"
	cmd := command(t, "sh", "-c", `printf %s "$SEALPOST_TEST_POSTGRES"`)
	cmd.Env = append(cmd.Env, pgtest.SharedEnv+"="+named)
	if got, err := cmd.Output(); err != nil || string(got) != named {
		t.Errorf("got %q, %v, want %q", got, err, named)
	}
}

// While the command runs its server answers; a signal reaches the command, whose way of ending is
// passed on, and the server is gone.
func TestSignalEndsCommandAndServer(t *testing.T) {
	cmd := command(t, "sh", "-c", `trap 'exit 42' TERM; echo "$SEALPOST_TEST_POSTGRES"; while :; do sleep 0.1; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(line)
	if err := canConnect(t.Context(), url); err != nil {
		t.Errorf("the server does not answer: %v", err)
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var failed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &failed) || failed.ExitCode() != 42 {
		t.Errorf("got %v, want the command's own exit status 42", err)
	}
	if canConnect(t.Context(), url) == nil {
		t.Error("the server still answers")
	}
}

func canConnect(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
