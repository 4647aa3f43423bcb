package account

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// mayRegisterPasskey is for both halves: whoever starts has to be here still when it is finished.
func (a *Accounts) mayRegisterPasskey(by audit.Principal) error {
	if err := a.Guard(by); err != nil {
		return err
	}
	return a.noParty
}

func tooManyPasskeys() error {
	return fault.New(fault.Conflict, "you have %d passkeys, which is as many as there may be: delete one first", MaxPasskeys)
}

// PasskeyRegisterStart gives what a browser needs to make a passkey for the caller, who has to be freshly
// signed in. It writes nothing. fault.Unavailable, fault.Conflict where there are ten already.
func (a *Accounts) PasskeyRegisterStart(ctx context.Context, by audit.Principal) (PasskeyCreation, error) {
	if err := a.mayRegisterPasskey(by); err != nil {
		return PasskeyCreation{}, err
	}
	var p person
	var held []heldPasskey
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		if p, err = personByID(ctx, tx, by.UserID); err != nil {
			return err
		}
		held, err = passkeysOf(ctx, tx, by.UserID)
		return err
	})
	if err != nil {
		return PasskeyCreation{}, err
	}
	if len(held) >= MaxPasskeys {
		return PasskeyCreation{}, tooManyPasskeys()
	}
	c, err := a.newChallenge(registering, by.SessionID)
	return a.party.creation(p.User, held, c), err
}

// PasskeyRegisterFinish makes what a browser answered (RegistrationResponseJSON) a passkey of the caller's.
// The session has to be the one that started, and fresh. fault.Invalid, fault.Conflict.
func (a *Accounts) PasskeyRegisterFinish(ctx context.Context, by audit.Principal, name string, answer []byte) (k Passkey, err error) {
	if err := a.mayRegisterPasskey(by); err != nil {
		return Passkey{}, err
	}
	if name, err = parsePasskeyName(name); err != nil {
		return Passkey{}, err
	}
	made, err := parseRegistration(answer)
	if err != nil {
		return Passkey{}, err
	}
	refused := func(reason string) error {
		e := passkeyEvent("auth.passkey.register_failed", "", map[string]any{"reason": reason})
		e.Outcome = audit.Failure
		return a.log.Refused(ctx, by, e, fault.New(fault.Invalid, "this passkey could not be registered: start again"))
	}
	client := made.Response.CollectedClientData
	c, ok := a.openChallenge(registering, by.SessionID, client.Challenge)
	if !ok {
		return Passkey{}, refused(reasonChallenge)
	}
	held, err := a.party.verifyRegistration(by.UserID, c, made)
	if fault.Is(err, fault.Invalid) {
		return Passkey{}, err
	}
	if err != nil {
		data := made.Response.AttestationObject.AuthData
		return Passkey{}, refused(a.party.whyNotAccepted(protocol.CreateCeremony, client, data, data.Flags.HasBackupEligible()))
	}
	held.ID, held.Name, held.CreatedAt = store.NewID(), name, a.now()
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) { return addPasskey(ctx, tx, by.SessionID, held, c) })
	if errors.Is(err, errSpentChallenge) {
		return Passkey{}, refused(reasonSpent)
	}
	return held.Passkey, err
}

// addPasskey stores a new passkey. The owner's row is locked, so that ten are ten in a race, too, and
// nothing is added behind the back of what has just ended the session: a reset, disabling, logout-all.
func addPasskey(ctx context.Context, tx *store.Tx, sessionID string, k heldPasskey, c challenge) ([]audit.Event, error) {
	p, err := lockPerson(ctx, tx, k.userID)
	if err != nil {
		return nil, err
	}
	var row sessionRow
	err = tx.QueryRow(ctx, `select expires_at, revoked_at from session where id = $1 and user_id = $2`, sessionID, p.ID).
		Scan(store.Time(&row.expiresAt), store.Time(&row.revokedAt))
	if err != nil && !store.NoRow(err) {
		return nil, fmt.Errorf("read session: %w", err)
	}
	if !row.live(k.CreatedAt) || p.Disabled {
		return nil, sessionOver()
	}
	fresh, err := spendChallenge(ctx, tx, c)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, errSpentChallenge
	}
	others, err := passkeysOf(ctx, tx, p.ID)
	if err != nil {
		return nil, err
	}
	if len(others) >= MaxPasskeys {
		return nil, tooManyPasskeys()
	}
	n, err := tx.Exec(ctx, `
		insert into passkey (id, user_id, credential_id, public_key, name, transports, sign_count, backup_eligible, backed_up, created_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (credential_id) do nothing`,
		k.ID, p.ID, k.credentialID, k.publicKey, k.Name, strings.Join(k.transports, " "), int64(k.signCount),
		k.backupEligible, k.BackedUp, k.CreatedAt.UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("insert a passkey: %w", err)
	}
	if n == 0 {
		return nil, fault.New(fault.Conflict, "this passkey is registered already")
	}
	return []audit.Event{passkeyEvent("auth.passkey.registered", k.ID,
		map[string]any{"backupEligible": k.backupEligible, "backedUp": k.BackedUp, "counts": k.signCount > 0})}, nil
}
