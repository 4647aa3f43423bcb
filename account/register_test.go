package account

import (
	"slices"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestRegisterIsForFreshAdmins(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		author := f.another(admin, "kim@example.com", audit.Author)
		auditor := f.another(admin, "lee@example.com", audit.Auditor)
		n := NewUser{Email: "new@example.com", Name: "New", Password: goodPassword, Role: "AUTHOR"}
		for name, by := range map[string]audit.Principal{"author": author.by, "auditor": auditor.by, "nobody": from, "nothing": {}} {
			if _, err := f.Register(f.ctx(), by, n); !fault.Is(err, fault.Forbidden) && by.Kind != "" {
				t.Errorf("%s: %v", name, err)
			} else if err == nil {
				t.Errorf("%s is let in", name)
			}
		}
		if got := f.events("auth.user.register_refused"); len(got) < 3 {
			t.Errorf("refusals recorded: %d", len(got))
		}
		f.clock.add(16 * time.Minute)
		_, err := f.Register(f.ctx(), admin.by, n)
		wantFault(t, err, fault.Unauthenticated, "reauthRequired")
	})
}

func TestRegister(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		n := NewUser{Email: "Kim@Example.com", Name: " Kim ", Password: goodPassword, Role: "AUDITOR"}
		u := must(f.Register(f.ctx(), admin.by, n))(t)
		if got := must(f.User(f.ctx(), u.ID))(t); got != u || u.Name != "Kim" || u.Role != audit.Auditor || u.MFAEnabled || u.Disabled ||
			!u.CreatedAt.Equal(f.clock.now()) || !u.UpdatedAt.Equal(f.clock.now()) {
			t.Errorf("registered %+v, stored %+v", u, got)
		}
		for _, same := range []string{"kim@example.com", "KIM@EXAMPLE.COM", " \u212aim@example.com ", "\uff4bim@example.com"} {
			n.Email = same
			_, err := f.Register(f.ctx(), admin.by, n)
			wantFault(t, err, fault.Conflict)
		}
		for name, n := range map[string]NewUser{
			"no role":      {Email: "x@example.com", Name: "X", Password: goodPassword},
			"unknown role": {Email: "x@example.com", Name: "X", Password: goodPassword, Role: "admin"},
			"no password":  {Email: "x@example.com", Name: "X", Role: "AUTHOR"},
		} {
			if _, err := f.Register(f.ctx(), admin.by, n); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err := f.Register(f.ctx(), admin.by, NewUser{Email: "x@example.com", Name: "X", Password: "short", Role: "AUTHOR"})
		issues, _ := detail(err, "issues").([]Issue)
		if want := []string{TooShort, MissingUppercase, MissingNumber, MissingSymbol, WeakPattern}; !slices.Equal(codes(issues), want) {
			t.Errorf("issues %v, want %v", codes(issues), want)
		}
		e := f.events("auth.user.registered")[0]
		if e.Actor.ID != admin.User.ID || e.EntityID != u.ID || e.Details["role"] != "AUDITOR" {
			t.Errorf("the event is %+v", e)
		}
	})
}

func TestDevLogin(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		n := NewDevUser{Email: "dev@example.com", Name: "Dev", Role: "AUTHOR"}
		f := newFixture(t, st, withoutMFA)
		s := must(f.DevLogin(f.ctx(), from, n))(t)
		if by := f.auth(s); by.Role != audit.Author || by.Email != n.Email {
			t.Errorf("signed in as %+v", by)
		}
		if again := must(f.DevLogin(f.ctx(), from, n))(t); again.User != s.User || again.SessionID == s.SessionID {
			t.Errorf("the second time %+v", again)
		}
		_, err := f.DevLogin(f.ctx(), from, NewDevUser{Email: n.Email, Name: "Dev", Role: "ADMIN"})
		wantFault(t, err, fault.Conflict)
		_, err = f.DevLogin(f.ctx(), from, NewDevUser{Email: "dev", Name: "Dev", Role: "ADMIN"})
		wantFault(t, err, fault.Invalid)
		_, err = f.Login(f.ctx(), from, Credentials{Email: n.Email}) // it has no password, not even the empty one
		wantFault(t, err, fault.Unauthenticated)
		if e := f.events("auth.login.succeeded")[0]; e.Details["factor"] != "devLogin" || e.Actor.ID != s.User.ID {
			t.Errorf("the event is %+v", e)
		}
		f.exec(`update account set disabled = $1`, true)
		_, err = f.DevLogin(f.ctx(), from, n)
		wantFault(t, err, fault.Forbidden)
		f.exec(`update account set disabled = $1`, false)

		f.o.MFARequired = true
		_, err = f.DevLogin(f.ctx(), from, n)
		wantFault(t, err, fault.Forbidden, "mfaEnrollmentRequired")
		if s, _ := f.enroll(detail(err, "enrollmentToken").(string), ""); f.auth(s).UserID != s.User.ID {
			t.Error("enrolled as somebody else")
		}
		f.o.Production = true
		_, err = f.DevLogin(f.ctx(), from, n)
		wantFault(t, err, fault.NotFound)
		f.o.Production, f.o.AllowDevLogin = false, false
		_, err = f.DevLogin(f.ctx(), from, n)
		wantFault(t, err, fault.NotFound)
	})
}
