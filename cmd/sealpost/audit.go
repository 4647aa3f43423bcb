package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/config"
	"sealpost/keys"
	"sealpost/store"
)

// auditCommand is `sealpost audit verify` and `sealpost audit export` (runbook §6). Both only read, also while a
// server runs.
func auditCommand(ctx context.Context, p program, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "verify":
			return auditVerify(ctx, p, args[1:])
		case "export":
			return auditExport(ctx, p, args[1:])
		case "-h", "-help", "--help":
			_, _ = fmt.Fprint(p.stdout, "sealpost audit verify [DIR]: check the sealed audit log, or an export of it\n"+
				"sealpost audit export --out DIR: write the sealed audit log as files that can be checked anywhere\n"+
				"With -h each explains itself.\n")
			return errHelp
		}
	}
	return usage("audit: say `sealpost audit verify` or `sealpost audit export`; with -h each explains itself")
}

// texts is a flag that may be given several times.
type texts []string

func (t *texts) String() string     { return strings.Join(*t, " ") }
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

func auditVerify(ctx context.Context, p program, args []string) error {
	f := p.flags("audit verify [DIR]", "check the sealed audit log of this installation, or the export in DIR.\n"+
		"Every finding names the leaf, the event and what is wrong. It only reads, also while a server runs.\n"+
		"Status: 0 the log holds, 1 it does not, 2 it cannot tell.")
	checkpoint := f.String("checkpoint", "", "a `file` with a checkpoint that was kept elsewhere: the log has to go on from it")
	var given texts
	f.Var(&given, "key", "a `key` to believe, as a note verifier (NAME+HASH+KEY) or the file that holds it: this log's, or a witness's.\n"+
		"May be given several times. Without one, this installation's own")
	dir, err := p.parseDir(f, args)
	if err != nil {
		return err
	}
	v := verifyingLog{p: p, dir: dir}
	if err := v.believe(given); err != nil {
		return endsWith{exitCannotTell, fmt.Errorf("cannot tell: %w", err)}
	}
	if *checkpoint != "" {
		b, err := os.ReadFile(*checkpoint)
		if err != nil {
			return endsWith{exitCannotTell, fmt.Errorf("cannot tell: read the checkpoint from outside: %w", err)}
		}
		v.o.Outside = string(b)
	}
	report, err := v.run(ctx)
	if err != nil {
		return endsWith{exitCannotTell, fmt.Errorf("cannot tell: %w", err)}
	}
	return printReport(p.stdout, report)
}

// parseDir is parse for a command that takes one directory, before its flags or behind them.
func (p program) parseDir(f *flag.FlagSet, args []string) (dir string, err error) {
	for {
		err := f.Parse(args)
		if err != nil || f.NArg() == 0 || dir != "" {
			return dir, p.parse(f, args)
		}
		dir, args = f.Arg(0), f.Args()[1:]
	}
}

// verifyingLog is a run of audit verify.
type verifyingLog struct {
	p   program
	dir string // of an export; "": the database
	o   verify.Options
}

// believe reads the keys that were given.
func (v *verifyingLog) believe(given []string) error {
	for _, text := range given {
		if !strings.Contains(text, "+") || fileExists(text) {
			b, err := os.ReadFile(text) //nolint:gosec // who runs this says which
			if err != nil {
				return fmt.Errorf("--key is no note verifier (NAME+HASH+KEY), and no file that holds one: %w", err)
			}
			text = strings.TrimSpace(string(b))
		}
		if key, err := note.NewVerifier(text); err == nil {
			v.o.Keys = append(v.o.Keys, key)
			continue
		}
		witness, err := audit.NewCosigner(text)
		if err != nil {
			return fmt.Errorf("--key %.80q is neither a key of a log nor of a witness (note verifier, NAME+HASH+KEY)", text)
		}
		v.o.Witnesses = append(v.o.Witnesses, witness)
	}
	return nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (v *verifyingLog) run(ctx context.Context) (verify.Report, error) {
	c, _, err := config.Parse(v.p.environ)
	if err != nil && v.dir == "" {
		return verify.Report{}, fmt.Errorf("the configuration has problems:\n%w", err)
	}
	src := verify.Export(v.dir)
	if v.dir == "" {
		st, err := openReader(ctx, c)
		if err != nil {
			return verify.Report{}, err
		}
		defer st.Close() //nolint:errcheck // nothing was written
		src = verify.Database(st)
		if c.Audit.CheckpointDir != "" && v.o.Outside == "" {
			if copied, err := audit.ReadCopy(c.Audit.CheckpointDir); err == nil {
				v.o.Outside = copied.Note
				_, _ = fmt.Fprintf(v.p.stdout, "the checkpoint from outside is the one in AUDIT_CHECKPOINT_DIR, %s\n", plain(c.Audit.CheckpointDir))
			}
		}
	} else if !verify.IsExport(v.dir) {
		return verify.Report{}, fmt.Errorf("%s is no export: it has no %s", plain(v.dir), audit.ExportManifestFile)
	}
	head, err := src.Head(ctx)
	if err != nil {
		return verify.Report{}, err
	}
	if c != nil {
		if err := v.own(c, head.Origin); err != nil {
			return verify.Report{}, err
		}
	}
	bar := newProgressBar(v.p.stderr)
	v.o.Progress = bar.show
	defer bar.end()
	return verify.Run(ctx, src, v.o)
}

// own adds this installation's keys: to believe where no other key was given, and for what only the key itself
// can verify.
func (v *verifyingLog) own(c *config.Config, origin string) error {
	ownIsBelieved := len(v.o.Keys) == 0
	for _, secret := range []config.Secret{c.Secrets.Audit, c.Secrets.AuditPrevious} {
		if !secret.IsSet() || origin == "" {
			continue
		}
		key := keys.NewKey(keys.NewID(), secret.Reveal())
		v.o.Own = append(v.o.Own, key)
		if !ownIsBelieved {
			continue
		}
		text, err := audit.VerifierKey(origin, key)
		if err != nil {
			return err
		}
		verifier, err := note.NewVerifier(text)
		if err != nil {
			return err
		}
		v.o.Keys = append(v.o.Keys, verifier)
	}
	return nil
}

// openReader opens the installation's database for reading alone.
func openReader(ctx context.Context, c *config.Config) (*store.Store, error) {
	st, err := store.OpenReader(ctx, string(c.DatabaseURL.Reveal()), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: are this installation's variables set here? (its environment file, DATA_DIR, DATABASE_URL)", err)
	}
	return st, err
}

// printReport prints what was found, and gives the error that the program ends with.
func printReport(w io.Writer, r verify.Report) error {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "log         %s\nleaves      %d, of which %d are under %d checkpoints that verify", r.Origin, r.Size, r.Signed, r.Checkpoints)
	if !r.SignedAt.IsZero() {
		_, _ = fmt.Fprintf(&b, ", the last of %s", r.SignedAt.Format(time.RFC3339))
	}
	_, _ = fmt.Fprintf(&b, "\nevents      %d there, %d removed lawfully\n", r.Bodies, r.Removed)
	if r.Outside > 0 {
		_, _ = fmt.Fprintf(&b, "outside     it goes on from the checkpoint from outside, over %d leaves\n", r.Outside)
	}
	for _, f := range r.Findings {
		_, _ = fmt.Fprintf(&b, "FINDING     %s\n", f)
	}
	if r.More > 0 {
		_, _ = fmt.Fprintf(&b, "FINDING     and %d more\n", r.More)
	}
	for _, n := range r.Notes {
		_, _ = fmt.Fprintf(&b, "note        %s\n", n)
	}
	var end error
	switch r.Verdict() {
	case verify.Holds:
		b.WriteString("The log holds.\n")
	case verify.DoesNot:
		b.WriteString("The log DOES NOT HOLD.\n")
		end = endsWith{exitFailed, fmt.Errorf("the log does not hold: %d findings", len(r.Findings)+r.More)}
	case verify.CannotTell:
		b.WriteString("CANNOT TELL whether the log holds.\n")
		end = endsWith{exitCannotTell, fmt.Errorf("cannot tell: %s", strings.Join(r.Unknown, "; "))}
	}
	if _, err := io.WriteString(w, plainLines(b.String())); err != nil {
		return endsWith{exitCannotTell, err}
	}
	return end
}

// plainLines is plain for several lines.
func plainLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = plain(line)
	}
	return strings.Join(lines, "\n")
}

func auditExport(ctx context.Context, p program, args []string) error {
	f := p.flags("audit export", "write the sealed audit log as files.\n"+
		"Its tree as C2SP tlog-tiles, its events, checkpoints and keys: all that `sealpost audit verify DIR`, or another\n"+
		"verifier, needs anywhere. Or, with --format, the events alone for people. It only reads, also while a\n"+
		"server runs.")
	out := f.String("out", "", "the `directory` to write to, which is new or empty (required)")
	format := f.String("format", "tiles", "tiles, or the events alone: jsonl or csv, as events.jsonl or events.csv in the directory")
	if err := p.parse(f, args); err != nil {
		return err
	}
	switch {
	case *out == "":
		return usage("audit export: say where to with --out DIR")
	case *format != "tiles" && *format != audit.FormatJSONL && *format != audit.FormatCSV:
		return usage("audit export: --format is tiles, jsonl or csv")
	}
	c, _, err := config.Parse(p.environ)
	if err != nil {
		return err
	}
	st, err := openReader(ctx, c)
	if err != nil {
		return err
	}
	defer st.Close() //nolint:errcheck // nothing was written
	if *format != "tiles" {
		return exportEvents(ctx, p, st, *out, *format)
	}
	bar := newProgressBar(p.stderr)
	m, err := audit.Export(ctx, st, *out, bar.show)
	bar.end()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "exported %d leaves of %s, %d events of them, to %s\nverify it anywhere: sealpost audit verify --key KEY %s\n",
		m.Size, plain(m.Origin), m.Bodies, plain(*out), plain(*out))
	return err
}

// exportEvents writes the events alone.
func exportEvents(ctx context.Context, p program, st *store.Store, dir, format string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, "events."+format)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600) //nolint:gosec // who runs this says where
	if err != nil {
		return err
	}
	n, err := audit.New(st, slog.New(slog.DiscardHandler)).WriteEvents(ctx, file, format, audit.Filter{})
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "exported %d events to %s\n", n, plain(path))
	return err
}

// progressBar shows how far something has come, where somebody looks on.
type progressBar struct {
	out   io.Writer // nil: nobody does
	mu    sync.Mutex
	last  time.Time
	shown bool
}

func newProgressBar(w io.Writer) *progressBar {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return &progressBar{out: w}
		}
	}
	return &progressBar{}
}

const barWidth = 40

func (b *progressBar) show(done, total int64) {
	if b.out == nil || total <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.last) < 100*time.Millisecond {
		return
	}
	b.last, b.shown = time.Now(), true
	full := int(min(done, total) * barWidth / total)
	_, _ = fmt.Fprintf(b.out, "\r[%s%s] %3d %%", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), min(done, total)*100/total)
}

// end takes the bar away.
func (b *progressBar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		_, _ = fmt.Fprintf(b.out, "\r%s\r", strings.Repeat(" ", barWidth+9))
	}
}
