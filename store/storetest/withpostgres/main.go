// Withpostgres runs a command beside a PostgreSQL server that exists only for it.
//
//	withpostgres go test ./...    every package's tests share one cluster
//	withpostgres sh -c 'psql "$SEALPOST_TEST_POSTGRES"'
//	withpostgres -durable CMD     commits wait for the disk, as in production: for measurements
//	withpostgres -where           prints where the server's binaries are, or what to install
//
// The command finds the server's address in SEALPOST_TEST_POSTGRES. Where that is set already, it
// is left alone and no server is started. Signals are passed on, the command's exit status is
// returned, and the server and its files are gone afterwards, also after kill -9.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"sealpost/store/storetest/pgtest"
)

// Exit statuses as shells and env(1) give them.
const (
	exitUsage      = 2
	exitFailed     = 125 // withpostgres itself failed
	exitNotStarted = 127
	exitSignal     = 128 // plus the signal's number
)

// durableSettings make a test's cluster one that a measurement may be made on: PostgreSQL's own
// defaults of durability, and memory as on a small server.
var durableSettings = map[string]string{
	"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
	"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min",
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: withpostgres [-durable] COMMAND [ARGUMENT...] | withpostgres -where")
		return exitUsage
	}
	// Listening begins before the server does, so that there is no moment at which an interrupt
	// would end us and leave its clearing up to the guard alone.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)

	if args[0] == "-where" {
		dir, err := pgtest.FindServer(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(dir)
		return 0
	}

	start, stop := pgtest.Shared, pgtest.StopShared
	if args[0] == "-durable" {
		if args = args[1:]; len(args) == 0 {
			return run(nil)
		}
		var durable *pgtest.Cluster
		start = func(ctx context.Context) (_ *pgtest.Cluster, err error) {
			durable, err = pgtest.StartWith(ctx, pgtest.Options{Settings: durableSettings})
			return durable, err
		}
		stop = func() error { return durable.Stop() }
	}
	cluster, err := start(context.Background())
	if err != nil {
		fmt.Fprintf(os.Stderr, "withpostgres: %v\n", err)
		return exitFailed
	}
	status := runCommand(args, cluster.URL("postgres"), signals)
	if err := stop(); err != nil {
		fmt.Fprintf(os.Stderr, "withpostgres: %v\n", err)
		return exitFailed
	}
	return status
}

// runCommand returns the command's exit status, in a shell's manner.
func runCommand(args []string, url string, signals <-chan os.Signal) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), pgtest.SharedEnv+"="+url)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "withpostgres: %v\n", err)
		return exitNotStarted
	}

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	terminal := hasTerminal()
	for {
		select {
		case s := <-signals:
			// A terminal's Ctrl-C and Ctrl-\ go to the command as well as to us. `go test` ends
			// in an orderly way at the first and drops everything at the second.
			if terminal && (s == syscall.SIGINT || s == syscall.SIGQUIT) {
				continue
			}
			_ = cmd.Process.Signal(s) // it may have just ended
		case err := <-ended:
			return exitStatus(err)
		}
	}
}

func exitStatus(err error) int {
	var failed *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &failed):
		fmt.Fprintf(os.Stderr, "withpostgres: %v\n", err)
		return exitFailed
	}
	if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return failed.ExitCode()
}

func hasTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}
