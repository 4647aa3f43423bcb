package account

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sealpost/keys"
	"sealpost/store"
)

// accessTokens makes and reads access tokens: JWTs in the profile of RFC 9068, signed with HS256 by a
// key derived from JWT_SECRET. A token says who and which session; whether that session still counts
// is asked of the database each time.
type accessTokens struct {
	ring     *keys.Ring
	issuer   string
	audience string
	parser   *jwt.Parser
	now      func() time.Time
}

const (
	tokenType      = "at+jwt" // RFC 9068 §2.1, so that no other JWT of ours can pass for one
	maxAccessToken = 2048     // bytes; ours have some 500
)

func newAccessTokens(ring *keys.Ring, issuer string, now func() time.Time) *accessTokens {
	t := &accessTokens{ring: ring, issuer: issuer, audience: issuer + "/api", now: now}
	t.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(t.issuer), jwt.WithAudience(t.audience),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(now),
	)
	return t
}

// accessClaims are an access token's claims.
type accessClaims struct {
	jwt.RegisteredClaims
	SessionID string `json:"sid"`
}

// sign makes a token that lives from now until expires, both in whole seconds.
func (t *accessTokens) sign(userID, sessionID string, now, expires time.Time) (string, error) {
	key := t.ring.Current()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.issuer, Audience: jwt.ClaimStrings{t.audience}, Subject: userID, ID: store.NewID(),
			IssuedAt: jwt.NewNumericDate(now.Truncate(time.Second)), ExpiresAt: jwt.NewNumericDate(expires.Truncate(time.Second)),
		},
		SessionID: sessionID,
	})
	token.Header["typ"], token.Header["kid"] = tokenType, key.ID
	text, err := token.SignedString(key.Derive(keys.AccessToken))
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	return text, nil
}

var errNotOurToken = errors.New("not an access token of ours")

// parse reads a token that this installation signed and that has not expired. Whatever is wrong with
// another one, its bearer is told the same.
func (t *accessTokens) parse(text string) (accessClaims, error) {
	if len(text) > maxAccessToken || strings.ContainsFunc(text, notInToken) {
		return accessClaims{}, errNotOurToken
	}
	var claims accessClaims
	if _, err := t.parser.ParseWithClaims(text, &claims, t.keyOf); err != nil {
		return accessClaims{}, err
	}
	if !store.ValidID(claims.Subject) || !store.ValidID(claims.SessionID) {
		return accessClaims{}, errNotOurToken
	}
	return claims, nil
}

// notInToken tells which characters a JWS in compact form has not. Base64 decoders pass over line
// breaks, so without this one token could be written in many ways.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// keyOf finds the key by its id alone. A header that says anything more than ours do (jku, jwk, crit,
// …) is not ours.
func (t *accessTokens) keyOf(token *jwt.Token) (any, error) {
	id, _ := token.Header["kid"].(string)
	key := t.ring.FindAt(id, t.now()) // the previous one only within its window
	if key == nil || len(token.Header) != 3 || token.Header["typ"] != tokenType {
		return nil, errNotOurToken
	}
	return key.Derive(keys.AccessToken), nil
}
