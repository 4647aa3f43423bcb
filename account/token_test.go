package account

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sealpost/keys"
	"sealpost/store"
)

var tokenTime = time.Date(2026, 3, 14, 9, 26, 5, 0, time.UTC)

func testTokens(ring *keys.Ring, now time.Time) *accessTokens {
	return newAccessTokens(ring, "http://localhost:4000", func() time.Time { return now })
}

func TestAccessTokenIsReadBack(t *testing.T) {
	ring := keys.NewRing(testKey(), nil)
	tokens := testTokens(ring, tokenTime)
	user, session := store.NewID(), store.NewID()
	text, err := tokens.sign(user, session, tokenTime, tokenTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := tokens.parse(text)
	if err != nil || claims.Subject != user || claims.SessionID != session || claims.ID == "" {
		t.Fatalf("%+v, %v", claims, err)
	}
	header, payload := decodePart(t, text, 0), decodePart(t, text, 1)
	if !strings.Contains(header, `"typ":"at+jwt"`) || !strings.Contains(header, `"kid":"`+ring.Current().ID+`"`) || !strings.Contains(header, `"alg":"HS256"`) {
		t.Errorf("header %s", header)
	}
	if !strings.Contains(payload, `"exp":1773483965`) || !strings.Contains(payload, `"iat":1773480365`) {
		t.Errorf("times are not whole seconds in %s", payload)
	}
	for at, ok := range map[time.Duration]bool{time.Hour - time.Second: true, time.Hour: false, time.Hour + time.Second: false} {
		if _, err := testTokens(ring, tokenTime.Add(at)).parse(text); (err == nil) != ok {
			t.Errorf("after %s: %v", at, err)
		}
	}
}

// secondOpinion reads a token by the rules of a library that others wrote.
func secondOpinion(tokens *accessTokens, text string) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding(), jwt.WithIssuer(tokens.issuer),
		jwt.WithAudience(audienceOf(tokens.issuer)), jwt.WithExpirationRequired(), jwt.WithTimeFunc(tokens.now))
	_, err := parser.ParseWithClaims(text, claims, func(token *jwt.Token) (any, error) {
		id, _ := token.Header["kid"].(string)
		key := tokens.ring.FindAt(id, tokens.now())
		if key == nil {
			return nil, errNotOurToken
		}
		return key.Derive(keys.AccessToken), nil
	})
	return claims, err
}

// Our tokens are JWTs that another library reads and verifies, and says the same of.
func TestAnotherLibraryReadsOurTokens(t *testing.T) {
	tokens := testTokens(keys.NewRing(testKey(), nil), tokenTime)
	user, session := store.NewID(), store.NewID()
	text, err := tokens.sign(user, session, tokenTime, tokenTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := secondOpinion(tokens, text)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := tokens.parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if theirs["sub"] != user || theirs["sid"] != session || theirs["jti"] != ours.ID || theirs["aud"] != "http://localhost:4000/api" ||
		theirs["exp"] != float64(ours.ExpiresAt.Unix()) || theirs["iat"] != float64(ours.IssuedAt.Unix()) || len(theirs) != 7 {
		t.Errorf("theirs %v, ours %+v", theirs, ours)
	}
	if _, err := secondOpinion(tokens, text[:len(text)-2]+"AA"); err == nil {
		t.Error("the second opinion takes anything")
	}
}

// The form is fixed to the byte, so a signature of ours under any other text is refused too.
func TestAccessTokenHasOneForm(t *testing.T) {
	key := testKey()
	tokens := testTokens(keys.NewRing(key, nil), tokenTime)
	id := store.NewID()
	head := headToKey + key.ID + headFromKey
	claims := `{"aud":"http://localhost:4000/api","exp":1773483965,"iat":1773480365,"iss":"http://localhost:4000","jti":"` + id + `","sid":"` + id + `","sub":"` + id + `"}`
	signed := func(head, claims string) string {
		text := base64url.EncodeToString([]byte(head)) + "." + base64url.EncodeToString([]byte(claims))
		return text + "." + base64url.EncodeToString(tokens.mac(key, text))
	}
	if _, err := tokens.parse(signed(head, claims)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a space in the header":   signed(strings.Replace(head, ":", ": ", 1), claims),
		"another order":           signed(`{"typ":"at+jwt","alg":"HS256","kid":"`+key.ID+`"}`, claims),
		"kid in capitals":         signed(headToKey+strings.ToUpper(key.ID)+"F"+headFromKey, claims),
		"a space in the claims":   signed(head, claims+" "),
		"a claim more":            signed(head, strings.TrimSuffix(claims, "}")+`,"nbf":0}`),
		"a claim twice":           signed(head, strings.TrimSuffix(claims, "}")+`,"sub":"`+id+`"}`),
		"exp as text":             signed(head, strings.Replace(claims, "1773483965", `"1773483965"`, 1)),
		"exp with a fraction":     signed(head, strings.Replace(claims, "1773483965", "1773483965.5", 1)),
		"exp with a leading zero": signed(head, strings.Replace(claims, "1773483965", "01773483965", 1)),
		"exp past all time":       signed(head, strings.Replace(claims, "1773483965", "99999999999999999999", 1)),
		"exp below zero":          signed(head, strings.Replace(claims, "1773483965", "-1", 1)),
		"aud as a list":           signed(head, strings.Replace(claims, `"http://localhost:4000/api"`, `["http://localhost:4000/api"]`, 1)),
		"an id in capitals":       signed(head, strings.Replace(claims, id, strings.ToUpper(id[:35])+"A", 1)),
		"no claims":               signed(head, ""),
		"no header":               signed("", claims),
	} {
		if claims, err := tokens.parse(text); err == nil {
			t.Errorf("%s is taken: %+v", name, claims)
		}
	}
}

func decodePart(t *testing.T, token string, i int) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// After a planned rotation the previous key verifies, until it leaves the ring (runbook §3).
func TestAccessTokenOfThePreviousKey(t *testing.T) {
	old, next := testKey(), testKey()
	ring := keys.NewRing(old, nil)
	tokens := testTokens(ring, tokenTime)
	text, err := tokens.sign(store.NewID(), store.NewID(), tokenTime, tokenTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ring.Replace(next, old)
	if _, err := tokens.parse(text); err != nil {
		t.Errorf("within the window: %v", err)
	}
	ring.Replace(next, nil)
	if _, err := tokens.parse(text); err == nil {
		t.Error("the old key verifies after its window")
	}
	for end, ok := range map[time.Time]bool{tokenTime.Add(time.Second): true, tokenTime: false, tokenTime.Add(-time.Second): false} {
		ring.ReplaceUntil(next, old, end)
		if _, err := tokens.parse(text); (err == nil) != ok {
			t.Errorf("with a window until %s: %v", end, err)
		}
	}
}

func TestForgedAccessTokens(t *testing.T) {
	key := testKey()
	ring := keys.NewRing(key, nil)
	tokens := testTokens(ring, tokenTime)
	secret := key.Derive(keys.AccessToken)
	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{
			"iss": tokens.issuer, "aud": audienceOf(tokens.issuer), "sub": store.NewID(), "sid": store.NewID(), "jti": store.NewID(),
			"iat": tokenTime.Unix(), "exp": tokenTime.Add(time.Hour).Unix(),
		}
		change(c)
		return c
	}
	same := func(jwt.MapClaims) {}
	sign := func(method jwt.SigningMethod, secret any, c jwt.MapClaims, headers ...string) string {
		token := jwt.NewWithClaims(method, c)
		token.Header["typ"], token.Header["kid"] = tokenType, key.ID
		for i := 0; i < len(headers); i += 2 {
			token.Header[headers[i]] = headers[i+1]
		}
		text, err := token.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(jwt.SigningMethodHS256, secret, claims(same))
	if _, err := tokens.parse(good); err != nil {
		t.Fatalf("the token that the others are made from: %v", err)
	}
	parts := strings.Split(good, ".")
	lastBits := func(s string) string { // another spelling of the same bytes: 43 characters carry two bits too many
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		i := strings.IndexByte(alphabet, s[len(s)-1])
		return s[:len(s)-1] + string(alphabet[i^1])
	}
	reheader := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "." + parts[2]
	}
	for name, text := range map[string]string{
		"empty":                 "",
		"not a token":           "x",
		"alg none":              sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(same)),
		"alg none in capitals":  reheader(`{"alg":"NONE","typ":"at+jwt","kid":"` + key.ID + `"}`),
		"HS512":                 sign(jwt.SigningMethodHS512, secret, claims(same)),
		"RS256":                 sign(jwt.SigningMethodRS256, rsaKey, claims(same)),
		"another secret":        sign(jwt.SigningMethodHS256, []byte("another"), claims(same)),
		"the secret itself":     sign(jwt.SigningMethodHS256, key.Secret(), claims(same)),
		"unknown kid":           sign(jwt.SigningMethodHS256, secret, claims(same), "kid", keys.NewID()),
		"empty kid":             sign(jwt.SigningMethodHS256, secret, claims(same), "kid", ""),
		"another typ":           sign(jwt.SigningMethodHS256, secret, claims(same), "typ", "JWT"),
		"jku":                   sign(jwt.SigningMethodHS256, secret, claims(same), "jku", "https://evil.example/keys"),
		"jwk":                   sign(jwt.SigningMethodHS256, secret, claims(same), "jwk", "{}"),
		"crit":                  sign(jwt.SigningMethodHS256, secret, claims(same), "crit", "b64"),
		"another issuer":        sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { c["iss"] = "http://localhost:4001" })),
		"no issuer":             sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { delete(c, "iss") })),
		"another audience":      sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { c["aud"] = tokens.issuer })),
		"no audience":           sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { delete(c, "aud") })),
		"no exp":                sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { delete(c, "exp") })),
		"expired":               sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { c["exp"] = tokenTime.Unix() - 1 })),
		"not yet":               sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { c["nbf"] = tokenTime.Unix() + 60 })),
		"no subject":            sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { delete(c, "sub") })),
		"no session":            sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { delete(c, "sid") })),
		"session of two fields": sign(jwt.SigningMethodHS256, secret, claims(func(c jwt.MapClaims) { c["sid"] = []string{"a", "b"} })),
		"truncated":             good[:len(good)-1],
		"without signature":     parts[0] + "." + parts[1] + ".",
		"two parts":             parts[0] + "." + parts[1],
		"four parts":            good + "." + parts[2],
		"padded":                good + "=",
		"signature respelled":   parts[0] + "." + parts[1] + "." + lastBits(parts[2]),
		"line break within":     parts[0] + "." + parts[1] + "." + parts[2][:10] + "\n" + parts[2][10:],
		"space behind":          good + " ",
		"a refresh token":       newOpaque(refreshPrefix),
		"an enrollment token":   newOpaque(enrollmentPrefix),
		"too long":              good + strings.Repeat("A", maxAccessToken),
	} {
		t.Run(name, func(t *testing.T) {
			if claims, err := tokens.parse(text); err == nil {
				t.Errorf("%s is taken: %+v", text, claims)
			}
		})
	}
}

func TestOpaqueTokens(t *testing.T) {
	token := newOpaque(refreshPrefix)
	if hash, ok := hashOpaque(refreshPrefix, token); !ok || len(hash) != 32 {
		t.Fatalf("%s is not taken", token)
	}
	for _, other := range []string{
		"", "spr_", token[:len(token)-1], token + "A", token + "=", "spe_" + token[4:], " " + token,
		token[:10] + "\n" + token[10:], token[4:],
	} {
		if _, ok := hashOpaque(refreshPrefix, other); ok {
			t.Errorf("%q is taken", other)
		}
	}
}

func FuzzAccessToken(f *testing.F) {
	tokens := testTokens(keys.NewRing(testKey(), nil), tokenTime)
	good, err := tokens.sign(store.NewID(), store.NewID(), tokenTime, tokenTime.Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("")
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := tokens.parse(text)
		if err == nil && text != good {
			t.Errorf("%q is taken: %+v", text, claims)
		}
		if _, theirs := secondOpinion(tokens, text); err == nil && theirs != nil {
			t.Errorf("%q is taken by us and by nobody else: %v", text, theirs)
		}
	})
}

func FuzzOpaqueToken(f *testing.F) {
	f.Add("")
	f.Add("spr_")
	f.Add(newOpaque(refreshPrefix))
	f.Add(newOpaque(enrollmentPrefix))
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := hashOpaque(refreshPrefix, text); ok && (len(text) != 4+43 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "") {
			t.Errorf("%q is taken", text)
		}
	})
}
