package dispatch

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// A trial carries what a job would, can be told from one, and leaves the endpoint as it is.
func TestTrials(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte("<script>\xff" + strings.Repeat("x", maxAnswer)))
		})
		e, secret, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "receiver", URL: rc.URL, Credentials: Credentials{Auth: &Auth{Kind: Bearer, Token: "t"}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.SetPaused(t.Context(), admin, e.ID, true, "moves"); err != nil {
			t.Fatal(err)
		}
		before, _ := d.Endpoint(t.Context(), e.ID)
		trial, err := d.Try(t.Context(), admin, e.ID)
		if err != nil || trial.Delivered || trial.StatusCode != http.StatusTeapot || trial.Error != "418 I'm a teapot" ||
			!strings.HasPrefix(trial.Answer, "<script>\uFFFDxxx") || len(trial.Answer) > maxAnswer+2 || trial.Took <= 0 {
			t.Errorf("the trial ended as %+v (%v)", trial, err)
		}
		got := rc.all()[0]
		wh, err := webhook.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		var payload struct {
			Type      string
			Timestamp time.Time
			Data      struct{ EndpointID string }
		}
		if err := wh.Verify([]byte(got.body), got.head); err != nil {
			t.Errorf("the signature: %v", err)
		}
		if err := json.Unmarshal([]byte(got.body), &payload); err != nil || payload.Type != TrialType || payload.Data.EndpointID != e.ID || time.Since(payload.Timestamp) > time.Minute {
			t.Errorf("arrived %s (%v)", got.body, err)
		}
		if got.id != trial.ID || !strings.HasPrefix(got.id, "test_") || got.head.Get("Idempotency-Key") != trial.ID || got.head.Get("Authorization") != "Bearer t" {
			t.Errorf("arrived with %v", got.head)
		}
		rc.answer = nil
		if trial, err := d.Try(t.Context(), admin, e.ID); err != nil || !trial.Delivered || trial.Error != "" {
			t.Errorf("the second ended as %+v (%v)", trial, err)
		}
		if after, err := d.Endpoint(t.Context(), e.ID); err != nil || !after.UpdatedAt.Equal(before.UpdatedAt) || !after.Paused {
			t.Errorf("the endpoint was %+v and is %+v (%v)", before, after, err)
		}
		if n := count(t, d, `select count(*) from dispatch_job`); n != 0 {
			t.Errorf("there are %d jobs", n)
		}
		events, err := d.log.Events(t.Context(), audit.Filter{EntityID: e.ID}, store.Page{Limit: 10})
		if err != nil || len(events.Items) != 6 {
			t.Fatalf("%d events: %v", len(events.Items), err)
		}
		for i, want := range []struct{ action, outcome string }{
			{"dispatch.endpoint.tested", string(audit.Success)},
			{"dispatch.endpoint.test_sent", string(audit.Success)},
			{"dispatch.endpoint.tested", string(audit.Failure)},
			{"dispatch.endpoint.test_sent", string(audit.Success)},
		} {
			if got := events.Items[i]; got.Action != want.action || got.Outcome != want.outcome || got.Actor.ID != admin.UserID {
				t.Errorf("event %d is %+v", i, got)
			}
		}
	})
}

// A trial goes where a job may go, waits no longer than its endpoint's jobs, and is refused where it
// cannot be made.
func TestTrialsThatFail(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		if _, err := d.Try(t.Context(), admin, store.NewID()); !fault.Is(err, fault.NotFound) {
			t.Errorf("an endpoint that is not there: %v", err)
		}
		hang := make(chan struct{})
		rc := receive(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		})
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "receiver", URL: rc.URL, TimeoutSeconds: 1})
		if err != nil {
			t.Fatal(err)
		}
		if trial, err := d.Try(t.Context(), admin, e.ID); err != nil || trial.Delivered || trial.StatusCode != 0 || trial.Error != "no answer within 1s" {
			t.Errorf("one that hangs: %+v, %v", trial, err)
		}
		// As many as may be at once, and one more.
		slow, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "slow", URL: rc.URL, TimeoutSeconds: MaxTimeoutSeconds})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var trials sync.WaitGroup
		for range maxTrials {
			trials.Go(func() { _, _ = d.Try(ctx, admin, slow.ID) }) // withdrawn below
		}
		eventually(t, func() bool { return len(d.trials) == maxTrials }, func() string { return "the trials have not begun" })
		if _, err := d.Try(t.Context(), admin, slow.ID); !fault.Is(err, fault.TooMany) {
			t.Errorf("one more than may be: %v", err)
		}
		cancel()
		trials.Wait()
		close(hang)

		o := fast()
		o.AllowPrivateNetworks = false
		guarded := newDispatcher(t, st, o)
		arrived := len(rc.all())
		if trial, err := guarded.Try(t.Context(), admin, e.ID); err != nil || !strings.Contains(trial.Error, "not allowed") || len(rc.all()) != arrived {
			t.Errorf("a forbidden address: %+v, %v", trial, err)
		}
		write(t, st, `update dispatch_endpoint set secrets = $1`, []byte("not a box"))
		if _, err := d.Try(t.Context(), admin, e.ID); !fault.Is(err, fault.Conflict) {
			t.Errorf("without its secret: %v", err)
		}
	})
}
