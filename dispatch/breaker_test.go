package dispatch

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/store"
	"sealpost/store/storetest"
)

func TestHealthOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer Answer
		ours   error
		want   health
	}{
		{"taken", Answer{Status: 204}, nil, well},
		{"refused for good", Answer{Status: 422}, nil, well},
		{"no longer there", Answer{Status: 410}, nil, well},
		{"in conflict with another of the job's attempts", Answer{Status: 409}, nil, well},
		{"too early for the job", Answer{Status: 425}, nil, well},
		{"too many requests", Answer{Status: 429}, nil, ill},
		{"it took too long to read", Answer{Status: 408}, nil, ill},
		{"a redirect", Answer{Status: 302}, nil, ill},
		{"another protocol", Answer{Status: 101}, nil, ill},
		{"broken", Answer{Status: 500}, nil, ill},
		{"a status nobody knows", Answer{Status: 799}, nil, ill},
		{"no answer", Answer{Err: errors.New("refused")}, nil, ill},
		{"no token", Answer{Err: tokenError{errors.New("503")}}, nil, ill},
		{"a forbidden address", Answer{Err: fmt.Errorf("%w: 10.0.0.1", errBlocked)}, nil, silent},
		{"what failed here", Answer{}, errUnreadable, silent},
		{"what was cancelled here", Answer{Err: errCancelled}, errCancelled, silent},
	} {
		if got := healthOf(tt.answer, tt.ours); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestBreakerAfter(t *testing.T) {
	rules := breakerRules{after: 3, over: 10 * time.Second, wait: 10 * time.Second, most: 35 * time.Second}
	at := func(seconds int) time.Time { return time.Unix(int64(1_000+seconds), 0) }
	closed := func(failures, since int) breaker { return breaker{failures: failures, since: at(since)} }
	open := func(trips, until int) breaker {
		return breaker{failures: 3, since: at(0), trips: trips, until: at(until)}
	}
	for _, tt := range []struct {
		name   string
		before breaker
		health health
		leased int
		now    int
		want   breaker
	}{
		{"well stays well", breaker{}, well, 0, 1, breaker{}},
		{"a first failure", breaker{}, ill, 0, 1, closed(1, 1)},
		{"a second", closed(1, 1), ill, 0, 20, closed(2, 1)},
		{"enough, and too soon", closed(2, 1), ill, 0, 10, closed(3, 1)},
		{"more than enough, and long enough", closed(7, 1), ill, 0, 11, breaker{failures: 8, since: at(1), trips: 1, until: at(21)}},
		{"one success makes it well", closed(7, 1), well, 0, 11, breaker{}},
		{"what says nothing changes nothing", closed(7, 1), silent, 0, 11, closed(7, 1)},
		{"sent before it opened", open(1, 21), ill, 5, 22, open(1, 21)},
		{"by an operator's wish, while it is open", open(1, 21), ill, 20, 20, open(1, 21)},
		{"the probe fails", open(1, 21), ill, 21, 24, open(2, 44)},
		{"and again", open(2, 44), ill, 50, 51, open(3, 86)},
		{"it waits no longer than it may", open(9, 44), ill, 50, 51, open(10, 86)},
		{"the probe is taken", open(3, 44), well, 50, 51, breaker{}},
		{"any success closes it", open(3, 44), well, 5, 20, breaker{}},
		{"the probe says nothing", open(1, 21), silent, 30, 31, open(1, 21)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.before.after(tt.health, at(tt.leased), at(tt.now), rules); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	if got := []time.Duration{rules.waitAt(1), rules.waitAt(2), rules.waitAt(3), rules.waitAt(100)}; fmt.Sprint(got) != "[10s 20s 35s 35s]" {
		t.Errorf("it waits %v", got)
	}
}

func TestBreakerState(t *testing.T) {
	now := time.Now()
	for want, b := range map[BreakerState]Breaker{
		BreakerClosed: {Failures: 3, FailingSince: now}, BreakerOpen: {OpenUntil: now.Add(1)}, BreakerHalfOpen: {OpenUntil: now},
	} {
		if got := b.State(now); got != want {
			t.Errorf("%+v is %s, want %s", b, got, want)
		}
	}
}

// An endpoint that fails is sent nothing for a while: its jobs wait and keep their budget, those of others
// go on. Then one probe goes at a time, over all servers, and what it is answered with decides.
func TestABreakerParksJobs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := fast()
		o.Backoff, o.MaxAttempts = time.Millisecond, 12
		rules := breakerRules{after: 5, wait: time.Hour, most: time.Hour}
		servers := []*Dispatcher{newDispatcher(t, st, o)}
		if st.Dialect() == store.Postgres {
			servers = append(servers, newDispatcher(t, st, o))
		}
		d := servers[0]
		var broken atomic.Bool
		broken.Store(true)
		var mu sync.Mutex
		now, most := 0, 0
		rc := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			if broken.Load() {
				time.Sleep(20 * time.Millisecond) // long enough for a second one to come, if it may
				w.WriteHeader(http.StatusBadGateway)
			}
			mu.Lock()
			now--
			mu.Unlock()
		})
		healthy := receive(t, nil)
		e, other := endpoint(t, d, rc.URL), endpoint(t, d, healthy.URL)
		for _, d := range servers {
			d.breakers = rules
			run(t, d)
		}
		var ids []string
		for range 40 {
			ids = append(ids, accept(t, d, e.ID, "x"))
		}
		state := func() BreakerState {
			t.Helper()
			e, err := d.Endpoint(t.Context(), e.ID)
			if err != nil {
				t.Fatal(err)
			}
			return e.Breaker.State(time.Now())
		}
		settled := func() bool {
			return state() == BreakerOpen && count(t, d, `select count(*) from dispatch_job where lease_until is not null`) == 0
		}
		eventually(t, settled, func() string { return "the breaker is " + string(state()) })
		before := len(rc.all())
		await(t, d, accept(t, d, other.ID, "y"), Dispatched)
		time.Sleep(4 * pollEvery)
		if n := len(rc.all()); n != before {
			t.Errorf("%d more were sent to an endpoint whose breaker is open", n-before)
		}
		spent := func() int {
			return count(t, d, `select sum(attempt_count) from dispatch_job where endpoint_id = $1`, e.ID)
		}
		if n := spent(); n != before || before > rules.after+2*8 { // what was in flight when it opened may be as much as the cap, twice
			t.Errorf("%d attempts were spent, and %d sent", n, before)
		}

		// What an operator wants goes all the same, and if it fails the breaker stays as it is.
		if jobs, err := d.RetryDue(t.Context(), admin, 2, true); err != nil || len(jobs) != 2 || jobs[0].AttemptCount+jobs[1].AttemptCount < 2 {
			t.Errorf("retry-due: %+v, %v", jobs, err)
		}
		eventually(t, func() bool { return len(rc.all()) == before+2 }, func() string { return fmt.Sprint(len(rc.all()), " sent, before ", before) })
		eventually(t, settled, func() string { return "the breaker is " + string(state()) })

		// Its time is over: one probe, and no second beside it.
		mu.Lock()
		most = 0
		mu.Unlock()
		before = len(rc.all())
		write(t, st, `update dispatch_breaker set open_until = 1`)
		d.Wake()
		eventually(t, func() bool { return len(rc.all()) > before && settled() }, func() string { return "no probe has come" })
		mu.Lock()
		if n := len(rc.all()); n != before+1 || most != 1 {
			t.Errorf("%d probes were sent, %d at once", n-before, most)
		}
		mu.Unlock()

		// The receiver is mended: the next probe is taken, and all others follow.
		broken.Store(false)
		write(t, st, `update dispatch_breaker set open_until = 1`)
		for _, id := range ids {
			await(t, d, id, Dispatched)
		}
		if n := count(t, d, `select count(*) from dispatch_breaker`); n != 0 || state() != BreakerClosed {
			t.Errorf("%d breakers are left, and this is %s", n, state())
		}
		for action, want := range map[string]int{"dispatch.breaker.opened": 1, "dispatch.breaker.closed": 1} {
			if n := count(t, d, `select count(*) from "AuditLog" where action = $1 and entity_id = $2`, action, e.ID); n != want {
				t.Errorf("%d events %s, want %d", n, action, want)
			}
		}
	})
}

// What an operator corrects is given a new chance at once: another URL, another credential, a resumption.
func TestACorrectionClosesTheBreaker(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		d := newDispatcher(t, st, fast())
		rc := receive(t, nil)
		run(t, d)
		for name, correct := range map[string]func(id string) error{
			"url": func(id string) error {
				_, err := d.ChangeEndpoint(t.Context(), admin, id, EndpointChange{URL: new(rc.URL + "/other")})
				return err
			},
			"credentials": func(id string) error {
				_, err := d.ChangeEndpoint(t.Context(), admin, id, EndpointChange{Credentials: &CredentialsChange{Auth: Change[Auth]{true, &Auth{Kind: Bearer, Token: "t"}}}})
				return err
			},
			"resumption": func(id string) error {
				if _, err := d.SetPaused(t.Context(), admin, id, true, ""); err != nil {
					return err
				}
				_, err := d.SetPaused(t.Context(), admin, id, false, "")
				return err
			},
		} {
			e := endpoint(t, d, rc.URL)
			write(t, st, `insert into dispatch_breaker (endpoint_id, failures, failing_since, trips, open_until) values ($1, 10, 1, 3, $2)`,
				e.ID, time.Now().Add(time.Hour).UnixMicro())
			id := accept(t, d, e.ID, name)
			if _, err := d.ChangeEndpoint(t.Context(), admin, e.ID, EndpointChange{Name: new("another name")}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * pollEvery)
			if job, err := d.Get(t.Context(), admin, id); err != nil || job.Status != Pending {
				t.Fatalf("%s: the parked job is %+v (%v)", name, job, err)
			}
			if err := correct(e.ID); err != nil {
				t.Fatal(err)
			}
			await(t, d, id, Dispatched)
		}
	})
}
