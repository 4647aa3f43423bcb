package account

import (
	"context"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/store"
)

// The dashboard's pages are used by a browser, which holds no tokens but a cookie (SPEC §3): an opaque
// random value, kept here as its hash, that stands for one session. It is made with the session at a
// sign-in through a page, and never from one that a browser brought along, so nobody can plant a cookie
// and have somebody else sign in to it (OWASP ASVS 7.2.4). Whatever ends the session ends it: the
// session's row is read on each request.
//
// Nothing refreshes such a sign-in, so it lives as long as an access token does (SESSION_TTL_HOURS).

// ForPages gives the same accounts as the pages see them: Login, EnrollComplete and the others sign
// somebody in to a cookie (SignIn.PageCookie) and to no token, and Login asks for the second factor
// in a step of its own (ContinueLogin).
func (a *Accounts) ForPages() *Accounts {
	pages := *a
	pages.pages = true
	return &pages
}

func insertPageSession(ctx context.Context, tx *store.Tx, cookie, sessionID string, now time.Time) error {
	hash, _ := hashOpaque(pagePrefix, cookie)
	_, err := tx.Exec(ctx, `insert into page_session (session_id, hash, created_at) values ($1, $2, $3)`, sessionID, hash, now.UnixMicro())
	if err != nil {
		return fmt.Errorf("insert page session: %w", err)
	}
	return nil
}

// AuthenticatePage is Authenticate by the cookie of a page. fault.Unauthenticated.
func (a *Accounts) AuthenticatePage(ctx context.Context, cookie string, from audit.Principal) (audit.Principal, error) {
	hash, ok := hashOpaque(pagePrefix, cookie)
	if !ok {
		return audit.Principal{}, sessionOver()
	}
	var held heldSession
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, selectSession+`where session.id = (select session_id from page_session where hash = $1)`, hash).
			Scan(held.fields()...)
	})
	if store.NoRow(err) {
		return audit.Principal{}, sessionOver()
	}
	if err != nil {
		return audit.Principal{}, fmt.Errorf("read session: %w", err)
	}
	return a.inSession(from, held)
}

// PageReauth is Reauth of somebody who holds a cookie, and gives a new one: the old one ends, since
// whoever may have copied it must not gain by the owner's confirming (OWASP ASVS 7.2.4).
func (a *Accounts) PageReauth(ctx context.Context, by audit.Principal, password string, f Factor) (cookie string, err error) {
	if _, err := a.Reauth(ctx, by, password, f); err != nil {
		return "", err
	}
	return a.replacePageCookie(ctx, by)
}

// PageReauthPasskey is PageReauth with a passkey.
func (a *Accounts) PageReauthPasskey(ctx context.Context, by audit.Principal, answer []byte) (cookie string, err error) {
	if _, err := a.ReauthPasskey(ctx, by, answer); err != nil {
		return "", err
	}
	return a.replacePageCookie(ctx, by)
}

func (a *Accounts) replacePageCookie(ctx context.Context, by audit.Principal) (cookie string, err error) {
	cookie = newOpaque(pagePrefix)
	hash, _ := hashOpaque(pagePrefix, cookie)
	now := a.now()
	err = a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		n, err := tx.Exec(ctx, `update page_session set hash = $1, created_at = $2 where session_id = $3`, hash, now.UnixMicro(), by.SessionID)
		if err != nil {
			return nil, fmt.Errorf("replace a page's cookie: %w", err)
		}
		if n == 0 {
			return nil, sessionOver()
		}
		return []audit.Event{userEvent("auth.page_cookie.replaced", by.UserID, nil)}, nil
	})
	if err != nil {
		return "", err
	}
	return cookie, nil
}

// EnrollmentAsksPassword tells whether completing an enrollment needs a new password, because somebody
// else has set the present one. fault.Unauthenticated for a token that is over.
func (a *Accounts) EnrollmentAsksPassword(ctx context.Context, token string) (asks bool, err error) {
	hash, ok := hashOpaque(enrollmentPrefix, token)
	if !ok {
		return false, enrollmentOver()
	}
	err = a.log.Store().Read(ctx, func(tx *store.Tx) error {
		e, err := a.openEnrollment(ctx, tx, hash)
		asks = e.person.passwordByAdmin
		return err
	})
	return asks, err
}
