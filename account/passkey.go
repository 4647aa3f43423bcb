package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// A passkey (WebAuthn Level 3) is a key pair whose private half never leaves its user's devices. Signing in
// with one shows two factors at once, the device and what unlocks it (user verification), so it is enough
// by itself where MFA is required (runbook §1), and there is nothing in it that a false page could ask for:
// a browser signs for the origin that it is at, and for no other.
//
// A passkey stands beside password and authenticator app and replaces neither: a password is never enough
// because there is a passkey, too. Registering and deleting one need a fresh sign-in.

// The limits of passkeys. People type names.
const (
	MaxPasskeys    = 10  // of a user
	MaxPasskeyName = 100 // code points
)

// Passkey is a passkey as its user sees it.
type Passkey struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	BackedUp   bool       `json:"backedUp" doc:"Its provider copies it to the user's other devices"`
	CreatedAt  time.Time  `json:"createdAt"`
	LastUsedAt *time.Time `json:"lastUsedAt,omitempty"`
}

// heldPasskey is a row of passkey.
type heldPasskey struct {
	Passkey
	userID                  string
	credentialID, publicKey []byte
	transports              []string
	signCount               uint32
	backupEligible          bool
}

const passkeyColumns = `passkey.id, passkey.user_id, passkey.credential_id, passkey.public_key, passkey.name, passkey.transports,
	passkey.sign_count, passkey.backup_eligible, passkey.backed_up, passkey.created_at, passkey.last_used_at`

// scan reads a row of passkeyColumns, and more columns behind them.
func (k *heldPasskey) scan(scan func(...any) error, more ...any) error {
	var transports string
	var used time.Time
	err := scan(append([]any{
		&k.ID, &k.userID, &k.credentialID, &k.publicKey, &k.Name, &transports, &k.signCount, &k.backupEligible, &k.BackedUp,
		store.Time(&k.CreatedAt), store.Time(&used),
	}, more...)...)
	k.transports = strings.Fields(transports)
	if !used.IsZero() {
		k.LastUsedAt = &used
	}
	return err
}

// passkeysOf reads a user's passkeys, the oldest first.
func passkeysOf(ctx context.Context, tx *store.Tx, userID string) (list []heldPasskey, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var k heldPasskey
		err := k.scan(scan)
		list = append(list, k)
		return err
	}, `select `+passkeyColumns+` from passkey where user_id = $1 order by id`, userID)
	if err != nil {
		return nil, fmt.Errorf("read passkeys: %w", err)
	}
	return list, nil
}

// Passkeys lists the caller's own passkeys, the oldest first, at most MaxPasskeys.
func (a *Accounts) Passkeys(ctx context.Context, by audit.Principal) ([]Passkey, error) {
	var held []heldPasskey
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		held, err = passkeysOf(ctx, tx, by.UserID)
		return err
	})
	list := make([]Passkey, len(held))
	for i, k := range held {
		list[i] = k.Passkey
	}
	return list, err
}

// DeletePasskey takes one of the caller's own passkeys away, and ends the sign-ins that were made with it,
// except the one that asks. Fresh sign-in. fault.NotFound; fault.Conflict where it is all that lets the
// caller in, because MFA is required and there is no other factor.
func (a *Accounts) DeletePasskey(ctx context.Context, by audit.Principal, id string) error {
	if err := a.Guard(by); err != nil {
		return err
	}
	now := a.now()
	last := fault.New(fault.Conflict, "this passkey is your only second factor, and one is required here: set up an authenticator app first")
	err := a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, by.UserID)
		if err != nil {
			return nil, err
		}
		held, err := passkeysOf(ctx, tx, p.ID)
		if err != nil {
			return nil, err
		}
		n, err := tx.Exec(ctx, `delete from passkey where id = $1 and user_id = $2`, id, p.ID)
		switch {
		case err != nil:
			return nil, fmt.Errorf("delete a passkey: %w", err)
		case n == 0:
			return nil, fault.New(fault.NotFound, "you have no such passkey")
		case len(held) == 1 && !p.MFAEnabled && a.o.MFARequired:
			return nil, last
		}
		ended, err := tx.Exec(ctx, `update session set revoked_at = $1 where user_id = $2 and passkey_id = $3 and id <> $4 and revoked_at is null`,
			now.UnixMicro(), p.ID, id, by.SessionID)
		if err != nil {
			return nil, fmt.Errorf("end a passkey's sessions: %w", err)
		}
		return []audit.Event{passkeyEvent("auth.passkey.deleted", id, map[string]any{"sessionsEnded": ended})}, nil
	})
	if errors.Is(err, last) {
		err = a.log.Refused(ctx, by, passkeyEvent("auth.passkey.delete_refused", id, map[string]any{"reason": "only second factor"}), err)
	}
	return err
}

// deletePasskeys takes all of a user's passkeys away, and tells how many there were.
func deletePasskeys(ctx context.Context, tx *store.Tx, userID string) (int64, error) {
	n, err := tx.Exec(ctx, `delete from passkey where user_id = $1`, userID)
	if err != nil {
		return 0, fmt.Errorf("delete passkeys: %w", err)
	}
	return n, nil
}

// hasPasskey tells whether a user has one.
func hasPasskey(ctx context.Context, tx *store.Tx, userID string) (has bool, err error) {
	err = tx.QueryRow(ctx, `select exists (select 1 from passkey where user_id = $1)`, userID).Scan(&has)
	if err != nil {
		return false, fmt.Errorf("look for passkeys: %w", err)
	}
	return has, nil
}

func parsePasskeyName(text string) (string, error) {
	name := norm.NFC.String(strings.TrimSpace(text))
	switch {
	case name == "":
		return "", invalidField("name", "name is empty")
	case utf8.RuneCountInString(name) > MaxPasskeyName:
		return "", invalidField("name", "name is longer than %d characters", MaxPasskeyName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "", invalidField("name", "name has characters that cannot be shown")
	}
	return name, nil
}

func passkeyEvent(action, id string, details map[string]any) audit.Event {
	return audit.Event{Action: action, Entity: "Passkey", EntityID: id, Details: details}
}
