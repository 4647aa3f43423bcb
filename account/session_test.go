package account

import (
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestLogoutEndsOneSessionAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		second := must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword}))(t)
		if err := f.Logout(f.ctx(), admin.by); err != nil {
			t.Fatal(err)
		}
		f.wantEnded(admin.SignIn)
		_, err := f.Refresh(f.ctx(), from, admin.RefreshToken)
		wantFault(t, err, fault.Unauthenticated)
		f.auth(second)
		if err := f.Logout(f.ctx(), admin.by); err != nil {
			t.Errorf("the second time: %v", err)
		}
		if e := f.events("auth.logout.succeeded"); len(e) != 1 || e[0].Actor.ID != admin.User.ID || e[0].SessionID != admin.SessionID {
			t.Errorf("the events are %+v", e)
		}
	})
}

func TestLogoutAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		kim, lee := f.another(admin, "kim@example.com", audit.Author), f.another(admin, "lee@example.com", audit.Author)
		again := func(s signedIn) SignIn {
			password := otherPassword
			if s.email == adminEmail {
				password = goodPassword
			}
			return must(f.Login(f.ctx(), from, Credentials{Email: s.email, Password: password}))(t)
		}
		kim2 := again(kim)
		if err := f.LogoutAll(f.ctx(), kim.by, Whose{}); err != nil {
			t.Fatal(err)
		}
		f.wantEnded(kim.SignIn)
		f.wantEnded(kim2)
		_, err := f.Refresh(f.ctx(), from, kim2.RefreshToken)
		wantFault(t, err, fault.Unauthenticated)
		f.auth(lee.SignIn)
		f.auth(admin.SignIn)
		if e := f.events("auth.sessions.revoked")[0]; e.Details["scope"] != "own" || e.Details["count"] != 2.0 || e.EntityID != kim.User.ID {
			t.Errorf("the event is %+v", e)
		}

		kim.SignIn = again(kim)
		kim.by = f.auth(kim.SignIn)
		for _, whose := range []Whose{{UserID: lee.User.ID}, {UserID: kim.User.ID}, {Everyone: true}} {
			wantFault(t, f.LogoutAll(f.ctx(), kim.by, whose), fault.Forbidden)
		}
		f.auth(lee.SignIn)
		if e := f.events("auth.sessions.revoke_refused"); len(e) < 2 || e[0].Outcome != audit.Denied || e[0].Actor.ID != kim.User.ID {
			t.Errorf("the refusals are %+v", e)
		}

		wantFault(t, f.LogoutAll(f.ctx(), admin.by, Whose{UserID: lee.User.ID, Everyone: true}), fault.Invalid)
		wantFault(t, f.LogoutAll(f.ctx(), admin.by, Whose{UserID: store.NewID()}), fault.NotFound)
		if err := f.LogoutAll(f.ctx(), admin.by, Whose{UserID: lee.User.ID}); err != nil {
			t.Fatal(err)
		}
		f.wantEnded(lee.SignIn)
		f.auth(kim.SignIn)

		f.clock.add(16 * time.Minute)
		wantFault(t, f.LogoutAll(f.ctx(), admin.by, Whose{Everyone: true}), fault.Unauthenticated, "reauthRequired")
		f.auth(kim.SignIn)
		admin.SignIn = again(admin)
		if err := f.LogoutAll(f.ctx(), f.auth(admin.SignIn), Whose{Everyone: true}); err != nil {
			t.Fatal(err)
		}
		f.wantEnded(kim.SignIn)
		f.wantEnded(admin.SignIn)
		if e := f.events("auth.sessions.revoked")[0]; e.Details["scope"] != "everyone" || e.Actor.ID != admin.User.ID {
			t.Errorf("the event is %+v", e)
		}
	})
}

func TestWhatEndsAnAccessToken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)

		// Another server of the same installation knows at once.
		other := New(f.log, f.keys, f.o)
		if _, err := other.Authenticate(f.ctx(), kim.Token, from); err != nil {
			t.Fatal(err)
		}
		role := string(audit.Auditor)
		must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Role: &role}))(t)
		if by := must(other.Authenticate(f.ctx(), kim.Token, from))(t); by.Role != audit.Auditor {
			t.Errorf("a demoted user is still %s", by.Role)
		}
		yes := true
		must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &yes}))(t)
		if _, err := other.Authenticate(f.ctx(), kim.Token, from); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("a disabled user: %v", err)
		}

		f.o.MFARequired = true // the account has none
		f.wantEnded(admin.SignIn)
		f.o.MFARequired = false
		f.auth(admin.SignIn)

		// A token of a session that is another user's.
		forged, err := f.tokens.sign(kim.User.ID, admin.SessionID, f.clock.now(), f.clock.now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		f.wantEnded(SignIn{Token: forged})

		f.clock.add(12*time.Hour - time.Second)
		f.auth(admin.SignIn)
		f.clock.add(time.Second)
		f.wantEnded(admin.SignIn)

		// The sign-in's own end, though the token says later.
		long, err := f.tokens.sign(admin.User.ID, admin.SessionID, f.clock.now(), f.clock.now().Add(1000*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		f.clock.add(156*time.Hour - time.Second)
		f.auth(SignIn{Token: long})
		f.clock.add(time.Second)
		f.wantEnded(SignIn{Token: long})

		f.exec(`delete from account where id = $1`, admin.User.ID)
		f.wantEnded(admin.SignIn)
	})
}

func TestSessions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		f.clock.add(time.Minute)
		second := must(f.Login(f.ctx(), audit.Principal{Kind: audit.Anonymous, IP: "198.51.100.9", UserAgent: "browser\x00\xff"},
			Credentials{Email: kim.email, Password: otherPassword}))(t)
		list := must(f.Sessions(f.ctx(), kim.by))(t)
		if len(list) != 2 || list[0].ID != second.SessionID || list[0].Current || !list[1].Current || list[0].IP != "198.51.100.9" ||
			list[0].UserAgent != "browser" || !list[0].CreatedAt.Equal(f.clock.now()) || list[0].RefreshedAt != nil {
			t.Fatalf("the list is %+v", list)
		}
		wantFault(t, f.EndSession(f.ctx(), kim.by, admin.SessionID), fault.NotFound)
		wantFault(t, f.EndSession(f.ctx(), kim.by, "x"), fault.NotFound)
		if err := f.EndSession(f.ctx(), kim.by, second.SessionID); err != nil {
			t.Fatal(err)
		}
		f.wantEnded(second)
		wantFault(t, f.EndSession(f.ctx(), kim.by, second.SessionID), fault.NotFound)
		if list := must(f.Sessions(f.ctx(), kim.by))(t); len(list) != 1 || list[0].ID != kim.SessionID {
			t.Errorf("the list is then %+v", list)
		}
		f.auth(admin.SignIn)
	})
}

func TestSessionsListIsBounded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		n := NewDevUser{Email: "dev@example.com", Name: "Dev", Role: "AUTHOR"}
		var s SignIn
		for range maxSessions + 1 {
			s = must(f.DevLogin(f.ctx(), from, n))(t)
		}
		if list := must(f.Sessions(f.ctx(), f.auth(s)))(t); len(list) != maxSessions || list[0].ID != s.SessionID {
			t.Errorf("%d sessions are listed", len(list))
		}
	})
}

func TestAccessTokenSurvivesAPlannedRotation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		old := f.keys.JWT.Current()
		f.keys.JWT.Replace(testKey(), old)
		f.auth(admin.SignIn)
		f.keys.JWT.Replace(testKey(), nil)
		f.wantEnded(admin.SignIn)
		s := must(f.Refresh(f.ctx(), from, admin.RefreshToken))(t) // the sign-in outlives the key
		f.auth(s)
	})
}

func TestTidy(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		_, err := f.Login(f.ctx(), from, Credentials{Email: "nobody@example.com", Password: "x"})
		wantFault(t, err, fault.Unauthenticated)
		must(f.MFASetup(f.ctx(), admin.by))(t)
		counts := func() (n [4]int) {
			for i, table := range []string{"session", "refresh_token", "mfa_enrollment", "throttle"} {
				err := st.Read(f.ctx(), func(tx *store.Tx) error {
					return tx.QueryRow(f.ctx(), `select count(*) from `+table).Scan(&n[i])
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			return n
		}
		if n := must(f.Tidy(f.ctx()))(t); n != 0 || counts() != [4]int{1, 1, 1, 2} {
			t.Fatalf("too early: %d went, %v are left", n, counts())
		}
		f.clock.add(20*time.Minute + time.Second)
		if n := must(f.Tidy(f.ctx()))(t); n != 3 || counts() != [4]int{1, 1, 0, 0} {
			t.Fatalf("%d went, %v are left", n, counts())
		}
		f.clock.add(168*time.Hour + sessionMemory)
		if n := must(f.Tidy(f.ctx()))(t); n != 1 || counts() != [4]int{} {
			t.Fatalf("%d went, %v are left", n, counts())
		}
	})
}
