package account

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// An API key is a service account (SPEC §1): an ADMIN makes it for an integrator's program, which has no
// phone. It acts for its owner, and may do what one of its scopes names and its owner's role allows, as
// that is now: a disabled owner's keys are worth nothing, and a demoted one's no more than the owner. The
// guarded actions refuse it, whatever its scopes.

// The scopes. Which routes each of them opens is said at the routes (package web).
const (
	DispatchWrite = "dispatch:write"
	DispatchRead  = "dispatch:read"
	AuditRead     = "audit:read"
	PostureRead   = "posture:read"
	PostureRun    = "posture:run"
)

// Scopes is the closed list of them.
var Scopes = []string{DispatchWrite, DispatchRead, AuditRead, PostureRead, PostureRun}

// Limits of API keys.
const (
	MaxKeyLife  = 365 * 24 * time.Hour
	MaxKeyName  = 100 // code points
	MaxLiveKeys = 25  // of one owner
)

// APIKey is a key as an ADMIN sees it. Its text is shown by CreateAPIKey and never again.
type APIKey struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	OwnerID    string     `json:"ownerId" doc:"For whom it acts; its jobs are this user's"`
	Hint       string     `json:"hint" doc:"How the key begins"`
	Scopes     []string   `json:"scopes"`
	CreatedAt  time.Time  `json:"createdAt"`
	CreatedBy  string     `json:"createdBy" doc:"The ADMIN who made it"`
	ExpiresAt  time.Time  `json:"expiresAt"`
	LastUsedAt *time.Time `json:"lastUsedAt" doc:"To the minute; null: never"`
	LastUsedIP string     `json:"lastUsedIp,omitempty"`
	RevokedAt  *time.Time `json:"revokedAt" doc:"null: it is not revoked"`
}

// NewKey is what an ADMIN asks for. Without an owner it is the ADMIN's own.
type NewKey struct {
	Name      string
	Scopes    []string
	ExpiresAt time.Time
	OwnerID   string
}

// check tells what is wrong with a new key by itself, as fault.Invalid.
func (n *NewKey) check(now time.Time) error {
	n.Name = strings.TrimSpace(n.Name)
	if length := utf8.RuneCountInString(n.Name); length == 0 || length > MaxKeyName || !utf8.ValidString(n.Name) ||
		strings.ContainsFunc(n.Name, unicode.IsControl) {
		return invalidField("name", "name has 1 to %d characters on one line", MaxKeyName)
	}
	if len(n.Scopes) == 0 {
		return invalidField("scopes", "name one scope at least, of %s", strings.Join(Scopes, ", "))
	}
	for i, scope := range n.Scopes {
		switch {
		case !slices.Contains(Scopes, scope):
			return invalidField("scopes", "scopes[%d] is none of %s", i, strings.Join(Scopes, ", "))
		case slices.Contains(n.Scopes[:i], scope):
			return invalidField("scopes", "scopes names %s twice", scope)
		}
	}
	n.ExpiresAt = n.ExpiresAt.UTC().Truncate(time.Microsecond)
	if !n.ExpiresAt.After(now) || n.ExpiresAt.After(now.Add(MaxKeyLife)) {
		return invalidField("expiresAt", "expiresAt is in the future, at most %d days from now", int(MaxKeyLife.Hours()/24))
	}
	return nil
}

func keyEvent(action, id string, details map[string]any) audit.Event {
	return audit.Event{Action: action, Entity: "ApiKey", EntityID: id, Details: details}
}

// CreateAPIKey makes a key and gives its text, this once. fault.Forbidden; fault.Invalid; fault.NotFound
// without such an owner; fault.Conflict for an owner who is disabled, has yet to enroll, or has
// MaxLiveKeys already.
func (a *Accounts) CreateAPIKey(ctx context.Context, by audit.Principal, n NewKey) (k APIKey, secret string, err error) {
	if err := a.guardAdmin(by); err != nil {
		return APIKey{}, "", a.log.Refused(ctx, by, keyEvent("auth.api_key.create_refused", "", nil), err)
	}
	now := a.now()
	if err := n.check(now); err != nil {
		return APIKey{}, "", err
	}
	if n.OwnerID == "" {
		n.OwnerID = by.UserID
	}
	secret = newAPIKey()
	hash, _ := hashAPIKey(secret)
	k = APIKey{
		ID: store.NewID(), Name: n.Name, OwnerID: n.OwnerID, Hint: secret[:keyHint], Scopes: n.Scopes,
		CreatedAt: now, CreatedBy: by.UserID, ExpiresAt: n.ExpiresAt,
	}
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		owner, err := lockPerson(ctx, tx, n.OwnerID) // two at once count each other's
		if err != nil {
			return nil, err
		}
		if err := a.mayOwn(ctx, tx, owner, now); err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, `
			insert into api_key (id, owner_id, name, hash, hint, scopes, created_at, created_by, expires_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			k.ID, k.OwnerID, k.Name, hash, k.Hint, strings.Join(k.Scopes, " "), now.UnixMicro(), k.CreatedBy, k.ExpiresAt.UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("insert API key: %w", err)
		}
		return []audit.Event{keyEvent("auth.api_key.created", k.ID, map[string]any{
			"name": k.Name, "ownerId": k.OwnerID, "scopes": k.Scopes, "expiresAt": k.ExpiresAt,
		})}, nil
	})
	if err != nil {
		return APIKey{}, "", err
	}
	return k, secret, nil
}

// mayOwn tells whether a user whose row is locked may have one more key.
func (a *Accounts) mayOwn(ctx context.Context, tx *store.Tx, owner person, now time.Time) error {
	if owner.Disabled {
		return fault.New(fault.Conflict, "the key's owner is disabled")
	}
	if a.o.MFARequired && !owner.MFAEnabled {
		enrolled, err := hasPasskey(ctx, tx, owner.ID)
		if err != nil {
			return err
		}
		if !enrolled {
			return fault.New(fault.Conflict, "the key's owner has yet to enroll a second factor: until then a key would be worth nothing")
		}
	}
	var live int
	err := tx.QueryRow(ctx, `select count(*) from api_key where owner_id = $1 and revoked_at is null and expires_at > $2`,
		owner.ID, now.UnixMicro()).Scan(&live)
	if err != nil {
		return fmt.Errorf("count API keys: %w", err)
	}
	if live >= MaxLiveKeys {
		return fault.New(fault.Conflict, "a user has at most %d API keys that count: revoke one first", MaxLiveKeys)
	}
	return nil
}

// APIKeys lists all keys, those that have ended too, the oldest first. The cursor is a key's id.
func (a *Accounts) APIKeys(ctx context.Context, page store.Page) (store.List[APIKey], error) {
	_ = a.uses.flush(ctx) // where it fails, the list is as it was a minute ago
	var list []APIKey
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var k APIKey
			var scopes string
			var used, revoked time.Time
			err := scan(&k.ID, &k.OwnerID, &k.Name, &k.Hint, &scopes, store.Time(&k.CreatedAt), &k.CreatedBy,
				store.Time(&k.ExpiresAt), store.Time(&revoked), store.Time(&used), store.String(&k.LastUsedIP))
			k.Scopes, k.LastUsedAt, k.RevokedAt = strings.Fields(scopes), optionalTime(used), optionalTime(revoked)
			list = append(list, k)
			return err
		}, `select api_key.id, owner_id, name, hint, scopes, created_at, created_by, expires_at, revoked_at, used_at, ip
		      from api_key left join api_key_use on api_key_use.key_id = api_key.id
		     where api_key.id > $1 order by api_key.id limit $2`, page.After, page.Limit+1)
	})
	if err != nil {
		return store.List[APIKey]{}, fmt.Errorf("list API keys: %w", err)
	}
	return store.Cut(list, page, func(k APIKey) string { return k.ID }), nil
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// RevokeAPIKey ends a key at once, on every server. fault.Forbidden; fault.NotFound where there is none,
// or it is revoked already.
func (a *Accounts) RevokeAPIKey(ctx context.Context, by audit.Principal, id string) error {
	if err := a.guardAdmin(by); err != nil {
		return a.log.Refused(ctx, by, keyEvent("auth.api_key.revoke_refused", id, nil), err)
	}
	now := a.now()
	return a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		var owner string
		err := tx.QueryRow(ctx, `update api_key set revoked_at = $1 where id = $2 and revoked_at is null returning owner_id`,
			now.UnixMicro(), id).Scan(&owner)
		if store.NoRow(err) {
			return nil, fault.New(fault.NotFound, "there is no such API key, or it is revoked already")
		}
		if err != nil {
			return nil, fmt.Errorf("revoke API key: %w", err)
		}
		return []audit.Event{keyEvent("auth.api_key.revoked", id, map[string]any{"ownerId": owner})}, nil
	})
}

// KeyAge tells since when an API key is in use (runbook §3): each is made anew, and never changes.
type KeyAge struct {
	ID, Name  string
	CreatedAt time.Time
}

// KeyAges tells it of every key that counts, the oldest first.
func (a *Accounts) KeyAges(ctx context.Context) ([]KeyAge, error) {
	var list []KeyAge
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var k KeyAge
			err := scan(&k.ID, &k.Name, store.Time(&k.CreatedAt))
			list = append(list, k)
			return err
		}, `select id, name, created_at from api_key where revoked_at is null and expires_at > $1 order by id`, a.now().UnixMicro())
	})
	if err != nil {
		return nil, fmt.Errorf("read the ages of API keys: %w", err)
	}
	return list, nil
}
