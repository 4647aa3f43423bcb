package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// UserByEmail finds the account of an address, however it is spelt. fault.NotFound.
func (a *Accounts) UserByEmail(ctx context.Context, address string) (User, error) {
	var p person
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		p, err = personByEmail(ctx, tx, foldEmail(address))
		return err
	})
	return p.User, err
}

// Users lists all accounts, the oldest first. The cursor is a user's id.
func (a *Accounts) Users(ctx context.Context, page store.Page) (store.List[User], error) {
	var users []User
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var p person
			err := scan(p.fields()...)
			users = append(users, p.User)
			return err
		}, `select `+personColumns+` from account where id > $1 order by id limit $2`, page.After, page.Limit+1)
	})
	if err != nil {
		return store.List[User]{}, fmt.Errorf("list accounts: %w", err)
	}
	return store.Cut(users, page, func(u User) string { return u.ID }), nil
}

// UserPatch is what an ADMIN may change about an account; nil leaves a field as it is.
type UserPatch struct {
	Name, Role *string
	Disabled   *bool
}

// apply gives the account after the change, and what of it differs, for the event.
func (p UserPatch) apply(u User) (User, map[string]any, error) {
	changes := map[string]any{}
	if p.Name != nil {
		name, err := parseName(*p.Name)
		if err != nil {
			return u, nil, err
		}
		if name != u.Name {
			changes["name"] = true
		}
		u.Name = name
	}
	if p.Role != nil {
		role, err := parseRole(*p.Role)
		if err != nil {
			return u, nil, err
		}
		if role != u.Role {
			changes["role"] = map[string]any{"from": u.Role, "to": role}
		}
		u.Role = role
	}
	if p.Disabled != nil {
		if *p.Disabled != u.Disabled {
			changes["disabled"] = *p.Disabled
		}
		u.Disabled = *p.Disabled
	}
	return u, changes, nil
}

func administers(u User) bool { return u.Role == audit.Admin && !u.Disabled }

// ChangeUser changes an account. Disabling ends its sessions and its enrollment; a new role counts from
// the next request on. The last enabled ADMIN stays one, also when two demote each other at once.
// fault.Forbidden, fault.NotFound, fault.Invalid, fault.Conflict.
func (a *Accounts) ChangeUser(ctx context.Context, by audit.Principal, id string, patch UserPatch) (u User, err error) {
	if err := a.guardAdmin(by); err != nil {
		return User{}, a.log.Refused(ctx, by, userEvent("auth.user.change_refused", id, nil), err)
	}
	if patch == (UserPatch{}) {
		return User{}, fault.New(fault.Invalid, "say what to change: name, role or disabled")
	}
	now := a.now()
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		admins, err := lockAdmins(ctx, tx)
		if err != nil {
			return nil, err
		}
		p, err := lockPerson(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		before := p.User
		var changes map[string]any
		if u, changes, err = patch.apply(before); err != nil {
			return nil, err
		}
		if len(changes) == 0 {
			return nil, audit.ErrNothing
		}
		if administers(before) && !administers(u) && !slices.ContainsFunc(admins, func(other string) bool { return other != id }) {
			return nil, fault.New(fault.Conflict, "this is the last enabled ADMIN: make another one first")
		}
		u.UpdatedAt = now
		_, err = tx.Exec(ctx, `update account set name = $1, role = $2, disabled = $3, updated_at = $4 where id = $5`,
			u.Name, u.Role, u.Disabled, now.UnixMicro(), id)
		if err != nil {
			return nil, fmt.Errorf("update account: %w", err)
		}
		if u.Disabled {
			if _, err := revokeSessions(ctx, tx, id, "", now); err != nil {
				return nil, err
			}
			if err := errors.Join(dropEnrollment(ctx, tx, id), dropReset(ctx, tx, id)); err != nil {
				return nil, err
			}
		}
		return []audit.Event{userEvent("auth.user.changed", id, changes)}, nil
	})
	if fault.Is(err, fault.Conflict) {
		err = a.log.Refused(ctx, by, userEvent("auth.user.change_refused", id, map[string]any{"reason": "last enabled ADMIN"}), err)
	}
	return u, err
}

// lockAdmins locks the enabled ADMINs' rows, so that of two who would take each other's role one waits
// and then sees what the other has done.
func lockAdmins(ctx context.Context, tx *store.Tx) (ids []string, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, `select id from account where role = 'ADMIN' and not disabled order by id`+tx.ForUpdate())
	if err != nil {
		return nil, fmt.Errorf("read ADMINs: %w", err)
	}
	return ids, nil
}

// maxReason is the longest reason, in code points.
const maxReason = 500

func parseReason(text string) (string, error) {
	text = strings.TrimSpace(text)
	if n := utf8.RuneCountInString(text); n == 0 || n > maxReason || !utf8.ValidString(text) {
		return "", invalidField("reason", "give a reason of at most %d characters", maxReason)
	}
	return text, nil
}

// operator is who acts from the server's own machine (web/operator.go).
var operator = audit.Itself("operator").UserID

// reasonOf reads a reason that an ADMIN may give and the operator, who is nobody in particular, has to.
func reasonOf(by audit.Principal, text string) (string, error) {
	if text == "" && by.UserID != operator {
		return "", nil
	}
	return parseReason(text)
}

func withReason(details map[string]any, reason string) map[string]any {
	if reason != "" {
		details["reason"] = reason
	}
	return details
}

// ResetMFA takes a user's second factor, backup codes and passkeys away, for a lost phone, and ends the user's
// sessions. Enrollment, which the password alone then leads to, is open for 72 hours.
// fault.Forbidden, fault.NotFound, fault.Invalid.
func (a *Accounts) ResetMFA(ctx context.Context, by audit.Principal, id, reason string) (u User, err error) {
	if err := a.guardAdmin(by); err != nil {
		return User{}, a.log.Refused(ctx, by, userEvent("auth.mfa.reset_refused", id, nil), err)
	}
	if reason, err = parseReason(reason); err != nil {
		return User{}, err
	}
	now := a.now()
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		p, err := lockPerson(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, `update account set mfa_enabled = $1, totp_secret = null, enroll_before = $2, updated_at = $3 where id = $4`,
			false, now.Add(enrollmentDeadline).UnixMicro(), now.UnixMicro(), id)
		if err != nil {
			return nil, fmt.Errorf("reset a second factor: %w", err)
		}
		if err := errors.Join(deleteBackupCodes(ctx, tx, id), dropEnrollment(ctx, tx, id)); err != nil {
			return nil, err
		}
		passkeys, err := deletePasskeys(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if _, err := revokeSessions(ctx, tx, id, "", now); err != nil {
			return nil, err
		}
		u = p.User
		u.MFAEnabled, u.UpdatedAt = false, now
		return []audit.Event{userEvent("auth.mfa.reset", id, map[string]any{"reason": reason, "passkeys": passkeys})}, nil
	})
	return u, err
}
