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

// Enrollment is the only thing that a right password leads to where MFA is required and the account
// has no second factor yet (runbook §1). Its token is good for nothing else, lives 15 minutes, and
// dies with enrollment, a newer token, a password change or disabling.
const enrollmentLife = 15 * time.Minute

func enrollmentRequired(token string) error {
	return fault.New(fault.Forbidden, "enroll a second factor first: start at /api/auth/mfa/enroll/start").
		With("mfaEnrollmentRequired", true).With("enrollmentToken", token)
}

func enrollmentOver() error {
	return fault.New(fault.Unauthenticated, "the enrollment token is not valid, or its time is over: sign in again for a new one")
}

// offerEnrollment makes the one enrollment token of a user; an older one is worth nothing from then on.
func offerEnrollment(ctx context.Context, tx *store.Tx, userID string, now time.Time) (string, error) {
	token := newOpaque(enrollmentPrefix)
	hash, _ := hashOpaque(enrollmentPrefix, token)
	return token, stageEnrollment(ctx, tx, userID, hash, nil, now)
}

// stageEnrollment keeps what is offered to a user: to the holder of a token, or, without one, to the
// user who is signed in.
func stageEnrollment(ctx context.Context, tx *store.Tx, userID string, tokenHash, secret []byte, now time.Time) error {
	_, err := tx.Exec(ctx, `
		insert into mfa_enrollment (user_id, token_hash, secret, created_at, expires_at) values ($1, $2, $3, $4, $5)
		on conflict (user_id) do update
		   set token_hash = excluded.token_hash, secret = excluded.secret,
		       created_at = excluded.created_at, expires_at = excluded.expires_at`,
		userID, tokenHash, secret, now.UnixMicro(), now.Add(enrollmentLife).UnixMicro())
	if err != nil {
		return fmt.Errorf("stage an enrollment: %w", err)
	}
	return nil
}

func dropEnrollment(ctx context.Context, tx *store.Tx, userID string) error {
	if _, err := tx.Exec(ctx, `delete from mfa_enrollment where user_id = $1`, userID); err != nil {
		return fmt.Errorf("drop an enrollment: %w", err)
	}
	return nil
}

// errHasPasskey says that there is a second factor after all. A password alone, which may be in somebody
// else's hands, must not put another one beside it.
var errHasPasskey = errors.New("the account has a passkey")

// toEnrollment answers a person whose password is right and who has to enroll.
func (a *Accounts) toEnrollment(ctx context.Context, from audit.Principal, seen person, counters []counter) error {
	now := a.now()
	if !seen.enrollBefore.IsZero() && now.After(seen.enrollBefore) {
		return a.loginFailed(ctx, from, seen.ID, reasonDeadline, fault.New(fault.Forbidden,
			"this account was to enroll a second factor within %d hours: ask an ADMIN", int(enrollmentDeadline.Hours())).
			With("mfaEnrollmentRequired", true).With("enrollmentExpired", true))
	}
	var token string
	err := a.log.Bookkeep(ctx, func(tx *store.Tx) (err error) {
		p, err := lockPerson(ctx, tx, seen.ID)
		if err != nil {
			return err
		}
		if p.Disabled || p.MFAEnabled || p.passwordHash != seen.passwordHash {
			return errChanged
		}
		has, err := hasPasskey(ctx, tx, p.ID)
		if err != nil {
			return err
		}
		if has {
			return errHasPasskey
		}
		if token, err = offerEnrollment(ctx, tx, p.ID, now); err != nil {
			return err
		}
		return takeBack(ctx, tx, counters, true)
	})
	switch {
	case errors.Is(err, errChanged), fault.Is(err, fault.NotFound):
		return a.loginFailed(ctx, from, seen.ID, reasonChanged, wrongCredentials())
	case errors.Is(err, errHasPasskey):
		return a.loginFailed(ctx, from, seen.ID, reasonHasPasskey, fault.New(fault.Forbidden,
			"this account has a passkey: sign in with it, and set up an authenticator app then").With("passkeyRequired", true))
	case err != nil:
		return err
	}
	return a.loginFailed(ctx, from, seen.ID, reasonEnrollment, enrollmentRequired(token))
}

// enrollment is an offer that still stands.
type enrollment struct {
	person person
	secret []byte // encrypted; nil until EnrollStart
}

// openEnrollment finds the offer of a token whose user may still take it. fault.Unauthenticated.
func (a *Accounts) openEnrollment(ctx context.Context, tx *store.Tx, tokenHash []byte) (e enrollment, err error) {
	err = tx.QueryRow(ctx, `select `+personColumns+`, mfa_enrollment.secret
		  from mfa_enrollment join account on account.id = mfa_enrollment.user_id
		 where mfa_enrollment.token_hash = $1 and mfa_enrollment.expires_at > $2
		   and (account.enroll_before is null or account.enroll_before >= $2)
		   and not account.disabled and not account.mfa_enabled`, tokenHash, a.now().UnixMicro()).
		Scan(append(e.person.fields(), &e.secret)...)
	if store.NoRow(err) {
		return e, enrollmentOver()
	}
	if err != nil {
		return e, fmt.Errorf("read enrollment: %w", err)
	}
	return e, nil
}

// EnrollStart gives the holder of an enrollment token a new TOTP secret. One that was given before is
// void: whoever reads along cannot know the one that is then enrolled.
func (a *Accounts) EnrollStart(ctx context.Context, token string) (Setup, error) {
	hash, ok := hashOpaque(enrollmentPrefix, token)
	if !ok {
		return Setup{}, enrollmentOver()
	}
	secret := newTOTPSecret()
	var address string
	err := a.log.Bookkeep(ctx, func(tx *store.Tx) error {
		e, err := a.openEnrollment(ctx, tx, hash)
		if err != nil {
			return err
		}
		address = e.person.Email
		box, err := a.keys.Data.Encrypt(keys.TOTPSecret, e.person.ID, secret)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `update mfa_enrollment set secret = $1 where token_hash = $2`, box, hash)
		if err == nil && n == 0 {
			err = enrollmentOver()
		}
		return err
	})
	if err != nil {
		return Setup{}, err
	}
	return newSetup(secret, address)
}

// EnrollComplete makes the offered secret the user's second factor and signs the user in. Where an
// ADMIN had set the password, a new one is needed. The code's step counts as used.
//
// fault.Unauthenticated for a token that is over, and with details.mfaRequired for a wrong code;
// fault.Conflict before EnrollStart; fault.Invalid with details.newPasswordRequired or details.issues.
func (a *Accounts) EnrollComplete(ctx context.Context, from audit.Principal, token, code, newPassword string) (s SignIn, err error) {
	hash, ok := hashOpaque(enrollmentPrefix, token)
	if !ok {
		return SignIn{}, enrollmentOver()
	}
	var e enrollment
	err = a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		e, err = a.openEnrollment(ctx, tx, hash)
		return err
	})
	if err != nil {
		return SignIn{}, err
	}
	now := a.now()
	step, err := a.matchStaged(e.person.ID, e.secret, code, now)
	if errors.Is(err, errFactor) {
		failed := userEvent("auth.enrollment.failed", e.person.ID, map[string]any{"reason": reasonFactor})
		failed.Outcome = audit.Failure
		return SignIn{}, a.log.Refused(ctx, from, failed, mfaRequired(code != ""))
	}
	if err != nil {
		return SignIn{}, err
	}
	passwordHash, err := a.enrollmentPassword(ctx, e.person, newPassword)
	if err != nil {
		return SignIn{}, err
	}
	err = a.log.Change(ctx, from, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, e.person.ID)
		if err != nil {
			return nil, err
		}
		// The row goes once: of many who bring one token, one gets in.
		n, err := tx.Exec(ctx, `delete from mfa_enrollment where user_id = $1 and token_hash = $2 and secret = $3`, p.ID, hash, e.secret)
		if err != nil {
			return nil, fmt.Errorf("take an enrollment: %w", err)
		}
		if n == 0 || p.Disabled || p.MFAEnabled || p.passwordHash != e.person.passwordHash {
			return nil, enrollmentOver()
		}
		p.passwordHash, p.passwordByAdmin = passwordHash, false
		if err := enableFactor(ctx, tx, &p, e.secret, step, now); err != nil {
			return nil, err
		}
		if _, err := revokeSessions(ctx, tx, p.ID, "", now); err != nil {
			return nil, err
		}
		if s, err = a.startSession(ctx, tx, p, from, now); err != nil {
			return nil, err
		}
		enrolled := userEvent("auth.mfa.enrolled", p.ID, map[string]any{"newPassword": newPassword != ""})
		enrolled.By = p.as(from, s.SessionID)
		if s.BackupCodes, err = replaceBackupCodes(ctx, tx, p.ID); err != nil {
			return nil, err
		}
		return []audit.Event{enrolled, loginSucceeded(p, from, s, "totp")}, nil
	})
	if err != nil {
		return SignIn{}, err
	}
	return a.issue(s, now)
}

// matchStaged gives the step of a code of a secret that is offered. errFactor where it is wrong.
func (a *Accounts) matchStaged(userID string, secret []byte, code string, now time.Time) (int64, error) {
	if secret == nil {
		return 0, fault.New(fault.Conflict, "there is no secret yet that the code could be of: start first")
	}
	plain, err := a.keys.Data.Decrypt(keys.TOTPSecret, userID, secret)
	if err != nil {
		return 0, fmt.Errorf("decrypt a TOTP secret: %w", err)
	}
	step, ok := matchStep(plain, code, now, 0)
	if !ok {
		return 0, errFactor
	}
	return step, nil
}

// enrollmentPassword gives the hash that the account has after enrollment.
func (a *Accounts) enrollmentPassword(ctx context.Context, p person, password string) (string, error) {
	switch {
	case password == "" && !p.passwordByAdmin:
		return p.passwordHash, nil
	case password == "":
		return "", fault.New(fault.Invalid, "an ADMIN has set your password: choose a new one").With("newPasswordRequired", true)
	case !p.passwordByAdmin:
		return "", invalidField("newPassword", "you have chosen your password yourself: leave newPassword out")
	}
	issues := CheckPassword(password, a.o.PasswordMinLength, p.Name, p.Email)
	same, err := a.hasher.verify(ctx, p.passwordHash, password)
	if err != nil {
		return "", err
	}
	if same {
		issues = append(issues, Issue{SameAsBefore, "choose another one than the ADMIN has set"})
	}
	if err := weakPassword(issues); err != nil {
		return "", err
	}
	return a.hasher.hash(ctx, password)
}

// enableFactor makes a secret a person's second factor. The step of the code that proved it is used.
func enableFactor(ctx context.Context, tx *store.Tx, p *person, secret []byte, step int64, now time.Time) error {
	p.MFAEnabled, p.totpSecret, p.totpStep, p.enrollBefore, p.UpdatedAt = true, secret, step, time.Time{}, now
	_, err := tx.Exec(ctx, `
		update account
		   set mfa_enabled = $1, totp_secret = $2, totp_step = $3, enroll_before = null,
		       password_hash = $4, password_by_admin = $5, updated_at = $6
		 where id = $7`, p.MFAEnabled, p.totpSecret, p.totpStep, store.Text(p.passwordHash), p.passwordByAdmin, now.UnixMicro(), p.ID)
	if err != nil {
		return fmt.Errorf("enable a second factor: %w", err)
	}
	return nil
}
