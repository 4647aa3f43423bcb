package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/text/unicode/norm"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// ChangePassword gives the caller a new password, for the present one. The caller's other sessions end, and
// so does what somebody could still take with the old one: an offer to enroll, an offer to choose a password.
//
// fault.Unauthenticated for a wrong present one, which is counted: with a stolen token there would be as
// many guesses as one likes; fault.Invalid with details.issues, every issue at once;
// fault.TooMany.
func (a *Accounts) ChangePassword(ctx context.Context, by audit.Principal, current, password string) error {
	counters := confirmCounters(by)
	if err := a.attempt(ctx, a.o.Login, counters); err != nil {
		return err
	}
	refused := func(reason string, why error) error {
		e := userEvent("auth.password.change_failed", by.UserID, map[string]any{"reason": reason})
		e.Outcome = audit.Failure
		return a.log.Refused(ctx, by, e, why)
	}
	seen, err := a.verifyPassword(ctx, foldEmail(by.Email), current)
	switch {
	case errors.Is(err, errPassword), err == nil && seen.ID != by.UserID:
		return refused(whyNot(seen), fault.New(fault.Unauthenticated, "the current password is wrong").With("currentPasswordWrong", true))
	case err != nil:
		return err
	}
	issues := CheckPassword(password, a.o.PasswordMinLength, seen.Name, seen.Email)
	if norm.NFC.String(password) == norm.NFC.String(current) {
		issues = append(issues, Issue{SameAsBefore, "choose another one than the present one"})
	}
	if err := weakPassword(issues); err != nil {
		return errors.Join(a.takeBack(ctx, counters), err)
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	now := a.now()
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, seen.ID)
		if err != nil {
			return nil, err
		}
		var live bool
		err = tx.QueryRow(ctx, `select exists (select 1 from session where id = $1 and revoked_at is null)`, by.SessionID).Scan(&live)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read session: %w", err)
		case !live || p.Disabled || p.passwordHash != seen.passwordHash:
			return nil, errChanged
		}
		if p.passwordByAdmin {
			p.enrollBefore = time.Time{} // nobody but its user knows the password any more
		}
		n, err := setPassword(ctx, tx, p, hash, by.SessionID, now)
		if err != nil {
			return nil, err
		}
		return []audit.Event{userEvent("auth.password.changed", p.ID, map[string]any{"sessionsEnded": n})}, takeBack(ctx, tx, counters, true)
	})
	if errors.Is(err, errChanged) {
		err = refused(reasonChanged, sessionOver())
	}
	return err
}

// setPassword keeps the hash of a password that its user has chosen, and ends what came with the one
// before: the sessions but one, and what was offered. It tells how many sessions.
func setPassword(ctx context.Context, tx *store.Tx, p person, hash, exceptSession string, now time.Time) (int64, error) {
	_, err := tx.Exec(ctx, `
		update account set password_hash = $1, password_by_admin = $2, enroll_before = $3, updated_at = $4 where id = $5`,
		hash, false, store.Micros(p.enrollBefore), now.UnixMicro(), p.ID)
	if err != nil {
		return 0, fmt.Errorf("set a password: %w", err)
	}
	if err := errors.Join(dropEnrollment(ctx, tx, p.ID), dropReset(ctx, tx, p.ID)); err != nil {
		return 0, err
	}
	return revokeSessions(ctx, tx, p.ID, exceptSession, now)
}
