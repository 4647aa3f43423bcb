// Command sealpost is the whole of Sealpost: the server, and the commands for those who run it
// (SPEC §2). This package holds commands, flags and wiring; what they do is in the packages that
// wire.go puts together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"sealpost/config"
	"sealpost/rotation"
	"sealpost/store"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the work in order, a second one the process
	p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}
	os.Exit(p.main(ctx, os.Args[1:]))
}

// program is what a command has of the world around it. A context that ends asks it to come to an end.
type program struct {
	stdin          io.Reader // nil: there is nothing to read
	stdout, stderr io.Writer
	environ        []string
}

// The statuses that scripts and service managers rely on, beside config.ExitStatus and
// store.ExitLocked.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// main runs a command line and gives the program's status.
func (p program) main(ctx context.Context, args []string) int {
	err := p.run(ctx, args)
	if err != nil && !errors.Is(err, errHelp) {
		_, _ = fmt.Fprintf(p.stderr, "sealpost: %v\n", err)
	}
	return status(err)
}

func (p program) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usage("which command? `sealpost help` lists them")
	}
	name, args := args[0], args[1:]
	switch name {
	case "-h", "-help", "--help":
		name = "help"
	case "-version", "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, p, args)
		}
	}
	return usage("there is no command %q; `sealpost help` lists them", name)
}

// usageError is a command line that cannot be read.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// endsWith is an error that ends the program with a status of its own.
type endsWith struct {
	status int
	err    error
}

func (e endsWith) Error() string { return e.err.Error() }
func (e endsWith) Unwrap() error { return e.err }

// errHelp says that help was asked for, and given.
var errHelp = errors.New("help was asked for")

// status is the exit status that an error ends the program with.
func status(err error) int {
	_, isUsage := errors.AsType[usageError](err)
	own, hasOwn := errors.AsType[endsWith](err)
	_, isConfig := errors.AsType[config.Problems](err)
	switch {
	case err == nil, errors.Is(err, errHelp):
		return exitOK
	case hasOwn:
		return own.status
	case isUsage:
		return exitUsage
	case isConfig, errors.Is(err, rotation.ErrWrongDataKey):
		return config.ExitStatus
	case errors.Is(err, store.ErrLocked):
		return store.ExitLocked
	}
	return exitFailed
}
