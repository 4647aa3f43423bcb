// Package account knows the people: who may sign in, with what, and for how long (runbook §1, §2, §4).
//
//   - A sign-in is a session row. Access tokens name it and are checked against it on every request,
//     so revoking the row ends them at once, on every server. Its refresh tokens are a chain, each
//     used once and kept only as a hash.
//   - A password is argon2id behind a semaphore (hash.go); what it must be is a pure function
//     (policy.go). Unknown, disabled and known accounts cost the same work and get the same answer.
//   - The second factor is TOTP, each step once (totp.go), or a backup code, each once (backup.go).
//     Where MFA is required, a password alone leads only to enrollment (enroll.go).
//   - A passkey (passkey.go) is two factors at once, and a sign-in by itself.
//   - A program has an API key (apikey.go): no session, a few scopes, an end.
//
// Attempts are counted by account and by network, in rows that all servers share (throttle.go).
package account

import (
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// Options are what the environment decides about accounts.
type Options struct {
	config.Auth
	Issuer     string        // PUBLIC_URL: the issuer of access tokens, and where passkeys belong
	Production bool          // the gate of the first account holds, and there is no dev-login
	Bootstrap  config.Secret // what register-first needs in production
	// Now is the clock, time.Now where it is nil. Codes and tokens are about this machine's own time,
	// which has to be right for anybody's code to fit (±30 s).
	Now func() time.Time
}

// Accounts is all that can be done with accounts. It is safe for concurrent use.
type Accounts struct {
	log      *audit.Log
	keys     *keys.Set
	o        Options
	hasher   *hasher
	tokens   *accessTokens
	sessions *store.Gather[string, heldSession]
	apiKeys  *store.Gather[string, heldKey] // by hash
	uses     *uses

	refusalStep time.Duration // see Login
	pages       bool          // sign-ins are held by a cookie: see ForPages

	party   *relyingParty // for passkeys
	noParty error         // why there is none
}

// New makes the accounts of one server. It reads and writes nothing yet.
func New(log *audit.Log, set *keys.Set, o Options) *Accounts {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Accounts{
		log: log, keys: set, o: o,
		hasher: newHasher(currentParams, processors()), refusalStep: refusalStep,
		tokens: newAccessTokens(set.JWT, o.Issuer, o.Now),
	}
	log.CountBy(actSignInFailed, "reason")
	a.party, a.noParty = newRelyingParty(o.Issuer)
	a.sessions = &store.Gather[string, heldSession]{Load: a.readSessions}
	a.apiKeys = &store.Gather[string, heldKey]{Load: a.readKeys}
	a.uses = &uses{log: log}
	return a
}

// now is the clock, to the microsecond, as the tables keep times.
func (a *Accounts) now() time.Time { return a.o.Now().UTC().Truncate(time.Microsecond) }

// Fresh tells whether a principal has shown a password or a passkey within maxAge, which guarded
// actions need (SPEC §5.6). fault.Unauthenticated with details.reauthRequired. An API key never has;
// the program itself has nothing to show.
func Fresh(by audit.Principal, maxAge time.Duration, now time.Time) error {
	if by.Kind == audit.System {
		return nil
	}
	if by.Kind == audit.User && !by.AuthenticatedAt.IsZero() && now.Sub(by.AuthenticatedAt) <= maxAge {
		return nil
	}
	return fault.New(fault.Unauthenticated, "this needs a fresh sign-in: confirm it is you at /api/auth/reauth").
		With("reauthRequired", true)
}

// Guard is Fresh by this installation's clock and REAUTH_MAX_AGE_MINUTES.
func (a *Accounts) Guard(by audit.Principal) error { return Fresh(by, a.o.ReauthMaxAge, a.now()) }

// guardAdmin is for what only an ADMIN may do, and only freshly signed in.
func (a *Accounts) guardAdmin(by audit.Principal) error {
	if by.Kind != audit.System && (by.Kind != audit.User || by.Role != audit.Admin) {
		return fault.New(fault.Forbidden, "only an ADMIN may do this")
	}
	return a.Guard(by)
}
