// Package runbook turns the security runbook (docs/SECURITY_RUNBOOK.md) into checks: each of its clauses
// is a Control with an id, and a check that says whether it holds here and now (SPEC §6).
//
// A control is checked by configuration, by data, or by a probe that really does what the clause says
// against the running server. It fails closed: a check that could not be made, that took too long or
// that is made only in part has not passed. What it saw is in Observed, and the facts that it decided
// by are its Evidence.
//
// controls.go is the table. Each check_*.go holds the checks of one part of the program; what they
// decide is a pure function of what was read.
package runbook

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/rotation"
)

// Status is how a control stands.
type Status string

// The statuses. A control that this pilot does not use is NotApplicable, never Pass.
const (
	Pass          Status = "PASS"
	Fail          Status = "FAIL"
	Warn          Status = "WARN"
	NotApplicable Status = "NOT_APPLICABLE"
)

// Kind is how a control is checked.
type Kind string

// The kinds.
const (
	Configuration Kind = "configuration"
	Data          Kind = "data"
	Probe         Kind = "probe"
)

// Control is one clause of the runbook as a check.
type Control struct {
	ID       string // RB-1.1: the runbook's section, and a number
	Clause   string // the clause, in its own words
	Title    string // what holds where it passes
	Kind     Kind
	Expected string
	check    func(ctx context.Context, c *Checker) (Finding, error)
}

// Finding is what a check came to.
type Finding struct {
	Status   Status
	Observed string         // what was seen, in a sentence
	Evidence map[string]any // the facts that it was decided by; never a secret
}

// Result is a control as it was checked.
type Result struct {
	ID        string         `json:"id"`
	Clause    string         `json:"clause" doc:"The runbook's own words"`
	Title     string         `json:"title"`
	Status    Status         `json:"status" enum:"PASS,FAIL,WARN,NOT_APPLICABLE"`
	Expected  string         `json:"expected"`
	Observed  string         `json:"observed" doc:"What was seen, or why the check could not be made"`
	CheckedAt time.Time      `json:"checkedAt"`
	Evidence  map[string]any `json:"evidence" doc:"The facts that it was decided by"`
}

// Options are what a Checker looks at. Without Rotation it needs no keys, and can be used on a database
// beside its server.
type Options struct {
	Config   *config.Config
	Log      *audit.Log
	Rotation *rotation.Keeper // nil: what only a running server knows has not passed
	Now      func() time.Time // time.Now where it is nil
}

// Checker checks controls, and remembers how they stood.
type Checker struct {
	o        Options
	controls []Control
	checking sync.Mutex // one round at a time

	mu      sync.Mutex
	last    map[string]Result
	ignored string
}

const (
	// checkTimeout is how long one check may take, and freshFor how long its result is given again.
	checkTimeout = 5 * time.Second
	freshFor     = time.Minute
	maxObserved  = 400 // bytes of an error that is shown
)

// New makes a checker. It checks nothing yet.
func New(o Options) *Checker {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Checker{o: o, controls: Controls(), last: map[string]Result{}}
}

// IgnoredForwarder tells of an address that sends forwarding headers and is not believed, for RB-1.3.
func (c *Checker) IgnoredForwarder(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ignored = address
}

func (c *Checker) forwarder() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ignored
}

// Run checks controls now, those with the ids that are given or all of them, and records that it did.
// fault.Invalid for an id that there is not.
func (c *Checker) Run(ctx context.Context, by audit.Principal, only ...string) ([]Result, error) {
	results, err := c.Check(ctx, only...)
	if err != nil {
		return nil, err
	}
	counts, failing := map[Status]int{}, []string{}
	for _, r := range results {
		counts[r.Status]++
		if r.Status == Fail {
			failing = append(failing, r.ID)
		}
	}
	details := map[string]any{"checked": len(results), "counts": counts, "failing": failing}
	if len(only) > 0 {
		details["only"] = only
	}
	err = c.o.Log.Record(ctx, by, audit.Event{Action: "security.posture.checked", Entity: "Posture", Details: details})
	return results, err
}

// Check is Run without the record of it, for whoever looks at a database from outside the server.
func (c *Checker) Check(ctx context.Context, only ...string) ([]Result, error) {
	chosen := c.controls
	if len(only) > 0 {
		chosen = nil
		for _, control := range c.controls {
			if slices.Contains(only, control.ID) {
				chosen = append(chosen, control)
			}
		}
		for _, id := range only {
			if !slices.ContainsFunc(c.controls, func(control Control) bool { return control.ID == id }) {
				return nil, fault.New(fault.Invalid, "there is no control %s", shown(id))
			}
		}
	}
	c.checking.Lock()
	defer c.checking.Unlock()
	return c.checkAll(ctx, chosen), nil
}

// Posture gives how every control stands, checked within the last minute.
func (c *Checker) Posture(ctx context.Context) []Result {
	c.checking.Lock() // whoever asks meanwhile waits for this round and shares it
	defer c.checking.Unlock()
	var stale []Control
	now := c.o.Now()
	for _, control := range c.controls {
		if r, ok := c.lastOf(control.ID); !ok || now.Sub(r.CheckedAt) >= freshFor || now.Before(r.CheckedAt) {
			stale = append(stale, control)
		}
	}
	c.checkAll(ctx, stale)
	results := make([]Result, len(c.controls))
	for i, control := range c.controls {
		results[i], _ = c.lastOf(control.ID)
	}
	return results
}

func (c *Checker) lastOf(id string) (Result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.last[id]
	return r, ok
}

// checkAll checks controls side by side. Its results are for everyone who asks, so a caller who goes
// away does not make them fail.
func (c *Checker) checkAll(ctx context.Context, controls []Control) []Result {
	ctx = context.WithoutCancel(ctx)
	results := make([]Result, len(controls))
	var all sync.WaitGroup
	for i, control := range controls {
		all.Go(func() { results[i] = c.checkOne(ctx, control) })
	}
	all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range results {
		c.last[r.ID] = r
	}
	return results
}

// checkOne makes one check. Whatever goes wrong with it, the control has not passed.
func (c *Checker) checkOne(ctx context.Context, control Control) (r Result) {
	r = Result{
		ID: control.ID, Clause: control.Clause, Title: control.Title, Expected: control.Expected,
		Status: Fail, Evidence: map[string]any{}, CheckedAt: c.o.Now().UTC().Truncate(time.Millisecond),
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			r.Status, r.Observed = Fail, "the check itself failed: "+shown(fmt.Sprint(v))
		}
	}()
	found, err := control.check(ctx, c)
	switch {
	case ctx.Err() != nil:
		r.Observed = fmt.Sprintf("the check did not end within %v", checkTimeout)
	case err != nil:
		r.Observed = "the check could not be made: " + shown(err.Error())
	default:
		r.Status, r.Observed = found.Status, found.Observed
		if found.Evidence != nil {
			r.Evidence = found.Evidence
		}
	}
	if !slices.Contains([]Status{Pass, Fail, Warn, NotApplicable}, r.Status) {
		r.Status, r.Observed = Fail, "the check came to no end that is known"
	}
	return r
}

// shown cuts what may be long.
func shown(s string) string {
	if len(s) > maxObserved {
		s = s[:maxObserved] + "…"
	}
	return s
}

// found makes a finding: PASS where it holds, FAIL where it does not.
func found(holds bool, evidence map[string]any, format string, args ...any) Finding {
	f := Finding{Status: Fail, Observed: fmt.Sprintf(format, args...), Evidence: evidence}
	if holds {
		f.Status = Pass
	}
	return f
}
