package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childEnv makes this test binary a process that starts a cluster and then comes to a bad end.
const childEnv = "PGTEST_CHILD"

func TestMain(m *testing.M) {
	if how := os.Getenv(childEnv); how != "" {
		child(how)
	}
	os.Exit(m.Run())
}

func child(how string) {
	c, err := Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(c.dir)
	switch how {
	case "panic":
		panic("as a test may")
	case "exit":
		os.Exit(3)
	default:
		time.Sleep(time.Hour) // until it is killed
	}
}

func TestStart(t *testing.T) {
	tempDir(t)
	c, err := StartWith(t.Context(), Options{Settings: map[string]string{"fsync": "on", "search_path": "it's"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })

	conn := connect(t, c.URL("postgres"))
	for setting, want := range map[string]string{
		"server_encoding":  "UTF8",
		"lc_collate":       "C",
		"max_connections":  "300",
		"full_page_writes": "off",
		"fsync":            "on",
		"search_path":      "it's",
	} {
		var got string
		if err := conn.QueryRow(t.Context(), "select current_setting($1)", setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", setting, got, err, want)
		}
	}
	if _, err := conn.Exec(t.Context(), "create database other"); err != nil {
		t.Fatal(err)
	}
	connect(t, c.URL("other"))

	// Anyone on the machine can connect, and a superuser can run commands.
	u, err := url.Parse(c.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(superuser, "wrong")
	if _, err := pgx.Connect(t.Context(), u.String()); err == nil {
		t.Error("connected with a wrong password")
	}
}

func TestStopLeavesNothing(t *testing.T) {
	tmp := tempDir(t)
	c, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	connect(t, c.URL("postgres")) // an open connection must not hold it up
	stop(t, c)
	stop(t, c)
	if left := leftovers(t, tmp); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestTwoAtOnce(t *testing.T) {
	tempDir(t)
	var urls []string
	for range 2 {
		c, err := Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t, c) })
		urls = append(urls, c.URL("postgres"))
	}
	for _, u := range urls {
		connect(t, u)
	}
}

// A port is free when it is chosen and may be taken when PostgreSQL binds it.
func TestTakenPort(t *testing.T) {
	tempDir(t)
	bin, err := FindServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	as, err := serverUser()
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })

	c := &Cluster{}
	if c.dir, err = prepareDir(as, Options{}, "password"); err != nil {
		t.Fatal(err)
	}
	if err := c.startGuard(bin, l.Addr().(*net.TCPAddr).Port, as); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	if err := c.awaitReady(t.Context()); !errors.Is(err, errPortTaken) {
		t.Errorf("got %v, want errPortTaken", err)
	}
}

func TestBadSettingSaysWhy(t *testing.T) {
	tmp := tempDir(t)
	_, err := StartWith(t.Context(), Options{Settings: map[string]string{"max_connections": "many"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections": "many"`) {
		t.Errorf("got %v, want the server's own words", err)
	}
	if left := leftovers(t, tmp); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestWithdrawnStartLeavesNothing(t *testing.T) {
	tmp := tempDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // withdraws once initdb has begun
		defer cancel()
		for ctx.Err() == nil {
			if begun, _ := filepath.Glob(tmp + "/*/data/*"); len(begun) > 0 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	cancel()
	if left := leftovers(t, tmp); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestWithdrawnBeforeStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled and not that PostgreSQL is missing", err)
	}
}

func TestServerEndsWithItsProcess(t *testing.T) {
	for _, how := range []string{"kill", "panic", "exit"} {
		t.Run(how, func(t *testing.T) {
			tmp := tempDir(t)
			cmd, dir := startChild(t, how)
			if how == "kill" {
				if len(processes(t, dir)) == 0 {
					t.Fatal("no server to end")
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the child ended well")
			}
			awaitNothing(t, tmp)
		})
	}
}

// A test run may be killed at any moment, also while initdb or the server's start is under way.
func TestKilledWhileStarting(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		tmp := tempDir(t)
		cmd := childCommand(t, "kill")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rand.Int64N(int64(1500 * time.Millisecond)))
		time.Sleep(after)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		awaitNothing(t, tmp)
		if t.Failed() {
			t.Fatalf("killed after %v", after)
		}
	}
}

func TestFindServer(t *testing.T) {
	real, err := FindServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("named directory", func(t *testing.T) {
		t.Setenv(BinDirEnv, real)
		if got, err := FindServer(t.Context()); err != nil || got != real {
			t.Errorf("got %q, %v, want %q", got, err, real)
		}
	})
	t.Run("named directory without a server", func(t *testing.T) {
		t.Setenv(BinDirEnv, t.TempDir())
		if _, err := FindServer(t.Context()); err == nil || !strings.Contains(err.Error(), BinDirEnv) {
			t.Errorf("got %v, want an error that names %s", err, BinDirEnv)
		}
	})
	t.Run("named directory with an old server", func(t *testing.T) {
		t.Setenv(BinDirEnv, fakeServer(t, "postgres (PostgreSQL) 9.6.24"))
		if _, err := FindServer(t.Context()); err == nil || !strings.Contains(err.Error(), "PostgreSQL 9, and 15") {
			t.Errorf("got %v, want both versions", err)
		}
	})
	t.Run("PATH first", func(t *testing.T) {
		dir := fakeServer(t, "postgres (PostgreSQL) 99beta1 (of a test)")
		t.Setenv("PATH", dir)
		if got, err := FindServer(t.Context()); err != nil || got != dir {
			t.Errorf("got %q, %v, want %q", got, err, dir)
		}
	})
	t.Run("newest of several", func(t *testing.T) {
		base := t.TempDir()
		for _, version := range []string{"15", "17", "16"} {
			if err := os.Rename(fakeServer(t, "postgres (PostgreSQL) "+version+".2"), filepath.Join(base, version)); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := newest(t.Context(), []string{base + "/*"}), filepath.Join(base, "17"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestShared(t *testing.T) {
	for _, bad := range []string{"host=localhost password=hunter2", "mysql://u:hunter2@localhost/x", "postgres://u:hunter2@local host/x"} {
		t.Setenv(SharedEnv, bad)
		if _, err := Shared(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want an error that does not repeat the password", bad, err)
		}
		shared.err = nil
	}

	t.Setenv(SharedEnv, "postgres://u:p@db.example:5433/first?sslmode=require")
	c, err := Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.URL("second"), "postgres://u:p@db.example:5433/second?sslmode=require"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := StopShared(); err != nil {
		t.Error(err)
	}

	tmp := tempDir(t)
	t.Setenv(SharedEnv, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	own, err := Shared(ctx) // a test that is already over must not spoil it for the others
	if err != nil {
		t.Fatal(err)
	}
	again, err := Shared(t.Context())
	if err != nil || again != own {
		t.Errorf("the second call gave another cluster: %v", err)
	}
	connect(t, own.URL("postgres"))
	if err := StopShared(); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, tmp); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		c, err := Start(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Stop(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConnect(b *testing.B) {
	c, err := Start(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Stop() })
	for b.Loop() {
		conn, err := pgx.Connect(b.Context(), c.URL("postgres"))
		if err != nil {
			b.Fatal(err)
		}
		if err := conn.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// tempDir makes a directory in which clusters of this test, and of its children, are made, and
// into which an account without privileges can reach. t.TempDir's are closed to others.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtest-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	return dir
}

func stop(t *testing.T, c *Cluster) {
	t.Helper()
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func childCommand(t *testing.T, how string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+how)
	return cmd
}

// startChild returns once the child has a running cluster, with the cluster's directory.
func startChild(t *testing.T, how string) (*exec.Cmd, string) {
	t.Helper()
	cmd := childCommand(t, how)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child did not start a cluster: %v", err)
	}
	return cmd, strings.TrimSpace(dir)
}

// awaitNothing gives the guard the time that it needs, which is not under this test's control.
func awaitNothing(t *testing.T, tmp string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = leftovers(t, tmp); len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind: %q", left)
}

// leftovers are the files in tmp and the processes that have tmp in their arguments.
func leftovers(t *testing.T, tmp string) []string {
	t.Helper()
	files, err := filepath.Glob(tmp + "/*")
	if err != nil {
		t.Fatal(err)
	}
	return append(files, processes(t, tmp)...)
}

func processes(t *testing.T, argument string) []string {
	t.Helper()
	var found []string
	if runtime.GOOS != "linux" { // minimal Linux images have no ps, other systems have no /proc
		out, err := exec.CommandContext(t.Context(), "ps", "-axo", "command").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, argument) {
				found = append(found, line)
			}
		}
		return found
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), argument) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// fakeServer is a directory with programs that only say their version.
func fakeServer(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho '%s'\n", version)
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
