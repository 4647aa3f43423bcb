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

// loginToEnroll signs in with a password alone and gives the enrollment token.
func (f *fixture) loginToEnroll(email, password string) string {
	f.t.Helper()
	_, err := f.Login(f.ctx(), from, Credentials{Email: email, Password: password})
	wantFault(f.t, err, fault.Forbidden, "mfaEnrollmentRequired")
	return detail(err, "enrollmentToken").(string)
}

func TestEnrollmentOfSomebodyRegistered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		const given = "Sturdy-Oak-91-Harbor"
		u := must(f.Register(f.ctx(), admin.by, NewUser{Email: "kim@example.com", Name: "Kimberley", Password: given, Role: "AUTHOR"}))(t)
		token := f.loginToEnroll("kim@example.com", given)

		_, err := f.EnrollComplete(f.ctx(), from, token, "123456", "")
		wantFault(t, err, fault.Conflict) // not started
		void := must(f.EnrollStart(f.ctx(), token))(t)
		setup := must(f.EnrollStart(f.ctx(), token))(t)
		if void.Secret == setup.Secret {
			t.Error("the secret is the same again")
		}
		complete := func(code, password string) error {
			_, err := f.EnrollComplete(f.ctx(), from, token, code, password)
			return err
		}
		wantFault(t, complete("", otherPassword), fault.Unauthenticated, "mfaRequired")
		wantFault(t, complete("000000", otherPassword), fault.Unauthenticated, "mfaRequired")
		wantFault(t, complete(f.code(void.Secret), otherPassword), fault.Unauthenticated, "mfaRequired")
		wantFault(t, complete(f.code(setup.Secret), ""), fault.Invalid, "newPasswordRequired")
		issues := func(password string) []string {
			list, _ := detail(complete(f.code(setup.Secret), password), "issues").([]Issue)
			return codes(list)
		}
		if got := issues(given); !slices.Equal(got, []string{SameAsBefore}) {
			t.Errorf("the ADMIN's own password: %v", got)
		}
		if got := issues("kimberley"); !slices.Equal(got, []string{TooShort, MissingUppercase, MissingNumber, MissingSymbol, WeakPattern}) {
			t.Errorf("a weak one: %v", got)
		}

		code := f.code(setup.Secret)
		s := must(f.EnrollComplete(f.ctx(), from, token, code, otherPassword))(t)
		if f.auth(s).UserID != u.ID || !s.User.MFAEnabled || len(s.BackupCodes) != 8 {
			t.Errorf("got %+v", s)
		}
		e := f.events("auth.mfa.enrolled")[0]
		if e.Actor.ID != u.ID || e.EntityID != u.ID || e.Details["newPassword"] != true || e.SessionID != s.SessionID {
			t.Errorf("the event is %+v", e)
		}

		// The token is dead, the code is used, the ADMIN's password is gone.
		wantFault(t, complete(f.nextCode(setup.Secret), otherPassword), fault.Unauthenticated)
		_, err = f.EnrollStart(f.ctx(), token)
		wantFault(t, err, fault.Unauthenticated)
		_, err = f.Login(f.ctx(), from, Credentials{Email: "kim@example.com", Password: otherPassword, Factor: Factor{MFACode: code}})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		_, err = f.Login(f.ctx(), from, Credentials{Email: "kim@example.com", Password: given, Factor: Factor{MFACode: f.code(setup.Secret)}})
		wantFault(t, err, fault.Unauthenticated)
		must(f.Login(f.ctx(), from, Credentials{Email: "kim@example.com", Password: otherPassword, Factor: Factor{MFACode: f.code(setup.Secret)}}))(t)
	})
}

func TestWhoChoseTheirPasswordKeepsIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		r := must(f.RegisterFirst(f.ctx(), from, NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}, Bootstrap{}))(t)
		setup := must(f.EnrollStart(f.ctx(), r.EnrollmentToken))(t)
		_, err := f.EnrollComplete(f.ctx(), from, r.EnrollmentToken, f.code(setup.Secret), otherPassword)
		wantFault(t, err, fault.Invalid)
		must(f.EnrollComplete(f.ctx(), from, r.EnrollmentToken, f.code(setup.Secret), ""))(t)
		must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: Factor{MFACode: f.nextCode(setup.Secret)}}))(t)
	})
}

func TestAnEnrollmentTokensLife(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		r := must(f.RegisterFirst(f.ctx(), from, NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}, Bootstrap{}))(t)
		start := func(token string) error {
			_, err := f.EnrollStart(f.ctx(), token)
			return err
		}
		for _, token := range []string{"", "x", newOpaque(enrollmentPrefix), newOpaque(refreshPrefix)} {
			wantFault(t, start(token), fault.Unauthenticated)
		}
		second := f.loginToEnroll(adminEmail, goodPassword)
		wantFault(t, start(r.EnrollmentToken), fault.Unauthenticated) // replaced
		f.clock.add(15*time.Minute - time.Second)
		if err := start(second); err != nil {
			t.Fatalf("in its last second: %v", err)
		}
		f.clock.add(time.Second)
		wantFault(t, start(second), fault.Unauthenticated)

		third := f.loginToEnroll(adminEmail, goodPassword)
		f.exec(`update account set disabled = $1`, true)
		wantFault(t, start(third), fault.Unauthenticated)
		f.exec(`update account set disabled = $1`, false)
		if err := start(third); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEnrollmentWithin72Hours(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		const given = "Sturdy-Oak-91-Harbor"
		u := must(f.Register(f.ctx(), admin.by, NewUser{Email: "kim@example.com", Name: "Kim", Password: given, Role: "AUTHOR"}))(t)
		f.clock.add(72 * time.Hour)
		f.loginToEnroll("kim@example.com", given)
		f.clock.add(time.Second)
		_, err := f.Login(f.ctx(), from, Credentials{Email: "kim@example.com", Password: given})
		wantFault(t, err, fault.Forbidden, "mfaEnrollmentRequired", "enrollmentExpired")
		if detail(err, "enrollmentToken") != nil {
			t.Error("the refusal has a token")
		}
		_, err = f.Login(f.ctx(), from, Credentials{Email: "kim@example.com", Password: "wrong"})
		wantFault(t, err, fault.Unauthenticated)

		by := f.auth(must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: Factor{MFACode: f.code(admin.secret)}}))(t))
		_, err = f.ResetMFA(f.ctx(), by, u.ID, " ")
		wantFault(t, err, fault.Invalid)
		must(f.ResetMFA(f.ctx(), by, u.ID, "was on leave"))(t)
		if s, _ := f.enroll(f.loginToEnroll("kim@example.com", given), otherPassword); f.auth(s).UserID != u.ID {
			t.Error("enrolled as somebody else")
		}
	})
}

// The first account has no deadline: nobody else could let it in again.
func TestTheFirstAccountHasNoDeadline(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		must(f.RegisterFirst(f.ctx(), from, NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}, Bootstrap{}))(t)
		f.clock.add(1000 * time.Hour)
		f.enroll(f.loginToEnroll(adminEmail, goodPassword), "")
	})
}

func TestOneOfTwentyCompletesAnEnrollment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		r := must(f.RegisterFirst(f.ctx(), from, NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}, Bootstrap{}))(t)
		setup := must(f.EnrollStart(f.ctx(), r.EnrollmentToken))(t)
		code := f.code(setup.Secret)
		wantTally(t, race(20, func(int) error {
			_, err := f.EnrollComplete(f.ctx(), from, r.EnrollmentToken, code, "")
			return err
		}), 1, fault.Unauthenticated)
	})
}

func TestSetupAndEnable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		second := must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword}))(t)
		_, err := f.MFAEnable(f.ctx(), admin.by, "123456")
		wantFault(t, err, fault.Conflict)
		setup := must(f.MFASetup(f.ctx(), admin.by))(t)
		_, err = f.MFAEnable(f.ctx(), admin.by, "000000")
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		code := f.code(setup.Secret)
		codes := must(f.MFAEnable(f.ctx(), admin.by, code))(t)
		if len(codes) != 8 || !must(f.User(f.ctx(), admin.User.ID))(t).MFAEnabled {
			t.Errorf("codes %v", codes)
		}
		f.auth(admin.SignIn)
		f.wantEnded(second)
		_, err = f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: Factor{MFACode: code}})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")

		// Replacing: guarded, and the old secret works until the new one has shown a code.
		f.clock.add(time.Hour)
		_, err = f.MFASetup(f.ctx(), admin.by)
		wantFault(t, err, fault.Unauthenticated, "reauthRequired")
		must(f.Reauth(f.ctx(), admin.by, goodPassword, Factor{MFACode: f.code(setup.Secret)}))(t)
		by := f.auth(admin.SignIn)
		next := must(f.MFASetup(f.ctx(), by))(t)
		must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: Factor{MFACode: f.nextCode(setup.Secret)}}))(t)
		must(f.MFAEnable(f.ctx(), by, f.code(next.Secret)))(t)
		for _, factor := range []Factor{{MFACode: f.nextCode(setup.Secret)}, {BackupCode: codes[0]}} {
			_, err = f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: factor})
			wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		}
		must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: Factor{MFACode: f.code(next.Secret)}}))(t)

		// An offer is for 15 minutes, and for the user alone.
		f.clock.add(time.Minute)
		offer := must(f.MFASetup(f.ctx(), by))(t)
		f.clock.add(15 * time.Minute)
		_, err = f.MFAEnable(f.ctx(), audit.Principal{Kind: audit.User, UserID: by.UserID, SessionID: by.SessionID, AuthenticatedAt: f.clock.now()}, f.code(offer.Secret))
		wantFault(t, err, fault.Conflict)
	})
}

func TestDisable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		wantFault(t, f.MFADisable(f.ctx(), admin.by, Factor{MFACode: f.nextCode(admin.secret)}), fault.Conflict)
		f.o.MFARequired = false
		wantFault(t, f.MFADisable(f.ctx(), admin.by, Factor{}), fault.Unauthenticated, "mfaRequired")
		wantFault(t, f.MFADisable(f.ctx(), admin.by, Factor{MFACode: "000000"}), fault.Unauthenticated, "mfaRequired")
		wantFault(t, f.MFADisable(f.ctx(), admin.by, Factor{MFACode: "000000", BackupCode: "x"}), fault.Invalid)
		stale := admin.by
		stale.AuthenticatedAt = f.clock.now().Add(-time.Hour)
		wantFault(t, f.MFADisable(f.ctx(), stale, Factor{BackupCode: admin.BackupCodes[0]}), fault.Unauthenticated, "reauthRequired")
		if err := f.MFADisable(f.ctx(), admin.by, Factor{BackupCode: admin.BackupCodes[0]}); err != nil {
			t.Fatal(err)
		}
		wantFault(t, f.MFADisable(f.ctx(), admin.by, Factor{BackupCode: admin.BackupCodes[1]}), fault.Conflict)
		s := must(f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword}))(t)
		if s.User.MFAEnabled {
			t.Error("it is still enabled")
		}
		f.o.MFARequired = true
		f.wantEnded(s)
		f.loginToEnroll(adminEmail, goodPassword)
	})
}

func TestRegenerateBackupCodes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		_, err := f.RegenerateBackupCodes(f.ctx(), admin.by, f.code(admin.secret)) // used by the enrollment
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		codes := must(f.RegenerateBackupCodes(f.ctx(), admin.by, f.nextCode(admin.secret)))(t)
		if len(codes) != 8 || slices.Contains(codes, admin.BackupCodes[0]) {
			t.Errorf("got %v", codes)
		}
		login := func(code string) error {
			_, err := f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Factor: Factor{BackupCode: code}})
			return err
		}
		wantFault(t, login(admin.BackupCodes[0]), fault.Unauthenticated, "mfaRequired")
		if err := login(codes[7]); err != nil {
			t.Error(err)
		}
	})
}

// With a stolen access token there are a million codes to try: the tries are counted.
func TestFactorGuessesAreThrottled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		for range 8 {
			_, err := f.RegenerateBackupCodes(f.ctx(), admin.by, "000000")
			wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		}
		_, err := f.RegenerateBackupCodes(f.ctx(), admin.by, f.nextCode(admin.secret))
		wantFault(t, err, fault.TooMany)
	})
}
