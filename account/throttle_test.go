package account

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestNextAttempt(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 26, 5, 0, time.UTC)
	limit := config.Throttle{Window: 5 * time.Minute, Block: 15 * time.Minute}
	for _, tt := range []struct {
		name   string
		before attempts
		after  attempts
		wait   time.Duration
	}{
		{"the first", attempts{}, attempts{start: now, count: 1}, 0},
		{"within the window", attempts{start: now.Add(-time.Minute), count: 3}, attempts{start: now.Add(-time.Minute), count: 4}, 0},
		{"the last allowed", attempts{start: now.Add(-time.Minute), count: 7}, attempts{start: now.Add(-time.Minute), count: 8}, 0},
		{
			"one too many",
			attempts{start: now.Add(-time.Minute), count: 8},
			attempts{start: now.Add(-time.Minute), count: 9, blocked: now.Add(15 * time.Minute)},
			15 * time.Minute,
		},
		{
			"the window's last moment",
			attempts{start: now.Add(-5*time.Minute + 1), count: 8},
			attempts{start: now.Add(-5*time.Minute + 1), count: 9, blocked: now.Add(15 * time.Minute)},
			15 * time.Minute,
		},
		{"a new window", attempts{start: now.Add(-5 * time.Minute), count: 8}, attempts{start: now, count: 1}, 0},
		{
			"during the block",
			attempts{start: now, count: 9, blocked: now.Add(time.Second)},
			attempts{start: now, count: 9, blocked: now.Add(time.Second)},
			time.Second,
		},
		{"when the block ends", attempts{start: now.Add(-time.Minute), count: 9, blocked: now}, attempts{start: now, count: 1}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after, wait := tt.before.next(now, limit, 8)
			if after != tt.after || wait != tt.wait {
				t.Errorf("got %+v and %s, want %+v and %s", after, wait, tt.after, tt.wait)
			}
		})
	}
}

func TestNetworkOf(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::9": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "": "", "x": "",
	} {
		if got := networkOf(ip); got != want {
			t.Errorf("networkOf(%q) = %q, want %q", ip, got, want)
		}
	}
}

func TestLoginThrottle(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		f.admin()
		login := func(ip, email, password string) error {
			p := from
			p.IP = ip
			_, err := f.Login(f.ctx(), p, Credentials{Email: email, Password: password})
			return err
		}
		for i := range 7 {
			wantFault(t, login("192.0.2."+strconv.Itoa(i), adminEmail, "wrong"), fault.Unauthenticated)
		}
		if err := login("192.0.2.7", adminEmail, goodPassword); err != nil {
			t.Fatalf("the eighth, right: %v", err)
		}
		for i, variant := range []string{adminEmail, "ADA@example.com", " ada@EXAMPLE.com", "\uff41da@example.com", adminEmail, adminEmail, adminEmail, adminEmail} {
			wantFault(t, login("192.0.2."+strconv.Itoa(i), variant, "wrong"), fault.Unauthenticated) // counted anew, for all spellings
		}
		err := login("198.51.100.1", adminEmail, goodPassword)
		wantFault(t, err, fault.TooMany)
		if e, _ := errors.AsType[*fault.Error](err); e.RetryAfter != 15*time.Minute {
			t.Errorf("Retry-After is %s", e.RetryAfter)
		}
		f.clock.add(15*time.Minute - time.Second)
		err = login("198.51.100.1", adminEmail, goodPassword)
		wantFault(t, err, fault.TooMany)
		if e, _ := errors.AsType[*fault.Error](err); e.RetryAfter != time.Second {
			t.Errorf("Retry-After is %s", e.RetryAfter)
		}
		f.clock.add(time.Second)
		if err := login("198.51.100.1", adminEmail, goodPassword); err != nil {
			t.Fatalf("after the block: %v", err)
		}
		// An address that nobody has is counted the same.
		for range 8 {
			wantFault(t, login("203.0.113.5", "nobody@example.com", "wrong"), fault.Unauthenticated)
		}
		wantFault(t, login("203.0.113.6", "nobody@example.com", "wrong"), fault.TooMany)
		// One account's trouble is not another's.
		if err := login("203.0.113.5", adminEmail, goodPassword); err != nil {
			t.Fatal(err)
		}
		f.log.Close(f.ctx())
		var throttled bool
		for _, e := range f.events("auth.login.failed") {
			throttled = throttled || e.Details["reason"] == reasonThrottled
		}
		if !throttled {
			t.Error("no event tells of the block")
		}
	})
}

func TestNetworkThrottleIsTenTimesTheAccounts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA, func(o *Options) { o.Login.MaxAttempts = 2 })
		f.admin()
		login := func(ip, email, password string) error {
			p := from
			p.IP = ip
			_, err := f.Login(f.ctx(), p, Credentials{Email: email, Password: password})
			return err
		}
		for i := range 20 { // right ones are taken back, wrong ones are not
			if err := login("2001:db8::1", adminEmail, goodPassword); err != nil {
				t.Fatal(err)
			}
			wantFault(t, login("2001:db8::"+strconv.Itoa(i+1), "nobody"+strconv.Itoa(i)+"@example.com", "wrong"), fault.Unauthenticated)
		}
		wantFault(t, login("2001:db8::ffff", adminEmail, goodPassword), fault.TooMany)
		if err := login("2001:db8:0:1::1", adminEmail, goodPassword); err != nil {
			t.Errorf("from another network: %v", err)
		}
	})
}

// Guesses at once are as many as guesses one after another.
func TestThrottleHoldsInARace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		wantTally(t, race(40, func(int) error {
			_, err := f.Login(f.ctx(), audit.Principal{Kind: audit.Anonymous}, Credentials{Email: "nobody@example.com", Password: "x"})
			if fault.Is(err, fault.Unauthenticated) {
				return nil
			}
			return err
		}), 8, fault.TooMany)
	})
}

// A right password without its code is the first half of a sign-in, not a guess.
func TestMissingFactorIsNotCounted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, func(o *Options) { o.Login.MaxAttempts = 2 })
		admin := f.admin()
		c := Credentials{Email: adminEmail, Password: goodPassword}
		for range 5 {
			_, err := f.Login(f.ctx(), from, c)
			wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		}
		c.MFACode = "000000"
		for range 2 {
			_, err := f.Login(f.ctx(), from, c)
			wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		}
		c.MFACode = f.nextCode(admin.secret)
		_, err := f.Login(f.ctx(), from, c)
		wantFault(t, err, fault.TooMany)
	})
}
