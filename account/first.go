package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/store"
)

// Bootstrap is what a request for the first account shows besides the account.
type Bootstrap struct {
	Token  string // X-Bootstrap-Token
	Direct bool   // it comes straight from this machine: from loopback, with no forwarding header
}

// Registered is the first account, and what it can do next: sign-in tokens, or, where MFA is required,
// the token with which to enroll.
type Registered struct {
	User            User
	SignIn          SignIn
	EnrollmentToken string
}

// mayBootstrap decides who may make the first account (SPEC §2): whoever is on the machine or has what
// only its operator can read. A remote stranger who is first at a fresh installation is the threat.
func mayBootstrap(production bool, b Bootstrap, secret config.Secret) error {
	if !production || b.Direct {
		return nil
	}
	given, want := sha256.Sum256([]byte(b.Token)), sha256.Sum256(secret.Reveal())
	if secret.IsSet() && subtle.ConstantTimeCompare(given[:], want[:]) == 1 {
		return nil
	}
	where := "the server's BOOTSTRAP_TOKEN"
	if path := secret.Source().Path; path != "" {
		where = "what the file " + path + " on the server holds"
	}
	return fault.New(fault.Forbidden,
		"the first account is made from the server itself, or with the header X-Bootstrap-Token: %s", where)
}

var errSpent = errors.New("the first account has been made")

// RegisterFirst makes the first account, an ADMIN, once ever: not in a race, not later, not after every
// account is gone (runbook §1). fault.Conflict, fault.Forbidden without the bootstrap token where it is
// needed, fault.Invalid.
func (a *Accounts) RegisterFirst(ctx context.Context, from audit.Principal, n NewUser, b Bootstrap) (Registered, error) {
	refused := func(reason string, why error) error {
		return a.log.Refused(ctx, from, userEvent("auth.register_first.refused", "", map[string]any{"reason": reason}), why)
	}
	spent := fault.New(fault.Conflict, "the first account has been made already: an ADMIN registers the others")
	if is, err := a.bootstrapped(ctx); err != nil {
		return Registered{}, err
	} else if is {
		return Registered{}, refused("made already", spent)
	}
	if err := mayBootstrap(a.o.Production, b, a.o.Bootstrap); err != nil {
		return Registered{}, refused("no bootstrap token", err)
	}
	if n.Role == "" {
		n.Role = string(audit.Admin)
	}
	if n.Role != string(audit.Admin) {
		return Registered{}, invalidField("role", "the first account is an ADMIN: leave role out, or say ADMIN")
	}
	now := a.now()
	p, err := n.parse(now)
	if err != nil {
		return Registered{}, err
	}
	if err := a.checkNewPassword(n.Password, p.Name, p.Email); err != nil {
		return Registered{}, err
	}
	if p.passwordHash, err = a.hasher.hash(ctx, n.Password); err != nil {
		return Registered{}, err
	}
	var r Registered
	err = a.log.Change(ctx, from, func(tx *store.Tx) ([]audit.Event, error) {
		r = Registered{User: p.User}
		if err := spendBootstrap(ctx, tx, p); err != nil {
			return nil, err
		}
		if err := p.insert(ctx, tx); err != nil {
			return nil, err
		}
		if a.o.MFARequired {
			r.EnrollmentToken, err = offerEnrollment(ctx, tx, p.ID, now)
		} else {
			r.SignIn, err = a.startSession(ctx, tx, p, from, now)
		}
		e := userEvent("auth.user.registered", p.ID, map[string]any{"role": p.Role, "first": true})
		e.By = p.as(from, r.SignIn.SessionID)
		return []audit.Event{e}, err
	})
	switch {
	case errors.Is(err, errSpent):
		return Registered{}, refused("made already", spent)
	case err != nil || a.o.MFARequired:
		return r, err
	}
	r.SignIn, err = a.issue(r.SignIn, now)
	return r, err
}

// bootstrapped tells whether register-first is spent. An account that was made in another way (on the
// command line) spends it too.
func (a *Accounts) bootstrapped(ctx context.Context) (is bool, err error) {
	err = a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select exists (select 1 from bootstrap) or exists (select 1 from account)`).Scan(&is)
	})
	if err != nil {
		return false, fmt.Errorf("read bootstrap: %w", err)
	}
	return is, nil
}

// spentBy spends register-first for an account that was made in another way. Where it is spent, nothing
// changes.
func spentBy(ctx context.Context, tx *store.Tx, p person) error {
	_, err := tx.Exec(ctx, `insert into bootstrap (id, user_id, at) values (1, $1, $2) on conflict (id) do nothing`,
		p.ID, p.CreatedAt.UnixMicro())
	if err != nil {
		return fmt.Errorf("insert bootstrap: %w", err)
	}
	return nil
}

// spendBootstrap takes the one row. Of two transactions at once, the second waits here for the first.
func spendBootstrap(ctx context.Context, tx *store.Tx, p person) error {
	n, err := tx.Exec(ctx, `insert into bootstrap (id, user_id, at) values (1, $1, $2) on conflict (id) do nothing`,
		p.ID, p.CreatedAt.UnixMicro())
	if err != nil {
		return fmt.Errorf("insert bootstrap: %w", err)
	}
	var others bool
	if err := tx.QueryRow(ctx, `select exists (select 1 from account)`).Scan(&others); err != nil {
		return fmt.Errorf("look for accounts: %w", err)
	}
	if n == 0 || others {
		return errSpent
	}
	return nil
}
