package account

import (
	"context"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// enrollmentDeadline is for how long after its registration an account can enroll a second factor.
// Until it has, whoever knows the password that an ADMIN has set could do so.
const enrollmentDeadline = 72 * time.Hour

// Register makes an account (runbook §1: ADMIN only, freshly signed in). Its password is known to
// somebody else, so enrollment, within 72 hours where MFA is required, asks for another one.
// fault.Forbidden, fault.Invalid (a weak password with details.issues), fault.Conflict.
func (a *Accounts) Register(ctx context.Context, by audit.Principal, n NewUser) (User, error) {
	if err := a.guardAdmin(by); err != nil {
		return User{}, a.log.Refused(ctx, by, userEvent("auth.user.register_refused", "", nil), err)
	}
	reason, err := reasonOf(by, n.Reason)
	if err != nil {
		return User{}, err
	}
	now := a.now()
	p, err := n.parse(now)
	if err != nil {
		return User{}, err
	}
	if err := a.checkNewPassword(n.Password, p.Name, p.Email); err != nil {
		return User{}, err
	}
	if p.passwordHash, err = a.hasher.hash(ctx, n.Password); err != nil {
		return User{}, err
	}
	p.passwordByAdmin, p.enrollBefore = true, now.Add(enrollmentDeadline)
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		if err := p.insert(ctx, tx); err != nil {
			return nil, err
		}
		if err := spentBy(ctx, tx, p); err != nil {
			return nil, err
		}
		return []audit.Event{userEvent("auth.user.registered", p.ID, withReason(map[string]any{"role": p.Role}, reason))}, nil
	})
	return p.User, err
}

// NewDevUser is who DevLogin signs in.
type NewDevUser struct {
	Email, Name, Role string
}

// DevLogin signs anybody in without a password, and makes the account where there is none, so that
// developers can try every role. It is not there in production, whatever ALLOW_DEV_LOGIN says
// (runbook §1): fault.NotFound. fault.Conflict where the account has another role.
func (a *Accounts) DevLogin(ctx context.Context, from audit.Principal, n NewDevUser) (s SignIn, err error) {
	if !a.o.AllowDevLogin || a.o.Production {
		return SignIn{}, fault.New(fault.NotFound, "there is no such route")
	}
	now := a.now()
	made, err := NewUser{Email: n.Email, Name: n.Name, Role: n.Role}.parse(now)
	if err != nil {
		return SignIn{}, err
	}
	var unenrolled bool
	var token string
	err = a.log.Change(ctx, from, func(tx *store.Tx) ([]audit.Event, error) {
		s, unenrolled, token = SignIn{}, false, ""
		var events []audit.Event
		p, err := personByEmail(ctx, tx, made.emailKey)
		switch {
		case fault.Is(err, fault.NotFound):
			p = made
			if err := p.insert(ctx, tx); err != nil {
				return nil, err
			}
			e := userEvent("auth.user.registered", p.ID, map[string]any{"role": p.Role, "devLogin": true})
			e.By = p.as(from, "")
			events = append(events, e)
		case err != nil:
			return nil, err
		case p.Disabled:
			return nil, fault.New(fault.Forbidden, "this account is disabled")
		case p.Role != made.Role:
			return nil, fault.New(fault.Conflict, "this account has the role %s", p.Role)
		}
		if unenrolled = a.o.MFARequired && !p.MFAEnabled; unenrolled {
			token, err = offerEnrollment(ctx, tx, p.ID, now)
			return append(events, userEvent("auth.enrollment.offered", p.ID, nil)), err
		}
		if s, err = a.startSession(ctx, tx, p, from, now); err != nil {
			return nil, err
		}
		return append(events, loginSucceeded(p, from, s, "devLogin")), nil
	})
	if err != nil {
		return SignIn{}, err
	}
	if unenrolled {
		return SignIn{}, enrollmentRequired(token)
	}
	return a.issue(s, now)
}
