package account

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// fixture is the accounts of one server on a database of its own, with a clock that tests move.
type fixture struct {
	*Accounts
	t     *testing.T
	clock *clock
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// quickParams make argon2id cost next to nothing, for tests that are about something else. The tests
// through the socket, and those of hash.go, use the real ones.
var quickParams = hashParams{memory: 64, time: 1, lanes: 1}

func testKey() *keys.Key { return keys.NewKey(keys.NewID(), []byte(keys.NewID()+keys.NewID())) }

func defaults() Options {
	return Options{
		Issuer: "http://localhost:4000",
		Auth: config.Auth{
			AllowDevLogin: true, MFARequired: true, PasswordMinLength: 12,
			AccessTTL: 12 * time.Hour, SignInTTL: 168 * time.Hour, ReauthMaxAge: 15 * time.Minute,
			Login:   config.Throttle{Window: 5 * time.Minute, MaxAttempts: 8, Block: 15 * time.Minute},
			Refresh: config.Throttle{Window: time.Minute, MaxAttempts: 20, Block: 5 * time.Minute},
		},
	}
}

func newFixture(t *testing.T, st *store.Store, change ...func(*Options)) *fixture {
	t.Helper()
	log := audit.New(st, slog.New(slog.DiscardHandler))
	set := &keys.Set{JWT: keys.NewRing(testKey(), nil), Data: keys.NewRing(testKey(), nil), Audit: keys.NewRing(testKey(), nil)}
	log.Use(set.Audit)
	f := &fixture{t: t, clock: &clock{at: time.Date(2026, 3, 14, 9, 26, 5, 0, time.UTC)}}
	o := defaults()
	for _, c := range change {
		c(&o)
	}
	o.Now = f.clock.now
	f.Accounts = New(log, set, o)
	f.hasher, f.refusalStep = newHasher(quickParams, processors()), 0
	t.Cleanup(func() { log.Close(context.Background()) })
	return f
}

func withoutMFA(o *Options) { o.MFARequired = false }

const (
	goodPassword  = "vK8#qLw2!nPz"
	otherPassword = "Blue7!Kettle-Moth"
	adminEmail    = "ada@example.com"
)

func (f *fixture) ctx() context.Context { return context.Background() }

var from = audit.Principal{Kind: audit.Anonymous, IP: "192.0.2.7", UserAgent: "test", RequestID: "req-1"}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// person is somebody who is signed in, with what they have.
type signedIn struct {
	SignIn
	by     audit.Principal
	secret string
	email  string
}

// code is what the person's app shows now.
func (f *fixture) code(secret string) string {
	f.t.Helper()
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		f.t.Fatal(err)
	}
	return codeAt(raw, stepAt(f.clock.now()))
}

// nextCode moves to the next time step, so that the code is one that was not used.
func (f *fixture) nextCode(secret string) string {
	f.clock.add(30 * time.Second)
	return f.code(secret)
}

func (f *fixture) auth(s SignIn) audit.Principal {
	f.t.Helper()
	return must(f.Authenticate(f.ctx(), s.Token, from))(f.t)
}

// enroll completes the enrollment of a token.
func (f *fixture) enroll(token, newPassword string) (SignIn, string) {
	f.t.Helper()
	setup := must(f.EnrollStart(f.ctx(), token))(f.t)
	s := must(f.EnrollComplete(f.ctx(), from, token, f.code(setup.Secret), newPassword))(f.t)
	return s, setup.Secret
}

// admin makes the first account and signs it in, enrolled where that is required.
func (f *fixture) admin() signedIn {
	f.t.Helper()
	r := must(f.RegisterFirst(f.ctx(), from, NewUser{Email: adminEmail, Name: "Ada", Password: goodPassword}, Bootstrap{}))(f.t)
	a := signedIn{SignIn: r.SignIn, email: adminEmail}
	if r.EnrollmentToken != "" {
		a.SignIn, a.secret = f.enroll(r.EnrollmentToken, "")
	}
	a.by = f.auth(a.SignIn)
	return a
}

// another registers somebody and signs them in; their password is otherPassword.
func (f *fixture) another(admin signedIn, email string, role audit.Role) signedIn {
	f.t.Helper()
	first := "Sturdy-Oak-91-Harbor"
	if !f.o.MFARequired {
		first = otherPassword
	}
	must(f.Register(f.ctx(), admin.by, NewUser{Email: email, Name: "Kim", Password: first, Role: string(role)}))(f.t)
	s := signedIn{email: email}
	var err error
	s.SignIn, err = f.Login(f.ctx(), from, Credentials{Email: email, Password: first})
	if f.o.MFARequired {
		token, _ := detail(err, "enrollmentToken").(string)
		s.SignIn, s.secret = f.enroll(token, otherPassword)
	} else if err != nil {
		f.t.Fatal(err)
	}
	s.by = f.auth(s.SignIn)
	return s
}

func detail(err error, name string) any {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e.Details[name]
	}
	return nil
}

// wantFault fails where an error is not of a kind, or has not each of the details as true.
func wantFault(t testing.TB, err error, kind fault.Kind, details ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("got the error %v (kind %d), want kind %d", err, fault.Of(err), kind)
	}
	for _, name := range details {
		if detail(err, name) != true {
			t.Fatalf("the error %v has no detail %s", err, name)
		}
	}
}

// wantEnded fails where an access token still counts.
func (f *fixture) wantEnded(s SignIn) {
	f.t.Helper()
	_, err := f.Authenticate(f.ctx(), s.Token, from)
	wantFault(f.t, err, fault.Unauthenticated)
}

// events lists the events of an action, the newest first.
func (f *fixture) events(action string) []audit.Record {
	f.t.Helper()
	return must(f.log.Events(f.ctx(), audit.Filter{Action: action}, store.Page{Limit: 1000}))(f.t).Items
}

// exec changes the database behind the program's back.
func (f *fixture) exec(query string, args ...any) {
	f.t.Helper()
	err := f.log.Store().Write(f.ctx(), func(tx *store.Tx) error {
		_, err := tx.Exec(f.ctx(), query, args...)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// race runs a function many times at once and gives the errors, in no order.
func race(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// tally counts errors by kind; no error counts as -1.
func tally(errs []error) map[fault.Kind]int {
	counts := map[fault.Kind]int{}
	for _, err := range errs {
		if err == nil {
			counts[-1]++
		} else {
			counts[fault.Of(err)]++
		}
	}
	return counts
}

func wantTally(t testing.TB, errs []error, won int, kind fault.Kind) {
	t.Helper()
	if got := tally(errs); got[-1] != won || got[kind] != len(errs)-won {
		t.Fatalf("%d of %d won and the others got %v, want %d and kind %d; first errors: %s",
			got[-1], len(errs), got, won, kind, firstErrors(errs))
	}
}

func firstErrors(errs []error) string {
	var b strings.Builder
	for i, err := range errs {
		if err != nil && i < 5 {
			fmt.Fprintln(&b, err)
		}
	}
	return b.String()
}
