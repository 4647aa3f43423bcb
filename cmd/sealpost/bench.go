package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sealpost/bench"
)

func benchCommand(ctx context.Context, p program, args []string) error {
	f := p.flags("bench", "measure this program on this machine, each figure beside its floor")
	seconds := f.Int("seconds", 5, "how long each rate is measured, 1 to 600")
	postgres := f.String("postgres", "", "the `URL` of a PostgreSQL whose user may create databases; without it, SQLite alone")
	only := f.String("only", "", "measure only these, by `NAMES` with commas: "+strings.Join(bench.Measurements(), ", "))
	sink := f.Bool("sink", false, "be the bare server of the floor (the measurement starts this itself)")
	if err := p.parse(f, args); err != nil {
		return err
	}
	if *sink {
		return bench.Sink(ctx, os.Stdin, p.stdout)
	}
	if *seconds < 1 || *seconds > 600 {
		return usage("bench: -seconds takes 1 to 600, not %d", *seconds)
	}
	o := bench.Options{Postgres: *postgres, Each: time.Duration(*seconds) * time.Second, Out: p.stdout, Seal: benchSeal, Verify: benchVerify}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	for _, name := range o.Only {
		if !slices.Contains(bench.Measurements(), name) {
			return usage("bench: there is no measurement %q; there are %s", name, strings.Join(bench.Measurements(), ", "))
		}
	}
	var err error
	if o.Program, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return bench.Run(ctx, o)
}
