package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// MFASetup offers a signed-in user a TOTP secret for 15 minutes. It counts once MFAEnable has seen a
// code of it; until then an enrolled user's old one works. An enrolled user has to be freshly signed in.
func (a *Accounts) MFASetup(ctx context.Context, by audit.Principal) (Setup, error) {
	u, err := a.User(ctx, by.UserID)
	if err != nil {
		return Setup{}, err
	}
	if u.MFAEnabled {
		if err := a.Guard(by); err != nil {
			return Setup{}, err
		}
	}
	secret := newTOTPSecret()
	box, err := a.keys.Data.Encrypt(keys.TOTPSecret, u.ID, secret)
	if err != nil {
		return Setup{}, err
	}
	err = a.log.Bookkeep(ctx, func(tx *store.Tx) error { return stageEnrollment(ctx, tx, u.ID, nil, box, a.now()) })
	if err != nil {
		return Setup{}, err
	}
	return newSetup(secret, u.Email)
}

// MFAEnable makes the secret that MFASetup offered the user's second factor, gives eight new backup
// codes, and ends the user's other sessions. fault.Conflict without an offer; fault.Unauthenticated
// with details.mfaRequired for a wrong code.
func (a *Accounts) MFAEnable(ctx context.Context, by audit.Principal, code string) (backup []string, err error) {
	now := a.now()
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, by.UserID)
		if err != nil {
			return nil, err
		}
		if p.MFAEnabled {
			if err := a.Guard(by); err != nil {
				return nil, err
			}
		}
		var secret []byte
		err = tx.QueryRow(ctx, `select secret from mfa_enrollment where user_id = $1 and token_hash is null and expires_at > $2`,
			p.ID, now.UnixMicro()).Scan(&secret)
		if err != nil && !store.NoRow(err) {
			return nil, fmt.Errorf("read enrollment: %w", err)
		}
		step, err := a.matchStaged(p.ID, secret, code, now)
		if err != nil {
			return nil, err
		}
		replaced := p.MFAEnabled
		if err := errors.Join(enableFactor(ctx, tx, &p, secret, step, now), dropEnrollment(ctx, tx, p.ID)); err != nil {
			return nil, err
		}
		if _, err := revokeSessions(ctx, tx, p.ID, by.SessionID, now); err != nil {
			return nil, err
		}
		backup, err = replaceBackupCodes(ctx, tx, p.ID)
		return []audit.Event{userEvent("auth.mfa.enrolled", p.ID, map[string]any{"replaced": replaced})}, err
	})
	if errors.Is(err, errFactor) {
		err = a.factorRefused(ctx, by, "enable", code != "")
	}
	return backup, err
}

// MFADisable takes a user's second factor away. fault.Conflict where MFA is required or not enabled.
func (a *Accounts) MFADisable(ctx context.Context, by audit.Principal, f Factor) error {
	if a.o.MFARequired {
		return a.log.Refused(ctx, by, userEvent("auth.mfa.disable_refused", by.UserID, nil),
			fault.New(fault.Conflict, "a second factor is required here: set up another one instead"))
	}
	return a.withFactor(ctx, by, f, "disable", func(tx *store.Tx, p person, now time.Time) ([]audit.Event, error) {
		_, err := tx.Exec(ctx, `update account set mfa_enabled = $1, totp_secret = null, updated_at = $2 where id = $3`,
			false, now.UnixMicro(), p.ID)
		if err != nil {
			return nil, fmt.Errorf("disable a second factor: %w", err)
		}
		if err := errors.Join(deleteBackupCodes(ctx, tx, p.ID), dropEnrollment(ctx, tx, p.ID)); err != nil {
			return nil, err
		}
		return []audit.Event{userEvent("auth.mfa.disabled", p.ID, nil)}, nil
	})
}

// RegenerateBackupCodes gives eight new backup codes; the old ones are void.
func (a *Accounts) RegenerateBackupCodes(ctx context.Context, by audit.Principal, code string) (backup []string, err error) {
	err = a.withFactor(ctx, by, Factor{MFACode: code}, "regenerate", func(tx *store.Tx, p person, _ time.Time) ([]audit.Event, error) {
		var err error
		backup, err = replaceBackupCodes(ctx, tx, p.ID)
		return []audit.Event{userEvent("auth.backup_codes.regenerated", p.ID, nil)}, err
	})
	return backup, err
}

// withFactor runs a change of a user's own factors, which needs one of them and a fresh sign-in. Wrong
// codes count as attempts to sign in: with a stolen access token there would be a million to try.
func (a *Accounts) withFactor(ctx context.Context, by audit.Principal, f Factor, what string,
	change func(*store.Tx, person, time.Time) ([]audit.Event, error),
) error {
	if err := errors.Join(f.check(), a.Guard(by)); err != nil {
		return err
	}
	counters := confirmCounters(by)
	if err := a.attempt(ctx, a.o.Login, counters); err != nil {
		return err
	}
	now := a.now()
	err := a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, by.UserID)
		if err != nil {
			return nil, err
		}
		if !p.MFAEnabled {
			return nil, fault.New(fault.Conflict, "you have no second factor")
		}
		if _, err := a.useFactor(ctx, tx, p, f, now); err != nil {
			return nil, err
		}
		events, err := change(tx, p, now)
		if err != nil {
			return nil, err
		}
		return events, takeBack(ctx, tx, counters, true)
	})
	if errors.Is(err, errFactor) {
		err = a.factorRefused(ctx, by, what, f.given())
	}
	return err
}

func (a *Accounts) factorRefused(ctx context.Context, by audit.Principal, what string, shown bool) error {
	e := userEvent("auth.mfa.failed", by.UserID, map[string]any{"at": what})
	e.Outcome = audit.Failure
	return a.log.Refused(ctx, by, e, mfaRequired(shown))
}
