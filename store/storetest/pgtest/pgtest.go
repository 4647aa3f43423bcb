// Package pgtest starts private PostgreSQL servers for tests.
//
// A test against PostgreSQL should need nothing but its binaries: no server that somebody has to
// start, no password in the environment, nothing left behind. Start makes a fresh cluster in a
// temporary directory and runs it on a free loopback port; Stop ends it and removes its files. A
// shell (guard.sh) that holds a pipe from this process does the same when this process ends in
// any other way, kill -9 included.
//
// Most tests want Shared, which is one cluster for all of them: the one that the withpostgres
// command started around the whole test run, else one that this process starts when first asked.
//
// Without PostgreSQL's binaries everything here is an error that names what to install. Nothing
// is skipped: a test that silently did not run looks like one that passed.
package pgtest

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// superuser is the role that owns everything in a cluster; its URLs are what URL returns.
const superuser = "sealpost"

const (
	startTimeout = 90 * time.Second // initdb takes about one second on an idle machine
	stopTimeout  = 20 * time.Second // PostgreSQL itself kills its processes after five
	pollEvery    = 5 * time.Millisecond
	portAttempts = 8
)

//go:embed guard.sh
var guardScript string

// fastSettings trade durability for speed: the files are gone when the server is. A test of what
// survives a crash of the database itself puts them back with Options.Settings.
var fastSettings = map[string]string{
	"fsync":              "off",
	"synchronous_commit": "off",
	"full_page_writes":   "off",
	"max_connections":    "300", // every package of the suite at once, each with pools of its own
	"shared_buffers":     "64MB",
	"jit":                "off", // compiling costs more than any query of a test
	"log_checkpoints":    "off",
	"timezone":           "UTC",
	"log_timezone":       "UTC",
}

// Options change what Start does.
type Options struct {
	// Settings are added to postgresql.conf over the ones for speed, such as
	// {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}.
	Settings map[string]string
}

// Cluster is a running PostgreSQL server.
type Cluster struct {
	admin *url.URL
	dir   string // empty: somebody else's server, named by SharedEnv

	guard *exec.Cmd
	leash *os.File // the pipe's end whose closing tells the guard to stop

	halted bool // by Halt or Kill: its files are there and it does not run
}

// Start runs a new private cluster with the settings for speed.
func Start(ctx context.Context) (*Cluster, error) {
	return StartWith(ctx, Options{})
}

// StartWith runs a new private cluster. ctx bounds the start, not the server's life.
func StartWith(ctx context.Context, opts Options) (*Cluster, error) {
	bin, err := FindServer(ctx)
	if err != nil {
		return nil, err
	}
	as, err := serverUser()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	c := &Cluster{}
	// Anyone on the machine can reach a loopback port and a superuser of PostgreSQL can run
	// commands, so there is a password although the server only serves tests.
	password := rand.Text()
	if c.dir, err = prepareDir(as, opts, password); err != nil {
		return nil, err
	}
	port, err := c.launch(ctx, bin, as)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL from %s%s: %w", bin, as.asUser(), err), os.RemoveAll(c.dir))
	}
	c.admin = &url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}
	return c, nil
}

// URL is the address of the named database, with the superuser's name and password, as
// DATABASE_URL takes it. The database that always exists is "postgres".
func (c *Cluster) URL(dbname string) string {
	u := *c.admin
	u.Path = "/" + dbname
	return u.String()
}

// Stop ends the server at once, as a crash would, and removes its files. Stopping twice, or
// stopping a cluster that another process owns, does nothing.
func (c *Cluster) Stop() error {
	if c.halted {
		c.halted = false
		return os.RemoveAll(c.dir)
	}
	if c.guard == nil {
		return nil
	}
	err := c.endGuard()
	return errors.Join(err, os.RemoveAll(c.dir))
}

// prepareDir makes the cluster's directory with what guard.sh expects in it. The caller removes it.
func prepareDir(as *credential, opts Options, password string) (string, error) {
	dir, err := os.MkdirTemp("", "sealpost-pg-")
	if err != nil {
		return "", fmt.Errorf("make a directory for PostgreSQL: %w", err)
	}
	settings := maps.Clone(fastSettings)
	maps.Copy(settings, opts.Settings)
	files := map[string]string{
		"settings": formatSettings(settings),
		"password": password,
		"log":      "",
	}
	for name, content := range files {
		file := filepath.Join(dir, name)
		err = errors.Join(err, os.WriteFile(file, []byte(content), 0o600), as.chown(file))
	}
	if err = errors.Join(err, as.chown(dir)); err != nil {
		return "", errors.Join(fmt.Errorf("prepare %s%s: %w", dir, as.asUser(), err), os.RemoveAll(dir))
	}
	return dir, nil
}

// formatSettings writes postgresql.conf lines, in a stable order.
func formatSettings(settings map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	return b.String()
}

// launch starts the guard, and through it the server, and returns the port once the server accepts
// connections. The system hands out free ports but cannot reserve one, so somebody may take it
// before PostgreSQL binds it; then another is tried.
func (c *Cluster) launch(ctx context.Context, bin string, as *credential) (int, error) {
	for attempt := 1; ; attempt++ {
		port, err := freePort(ctx)
		if err != nil {
			return 0, err
		}
		if err := c.startGuard(bin, port, as); err != nil {
			return 0, err
		}
		err = c.awaitReady(ctx)
		if err == nil {
			return port, nil
		}
		if endErr := c.endGuard(); endErr != nil || !errors.Is(err, errPortTaken) || attempt == portAttempts {
			return 0, errors.Join(err, endErr)
		}
		if err := errors.Join(os.Remove(c.file("exited")), os.Truncate(c.file("log"), 0)); err != nil {
			return 0, err
		}
	}
}

// startGuard runs guard.sh in a session of its own, so that Ctrl-C and hang-ups reach it only
// through the end of its pipe.
func (c *Cluster) startGuard(bin string, port int, as *credential) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close() //nolint:errcheck // the guard has its own copy by then
	// The log and not our own stdout: `go test` waits for everyone who holds that open.
	log, err := os.OpenFile(c.file("log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return errors.Join(err, write.Close())
	}
	defer log.Close() //nolint:errcheck // likewise, and nothing was written here

	// Not CommandContext: the server outlives the context that it was started under, and so it also
	// has no goroutine that leak checks would find.
	guard := exec.Command("/bin/sh", "-c", guardScript, "sealpost-pg-guard", c.dir, bin, strconv.Itoa(port), superuser)
	guard.Dir = c.dir
	guard.Env = serverEnv()
	guard.Stdin, guard.Stdout, guard.Stderr = read, log, log
	guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as.forExec()}
	if err := guard.Start(); err != nil {
		return errors.Join(err, write.Close())
	}
	c.guard, c.leash = guard, write
	return nil
}

// endGuard lets go of the pipe and waits until the guard, and so the server, has ended.
func (c *Cluster) endGuard() error {
	guard := c.guard
	c.guard = nil
	if err := c.leash.Close(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = guard.Wait() // its status says how the server ended, which awaitReady reads elsewhere
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(stopTimeout):
		// The guard's session is also its process group; the server's own children end when
		// they see their parent gone.
		return errors.Join(fmt.Errorf("PostgreSQL in %s did not stop within %v and was killed", c.dir, stopTimeout),
			syscall.Kill(-guard.Process.Pid, syscall.SIGKILL))
	}
}

var errPortTaken = errors.New("the port was taken")

// awaitReady polls for what pg_ctl polls for, so that no client is needed: the eighth line of
// postmaster.pid says "ready", or "standby". There is no goroutine that waits for the guard instead, since it
// would live as long as the cluster and show in every leak check.
func (c *Cluster) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if status, err := os.ReadFile(c.file("exited")); err == nil {
			log, err := os.ReadFile(c.file("log"))
			if strings.Contains(string(log), "could not create any TCP/IP sockets") {
				return errPortTaken
			}
			return errors.Join(fmt.Errorf("it ended with status %s, its log says:\n%s",
				strings.TrimSpace(string(status)), tail(log, 4096)), err)
		}
		pidFile, err := os.ReadFile(c.file("data/postmaster.pid"))
		if lines := strings.Split(string(pidFile), "\n"); err == nil && len(lines) > 7 {
			if state := strings.TrimSpace(lines[7]); state == "ready" || state == "standby" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			log, err := os.ReadFile(c.file("log"))
			return errors.Join(fmt.Errorf("not ready: %w, its log says:\n%s", context.Cause(ctx), tail(log, 4096)), err)
		case <-tick.C:
		}
	}
}

func (c *Cluster) file(name string) string { return filepath.Join(c.dir, name) }

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close() //nolint:errcheck // if the port stays taken, launch tries another
	return l.Addr().(*net.TCPAddr).Port, nil
}
