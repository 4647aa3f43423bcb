package account

import (
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

// onPage signs an enrolled person in through a page, in its two steps.
func (f *fixture) onPage(email, password, code string) SignIn {
	f.t.Helper()
	pages := f.ForPages()
	_, err := pages.Login(f.ctx(), from, Credentials{Email: email, Password: password})
	wantFault(f.t, err, fault.Unauthenticated, "mfaRequired")
	ticket, _ := detail(err, "ticket").(string)
	return must(pages.ContinueLogin(f.ctx(), from, ticket, Factor{MFACode: code}))(f.t)
}

func (f *fixture) wantPageEnded(cookie string) {
	f.t.Helper()
	_, err := f.AuthenticatePage(f.ctx(), cookie, from)
	wantFault(f.t, err, fault.Unauthenticated)
}

func TestPageSignIn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		s := f.onPage(adminEmail, goodPassword, f.nextCode(admin.secret))
		if s.Token != "" || s.RefreshToken != "" || !strings.HasPrefix(s.PageCookie, "spp_") {
			t.Errorf("a page's sign-in has the tokens %q and %q and the cookie %q", s.Token, s.RefreshToken, s.PageCookie)
		}
		by := must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t)
		want := from
		want.Kind, want.UserID, want.Email, want.Role = audit.User, admin.User.ID, adminEmail, audit.Admin
		want.SessionID, want.AuthenticatedAt = s.SessionID, f.clock.now()
		if by.UserID != want.UserID || by.Email != want.Email || by.Role != want.Role || by.SessionID != want.SessionID ||
			by.Kind != want.Kind || by.RequestID != want.RequestID || !by.AuthenticatedAt.Equal(want.AuthenticatedAt) {
			t.Errorf("the principal is %+v, want %+v", by, want)
		}
		if n := len(f.events("auth.login.failed")); n != 0 {
			t.Errorf("asking for the factor was recorded as %d failures", n)
		}
		if e := f.events("auth.login.succeeded")[0]; e.SessionID != s.SessionID || e.Details["factor"] != "totp" {
			t.Errorf("the event is %+v", e)
		}
		// Neither kind of credential is one of the other.
		f.wantEnded(SignIn{Token: s.PageCookie})
		f.wantPageEnded(admin.Token)
		f.wantPageEnded(admin.RefreshToken)
		_, err := f.Refresh(f.ctx(), from, s.PageCookie)
		wantFault(t, err, fault.Unauthenticated)
		for _, cookie := range []string{"", "spp_", s.PageCookie + "\n", s.PageCookie + "A", newOpaque(pagePrefix)} {
			f.wantPageEnded(cookie)
		}
		// Each sign-in has a cookie of its own, and ends no other.
		if again := f.onPage(adminEmail, goodPassword, f.nextCode(admin.secret)); again.PageCookie == s.PageCookie || again.SessionID == s.SessionID {
			t.Error("two sign-ins have one cookie or one session")
		}
		must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t)
	})
}

func TestPageCookieIsNotStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		s := f.onPage(adminEmail, goodPassword, f.nextCode(admin.secret))
		var hash []byte
		err := st.Read(f.ctx(), func(tx *store.Tx) error {
			return tx.QueryRow(f.ctx(), `select hash from page_session where session_id = $1`, s.SessionID).Scan(&hash)
		})
		if err != nil || len(hash) != 32 || strings.Contains(s.PageCookie, string(hash)) {
			t.Errorf("kept is %x, %v", hash, err)
		}
	})
}

// Whatever ends a session ends its cookie, as it ends an access token.
func TestPageSessionEnds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		for name, end := range map[string]func(by audit.Principal) error{
			"logout":     func(by audit.Principal) error { return f.Logout(f.ctx(), by) },
			"logout-all": func(by audit.Principal) error { return f.LogoutAll(f.ctx(), by, Whose{}) },
			"by an admin": func(audit.Principal) error {
				return f.LogoutAll(f.ctx(), f.auth(admin.SignIn), Whose{UserID: kim.User.ID})
			},
			"one of one's sessions": func(by audit.Principal) error { return f.EndSession(f.ctx(), by, by.SessionID) },
			"disabled": func(audit.Principal) error {
				disabled := true
				_, err := f.ChangeUser(f.ctx(), f.auth(admin.SignIn), kim.User.ID, UserPatch{Disabled: &disabled})
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				f.exec(`update account set disabled = false where id = $1`, kim.User.ID)
				f.exec(`update session set authenticated_at = $1 where id = $2`, f.clock.now().UnixMicro(), admin.SessionID)
				s := f.onPage("kim@example.com", otherPassword, f.nextCode(kim.secret))
				by := must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t)
				if err := end(by); err != nil {
					t.Fatal(err)
				}
				f.wantPageEnded(s.PageCookie)
			})
		}
	})
}

func TestPageSessionLivesAsAnAccessTokenDoes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, func(o *Options) { o.AccessTTL, o.SignInTTL = 2*time.Hour, 168*time.Hour })
		admin := f.admin()
		s := f.onPage(adminEmail, goodPassword, f.nextCode(admin.secret))
		f.clock.add(2*time.Hour - time.Microsecond)
		must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t)
		f.clock.add(time.Microsecond)
		f.wantPageEnded(s.PageCookie)

		f.o.AccessTTL, f.o.SignInTTL = 2*time.Hour, time.Hour // a sign-in that is shorter than its access token
		s = f.onPage(adminEmail, goodPassword, f.nextCode(admin.secret))
		f.clock.add(time.Hour)
		f.wantPageEnded(s.PageCookie)
		f.clock.add(31 * 24 * time.Hour)
		if n := must(f.Tidy(f.ctx()))(t); n == 0 {
			t.Error("nothing was tidied away")
		}
	})
}

func TestPageWithoutAFactor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		f.admin()
		s := must(f.ForPages().Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword}))(t)
		must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t)
		f.o.MFARequired = true // from the next start on
		f.wantPageEnded(s.PageCookie)
	})
}

func TestPageEnrollment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		must(f.Register(f.ctx(), admin.by, NewUser{Email: "kim@example.com", Name: "Kim", Password: "Sturdy-Oak-91-Harbor", Role: "AUTHOR"}))(t)
		pages := f.ForPages()
		_, err := pages.Login(f.ctx(), from, Credentials{Email: "kim@example.com", Password: "Sturdy-Oak-91-Harbor"})
		wantFault(t, err, fault.Forbidden, "mfaEnrollmentRequired")
		token, _ := detail(err, "enrollmentToken").(string)
		if !must(pages.EnrollmentAsksPassword(f.ctx(), token))(t) {
			t.Error("an ADMIN has set the password, and no new one is asked for")
		}
		setup := must(pages.EnrollStart(f.ctx(), token))(t)
		s := must(pages.EnrollComplete(f.ctx(), from, token, f.code(setup.Secret), otherPassword))(t)
		if s.Token != "" || s.RefreshToken != "" || len(s.BackupCodes) != 8 {
			t.Errorf("enrolled as %+v", s)
		}
		must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t)
		_, err = pages.EnrollmentAsksPassword(f.ctx(), token)
		wantFault(t, err, fault.Unauthenticated)
		_, err = pages.EnrollmentAsksPassword(f.ctx(), "nonsense")
		wantFault(t, err, fault.Unauthenticated)
	})
}

func TestEnrollmentOfOnesOwnPassword(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		r := must(f.RegisterFirst(f.ctx(), from, NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}, Bootstrap{}))(t)
		if must(f.EnrollmentAsksPassword(f.ctx(), r.EnrollmentToken))(t) {
			t.Error("a password that its user has chosen is to be replaced")
		}
	})
}

func TestPageReauth(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		s := f.onPage(adminEmail, goodPassword, f.nextCode(admin.secret))
		f.clock.add(16 * time.Minute)
		by := must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t)
		wantFault(t, f.Guard(by), fault.Unauthenticated, "reauthRequired")

		_, err := f.PageReauth(f.ctx(), by, "wrong", Factor{MFACode: f.code(admin.secret)})
		wantFault(t, err, fault.Unauthenticated, "reauthRequired")
		_, err = f.PageReauth(f.ctx(), by, goodPassword, Factor{})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t) // a failure changes nothing

		cookie := must(f.PageReauth(f.ctx(), by, goodPassword, Factor{MFACode: f.code(admin.secret)}))(t)
		f.wantPageEnded(s.PageCookie)
		by = must(f.AuthenticatePage(f.ctx(), cookie, from))(t)
		if by.SessionID != s.SessionID {
			t.Error("the session is another one")
		}
		if err := f.Guard(by); err != nil {
			t.Error(err)
		}
		if e := f.events("auth.page_cookie.replaced"); len(e) != 1 || e[0].SessionID != s.SessionID {
			t.Errorf("the events are %+v", e)
		}
		// Whoever holds tokens has no cookie to replace.
		_, err = f.PageReauth(f.ctx(), f.auth(admin.SignIn), goodPassword, Factor{MFACode: f.nextCode(admin.secret)})
		wantFault(t, err, fault.Unauthenticated)
	})
}
