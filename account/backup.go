package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"sealpost/store"
)

// A backup code stands in for a lost phone, once. It has 120 random bits, so its plain SHA-256 (with the
// user's id in it) cannot be searched for in a stolen database, and verifying one costs nothing: OWASP ASVS
// 6.5.2 and NIST SP 800-63B-4 want a slow hash for those of less than 112 bits.
const (
	backupCodes  = 8
	backupBytes  = 15
	backupLength = 24 // characters of 5 bits, in groups of 6
)

// backupAlphabet is Crockford's base32: no I, L, O or U, and who reads them as 1, 1, 0 is understood.
const backupAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

var backupEncoding = base32.NewEncoding(backupAlphabet).WithPadding(base32.NoPadding)

func newBackupCode() string {
	b := make([]byte, backupBytes)
	_, _ = rand.Read(b)
	text := backupEncoding.EncodeToString(b)
	return text[:6] + "-" + text[6:12] + "-" + text[12:18] + "-" + text[18:]
}

// normalizeBackupCode gives the form of a code that is hashed, and false for what can be none.
func normalizeBackupCode(text string) (string, bool) {
	if len(text) > 64 {
		return "", false
	}
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch r {
		case ' ', '-':
			continue
		case 'i', 'l':
			r = '1'
		case 'o':
			r = '0'
		}
		if !strings.ContainsRune(backupAlphabet, r) {
			return "", false
		}
		b.WriteRune(r)
	}
	return b.String(), b.Len() == backupLength
}

func hashBackupCode(userID, normalized string) []byte {
	hash := sha256.Sum256([]byte("sealpost backup code\x00" + userID + "\x00" + normalized))
	return hash[:]
}

// replaceBackupCodes makes eight new codes; the old ones are worth nothing from then on.
func replaceBackupCodes(ctx context.Context, tx *store.Tx, userID string) ([]string, error) {
	if err := deleteBackupCodes(ctx, tx, userID); err != nil {
		return nil, err
	}
	shown := make([]string, backupCodes)
	rows := make([][]any, backupCodes)
	for i := range shown {
		shown[i] = newBackupCode()
		normalized, _ := normalizeBackupCode(shown[i])
		rows[i] = []any{userID, hashBackupCode(userID, normalized)}
	}
	return shown, tx.Insert(ctx, "backup_code", []string{"user_id", "hash"}, rows)
}

func deleteBackupCodes(ctx context.Context, tx *store.Tx, userID string) error {
	if _, err := tx.Exec(ctx, `delete from backup_code where user_id = $1`, userID); err != nil {
		return fmt.Errorf("delete backup codes: %w", err)
	}
	return nil
}
