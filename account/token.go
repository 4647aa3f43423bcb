package account

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"sealpost/keys"
	"sealpost/store"
)

// accessTokens makes and reads access tokens: JWTs in the profile of RFC 9068, signed with HS256 by a
// key derived from JWT_SECRET. A token says who and which session; whether that session still counts
// is asked of the database each time.
//
// A token of ours has one form, to the byte: one header for each key, and the claims below in this
// order. Reading compares with that form, so there is no algorithm to be talked into, no key to be
// pointed to and no claim to be left out, and the claims are looked at only after the signature. Any
// JWT library can still read it; one does, in the tests, and has to agree.
//
//	{"alg":"HS256","kid":"0123456789abcdef","typ":"at+jwt"}
//	{"aud":"…/api","exp":1773523565,"iat":1773480365,"iss":"…","jti":"…","sid":"…","sub":"…"}
type accessTokens struct {
	ring   *keys.Ring
	toExp  string // of the claims, up to the value of exp
	toJTI  string // from after iat's value up to jti's
	issuer string
	now    func() time.Time
}

const (
	tokenType = "at+jwt" // RFC 9068 §2.1, so that no other JWT of ours can pass for one

	headToKey    = `{"alg":"HS256","kid":"`
	headFromKey  = `","typ":"` + tokenType + `"}`
	headerBytes  = len(headToKey) + 2*keys.IDBytes + len(headFromKey)
	tokenIDBytes = 36 // of jti, sid and sub: UUIDs as text

	maxAccessToken = 2048 // bytes; ours have some 450
)

func newAccessTokens(ring *keys.Ring, issuer string, now func() time.Time) *accessTokens {
	return &accessTokens{
		ring: ring, issuer: issuer, now: now,
		toExp: `{"aud":` + quoted(audienceOf(issuer)) + `,"exp":`,
		toJTI: `,"iss":` + quoted(issuer) + `,"jti":"`,
	}
}

// audienceOf is who a token is for: the API of its issuer, and nobody else.
func audienceOf(issuer string) string { return issuer + "/api" }

func quoted(s string) string {
	b, _ := json.Marshal(s) // of a string it cannot fail
	return string(b)
}

// accessClaims are what an access token says.
type accessClaims struct {
	ID, SessionID, Subject string
	IssuedAt, ExpiresAt    time.Time
}

// base64url is RFC 7515's, in which each byte string has one spelling.
var base64url = base64.RawURLEncoding.Strict()

// sign makes a token that lives from now until expires, both in whole seconds.
func (t *accessTokens) sign(userID, sessionID string, now, expires time.Time) (string, error) {
	key := t.ring.Current()
	if len(key.ID) != 2*keys.IDBytes || len(userID) != tokenIDBytes || len(sessionID) != tokenIDBytes {
		return "", errors.New("sign an access token: an id has another length than ids have")
	}
	claims := t.toExp + strconv.FormatInt(expires.Unix(), 10) + `,"iat":` + strconv.FormatInt(now.Unix(), 10) +
		t.toJTI + store.NewID() + `","sid":"` + sessionID + `","sub":"` + userID + `"}`
	text := base64url.EncodeToString([]byte(headToKey+key.ID+headFromKey)) + "." + base64url.EncodeToString([]byte(claims))
	return text + "." + base64url.EncodeToString(t.mac(key, text)), nil
}

// mac is HS256 (RFC 7518 §3.2).
func (t *accessTokens) mac(key *keys.Key, signed string) []byte {
	h := hmac.New(sha256.New, key.Derive(keys.AccessToken))
	h.Write([]byte(signed))
	return h.Sum(nil)
}

var errNotOurToken = errors.New("not an access token of ours, or no longer")

// parse reads a token that this installation signed and that has not expired. Whatever is wrong with
// another one, its bearer is told the same.
func (t *accessTokens) parse(text string) (accessClaims, error) {
	if len(text) > maxAccessToken || strings.ContainsAny(text, "\r\n") { // which decoders of base64 pass over
		return accessClaims{}, errNotOurToken
	}
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 {
		return accessClaims{}, errNotOurToken
	}
	signed, signature := text[:dot], text[dot+1:]
	header, payload, _ := strings.Cut(signed, ".")
	now := t.now()
	key := t.keyOf(header, now)
	if key == nil || !t.verify(key, signed, signature) {
		return accessClaims{}, errNotOurToken
	}
	claims, ok := t.readClaims(payload)
	if !ok || !now.Before(claims.ExpiresAt) {
		return accessClaims{}, errNotOurToken
	}
	return claims, nil
}

// keyOf gives the key whose header this is, the previous one only within its window; nil for any other
// text.
func (t *accessTokens) keyOf(text string, now time.Time) *keys.Key {
	var b [headerBytes]byte
	if len(text) != base64url.EncodedLen(headerBytes) {
		return nil
	}
	if n, err := base64url.Decode(b[:], []byte(text)); err != nil || n != headerBytes {
		return nil
	}
	id := b[len(headToKey) : headerBytes-len(headFromKey)]
	if string(b[:len(headToKey)]) != headToKey || string(b[headerBytes-len(headFromKey):]) != headFromKey {
		return nil
	}
	return t.ring.FindAt(string(id), now)
}

// verify compares a signature in constant time.
func (t *accessTokens) verify(key *keys.Key, signed, signature string) bool {
	var given [sha256.Size]byte
	if len(signature) != base64url.EncodedLen(sha256.Size) {
		return false
	}
	if n, err := base64url.Decode(given[:], []byte(signature)); err != nil || n != sha256.Size {
		return false
	}
	return hmac.Equal(given[:], t.mac(key, signed))
}

// readClaims reads the payload of a token whose signature is right.
func (t *accessTokens) readClaims(text string) (c accessClaims, ok bool) {
	payload, err := base64url.DecodeString(text)
	if err != nil {
		return c, false
	}
	r := claimReader{rest: string(payload), ok: true}
	r.literal(t.toExp)
	c.ExpiresAt = r.seconds()
	r.literal(`,"iat":`)
	c.IssuedAt = r.seconds()
	r.literal(t.toJTI)
	c.ID = r.id()
	r.literal(`","sid":"`)
	c.SessionID = r.id()
	r.literal(`","sub":"`)
	c.Subject = r.id()
	r.literal(`"}`)
	return c, r.ok && r.rest == ""
}

// claimReader takes a text apart from its start. Once something was not what it had to be, ok is false.
type claimReader struct {
	rest string
	ok   bool
}

func (r *claimReader) literal(want string) {
	var found bool
	r.rest, found = strings.CutPrefix(r.rest, want)
	r.ok = r.ok && found
}

// seconds reads a time as sign writes it: a NumericDate without fraction, sign or leading zero.
func (r *claimReader) seconds() time.Time {
	n := 0
	for n < len(r.rest) && isDigit(rune(r.rest[n])) {
		n++
	}
	digits := r.rest[:n]
	r.rest = r.rest[n:]
	v, err := strconv.ParseInt(digits, 10, 64)
	r.ok = r.ok && err == nil && strconv.FormatInt(v, 10) == digits
	return time.Unix(v, 0).UTC()
}

func (r *claimReader) id() string {
	if len(r.rest) < tokenIDBytes || !store.ValidID(r.rest[:tokenIDBytes]) {
		r.ok = false
		return ""
	}
	id := r.rest[:tokenIDBytes]
	r.rest = r.rest[tokenIDBytes:]
	return id
}
