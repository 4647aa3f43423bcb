package account

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

// flood guesses at an account until sign-ins at it are refused, from as many networks.
func (f *fixture) flood(email string) {
	f.t.Helper()
	for i := range 9 {
		by := from
		by.IP = "203.0.113." + strconv.Itoa(i)
		_, err := f.Login(f.ctx(), by, Credentials{Email: email, Password: "wrong"})
		if i == 8 {
			wantFault(f.t, err, fault.TooMany)
		} else {
			wantFault(f.t, err, fault.Unauthenticated)
		}
	}
}

// The attack that a throttle invites: whoever knows an address keeps its owner out.
func TestFloodDoesNotLockOutAKnownDevice(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		kim := f.another(admin, "kim@example.com", audit.Author)
		if admin.Device == "" || admin.Device == kim.Device || !admin.DeviceExpiresAt.Equal(f.clock.now().Add(90*24*time.Hour)) {
			t.Fatalf("the cookies are %q until %s, and %q", admin.Device, admin.DeviceExpiresAt, kim.Device)
		}
		login := func(device, password string) (SignIn, error) {
			return f.Login(f.ctx(), from, Credentials{Email: " ADA@example.com", Password: password, Device: device})
		}
		f.flood(adminEmail)
		_, err := login("", goodPassword)
		wantFault(t, err, fault.TooMany)
		s := must(login(admin.Device, goodPassword))(t)
		if s.Device == "" || s.Device == admin.Device {
			t.Errorf("the next cookie is %q", s.Device)
		}
		for name, device := range map[string]string{
			"another person's": kim.Device, "none": "", "a made-up one": newOpaque(devicePrefix),
			"changed": admin.Device[:40] + "AAAA" + admin.Device[44:], "cut": admin.Device[:len(admin.Device)-1],
			"longer": admin.Device + "A", "an access token": s.Token, "a refresh token": s.RefreshToken,
		} {
			if _, err := login(device, goodPassword); !fault.Is(err, fault.TooMany) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The flood goes on from the owner's own network, and even that does not matter.
		f.o.Login.MaxAttempts = 1
		for i := range 12 {
			_, _ = f.Login(f.ctx(), from, Credentials{Email: "n" + strconv.Itoa(i) + "@example.com", Password: "wrong"})
		}
		_, err = f.Login(f.ctx(), from, Credentials{Email: "kim@example.com", Password: otherPassword})
		wantFault(t, err, fault.TooMany)
		must(login(admin.Device, goodPassword))(t)
	})
}

// The cookie has a counter and not a free pass: with it there are as many guesses as without.
func TestKnownDeviceHasItsOwnCounter(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		with := func(device, password string) error {
			_, err := f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: password, Device: device})
			return err
		}
		for range 8 {
			wantFault(t, with(admin.Device, "wrong"), fault.Unauthenticated)
		}
		wantFault(t, with(admin.Device, goodPassword), fault.TooMany)
		if err := with("", goodPassword); err != nil { // the account was never at its limit
			t.Fatal(err)
		}
	})
}

func TestDeviceCookieIsNoFactor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		_, err := f.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Device: admin.Device})
		wantFault(t, err, fault.Unauthenticated, "mfaRequired")
		_, err = f.Login(f.ctx(), from, Credentials{Email: adminEmail, Device: admin.Device, Factor: Factor{MFACode: f.nextCode(admin.secret)}})
		wantFault(t, err, fault.Unauthenticated)
		if _, err := f.Authenticate(f.ctx(), admin.Device, from); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("it is taken for an access token: %v", err)
		}
	})
}

func TestDeviceCookieEnds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st, withoutMFA)
		admin := f.admin()
		known := func() bool {
			_, device, err := f.signInCounters(f.ctx(), adminEmail, from.IP, admin.Device)
			if err != nil {
				t.Fatal(err)
			}
			return device != ""
		}
		if !known() {
			t.Fatal("the cookie is not known")
		}
		f.clock.add(90*24*time.Hour - time.Second)
		if !known() {
			t.Error("it ended before its 90 days")
		}
		f.clock.add(time.Second)
		if known() {
			t.Error("it lives past its 90 days")
		}
		f.clock.add(-90 * 24 * time.Hour)
		old := f.keys.JWT.Current()
		f.keys.JWT.Replace(testKey(), old)
		if !known() {
			t.Error("it ended with a planned rotation")
		}
		f.keys.JWT.Replace(testKey(), nil)
		if known() {
			t.Error("it outlives its key")
		}
		f.keys.JWT.Replace(old, nil)
		f.exec(`update account set password_hash = $1`, must(f.hasher.hash(f.ctx(), otherPassword))(t))
		if known() {
			t.Error("it outlives the password")
		}
	})
}

// The second step of a page's sign-in is counted as its first.
func TestKnownDeviceInTwoSteps(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		f.flood(adminEmail)
		pages := f.ForPages()
		_, err := pages.Login(f.ctx(), from, Credentials{Email: adminEmail, Password: goodPassword, Device: admin.Device})
		ticket, _ := detail(err, "ticket").(string)
		if ticket == "" {
			t.Fatalf("there is no ticket: %v", err)
		}
		must(pages.ContinueLogin(f.ctx(), from, ticket, Factor{MFACode: f.nextCode(admin.secret)}))(t)
	})
}

// What a signed-in person confirms with is counted apart from signing in.
func TestFloodDoesNotKeepFromConfirming(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		admin := f.admin()
		f.flood(adminEmail)
		must(f.Reauth(f.ctx(), admin.by, goodPassword, Factor{MFACode: f.nextCode(admin.secret)}))(t)
		must(f.RegenerateBackupCodes(f.ctx(), f.auth(admin.SignIn), f.nextCode(admin.secret)))(t)
	})
}

func TestServersCountTogether(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		servers := []*fixture{newFixture(t, st), newFixture(t, st)}
		for i := range 9 {
			by := from
			by.IP = "203.0.113." + strconv.Itoa(i)
			_, err := servers[i%2].Login(t.Context(), by, Credentials{Email: "nobody@example.com", Password: "wrong"})
			if i < 8 {
				wantFault(t, err, fault.Unauthenticated)
			} else {
				wantFault(t, err, fault.TooMany)
			}
		}
	})
}

// A flood of failed sign-ins costs the log two events a minute, whatever addresses it tries.
func TestFloodIsTwoEvents(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		f := newFixture(t, st)
		for i := range 300 {
			_, err := f.Login(f.ctx(), from, Credentials{Email: "n" + strconv.Itoa(i) + "@example.com", Password: "wrong"})
			if err == nil {
				t.Fatal("signed in")
			}
		}
		f.log.Close(f.ctx())
		list := f.events("auth.login.failed")
		if len(list) != 2 || list[0].Details["count"] != float64(299) {
			t.Errorf("%d events, the last %+v", len(list), list[0].Details)
		}
	})
}

func FuzzDeviceCookie(f *testing.F) {
	a := &Accounts{keys: &keys.Set{JWT: keys.NewRing(testKey(), nil)}, o: Options{Now: func() time.Time { return tokenTime }}}
	p := person{User: User{ID: store.NewID()}, passwordHash: "$argon2id$"}
	good, _ := a.newDevice(p, tokenTime)
	f.Add(good)
	f.Add("")
	f.Add(devicePrefix + base64.RawURLEncoding.EncodeToString(make([]byte, deviceBytes)))
	f.Add(strings.ToUpper(good))
	f.Fuzz(func(t *testing.T, text string) {
		if claim, ok := a.readDevice(text); ok && claim.of(p) && text != good {
			t.Errorf("%q is taken", text)
		}
	})
}
