package account

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// User is a person as others see them.
type User struct {
	ID         string     `json:"id"`
	Email      string     `json:"email"`
	Name       string     `json:"name"`
	Role       audit.Role `json:"role"`
	MFAEnabled bool       `json:"mfaEnabled"`
	Disabled   bool       `json:"disabled"`
	CreatedAt  time.Time  `json:"createdAt"`
	UpdatedAt  time.Time  `json:"updatedAt"`
}

// person is a row of account: a User with what only this package may see.
type person struct {
	User
	emailKey        string
	passwordHash    string // "" where there is none
	passwordByAdmin bool   // somebody else knows it
	enrollBefore    time.Time
	totpSecret      []byte // encrypted
	totpStep        int64
}

const personColumns = `account.id, account.email, account.email_key, account.name, account.role, account.password_hash,
	account.password_by_admin, account.enroll_before, account.mfa_enabled, account.totp_secret, account.totp_step,
	account.disabled, account.created_at, account.updated_at`

func (p *person) fields() []any {
	return []any{
		&p.ID, &p.Email, &p.emailKey, &p.Name, &p.Role, store.String(&p.passwordHash), &p.passwordByAdmin,
		store.Time(&p.enrollBefore), &p.MFAEnabled, &p.totpSecret, &p.totpStep, &p.Disabled,
		store.Time(&p.CreatedAt), store.Time(&p.UpdatedAt),
	}
}

func (p *person) insert(ctx context.Context, tx *store.Tx) error {
	_, err := tx.Exec(ctx, `
		insert into account (id, email, email_key, name, role, password_hash, password_by_admin, enroll_before,
		                     mfa_enabled, totp_step, disabled, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		p.ID, p.Email, p.emailKey, p.Name, p.Role, store.Text(p.passwordHash), p.passwordByAdmin, store.Micros(p.enrollBefore),
		p.MFAEnabled, p.totpStep, p.Disabled, p.CreatedAt.UnixMicro(), p.UpdatedAt.UnixMicro())
	if store.Unique(err) {
		return fault.New(fault.Conflict, "there is an account with this e-mail already")
	}
	if err != nil {
		return fmt.Errorf("insert account: %w", err)
	}
	return nil
}

// personByID reads an account. fault.NotFound.
func personByID(ctx context.Context, tx *store.Tx, id string) (p person, err error) {
	err = tx.QueryRow(ctx, `select `+personColumns+` from account where id = $1`, id).Scan(p.fields()...)
	return p, foundPerson(err)
}

// lockPerson is personByID whose row stays as it is until the transaction ends.
func lockPerson(ctx context.Context, tx *store.Tx, id string) (p person, err error) {
	err = tx.QueryRow(ctx, `select `+personColumns+` from account where id = $1`+tx.ForUpdate(), id).Scan(p.fields()...)
	return p, foundPerson(err)
}

// personByEmail reads an account by the key of its address. fault.NotFound.
func personByEmail(ctx context.Context, tx *store.Tx, key string) (p person, err error) {
	err = tx.QueryRow(ctx, `select `+personColumns+` from account where email_key = $1`, key).Scan(p.fields()...)
	return p, foundPerson(err)
}

func foundPerson(err error) error {
	if store.NoRow(err) {
		return fault.New(fault.NotFound, "there is no such user")
	}
	if err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	return nil
}

// User gives one account. fault.NotFound.
func (a *Accounts) User(ctx context.Context, id string) (User, error) {
	var p person
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		p, err = personByID(ctx, tx, id)
		return err
	})
	return p.User, err
}

// HasUsers tells whether anybody has an account.
func (a *Accounts) HasUsers(ctx context.Context) (has bool, err error) {
	err = a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select exists (select 1 from account)`).Scan(&has)
	})
	if err != nil {
		return false, fmt.Errorf("look for accounts: %w", err)
	}
	return has, nil
}

var roles = []audit.Role{audit.Admin, audit.Author, audit.Auditor}

func parseRole(text string) (audit.Role, error) {
	if role := audit.Role(text); slices.Contains(roles, role) {
		return role, nil
	}
	return "", invalidField("role", "role is one of ADMIN, AUTHOR and AUDITOR")
}

// NewUser is a person who is to get an account.
type NewUser struct {
	Email, Name, Password, Role string
	Reason                      string // why, for the audit log; the operator has to say
}

// parse checks everything about a new person but the password, and makes the row.
func (n NewUser) parse(now time.Time) (person, error) {
	address, err := parseEmail(n.Email)
	if err != nil {
		return person{}, err
	}
	name, err := parseName(n.Name)
	if err != nil {
		return person{}, err
	}
	role, err := parseRole(n.Role)
	if err != nil {
		return person{}, err
	}
	return person{
		User:     User{ID: store.NewID(), Email: address.shown, Name: name, Role: role, CreatedAt: now, UpdatedAt: now},
		emailKey: address.key,
	}, nil
}

// as is the principal of a person from where a request came.
func (p *person) as(from audit.Principal, sessionID string) *audit.Principal {
	from.Kind, from.UserID, from.Email, from.Role, from.SessionID = audit.User, p.ID, p.Email, p.Role, sessionID
	return &from
}

// userEvent is an event about a person.
func userEvent(action, id string, details map[string]any) audit.Event {
	return audit.Event{Action: action, Entity: "User", EntityID: id, Details: details}
}

// shortUserAgent keeps what a browser says of itself to a length that a list can show.
func shortUserAgent(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
}
