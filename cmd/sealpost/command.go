package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sealpost/config"
)

// command is one row of the table of commands.
type command struct {
	name  string
	args  string // as the usage shows them
	about string
	run   func(ctx context.Context, p program, args []string) error
}

// commands is the table, in the order in which help lists it.
func commands() []command {
	return []command{
		{"serve", "", "run the server, configured by environment variables", serveCommand},
		{"demo", "[--exit]", "show the way of a document on a server of its own, which needs nothing", demoCommand},
		{"migrate", "", "bring the database's tables to this version, and end", migrateCommand},
		{"audit", "verify|export …", "check the sealed audit log, or write it as files that can be checked anywhere", auditCommand},
		{"evidence", "verify FILE", "check offline what proves the story of one job", evidenceCommand},
		{"rotate", "NAME --ticket T --rollback-plan P …", "replace a secret in its file, and record it", rotateCommand},
		{"runbook", "verify [--only ID] [--json] …", "check each clause of the security runbook on this installation", runbookCommand},
		{"user", "create|reset-mfa|reset-password|revoke-sessions …", "help a user from the server's machine, the only ADMIN too", userCommand},
		{"listen", "[--secret-file FILE] [--addr HOST:PORT] …", "receive jobs, print them and check their signatures", listenCommand},
		{"bench", "[--postgres URL] …", "measure this program on this machine, beside its floors", benchCommand},
		{"version", "", "print this program's version", versionCommand},
		{"help", "[variables]", "list the commands, or every environment variable", helpCommand},
	}
}

func helpCommand(_ context.Context, p program, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "variables":
		_, err := io.WriteString(p.stdout, config.Reference())
		return err
	case len(args) > 0:
		return usage("help takes nothing, or the word variables; `sealpost COMMAND -h` explains a command")
	}
	_, _ = fmt.Fprintf(p.stdout, "Sealpost seals documents, dispatches them, and proves who did what.\n\nCommands:\n")
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, c := range commands() {
		_, _ = fmt.Fprintf(w, "  sealpost %s\t%s\n", strings.TrimSpace(c.name+" "+c.args), c.about)
	}
	_ = w.Flush()
	_, err := io.WriteString(p.stdout, `
Exit status: 0 done, 1 failed, 2 wrong usage, 75 another process has the database, 78 wrong configuration.
`)
	return err
}

// flags are the flags of a command, whose name and intent come first in its help.
func (p program) flags(name, about string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are ours to print, help is parse's
	f.Usage = func() {
		_, _ = fmt.Fprintf(f.Output(), "sealpost %s: %s\n", name, about)
		f.PrintDefaults()
	}
	return f
}

// parse reads a command's arguments, of which none but flags are taken.
func (p program) parse(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(p.stdout)
		f.Usage()
		return errHelp
	case err != nil:
		return usage("%s: %v; `sealpost %s -h` explains it", f.Name(), err, f.Name())
	case f.NArg() > 0:
		return usage("%s: it takes no argument %q; `sealpost %s -h` explains it", f.Name(), f.Arg(0), f.Name())
	}
	return nil
}
