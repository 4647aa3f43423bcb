package dispatch

import (
	"net/http"
	"strings"
	"testing"
	"time"

	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestAJobArrivesSigned(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("thanks")) })
		e, secret, err := d.CreateEndpoint(t.Context(), admin, NewEndpoint{Name: "receiver", URL: rc.URL + "/hook?token=abc"})
		if err != nil {
			t.Fatal(err)
		}
		run(t, d)
		id := accept(t, d, e.ID, "hello")
		job := await(t, d, id, Dispatched)
		if job.AttemptCount != 1 || job.DispatchedAt.IsZero() || job.LastError != "" {
			t.Errorf("the job is %+v", job)
		}
		got := rc.all()[0]
		wh, err := webhook.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := wh.Verify([]byte(got.body), got.head); err != nil {
			t.Errorf("the signature: %v", err)
		}
		if got.body != "hello" || got.head.Get("Idempotency-Key") != id || got.id != id || got.head.Get("Content-Type") != "text/plain" {
			t.Errorf("arrived %q with %v", got.body, got.head)
		}
		attempts, err := d.Attempts(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(attempts) != 1 || attempts[0].Outcome != Delivered || attempts[0].StatusCode != 200 || attempts[0].Answer != "thanks" {
			t.Errorf("attempts: %+v", attempts)
		}
		events, err := d.log.Events(t.Context(), audit.Filter{EntityID: id}, store.Page{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(events.Items) != 2 || events.Items[0].Action != "dispatch.job.dispatched" || events.Items[1].Action != "dispatch.job.accepted" ||
			events.Items[1].Actor.ID != admin.UserID || events.Items[1].RequestID != "r1" {
			t.Errorf("events: %+v", events.Items)
		}
		if n := count(t, d, `select count(*) from dispatch_payload where job_id = $1 and body is not null`, id); n != 1 {
			t.Errorf("%d payloads", n)
		}
	})
}

func TestAFailingJobIsRetriedDiesAndIsReplayed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		bad := receive(t, status(http.StatusServiceUnavailable))
		good := receive(t, nil)
		e := endpoint(t, d, bad.URL)
		run(t, d)
		id := accept(t, d, e.ID, "x")
		job := await(t, d, id, DeadLetter)
		if job.AttemptCount != 3 || job.DeadLetterReason != Exhausted || job.LastError != "503 Service Unavailable" || job.DeadLetteredAt.IsZero() {
			t.Errorf("the dead job is %+v", job)
		}
		if _, err := d.ChangeEndpoint(t.Context(), admin, e.ID, EndpointChange{URL: &good.URL}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Replay(t.Context(), admin, id, ReplayRequest{}); err != nil {
			t.Fatal(err)
		}
		job = await(t, d, id, Dispatched)
		if job.AttemptCount != 4 || job.DeadLetterReason != "" || !job.DeadLetteredAt.IsZero() {
			t.Errorf("the replayed job is %+v", job)
		}
		arrived := append(bad.all(), good.all()...)
		for _, a := range arrived {
			if a.id != id || a.head.Get("Idempotency-Key") != id {
				t.Errorf("an attempt carries the key %q, want %q", a.id, id)
			}
		}
		attempts, _ := d.Attempts(t.Context(), id)
		if len(attempts) != 4 || attempts[0].Outcome != Failed || attempts[3].Outcome != Delivered {
			t.Errorf("attempts: %+v", attempts)
		}
	})
}

func TestPermanentFailures(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		run(t, d)
		gone := receive(t, status(http.StatusGone))
		e := endpoint(t, d, gone.URL)
		job := await(t, d, accept(t, d, e.ID, "x"), DeadLetter)
		if job.DeadLetterReason != Permanent || job.AttemptCount != 1 {
			t.Errorf("410 made %+v", job)
		}
		if e, err := d.Endpoint(t.Context(), e.ID); err != nil || !e.Paused || e.PausedReason == "" {
			t.Errorf("410 left the endpoint %+v (%v)", e, err)
		}
		// A paused endpoint keeps its jobs until it is resumed.
		waiting := accept(t, d, e.ID, "y")
		time.Sleep(2 * pollEvery)
		if job, _ := d.Get(t.Context(), admin, waiting); job.Status != Pending {
			t.Errorf("a job of a paused endpoint is %s", job.Status)
		}
		gone.answer = status(http.StatusNoContent)
		if _, err := d.SetPaused(t.Context(), admin, e.ID, false, ""); err != nil {
			t.Fatal(err)
		}
		await(t, d, waiting, Dispatched)

		unprocessable := receive(t, status(http.StatusUnprocessableEntity))
		job = await(t, d, accept(t, d, endpoint(t, d, unprocessable.URL).ID, "x"), DeadLetter)
		if job.DeadLetterReason != Permanent || job.AttemptCount != 1 {
			t.Errorf("422 made %+v", job)
		}
	})
}

func TestForbiddenAddressesAreNotConnectedTo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.AllowPrivateNetworks = false
		d := newDispatcher(t, st, o)
		run(t, d)
		rc := receive(t, nil)
		for _, url := range []string{rc.URL, strings.Replace(rc.URL, "127.0.0.1", "localhost", 1)} {
			job := await(t, d, accept(t, d, endpoint(t, d, url).ID, "x"), DeadLetter)
			if job.DeadLetterReason != Blocked || !strings.Contains(job.LastError, "not allowed") {
				t.Errorf("%s made %+v", url, job)
			}
		}
		if n := len(rc.all()); n != 0 {
			t.Errorf("%d requests arrived at a forbidden address", n)
		}
	})
}

func TestTimesOfAJob(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		e := endpoint(t, d, rc.URL)
		run(t, d)
		after := time.Now().Add(700 * time.Millisecond)
		a, err := d.Accept(t.Context(), admin, NewJob{EndpointID: e.ID, ContentType: "text/plain", DeliverAfter: after}, audit.Once{}, renderJob)
		if err != nil {
			t.Fatal(err)
		}
		await(t, d, idOf(t, a), Dispatched)
		if early := after.Sub(rc.all()[0].at); early > 0 {
			t.Errorf("delivered %s too early", early)
		}
		// A job whose time is over while its endpoint is paused dies without an attempt.
		if _, err := d.SetPaused(t.Context(), admin, e.ID, true, "maintenance"); err != nil {
			t.Fatal(err)
		}
		a, err = d.Accept(t.Context(), admin, NewJob{EndpointID: e.ID, ContentType: "text/plain", ExpireAt: time.Now().Add(300 * time.Millisecond)}, audit.Once{}, renderJob)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond)
		if _, err := d.SetPaused(t.Context(), admin, e.ID, false, ""); err != nil {
			t.Fatal(err)
		}
		job := await(t, d, idOf(t, a), DeadLetter)
		if job.DeadLetterReason != Expired || job.AttemptCount != 0 {
			t.Errorf("the expired job is %+v", job)
		}
		if _, err := d.Replay(t.Context(), admin, job.ID, ReplayRequest{}); !fault.Is(err, fault.Conflict) {
			t.Errorf("replay of an expired job without a new end: %v", err)
		}
		if _, err := d.Replay(t.Context(), admin, job.ID, ReplayRequest{ExpireAt: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		await(t, d, job.ID, Dispatched)
	})
}
