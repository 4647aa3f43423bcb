package web

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/fault"
)

func TestHealthRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health
		var runs atomic.Int32
		hang := make(chan struct{})
		checks := map[string]func(context.Context) error{
			"good":     func(context.Context) error { return nil },
			"fault":    func(context.Context) error { return fault.New(fault.Unavailable, "it is away") },
			"secret":   func(context.Context) error { return errors.New("password is hunter2") },
			"panic":    func(context.Context) error { panic("password is hunter2") },
			"obedient": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			"hangs":    func(context.Context) error { runs.Add(1); <-hang; return nil },
		}
		want := map[string]string{
			"good": "", "fault": "it is away", "secret": "it failed; the server's log says how",
			"panic": "it failed; the server's log says how", "obedient": "no answer within 2s", "hangs": "no answer within 2s",
		}
		for range 3 {
			begun := time.Now()
			failed := map[string]bool{}
			report := h.round(checks, func(name string, _ error) { failed[name] = true })
			if took := time.Since(begun); took != healthTimeout {
				t.Errorf("the round took %v", took)
			}
			if report.Status != fail || len(failed) != 5 {
				t.Errorf("%+v, failed %v", report, failed)
			}
			for name, reason := range want {
				if c := report.Checks[name]; c.Reason != reason || (c.Status == pass) != (reason == "") {
					t.Errorf("%s: %+v, want the reason %q", name, c, reason)
				}
			}
		}
		if runs := runs.Load(); runs != 1 {
			t.Errorf("a check that hangs was started %d times", runs)
		}
		close(hang)
		synctest.Wait()
		if c := h.round(checks, func(string, error) {}).Checks["hangs"]; c.Status != pass {
			t.Errorf("the check that has ended: %+v", c)
		}
	})
}

func TestStatuses(t *testing.T) {
	for kind := fault.Internal; kind <= fault.Unavailable; kind++ {
		if status := statusOf[kind]; status < 400 || http.StatusText(status) == "" {
			t.Errorf("kind %d has the status %d", kind, status)
		}
	}
}
