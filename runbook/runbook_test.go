package runbook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/rotation"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// SPEC §6's table: nothing is left out, and nothing is there twice.
func TestTheTableIsWhole(t *testing.T) {
	var ids []string
	for _, c := range Controls() {
		ids = append(ids, strings.TrimPrefix(c.ID, "RB-"))
		if c.Clause == "" || c.Title == "" || c.Expected == "" || c.check == nil || (c.Kind != Configuration && c.Kind != Data && c.Kind != Probe) {
			t.Errorf("%s is not whole: %+v", c.ID, c)
		}
	}
	want := "1.1 1.2 1.3 1.4 1.5 1.6 1.7 1.8 2.1 2.2 2.3 2.4 2.5 3.1 3.2 3.3 3.4 3.5 3.6 4.1 4.2 4.3 4.4 5.1 5.2 5.3 5.4 6.1 6.2 6.3"
	if got := strings.Join(ids, " "); got != want {
		t.Errorf("the controls are %s", got)
	}
}

// A clause is the runbook's own words: each piece of one, between its marks, stands in the runbook.
func TestClausesAreTheRunbooksWords(t *testing.T) {
	text, err := os.ReadFile("../docs/SECURITY_RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	words := func(s string) string {
		return strings.Join(strings.FieldsFunc(strings.ReplaceAll(s, "`", ""), func(r rune) bool { return r == ' ' || r == '\n' }), " ")
	}
	book := words(string(text))
	pieces := regexp.MustCompile(`: |; |, | \+ |\. |\.$`)
	for _, c := range Controls() {
		for _, piece := range pieces.Split(c.Clause, -1) {
			if !strings.Contains(book, strings.TrimSpace(piece)) {
				t.Errorf("%s: the runbook does not say %q", c.ID, piece)
			}
		}
	}
}

// checker makes a checker of controls that a test has made.
func checker(t *testing.T, controls ...Control) *Checker {
	t.Helper()
	c := New(Options{})
	c.controls = controls
	return c
}

func control(id string, check func(context.Context, *Checker) (Finding, error)) Control {
	return Control{ID: id, Clause: "c", Title: "t", Kind: Data, Expected: "e", check: check}
}

func TestWhatCannotBeCheckedFails(t *testing.T) {
	long := strings.Repeat("x", 500)
	for _, tt := range []struct {
		name     string
		check    func(context.Context, *Checker) (Finding, error)
		status   Status
		observed string
	}{
		{"it holds", func(context.Context, *Checker) (Finding, error) { return found(true, nil, "fine"), nil }, Pass, "fine"},
		{"it does not", func(context.Context, *Checker) (Finding, error) { return found(false, nil, "bad"), nil }, Fail, "bad"},
		{"a warning", func(context.Context, *Checker) (Finding, error) { return Finding{Status: Warn, Observed: "hm"}, nil }, Warn, "hm"},
		{"not used", func(context.Context, *Checker) (Finding, error) { return Finding{Status: NotApplicable}, nil }, NotApplicable, ""},
		{"nobody has checked", notYet, Fail, "not yet checked"},
		{"an error", func(context.Context, *Checker) (Finding, error) {
			return found(true, nil, "fine"), errors.New("no database")
		}, Fail, "the check could not be made: no database"},
		{"a long error", func(context.Context, *Checker) (Finding, error) { return Finding{}, errors.New(long) }, Fail, "the check could not be made: " + long[:400] + "…"},
		{"a panic", func(context.Context, *Checker) (Finding, error) { panic("nil map") }, Fail, "the check itself failed: nil map"},
		{"no status", func(context.Context, *Checker) (Finding, error) { return Finding{Observed: "fine"}, nil }, Fail, "the check came to no end that is known"},
		{"another status", func(context.Context, *Checker) (Finding, error) { return Finding{Status: "OK"}, nil }, Fail, "the check came to no end that is known"},
	} {
		r, err := checker(t, control("X", tt.check)).Check(t.Context())
		if err != nil || len(r) != 1 || r[0].Status != tt.status || r[0].Observed != tt.observed || r[0].ID != "X" || r[0].CheckedAt.IsZero() || r[0].Evidence == nil {
			t.Errorf("%s: %+v, %v", tt.name, r, err)
		}
	}
}

func TestACheckThatHangsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := checker(t, control("X", func(ctx context.Context, _ *Checker) (Finding, error) {
			<-ctx.Done()
			return found(true, nil, "fine"), nil
		}), control("Y", func(context.Context, *Checker) (Finding, error) { return found(true, nil, "fine"), nil }))
		began := time.Now()
		results, err := c.Check(t.Context())
		if err != nil || results[0].Status != Fail || results[0].Observed != "the check did not end within 5s" || results[1].Status != Pass {
			t.Errorf("it came to %+v, %v", results, err)
		}
		if took := time.Since(began); took != checkTimeout {
			t.Errorf("it took %v", took)
		}
	})
}

// The results are for everyone: a caller who goes away does not make them fail.
func TestACallerWhoGoesAway(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := checker(t, control("X", func(ctx context.Context, _ *Checker) (Finding, error) {
		return found(ctx.Err() == nil, nil, "%v", ctx.Err()), nil
	}))
	if r := c.Posture(ctx); r[0].Status != Pass {
		t.Errorf("it came to %+v", r)
	}
}

func TestPostureIsAMinuteOldAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := checker(t, control("X", func(context.Context, *Checker) (Finding, error) {
			n++
			return found(true, nil, "%d", n), nil
		}))
		see := func(want string) {
			t.Helper()
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() {
					if r := c.Posture(t.Context()); len(r) != 1 || r[0].Observed != want {
						t.Errorf("it is %+v, not the check number %s", r, want)
					}
				})
			}
			all.Wait()
		}
		see("1")
		time.Sleep(freshFor - time.Millisecond)
		see("1")
		time.Sleep(time.Millisecond)
		see("2")
		if r, err := c.Check(t.Context(), "X"); err != nil || r[0].Observed != "3" {
			t.Errorf("checked again: %+v, %v", r, err)
		}
		see("3")
	})
}

func TestOnly(t *testing.T) {
	fine := func(context.Context, *Checker) (Finding, error) { return found(true, nil, "fine"), nil }
	c := checker(t, control("X", fine), control("Y", fine), control("Z", fine))
	for only, want := range map[string]string{"": "XYZ", "Y": "Y", "Z,X": "XZ", "X,X": "X"} {
		var ids []string
		if only != "" {
			ids = strings.Split(only, ",")
		}
		results, err := c.Check(t.Context(), ids...)
		got := ""
		for _, r := range results {
			got += r.ID
		}
		if err != nil || got != want {
			t.Errorf("only %q gives %q, %v", only, got, err)
		}
	}
	if _, err := c.Check(t.Context(), "X", "RB-9.9"); !fault.Is(err, fault.Invalid) {
		t.Errorf("an id that there is not: %v", err)
	}
}

var admin = audit.Principal{Kind: audit.User, UserID: "admin-1", Role: audit.Admin, RequestID: "request-1"}

// installation is a checker on a database, with the production's own settings but for env.
func installation(t *testing.T, st *store.Store, env ...string) (*Checker, *audit.Log) {
	t.Helper()
	c, _, err := config.Load(append([]string{"NODE_ENV=test", "DATA_DIR=" + t.TempDir(), "MFA_REQUIRED=true"}, env...))
	if err != nil {
		t.Fatal(err)
	}
	log := audit.New(st, slog.New(slog.DiscardHandler))
	keeper, err := rotation.Open(t.Context(), log, rotation.Sources{Secrets: c.Secrets}, rotation.Options{
		TokenLife: c.Auth.AccessTTL, MaxAgeDays: c.RotationMaxAgeDays,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close(context.Background()) })
	return New(Options{Config: c, Log: log, Rotation: keeper}), log
}

func TestRunIsRecorded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		c, log := installation(t, st)
		results, err := c.Run(t.Context(), admin, "RB-1.2", "RB-1.3")
		if err != nil || len(results) != 2 {
			t.Fatalf("%+v, %v", results, err)
		}
		list, err := log.Events(t.Context(), audit.Filter{Action: "security.posture.checked", RequestID: "request-1"}, store.Page{Limit: 5})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		if got := fmt.Sprint(list.Items[0].Details); got != "map[checked:2 counts:map[FAIL:1 PASS:1] failing:[RB-1.3] only:[RB-1.2 RB-1.3]]" {
			t.Errorf("the event says %s", got)
		}
		if _, err := c.Run(t.Context(), admin, "nonsense"); !fault.Is(err, fault.Invalid) {
			t.Errorf("an id that there is not: %v", err)
		}
	})
}
