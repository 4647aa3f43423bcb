package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// A refresh token works once and gives its successor (RFC 9700 §4.14.2). Two tabs that refresh at once
// bring the same token, so a spent one gives the same successor again for a moment: it is derived from
// the spent token with a key of the server's, and so need not be kept in clear. After that, a spent
// token that comes back is in two hands, and its session ends.
const refreshGrace = 10 * time.Second

// refreshState is what decides about a refresh token.
type refreshState struct {
	spentAt time.Time // zero: it is the chain's end
	usable  bool      // its session and user are
}

type refreshVerdict int

const (
	refreshEnded  refreshVerdict = iota // the session is over
	refreshRotate                       // spend it and give a successor
	refreshRepeat                       // give the same successor again
	refreshReuse                        // end the session
)

// judge decides what a refresh token is answered with.
func (r refreshState) judge(now time.Time) refreshVerdict {
	switch {
	case !r.usable:
		return refreshEnded
	case r.spentAt.IsZero():
		return refreshRotate
	case now.Sub(r.spentAt) < refreshGrace:
		return refreshRepeat
	}
	return refreshReuse
}

// successor derives the token that follows another.
func successor(key *keys.Key, token string) string {
	h := hmac.New(sha256.New, key.Derive(keys.RefreshSuccessor))
	h.Write([]byte(token))
	return writeOpaque(refreshPrefix, h.Sum(nil))
}

func insertRefreshToken(ctx context.Context, tx *store.Tx, token, sessionID string, now time.Time) error {
	hash, _ := hashOpaque(refreshPrefix, token)
	_, err := tx.Exec(ctx, `insert into refresh_token (hash, session_id, created_at) values ($1, $2, $3)`, hash, sessionID, now.UnixMicro())
	if err != nil {
		return fmt.Errorf("insert refresh token: %w", err)
	}
	return nil
}

func refreshOver() error {
	return fault.New(fault.Unauthenticated, "the refresh token is not valid, or its sign-in has ended: sign in again")
}

var errReused = errors.New("a spent refresh token was used again")

// Refresh takes a refresh token and gives an access token and the token's successor. The sign-in's end
// does not move. fault.Unauthenticated; fault.TooMany.
func (a *Accounts) Refresh(ctx context.Context, from audit.Principal, token string) (SignIn, error) {
	hash, ok := hashOpaque(refreshPrefix, token)
	if !ok {
		return SignIn{}, refreshOver()
	}
	sessionID, err := a.sessionOfRefresh(ctx, hash)
	if err != nil {
		return SignIn{}, err
	}
	if err := a.attempt(ctx, a.o.Refresh, counters("refresh", sessionID, from.IP)); err != nil {
		return SignIn{}, err
	}
	if sessionID == "" {
		return SignIn{}, a.refreshFailed(ctx, from, "", "unknown token")
	}
	now := a.now()
	var s SignIn
	var p person
	var reused bool
	err = a.log.Change(ctx, from, func(tx *store.Tx) (events []audit.Event, err error) {
		reused = false
		s, p, events, err = a.rotate(ctx, tx, from, sessionID, token, hash, now)
		if errors.Is(err, errReused) {
			reused, err = true, nil
		}
		return events, err
	})
	switch {
	case errors.Is(err, errChanged):
		return SignIn{}, a.refreshFailed(ctx, from, p.ID, "session has ended")
	case err != nil:
		return SignIn{}, err
	case reused:
		return SignIn{}, refreshOver()
	}
	return a.issue(s, now)
}

// rotate does in one transaction what judge decides. The session's row is locked first, so the
// refreshes of one sign-in come one after another, and after whatever ends it.
func (a *Accounts) rotate(ctx context.Context, tx *store.Tx, from audit.Principal, sessionID, token string, hash []byte, now time.Time) (
	s SignIn, p person, events []audit.Event, err error,
) {
	var row sessionRow
	err = tx.QueryRow(ctx, `select user_id, expires_at, revoked_at, passkey_id from session where id = $1`+tx.ForUpdate(), sessionID).
		Scan(&row.userID, store.Time(&row.expiresAt), store.Time(&row.revokedAt), store.String(&row.passkeyID))
	if store.NoRow(err) {
		return s, p, nil, errChanged
	}
	if err != nil {
		return s, p, nil, fmt.Errorf("read session: %w", err)
	}
	if p, err = personByID(ctx, tx, row.userID); err != nil {
		return s, p, nil, err
	}
	var state refreshState
	var keyID string
	err = tx.QueryRow(ctx, `select spent_at, successor_key from refresh_token where hash = $1`, hash).
		Scan(store.Time(&state.spentAt), store.String(&keyID))
	if err != nil {
		return s, p, nil, fmt.Errorf("read refresh token: %w", err)
	}
	state.usable = row.live(now) && !p.Disabled && (row.twoFactors(p.MFAEnabled) || !a.o.MFARequired)
	s = SignIn{User: p.User, SessionID: sessionID, RefreshExpiresAt: row.expiresAt}
	by := p.as(from, sessionID)
	switch state.judge(now) {
	case refreshReuse:
		_, err := tx.Exec(ctx, `update session set revoked_at = $1 where id = $2`, now.UnixMicro(), sessionID)
		if err != nil {
			return s, p, nil, fmt.Errorf("end session: %w", err)
		}
		e := userEvent("auth.refresh.reused", p.ID, map[string]any{"session": sessionID, "spentAt": state.spentAt})
		e.Outcome, e.By = audit.Denied, by
		return s, p, []audit.Event{e}, errReused
	case refreshRepeat:
		key := a.keys.JWT.Find(keyID)
		if key == nil { // rotated after a leak, within the grace
			return s, p, nil, errChanged
		}
		s.RefreshToken = successor(key, token)
		return s, p, nil, audit.ErrNothing
	case refreshRotate:
		key := a.keys.JWT.Current()
		s.RefreshToken = successor(key, token)
		e := userEvent("auth.refresh.succeeded", p.ID, nil)
		e.By = by
		return s, p, []audit.Event{e}, errors.Join(
			spendRefreshToken(ctx, tx, hash, key.ID, sessionID, now),
			insertRefreshToken(ctx, tx, s.RefreshToken, sessionID, now))
	default: // refreshEnded
		return s, p, nil, errChanged
	}
}

func spendRefreshToken(ctx context.Context, tx *store.Tx, hash []byte, keyID, sessionID string, now time.Time) error {
	n, err := tx.Exec(ctx, `update refresh_token set spent_at = $1, successor_key = $2 where hash = $3 and spent_at is null`,
		now.UnixMicro(), keyID, hash)
	if err == nil && n == 0 {
		err = errors.New("it was spent meanwhile")
	}
	if err == nil {
		_, err = tx.Exec(ctx, `update session set refreshed_at = $1 where id = $2`, now.UnixMicro(), sessionID)
	}
	if err != nil {
		return fmt.Errorf("spend refresh token: %w", err)
	}
	return nil
}

// sessionOfRefresh finds the session of a token, "" where there is none.
func (a *Accounts) sessionOfRefresh(ctx context.Context, hash []byte) (id string, err error) {
	err = a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select session_id from refresh_token where hash = $1`, hash).Scan(&id)
	})
	if err != nil && !store.NoRow(err) {
		return "", fmt.Errorf("read refresh token: %w", err)
	}
	return id, nil
}

func (a *Accounts) refreshFailed(ctx context.Context, from audit.Principal, userID, reason string) error {
	e := userEvent("auth.refresh.failed", userID, map[string]any{"reason": reason})
	e.Outcome = audit.Failure
	return a.log.Refused(ctx, from, e, refreshOver())
}
