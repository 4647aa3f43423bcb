package account

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestLogin(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		c := Credentials{Email: " ADA@example.com", Password: goodPassword}

		_, err := f.Login(f.ctx(), from, c)
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")

		c.MFACode = f.code(admin.secret) // the enrollment's own code
		_, err = f.Login(f.ctx(), from, c)
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")

		c.MFACode = f.nextCode(admin.secret)
		s := must(f.Login(f.ctx(), from, c))(t)
		if by := f.auth(s); by.UserID != admin.User.ID || by.SessionID == admin.SessionID {
			t.Errorf("signed in as %+v", by)
		}
		if !s.ExpiresAt.Equal(f.clock.now().Add(12*time.Hour)) || !s.RefreshExpiresAt.Equal(f.clock.now().Add(168*time.Hour)) {
			t.Errorf("ends at %s and %s", s.ExpiresAt, s.RefreshExpiresAt)
		}
		e := f.events("auth.login.succeeded")[0]
		if e.Actor.ID != admin.User.ID || e.SessionID != s.SessionID || e.Details["factor"] != "totp" || e.IP != from.IP {
			t.Errorf("the event is %+v", e)
		}

		_, err = f.Login(f.ctx(), from, c) // the same code again
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")

		c.MFACode, c.BackupCode = "", admin.BackupCodes[3]
		must(f.Login(f.ctx(), from, c))(t)
		_, err = f.Login(f.ctx(), from, c)
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")

		c.MFACode, c.BackupCode = f.nextCode(admin.secret), admin.BackupCodes[4]
		_, err = f.Login(f.ctx(), from, c)
		wantFault(t, err, fault.Invalid)
		f.auth(admin.SignIn) // signing in elsewhere ends nothing
	})
}

// Unknown, disabled and wrong are one answer; only the audit log knows which it was.
func TestLoginDoesNotTellWhoExists(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		disabled := f.another(admin, "kim@example.com", audit.Author)
		yes := true
		must(f.ChangeUser(f.ctx(), admin.by, disabled.User.ID, UserPatch{Disabled: &yes}))(t)
		code := f.nextCode(admin.secret)
		answers := map[string]bool{}
		for _, c := range []Credentials{
			{Email: adminEmail, Password: "wrong"},
			{Email: adminEmail, Password: "wrong", Factor: Factor{MFACode: code}},
			{Email: adminEmail, Password: goodPassword + " "},
			{Email: adminEmail},
			{Email: disabled.email, Password: otherPassword, Factor: Factor{MFACode: f.code(disabled.secret)}},
			{Email: disabled.email, Password: "wrong"},
			{Email: "nobody@example.com", Password: goodPassword},
			{Email: "not an address", Password: goodPassword},
			{Email: "\x00\xff", Password: "\x00\xff"},
			{Email: strings.Repeat("a", 100_000), Password: strings.Repeat("a", 100_000)},
			{},
		} {
			_, err := f.Login(f.ctx(), from, c)
			wantFault(t, err, fault.Unauthenticated)
			answer, _ := json.Marshal([]any{err.Error(), detail(err, "mfaRequired")})
			answers[string(answer)] = true
		}
		if len(answers) != 1 {
			t.Errorf("answers differ: %v", answers)
		}
		f.log.Close(f.ctx())
		ids, reasons := map[string]bool{}, map[any]bool{}
		for _, e := range f.events("auth.login.failed") {
			ids[e.EntityID], reasons[e.Details["reason"]] = true, true
			if text, _ := json.Marshal(e); strings.Contains(string(text), "wrong\"") || strings.Contains(string(text), code) || strings.Contains(string(text), goodPassword) {
				t.Errorf("the event has what was typed: %s", text)
			}
			if e.Outcome != audit.Failure || e.Entity != "User" {
				t.Errorf("the event is %+v", e)
			}
		}
		for _, id := range []string{admin.User.ID, disabled.User.ID, ""} {
			if !ids[id] {
				t.Errorf("no event about %q in %v", id, ids)
			}
		}
		for _, r := range []string{reasonPassword, reasonDisabled, reasonUnknown} {
			if !reasons[r] {
				t.Errorf("no event says %q: %v", r, reasons)
			}
		}
		must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: Factor{MFACode: code}}))(t) // unspent
	})
}

func TestOneOfTwentyWithTheSameCode(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, func(o *Options) { o.Login.MaxAttempts = 1000 })
		admin := f.admin()
		code := f.nextCode(admin.secret)
		login := func(factor Factor) func(int) error {
			return func(int) error {
				_, err := f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: factor})
				return err
			}
		}
		wantTally(t, race(20, login(Factor{MFACode: code})), 1, fault.Unauthenticated)
		wantTally(t, race(20, login(Factor{BackupCode: admin.BackupCodes[0]})), 1, fault.Unauthenticated)
		if n := len(f.events("auth.login.succeeded")); n != 3 { // and the enrollment's
			t.Errorf("%d sign-ins are recorded", n)
		}
		var left int
		err := st.Read(f.ctx(), func(tx *store.Tx) error {
			return tx.QueryRow(f.ctx(), `select count(*) from backup_code`).Scan(&left)
		})
		if err != nil || left != 7 {
			t.Errorf("%d backup codes are left (%v)", left, err)
		}
	})
}

func TestAnotherUsersFactorIsWrong(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		for _, factor := range []Factor{{MFACode: f.nextCode(kim.secret)}, {BackupCode: kim.BackupCodes[0]}} {
			_, err := f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: factor})
			wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		}
	})
}

// A code of a clock that is 30 s off is taken, one of a clock that is 90 s off is not.
func TestClockSkew(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		for skew, ok := range map[time.Duration]bool{-90 * time.Second: false, -30 * time.Second: true, 0: true, 30 * time.Second: true, 90 * time.Second: false} {
			f := newFixture(t, st)
			f.exec(`delete from account`)
			f.exec(`delete from bootstrap`)
			admin := f.admin()
			f.clock.add(time.Hour)
			f.clock.add(skew)
			code := f.code(admin.secret)
			f.clock.add(-skew)
			_, err := f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: Factor{MFACode: code}})
			if (err == nil) != ok {
				t.Errorf("skew %s: %v", skew, err)
			}
		}
	})
}

func TestReauth(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		f.clock.add(time.Hour)
		by := f.auth(admin.SignIn)
		wantFault(t, f.Guard(by), fault.Unauthenticated, "reauthRequired")

		_, err := f.Reauth(f.ctx(), by, "wrong", Factor{MFACode: f.code(admin.secret)})
		wantFault(t, err, fault.Unauthenticated, "reauthRequired")
		_, err = f.Reauth(f.ctx(), by, goodPassword, Factor{})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		_, err = f.Reauth(f.ctx(), by, goodPassword, Factor{MFACode: "000000"})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		wantFault(t, f.Guard(f.auth(admin.SignIn)), fault.Unauthenticated, "reauthRequired")

		at := must(f.Reauth(f.ctx(), by, goodPassword, Factor{MFACode: f.code(admin.secret)}))(t)
		fresh := f.auth(admin.SignIn)
		if err := f.Guard(fresh); err != nil || !at.Equal(f.clock.now()) || !fresh.AuthenticatedAt.Equal(at) {
			t.Errorf("after reauth at %s: %v", at, err)
		}
		_, err = f.Reauth(f.ctx(), by, goodPassword, Factor{MFACode: f.code(admin.secret)})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		must(f.Reauth(f.ctx(), by, goodPassword, Factor{BackupCode: admin.BackupCodes[0]}))(t)
		if len(f.events("auth.reauth.succeeded")) != 2 || len(f.events("auth.reauth.failed")) == 0 {
			t.Error("the events are not there")
		}
		f.o.Login.MaxAttempts = 1
		_, err = f.Reauth(f.ctx(), by, "wrong", Factor{})
		wantFault(t, err, fault.Unauthenticated)
		_, err = f.Reauth(f.ctx(), by, goodPassword, Factor{MFACode: f.nextCode(admin.secret)})
		wantFault(t, err, fault.TooMany)
	})
}

func TestFresh(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 26, 5, 0, time.UTC)
	for _, tt := range []struct {
		name string
		by   audit.Principal
		ok   bool
	}{
		{"just now", audit.Principal{Kind: audit.User, AuthenticatedAt: now}, true},
		{"at the edge", audit.Principal{Kind: audit.User, AuthenticatedAt: now.Add(-15 * time.Minute)}, true},
		{"past it", audit.Principal{Kind: audit.User, AuthenticatedAt: now.Add(-15*time.Minute - time.Microsecond)}, false},
		{"never", audit.Principal{Kind: audit.User}, false},
		{"an API key", audit.Principal{Kind: audit.Service, AuthenticatedAt: now}, false},
		{"nobody", audit.Principal{Kind: audit.Anonymous, AuthenticatedAt: now}, false},
		{"the program", audit.Itself("test"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Fresh(tt.by, 15*time.Minute, now)
			if (err == nil) != tt.ok {
				t.Errorf("%v", err)
			}
			if err != nil {
				wantFault(t, err, fault.Unauthenticated, "reauthRequired")
			}
		})
	}
}
