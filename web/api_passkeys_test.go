package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/account/passkeytest"
	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

// passkeyUser is somebody who is enrolled, with a device at the browser of PUBLIC_URL.
func passkeyUser(t *testing.T, s *webtest.Server) (enrolled, *passkeytest.Device) {
	t.Helper()
	first := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
	return enroll(t, s, text(t, first, "enrollmentToken"), nil), passkeytest.New(s.Config.PublicURL.String())
}

// registerPasskey goes through both halves.
func registerPasskey(t *testing.T, s *webtest.Server, token, name string, d *passkeytest.Device) string {
	t.Helper()
	start := s.Do(t, "POST", "/api/auth/passkeys/register/start", token, nil).Want(t, 200)
	done := s.Do(t, "POST", "/api/auth/passkeys/register/finish", token,
		fields{"name": name, "credential": d.Create(t, start.At("publicKey"))}).Want(t, 201)
	return text(t, done, "passkey.id")
}

func passkeyLogin(t *testing.T, s *webtest.Server, d *passkeytest.Device, bend ...passkeytest.Bend) webtest.Answer {
	t.Helper()
	start := s.Do(t, "POST", "/api/auth/passkeys/login/start", "", nil).Want(t, 200)
	return s.Do(t, "POST", "/api/auth/passkeys/login/finish", "", fields{"credential": d.Get(t, start.At("publicKey"), bend...)})
}

// TestPasskeysOverSockets goes from registering a passkey to deleting it.
func TestPasskeysOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada, d := passkeyUser(t, s)
		start := s.Do(t, "POST", "/api/auth/passkeys/register/start", ada.token, nil).Want(t, 200)
		wantNames(t, start.Body, "publicKey")
		options := start.At("publicKey")
		wantNames(t, options, "rp", "user", "challenge", "pubKeyCredParams", "timeout", "excludeCredentials", "authenticatorSelection", "attestation")
		for path, want := range map[string]string{
			"publicKey.rp.id": "localhost", "publicKey.rp.name": "Sealpost", "publicKey.user.name": "ada@example.com", "publicKey.attestation": "none",
			"publicKey.authenticatorSelection.residentKey": "required", "publicKey.authenticatorSelection.userVerification": "required",
		} {
			if got := text(t, start, path); got != want {
				t.Errorf("%s is %q", path, got)
			}
		}
		if got := fmt.Sprint(start.At("publicKey.pubKeyCredParams")); got != "[map[alg:-7 type:public-key] map[alg:-8 type:public-key] map[alg:-257 type:public-key]]" {
			t.Errorf("the kinds of keys are %s", got)
		}
		credential := d.Create(t, options)
		done := s.Do(t, "POST", "/api/auth/passkeys/register/finish", ada.token, fields{"name": "Laptop", "credential": credential}).Want(t, 201)
		wantNames(t, done.At("passkey"), "id", "name", "backedUp", "createdAt")
		id := text(t, done, "passkey.id")
		s.Do(t, "POST", "/api/auth/passkeys/register/finish", ada.token, fields{"name": "Again", "credential": credential}).Want(t, 422)

		in := passkeyLogin(t, s, d).Want(t, 200)
		wantNames(t, in.Body, "token", "expiresAt", "user")
		wantUser(t, in.At("user"), "ada@example.com", "ADMIN")
		token := text(t, in, "token")
		s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 200)
		s.Do(t, "POST", "/api/auth/refresh", "", nil, "Cookie", "sealpost_refresh="+refreshCookie(t, in, false)).Want(t, 200)

		list := s.Do(t, "GET", "/api/auth/passkeys", token, nil).Want(t, 200)
		wantNames(t, list.Body, "passkeys")
		all := list.At("passkeys").([]any)
		if len(all) != 1 {
			t.Fatalf("the passkeys are %s", list.Text)
		}
		wantNames(t, all[0], "id", "name", "backedUp", "createdAt", "lastUsedAt")

		again := s.Do(t, "POST", "/api/auth/passkeys/register/start", token, nil).Want(t, 200)
		if excluded := again.At("publicKey.excludeCredentials").([]any); len(excluded) != 1 {
			t.Errorf("excluded are %v", excluded)
		}

		challenge := s.Do(t, "POST", "/api/auth/passkeys/reauth/start", token, nil).Want(t, 200)
		wantNames(t, challenge.At("publicKey"), "challenge", "timeout", "rpId", "allowCredentials", "userVerification")
		answer := d.Get(t, challenge.At("publicKey"))
		s.Do(t, "POST", "/api/auth/reauth", ada.token, fields{"passkey": answer}).Want(t, 401) // another session's
		confirmed := s.Do(t, "POST", "/api/auth/reauth", token, fields{"passkey": answer}).Want(t, 200)
		wantNames(t, confirmed.Body, "reauthenticatedAt")
		s.Do(t, "POST", "/api/auth/reauth", token, fields{"passkey": answer}).Want(t, 401) // once
		s.Do(t, "POST", "/api/auth/reauth", token, fields{"passkey": answer, "password": adminPassword}).Want(t, 422)
		s.Do(t, "POST", "/api/auth/reauth", token, fields{}).Want(t, 422)

		s.Do(t, "DELETE", "/api/auth/passkeys/"+someID, token, nil).Want(t, 404)
		s.Do(t, "DELETE", "/api/auth/passkeys/"+id, ada.token, nil).Want(t, 204)
		s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 401) // it was made with that one
		passkeyLogin(t, s, d).Want(t, 401)
		got := actions(t, s, audit.Filter{Entity: "Passkey"})
		if want := []string{"auth.passkey.registered", "auth.passkey.register_failed", "auth.passkey.deleted"}; !slices.Equal(got, want) {
			t.Errorf("the events are %v, want %v", got, want)
		}
	}, "MFA_REQUIRED=true")
}

// TestPasskeyRefusalsOverSockets: whatever is wrong, the answer is one, to the byte.
func TestPasskeyRefusalsOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada, d := passkeyUser(t, s)
		registerPasskey(t, s, ada.token, "Laptop", d)
		start := s.Do(t, "POST", "/api/auth/passkeys/login/start", "", nil).Want(t, 200)
		used := fields{"credential": d.Get(t, start.At("publicKey"))}
		s.Do(t, "POST", "/api/auth/passkeys/login/finish", "", used).Want(t, 200)
		false1, false2, unverified := *d, *d, *d
		false1.Origin = "https://sealpost.example"
		false2.RPID = "sealpost.example"
		unverified.Flags = passkeytest.UserPresent
		stranger := func(_ *passkeytest.Client, a *passkeytest.Answer) { a.ID, a.RawID = []byte{1, 2, 3}, []byte{1, 2, 3} }
		unsigned := func(_ *passkeytest.Client, a *passkeytest.Answer) { a.Signature = []byte("no") }
		wrongType := func(c *passkeytest.Client, _ *passkeytest.Answer) { c.Type = "webauthn.create" }
		answers := map[string]webtest.Answer{
			"replayed":     s.Do(t, "POST", "/api/auth/passkeys/login/finish", "", used),
			"false page":   passkeyLogin(t, s, &false1),
			"other party":  passkeyLogin(t, s, &false2),
			"not verified": passkeyLogin(t, s, &unverified),
			"stranger":     passkeyLogin(t, s, d, stranger),
			"not signed":   passkeyLogin(t, s, d, unsigned),
			"wrong type":   passkeyLogin(t, s, d, wrongType),
		}
		same := answers["stranger"].Want(t, 401)
		for name, a := range answers {
			a.Body["requestId"], same.Body["requestId"] = "", ""
			x, _ := json.Marshal(a.Body)
			y, _ := json.Marshal(same.Body)
			if a.Status != 401 || string(x) != string(y) || len(a.Header["Set-Cookie"]) > 0 || a.Header.Get("Www-Authenticate") != "Bearer" {
				t.Errorf("%s: %d %s", name, a.Status, a.Text)
			}
		}
		for range 2 { // with the six above
			passkeyLogin(t, s, d, unsigned).Want(t, 401)
		}
		blocked := passkeyLogin(t, s, d).Want(t, 429)
		if blocked.Header.Get("Retry-After") != "900" {
			t.Errorf("Retry-After is %q", blocked.Header.Get("Retry-After"))
		}
	}, "MFA_REQUIRED=true")
}

func TestOneAssertionByTwentyOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada, d := passkeyUser(t, s)
		registerPasskey(t, s, ada.token, "Laptop", d)
		start := s.Do(t, "POST", "/api/auth/passkeys/login/start", "", nil).Want(t, 200)
		body := fields{"credential": d.Get(t, start.At("publicKey"))}
		status := make([]int, 20)
		var wg sync.WaitGroup
		for i := range status {
			wg.Go(func() { status[i] = s.Do(t, "POST", "/api/auth/passkeys/login/finish", "", body).Status })
		}
		wg.Wait()
		won := 0
		for _, n := range status {
			switch n {
			case 200:
				won++
			case 401:
			default:
				t.Errorf("one got %d", n)
			}
		}
		if won != 1 {
			t.Errorf("%d of 20 are signed in: %v", won, status)
		}
	}, "MFA_REQUIRED=true", "AUTH_LOGIN_MAX_ATTEMPTS=100")
}

// TestPasskeysAreGuarded holds who may do what.
func TestPasskeysAreGuarded(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada, d := passkeyUser(t, s)
		id := registerPasskey(t, s, ada.token, "Laptop", d)
		for _, route := range []string{"POST register/start", "POST register/finish", "POST reauth/start", "GET ", "DELETE " + id} {
			method, path, _ := strings.Cut(route, " ")
			var body any
			if strings.HasSuffix(path, "finish") {
				body = fields{"name": "x", "credential": fields{}}
			}
			s.Do(t, method, strings.TrimSuffix("/api/auth/passkeys/"+path, "/"), "", body).Want(t, 401)
		}
		err := s.Store.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `update session set authenticated_at = $1`, time.Now().Add(-time.Hour).UnixMicro())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []webtest.Answer{
			s.Do(t, "POST", "/api/auth/passkeys/register/start", ada.token, nil),
			s.Do(t, "POST", "/api/auth/passkeys/register/finish", ada.token, fields{"name": "x", "credential": fields{}}),
			s.Do(t, "DELETE", "/api/auth/passkeys/"+id, ada.token, nil),
		} {
			if a.Want(t, 401).At("details.reauthRequired") != true {
				t.Errorf("it is told %s", a.Text)
			}
		}
		s.Do(t, "GET", "/api/auth/passkeys", ada.token, nil).Want(t, 200)
	}, "MFA_REQUIRED=true")
}

// TestPasskeyBodiesAreStrict: a credential may have what browsers add to it, and nothing else may.
func TestPasskeyBodiesAreStrict(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada, d := passkeyUser(t, s)
		start := s.Do(t, "POST", "/api/auth/passkeys/register/start", ada.token, nil).Want(t, 200)
		var credential fields
		if err := json.Unmarshal(d.Create(t, start.At("publicKey")), &credential); err != nil {
			t.Fatal(err)
		}
		const finish = "/api/auth/passkeys/register/finish"
		for name, body := range map[string]any{
			"no name":           fields{"credential": credential},
			"no credential":     fields{"name": "x"},
			"not an object":     fields{"name": "x", "credential": "x"},
			"an empty one":      fields{"name": "x", "credential": fields{}},
			"an unknown field":  fields{"name": "x", "credential": credential, "role": "ADMIN"},
			"a name too long":   fields{"name": strings.Repeat("x", 101), "credential": credential},
			"an answer too big": fields{"name": "x", "credential": fields{"id": "AA", "rawId": "AA", "type": "public-key", "response": fields{"clientDataJSON": strings.Repeat("A", 33<<10)}}},
		} {
			if a := s.Do(t, "POST", finish, ada.token, body); a.Status != 422 {
				t.Errorf("%s: %d %s", name, a.Status, a.Text)
			}
		}
		twice := `{"name":"x","credential":{"id":"AA","id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30"}}}`
		s.Do(t, "POST", finish, ada.token, twice).Want(t, 400)
		s.Do(t, "POST", "/api/auth/passkeys/login/start", "", fields{"email": "ada@example.com"}).Want(t, 400) // nobody is asked
		credential["someDay"] = fields{"browsers": []int{1}}
		done := s.Do(t, "POST", finish, ada.token, fields{"name": strings.Repeat("x", 100), "credential": credential}).Want(t, 201)
		if len(text(t, done, "passkey.name")) != 100 {
			t.Errorf("it is %s", done.Text)
		}
	}, "MFA_REQUIRED=true")
}

// TestPasskeysNeedAName is a server that people know by a number.
func TestPasskeysNeedAName(t *testing.T) {
	s := start(t, "MFA_REQUIRED=true", "PUBLIC_URL=http://127.0.0.1:4000")
	ada, _ := passkeyUser(t, s)
	for path, token := range map[string]string{"register": ada.token, "login": "", "reauth": ada.token} {
		a := s.Do(t, "POST", "/api/auth/passkeys/"+path+"/start", token, nil).Want(t, http.StatusServiceUnavailable)
		if got := text(t, a, "error"); !strings.Contains(got, "PUBLIC_URL is http://127.0.0.1:4000") || !strings.Contains(got, "IP address") {
			t.Errorf("%s: it is told %q", path, got)
		}
	}
	v := visit(t, s)
	if a := v.get("/login"); strings.Contains(a.Text, "passkey") {
		t.Errorf("the sign-in offers what there is not: %s", a.Text)
	}
}
