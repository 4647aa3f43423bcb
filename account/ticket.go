package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// A page asks for the password first and for the second factor in a step of its own. Between the two
// the browser holds a ticket: who has shown a right password, which one, and until when, encrypted by
// the server. It is worth nothing without the factor, for which ContinueLogin counts attempts as Login
// does, and it ends with a change of the password.
const ticketLife = 5 * time.Minute

type ticket struct {
	UserID   string `json:"u"`
	Password []byte `json:"p"` // SHA-256 of the stored hash
	Until    int64  `json:"t"` // microseconds
	Device   string `json:"d"` // the id of a known device, or ""
}

const maxTicket = 1024 // bytes of its text; ours have some 250

// askFactor answers a person whose password was right: fault.Unauthenticated with details.mfaRequired
// and details.ticket.
func (a *Accounts) askFactor(ctx context.Context, p person, device string, counters []counter) error {
	print := sha256.Sum256([]byte(p.passwordHash))
	text, err := json.Marshal(ticket{ //nolint:gosec // Password is a hash of a hash, which is encrypted next
		UserID: p.ID, Password: print[:], Until: a.now().Add(ticketLife).UnixMicro(), Device: device})
	if err != nil {
		return fmt.Errorf("make a sign-in ticket: %w", err)
	}
	box, err := a.keys.JWT.Encrypt(keys.SignInTicket, "", text)
	if err != nil {
		return fmt.Errorf("make a sign-in ticket: %w", err)
	}
	if err := a.takeBack(ctx, counters); err != nil {
		return err
	}
	return mfaRequired(false).With("ticket", base64.RawURLEncoding.EncodeToString(box))
}

func (a *Accounts) openTicket(text string) (t ticket, ok bool) {
	if len(text) > maxTicket {
		return t, false
	}
	box, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return t, false
	}
	plain, err := a.keys.JWT.Decrypt(keys.SignInTicket, "", box)
	if err != nil || json.Unmarshal(plain, &t) != nil {
		return t, false
	}
	return t, a.now().UnixMicro() < t.Until
}

func ticketOver() error {
	return fault.New(fault.Unauthenticated, "this sign-in has taken too long: begin again")
}

// ContinueLogin is the second step of a sign-in through a page. fault.Unauthenticated, with
// details.mfaRequired where only the factor was wrong; fault.TooMany.
func (a *Accounts) ContinueLogin(ctx context.Context, from audit.Principal, text string, f Factor) (SignIn, error) {
	if err := f.check(); err != nil {
		return SignIn{}, err
	}
	t, ok := a.openTicket(text)
	if !ok {
		return SignIn{}, ticketOver()
	}
	var p person
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		p, err = personByID(ctx, tx, t.UserID)
		return err
	})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return SignIn{}, err
	}
	print := sha256.Sum256([]byte(p.passwordHash))
	if err != nil || p.Disabled || !p.MFAEnabled || subtle.ConstantTimeCompare(print[:], t.Password) != 1 {
		return SignIn{}, a.loginFailed(ctx, from, p.ID, reasonChanged, ticketOver())
	}
	counters := countersOf(p.emailKey, from.IP, t.Device)
	if err := a.attempt(ctx, a.o.Login, counters); err != nil {
		if fault.Is(err, fault.TooMany) {
			err = a.loginFailed(ctx, from, p.ID, reasonThrottled, err)
		}
		return SignIn{}, err
	}
	if !f.given() {
		err := a.loginFailed(ctx, from, p.ID, reasonNoFactor, mfaRequired(false))
		return SignIn{}, errors.Join(a.takeBack(ctx, counters), err)
	}
	return a.signIn(ctx, from, p, f, counters)
}
