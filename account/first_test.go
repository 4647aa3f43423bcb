package account

import (
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestFirstAccountOnceInARaceAndForever(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		first := func(i int) error {
			_, err := f.RegisterFirst(f.ctx(), from, NewUser{
				Email: strings.Repeat("a", i+1) + "@example.com", Name: "Ada", Password: goodPassword,
			}, Bootstrap{})
			return err
		}
		wantTally(t, race(50, first), 1, fault.Conflict)
		if users := must(f.Users(f.ctx(), store.Page{Limit: 10}))(t).Items; len(users) != 1 || users[0].Role != audit.Admin {
			t.Fatalf("there are %+v", users)
		}
		if n := len(f.events("auth.user.registered")); n != 1 {
			t.Errorf("%d events tell of it", n)
		}
		f.exec(`delete from account`)
		if has := must(f.HasUsers(f.ctx()))(t); has {
			t.Fatal("there still are users")
		}
		wantFault(t, first(60), fault.Conflict)
		if got := f.events("auth.register_first.refused"); len(got) == 0 || got[0].Outcome != audit.Denied {
			t.Errorf("the refusals are not recorded: %+v", got)
		}
	})
}

func TestFirstAccountWithoutMFAIsSignedIn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		r := must(f.RegisterFirst(f.ctx(), from, NewUser{Email: "Ada@Example.com", Name: "Ada", Password: goodPassword, Role: "ADMIN"}, Bootstrap{}))(t)
		if r.EnrollmentToken != "" || r.User.Email != "Ada@Example.com" || r.User.MFAEnabled {
			t.Errorf("got %+v", r)
		}
		by := f.auth(r.SignIn)
		if by.UserID != r.User.ID || by.Role != audit.Admin || by.Kind != audit.User || by.IP != from.IP || by.RequestID != from.RequestID ||
			!by.AuthenticatedAt.Equal(f.clock.now()) || by.SessionID != r.SignIn.SessionID {
			t.Errorf("signed in as %+v", by)
		}
		e := f.events("auth.user.registered")[0]
		if e.Actor.ID != r.User.ID || e.Entity != "User" || e.EntityID != r.User.ID || e.Details["first"] != true || e.RequestID != "req-1" {
			t.Errorf("the event is %+v", e)
		}
	})
}

func TestFirstAccountWithMFAHasNoAccessBeforeEnrollment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		r := must(f.RegisterFirst(f.ctx(), from, NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}, Bootstrap{}))(t)
		if r.SignIn.Token != "" || r.SignIn.RefreshToken != "" || r.EnrollmentToken == "" {
			t.Fatalf("got %+v", r)
		}
		_, err := f.Authenticate(f.ctx(), r.EnrollmentToken, from)
		wantFault(t, err, fault.Unauthenticated)
		_, err = f.Refresh(f.ctx(), from, r.EnrollmentToken)
		wantFault(t, err, fault.Unauthenticated)
		s, _ := f.enroll(r.EnrollmentToken, "")
		if f.auth(s).UserID != r.User.ID {
			t.Error("signed in as somebody else")
		}
	})
}

func TestFirstAccountIsAnAdminWithAGoodPassword(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		for name, n := range map[string]NewUser{
			"another role": {Email: adminEmail, Name: "Ada", Password: goodPassword, Role: "AUTHOR"},
			"no e-mail":    {Name: "Ada", Password: goodPassword},
			"no name":      {Email: adminEmail, Password: goodPassword},
			"weak":         {Email: adminEmail, Name: "Ada", Password: "Admin123456!"},
			"own name":     {Email: adminEmail, Name: "Ada Lovelace", Password: "Lovelace-kX9!vQ2z"},
		} {
			_, err := f.RegisterFirst(f.ctx(), from, n, Bootstrap{})
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
			if issues, _ := detail(err, "issues").([]Issue); (name == "weak" || name == "own name") && len(issues) != 1 {
				t.Errorf("%s: issues %v", name, issues)
			}
		}
		f.admin() // a refusal has not spent it
	})
}

func TestMayBootstrap(t *testing.T) {
	secret := config.NewSecret([]byte("0123456789abcdef"))
	for _, tt := range []struct {
		name       string
		production bool
		b          Bootstrap
		secret     config.Secret
		ok         bool
	}{
		{"development", false, Bootstrap{}, config.Secret{}, true},
		{"production from afar", true, Bootstrap{}, secret, false},
		{"production from the machine", true, Bootstrap{Direct: true}, secret, true},
		{"production with the token", true, Bootstrap{Token: "0123456789abcdef"}, secret, true},
		{"production with a wrong token", true, Bootstrap{Token: "0123456789abcdeF"}, secret, false},
		{"production with a longer token", true, Bootstrap{Token: "0123456789abcdef0"}, secret, false},
		{"production without a secret", true, Bootstrap{}, config.Secret{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := mayBootstrap(tt.production, tt.b, tt.secret)
			if (err == nil) != tt.ok || (err != nil && !fault.Is(err, fault.Forbidden)) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "0123456789") {
				t.Errorf("the refusal has the token: %v", err)
			}
		})
	}
}

// The refusal tells an operator where to look (SPEC §2).
func TestBootstrapRefusalNamesTheFile(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		dir := t.TempDir()
		c, _, err := config.Load([]string{
			"NODE_ENV=production", "DATA_DIR=" + dir, "PUBLIC_URL=https://sealpost.example",
			"JWT_SECRET=8w0oJmQzYlcrF5hD1xVtqN3bKePuSgTa", "DATA_ENCRYPTION_KEY=Yq3l0mZrW8uVJx5cT1oKpN7bEaHsDgF2iQwRtXyUz4A=",
			"AUDIT_SIGNING_KEY=Zt9kX2vBnM4qLwErTyUiOpAsDfGhJkLzXcVbNmQwE1Y=",
		})
		if err != nil {
			t.Fatal(err)
		}
		f := newFixture(t, st, func(o *Options) { o.Production, o.Bootstrap = true, c.Secrets.Bootstrap })
		n := NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}
		_, err = f.RegisterFirst(f.ctx(), from, n, Bootstrap{})
		wantFault(t, err, fault.Forbidden)
		if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "X-Bootstrap-Token") {
			t.Errorf("the refusal is %q", err)
		}
		must(f.RegisterFirst(f.ctx(), from, n, Bootstrap{Token: string(c.Secrets.Bootstrap.Reveal())}))(t)
		_, err = f.RegisterFirst(f.ctx(), from, n, Bootstrap{}) // spent is said before the token is asked for
		wantFault(t, err, fault.Conflict)
	})
}
