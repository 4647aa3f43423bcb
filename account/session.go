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

// SignIn is what somebody gets who has signed in or refreshed.
type SignIn struct {
	User             User
	SessionID        string
	Token            string    // the access token
	ExpiresAt        time.Time // its end
	RefreshToken     string    // for the cookie
	RefreshExpiresAt time.Time // the sign-in's end
	BackupCodes      []string  // only from enrollment
	Device           string    // a cookie for the browser to be known by: see device.go; "" for who has no password
	DeviceExpiresAt  time.Time
	PageCookie       string // of ForPages, in place of both tokens
}

// startSession makes a session and the first token of its chain, or its cookie (ForPages). The access
// token comes from issue, once the session is committed.
func (a *Accounts) startSession(ctx context.Context, tx *store.Tx, p person, from audit.Principal, now time.Time) (SignIn, error) {
	s := SignIn{User: p.User, SessionID: store.NewID(), RefreshExpiresAt: now.Add(a.o.SignInTTL)}
	if a.pages {
		s.RefreshExpiresAt = now.Add(min(a.o.AccessTTL, a.o.SignInTTL)) // nothing refreshes it
	}
	s.Device, s.DeviceExpiresAt = a.newDevice(p, now)
	_, err := tx.Exec(ctx, `
		insert into session (id, user_id, created_at, expires_at, authenticated_at, ip, user_agent)
		values ($1, $2, $3, $4, $3, $5, $6)`,
		s.SessionID, p.ID, now.UnixMicro(), s.RefreshExpiresAt.UnixMicro(), store.Text(from.IP), store.Text(shortUserAgent(from.UserAgent)))
	if err != nil {
		return SignIn{}, fmt.Errorf("insert session: %w", err)
	}
	if a.pages {
		s.PageCookie = newOpaque(pagePrefix)
		return s, insertPageSession(ctx, tx, s.PageCookie, s.SessionID, now)
	}
	s.RefreshToken = newOpaque(refreshPrefix)
	return s, insertRefreshToken(ctx, tx, s.RefreshToken, s.SessionID, now)
}

// issue gives a sign-in its access token, which never outlives the session.
func (a *Accounts) issue(s SignIn, now time.Time) (SignIn, error) {
	s.ExpiresAt = now.Add(a.o.AccessTTL)
	if s.RefreshExpiresAt.Before(s.ExpiresAt) {
		s.ExpiresAt = s.RefreshExpiresAt
	}
	s.ExpiresAt = s.ExpiresAt.Truncate(time.Second)
	if a.pages {
		return s, nil
	}
	var err error
	s.Token, err = a.tokens.sign(s.User.ID, s.SessionID, now, s.ExpiresAt)
	return s, err
}

// Authenticate tells who an access token, or an API key, belongs to. from has the address, user agent and
// request id of whoever brings it, and is returned completed. The session and its user are read each time, so a
// revoked session, a disabled account or one without the factor that is required ends the token at
// once. fault.Unauthenticated.
func (a *Accounts) Authenticate(ctx context.Context, accessToken string, from audit.Principal) (audit.Principal, error) {
	p, _, err := a.AuthenticateUser(ctx, accessToken, from)
	return p, err
}

// AuthenticateUser is Authenticate that also gives the user of an access token, who was read with the
// session. Of an API key's owner it gives nothing.
func (a *Accounts) AuthenticateUser(ctx context.Context, accessToken string, from audit.Principal) (audit.Principal, User, error) {
	if strings.HasPrefix(accessToken, keyPrefix) {
		p, err := a.authenticateKey(ctx, accessToken, from)
		return p, User{}, err
	}
	claims, err := a.tokens.parse(accessToken)
	if err != nil {
		return audit.Principal{}, User{}, fault.Wrap(fault.Unauthenticated, err, "the access token is not valid, or has expired")
	}
	held, found, err := a.sessions.Get(ctx, claims.SessionID)
	if err != nil {
		return audit.Principal{}, User{}, fmt.Errorf("read session: %w", err)
	}
	if !found {
		return audit.Principal{}, User{}, sessionOver()
	}
	p, err := a.inSession(from, held)
	if err == nil && p.UserID != claims.Subject {
		err = sessionOver()
	}
	if err != nil {
		return audit.Principal{}, User{}, err
	}
	return p, held.user(), nil
}

const selectSession = `
	select session.id, session.user_id, session.expires_at, session.authenticated_at, session.revoked_at, session.passkey_id,
	       account.email, account.name, account.role, account.disabled, account.mfa_enabled, account.created_at, account.updated_at
	  from session join account on account.id = session.user_id
	 `

// heldSession is a session with its user, who decides whether it counts.
type heldSession struct {
	id                   string
	row                  sessionRow
	email, name          string
	role                 audit.Role
	disabled             bool
	mfa                  bool
	createdAt, updatedAt time.Time // the user's
}

// fields are where a row of selectSession goes.
func (h *heldSession) fields() []any {
	return []any{
		&h.id, &h.row.userID, store.Time(&h.row.expiresAt), store.Time(&h.row.authenticatedAt),
		store.Time(&h.row.revokedAt), store.String(&h.row.passkeyID),
		&h.email, &h.name, &h.role, &h.disabled, &h.mfa, store.Time(&h.createdAt), store.Time(&h.updatedAt),
	}
}

func (h *heldSession) user() User {
	return User{
		ID: h.row.userID, Email: h.email, Name: h.name, Role: h.role, MFAEnabled: h.mfa, Disabled: h.disabled,
		CreatedAt: h.createdAt, UpdatedAt: h.updatedAt,
	}
}

// readSessions reads the sessions of requests that came at the same time, in one statement.
func (a *Accounts) readSessions(ctx context.Context, ids []string) (map[string]heldSession, error) {
	args := make([]any, 0, 2*len(ids))
	for _, id := range ids {
		args = append(args, id)
	}
	args = store.Padded(args, 0)
	rows := make(map[string]heldSession, len(ids))
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var h heldSession
			err := scan(h.fields()...)
			rows[h.id] = h
			return err
		}, selectSession+`where session.id in (`+store.Placeholders(1, len(args))+`)`, args...)
	})
	return rows, err
}

// inSession completes the principal of a request by its session, if that session and its user still
// count. fault.Unauthenticated.
func (a *Accounts) inSession(from audit.Principal, h heldSession) (audit.Principal, error) {
	if !h.row.live(a.now()) || h.disabled || (a.o.MFARequired && !h.row.twoFactors(h.mfa)) {
		return audit.Principal{}, sessionOver()
	}
	from.SessionID, from.Email, from.Role = h.id, h.email, h.role
	from.Kind, from.UserID, from.AuthenticatedAt = audit.User, h.row.userID, h.row.authenticatedAt
	a.uses.session(h.id, from.IP, a.now())
	return from, nil
}

func sessionOver() error {
	return fault.New(fault.Unauthenticated, "this session has ended: sign in again")
}

// sessionRow is what decides whether a session counts.
type sessionRow struct {
	userID                                string
	expiresAt, authenticatedAt, revokedAt time.Time
	passkeyID                             string // "" where it was begun with a password
}

// twoFactors tells whether a session stands on two: those of a passkey, or those of a user who is enrolled,
// without whom a password begins none where MFA is required.
func (s sessionRow) twoFactors(enrolled bool) bool { return enrolled || s.passkeyID != "" }

func (s sessionRow) live(now time.Time) bool { return s.revokedAt.IsZero() && now.Before(s.expiresAt) }

// Session is a sign-in as its user sees it.
type Session struct {
	ID              string     `json:"id"`
	CreatedAt       time.Time  `json:"createdAt"`
	ExpiresAt       time.Time  `json:"expiresAt"`
	AuthenticatedAt time.Time  `json:"authenticatedAt"`
	RefreshedAt     *time.Time `json:"refreshedAt,omitempty"`
	LastSeenAt      time.Time  `json:"lastSeenAt" doc:"To the minute"`
	LastSeenIP      string     `json:"lastSeenIp,omitempty"`
	IP              string     `json:"ip,omitempty" doc:"From where it was begun"`
	UserAgent       string     `json:"userAgent,omitempty"`
	Current         bool       `json:"current"` // the one that is asking
}

// maxSessions is how many sessions a list shows, the newest first.
const maxSessions = 200

// Sessions lists the caller's own sessions that have not ended.
func (a *Accounts) Sessions(ctx context.Context, by audit.Principal) ([]Session, error) {
	_ = a.uses.flush(ctx) // where it fails, the list is as it was a minute ago
	list := []Session{}
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var s Session
			var refreshed time.Time
			err := scan(&s.ID, store.Time(&s.CreatedAt), store.Time(&s.ExpiresAt), store.Time(&s.AuthenticatedAt),
				store.Time(&refreshed), store.String(&s.IP), store.String(&s.UserAgent), store.Time(&s.LastSeenAt), store.String(&s.LastSeenIP))
			if !refreshed.IsZero() {
				s.RefreshedAt = &refreshed
			}
			s.Current = s.ID == by.SessionID
			list = append(list, s)
			return err
		}, `select id, created_at, expires_at, authenticated_at, refreshed_at, session.ip, user_agent,
		           coalesce(session_use.used_at, session.created_at), coalesce(session_use.ip, session.ip)
		      from session left join session_use on session_use.session_id = session.id
		     where user_id = $1 and revoked_at is null and expires_at > $2
		     order by id desc limit $3`, by.UserID, a.now().UnixMicro(), maxSessions)
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return list, nil
}

// EndSession ends one of the caller's own sessions. fault.NotFound.
func (a *Accounts) EndSession(ctx context.Context, by audit.Principal, id string) error {
	now := a.now()
	return a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		n, err := tx.Exec(ctx, `update session set revoked_at = $1 where id = $2 and user_id = $3 and revoked_at is null and expires_at > $1`,
			now.UnixMicro(), id, by.UserID)
		if err != nil {
			return nil, fmt.Errorf("end session: %w", err)
		}
		if n == 0 {
			return nil, fault.New(fault.NotFound, "you have no such session")
		}
		return []audit.Event{userEvent("auth.session.ended", by.UserID, map[string]any{"session": id})}, nil
	})
}

// Logout ends the session that is asking, with its tokens.
func (a *Accounts) Logout(ctx context.Context, by audit.Principal) error {
	now := a.now()
	return a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		n, err := tx.Exec(ctx, `update session set revoked_at = $1 where id = $2 and revoked_at is null`, now.UnixMicro(), by.SessionID)
		if err != nil {
			return nil, fmt.Errorf("end session: %w", err)
		}
		if n == 0 {
			return nil, audit.ErrNothing // another request was first
		}
		return []audit.Event{userEvent("auth.logout.succeeded", by.UserID, nil)}, nil
	})
}

// Whose says whose sessions LogoutAll ends: the caller's own where it is zero.
type Whose struct {
	UserID   string
	Everyone bool
	Reason   string // why, for the audit log; the operator has to say
}

// LogoutAll ends all sessions of the caller, or, for an ADMIN who is freshly signed in, of another
// user or of everyone: what the runbook (§3, §4) asks for when a token may have leaked. Their access
// tokens end with them, on every server. fault.Forbidden, fault.NotFound.
func (a *Accounts) LogoutAll(ctx context.Context, by audit.Principal, whose Whose) error {
	own := whose.UserID == "" && !whose.Everyone
	if whose.Everyone && whose.UserID != "" {
		return fault.New(fault.Invalid, "say userId or everyone, not both")
	}
	if !own {
		if err := a.guardAdmin(by); err != nil {
			return a.log.Refused(ctx, by, userEvent("auth.sessions.revoke_refused", whose.UserID, map[string]any{"everyone": whose.Everyone}), err)
		}
	}
	reason, err := reasonOf(by, whose.Reason)
	switch {
	case err != nil:
		return err
	case own && by.Kind != audit.User:
		return fault.New(fault.Invalid, "say whose sessions: userId or everyone")
	}
	now := a.now()
	return a.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		scope, id := "own", by.UserID
		switch {
		case whose.Everyone:
			n, err := tx.Exec(ctx, `update session set revoked_at = $1 where revoked_at is null`, now.UnixMicro())
			if err != nil {
				return nil, fmt.Errorf("end sessions: %w", err)
			}
			return []audit.Event{userEvent("auth.sessions.revoked", "", withReason(map[string]any{"scope": "everyone", "count": n}, reason))}, nil
		case whose.UserID != "":
			if _, err := personByID(ctx, tx, whose.UserID); err != nil {
				return nil, err
			}
			scope, id = "user", whose.UserID
		}
		n, err := revokeSessions(ctx, tx, id, "", now)
		return []audit.Event{userEvent("auth.sessions.revoked", id, withReason(map[string]any{"scope": scope, "count": n}, reason))}, err
	})
}

// revokeSessions ends a user's sessions except one, and tells how many.
func revokeSessions(ctx context.Context, tx *store.Tx, userID, except string, now time.Time) (int64, error) {
	n, err := tx.Exec(ctx, `update session set revoked_at = $1 where user_id = $2 and id <> $3 and revoked_at is null`,
		now.UnixMicro(), userID, except)
	if err != nil {
		return 0, fmt.Errorf("end sessions: %w", err)
	}
	return n, nil
}
