package account

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// Every sign-in computes one hash, of the same parameters, whosever address it is at: while there is no
// slot to hash in, none of them has an answer. The answers are held in web, their times in sealpost bench.
func TestEveryAddressCostsAHash(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		disabled := f.another(admin, "kim@example.com", audit.Author)
		yes := true
		must(f.ChangeUser(f.ctx(), admin.by, disabled.User.ID, UserPatch{Disabled: &yes}))(t)
		f.exec(`insert into account (id, email, email_key, name, role, password_by_admin, mfa_enabled, totp_step, disabled, created_at, updated_at)
			values ($1, 'lee@example.com', 'lee@example.com', 'Lee', 'AUTHOR', false, false, 0, false, 0, 0)`, store.NewID()) // no password
		for range cap(f.hasher.slots) {
			release := must(f.hasher.take(f.ctx()))(t)
			defer release()
		}
		for _, email := range []string{adminEmail, disabled.email, "lee@example.com", "nobody@example.com", "no address"} {
			for _, password := range []string{"wrong", goodPassword, otherPassword, ""} {
				ctx, cancel := context.WithTimeout(f.ctx(), 30*time.Millisecond)
				_, err := f.Login(ctx, audit.Principal{Kind: audit.Anonymous}, Credentials{Email: email, Password: password})
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s with %q has an answer without a hash: %v", email, password, err)
				}
			}
		}
		p, _, _, err := decodePHC(f.hasher.dummy)
		if err != nil || p != f.hasher.params {
			t.Errorf("the hash of unknown accounts has the parameters %+v, %v", p, err)
		}
	})
}

// What is recorded of a refusal differs from account to account, and takes its time; its answer leaves at
// the same moment.
func TestRefusalsLeaveAtWholeSteps(t *testing.T) {
	for _, tt := range []struct{ passed, want time.Duration }{
		{0, 100 * time.Millisecond},
		{time.Millisecond, 99 * time.Millisecond},
		{99 * time.Millisecond, time.Millisecond},
		{100 * time.Millisecond, 100 * time.Millisecond},
		{730 * time.Millisecond, 70 * time.Millisecond},
	} {
		if got := toNext(tt.passed, refusalStep); got != tt.want {
			t.Errorf("toNext(%s) = %s, want %s", tt.passed, got, tt.want)
		}
	}
	if got := toNext(time.Second, 0); got != 0 {
		t.Errorf("without a step: %s", got)
	}
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		pause(t.Context(), 100*time.Millisecond)
		if took := time.Since(begun); took != 100*time.Millisecond {
			t.Errorf("paused for %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		pause(ctx, time.Hour)
		if took := time.Since(begun); took != 100*time.Millisecond {
			t.Errorf("whoever has gone away is waited for: %s", took)
		}
	})
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		f.refusalStep = 50 * time.Millisecond
		begun := time.Now()
		_, err := f.Login(f.ctx(), from, Credentials{Email: "nobody@example.com", Password: "wrong"})
		wantFault(t, err, fault.Unauthenticated)
		if took := time.Since(begun); took < 50*time.Millisecond {
			t.Errorf("answered after %s", took)
		}
	})
}
