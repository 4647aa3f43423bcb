package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// Factor is a second factor as somebody shows it: a code of their app or a backup code.
type Factor struct {
	MFACode, BackupCode string
}

func (f Factor) given() bool { return f.MFACode != "" || f.BackupCode != "" }

func (f Factor) check() error {
	if f.MFACode != "" && f.BackupCode != "" {
		return fault.New(fault.Invalid, "give mfaCode or backupCode, not both")
	}
	return nil
}

// errFactor says that a factor was wrong or used before. It never leaves the package.
var errFactor = errors.New("the second factor is wrong")

// mfaRequired answers whoever showed no factor, or a wrong one.
func mfaRequired(shown bool) *fault.Error {
	message := "a code from your authenticator app, or a backup code, is needed too"
	if shown {
		message = "the code is wrong, or has been used already"
	}
	return fault.New(fault.Unauthenticated, "%s", message).With("mfaRequired", true)
}

// useFactor spends a factor of a person whose row is locked, and tells which kind it was ("totp",
// "backupCode"). The updates are conditional all the same: whatever the isolation, of many who bring
// one code at once, one gets in. errFactor where it is wrong.
func (a *Accounts) useFactor(ctx context.Context, tx *store.Tx, p person, f Factor, now time.Time) (string, error) {
	if f.BackupCode != "" {
		return "backupCode", spendBackupCode(ctx, tx, p.ID, f.BackupCode)
	}
	secret, err := a.keys.Data.Decrypt(keys.TOTPSecret, p.ID, p.totpSecret)
	if err != nil {
		return "", fmt.Errorf("decrypt a TOTP secret: %w", err)
	}
	step, ok := matchStep(secret, f.MFACode, now, p.totpStep)
	if !ok {
		return "", errFactor
	}
	n, err := tx.Exec(ctx, `update account set totp_step = $1 where id = $2 and totp_step < $1`, step, p.ID)
	if err != nil {
		return "", fmt.Errorf("spend a code: %w", err)
	}
	if n == 0 {
		return "", errFactor
	}
	return "totp", nil
}

func spendBackupCode(ctx context.Context, tx *store.Tx, userID, code string) error {
	normalized, ok := normalizeBackupCode(code)
	if !ok {
		return errFactor
	}
	n, err := tx.Exec(ctx, `delete from backup_code where user_id = $1 and hash = $2`, userID, hashBackupCode(userID, normalized))
	if err != nil {
		return fmt.Errorf("spend a backup code: %w", err)
	}
	if n == 0 {
		return errFactor
	}
	return nil
}
