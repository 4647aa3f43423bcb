package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// Whoever knows an address can have the sign-ins at it counted until they are refused, and so keep its
// owner out. The device cookie is what the owner has and the flood has not (OWASP, "device cookies"): a
// browser that has signed in is counted by itself, with the same limit, whatever others do at the account or
// from its network. It is no factor: with it one still shows everything.
//
// A cookie is 64 bytes behind a prefix: the id of the key (8), the device's random id (16), its end in Unix
// seconds (8), and an HMAC over these, the user's id and the stored hash of the password (32). Nothing of the
// account is in it, nothing is kept of it, and it ends with the password that it was given for.
const (
	devicePrefix  = "spd_"
	deviceLife    = 90 * 24 * time.Hour
	deviceIDBytes = 16
	deviceHead    = keys.IDBytes + deviceIDBytes + 8
	deviceBytes   = deviceHead + sha256.Size
)

// newDevice gives the device cookie of a person who has just signed in, and its end. Who has no password
// needs none.
func (a *Accounts) newDevice(p person, now time.Time) (cookie string, end time.Time) {
	key := a.keys.JWT.Current()
	id, err := hex.DecodeString(key.ID)
	if err != nil || len(id) != keys.IDBytes || p.passwordHash == "" {
		return "", time.Time{}
	}
	end = now.Add(deviceLife).Truncate(time.Second)
	b := make([]byte, deviceHead, deviceBytes)
	copy(b, id)
	_, _ = rand.Read(b[keys.IDBytes : keys.IDBytes+deviceIDBytes])
	binary.BigEndian.PutUint64(b[keys.IDBytes+deviceIDBytes:], uint64(end.Unix())) //nolint:gosec // after 1970
	return writeOpaque(devicePrefix, append(b, deviceMAC(key, b, p)...)), end
}

func deviceMAC(key *keys.Key, head []byte, p person) []byte {
	h := hmac.New(sha256.New, key.Derive(keys.DeviceCookie))
	h.Write(head)
	h.Write([]byte(p.ID + "\x00" + p.passwordHash))
	return h.Sum(nil)
}

// deviceClaim is a cookie as it was brought, before it is known whether it is this account's.
type deviceClaim struct {
	key       *keys.Key
	head, mac []byte
}

// readDevice reads the form of a cookie, and whether it can still be anybody's.
func (a *Accounts) readDevice(cookie string) (c deviceClaim, ok bool) {
	text, ok := strings.CutPrefix(cookie, devicePrefix)
	if !ok || len(text) != base64url.EncodedLen(deviceBytes) || strings.ContainsAny(text, "\r\n") {
		return c, false
	}
	b, err := base64url.DecodeString(text)
	if err != nil || len(b) != deviceBytes {
		return c, false
	}
	c = deviceClaim{
		key:  a.keys.JWT.FindAt(hex.EncodeToString(b[:keys.IDBytes]), a.now()),
		head: b[:deviceHead], mac: b[deviceHead:],
	}
	end := binary.BigEndian.Uint64(b[keys.IDBytes+deviceIDBytes : deviceHead])
	return c, c.key != nil && uint64(a.now().Unix()) < end //nolint:gosec // after 1970
}

// of tells whether a cookie was given to this person, and since the password was last changed.
func (c deviceClaim) of(p person) bool {
	return hmac.Equal(c.mac, deviceMAC(c.key, c.head, p)) && p.passwordHash != ""
}

// id is what attempts of the device are counted by.
func (c deviceClaim) id() string {
	return hex.EncodeToString(c.head[keys.IDBytes : keys.IDBytes+deviceIDBytes])
}

// signInCounters are what a sign-in counts against: the device's own counter where it brings the cookie of
// an earlier sign-in of the account, else the account's and the network's. device is the device's id, or "".
func (a *Accounts) signInCounters(ctx context.Context, emailKey, ip, cookie string) (list []counter, device string, err error) {
	claim, ok := a.readDevice(cookie)
	if !ok {
		return loginCounters(emailKey, ip), "", nil
	}
	var p person
	err = a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		p, err = personByEmail(ctx, tx, emailKey)
		return err
	})
	switch {
	case err != nil && !fault.Is(err, fault.NotFound):
		return nil, "", err
	case !claim.of(p):
		return loginCounters(emailKey, ip), "", nil
	}
	return deviceCounters(claim.id()), claim.id(), nil
}

func deviceCounters(id string) []counter { return []counter{counterOf("device", id, 1)} }

// countersOf are those of the second step of a sign-in, whose first step has found out the device.
func countersOf(emailKey, ip, device string) []counter {
	if device != "" {
		return deviceCounters(device)
	}
	return loginCounters(emailKey, ip)
}
