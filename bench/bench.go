// Package bench measures Sealpost on the user's own machine, each figure beside its floor in the same
// run: the speed of a bare HTTP client for what goes over HTTP, grouped commits of the bare rows for
// what goes to the disk. Machines differ and are shared; a ratio is what can be compared.
//
// It starts the program itself as a child, with a scratch folder and default settings, and speaks to
// it as an integrator does.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Options say what to measure.
type Options struct {
	Program  string        // the sealpost binary to start
	Postgres string        // a PostgreSQL whose user may create databases; "": SQLite alone
	Each     time.Duration // how long each rate is measured
	Only     []string      // names of measurements; none: all
	Out      io.Writer

	// Seal has an empty database filled with events, and sealed; Verify another one, and has it exported to a
	// folder in dir and verified. These two measurements are made inside.
	Seal   func(ctx context.Context, databaseURL string, events int) (Sealed, error)
	Verify func(ctx context.Context, databaseURL, dir string, events int) (Verified, error)
}

// clients is how many connections post at once, payloadBytes what each job carries (DESIGN §9).
const (
	clients      = 64
	payloadBytes = 1024
)

// figure is one line of the report.
type figure struct {
	name  string
	value string
	ratio string // beside its floor
	hold  string // what DESIGN §9 wants of it
}

// report prints figures as they come.
type report struct {
	out io.Writer
}

func (r report) section(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, "\n%s\n", fmt.Sprintf(format, args...))
}

func (r report) print(figures ...figure) {
	w := tabwriter.NewWriter(r.out, 46, 0, 2, ' ', 0)
	for _, f := range figures {
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join([]string{"  " + f.name, f.value, f.ratio, f.hold}, "\t"), "\t"))
	}
	_ = w.Flush()
}

// Run measures and prints.
func Run(ctx context.Context, o Options) (err error) {
	r := report{o.Out}
	r.section("Sealpost bench, %s, %s/%s, %d CPUs, %s, %s a figure, %d clients, %d-byte payloads",
		time.Now().UTC().Format(time.RFC3339), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		o.Each, clients, payloadBytes)
	f, err := startFloor(ctx, o)
	if err != nil {
		return fmt.Errorf("start the floor's sink: %w", err)
	}
	defer func() { err = errors.Join(err, f.close()) }()
	rate, err := f.rate(ctx)
	if err != nil {
		return fmt.Errorf("measure the client's floor: %w", err)
	}
	r.print(figure{name: "floor F: a bare client posts to a bare sink", value: perSecond(rate)})

	stores := []string{"sqlite"}
	if o.Postgres != "" {
		stores = append(stores, "postgres")
	}
	for _, name := range stores {
		r.section("%s", name)
		if err := runOn(ctx, o, r, name, f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// runOn measures everything on one database.
func runOn(ctx context.Context, o Options, r report, name string, f *floor) (err error) {
	dir, err := os.MkdirTemp("", "sealpost-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system's temporary folder
	databaseURL := "sqlite:" + dir + "/bench.db"
	if name == "postgres" {
		var drop func() error
		if databaseURL, drop, err = scratchDatabase(ctx, o.Postgres); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, drop()) }()
	}
	if o.wants("commit") {
		var rate float64
		now, err := f.around(ctx, func() (err error) {
			rate, err = commitFloor(ctx, o, databaseURL)
			return err
		})
		if err != nil {
			return fmt.Errorf("measure grouped commits: %w", err)
		}
		r.print(figure{name: "floor: grouped commits of a job's bare rows", value: perSecond(rate), ratio: ratio(rate, now, "F")})
	}
	if o.wants("seal") {
		figures, err := measureSeal(ctx, o, name, dir)
		if err != nil {
			return fmt.Errorf("measure sealing: %w", err)
		}
		r.print(figures...)
	}
	if o.wants("verify") {
		figures, err := measureVerify(ctx, o, name, dir)
		if err != nil {
			return fmt.Errorf("measure verifying: %w", err)
		}
		r.print(figures...)
	}
	p, err := startProgram(ctx, o, dir, databaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	for _, m := range []struct {
		name string
		run  func(context.Context, Options, *program, *floor) ([]figure, error)
	}{
		{"me", measureMe}, {"login", measureLogin}, {"start", measureStart}, {"accept", measureAccept}, {"drain", measureDrain}, {"latency", measureLatency}, {"isolation", measureIsolation},
	} {
		if !o.wants(m.name) {
			continue
		}
		figures, err := m.run(ctx, o, p, f)
		if err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
		r.print(figures...)
	}
	return nil
}

func (o Options) wants(name string) bool {
	if len(o.Only) == 0 {
		return true
	}
	return slices.Contains(o.Only, name)
}

// Measurements are the names that Options.Only takes.
func Measurements() []string {
	return []string{"commit", "seal", "verify", "me", "login", "start", "accept", "drain", "latency", "isolation"}
}

func perSecond(rate float64) string { return fmt.Sprintf("%.0f/s", rate) }

func ratio(value, floor float64, of string) string {
	return fmt.Sprintf("%.1f %% of %s = %.0f/s", 100*value/floor, of, floor)
}
