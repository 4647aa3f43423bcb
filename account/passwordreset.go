package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// resetLife is for how long a user can choose a new password with the token that an ADMIN has handed over.
const resetLife = time.Hour

// PasswordReset is an offer to choose a new password.
type PasswordReset struct {
	Token     string
	ExpiresAt time.Time
}

func resetOver() error {
	return fault.New(fault.Unauthenticated, "the reset token is not valid, or its time is over: ask an ADMIN for a new one")
}

// ResetPassword takes a user's password away, ends the user's sessions, and gives the one token with which
// the user can choose another within the hour. So whoever knew the old one has nothing of it from then on;
// and an ADMIN, who has the token, needs the user's second factor to get in with what it leads to.
//
// fault.Forbidden; fault.NotFound; fault.Invalid; fault.Conflict for a disabled user, and for the caller's
// own password, which is changed by whoever knows it.
func (a *Accounts) ResetPassword(ctx context.Context, by audit.Principal, id, reason string) (r PasswordReset, err error) {
	if err := a.guardAdmin(by); err != nil {
		return PasswordReset{}, a.log.Refused(ctx, by, userEvent("auth.password.reset_refused", id, nil), err)
	}
	if reason, err = parseReason(reason); err != nil {
		return PasswordReset{}, err
	}
	if id == by.UserID {
		return PasswordReset{}, fault.New(fault.Conflict, "this is your own password: change it at /api/auth/password")
	}
	now := a.now()
	r = PasswordReset{Token: newOpaque(resetPrefix), ExpiresAt: now.Add(resetLife)}
	hash, _ := hashOpaque(resetPrefix, r.Token)
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if p.Disabled {
			return nil, fault.New(fault.Conflict, "this user is disabled: enable the account first")
		}
		// The hash of the password before stays where an earlier offer has put it.
		_, err = tx.Exec(ctx, `
			insert into password_reset (user_id, token_hash, hash_before, created_at, expires_at) values ($1, $2, $3, $4, $5)
			on conflict (user_id) do update
			   set token_hash = excluded.token_hash, hash_before = coalesce(excluded.hash_before, password_reset.hash_before),
			       created_at = excluded.created_at, expires_at = excluded.expires_at`,
			id, hash, store.Text(p.passwordHash), now.UnixMicro(), r.ExpiresAt.UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("offer a password reset: %w", err)
		}
		_, err = tx.Exec(ctx, `update account set password_hash = null, updated_at = $1 where id = $2`, now.UnixMicro(), id)
		if err != nil {
			return nil, fmt.Errorf("take a password away: %w", err)
		}
		if err := dropEnrollment(ctx, tx, id); err != nil {
			return nil, err
		}
		n, err := revokeSessions(ctx, tx, id, "", now)
		return []audit.Event{userEvent("auth.password.reset_offered", id, map[string]any{
			"reason": reason, "expiresAt": r.ExpiresAt, "sessionsEnded": n,
		})}, err
	})
	if err != nil {
		return PasswordReset{}, err
	}
	return r, nil
}

// offered is a reset that still stands, of a user who may still take it.
type offered struct {
	person person
	before string
}

func openReset(ctx context.Context, tx *store.Tx, tokenHash []byte, now time.Time) (o offered, err error) {
	err = tx.QueryRow(ctx, `select `+personColumns+`, password_reset.hash_before
		  from password_reset join account on account.id = password_reset.user_id
		 where password_reset.token_hash = $1 and password_reset.expires_at > $2 and not account.disabled`, tokenHash, now.UnixMicro()).
		Scan(append(o.person.fields(), store.String(&o.before))...)
	if store.NoRow(err) {
		return o, resetOver()
	}
	if err != nil {
		return o, fmt.Errorf("read password reset: %w", err)
	}
	return o, nil
}

func dropReset(ctx context.Context, tx *store.Tx, userID string) error {
	if _, err := tx.Exec(ctx, `delete from password_reset where user_id = $1`, userID); err != nil {
		return fmt.Errorf("drop a password reset: %w", err)
	}
	return nil
}

// ChoosePassword takes the token of a reset and makes a password the user's own. It signs nobody in: the
// second factor is asked for at the sign-in that follows, and where there is none yet, there are 72 hours
// to enroll one. The token works once; one that is unknown, spent, too old or of a disabled user gets one
// answer.
//
// fault.Unauthenticated; fault.Invalid with details.issues, which leaves the token as it is; fault.TooMany,
// counted by network.
func (a *Accounts) ChoosePassword(ctx context.Context, from audit.Principal, token, password string) error {
	hash, ok := hashOpaque(resetPrefix, token)
	if !ok {
		return resetOver()
	}
	counters := counters("password-reset", "", from.IP)
	if err := a.attempt(ctx, a.o.Login, counters); err != nil {
		return err
	}
	refused := func(id, reason string) error {
		e := userEvent("auth.password.reset_failed", id, map[string]any{"reason": reason})
		e.Outcome = audit.Failure
		return a.log.Refused(ctx, from, e, resetOver())
	}
	var seen offered
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		seen, err = openReset(ctx, tx, hash, a.now())
		return err
	})
	if fault.Is(err, fault.Unauthenticated) {
		return refused("", "unknown token")
	}
	if err == nil {
		err = a.checkChosen(ctx, seen, password)
	}
	if err != nil {
		return err
	}
	passwordHash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	now := a.now()
	err = a.log.Change(ctx, from, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, seen.person.ID)
		if err != nil {
			return nil, err
		}
		// The row goes once: of many who bring one token, one chooses.
		n, err := tx.Exec(ctx, `delete from password_reset where token_hash = $1 and expires_at > $2`, hash, now.UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("take a password reset: %w", err)
		}
		if n == 0 || p.Disabled {
			return nil, errChanged
		}
		if !p.MFAEnabled {
			p.enrollBefore = now.Add(enrollmentDeadline)
		}
		if _, err := setPassword(ctx, tx, p, passwordHash, "", now); err != nil {
			return nil, err
		}
		e := userEvent("auth.password.reset", p.ID, nil)
		e.By = p.as(from, "")
		return []audit.Event{e}, takeBack(ctx, tx, counters, false)
	})
	if errors.Is(err, errChanged) {
		err = refused(seen.person.ID, reasonChanged)
	}
	return err
}

// checkChosen holds a password against the policy and the one before. fault.Invalid with details.issues.
func (a *Accounts) checkChosen(ctx context.Context, o offered, password string) error {
	issues := CheckPassword(password, a.o.PasswordMinLength, o.person.Name, o.person.Email)
	if o.before != "" {
		same, err := a.hasher.verify(ctx, o.before, password)
		if err != nil {
			return err
		}
		if same {
			issues = append(issues, Issue{SameAsBefore, "choose another one than before"})
		}
	}
	return weakPassword(issues)
}
