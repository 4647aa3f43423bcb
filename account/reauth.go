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

// Reauth confirms that whoever holds a session is still its user, for the guarded actions (SPEC §5.6),
// and gives the time from which that counts.
func (a *Accounts) Reauth(ctx context.Context, by audit.Principal, password string, f Factor) (time.Time, error) {
	if err := f.check(); err != nil {
		return time.Time{}, err
	}
	counters := confirmCounters(by)
	if err := a.attempt(ctx, a.o.Login, counters); err != nil {
		return time.Time{}, err
	}
	refused := func(reason string, why error) error {
		e := userEvent("auth.reauth.failed", by.UserID, map[string]any{"reason": reason})
		e.Outcome = audit.Failure
		return a.log.Refused(ctx, by, e, why)
	}
	seen, err := a.verifyPassword(ctx, foldEmail(by.Email), password)
	switch {
	case errors.Is(err, errPassword), err == nil && seen.ID != by.UserID:
		return time.Time{}, refused(whyNot(seen), fault.New(fault.Unauthenticated, "the password is wrong").With("reauthRequired", true))
	case err != nil:
		return time.Time{}, err
	case seen.MFAEnabled && !f.given():
		return time.Time{}, errors.Join(a.takeBack(ctx, counters), refused(reasonNoFactor, mfaRequired(false)))
	}
	now := a.now()
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		p, factor, err := a.confirm(ctx, tx, seen, f, now)
		if err != nil {
			return nil, err
		}
		if err := confirmSession(ctx, tx, by.SessionID, now); err != nil {
			return nil, err
		}
		return []audit.Event{userEvent("auth.reauth.succeeded", p.ID, map[string]any{"factor": factor})}, takeBack(ctx, tx, counters, true)
	})
	switch {
	case errors.Is(err, errFactor):
		return time.Time{}, refused(reasonFactor, mfaRequired(true))
	case errors.Is(err, errChanged):
		return time.Time{}, refused(reasonChanged, fault.New(fault.Unauthenticated, "this session has ended: sign in again"))
	}
	return now, err
}

// confirmSession makes a session fresh. errChanged where it has ended.
func confirmSession(ctx context.Context, tx *store.Tx, id string, now time.Time) error {
	n, err := tx.Exec(ctx, `update session set authenticated_at = $1 where id = $2 and revoked_at is null`, now.UnixMicro(), id)
	if err != nil {
		return fmt.Errorf("confirm a session: %w", err)
	}
	if n == 0 {
		return errChanged
	}
	return nil
}
