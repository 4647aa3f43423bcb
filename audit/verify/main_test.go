package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sealpost/audit"
	"sealpost/audit/verify"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const origin = "pilot.example.org/audit/log"

var admin = audit.Principal{
	Kind: audit.User, UserID: "user-1", Email: "kim@example.org", Role: audit.Admin, SessionID: "session-1", IP: "192.0.2.7", RequestID: "request-1",
}

// site is an installation whose log is verified.
type site struct {
	t      testing.TB
	st     *store.Store
	key    *keys.Key
	log    *audit.Log
	sealer *audit.Sealer
}

func newSite(t testing.TB, st *store.Store) *site {
	t.Helper()
	s := &site{t: t, st: st, key: keys.NewKey("00112233445566aa", bytes.Repeat([]byte{42}, 32))}
	s.server()
	return s
}

// server starts another server process on the installation.
func (s *site) server() {
	s.t.Helper()
	log := audit.New(s.st, slog.New(slog.DiscardHandler))
	log.Use(keys.NewRing(s.key, nil))
	s.t.Cleanup(func() { log.Close(context.Background()) })
	s.log, s.sealer = log, audit.NewSealer(log, audit.SealerOptions{Origin: origin, CheckpointEvery: time.Second})
}

// write writes events, seals them, and signs a checkpoint.
func (s *site) write(n int) {
	s.t.Helper()
	s.waiting(n)
	s.seal()
}

func (s *site) waiting(n int) {
	s.t.Helper()
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = audit.Event{Action: "thing.made", Entity: "Thing", EntityID: fmt.Sprint(i), Details: map[string]any{"size": i, "name": "a <b> & “c”"}}
	}
	s.change(events...)
}

func (s *site) change(events ...audit.Event) {
	s.t.Helper()
	if err := s.log.Change(s.t.Context(), admin, func(*store.Tx) ([]audit.Event, error) { return events, nil }); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) seal() {
	s.t.Helper()
	if err := s.sealer.SealNow(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) beat() {
	s.t.Helper()
	if err := s.log.Beat(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// history is a log of some hundred events under several checkpoints, with heartbeats.
func (s *site) history() {
	s.t.Helper()
	for _, n := range []int{5, 1, 1, 300, 2} {
		s.write(n)
	}
	s.beat()
	s.write(1)
}

// verifier is the installation's own key, as an auditor has it.
func (s *site) verifier() note.Verifier { return verifierOf(s.t, s.key) }

func verifierOf(t testing.TB, key *keys.Key) note.Verifier {
	t.Helper()
	text, err := audit.VerifierKey(origin, key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// options are those of the installation itself.
func (s *site) options() verify.Options {
	return verify.Options{Keys: []note.Verifier{s.verifier()}, Own: []*keys.Key{s.key}}
}

func (s *site) verify(o verify.Options) verify.Report {
	s.t.Helper()
	r, err := verify.Run(s.t.Context(), verify.Database(s.st), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// holds makes sure that the log holds.
func (s *site) holds(o verify.Options) verify.Report {
	s.t.Helper()
	r := s.verify(o)
	if r.Verdict() != verify.Holds {
		s.t.Errorf("an honest log does not hold: %v %v", r.Findings, r.Unknown)
	}
	return r
}

func (s *site) execute(statements ...string) {
	s.t.Helper()
	for _, text := range statements {
		s.run(text)
	}
}

func (s *site) run(text string, args ...any) {
	s.t.Helper()
	err := s.st.Write(s.t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(s.t.Context(), text, args...); return err })
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) number(query string, args ...any) int64 {
	s.t.Helper()
	var n int64
	s.one(query, args, &n)
	return n
}

func (s *site) one(query string, args []any, to ...any) {
	s.t.Helper()
	err := s.st.Read(s.t.Context(), func(tx *store.Tx) error { return tx.QueryRow(s.t.Context(), query, args...).Scan(to...) })
	if err != nil {
		s.t.Fatal(err)
	}
}

// event gives the id of a leaf's event.
func (s *site) event(leaf int64) string {
	s.t.Helper()
	var ids []byte
	s.one(`select event_ids from audit_bundle where n = $1`, []any{leaf / 256}, &ids)
	list, err := audit.ParseEventIDs(ids)
	if err != nil {
		s.t.Fatal(err)
	}
	return list[leaf%256]
}

// wantFinding makes sure that one thing is found to be wrong, at a leaf and of an event where these are given.
func wantFinding(t *testing.T, r verify.Report, kind verify.Kind, leaf int64, eventID string) {
	t.Helper()
	if r.Verdict() != verify.DoesNot {
		t.Errorf("the verdict is %d (%v)", r.Verdict(), r.Unknown)
	}
	for _, f := range r.Findings {
		if f.Kind == kind && (leaf < 0 || leaf >= f.Leaf && leaf <= f.Last) && (eventID == "" || f.EventID == eventID) {
			if leaf >= 0 && !strings.Contains(f.String(), fmt.Sprint(f.Leaf)) {
				t.Errorf("%s does not name its leaf", f)
			}
			return
		}
	}
	t.Errorf("no %s at leaf %d of event %s is among %v", kind, leaf, eventID, r.Findings)
}

// export writes the log as files.
func (s *site) export() string {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "export")
	if _, err := audit.Export(s.t.Context(), s.st, dir, nil); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// verifyExport verifies an export as an auditor does: with the log's key from outside.
func (s *site) verifyExport(dir, outside string, more ...note.Verifier) verify.Report {
	s.t.Helper()
	r, err := verify.Run(s.t.Context(), verify.Export(dir), verify.Options{Keys: append([]note.Verifier{s.verifier()}, more...), Outside: outside})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// python runs the other verifier, examples/verify.py, and gives its status and what it says.
func (s *site) python(dir, outside string, keys ...*keys.Key) (int, string) {
	s.t.Helper()
	args := []string{"../../examples/verify.py", dir}
	for _, k := range keys {
		text, err := audit.VerifierKey(origin, k)
		if err != nil {
			s.t.Fatal(err)
		}
		args = append(args, "--key", text)
	}
	if outside != "" {
		path := filepath.Join(s.t.TempDir(), "outside")
		if err := os.WriteFile(path, []byte(outside), 0o600); err != nil {
			s.t.Fatal(err)
		}
		args = append(args, "--checkpoint", path)
	}
	cmd := exec.CommandContext(s.t.Context(), "python3", args...)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		s.t.Fatalf("%v (the tests need python3, which scripts/install-test-deps.sh installs)", err)
	} else if ok {
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}

// holdsExported makes sure that the export of an honest log holds, to both verifiers.
func (s *site) holdsExported(outside string, keys ...*keys.Key) verify.Report {
	s.t.Helper()
	dir := s.export()
	var more []note.Verifier
	for _, k := range keys {
		more = append(more, verifierOf(s.t, k))
	}
	r := s.verifyExport(dir, outside, more...)
	if r.Verdict() != verify.Holds {
		s.t.Errorf("the export of an honest log does not hold: %v %v", r.Findings, r.Unknown)
	}
	if status, out := s.python(dir, outside, append(keys, s.key)...); status != 0 {
		s.t.Errorf("verify.py ends with %d:\n%s", status, out)
	}
	return r
}

// undo gives out numbers whose transaction fails, as in an outage.
func (s *site) undo(n int) {
	s.t.Helper()
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = audit.Event{Action: "thing.made", Details: map[string]any{"text": strings.Repeat("x", 12<<10)}}
	}
	if s.st.Dialect() == store.Postgres { // of one connection: the next one is new, and well
		s.run(`set session characteristics as transaction read only`)
	} else {
		pages := s.number(`select page_count from pragma_page_count()`)
		s.run(fmt.Sprintf(`pragma max_page_count = %d`, pages))
		defer s.run(`pragma max_page_count = 1000000`)
	}
	if err := s.log.Change(s.t.Context(), admin, func(*store.Tx) ([]audit.Event, error) { return events, nil }); err == nil {
		s.t.Error("it was committed")
	}
}

// retention is that of a site where everything under an earlier checkpoint is old.
func (s *site) retention() *audit.Retention {
	return audit.NewRetention(s.log, audit.RetentionOptions{Days: 0, Sealer: s.sealer})
}

// retain removes what is old, and seals what tells of it.
func (s *site) retain(t *testing.T) {
	t.Helper()
	r := s.retention()
	plan, err := r.Plan(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	if plan, err = r.Apply(t.Context(), admin, plan.PlanHash); err != nil || plan.DeletedCount == 0 || !plan.Complete {
		t.Fatalf("%+v (%v)", plan, err)
	}
	s.seal()
}
