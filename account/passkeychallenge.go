package account

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"sealpost/keys"
	"sealpost/store"
)

// A challenge is made without a write, since anybody may ask for one: it is its own end, encrypted under
// a key of the server's and bound to what it is for. A browser brings it back inside what the device has
// signed. When it has been answered rightly it is spent: its hash becomes a row, in the transaction that
// the answer is good for, and it is taken no second time. A flood of questions therefore stores nothing,
// and there are never more rows than sign-ins of some minutes.

// ceremony is what a challenge is for. One that was made for another is no challenge.
type ceremony string

const (
	registering ceremony = "register" // of a session
	signingIn   ceremony = "login"    // of nobody
	confirming  ceremony = "reauth"   // of a session
)

// challengeSlack is for how long beyond its end a spent challenge is kept: by the clock of another
// server it may not be over yet.
const challengeSlack = 10 * time.Minute

func (c ceremony) place(sessionID string) string { return string(c) + ":" + sessionID }

// challenge is one that has been brought back.
type challenge struct {
	text  string // as the browser was given it
	bytes []byte
	until time.Time
}

// newChallenge makes a challenge, of a session or of nobody, that may be answered for five minutes. 24 of
// its bytes are random.
func (a *Accounts) newChallenge(c ceremony, sessionID string) (string, error) {
	until := binary.BigEndian.AppendUint64(nil, uint64(a.now().Add(ceremonyTime).UnixMicro()))
	box, err := a.keys.JWT.Encrypt(keys.PasskeyChallenge, c.place(sessionID), until)
	if err != nil {
		return "", fmt.Errorf("make a challenge: %w", err)
	}
	return base64url.EncodeToString(box), nil
}

// openChallenge reads a challenge that a browser brought back. false where it is none of ours, for
// something or somebody else, or over.
func (a *Accounts) openChallenge(c ceremony, sessionID, text string) (challenge, bool) {
	box, err := base64url.DecodeString(text)
	if err != nil || base64url.EncodeToString(box) != text { // a decoder passes over line breaks
		return challenge{}, false
	}
	plain, err := a.keys.JWT.Decrypt(keys.PasskeyChallenge, c.place(sessionID), box)
	if err != nil || len(plain) != 8 {
		return challenge{}, false
	}
	until := store.FromMicros(int64(binary.BigEndian.Uint64(plain))) //nolint:gosec // our own
	return challenge{text, box, until}, a.now().Before(until)
}

// spendChallenge makes sure that a challenge is taken once: of two transactions that bring it, the second
// waits for the first and finds its row. false where it was taken before.
func spendChallenge(ctx context.Context, tx *store.Tx, c challenge) (bool, error) {
	hash := sha256.Sum256(c.bytes)
	n, err := tx.Exec(ctx, `insert into passkey_challenge (hash, forget_at) values ($1, $2) on conflict (hash) do nothing`,
		hash[:], c.until.Add(challengeSlack).UnixMicro())
	if err != nil {
		return false, fmt.Errorf("spend a challenge: %w", err)
	}
	return n == 1, nil
}
