package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/account/passkeytest"
	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
	"sealpost/store/storetest"
)

const testOrigin = "http://localhost:4000"

// passkey registers a new device's passkey for somebody.
func (f *fixture) passkey(who signedIn, change ...func(*passkeytest.Device)) (*passkeytest.Device, Passkey) {
	f.t.Helper()
	d := passkeytest.New(testOrigin)
	for _, c := range change {
		c(d)
	}
	options := must(f.PasskeyRegisterStart(f.ctx(), who.by))(f.t)
	return d, must(f.PasskeyRegisterFinish(f.ctx(), who.by, "Ada's laptop", d.Create(f.t, options)))(f.t)
}

// assertion has a device answer a new challenge for a sign-in.
func (f *fixture) assertion(d *passkeytest.Device, bend ...passkeytest.Bend) []byte {
	f.t.Helper()
	return d.Get(f.t, must(f.PasskeyLoginStart())(f.t), bend...)
}

func (f *fixture) passkeyLogin(d *passkeytest.Device, bend ...passkeytest.Bend) (SignIn, error) {
	f.t.Helper()
	return f.PasskeyLoginFinish(f.ctx(), from, f.assertion(d, bend...))
}

func TestPasskeySignsIn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		for _, algorithm := range []int64{passkeytest.ES256, passkeytest.EdDSA, passkeytest.RS256} {
			d, k := f.passkey(ada, func(d *passkeytest.Device) { d.Algorithm = algorithm })
			if k.Name != "Ada's laptop" || k.LastUsedAt != nil || k.BackedUp || !k.CreatedAt.Equal(f.now()) {
				t.Errorf("the new passkey is %+v", k)
			}
			f.clock.add(time.Minute)
			s := must(f.passkeyLogin(d))(t)
			by := f.auth(s)
			if by.UserID != ada.by.UserID || by.Role != audit.Admin || s.RefreshToken == "" || f.Guard(by) != nil {
				t.Errorf("algorithm %d signs in %+v", algorithm, by)
			}
			must(f.Refresh(f.ctx(), from, s.RefreshToken))(t)
			list := must(f.Passkeys(f.ctx(), by))(t)
			if last := list[len(list)-1]; last.LastUsedAt == nil || !last.LastUsedAt.Equal(f.now()) {
				t.Errorf("its last use is %v", last.LastUsedAt)
			}
			e := f.events("auth.login.succeeded")[0]
			if e.Details["factor"] != "passkey" || e.Details["passkey"] != k.ID || e.Actor.ID != by.UserID || e.SessionID != s.SessionID {
				t.Errorf("the event is %+v", e)
			}
		}
		e := f.events("auth.passkey.registered")
		if len(e) != 3 || e[0].Entity != "Passkey" || e[0].Actor.ID != ada.by.UserID || e[0].SessionID != ada.SessionID {
			t.Errorf("the registrations are %+v", e)
		}
	})
}

// TestPasskeysThatAreNotAccepted goes through everything that can be wrong with an assertion: the answer is
// one, and the log tells them apart.
func TestPasskeysThatAreNotAccepted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, func(o *Options) { o.Login.MaxAttempts = 1000 })
		ada := f.admin()
		kim := f.another(ada, "kim@example.com", audit.Author)
		d, _ := f.passkey(ada)
		other, _ := f.passkey(kim)
		must(f.passkeyLogin(d))(t)
		must(f.passkeyLogin(other))(t)

		replayed := f.assertion(d)
		must(f.PasskeyLoginFinish(f.ctx(), from, replayed))(t)
		gone, k := f.passkey(ada)
		if err := f.DeletePasskey(f.ctx(), ada.by, k.ID); err != nil {
			t.Fatal(err)
		}
		late := f.assertion(d)
		registration := must(f.PasskeyRegisterStart(f.ctx(), ada.by))(t)
		confirmation := must(f.PasskeyReauthStart(f.ctx(), ada.by))(t)
		f.clock.add(ceremonyTime)

		client := func(change func(*passkeytest.Client)) passkeytest.Bend {
			return func(c *passkeytest.Client, _ *passkeytest.Answer) { change(c) }
		}
		with := func(change func(*passkeytest.Device)) []byte {
			copied := *d
			change(&copied)
			return f.assertion(&copied)
		}
		for _, tt := range []struct {
			name   string
			answer []byte
			reason string
		}{
			{"nobody's passkey", f.assertion(d, func(_ *passkeytest.Client, a *passkeytest.Answer) {
				a.ID, a.RawID = []byte("nobody's"), []byte("nobody's")
			}), reasonNoPasskey},
			{"one that was deleted", f.assertion(gone), reasonNoPasskey},
			{"an assertion again", replayed, reasonChallenge}, // its five minutes are over, too
			{"an answer that is late", late, reasonChallenge},
			{"a challenge that was made up", f.assertion(d, client(func(c *passkeytest.Client) {
				c.Challenge = strings.Repeat("A", 76)
			})), reasonChallenge},
			{"a challenge in another spelling", f.assertion(d, client(func(c *passkeytest.Client) { c.Challenge += "\n" })), reasonChallenge},
			{"no challenge", f.assertion(d, client(func(c *passkeytest.Client) { c.Challenge = "" })), reasonChallenge},
			{"the challenge of a registration", d.Get(t, map[string]any{"challenge": registration.Challenge, "rpId": "localhost"}), reasonChallenge},
			{"the challenge of a confirmation", d.Get(t, confirmation), reasonChallenge},
			{"another's passkey for one's own user", f.assertion(d, func(_ *passkeytest.Client, a *passkeytest.Answer) {
				a.UserHandle = other.UserHandle
			}), reasonHandle},
			{"one's own passkey for another user", f.assertion(other, func(_ *passkeytest.Client, a *passkeytest.Answer) {
				a.UserHandle = d.UserHandle
			}), reasonHandle},
			{"no user", f.assertion(d, func(_ *passkeytest.Client, a *passkeytest.Answer) { a.UserHandle = nil }), reasonHandle},
			{"a false page", with(func(d *passkeytest.Device) { d.Origin = "http://localhost.example:4000" }), reasonOrigin},
			{"another port", with(func(d *passkeytest.Device) { d.Origin = "http://localhost:4001" }), reasonOrigin},
			{"another scheme", with(func(d *passkeytest.Device) { d.Origin = "https://localhost:4000" }), reasonOrigin},
			{"inside another site's page", f.assertion(d, client(func(c *passkeytest.Client) { c.CrossOrigin = true })), reasonOrigin},
			{"under another site's page", f.assertion(d, client(func(c *passkeytest.Client) {
				c.CrossOrigin, c.TopOrigin = true, "https://example.com"
			})), reasonOrigin},
			{"another relying party", with(func(d *passkeytest.Device) { d.RPID = "example.com" }), reasonParty},
			{"nobody there", with(func(d *passkeytest.Device) { d.Flags = passkeytest.UserVerified }), reasonPresence},
			{"nobody in particular there", with(func(d *passkeytest.Device) { d.Flags = passkeytest.UserPresent }), reasonVerification},
			{"one that may now be copied", with(func(d *passkeytest.Device) { d.Flags |= passkeytest.BackupEligible }), reasonBackup},
			{"one that is copied and may not be", with(func(d *passkeytest.Device) { d.Flags |= passkeytest.BackedUp }), reasonBackup},
			{"a registration", f.assertion(d, client(func(c *passkeytest.Client) { c.Type = "webauthn.create" })), reasonCeremony},
			{"another device's signature", f.assertion(other, func(_ *passkeytest.Client, a *passkeytest.Answer) {
				a.ID, a.RawID, a.UserHandle = d.ID, d.ID, d.UserHandle
			}), reasonSignature},
			{"no signature", f.assertion(d, func(_ *passkeytest.Client, a *passkeytest.Answer) { a.Signature = []byte{} }), reasonSignature},
		} {
			forgetRefusals(f)
			_, err := f.PasskeyLoginFinish(f.ctx(), from, tt.answer)
			if want := passkeyRefused(); !fault.Is(err, fault.Unauthenticated) || err.Error() != want.Error() || detail(err, "mfaRequired") != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if e := f.events("auth.login.failed")[0]; e.Details["reason"] != tt.reason || e.Outcome != audit.Failure {
				t.Errorf("%s: the event is %s %v, want %q", tt.name, e.Outcome, e.Details, tt.reason)
			}
		}
		for name, bend := range map[string]passkeytest.Bend{
			"another type":     func(_ *passkeytest.Client, a *passkeytest.Answer) { a.Type = "password" },
			"two ids":          func(_ *passkeytest.Client, a *passkeytest.Answer) { a.RawID = []byte("x") },
			"no id":            func(_ *passkeytest.Client, a *passkeytest.Answer) { a.ID, a.RawID = nil, nil },
			"data that breaks": func(_ *passkeytest.Client, a *passkeytest.Answer) { a.AuthData = make([]byte, 36) },
		} {
			_, err := f.passkeyLogin(d, bend)
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		must(f.passkeyLogin(d))(t) // it is still good
	})
}

// forgetRefusals has the next refusal be an event of its own, and not one of a minute's count.
func forgetRefusals(f *fixture) {
	f.t.Helper()
	f.log.Close(f.ctx())
}

func TestDisabledUsersPasskey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		kim := f.another(ada, "kim@example.com", audit.Author)
		d, _ := f.passkey(kim)
		yes, no := true, false
		must(f.ChangeUser(f.ctx(), ada.by, kim.by.UserID, UserPatch{Disabled: &yes}))(t)
		forgetRefusals(f)
		_, err := f.passkeyLogin(d)
		if wantFault(t, err, fault.Unauthenticated); err.Error() != passkeyRefused().Error() {
			t.Errorf("a disabled user is told %v", err)
		}
		if e := f.events("auth.login.failed")[0]; e.Details["reason"] != reasonDisabled || e.EntityID != kim.by.UserID {
			t.Errorf("the event is %+v", e)
		}
		must(f.ChangeUser(f.ctx(), ada.by, kim.by.UserID, UserPatch{Disabled: &no}))(t)
		must(f.passkeyLogin(d))(t)
	})
}

// TestAssertionOnce has twenty bring one assertion at once.
func TestAssertionOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, func(o *Options) { o.Login.MaxAttempts = 1000 })
		d, _ := f.passkey(f.admin())
		answer := f.assertion(d)
		errs := race(20, func(int) error {
			_, err := f.PasskeyLoginFinish(f.ctx(), from, answer)
			return err
		})
		wantTally(t, errs, 1, fault.Unauthenticated)
		forgetRefusals(f)
		_, err := f.PasskeyLoginFinish(f.ctx(), from, answer)
		wantFault(t, err, fault.Unauthenticated)
		if e := f.events("auth.login.failed")[0]; e.Details["reason"] != reasonSpent {
			t.Errorf("the event is %+v", e)
		}
		if n := len(f.events("auth.login.succeeded")); n != 2 { // with the enrollment's
			t.Errorf("%d sign-ins", n)
		}
	})
}

// TestChallengesEnd holds the five minutes at their edge, and that asking writes nothing.
func TestChallengesEnd(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		d, _ := f.passkey(ada)
		for range 100 {
			must(f.PasskeyLoginStart())(t)
		}
		if n := f.count("passkey_challenge"); n != 1 { // the registration's
			t.Errorf("there are %d spent challenges", n)
		}
		answer := f.assertion(d)
		f.clock.add(ceremonyTime - time.Microsecond)
		must(f.PasskeyLoginFinish(f.ctx(), from, answer))(t)
		answer = f.assertion(d)
		f.clock.add(ceremonyTime)
		_, err := f.PasskeyLoginFinish(f.ctx(), from, answer)
		wantFault(t, err, fault.Unauthenticated)

		if n := f.count("passkey_challenge"); n != 2 {
			t.Errorf("there are %d spent challenges", n)
		}
		f.clock.add(challengeSlack)
		must(f.Tidy(f.ctx()))(t)
		if n := f.count("passkey_challenge"); n != 0 {
			t.Errorf("%d spent challenges are kept that are over", n)
		}
	})
}

func (f *fixture) count(table string) (n int) {
	f.t.Helper()
	err := f.log.Store().Read(f.ctx(), func(tx *store.Tx) error {
		return tx.QueryRow(f.ctx(), `select count(*) from `+table).Scan(&n)
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func TestCounterGrew(t *testing.T) {
	for _, tt := range []struct {
		stored, shown uint32
		want          bool
	}{
		{0, 0, true},
		{0, 1, true},
		{1, 2, true},
		{1, 1 << 31, true},
		{1<<32 - 2, 1<<32 - 1, true},
		{1, 1, false},
		{2, 1, false},
		{1, 0, false},
		{1<<32 - 1, 0, false},
	} {
		if got := counterGrew(tt.stored, tt.shown); got != tt.want {
			t.Errorf("from %d to %d: %t", tt.stored, tt.shown, got)
		}
	}
}

// TestClonedPasskey has two devices count from one number.
func TestClonedPasskey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		d, k := f.passkey(ada, func(d *passkeytest.Device) { d.Counter = 7 })
		clone := *d
		must(f.passkeyLogin(d.Count()))(t)
		_, err := f.passkeyLogin(clone.Count())
		if wantFault(t, err, fault.Unauthenticated); err.Error() != passkeyRefused().Error() {
			t.Errorf("the clone is told %v", err)
		}
		e := f.events("auth.passkey.clone_warning")
		if len(e) != 1 || e[0].EntityID != k.ID || e[0].Outcome != audit.Denied || e[0].Details["user"] != ada.by.UserID ||
			fmt.Sprint(e[0].Details["shown"]) != "8" {
			t.Errorf("the warnings are %+v", e)
		}
		if e := f.events("auth.login.failed")[0]; e.Details["reason"] != reasonCloned {
			t.Errorf("the event is %+v", e)
		}
		must(f.passkeyLogin(d.Count()))(t) // the count that was refused is not the one that is kept
		options := must(f.PasskeyReauthStart(f.ctx(), ada.by))(t)
		_, err = f.ReauthPasskey(f.ctx(), ada.by, clone.Get(t, options))
		wantFault(t, err, fault.Unauthenticated, "reauthRequired")
		if n := len(f.events("auth.passkey.clone_warning")); n != 2 {
			t.Errorf("%d warnings", n)
		}
	})
}

// TestSyncedPasskey is one that does not count and says how it is copied.
func TestSyncedPasskey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		d, k := f.passkey(ada, func(d *passkeytest.Device) { d.Flags |= passkeytest.BackupEligible })
		if k.BackedUp {
			t.Error("it is backed up before it is")
		}
		for range 3 {
			must(f.passkeyLogin(d))(t)
		}
		d.Flags |= passkeytest.BackedUp
		must(f.passkeyLogin(d))(t)
		if list := must(f.Passkeys(f.ctx(), ada.by))(t); !list[0].BackedUp {
			t.Error("that it is backed up was not noted")
		}
		if n := len(f.events("auth.passkey.clone_warning")); n != 0 {
			t.Errorf("%d warnings", n)
		}
	})
}

// TestPasskeyThrottle counts by account and network, and apart from the password.
func TestPasskeyThrottle(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		d, _ := f.passkey(ada)
		forge := func(_ *passkeytest.Client, a *passkeytest.Answer) { a.Signature = []byte{1} }
		for range 8 {
			_, err := f.passkeyLogin(d, forge)
			wantFault(t, err, fault.Unauthenticated)
		}
		_, err := f.passkeyLogin(d)
		wantFault(t, err, fault.TooMany)
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.RetryAfter != 15*time.Minute {
			t.Errorf("it is told %v", err)
		}
		confirm := func(bend ...passkeytest.Bend) error {
			options := must(f.PasskeyReauthStart(f.ctx(), ada.by))(t)
			_, err := f.ReauthPasskey(f.ctx(), ada.by, d.Get(t, options, bend...))
			return err
		}
		if err := confirm(); err != nil { // is counted apart
			t.Error(err)
		}
		for range 8 {
			wantFault(t, confirm(forge), fault.Unauthenticated)
		}
		wantFault(t, confirm(), fault.TooMany)
		password := Credentials{Email: ada.email, Password: goodPassword}
		password.MFACode = f.nextCode(ada.secret)
		must(f.Login(f.ctx(), from, password))(t) // is not held up by it
		f.clock.add(15 * time.Minute)
		must(f.passkeyLogin(d))(t)

		for range 8 {
			_, err := f.Login(f.ctx(), from, Credentials{Email: ada.email, Password: "Wrong-" + goodPassword})
			wantFault(t, err, fault.Unauthenticated)
		}
		_, err = f.Login(f.ctx(), from, password)
		wantFault(t, err, fault.TooMany)
		must(f.passkeyLogin(d))(t) // nor is this

		// A network has ten times as many, by password and passkey together.
		elsewhere := from
		elsewhere.IP = "198.51.100.7"
		for i := range 80 {
			if i%2 == 0 {
				_, err = f.Login(f.ctx(), elsewhere, Credentials{Email: fmt.Sprintf("nobody-%d@example.com", i), Password: "x"})
			} else {
				_, err = f.PasskeyLoginFinish(f.ctx(), elsewhere, f.assertion(d, func(_ *passkeytest.Client, a *passkeytest.Answer) {
					a.ID = []byte(fmt.Sprint("nobody's", i))
					a.RawID = a.ID
				}))
			}
			wantFault(t, err, fault.Unauthenticated)
		}
		_, err = f.PasskeyLoginFinish(f.ctx(), elsewhere, f.assertion(d))
		wantFault(t, err, fault.TooMany)
	})
}

func TestPasskeyLimits(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		for name, ok := range map[string]bool{
			strings.Repeat("ä", MaxPasskeyName): true, strings.Repeat("ä", MaxPasskeyName+1): false, " ": false, "a\x00b": false, "a\nb": false, "\xff": false,
		} {
			options := must(f.PasskeyRegisterStart(f.ctx(), ada.by))(t)
			k, err := f.PasskeyRegisterFinish(f.ctx(), ada.by, name, passkeytest.New(testOrigin).Create(t, options))
			if ok != (err == nil) || !ok && !fault.Is(err, fault.Invalid) || ok && k.Name != name {
				t.Errorf("the name %q: %v, %v", name, k, err)
			}
		}
		for range MaxPasskeys - 2 {
			f.passkey(ada)
		}
		// Twenty at once for the last place.
		errs := race(20, func(int) error {
			options, err := f.PasskeyRegisterStart(f.ctx(), ada.by)
			if err != nil {
				return err
			}
			_, err = f.PasskeyRegisterFinish(f.ctx(), ada.by, "one of twenty", passkeytest.New(testOrigin).Create(t, options))
			return err
		})
		wantTally(t, errs, 1, fault.Conflict)
		list := must(f.Passkeys(f.ctx(), ada.by))(t)
		if len(list) != MaxPasskeys {
			t.Fatalf("there are %d passkeys", len(list))
		}
		_, err := f.PasskeyRegisterStart(f.ctx(), ada.by)
		wantFault(t, err, fault.Conflict)
		if err := f.DeletePasskey(f.ctx(), ada.by, list[3].ID); err != nil {
			t.Fatal(err)
		}
		if options := must(f.PasskeyRegisterStart(f.ctx(), ada.by))(t); len(options.ExcludeCredentials) != MaxPasskeys-1 {
			t.Errorf("%d are excluded", len(options.ExcludeCredentials))
		}
	})
}

// TestRegistrationsThatAreNotAccepted goes through what can be wrong with a new passkey.
func TestRegistrationsThatAreNotAccepted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		kim := f.another(ada, "kim@example.com", audit.Author)
		first, _ := f.passkey(ada)
		options := must(f.PasskeyRegisterStart(f.ctx(), ada.by))(t)
		login := must(f.PasskeyLoginStart())(t)
		others := must(f.PasskeyRegisterStart(f.ctx(), kim.by))(t)
		again := must(f.Login(f.ctx(), from, Credentials{Email: ada.email, Password: goodPassword, Factor: Factor{MFACode: f.nextCode(ada.secret)}}))(t)
		elsewhere := must(f.PasskeyRegisterStart(f.ctx(), f.auth(again)))(t)
		no := false
		type change = func(*passkeytest.Device)
		type bend = passkeytest.Bend
		for _, tt := range []struct {
			name    string
			options any
			change  change
			bend    bend
			kind    fault.Kind
			reason  string // "": there is no event
		}{
			{"a false page", options, func(d *passkeytest.Device) { d.Origin = "http://localhost.example:4000" }, nil, fault.Invalid, reasonOrigin},
			{"another relying party", options, func(d *passkeytest.Device) { d.RPID = "example.com" }, nil, fault.Invalid, reasonParty},
			{"user not verified", options, func(d *passkeytest.Device) { d.Flags = passkeytest.UserPresent }, nil, fault.Invalid, reasonVerification},
			{"user not present", options, func(d *passkeytest.Device) { d.Flags = passkeytest.UserVerified }, nil, fault.Invalid, reasonPresence},
			{"copied and may not be", options, func(d *passkeytest.Device) { d.Flags |= passkeytest.BackedUp }, nil, fault.Invalid, reasonBackup},
			{"an assertion", options, nil, func(c *passkeytest.Client, _ *passkeytest.Answer) { c.Type = "webauthn.get" }, fault.Invalid, reasonCeremony},
			{"a sign-in's challenge", map[string]any{
				"challenge": login.Challenge, "rp": options.RP, "user": options.User,
			}, nil, nil, fault.Invalid, reasonChallenge},
			{"another user's challenge", others, nil, nil, fault.Invalid, reasonChallenge},
			{"another session's challenge", elsewhere, nil, nil, fault.Invalid, reasonChallenge},
			{"another id than the one that was made", options, nil, func(_ *passkeytest.Client, a *passkeytest.Answer) {
				a.ID, a.RawID = first.ID, first.ID
			}, fault.Invalid, reasonSignature},
			{"not discoverable", options, nil, func(_ *passkeytest.Client, a *passkeytest.Answer) { a.RK = &no }, fault.Invalid, ""},
			{"nothing attested", options, nil, func(_ *passkeytest.Client, a *passkeytest.Answer) { a.AuthData = make([]byte, 37) }, fault.Invalid, ""},
			{"a statement that is no map", options, nil, func(_ *passkeytest.Client, a *passkeytest.Answer) { a.Statement = []byte{0} }, fault.Invalid, ""},
		} {
			forgetRefusals(f)
			before := len(f.events("auth.passkey.register_failed"))
			d := passkeytest.New(testOrigin)
			if tt.change != nil {
				tt.change(d)
			}
			if tt.bend == nil {
				tt.bend = func(*passkeytest.Client, *passkeytest.Answer) {}
			}
			_, err := f.PasskeyRegisterFinish(f.ctx(), ada.by, "x", d.Create(t, tt.options, tt.bend))
			if !fault.Is(err, tt.kind) {
				t.Errorf("%s: %v", tt.name, err)
			}
			events := f.events("auth.passkey.register_failed")
			if (tt.reason == "") != (len(events) == before) || tt.reason != "" && events[0].Details["reason"] != tt.reason {
				t.Errorf("%s: the events are %+v, want %q", tt.name, events, tt.reason)
			}
		}
		// A statement that comes along unasked says nothing and does no harm.
		d := passkeytest.New(testOrigin)
		unasked := d.Create(t, options, func(_ *passkeytest.Client, a *passkeytest.Answer) { a.Format = "tpm" })
		must(f.PasskeyRegisterFinish(f.ctx(), ada.by, "with a statement", unasked))(t)
		must(f.passkeyLogin(d))(t)
		_, err := f.PasskeyRegisterFinish(f.ctx(), ada.by, "again", unasked) // the challenge is spent
		wantFault(t, err, fault.Invalid)

		// A credential that somebody has is nobody else's.
		copied := *first
		options = must(f.PasskeyRegisterStart(f.ctx(), kim.by))(t)
		answer := copied.Create(t, options)
		must(f.PasskeyRegisterFinish(f.ctx(), kim.by, "Kim's", answer))(t)
		options = must(f.PasskeyRegisterStart(f.ctx(), ada.by))(t)
		twin := passkeytest.New(testOrigin)
		answer = twin.CreateAs(t, copied.ID, options)
		_, err = f.PasskeyRegisterFinish(f.ctx(), ada.by, "Kim's", answer)
		wantFault(t, err, fault.Conflict)
	})
}

// TestPasskeysNeedAFreshSignIn holds the guard of both halves and of deleting.
func TestPasskeysNeedAFreshSignIn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		d, k := f.passkey(ada)
		options := must(f.PasskeyRegisterStart(f.ctx(), ada.by))(t)
		f.clock.add(15*time.Minute + time.Microsecond)
		_, err := f.PasskeyRegisterStart(f.ctx(), ada.by)
		wantFault(t, err, fault.Unauthenticated, "reauthRequired")
		_, err = f.PasskeyRegisterFinish(f.ctx(), ada.by, "x", passkeytest.New(testOrigin).Create(t, options))
		wantFault(t, err, fault.Unauthenticated, "reauthRequired")
		wantFault(t, f.DeletePasskey(f.ctx(), ada.by, k.ID), fault.Unauthenticated, "reauthRequired")

		challenge := must(f.PasskeyReauthStart(f.ctx(), ada.by))(t)
		if len(challenge.AllowCredentials) != 1 || !slices.Equal(challenge.AllowCredentials[0].Transports, []string{"internal", "hybrid"}) {
			t.Errorf("allowed are %+v", challenge.AllowCredentials)
		}
		answer := d.Get(t, challenge, func(_ *passkeytest.Client, a *passkeytest.Answer) { a.UserHandle = nil }) // which it may leave out here
		if at := must(f.ReauthPasskey(f.ctx(), ada.by, answer))(t); !at.Equal(f.now()) {
			t.Errorf("confirmed at %v", at)
		}
		if e := f.events("auth.reauth.succeeded"); len(e) != 1 || e[0].Details["factor"] != "passkey" {
			t.Errorf("the events are %+v", e)
		}
		if err := f.DeletePasskey(f.ctx(), f.auth(ada.SignIn), k.ID); err != nil {
			t.Error(err)
		}
		_, err = f.PasskeyReauthStart(f.ctx(), ada.by)
		wantFault(t, err, fault.Conflict)
	})
}

// TestConfirmationsThatAreNotAccepted are those of reauth.
func TestConfirmationsThatAreNotAccepted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, func(o *Options) { o.Login.MaxAttempts = 1000 })
		ada := f.admin()
		kim := f.another(ada, "kim@example.com", audit.Author)
		d, _ := f.passkey(ada)
		kims, _ := f.passkey(kim)
		options := must(f.PasskeyReauthStart(f.ctx(), ada.by))(t)
		elsewhere := f.auth(must(f.passkeyLogin(d))(t))
		for name, tt := range map[string]struct {
			answer []byte
			reason string
		}{
			"another's passkey":           {kims.Get(t, options), reasonHandle},
			"a sign-in's challenge":       {f.assertion(d), reasonChallenge},
			"another session's challenge": {d.Get(t, must(f.PasskeyReauthStart(f.ctx(), elsewhere))(t)), reasonChallenge},
			"another user's handle": {d.Get(t, options, func(_ *passkeytest.Client, a *passkeytest.Answer) {
				a.UserHandle = kims.UserHandle
			}), reasonSignature},
			"another's signature": {kims.Get(t, options, func(_ *passkeytest.Client, a *passkeytest.Answer) {
				a.ID, a.RawID, a.UserHandle = d.ID, d.ID, d.UserHandle
			}), reasonSignature},
		} {
			forgetRefusals(f)
			_, err := f.ReauthPasskey(f.ctx(), ada.by, tt.answer)
			wantFault(t, err, fault.Unauthenticated, "reauthRequired")
			if e := f.events("auth.reauth.failed")[0]; e.Details["reason"] != tt.reason {
				t.Errorf("%s: the event is %v", name, e.Details)
			}
		}
		answer := d.Get(t, options)
		wantTally(t, race(20, func(int) error {
			_, err := f.ReauthPasskey(f.ctx(), ada.by, answer)
			return err
		}), 1, fault.Unauthenticated)
		answer = d.Get(t, must(f.PasskeyReauthStart(f.ctx(), ada.by))(t))
		if err := f.Logout(f.ctx(), ada.by); err != nil {
			t.Fatal(err)
		}
		_, err := f.ReauthPasskey(f.ctx(), ada.by, answer)
		wantFault(t, err, fault.Unauthenticated)
	})
}

func TestDeletePasskey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		kim := f.another(ada, "kim@example.com", audit.Author)
		lost, lostKey := f.passkey(ada)
		kept, _ := f.passkey(ada)
		byLost, byKept := must(f.passkeyLogin(lost))(t), must(f.passkeyLogin(kept))(t)
		current := must(f.passkeyLogin(lost))(t)

		wantFault(t, f.DeletePasskey(f.ctx(), kim.by, lostKey.ID), fault.NotFound)
		wantFault(t, f.DeletePasskey(f.ctx(), kim.by, "\x00"), fault.Invalid)
		if err := f.DeletePasskey(f.ctx(), f.auth(current), lostKey.ID); err != nil {
			t.Fatal(err)
		}
		f.wantEnded(byLost)
		f.auth(byKept)
		f.auth(current)
		f.auth(ada.SignIn)
		wantFault(t, f.DeletePasskey(f.ctx(), ada.by, lostKey.ID), fault.NotFound)
		if e := f.events("auth.passkey.deleted"); len(e) != 1 || e[0].EntityID != lostKey.ID || fmt.Sprint(e[0].Details["sessionsEnded"]) != "1" {
			t.Errorf("the events are %+v", e)
		}
		_, err := f.passkeyLogin(lost)
		wantFault(t, err, fault.Unauthenticated)
	})
}

func TestResetMFATakesPasskeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		kim := f.another(ada, "kim@example.com", audit.Author)
		d, _ := f.passkey(kim)
		mine, _ := f.passkey(ada)
		s := must(f.passkeyLogin(d))(t)
		must(f.ResetMFA(f.ctx(), ada.by, kim.by.UserID, "lost everything"))(t)
		f.wantEnded(s)
		_, err := f.passkeyLogin(d)
		wantFault(t, err, fault.Unauthenticated)
		if e := f.events("auth.mfa.reset")[0]; fmt.Sprint(e.Details["passkeys"]) != "1" {
			t.Errorf("the event is %+v", e)
		}
		must(f.passkeyLogin(mine))(t)
		_, err = f.Login(f.ctx(), from, Credentials{Email: kim.email, Password: otherPassword})
		wantFault(t, err, fault.Forbidden, "mfaEnrollmentRequired")
	})
}

// TestNoPasskeyBehindAReset has somebody's request be under way when their session ends.
func TestNoPasskeyBehindAReset(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		ada := f.admin()
		kim := f.another(ada, "kim@example.com", audit.Author)
		answer := passkeytest.New(testOrigin).Create(t, must(f.PasskeyRegisterStart(f.ctx(), kim.by))(t))
		must(f.ResetMFA(f.ctx(), ada.by, kim.by.UserID, "lost everything"))(t)
		_, err := f.PasskeyRegisterFinish(f.ctx(), kim.by, "x", answer)
		if wantFault(t, err, fault.Unauthenticated); f.count("passkey") != 0 {
			t.Error("there is a passkey all the same")
		}
		mine := passkeytest.New(testOrigin).Create(t, must(f.PasskeyRegisterStart(f.ctx(), ada.by))(t))
		if err := f.LogoutAll(f.ctx(), ada.by, Whose{}); err != nil {
			t.Fatal(err)
		}
		_, err = f.PasskeyRegisterFinish(f.ctx(), ada.by, "x", mine)
		wantFault(t, err, fault.Unauthenticated)
	})
}

// TestPasskeyAlone is an account that has a passkey and no authenticator app, from before MFA was required.
// The passkey is enough; the password is good for nothing, not even to enroll another factor beside it.
func TestPasskeyAlone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		ada := f.admin()
		d, k := f.passkey(ada)
		byPassword := must(f.Login(f.ctx(), from, Credentials{Email: ada.email, Password: goodPassword}))(t)
		f.o.MFARequired = true
		f.wantEnded(byPassword)
		_, err := f.Refresh(f.ctx(), from, byPassword.RefreshToken)
		wantFault(t, err, fault.Unauthenticated)
		_, err = f.Login(f.ctx(), from, Credentials{Email: ada.email, Password: goodPassword})
		wantFault(t, err, fault.Forbidden, "passkeyRequired")
		if detail(err, "enrollmentToken") != nil || f.count("mfa_enrollment") != 0 {
			t.Error("a password offers enrollment beside a passkey")
		}

		f.exec(`update session set revoked_at = 1 where passkey_id is null`)
		s := must(f.passkeyLogin(d))(t)
		by := f.auth(s)
		must(f.Refresh(f.ctx(), from, s.RefreshToken))(t)
		i := must(Inspect(f.ctx(), st, f.now()))(t)
		if i.FirstHasMFA || i.WithoutMFA != 1 || i.SessionsWithout != 0 {
			t.Errorf("the tables say %+v", i)
		}
		wantFault(t, f.DeletePasskey(f.ctx(), by, k.ID), fault.Conflict)
		if e := f.events("auth.passkey.delete_refused"); len(e) != 1 || f.count("passkey") != 1 {
			t.Errorf("the only factor can be deleted, or leaves no trace: %+v", e)
		}
		setup := must(f.MFASetup(f.ctx(), by))(t)
		must(f.MFAEnable(f.ctx(), by, f.code(setup.Secret)))(t)
		if err := f.DeletePasskey(f.ctx(), by, k.ID); err != nil {
			t.Error(err)
		}
	})
}

func TestPasskeysOnPages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		d, _ := f.passkey(f.admin())
		pages := f.ForPages()
		s := must(pages.PasskeyLoginFinish(f.ctx(), from, f.assertion(d)))(t)
		if s.PageCookie == "" || s.Token != "" || s.RefreshToken != "" {
			t.Fatalf("a page gets %+v", s)
		}
		by := must(f.AuthenticatePage(f.ctx(), s.PageCookie, from))(t)
		f.clock.add(time.Hour)
		answer := d.Get(t, must(f.PasskeyReauthStart(f.ctx(), by))(t))
		cookie := must(pages.PageReauthPasskey(f.ctx(), by, answer))(t)
		if _, err := f.AuthenticatePage(f.ctx(), s.PageCookie, from); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("the old cookie: %v", err)
		}
		if by = must(f.AuthenticatePage(f.ctx(), cookie, from))(t); f.Guard(by) != nil {
			t.Error("it is not fresh")
		}
		_, err := pages.PageReauthPasskey(f.ctx(), by, answer)
		wantFault(t, err, fault.Unauthenticated)
	})
}

func TestRelyingParty(t *testing.T) {
	for _, tt := range []struct{ publicURL, id, origin, why string }{
		{"http://localhost:4000", "localhost", "http://localhost:4000", ""},
		{"http://pilot.localhost", "pilot.localhost", "http://pilot.localhost", ""},
		{"https://seal.example.org", "seal.example.org", "https://seal.example.org", ""},
		{"https://seal.example.org:8443", "seal.example.org", "https://seal.example.org:8443", ""},
		{"http://127.0.0.1:4000", "", "", "never to an IP address"},
		{"https://192.0.2.7", "", "", "never to an IP address"},
		{"https://[2001:db8::7]:4000", "", "", "never to an IP address"},
		{"http://seal.example.org", "", "", "only to https://"},
		{"http://notlocalhost", "", "", "only to https://"},
		{"", "", "", "no address"},
	} {
		rp, err := newRelyingParty(tt.publicURL)
		switch {
		case tt.why != "":
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), tt.why) || !strings.Contains(err.Error(), "PUBLIC_URL is "+tt.publicURL) {
				t.Errorf("%s: %v", tt.publicURL, err)
			}
		case err != nil || rp.id != tt.id || rp.origin != tt.origin:
			t.Errorf("%s: %+v, %v", tt.publicURL, rp, err)
		}
	}
}

// TestNoPasskeysAtAnAddress has everything say why.
func TestNoPasskeysAtAnAddress(t *testing.T) {
	f := newFixture(t, storetest.Open(t, storetest.SQLiteURL(t)), func(o *Options) { o.Issuer = "http://127.0.0.1:4000" })
	ada := f.admin()
	_, start := f.PasskeyLoginStart()
	_, finish := f.PasskeyLoginFinish(f.ctx(), from, []byte(`{}`))
	_, register := f.PasskeyRegisterStart(f.ctx(), ada.by)
	_, registered := f.PasskeyRegisterFinish(f.ctx(), ada.by, "x", []byte(`{}`))
	_, reauth := f.PasskeyReauthStart(f.ctx(), ada.by)
	_, confirmed := f.ReauthPasskey(f.ctx(), ada.by, []byte(`{}`))
	for i, err := range []error{start, finish, register, registered, reauth, confirmed, f.PasskeysAvailable()} {
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "IP address") {
			t.Errorf("%d: %v", i, err)
		}
	}
	if list := must(f.Passkeys(f.ctx(), ada.by))(t); len(list) != 0 || f.PasskeyOrigin() != "" {
		t.Errorf("there are %v at %q", list, f.PasskeyOrigin())
	}
}
