package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// PasskeyLoginStart gives what a browser needs to sign somebody in, whoever it is: the device knows whose
// passkey it has. It reads and writes nothing, so there is nothing in it to learn or to exhaust.
// fault.Unavailable.
func (a *Accounts) PasskeyLoginStart() (PasskeyRequest, error) {
	if a.noParty != nil {
		return PasskeyRequest{}, a.noParty
	}
	c, err := a.newChallenge(signingIn, "")
	return a.party.request(nil, c), err
}

// PasskeyLoginFinish signs in whoever's passkey has signed the challenge (AuthenticationResponseJSON). It
// is a whole sign-in: the device and what unlocks it are two factors. Whatever is wrong, the answer is one.
// fault.Unauthenticated, fault.TooMany, fault.Invalid for what is no answer of a browser's.
func (a *Accounts) PasskeyLoginFinish(ctx context.Context, from audit.Principal, answer []byte) (s SignIn, err error) {
	if a.noParty != nil {
		return SignIn{}, a.noParty
	}
	shown, err := parseAssertion(answer)
	if err != nil {
		return SignIn{}, err
	}
	k, err := a.passkeyByCredential(ctx, shown.RawID)
	if err != nil {
		return SignIn{}, err
	}
	failed := func(reason string, why error) (SignIn, error) {
		return SignIn{}, a.loginFailed(ctx, from, k.userID, reason, why)
	}
	counters := passkeyCounters(k.userID, from.IP)
	if err := a.attempt(ctx, a.o.Login, counters); err != nil {
		if fault.Is(err, fault.TooMany) {
			return failed(reasonThrottled, err)
		}
		return SignIn{}, err
	}
	c, reason := a.checkAssertion(k, shown)
	if reason != "" {
		return failed(reason, passkeyRefused())
	}
	now := a.now()
	err = a.log.Change(ctx, from, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, k.userID)
		switch {
		case fault.Is(err, fault.NotFound):
			return nil, errChanged
		case err != nil:
			return nil, err
		case p.Disabled:
			return nil, errDisabled
		}
		if err := usePasskey(ctx, tx, k, c, shown, now); err != nil {
			return nil, err
		}
		if s, err = a.startSession(ctx, tx, p, from, now); err != nil {
			return nil, err
		}
		if err := markSession(ctx, tx, s.SessionID, k.ID); err != nil {
			return nil, err
		}
		e := loginSucceeded(p, from, s, "passkey")
		e.Details["passkey"] = k.ID
		return []audit.Event{e}, takeBack(ctx, tx, counters, true)
	})
	if reason := whyNotUsed(err); reason != "" {
		return failed(reason, a.cloneWarning(ctx, from, k, shown, err, passkeyRefused()))
	}
	if err != nil {
		return SignIn{}, err
	}
	return a.issue(s, now)
}

var errDisabled = errors.New("the account is disabled")

// checkAssertion is all that can be checked of a sign-in's assertion without locking anything. reason is
// "" where it holds.
func (a *Accounts) checkAssertion(k heldPasskey, shown *protocol.ParsedCredentialAssertionData) (c challenge, reason string) {
	client := shown.Response.CollectedClientData
	c, ok := a.openChallenge(signingIn, "", client.Challenge)
	switch {
	case k.ID == "":
		return c, reasonNoPasskey
	case !ok:
		return c, reasonChallenge
	case string(shown.Response.UserHandle) != string(userHandle(k.userID)):
		return c, reasonHandle
	}
	if err := a.party.verifyAssertion(passkeyOwner{k.userID, []heldPasskey{k}}, c, shown); err != nil {
		return c, a.party.whyNotAccepted(protocol.AssertCeremony, client, shown.Response.AuthenticatorData, k.backupEligible)
	}
	return c, ""
}

// whyNotUsed is the reason of a refusal that came to light behind the lock, "" for any other error.
func whyNotUsed(err error) string {
	switch {
	case errors.Is(err, errSpentChallenge):
		return reasonSpent
	case errors.Is(err, errCloned):
		return reasonCloned
	case errors.Is(err, errDisabled):
		return reasonDisabled
	case errors.Is(err, errChanged):
		return reasonChanged
	}
	return ""
}

// cloneWarning records that two devices may have one private key (WebAuthn §6.1.1), where that is what an
// assertion was refused for, and gives the refusal back.
func (a *Accounts) cloneWarning(ctx context.Context, by audit.Principal, k heldPasskey, shown *protocol.ParsedCredentialAssertionData, err, why error) error {
	if !errors.Is(err, errCloned) {
		return why
	}
	e := passkeyEvent("auth.passkey.clone_warning", k.ID, map[string]any{
		"user": k.userID, "stored": k.signCount, "shown": shown.Response.AuthenticatorData.Counter,
	})
	return a.log.Refused(ctx, by, e, why)
}

// passkeyByCredential reads the passkey of a credential id; a zero one where there is none.
func (a *Accounts) passkeyByCredential(ctx context.Context, credentialID []byte) (k heldPasskey, err error) {
	err = a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return k.scan(tx.QueryRow(ctx, `select `+passkeyColumns+` from passkey where credential_id = $1`, credentialID).Scan)
	})
	if store.NoRow(err) {
		return heldPasskey{}, nil
	}
	if err != nil {
		return heldPasskey{}, fmt.Errorf("read a passkey: %w", err)
	}
	return k, nil
}

// markSession notes that a sign-in was made with a passkey.
func markSession(ctx context.Context, tx *store.Tx, sessionID, passkeyID string) error {
	if _, err := tx.Exec(ctx, `update session set passkey_id = $1 where id = $2`, passkeyID, sessionID); err != nil {
		return fmt.Errorf("note a session's passkey: %w", err)
	}
	return nil
}

// passkeyCounters count with the sign-ins of a network, by password or passkey, and have an account's
// counter of their own, in which the same limit holds: whoever guesses at its password does not keep its
// owner's passkey out, and the other way round.
func passkeyCounters(userID, ip string) []counter {
	list := counters("login", "", ip)
	if userID != "" {
		list = append(list, counterOf("passkey", userID, 1))
	}
	slices.SortFunc(list, func(a, b counter) int { return strings.Compare(a.id, b.id) })
	return list
}
