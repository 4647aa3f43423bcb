package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestAlertIsDue(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	before := func(at time.Duration) raised { return raised{id: "a", at: ago(at), newest: ago(at)} }
	ended := func(at time.Duration) raised { r := before(at); r.over = ago(time.Minute); return r }
	never := raised{none: true}
	grew := func(newest time.Time) condition { return condition{newest: newest} }
	for _, tt := range []struct {
		name string
		s    alertStand
		want bool
	}{
		{"for the first time", alertStand{up: true, condition: grew(now), last: never}, true},
		{"there is no reason", alertStand{condition: grew(now), last: never}, false},
		{"the cooldown is just over", alertStand{up: true, condition: grew(now), last: before(30 * time.Minute)}, true},
		{"the cooldown is not quite over", alertStand{up: true, condition: grew(now), last: before(30*time.Minute - 1)}, false},
		{"nothing has come since", alertStand{up: true, condition: grew(ago(time.Hour)), last: before(time.Hour)}, false},
		{"nothing has come since, though it was over", alertStand{up: true, condition: grew(ago(time.Hour)), last: ended(time.Hour)}, false},
		{"one has come since", alertStand{up: true, condition: grew(ago(time.Hour - 1)), last: before(time.Hour)}, true},
		{"a lasting matter, for the first time", alertStand{up: true, last: never}, true},
		{"it lasts", alertStand{up: true, last: before(24 * time.Hour)}, false},
		{"it was over, and is back", alertStand{up: true, last: ended(30 * time.Minute)}, true},
		{"it is back before the cooldown is over", alertStand{up: true, last: ended(30*time.Minute - 1)}, false},
		{"it is over", alertStand{last: ended(24 * time.Hour)}, false},
	} {
		tt.s.now = now
		if got := tt.s.due(30 * time.Minute); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// alertsOf makes the alerts of a server of its own, with retries that a test need not wait for.
func alertsOf(t *testing.T, d *Dispatcher, url string, change ...func(*config.Alert)) *Alerts {
	t.Helper()
	o := config.Alert{Threshold: 3, Window: time.Hour, Cooldown: 30 * time.Minute, Queue: 15 * time.Minute}
	if url != "" {
		o.WebhookURL = config.NewSecret([]byte(url))
	}
	for _, f := range change {
		f(&o)
	}
	a := NewAlerts(d.log, AlertOptions{Alert: o, PublicURL: "https://sealpost.example"})
	a.retry = []time.Duration{time.Millisecond, time.Millisecond}
	t.Cleanup(a.client.CloseIdleConnections)
	return a
}

// bury makes dead letters.
func bury(t *testing.T, d *Dispatcher, endpointID string, n int) (ids []string) {
	t.Helper()
	for range n {
		id := accept(t, d, endpointID, "x")
		if _, err := d.DeadLetterJob(t.Context(), admin, id, "not wanted"); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func look(t *testing.T, alerts ...*Alerts) {
	t.Helper()
	var all sync.WaitGroup
	for _, a := range alerts {
		all.Go(func() {
			if err := a.look(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// state is how the alert of dead letters stands.
func state(t *testing.T, a *Alerts) AlertState {
	t.Helper()
	return stateOf(t, a, alertDead)
}

func stateOf(t *testing.T, a *Alerts, name string) AlertState {
	t.Helper()
	states, err := a.States(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range states {
		if s.Name != AlertNames()[i] {
			t.Errorf("state %d is %s's", i, s.Name)
		}
		if (s.Sentence != "") != s.Up {
			t.Errorf("%s: up %t, and says %q", s.Name, s.Up, s.Sentence)
		}
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no alert %s", name)
	return AlertState{}
}

// told are the alert events of a log, the oldest first.
func told(t *testing.T, d *Dispatcher) []string {
	t.Helper()
	var actions []string
	for _, action := range []string{"raised", "failed", "sent"} {
		list, err := d.log.Events(t.Context(), audit.Filter{Action: "dispatch.alert." + action}, store.Page{Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Items {
			if e.Actor.ID != "system:alerts" || e.Entity != "Alert" || !store.ValidID(e.EntityID) {
				t.Errorf("the event is %+v", e)
			}
			actions = append(actions, action)
		}
	}
	return actions
}

func TestAlertIsRaisedOnceByAllServers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "Ledger <!here>", URL: rc.URL})
		if err != nil {
			t.Fatal(err)
		}
		one, two := alertsOf(t, d, rc.URL+"/hook/very-secret"), alertsOf(t, newDispatcher(t, st, fast()), rc.URL+"/hook/very-secret")
		bury(t, d, e.ID, 2)
		look(t, one, two)
		if s := state(t, one); s.Up || s.Count != 2 || !s.RaisedAt.IsZero() || s.Delivery != "" {
			t.Errorf("below the threshold: %+v", s)
		}
		dead := bury(t, d, e.ID, 2)
		look(t, one, two, one, two, one, two)
		look(t, one, two)
		got := rc.all()
		if len(got) != 1 {
			t.Fatalf("%d alerts were sent", len(got))
		}
		var m alertMessage
		if err := json.Unmarshal([]byte(got[0].body), &m); err != nil {
			t.Fatal(err)
		}
		if m.Type != "dispatch.dead_letter" || m.Timestamp.IsZero() || !store.ValidID(m.Data.AlertID) || m.Data.Count != 4 || m.Data.Threshold != 3 ||
			m.Data.WindowMinutes != 60 || m.Data.ByReason[Operator] != 4 || len(m.Data.Endpoints) != 1 || m.Data.Endpoints[0] != (alertEndpoint{ID: e.ID, Name: "Ledger <!here>", Count: 4}) {
			t.Errorf("the alert is %s", got[0].body)
		}
		if want := "Sealpost: 4 dead letters within 60 minutes (alert threshold 3): 4 OPERATOR. Most at: Ledger  !here  (4). " +
			"https://sealpost.example/jobs?status=DEAD_LETTER"; m.Text != want {
			t.Errorf("the alert says %q", m.Text)
		}
		if h := got[0].head; h.Get("Content-Type") != "application/json" {
			t.Errorf("its headers are %v", h)
		}
		s := state(t, two)
		if !s.Up || s.Count != 4 || s.RaisedAt.IsZero() || s.Delivery != AlertSent || s.SentAt.IsZero() {
			t.Errorf("raised: %+v", s)
		}
		if got := fmt.Sprint(told(t, d)); got != "[raised sent]" {
			t.Errorf("the events are %s", got)
		}
		// During the cooldown more may die, unsaid.
		bury(t, d, e.ID, 1)
		look(t, one, two)
		if n := len(rc.all()); n != 1 {
			t.Errorf("%d alerts within the cooldown", n)
		}
		// A replay takes a dead letter from the count.
		for _, id := range dead {
			if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		if s := state(t, one); !s.Up || s.Count != 3 {
			t.Errorf("after two replays: %+v", s)
		}
		// Without a cooldown: what is new is said, and only that.
		eager := alertsOf(t, d, rc.URL, func(o *config.Alert) { o.Cooldown = 0 })
		look(t, eager)
		look(t, eager)
		if n := len(rc.all()); n != 2 {
			t.Errorf("%d alerts after a new death without a cooldown", n)
		}
	})
}

func TestAlertWindow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		bury(t, d, e.ID, 3)
		write(t, st, `update dispatch_job set dead_lettered_at = dead_lettered_at - $1`, time.Hour.Microseconds())
		a := alertsOf(t, d, "")
		look(t, a)
		if s := state(t, a); s.Up || s.Count != 0 {
			t.Errorf("they died before the window: %+v", s)
		}
		bury(t, d, e.ID, 3)
		look(t, a)
		if s := state(t, a); !s.Up || s.Delivery != AlertUnsent || s.RaisedAt.IsZero() {
			t.Errorf("without a webhook: %+v", s)
		}
		if got := fmt.Sprint(told(t, d)); got != "[raised]" {
			t.Errorf("the events are %s", got)
		}
	})
}

func TestAlertIsSentAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, func(n int, w http.ResponseWriter, r *http.Request) {
			switch n {
			case 1:
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			case 2:
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		e := endpoint(t, d, rc.URL)
		bury(t, d, e.ID, 3)
		a := alertsOf(t, d, rc.URL+"/hook/very-secret")
		look(t, a)
		if s := state(t, a); s.Delivery != AlertWaiting || s.LastError != "it answered 307 Temporary Redirect" {
			t.Errorf("after the first try: %+v", s)
		}
		eventually(t, func() bool { look(t, a); return state(t, a).Delivery == AlertSent }, func() string { return fmt.Sprintf("%+v", state(t, a)) })
		got := rc.all()
		if len(got) != 3 || got[0].body != got[2].body {
			t.Errorf("%d tries, of %v", len(got), got)
		}
		if got := fmt.Sprint(told(t, d)); got != "[raised failed failed sent]" {
			t.Errorf("the events are %s", got)
		}
	})
}

func TestAlertIsGivenUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		e := endpoint(t, d, "http://127.0.0.1:9/")
		bury(t, d, e.ID, 3)
		a := alertsOf(t, d, "http://127.0.0.1:9/hook/very-secret")
		eventually(t, func() bool { look(t, a); return state(t, a).Delivery == AlertFailed }, func() string { return fmt.Sprintf("%+v", state(t, a)) })
		look(t, a)
		if got := fmt.Sprint(told(t, d)); got != "[raised failed failed failed]" {
			t.Errorf("the events are %s", got)
		}
		if s := state(t, a); strings.Contains(s.LastError, "secret") || !strings.Contains(s.LastError, "refused") {
			t.Errorf("the error is %q", s.LastError)
		}
		if n := count(t, d, `select count(*) from "AuditLog" where body like '%very-secret%'`); n != 0 {
			t.Errorf("the webhook's URL is in %d events", n)
		}
	})
}

// A server that ends while it sends leaves the try to the others, once its claim is over.
func TestAlertClaimEnds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e := endpoint(t, d, rc.URL)
		bury(t, d, e.ID, 3)
		one, two := alertsOf(t, d, rc.URL), alertsOf(t, newDispatcher(t, st, fast()), rc.URL)
		ctx, cancel := context.WithCancel(t.Context())
		one.client.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			look(t, two) // another server looks meanwhile, and sends nothing
			cancel()
			return nil, errors.New("cut")
		})
		if err := one.look(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(rc.all()); n != 0 {
			t.Errorf("two servers sent one alert")
		}
		eventually(t, func() bool { look(t, two); return state(t, two).Delivery == AlertSent }, func() string { return "it is never sent" })
		write(t, st, `update alert set sent_at = null, try_at = $1`, time.Now().Add(alertClaim).UnixMicro()) // as a claim leaves it
		look(t, one, two)
		if n := len(rc.all()); n != 1 {
			t.Errorf("sent %d times while somebody has claimed it", n)
		}
		write(t, st, `update alert set try_at = $1`, time.Now().Add(-time.Second).UnixMicro())
		look(t, two)
		if n := len(rc.all()); n != 2 {
			t.Errorf("sent %d times after the claim", n)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
