package web

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sealpost/fault"
)

// Health is what the server says about itself.
type Health struct {
	Status string           `json:"status" enum:"PASS,FAIL" doc:"FAIL where one check fails"`
	Checks map[string]Check `json:"checks" doc:"database, dispatcher and audit"`
}

// Check is one part's state.
type Check struct {
	Status string `json:"status" enum:"PASS,FAIL"`
	Reason string `json:"reason,omitempty" doc:"Why it fails"`
}

const (
	pass = "PASS"
	fail = "FAIL"
	// healthTimeout is how long a check may take; healthEvery is how long its answer is given again,
	// so that asking cannot be used to keep the database busy.
	healthTimeout = 2 * time.Second
	healthEvery   = time.Second
)

// health is the answers of the last round of checks.
type health struct {
	mu      sync.Mutex
	at      time.Time
	last    Health
	pending map[string]chan error // checks that have not ended, by name
}

// checkHealth makes a round of checks, or gives the last one's answers while they are fresh. Whoever
// asks meanwhile waits for the round and shares it.
func (s *Server) checkHealth() Health {
	h := &s.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.IsZero() || time.Since(h.at) >= healthEvery {
		before := h.last
		h.last = h.round(map[string]func(context.Context) error{
			"database": s.Log.Store().Ping, "audit": s.Sealer.Check, "dispatcher": s.Dispatch.Check,
		}, func(name string, err error) {
			if before.Checks[name].Status != fail { // said when it begins, not every second
				s.Logger.Error("a health check fails", "check", name, "error", err)
			}
		})
		h.at = time.Now()
	}
	return h.last
}

// round runs all checks side by side. One that does not end in time has failed, and is not started
// again before it has ended: a database that hangs must not collect checks.
func (h *health) round(checks map[string]func(context.Context) error, failed func(string, error)) Health {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	if h.pending == nil {
		h.pending = map[string]chan error{}
	}
	for name, check := range checks {
		if h.pending[name] != nil {
			continue
		}
		done := make(chan error, 1)
		h.pending[name] = done
		go func() {
			defer func() {
				if v := recover(); v != nil {
					done <- fmt.Errorf("the check panicked: %v", v)
				}
			}()
			done <- check(ctx)
		}()
	}
	report := Health{Status: pass, Checks: map[string]Check{}}
	for name := range checks {
		var err error
		select {
		case err = <-h.pending[name]:
			delete(h.pending, name)
		case <-ctx.Done():
			select { // both at once: it has ended after all
			case err = <-h.pending[name]:
				delete(h.pending, name)
			default:
				err = fault.New(fault.Unavailable, "no answer within %v", healthTimeout)
			}
		}
		if err == nil {
			report.Checks[name] = Check{Status: pass}
			continue
		}
		failed(name, err)
		report.Status = fail
		report.Checks[name] = Check{Status: fail, Reason: reasonOf(err)}
	}
	return report
}

// reasonOf is what strangers may know of why a check fails: /health is public.
func reasonOf(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Message
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", healthTimeout)
	}
	return "it failed; the server's log says how"
}
