package account

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// heldKey is a key with what of its owner decides about it.
type heldKey struct {
	id                   string
	scopes               string
	expiresAt, revokedAt time.Time
	owner                User // its id, address and role, whether it is disabled, and whether it has a second factor of any kind
}

// keyOver answers whoever brings a key that does not count, whatever the reason.
func keyOver() error {
	return fault.New(fault.Unauthenticated, "the API key is not valid, has ended, or its owner may not use it")
}

// whyOver tells why a key does not count, "" where it does.
func (k heldKey) whyOver(now time.Time, mfaRequired bool) string {
	switch {
	case !k.revokedAt.IsZero():
		return "revoked"
	case !now.Before(k.expiresAt):
		return "expired"
	case k.owner.Disabled:
		return "owner disabled"
	case mfaRequired && !k.owner.MFAEnabled:
		return "owner not enrolled"
	}
	return ""
}

// authenticateKey is Authenticate by an API key. The row is read each time, so what ends a key ends it at
// once. What cannot be a key costs no look at the database, and those that come at once share one.
func (a *Accounts) authenticateKey(ctx context.Context, text string, from audit.Principal) (audit.Principal, error) {
	hash, ok := hashAPIKey(text)
	if !ok {
		return audit.Principal{}, fault.New(fault.Unauthenticated, "this is no API key: it was cut, or mistyped")
	}
	k, found, err := a.apiKeys.Get(ctx, string(hash))
	if err != nil {
		return audit.Principal{}, fmt.Errorf("read API key: %w", err)
	}
	refused := func(reason string) error {
		e := keyEvent("auth.api_key.refused", k.id, map[string]any{"reason": reason})
		e.Outcome = audit.Failure
		return a.log.Refused(ctx, from, e, keyOver())
	}
	if !found {
		return audit.Principal{}, refused("unknown")
	}
	if why := k.whyOver(a.now(), a.o.MFARequired); why != "" {
		return audit.Principal{}, refused(why)
	}
	a.uses.key(k.id, from.IP, a.now())
	from.Kind, from.UserID, from.Email, from.Role = audit.Service, k.owner.ID, k.owner.Email, k.owner.Role
	from.KeyID, from.Scopes = k.id, strings.Fields(k.scopes)
	return from, nil
}

// readKeys reads the keys of requests that came at the same time, in one statement.
func (a *Accounts) readKeys(ctx context.Context, hashes []string) (map[string]heldKey, error) {
	args := make([]any, 0, 2*len(hashes))
	for _, h := range hashes {
		args = append(args, []byte(h))
	}
	args = store.Padded(args, 0)
	rows := make(map[string]heldKey, len(hashes))
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var k heldKey
			var hash []byte
			err := scan(&hash, &k.id, &k.scopes, store.Time(&k.expiresAt), store.Time(&k.revokedAt),
				&k.owner.ID, &k.owner.Email, &k.owner.Role, &k.owner.Disabled, &k.owner.MFAEnabled)
			rows[string(hash)] = k
			return err
		}, `select api_key.hash, api_key.id, api_key.scopes, api_key.expires_at, api_key.revoked_at,
		           account.id, account.email, account.role, account.disabled,
		           account.mfa_enabled or exists (select 1 from passkey where passkey.user_id = account.id)
		      from api_key join account on account.id = api_key.owner_id
		     where api_key.hash in (`+store.Placeholders(1, len(args))+`)`, args...)
	})
	return rows, err
}
