package account

import (
	"context"
	"time"

	"github.com/go-webauthn/webauthn/protocol"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// PasskeyReauthStart gives what a browser needs to confirm with one of the caller's passkeys that it is
// them. fault.Unavailable, fault.Conflict where there is none.
func (a *Accounts) PasskeyReauthStart(ctx context.Context, by audit.Principal) (PasskeyRequest, error) {
	if a.noParty != nil {
		return PasskeyRequest{}, a.noParty
	}
	var held []heldPasskey
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		held, err = passkeysOf(ctx, tx, by.UserID)
		return err
	})
	if err != nil {
		return PasskeyRequest{}, err
	}
	if len(held) == 0 {
		return PasskeyRequest{}, fault.New(fault.Conflict, "you have no passkey")
	}
	c, err := a.newChallenge(confirming, by.SessionID)
	return a.party.request(held, c), err
}

// ReauthPasskey is Reauth with a passkey of the session's user (AuthenticationResponseJSON), by the session
// that started. fault.Unauthenticated with details.reauthRequired, fault.TooMany, fault.Invalid.
func (a *Accounts) ReauthPasskey(ctx context.Context, by audit.Principal, answer []byte) (time.Time, error) {
	if a.noParty != nil {
		return time.Time{}, a.noParty
	}
	shown, err := parseAssertion(answer)
	if err != nil {
		return time.Time{}, err
	}
	counters := counters("passkey-confirm", by.UserID, by.IP) // its own: nobody's guesses at a password keep the owner from it
	if err := a.attempt(ctx, a.o.Login, counters); err != nil {
		return time.Time{}, err
	}
	k, err := a.passkeyByCredential(ctx, shown.RawID)
	if err != nil {
		return time.Time{}, err
	}
	failed := func(reason string, why error) (time.Time, error) {
		e := userEvent("auth.reauth.failed", by.UserID, map[string]any{"reason": reason})
		e.Outcome = audit.Failure
		return time.Time{}, a.log.Refused(ctx, by, e, why)
	}
	why := passkeyRefused().With("reauthRequired", true)
	c, reason := a.checkConfirmation(by, k, shown)
	if reason != "" {
		return failed(reason, why)
	}
	now := a.now()
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		if _, err := lockPerson(ctx, tx, by.UserID); err != nil {
			return nil, err
		}
		if err := usePasskey(ctx, tx, k, c, shown, now); err != nil {
			return nil, err
		}
		if err := confirmSession(ctx, tx, by.SessionID, now); err != nil {
			return nil, err
		}
		e := userEvent("auth.reauth.succeeded", by.UserID, map[string]any{"factor": "passkey", "passkey": k.ID})
		return []audit.Event{e}, takeBack(ctx, tx, counters, true)
	})
	if reason := whyNotUsed(err); reason != "" {
		return failed(reason, a.cloneWarning(ctx, by, k, shown, err, why))
	}
	if err != nil {
		return time.Time{}, err
	}
	return now, nil
}

func (a *Accounts) checkConfirmation(by audit.Principal, k heldPasskey, shown *protocol.ParsedCredentialAssertionData) (c challenge, reason string) {
	client := shown.Response.CollectedClientData
	c, ok := a.openChallenge(confirming, by.SessionID, client.Challenge)
	switch {
	case k.ID == "":
		return c, reasonNoPasskey
	case k.userID != by.UserID:
		return c, reasonHandle
	case !ok:
		return c, reasonChallenge
	}
	if err := a.party.verifyConfirmation(passkeyOwner{k.userID, []heldPasskey{k}}, c, shown); err != nil {
		return c, a.party.whyNotAccepted(protocol.AssertCeremony, client, shown.Response.AuthenticatorData, k.backupEligible)
	}
	return c, ""
}
