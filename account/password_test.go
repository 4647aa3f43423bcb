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

const thirdPassword = "Quiet-Lantern_58-Fjord"

func issueCodes(err error) (codes []string) {
	list, _ := detail(err, "issues").([]Issue)
	for _, i := range list {
		codes = append(codes, i.Code)
	}
	return codes
}

func (f *fixture) login(email, password string, factor Factor) (SignIn, error) {
	return f.Login(f.ctx(), from, Credentials{Email: email, Password: password, Factor: factor})
}

func TestChangePassword(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		other := must(f.login(kim.email, otherPassword, Factor{MFACode: f.nextCode(kim.secret)}))(t)
		must(f.MFASetup(f.ctx(), kim.by))(t)

		err := f.ChangePassword(f.ctx(), kim.by, otherPassword, "short 1")
		wantFault(t, err, fault.Invalid)
		for _, code := range []string{TooShort, MissingUppercase, MissingSymbol, ContainsWhitespace} {
			if !slices.Contains(issueCodes(err), code) {
				t.Errorf("the issues are %v, without %s", issueCodes(err), code)
			}
		}
		err = f.ChangePassword(f.ctx(), kim.by, otherPassword, otherPassword)
		if codes := issueCodes(err); !slices.Equal(codes, []string{SameAsBefore}) {
			t.Errorf("of the same password the issues are %v, %v", codes, err)
		}
		f.auth(other) // nothing has changed

		if err := f.ChangePassword(f.ctx(), kim.by, otherPassword, thirdPassword); err != nil {
			t.Fatal(err)
		}
		f.wantEnded(other)
		f.auth(kim.SignIn)
		_, err = f.MFAEnable(f.ctx(), kim.by, "000000") // what was staged is gone
		wantFault(t, err, fault.Conflict)
		_, err = f.login(kim.email, otherPassword, Factor{MFACode: f.nextCode(kim.secret)})
		wantFault(t, err, fault.Unauthenticated)
		must(f.login(kim.email, thirdPassword, Factor{MFACode: f.code(kim.secret)}))(t)
		f.auth(admin.SignIn)
		e := f.events("auth.password.changed")
		if len(e) != 1 || e[0].Actor.ID != kim.User.ID || e[0].SessionID != kim.SessionID || e[0].Details["sessionsEnded"] != 1.0 {
			t.Errorf("the events are %+v", e)
		}
	})
}

func TestChangePasswordNeedsThePresentOne(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		for range f.o.Login.MaxAttempts {
			err := f.ChangePassword(f.ctx(), admin.by, "wrong", thirdPassword)
			wantFault(t, err, fault.Unauthenticated, "currentPasswordWrong")
		}
		wantFault(t, f.ChangePassword(f.ctx(), admin.by, goodPassword, thirdPassword), fault.TooMany)
		if e := f.events("auth.password.change_failed"); len(e) != 1 || e[0].Details["reason"] != reasonPassword || e[0].Outcome != audit.Failure {
			t.Errorf("the events are %+v", e) // the others are counted
		}
		f.clock.add(f.o.Login.Block)
		// What is right and weak is no guess.
		for range f.o.Login.MaxAttempts + 1 {
			wantFault(t, f.ChangePassword(f.ctx(), admin.by, goodPassword, "weak"), fault.Invalid)
		}
		if err := f.ChangePassword(f.ctx(), admin.by, goodPassword, thirdPassword); err != nil {
			t.Fatal(err)
		}
	})
}

// A password that was somebody else's to know is its user's own after a change, however long ago the time
// to enroll was over.
func TestChangingAnAdminsPassword(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		f.clock.add(enrollmentDeadline + time.Minute)
		if err := f.ChangePassword(f.ctx(), f.auth(must(f.login(kim.email, otherPassword, Factor{}))(t)), otherPassword, thirdPassword); err != nil {
			t.Fatal(err)
		}
		f.o.MFARequired = true
		_, err := f.login(kim.email, thirdPassword, Factor{})
		wantFault(t, err, fault.Forbidden, "mfaEnrollmentRequired")
		token, _ := detail(err, "enrollmentToken").(string)
		f.enroll(token, "") // and asks for no other
	})
}

// Of 10 changes at once by one session, and its end, nothing is left half done.
func TestPasswordChangesRace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA, func(o *Options) { o.Login.MaxAttempts = 100 })
		admin := f.admin()
		wantTally(t, race(10, func(int) error {
			return f.ChangePassword(f.ctx(), admin.by, goodPassword, thirdPassword)
		}), 1, fault.Unauthenticated)
		must(f.login(adminEmail, thirdPassword, Factor{}))(t)
		if err := f.Logout(f.ctx(), admin.by); err != nil {
			t.Fatal(err)
		}
		wantFault(t, f.ChangePassword(f.ctx(), admin.by, thirdPassword, goodPassword), fault.Unauthenticated)
		must(f.login(adminEmail, thirdPassword, Factor{}))(t)
	})
}

func TestResetPassword(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		r := must(f.ResetPassword(f.ctx(), admin.by, kim.User.ID, "forgotten, SEC-9"))(t)
		if want := f.clock.now().Add(time.Hour); !r.ExpiresAt.Equal(want) {
			t.Errorf("it ends %s, want %s", r.ExpiresAt, want)
		}
		// The old one is worth nothing from then on.
		f.wantEnded(kim.SignIn)
		_, err := f.login(kim.email, otherPassword, Factor{MFACode: f.nextCode(kim.secret)})
		wantFault(t, err, fault.Unauthenticated)
		if detail(err, "mfaRequired") != nil {
			t.Error("the old password is still right")
		}
		// A weak one, and the one before, leave the token as it is.
		wantFault(t, f.ChoosePassword(f.ctx(), from, r.Token, "weak"), fault.Invalid)
		if codes := issueCodes(f.ChoosePassword(f.ctx(), from, r.Token, otherPassword)); !slices.Equal(codes, []string{SameAsBefore}) {
			t.Errorf("of the one before the issues are %v", codes)
		}
		if codes := issueCodes(f.ChoosePassword(f.ctx(), from, r.Token, "Summer2026!!")); !slices.Contains(codes, WeakPattern) {
			t.Errorf("of a season the issues are %v", codes)
		}
		// Another offer takes the place of the first, and remembers the password before all the same.
		second := must(f.ResetPassword(f.ctx(), admin.by, kim.User.ID, "forgotten, SEC-9"))(t)
		wantFault(t, f.ChoosePassword(f.ctx(), from, r.Token, thirdPassword), fault.Unauthenticated)
		if codes := issueCodes(f.ChoosePassword(f.ctx(), from, second.Token, otherPassword)); !slices.Equal(codes, []string{SameAsBefore}) {
			t.Errorf("of the one before the issues are %v", codes)
		}
		if err := f.ChoosePassword(f.ctx(), from, second.Token, thirdPassword); err != nil {
			t.Fatal(err)
		}
		wantFault(t, f.ChoosePassword(f.ctx(), from, second.Token, goodPassword), fault.Unauthenticated)
		// The second factor is asked for all the same.
		_, err = f.login(kim.email, thirdPassword, Factor{})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		must(f.login(kim.email, thirdPassword, Factor{MFACode: f.nextCode(kim.secret)}))(t)

		offered, chosen := f.events("auth.password.reset_offered"), f.events("auth.password.reset")
		if len(offered) != 2 || offered[1].Details["reason"] != "forgotten, SEC-9" || offered[1].Actor.ID != admin.User.ID || offered[1].EntityID != kim.User.ID {
			t.Errorf("offered: %+v", offered)
		}
		if len(chosen) != 1 || chosen[0].Actor.ID != kim.User.ID || chosen[0].IP != from.IP {
			t.Errorf("chosen: %+v", chosen)
		}
	})
}

func TestWhoMayResetPasswords(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		reset := func(by audit.Principal, id, reason string) error {
			_, err := f.ResetPassword(f.ctx(), by, id, reason)
			return err
		}
		stale := admin.by
		stale.AuthenticatedAt = f.clock.now().Add(-15*time.Minute - time.Microsecond)
		wantFault(t, reset(kim.by, admin.User.ID, "because"), fault.Forbidden)
		wantFault(t, reset(stale, kim.User.ID, "because"), fault.Unauthenticated, "reauthRequired")
		wantFault(t, reset(admin.by, kim.User.ID, " "), fault.Invalid)
		wantFault(t, reset(admin.by, store.NewID(), "because"), fault.NotFound)
		wantFault(t, reset(admin.by, admin.User.ID, "because"), fault.Conflict)
		if n := len(f.events("auth.password.reset_refused")); n != 2 {
			t.Errorf("%d refusals are recorded", n)
		}
		f.auth(kim.SignIn)
		if err := reset(audit.Itself("operator"), admin.User.ID, "the only ADMIN has forgotten it"); err != nil {
			t.Error(err)
		}
	})
}

// Each way in which a reset's token ends has the answer of one that there never was.
func TestWhatEndsAResetToken(t *testing.T) {
	yes, no := true, false
	for name, end := range map[string]func(f *fixture, admin, kim signedIn, r PasswordReset) error{
		"its hour": func(f *fixture, _, _ signedIn, _ PasswordReset) error { f.clock.add(time.Hour); return nil },
		"its use": func(f *fixture, _, _ signedIn, r PasswordReset) error {
			return f.ChoosePassword(f.ctx(), from, r.Token, thirdPassword)
		},
		"being disabled": func(f *fixture, admin, kim signedIn, _ PasswordReset) error {
			_, err := f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &yes})
			return err
		},
		"being disabled and enabled": func(f *fixture, admin, kim signedIn, _ PasswordReset) error {
			must(f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &yes}))(f.t)
			_, err := f.ChangeUser(f.ctx(), admin.by, kim.User.ID, UserPatch{Disabled: &no})
			return err
		},
		"another": func(f *fixture, admin, kim signedIn, _ PasswordReset) error {
			_, err := f.ResetPassword(f.ctx(), admin.by, kim.User.ID, "again")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, st *store.Store) {
				f := newFixture(t, st)
				admin := f.admin()
				kim := f.another(admin, "kim@example.com", audit.Author)
				r := must(f.ResetPassword(f.ctx(), admin.by, kim.User.ID, "forgotten"))(t)
				if name == "its hour" {
					f.clock.add(-time.Microsecond)
				}
				if err := end(f, admin, kim, r); err != nil {
					t.Fatal(err)
				}
				if name == "its hour" {
					wantFault(t, f.ChoosePassword(f.ctx(), from, r.Token, "weak"), fault.Invalid) // it is there to the last
					f.clock.add(time.Microsecond)
				}
				for what, token := range map[string]string{
					"spent": r.Token, "unknown": newOpaque(resetPrefix), "no token": "x", "of another kind": newOpaque(enrollmentPrefix),
				} {
					err := f.ChoosePassword(f.ctx(), from, token, goodPassword)
					wantFault(t, err, fault.Unauthenticated)
					if err.Error() != resetOver().Error() {
						t.Errorf("%s: the answer is %q", what, err)
					}
				}
			})
		})
	}
}

func TestResetTokenIsTakenOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		r := must(f.ResetPassword(f.ctx(), admin.by, kim.User.ID, "forgotten"))(t)
		err := st.Read(f.ctx(), func(tx *store.Tx) error {
			var hash []byte
			err := tx.QueryRow(f.ctx(), `select token_hash from password_reset`).Scan(&hash)
			if want, _ := hashOpaque(resetPrefix, r.Token); !slices.Equal(hash, want) {
				t.Errorf("it is kept as %q", hash)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		wantTally(t, race(20, func(int) error { return f.ChoosePassword(f.ctx(), from, r.Token, thirdPassword) }), 1, fault.Unauthenticated)
	})
}

// An offer to enroll ends with the password that has led to it, and after a reset there is time to enroll
// again, with the password that the user has chosen.
func TestResetAndEnrollment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		const first = "Sturdy-Oak-91-Harbor"
		kim := must(f.Register(f.ctx(), admin.by, NewUser{Email: "kim@example.com", Name: "Kim", Password: first, Role: "AUTHOR"}))(t)
		_, err := f.login(kim.Email, first, Factor{})
		token, _ := detail(err, "enrollmentToken").(string)
		f.clock.add(enrollmentDeadline + time.Microsecond)
		_, err = f.login(kim.Email, first, Factor{})
		wantFault(t, err, fault.Forbidden, "enrollmentExpired")

		admin.SignIn = must(f.login(admin.email, goodPassword, Factor{MFACode: f.nextCode(admin.secret)}))(t)
		r := must(f.ResetPassword(f.ctx(), f.auth(admin.SignIn), kim.ID, "too late"))(t)
		_, err = f.EnrollStart(f.ctx(), token)
		wantFault(t, err, fault.Unauthenticated)
		if err := f.ChoosePassword(f.ctx(), from, r.Token, thirdPassword); err != nil {
			t.Fatal(err)
		}
		_, err = f.login(kim.Email, thirdPassword, Factor{})
		wantFault(t, err, fault.Forbidden, "mfaEnrollmentRequired")
		token, _ = detail(err, "enrollmentToken").(string)
		f.enroll(token, "")
	})
}

// The 72 hours hold to the last microsecond, for a token that was given just before, too.
func TestEnrollmentDeadline(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		const first = "Sturdy-Oak-91-Harbor"
		must(f.Register(f.ctx(), admin.by, NewUser{Email: "kim@example.com", Name: "Kim", Password: first, Role: "AUTHOR"}))(t)
		f.clock.add(enrollmentDeadline)
		_, err := f.login("kim@example.com", first, Factor{})
		wantFault(t, err, fault.Forbidden, "mfaEnrollmentRequired")
		token, _ := detail(err, "enrollmentToken").(string)
		setup := must(f.EnrollStart(f.ctx(), token))(t)
		f.clock.add(time.Microsecond)
		_, err = f.EnrollStart(f.ctx(), token)
		wantFault(t, err, fault.Unauthenticated)
		_, err = f.EnrollComplete(f.ctx(), from, token, f.code(setup.Secret), otherPassword)
		wantFault(t, err, fault.Unauthenticated)
		_, err = f.login("kim@example.com", first, Factor{})
		wantFault(t, err, fault.Forbidden, "enrollmentExpired")
	})
}

func TestResetsAreThrottledByNetwork(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		for range f.o.Login.MaxAttempts * networkShare {
			wantFault(t, f.ChoosePassword(f.ctx(), from, newOpaque(resetPrefix), goodPassword), fault.Unauthenticated)
		}
		wantFault(t, f.ChoosePassword(f.ctx(), from, newOpaque(resetPrefix), goodPassword), fault.TooMany)
		elsewhere := audit.Principal{Kind: audit.Anonymous, IP: "203.0.113.77"}
		wantFault(t, f.ChoosePassword(f.ctx(), elsewhere, newOpaque(resetPrefix), goodPassword), fault.Unauthenticated)
		if e := f.events("auth.password.reset_failed"); len(e) != 2 {
			t.Errorf("%d events", len(e))
		}
		// Offers that nobody took are forgotten.
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		must(f.ResetPassword(f.ctx(), admin.by, kim.User.ID, "forgotten"))(t)
		f.clock.add(time.Hour + time.Microsecond)
		must(f.Tidy(f.ctx()))(t)
		var left int
		err := st.Read(f.ctx(), func(tx *store.Tx) error {
			return tx.QueryRow(f.ctx(), `select count(*) from password_reset`).Scan(&left)
		})
		if err != nil || left != 0 {
			t.Errorf("%d are left, %v", left, err)
		}
	})
}
