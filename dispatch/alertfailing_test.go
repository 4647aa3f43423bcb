package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sealpost/config"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestAlertOfAnEndpointThatFails(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		hook := receive(t, nil)
		d := newDispatcher(t, st, fast())
		a := alertsOf(t, d, hook.URL)
		rc := receive(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Content-Type") == "text/plain" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		ledger, err := newNamed(t, d, "Ledger", rc.URL)
		if err != nil {
			t.Fatal(err)
		}
		other := endpoint(t, d, rc.URL)
		stop := run(t, d)
		await(t, d, accept(t, d, ledger.ID, "x"), DeadLetter)
		await(t, d, accept(t, d, other.ID, "x"), DeadLetter)
		stop()
		age := func(id string, since time.Duration) {
			t.Helper()
			write(t, st, `update dispatch_breaker set failing_since = $1 where endpoint_id = $2`, time.Now().Add(-since).UnixMicro(), id)
		}
		failing := func(name string, want int) {
			t.Helper()
			if s := stateOf(t, a, alertFailing); s.Count != want || s.Up != (want > 0) {
				t.Errorf("%s: %+v, want %d", name, s, want)
			}
		}
		age(ledger.ID, failingFor)
		failing("nothing waits for it", 0)
		waits := accept(t, d, ledger.ID, "x")
		accept(t, d, other.ID, "x")
		age(ledger.ID, failingFor-30*time.Second)
		look(t, a)
		failing("not quite an hour", 0)
		age(ledger.ID, failingFor)
		look(t, a, alertsOf(t, newDispatcher(t, st, fast()), hook.URL))
		look(t, a)
		s := stateOf(t, a, alertFailing)
		if !s.Up || s.Count != 1 || s.Threshold != 1 || s.Window != time.Hour || s.Delivery != AlertSent || s.Path != "/endpoints" ||
			s.Sentence != "1 endpoint has failed for 60 minutes or longer" {
			t.Errorf("after an hour: %+v", s)
		}
		got := hook.all()
		if len(got) != 1 {
			t.Fatalf("%d alerts were sent", len(got))
		}
		var m alertMessage
		if err := json.Unmarshal([]byte(got[0].body), &m); err != nil {
			t.Fatal(err)
		}
		if m.Type != alertFailing || m.Data.Count != 1 || len(m.Data.Endpoints) != 1 || m.Data.Endpoints[0].ID != ledger.ID || m.Data.Endpoints[0].Since == nil ||
			m.Data.ByReason != nil || !strings.HasPrefix(m.Text, "Sealpost: 1 endpoint has failed for 60 minutes or longer. Most at: Ledger (since 20") ||
			!strings.HasSuffix(m.Text, " UTC). https://sealpost.example/endpoints") {
			t.Errorf("the alert is %s", got[0].body)
		}
		// It is told once, and another endpoint anew, behind the cooldown.
		age(other.ID, failingFor)
		look(t, a)
		if n := len(hook.all()); n != 1 {
			t.Errorf("%d alerts within the cooldown", n)
		}
		write(t, st, `update alert set newest_at = $1`, time.Now().Add(-time.Minute).UnixMicro()) // Ledger's hour was over then
		eager := alertsOf(t, d, hook.URL, func(o *config.Alert) { o.Cooldown = 0 })
		look(t, eager)
		look(t, eager)
		if n := len(hook.all()); n != 2 {
			t.Errorf("%d alerts after another endpoint", n)
		}
		failing("both", 2)
		// An operator's pause is no failure, and the receiver's own end is, after its hour.
		if _, err := d.SetPaused(t.Context(), admin, other.ID, true, "for the test"); err != nil {
			t.Fatal(err)
		}
		failing("one is paused", 1)
		write(t, st, `update dispatch_endpoint set paused_reason = $1 where id = $2`, goneReason, other.ID)
		failing("one has just gone", 1)
		write(t, st, `update dispatch_endpoint set updated_at = $1 where id = $2`, time.Now().Add(-failingFor).UnixMicro(), other.ID)
		failing("one is gone for an hour", 2)
		// One that is being sent is still one that waits, and a success ends it.
		write(t, st, `update dispatch_job set due_at = null, lease_until = $1 where id = $2`, time.Now().Add(time.Minute).UnixMicro(), waits)
		failing("its job is in flight", 2)
		id := acceptAs(t, d, ledger.ID, "application/json")
		run(t, d)
		await(t, d, id, Dispatched)
		eventually(t, func() bool { return stateOf(t, a, alertFailing).Count == 1 }, func() string { return "a success does not end it" })
	})
}

func newNamed(t *testing.T, d *Dispatcher, name, url string) (Endpoint, error) {
	t.Helper()
	e, _, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: name, URL: url})
	return e, err
}

func acceptAs(t *testing.T, d *Dispatcher, endpointID, contentType string) string {
	t.Helper()
	a, err := d.Accept(t.Context(), admin, NewJob{EndpointID: endpointID, ContentType: contentType, Payload: []byte(`{}`)}, noKey, renderJob)
	if err != nil {
		t.Fatal(err)
	}
	return idOf(t, a)
}

func TestAlertOfAQueueThatIsLate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		hook := receive(t, nil)
		d := newDispatcher(t, st, fast())
		a := alertsOf(t, d, hook.URL, func(o *config.Alert) { o.Cooldown = 0 })
		ledger, err := newNamed(t, d, "Ledger", hook.URL)
		if err != nil {
			t.Fatal(err)
		}
		first, second := accept(t, d, ledger.ID, "x"), accept(t, d, ledger.ID, "x")
		late := func(id string, by time.Duration) {
			t.Helper()
			write(t, st, `update dispatch_job set due_at = $1 where id = $2`, time.Now().Add(-by).UnixMicro(), id)
		}
		late(first, 15*time.Minute-30*time.Second)
		look(t, a)
		if s := stateOf(t, a, alertQueue); s.Up || s.Count != 0 {
			t.Errorf("before the limit: %+v", s)
		}
		late(first, 40*time.Minute+30*time.Second)
		late(second, 15*time.Minute)
		look(t, a)
		look(t, a)
		s := stateOf(t, a, alertQueue)
		if !s.Up || s.Count != 2 || s.Window != 15*time.Minute || s.Path != "/jobs" ||
			s.Sentence != "2 jobs have been due for more than 15 minutes, the first for 40" {
			t.Errorf("behind it: %+v", s)
		}
		got := hook.all()
		if len(got) != 1 || !strings.Contains(got[0].body, `"type":"dispatch.queue_late"`) || !strings.Contains(got[0].body, "Most at: Ledger (2, since ") {
			t.Fatalf("%d alerts: %v", len(got), got)
		}
		// What an operator has paused, or told to be sent at once, is looked after.
		if _, err := d.SetPaused(t.Context(), admin, ledger.ID, true, "for the test"); err != nil {
			t.Fatal(err)
		}
		look(t, a)
		if s := stateOf(t, a, alertQueue); s.Up {
			t.Errorf("paused: %+v", s)
		}
		if _, err := d.SetPaused(t.Context(), admin, ledger.ID, false, ""); err != nil {
			t.Fatal(err)
		}
		look(t, a) // it had ended, and is back
		if n := len(hook.all()); n != 2 {
			t.Errorf("%d alerts after it had ended and came back", n)
		}
		write(t, st, `update dispatch_job set due_at = $1`, atOnce)
		if s := stateOf(t, a, alertQueue); s.Up {
			t.Errorf("at once: %+v", s)
		}
		if got := fmt.Sprint(told(t, d)); got != "[raised raised sent sent]" {
			t.Errorf("the events are %s", got)
		}
	})
}

func TestAlertIsSigned(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		key := []byte("thirty-two bytes of a secret key")
		hook, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			t.Fatal(err)
		}
		rc := receive(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.WriteHeader(http.StatusBadGateway)
			}
		})
		d := newDispatcher(t, st, fast())
		bury(t, d, endpoint(t, d, rc.URL).ID, 3)
		a := alertsOf(t, d, rc.URL, func(o *config.Alert) { o.WebhookSecret = config.NewSecret(key) })
		eventually(t, func() bool { look(t, a); return state(t, a).Delivery == AlertSent }, func() string { return fmt.Sprintf("%+v", state(t, a)) })
		got := rc.all()
		if len(got) != 2 || got[0].id != got[1].id || !store.ValidID(got[0].id) {
			t.Fatalf("%v", got)
		}
		for _, g := range got {
			if err := hook.Verify([]byte(g.body), g.head); err != nil {
				t.Errorf("the signature does not hold: %v", err)
			}
			if err := hook.Verify([]byte(g.body+" "), g.head); err == nil {
				t.Error("the signature holds for another body")
			}
		}
	})
}

// Slack's hosts get Slack's form. They are not there to be asked, so what would be sent is caught on its way.
func TestAlertForSlack(t *testing.T) {
	for target, want := range map[string]bool{
		"https://hooks.slack.com/services/T0/B0/xyz": true, "https://hooks.slack-gov.com/services/T0/B0/xyz": true,
		"https://hooks.slack.com.example.org/": false, "https://example.org/hooks.slack.com": false, "https://hooks.slack.com:8443/x": true,
	} {
		if got := forSlack(target); got != want {
			t.Errorf("%s: %t", target, got)
		}
	}
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		rc := receive(t, nil)
		d := newDispatcher(t, st, fast())
		bury(t, d, endpoint(t, d, rc.URL).ID, 3)
		a := alertsOf(t, d, "https://hooks.slack.com/services/T0/B0/xyz")
		direct := a.client.Transport
		a.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.String() != "https://hooks.slack.com/services/T0/B0/xyz" {
				return nil, errors.New("it goes elsewhere")
			}
			to, err := http.NewRequestWithContext(r.Context(), r.Method, rc.URL, r.Body)
			if err != nil {
				return nil, err
			}
			to.Header = r.Header
			return direct.RoundTrip(to)
		})
		look(t, a)
		got := rc.all()
		if len(got) != 1 {
			t.Fatalf("%d alerts", len(got))
		}
		var body map[string]string
		if err := json.Unmarshal([]byte(got[0].body), &body); err != nil || len(body) != 1 || !strings.HasPrefix(body["text"], "Sealpost: 3 dead letters within 60 minutes") {
			t.Errorf("Slack gets %s", got[0].body)
		}
		escaped, err := slackBody(`{"text":"a & b <!channel>"}`)
		if want := `{"text":"a \u0026amp; b \u0026lt;!channel\u0026gt;"}`; err != nil || escaped != want {
			t.Errorf("%s, %v", escaped, err)
		}
	})
}
