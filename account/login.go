package account

import (
	"context"
	"errors"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// Credentials are what somebody shows to sign in.
type Credentials struct {
	Email, Password string
	Factor
	Device string // the cookie of an earlier sign-in, if any: see device.go
}

// Why a sign-in failed, for the audit log alone: the answer does not tell the first three apart.
const (
	reasonUnknown    = "unknown account"
	reasonPassword   = "wrong password"
	reasonDisabled   = "disabled account"
	reasonNoFactor   = "no second factor"
	reasonFactor     = "wrong second factor"
	reasonEnrollment = "not enrolled"
	reasonDeadline   = "enrollment deadline passed"
	reasonThrottled  = "too many attempts"
	reasonChanged    = "changed meanwhile"
)

func wrongCredentials() error {
	return fault.New(fault.Unauthenticated, "the e-mail or the password is wrong")
}

// Login signs a person in (SPEC §4). An unknown address, a wrong password and a disabled account are
// one answer, after the same work.
//
// fault.Unauthenticated, with details.mfaRequired where the password was right; fault.Forbidden with
// details.mfaEnrollmentRequired and details.enrollmentToken where a factor is required and there is
// none; fault.TooMany; fault.Unavailable while too many are signing in.
func (a *Accounts) Login(ctx context.Context, from audit.Principal, c Credentials) (SignIn, error) {
	begun := time.Now()
	s, err := a.login(ctx, from, c)
	if fault.Is(err, fault.Unauthenticated) {
		pause(ctx, toNext(time.Since(begun), a.refusalStep))
	}
	return s, err
}

// refusalStep is between the moments at which a refused sign-in is answered. The same hash is computed for
// every address, but what is recorded of it differs: the first failure at an account in a minute is written
// to the log, while those at unknown addresses share one. That would be a millisecond's difference, once for
// each address, to whoever listens.
const refusalStep = 100 * time.Millisecond

// toNext is how long it is from a time that has passed to the next whole multiple of a step.
func toNext(passed, step time.Duration) time.Duration {
	if step <= 0 {
		return 0
	}
	return step - passed%step
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (a *Accounts) login(ctx context.Context, from audit.Principal, c Credentials) (SignIn, error) {
	if err := c.check(); err != nil {
		return SignIn{}, err
	}
	key := foldEmail(c.Email)
	counters, device, err := a.signInCounters(ctx, key, from.IP, c.Device)
	if err != nil {
		return SignIn{}, err
	}
	if err := a.attempt(ctx, a.o.Login, counters); err != nil {
		if fault.Is(err, fault.TooMany) {
			err = a.loginFailed(ctx, from, "", reasonThrottled, err)
		}
		return SignIn{}, err
	}
	p, err := a.verifyPassword(ctx, key, c.Password)
	switch {
	case errors.Is(err, errPassword):
		return SignIn{}, a.loginFailed(ctx, from, p.ID, whyNot(p), wrongCredentials())
	case err != nil:
		return SignIn{}, err
	case p.MFAEnabled && !c.given() && a.pages:
		return SignIn{}, a.askFactor(ctx, p, device, counters)
	case p.MFAEnabled && !c.given():
		err = a.loginFailed(ctx, from, p.ID, reasonNoFactor, mfaRequired(false))
		return SignIn{}, errors.Join(a.takeBack(ctx, counters), err)
	case !p.MFAEnabled && a.o.MFARequired:
		return SignIn{}, a.toEnrollment(ctx, from, p, counters)
	}
	return a.signIn(ctx, from, p, c.Factor, counters)
}

// signIn makes the session of a person whose password was right, if the factor is right too and
// nothing about the account has changed since it was read.
func (a *Accounts) signIn(ctx context.Context, from audit.Principal, seen person, f Factor, counters []counter) (s SignIn, err error) {
	now := a.now()
	err = a.log.Change(ctx, from, func(tx *store.Tx) ([]audit.Event, error) {
		p, factor, err := a.confirm(ctx, tx, seen, f, now)
		if err != nil {
			return nil, err
		}
		if s, err = a.startSession(ctx, tx, p, from, now); err != nil {
			return nil, err
		}
		return []audit.Event{loginSucceeded(p, from, s, factor)}, takeBack(ctx, tx, counters, true)
	})
	switch {
	case errors.Is(err, errFactor):
		return SignIn{}, a.loginFailed(ctx, from, seen.ID, reasonFactor, mfaRequired(true))
	case errors.Is(err, errChanged):
		return SignIn{}, a.loginFailed(ctx, from, seen.ID, reasonChanged, wrongCredentials())
	case err != nil:
		return SignIn{}, err
	}
	return a.issue(s, now)
}

// confirm locks the row of a person whose password was right, makes sure that nothing has changed since
// then that decides about signing in, and spends the factor where one is needed. errChanged, errFactor.
func (a *Accounts) confirm(ctx context.Context, tx *store.Tx, seen person, f Factor, now time.Time) (p person, factor string, err error) {
	p, err = lockPerson(ctx, tx, seen.ID)
	switch {
	case fault.Is(err, fault.NotFound):
		return p, "", errChanged
	case err != nil:
		return p, "", err
	case p.Disabled || p.passwordHash != seen.passwordHash || p.MFAEnabled != seen.MFAEnabled:
		return p, "", errChanged
	case !p.MFAEnabled:
		return p, "none", nil
	}
	factor, err = a.useFactor(ctx, tx, p, f, now)
	return p, factor, err
}

var (
	errPassword = errors.New("the password is wrong")
	errChanged  = errors.New("the account has changed")
)

// verifyPassword reads the account of an address and checks its password, and whether it may sign in
// at all. The hash is computed in every case. errPassword comes with what was found, for the log.
func (a *Accounts) verifyPassword(ctx context.Context, emailKey, password string) (person, error) {
	var p person
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		p, err = personByEmail(ctx, tx, emailKey)
		return err
	})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return person{}, err
	}
	right, err := a.hasher.verify(ctx, p.passwordHash, password)
	if err != nil {
		return person{}, err
	}
	if !right || p.Disabled {
		return p, errPassword
	}
	return p, nil
}

func whyNot(p person) string {
	switch {
	case p.ID == "":
		return reasonUnknown
	case p.Disabled:
		return reasonDisabled
	}
	return reasonPassword
}

// loginFailed records a failed sign-in and gives back why. The address that was typed is not in the
// event: people type passwords into that field.
func (a *Accounts) loginFailed(ctx context.Context, from audit.Principal, userID, reason string, why error) error {
	e := userEvent("auth.login.failed", userID, map[string]any{"reason": reason})
	e.Outcome = audit.Failure
	return a.log.Refused(ctx, from, e, why)
}

func loginSucceeded(p person, from audit.Principal, s SignIn, factor string) audit.Event {
	e := userEvent("auth.login.succeeded", p.ID, map[string]any{"factor": factor})
	e.By = p.as(from, s.SessionID)
	return e
}
