package web_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

// Access tokens that are almost ours: made from a right one, and with the right key where that makes the
// attack harder to see. All are refused, with one answer.
func TestAttackForgedTokens(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada, kim := s.SignIn(t, "ada", audit.Admin), s.SignIn(t, "kim", audit.Author)
		parts := strings.Split(ada, ".")
		claimsOf := func(token string) jwt.MapClaims {
			b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
			c := jwt.MapClaims{}
			if err == nil {
				d := json.NewDecoder(strings.NewReader(string(b)))
				d.UseNumber()
				err = d.Decode(&c)
			}
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		key := s.Keys.JWT.Current()
		secret := key.Derive(keys.AccessToken)
		sign := func(method jwt.SigningMethod, secret any, change func(head map[string]any, c jwt.MapClaims)) string {
			token := jwt.NewWithClaims(method, claimsOf(ada))
			token.Header["typ"], token.Header["kid"] = "at+jwt", key.ID
			change(token.Header, token.Claims.(jwt.MapClaims))
			signed, err := token.SignedString(secret)
			if err != nil {
				t.Fatal(err)
			}
			return signed
		}
		hs256 := func(change func(head map[string]any, c jwt.MapClaims)) string {
			return sign(jwt.SigningMethodHS256, secret, change)
		}
		head := func(name string, value any) string {
			return hs256(func(h map[string]any, _ jwt.MapClaims) { h[name] = value })
		}
		claim := func(name string, value any) string {
			return hs256(func(_ map[string]any, c jwt.MapClaims) {
				if c[name] = value; value == nil {
					delete(c, name)
				}
			})
		}
		same := func(map[string]any, jwt.MapClaims) {}
		reheader := func(h string) string {
			return base64.RawURLEncoding.EncodeToString([]byte(h)) + "." + parts[1] + "." + parts[2]
		}
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		public, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().Unix()
		if made := hs256(same); made != ada {
			t.Fatalf("the token that the others are made from is another:\n%s\n%s", made, ada)
		}
		bodies := map[string]bool{}
		for name, token := range map[string]string{
			"alg none":                    sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
			"alg none, signature kept":    reheader(`{"alg":"none","kid":"` + key.ID + `","typ":"at+jwt"}`),
			"alg nOnE":                    reheader(`{"alg":"nOnE","kid":"` + key.ID + `","typ":"at+jwt"}`),
			"no alg":                      reheader(`{"kid":"` + key.ID + `","typ":"at+jwt"}`),
			"RS256":                       sign(jwt.SigningMethodRS256, rsaKey, same),
			"HS256 with a public RSA key": sign(jwt.SigningMethodHS256, public, same),
			"HS512 with our key":          sign(jwt.SigningMethodHS512, secret, same),
			"an unknown kid":              head("kid", keys.NewID()),
			"a kid that is a path":        head("kid", "../../dev/null"),
			"a kid that is SQL":           head("kid", "' or 1=1 --"),
			"no kid":                      hs256(func(h map[string]any, _ jwt.MapClaims) { delete(h, "kid") }),
			"jku":                         head("jku", "https://evil.example/jwks.json"),
			"x5u":                         head("x5u", "https://evil.example/cert.pem"),
			"jwk":                         head("jwk", map[string]string{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret)}),
			"crit":                        head("crit", []string{"exp"}),
			"another typ":                 head("typ", "JWT"),
			"no typ":                      hs256(func(h map[string]any, _ jwt.MapClaims) { delete(h, "typ") }),
			"another issuer":              claim("iss", "https://evil.example"),
			"no issuer":                   claim("iss", nil),
			"another audience":            claim("aud", "https://evil.example/api"),
			"audience and another":        claim("aud", []string{claimsOf(ada)["aud"].(string), "https://evil.example"}),
			"no audience":                 claim("aud", nil),
			"no exp":                      claim("exp", nil),
			"an exp that has passed":      claim("exp", now-1),
			"an exp that is text":         claim("exp", "4102444800"),
			"an nbf to come":              claim("nbf", now+60),
			"another user, same session":  claim("sub", claimsOf(kim)["sub"]),
			"another session, same user":  claim("sid", claimsOf(kim)["sid"]),
			"a role":                      claim("role", "ADMIN"),
			"another's claims":            parts[0] + "." + strings.Split(kim, ".")[1] + "." + parts[2],
			"truncated":                   ada[:len(ada)-1],
			"truncated to the claims":     parts[0] + "." + parts[1],
			"no signature":                parts[0] + "." + parts[1] + ".",
			"padded":                      ada + "=",
			"standard base64":             parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + "+",
			"another last bit":            respell(ada),
			"a part more":                 ada + "." + parts[2],
			"the secret itself":           sign(jwt.SigningMethodHS256, key.Secret(), same),
			"another purpose's key":       sign(jwt.SigningMethodHS256, key.Derive(keys.RefreshSuccessor), same),
			"2,100 bytes":                 strings.Repeat("A", 2100),
		} {
			for path, route := range map[string]string{"GET": "/api/auth/me", "POST": "/api/auth/logout-all"} {
				a := s.Do(t, path, route, token, nil)
				if a.Status != 401 {
					t.Errorf("%s: status %d: %s", name, a.Status, a.Text)
				}
				bodies[text(t, a, "error")] = true
			}
		}
		if len(bodies) > 2 { // not a token of ours; no such session
			t.Errorf("the answers tell more than they should: %v", bodies)
		}
		s.Do(t, "GET", "/api/auth/me", ada, nil).Want(t, 200)
		s.Do(t, "GET", "/api/auth/me", kim, nil).Want(t, 200)
	})
}

// respell changes the bits of a token's last character that stand for nothing.
func respell(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[i^1])
}

// What ends a token ends it on every server at once, whichever was asked.
func TestAttackLiveTokenOnAnotherServer(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		secrets := []string{"PUBLIC_URL=http://localhost:4000", "JWT_SECRET=8w0oJmQzYlcrF5hD1xVtqN3bKePuSgTa", "DATA_ENCRYPTION_KEY=Yq3l0mZrW8uVJx5cT1oKpN7bEaHsDgF2iQwRtXyUz4A="}
		one, two := webtest.Start(t, st, secrets...), webtest.Start(t, st, secrets...)
		ada := one.SignIn(t, "ada", audit.Admin)
		eve := one.SignIn(t, "eve", audit.Admin)
		id := text(t, two.Do(t, "GET", "/api/auth/me", eve, nil).Want(t, 200), "user.id")
		two.Do(t, "GET", "/api/admin/users", eve, nil).Want(t, 200)

		one.Do(t, "PATCH", "/api/admin/users/"+id, ada, fields{"role": "AUTHOR"}).Want(t, 200)
		two.Do(t, "GET", "/api/admin/users", eve, nil).Want(t, 403) // demoted with a live token
		two.Do(t, "PATCH", "/api/admin/users/"+id, eve, fields{"role": "ADMIN"}).Want(t, 403)
		if me := two.Do(t, "GET", "/api/auth/me", eve, nil).Want(t, 200); me.At("user.role") != "AUTHOR" {
			t.Error(me.Text)
		}
		one.Do(t, "PATCH", "/api/admin/users/"+id, ada, fields{"disabled": true}).Want(t, 200)
		two.Do(t, "GET", "/api/auth/me", eve, nil).Want(t, 401) // disabled with a live token
		one.Do(t, "PATCH", "/api/admin/users/"+id, ada, fields{"disabled": false}).Want(t, 200)
		two.Do(t, "GET", "/api/auth/me", eve, nil).Want(t, 401) // enabling brings no session back
		two.Do(t, "POST", "/api/auth/logout", ada, nil).Want(t, 204)
		one.Do(t, "GET", "/api/auth/me", ada, nil).Want(t, 401)
	})
}
