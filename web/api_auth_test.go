package web_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

const (
	adminPassword  = "vK8#qLw2!nPz"
	givenPassword  = "Sturdy-Oak-91-Harbor"
	chosenPassword = "Blue7!Kettle-Moth"
)

// authServers starts a server on each database.
func authServers(t *testing.T, test func(*testing.T, *webtest.Server), env ...string) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		t.Helper()
		test(t, webtest.Start(t, st, env...))
	})
}

// totpCode is what an app shows now, or some steps before or after.
func totpCode(t *testing.T, secret string, steps int) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, time.Now().Add(time.Duration(steps)*30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func text(t *testing.T, a webtest.Answer, path string) string {
	t.Helper()
	s, ok := a.At(path).(string)
	if !ok || s == "" {
		t.Fatalf("there is no %s in %s", path, a.Text)
	}
	return s
}

// wantNames fails the test where an object has other members than these.
func wantNames(t *testing.T, object any, names ...string) {
	t.Helper()
	m, _ := object.(map[string]any)
	got := slices.Sorted(maps.Keys(m))
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("members %v, want %v", got, names)
	}
}

func wantUser(t *testing.T, user any, email, role string) {
	t.Helper()
	wantNames(t, user, "id", "email", "name", "role", "mfaEnabled", "disabled", "createdAt", "updatedAt")
	m, _ := user.(map[string]any)
	if m["email"] != email || m["role"] != role {
		t.Errorf("user %v", user)
	}
	at, _ := m["createdAt"].(string)
	if _, err := time.Parse(time.RFC3339, at); err != nil || !strings.HasSuffix(at, "Z") {
		t.Errorf("createdAt is %q", at)
	}
}

// refreshCookie gives the cookie that an answer sets, and holds its attributes.
func refreshCookie(t *testing.T, a webtest.Answer, secure bool) string {
	t.Helper()
	cookies := (&http.Response{Header: a.Header}).Cookies() // the device's, which a refresh does not give, is the second
	if len(cookies) == 0 || len(cookies) > 2 {
		t.Fatalf("the answer sets %v", a.Header["Set-Cookie"])
	}
	c := cookies[0]
	if c.Name != "sealpost_refresh" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/api/auth" ||
		c.Secure != secure || c.Domain != "" || time.Until(c.Expires) < 167*time.Hour {
		t.Errorf("the cookie is %s", a.Header["Set-Cookie"])
	}
	return c.Value
}

// firstAdmin makes the first account, of ada@example.com, without MFA and gives its token.
func firstAdmin(t *testing.T, s *webtest.Server) string {
	t.Helper()
	a := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
	return text(t, a, "token")
}

// enrolled is somebody with a second factor.
type enrolled struct {
	token, cookie, secret string
	code                  string // what enrollment was completed with
	codes                 []string
}

func enroll(t *testing.T, s *webtest.Server, enrollmentToken string, more fields) enrolled {
	t.Helper()
	start := s.Do(t, "POST", "/api/auth/mfa/enroll/start", "", fields{"enrollmentToken": enrollmentToken}).Want(t, 200)
	wantNames(t, start.At("setup"), "secret", "otpauthUrl", "qrPng")
	e := enrolled{secret: text(t, start, "setup.secret")}
	e.code = totpCode(t, e.secret, 0)
	body := fields{"enrollmentToken": enrollmentToken, "mfaCode": e.code}
	maps.Copy(body, more)
	done := s.Do(t, "POST", "/api/auth/mfa/enroll/complete", "", body).Want(t, 200)
	wantNames(t, done.Body, "token", "expiresAt", "user", "backupCodes")
	e.token, e.cookie = text(t, done, "token"), refreshCookie(t, done, false)
	for _, code := range done.At("backupCodes").([]any) {
		e.codes = append(e.codes, code.(string))
	}
	if len(e.codes) != 8 {
		t.Errorf("%d backup codes", len(e.codes))
	}
	return e
}

func actions(t *testing.T, s *webtest.Server, f audit.Filter) []string {
	t.Helper()
	list, err := s.Log.Events(t.Context(), f, store.Page{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Action)
	}
	slices.Reverse(out)
	return out
}

// The runbook's section 1 with MFA required, by the routes it names.
func TestFirstAccountThenEverybodyEnrolls(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		policy := s.Do(t, "GET", "/api/auth/policy", "", nil).Want(t, 200)
		wantNames(t, policy.Body, "passwordPolicy", "mfaRequired", "devLoginEnabled")
		if policy.At("passwordPolicy.minLength") != 12.0 || policy.At("mfaRequired") != true {
			t.Errorf("the policy is %s", policy.Text)
		}
		if a := s.Do(t, "GET", "/api/auth/bootstrap-status", "", nil).Want(t, 200); a.At("hasUsers") != false {
			t.Error(a.Text)
		}

		first := s.Do(t, "POST", "/api/auth/register-first", "",
			fields{"email": "Ada@Example.com", "name": "Ada", "password": adminPassword, "role": "ADMIN"}, "X-Request-Id", "first-1").Want(t, 201)
		wantNames(t, first.Body, "user", "mfaEnrollmentRequired", "enrollmentToken")
		wantUser(t, first.At("user"), "Ada@Example.com", "ADMIN")
		if first.At("mfaEnrollmentRequired") != true || first.Header.Get("Set-Cookie") != "" {
			t.Errorf("got %s and %v", first.Text, first.Header["Set-Cookie"])
		}
		if got := actions(t, s, audit.Filter{RequestID: "first-1"}); !slices.Equal(got, []string{"auth.user.registered"}) {
			t.Errorf("events of the request: %v", got)
		}
		if a := s.Do(t, "GET", "/api/auth/bootstrap-status", "", nil).Want(t, 200); a.At("hasUsers") != true {
			t.Error(a.Text)
		}
		again := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "eve@example.com", "name": "Eve", "password": adminPassword})
		wantProblem(t, again, 409, "has been made already")

		enrollment := text(t, first, "enrollmentToken")
		for _, path := range []string{"/api/auth/me", "/api/auth/sessions"} {
			s.Do(t, "GET", path, enrollment, nil).Want(t, 401)
			s.Do(t, "GET", path, "", nil).Want(t, 401)
		}
		ada := enroll(t, s, enrollment, nil)
		me := s.Do(t, "GET", "/api/auth/me", ada.token, nil).Want(t, 200)
		wantNames(t, me.Body, "user")
		wantUser(t, me.At("user"), "Ada@Example.com", "ADMIN")
		if me.At("user.mfaEnabled") != true {
			t.Error(me.Text)
		}
		s.Do(t, "POST", "/api/auth/mfa/enroll/start", "", fields{"enrollmentToken": enrollment}).Want(t, 401)

		// An ADMIN registers somebody, whose first sign-in leads to enrollment with a password of their own.
		weak := s.Do(t, "POST", "/api/auth/register", ada.token, fields{"email": "kim@example.com", "name": "Kim", "password": "short", "role": "AUTHOR"})
		wantProblem(t, weak, 422, "policy")
		issues, _ := weak.At("details.issues").([]any)
		if len(issues) != 5 {
			t.Errorf("issues: %s", weak.Text)
		}
		for _, issue := range issues {
			wantNames(t, issue, "code", "message")
		}
		if strings.Contains(weak.Text, `"short"`) {
			t.Errorf("the answer has the password: %s", weak.Text)
		}
		kim := s.Do(t, "POST", "/api/auth/register", ada.token, fields{"email": "kim@example.com", "name": "Kim", "password": givenPassword, "role": "AUTHOR"}).Want(t, 201)
		wantNames(t, kim.Body, "user")
		wantUser(t, kim.At("user"), "kim@example.com", "AUTHOR")
		wantProblem(t, s.Do(t, "POST", "/api/auth/register", ada.token,
			fields{"email": "KIM@example.com", "name": "Kim", "password": givenPassword, "role": "AUTHOR"}), 409, "already")

		login := s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": givenPassword})
		wantProblem(t, login, 403, "enroll")
		if login.At("details.mfaEnrollmentRequired") != true {
			t.Error(login.Text)
		}
		enrollment = text(t, login, "details.enrollmentToken")
		start := s.Do(t, "POST", "/api/auth/mfa/enroll/start", "", fields{"enrollmentToken": enrollment}).Want(t, 200)
		code := totpCode(t, text(t, start, "setup.secret"), 0)
		missing := s.Do(t, "POST", "/api/auth/mfa/enroll/complete", "", fields{"enrollmentToken": enrollment, "mfaCode": code})
		wantProblem(t, missing, 422, "choose a new one")
		if missing.At("details.newPasswordRequired") != true {
			t.Error(missing.Text)
		}
		author := enroll(t, s, enrollment, fields{"newPassword": chosenPassword})
		wantProblem(t, s.Do(t, "POST", "/api/auth/register", author.token,
			fields{"email": "x@example.com", "name": "X", "password": givenPassword, "role": "ADMIN"}), 403, "role")
		s.Do(t, "POST", "/api/auth/register", "", fields{}).Want(t, 401)

		// Signing in again.
		factor := func(name, value string) webtest.Answer {
			return s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": chosenPassword, name: value})
		}
		plain := s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": chosenPassword})
		wantProblem(t, plain, 401, "needed")
		used := factor("mfaCode", author.code)
		wantProblem(t, used, 401, "used already")
		wrong := s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": givenPassword, "mfaCode": totpCode(t, author.secret, 1)})
		wantProblem(t, wrong, 401, "wrong")
		if plain.At("details.mfaRequired") != true || used.At("details.mfaRequired") != true || wrong.At("details") != nil {
			t.Errorf("details: %s, %s, %s", plain.Text, used.Text, wrong.Text)
		}
		if log := s.Logged(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
			t.Errorf("what is refused as it should be is in the log: %s", log)
		}
		in := factor("mfaCode", totpCode(t, author.secret, 1)).Want(t, 200)
		wantNames(t, in.Body, "token", "expiresAt", "user")
		refreshCookie(t, in, false)
		factor("backupCode", strings.ToUpper(author.codes[0])).Want(t, 200)
		factor("backupCode", author.codes[0]).Want(t, 401)

		got := actions(t, s, audit.Filter{ActorID: text(t, kim, "user.id")})
		if want := []string{"auth.mfa.enrolled", "auth.login.succeeded", "access.denied", "auth.login.succeeded", "auth.login.succeeded"}; !slices.Equal(got, want) {
			t.Errorf("the author's events are %v, want %v", got, want)
		}
	}, "MFA_REQUIRED=true")
}

func TestRegisterFirstInARaceOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		var mu sync.Mutex
		statuses := map[int]int{}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				a := s.Do(t, "POST", "/api/auth/register-first", "",
					fields{"email": strings.Repeat("x", i+1) + "@example.com", "name": "X", "password": adminPassword})
				mu.Lock()
				defer mu.Unlock()
				statuses[a.Status]++
			})
		}
		wg.Wait()
		if statuses[201] != 1 || statuses[409] != 49 {
			t.Errorf("the statuses are %v", statuses)
		}
	})
}

// productionEnv is what production needs.
var productionEnv = []string{
	"NODE_ENV=production", "PUBLIC_URL=https://sealpost.example", "JWT_SECRET=8w0oJmQzYlcrF5hD1xVtqN3bKePuSgTa",
	"DATA_ENCRYPTION_KEY=Yq3l0mZrW8uVJx5cT1oKpN7bEaHsDgF2iQwRtXyUz4A=",
	"AUDIT_SIGNING_KEY=Zt9kX2vBnM4qLwErTyUiOpAsDfGhJkLzXcVbNmQwE1Y=",
}

// In production the first account is made from the machine itself or with the token; dev-login is not
// there; cookies are Secure.
func TestFirstAccountInProduction(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		body := fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}
		refused := s.Do(t, "POST", "/api/auth/register-first", "", body, "X-Forwarded-For", "127.0.0.1")
		wantProblem(t, refused, 403, "BOOTSTRAP_TOKEN")
		if path := s.Config.Secrets.Bootstrap.Source().Path; path == "" || !strings.Contains(text(t, refused, "error"), path) {
			t.Errorf("the refusal does not name %q: %s", path, refused.Text)
		}
		s.Do(t, "POST", "/api/auth/register-first", "", body, "X-Forwarded-For", "127.0.0.1", "X-Bootstrap-Token", "guess-guess-guess").Want(t, 403)
		s.Do(t, "POST", "/api/auth/dev-login", "", fields{"email": "a@example.com", "name": "A", "role": "ADMIN"}).Want(t, 404)
		s.Do(t, "POST", "/api/auth/dev-login", "", nil).Want(t, 404)
		first := s.Do(t, "POST", "/api/auth/register-first", "", body,
			"X-Forwarded-For", "203.0.113.9", "X-Bootstrap-Token", string(s.Config.Secrets.Bootstrap.Reveal())).Want(t, 201)
		token := text(t, first, "enrollmentToken")
		start := s.Do(t, "POST", "/api/auth/mfa/enroll/start", "", fields{"enrollmentToken": token}).Want(t, 200)
		done := s.Do(t, "POST", "/api/auth/mfa/enroll/complete", "",
			fields{"enrollmentToken": token, "mfaCode": totpCode(t, text(t, start, "setup.secret"), 0)}).Want(t, 200)
		refreshCookie(t, done, true)
		if s.Do(t, "GET", "/api/auth/policy", "", nil).Want(t, 200).At("devLoginEnabled") != false {
			t.Error("dev-login is said to be enabled")
		}
	}, productionEnv...)
}

func TestFirstAccountFromTheMachineInProduction(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
	}, productionEnv...)
}

func TestAuthBodiesAreStrict(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		for name, tt := range map[string]struct {
			path, body string
			status     int
		}{
			"no role twice":        {"register-first", `{"email":"a@example.com","name":"A","password":"` + adminPassword + `","role":"ADMIN","role":"AUTHOR"}`, 400},
			"an unknown field":     {"register-first", `{"email":"a@example.com","name":"A","password":"` + adminPassword + `","isAdmin":true}`, 422},
			"another role":         {"register-first", `{"email":"a@example.com","name":"A","password":"` + adminPassword + `","role":"AUTHOR"}`, 422},
			"no password":          {"register-first", `{"email":"a@example.com","name":"A"}`, 422},
			"no address":           {"register-first", `{"email":"a","name":"A","password":"` + adminPassword + `"}`, 422},
			"a weak password":      {"register-first", `{"email":"a@example.com","name":"A","password":"Admin123456!"}`, 422},
			"a password of number": {"login", `{"email":"a@example.com","password":12345678}`, 422},
			"a lone surrogate":     {"login", `{"email":"a@example.com","password":"\ud800"}`, 400},
			"behind the text":      {"login", `{"email":"a@example.com","password":"x"} {}`, 400},
			"both factors":         {"login", `{"email":"a@example.com","password":"x","mfaCode":"1","backupCode":"2"}`, 422},
			"an empty sign-in":     {"login", `{}`, 422},
			"a long password":      {"login", `{"email":"a@example.com","password":"` + strings.Repeat("x", 10_000) + `"}`, 401},
			"no refresh token":     {"refresh", `{}`, 422},
			"a false one":          {"refresh", `{"refreshToken":"x"}`, 401},
			"no enrollment token":  {"mfa/enroll/start", `{}`, 422},
			"a false enrollment":   {"mfa/enroll/start", `{"enrollmentToken":"x"}`, 401},
			"a false completion":   {"mfa/enroll/complete", `{"enrollmentToken":"x","mfaCode":"123456"}`, 401},
		} {
			a := s.Do(t, "POST", "/api/auth/"+tt.path, "", tt.body)
			if a.Status != tt.status {
				t.Errorf("%s: status %d, want %d: %s", name, a.Status, tt.status, a.Text)
			}
			for _, secret := range []string{adminPassword, "12345678", "xxxxxxxxxx"} {
				if strings.Contains(a.Text, secret) {
					t.Errorf("%s: the answer has the password: %s", name, a.Text)
				}
			}
		}
		if has := s.Do(t, "GET", "/api/auth/bootstrap-status", "", nil).At("hasUsers"); has != false {
			t.Error("a refused request has made an account")
		}
	})
}

func TestLogoutOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := firstAdmin(t, s)
		credentials := fields{"email": "ada@example.com", "password": adminPassword}
		second := text(t, s.Do(t, "POST", "/api/auth/login", "", credentials).Want(t, 200), "token")

		out := s.Do(t, "POST", "/api/auth/logout", second, nil).Want(t, 204)
		if c := (&http.Response{Header: out.Header}).Cookies(); len(c) != 1 || c[0].Value != "" || c[0].MaxAge >= 0 || c[0].Path != "/api/auth" {
			t.Errorf("the cookie is not taken away: %v", out.Header["Set-Cookie"])
		}
		wantProblem(t, s.Do(t, "GET", "/api/auth/me", second, nil), 401, "ended")
		wantProblem(t, s.Do(t, "POST", "/api/auth/logout", second, nil), 401, "ended")

		kim := s.SignIn(t, "kim", audit.Author)
		kimID := text(t, s.Do(t, "GET", "/api/auth/me", kim, nil).Want(t, 200), "user.id")
		wantProblem(t, s.Do(t, "POST", "/api/auth/logout-all", kim, fields{"userId": kimID}), 403, "ADMIN")
		wantProblem(t, s.Do(t, "POST", "/api/auth/logout-all", kim, fields{"everyone": true}), 403, "ADMIN")
		wantProblem(t, s.Do(t, "POST", "/api/auth/logout-all", ada, fields{"everyone": true, "userId": kimID}), 422, "not both")
		wantProblem(t, s.Do(t, "POST", "/api/auth/logout-all", ada, fields{"userId": "x"}), 404, "no such user")
		s.Do(t, "POST", "/api/auth/logout-all", ada, fields{"userId": kimID}).Want(t, 204)
		s.Do(t, "GET", "/api/auth/me", kim, nil).Want(t, 401)

		kim, kim2 := s.SignIn(t, "kim", audit.Author), s.SignIn(t, "kim", audit.Author)
		s.Do(t, "POST", "/api/auth/logout-all", kim, nil).Want(t, 204)
		s.Do(t, "GET", "/api/auth/me", kim2, nil).Want(t, 401)
		s.Do(t, "GET", "/api/auth/me", ada, nil).Want(t, 200)

		kim = s.SignIn(t, "kim", audit.Author)
		s.Do(t, "POST", "/api/auth/logout-all", ada, fields{"everyone": true}, "X-Request-Id", "leak-1").Want(t, 204)
		for _, token := range []string{ada, kim} {
			s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 401)
		}
		if got := actions(t, s, audit.Filter{RequestID: "leak-1"}); !slices.Equal(got, []string{"auth.sessions.revoked"}) {
			t.Errorf("events of the request: %v", got)
		}
	})
}

func TestSessionsOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := firstAdmin(t, s)
		second := text(t, s.Do(t, "POST", "/api/auth/login", "", fields{"email": "ada@example.com", "password": adminPassword}).Want(t, 200), "token")
		list := s.Do(t, "GET", "/api/auth/sessions", ada, nil).Want(t, 200)
		sessions, _ := list.At("sessions").([]any)
		if len(sessions) != 2 {
			t.Fatal(list.Text)
		}
		newest := sessions[0].(map[string]any)
		wantNames(t, newest, "id", "createdAt", "expiresAt", "authenticatedAt", "lastSeenAt", "lastSeenIp", "ip", "userAgent", "current")
		if newest["current"] != false || newest["ip"] != "127.0.0.1" {
			t.Errorf("the newest is %v", newest)
		}
		id := newest["id"].(string)
		kim := s.SignIn(t, "kim", audit.Author)
		s.Do(t, "DELETE", "/api/auth/sessions/"+id, kim, nil).Want(t, 404)
		s.Do(t, "DELETE", "/api/auth/sessions/"+id, ada, nil).Want(t, 204)
		s.Do(t, "DELETE", "/api/auth/sessions/"+id, ada, nil).Want(t, 404)
		s.Do(t, "GET", "/api/auth/me", second, nil).Want(t, 401)
		s.Do(t, "GET", "/api/auth/me", ada, nil).Want(t, 200)
	})
}

func TestRefreshOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		first := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
		wantNames(t, first.Body, "user", "token", "expiresAt")
		cookie := refreshCookie(t, first, false)
		with := func(headers ...string) webtest.Answer {
			return s.Do(t, "POST", "/api/auth/refresh", "", nil, headers...)
		}

		wantProblem(t, with(), 401, "no refresh token")
		wantProblem(t, with("Cookie", "sealpost_refresh="+cookie+"; sealpost_refresh=preset"), 401, "no refresh token")
		wantProblem(t, with("Cookie", "sealpost_refresh="+cookie, "Sec-Fetch-Site", "cross-site"), 403, "another site")
		wantProblem(t, with("Cookie", "sealpost_refresh="+cookie, "Sec-Fetch-Site", "same-site"), 403, "another site")
		wantProblem(t, with("Cookie", "sealpost_refresh="+cookie, "Origin", "https://evil.example"), 403, "another site")
		s.Do(t, "GET", "/api/auth/me", "", nil, "Cookie", "sealpost_refresh="+cookie).Want(t, 401) // it opens nothing else
		s.Do(t, "GET", "/api/auth/me", cookie, nil).Want(t, 401)

		next := with("Cookie", "sealpost_refresh="+cookie, "Sec-Fetch-Site", "same-origin").Want(t, 200)
		wantNames(t, next.Body, "token", "expiresAt", "user")
		successor := refreshCookie(t, next, false)
		again := s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": cookie}).Want(t, 200)
		if successor == cookie || refreshCookie(t, again, false) != successor {
			t.Error("within the grace there is another successor")
		}
		for _, token := range []string{text(t, first, "token"), text(t, next, "token"), text(t, again, "token")} {
			s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 200)
		}
		s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": text(t, next, "token")}).Want(t, 401)
		s.Do(t, "POST", "/api/auth/logout-all", text(t, next, "token"), nil).Want(t, 204)
		s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": successor}).Want(t, 401)
	})
}

// Setup and enable are the runbook's other way to a second factor.
func TestMFASetupOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := firstAdmin(t, s)
		wantProblem(t, s.Do(t, "POST", "/api/auth/mfa/enable", ada, fields{"mfaCode": "123456"}), 409, "start first")
		setup := s.Do(t, "POST", "/api/auth/mfa/setup", ada, nil).Want(t, 200)
		wantNames(t, setup.At("setup"), "secret", "otpauthUrl", "qrPng")
		secret := text(t, setup, "setup.secret")
		wrong := s.Do(t, "POST", "/api/auth/mfa/enable", ada, fields{"mfaCode": "12345"})
		wantProblem(t, wrong, 401, "wrong")
		enabled := s.Do(t, "POST", "/api/auth/mfa/enable", ada, fields{"mfaCode": totpCode(t, secret, 0)}).Want(t, 200)
		wantNames(t, enabled.Body, "enabled", "backupCodes")
		codes, _ := enabled.At("backupCodes").([]any)
		if enabled.At("enabled") != true || len(codes) != 8 {
			t.Error(enabled.Text)
		}
		reauth := s.Do(t, "POST", "/api/auth/reauth", ada, fields{"password": adminPassword, "backupCode": codes[0]}).Want(t, 200)
		wantNames(t, reauth.Body, "reauthenticatedAt")
		wantProblem(t, s.Do(t, "POST", "/api/auth/reauth", ada, fields{"password": adminPassword}), 401, "needed")
		fresh := s.Do(t, "POST", "/api/auth/mfa/backup-codes/regenerate", ada, fields{"mfaCode": totpCode(t, secret, 1)}).Want(t, 200)
		wantNames(t, fresh.Body, "backupCodes")
		s.Do(t, "POST", "/api/auth/mfa/disable", ada, fields{"backupCode": codes[1]}).Want(t, 401)
		codes, _ = fresh.At("backupCodes").([]any)
		disabled := s.Do(t, "POST", "/api/auth/mfa/disable", ada, fields{"backupCode": codes[0]}).Want(t, 200)
		if disabled.At("enabled") != false {
			t.Error(disabled.Text)
		}
		s.Do(t, "POST", "/api/auth/login", "", fields{"email": "ada@example.com", "password": adminPassword}).Want(t, 200)
	})
}

func TestMFADisableWhereItIsRequired(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		first := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
		ada := enroll(t, s, text(t, first, "enrollmentToken"), nil)
		wantProblem(t, s.Do(t, "POST", "/api/auth/mfa/disable", ada.token, fields{"backupCode": ada.codes[0]}), 409, "required")
	}, "MFA_REQUIRED=true")
}

func TestLoginThrottleOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		firstAdmin(t, s)
		for range 3 {
			s.Do(t, "POST", "/api/auth/login", "", fields{"email": "ada@example.com", "password": "wrong"}).Want(t, 401)
		}
		blocked := s.Do(t, "POST", "/api/auth/login", "", fields{"email": "ada@example.com", "password": adminPassword})
		wantProblem(t, blocked, 429, "too many")
		if got := blocked.Header.Get("Retry-After"); got != "60" {
			t.Errorf("Retry-After is %q", got)
		}
	}, "AUTH_LOGIN_MAX_ATTEMPTS=3", "AUTH_LOGIN_BLOCK_SECONDS=60")
}

func TestUsersOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada, kim := firstAdmin(t, s), s.SignIn(t, "kim", audit.Author)
		s.Do(t, "GET", "/api/admin/users", kim, nil).Want(t, 403)
		list := s.Do(t, "GET", "/api/admin/users?limit=1", ada, nil).Want(t, 200)
		wantNames(t, list.Body, "users", "pageInfo")
		users, _ := list.At("users").([]any)
		if len(users) != 1 || list.At("pageInfo.hasMore") != true {
			t.Fatal(list.Text)
		}
		wantUser(t, users[0], "ada@example.com", "ADMIN")
		rest := s.Do(t, "GET", "/api/admin/users?cursor="+text(t, list, "pageInfo.nextCursor"), ada, nil).Want(t, 200)
		users, _ = rest.At("users").([]any)
		if len(users) != 1 || rest.At("pageInfo.hasMore") != false {
			t.Fatal(rest.Text)
		}
		wantUser(t, users[0], "kim@example.org", "AUTHOR")
		at := "/api/admin/users/" + users[0].(map[string]any)["id"].(string)

		s.Do(t, "PATCH", at, kim, fields{"role": "ADMIN"}).Want(t, 403)
		s.Do(t, "PATCH", at, ada, fields{}).Want(t, 422)
		s.Do(t, "PATCH", at, ada, fields{"role": "ROOT"}).Want(t, 422)
		s.Do(t, "PATCH", at, ada, fields{"email": "x@example.com"}).Want(t, 422)
		s.Do(t, "PATCH", "/api/admin/users/x", ada, fields{"name": "X"}).Want(t, 404)
		changed := s.Do(t, "PATCH", at, ada, fields{"name": "Kim Lee", "role": "AUDITOR"}).Want(t, 200)
		wantUser(t, changed.At("user"), "kim@example.org", "AUDITOR")
		if me := s.Do(t, "GET", "/api/auth/me", kim, nil).Want(t, 200); me.At("user.role") != "AUDITOR" {
			t.Error(me.Text)
		}
		s.Do(t, "PATCH", at, ada, fields{"disabled": true}).Want(t, 200)
		s.Do(t, "GET", "/api/auth/me", kim, nil).Want(t, 401)
		me := text(t, s.Do(t, "GET", "/api/auth/me", ada, nil).Want(t, 200), "user.id")
		wantProblem(t, s.Do(t, "PATCH", "/api/admin/users/"+me, ada, fields{"disabled": true}), 409, "last enabled ADMIN")
		s.Do(t, "POST", at+"/mfa/reset", ada, fields{"reason": "lost phone"}).Want(t, 200)
		s.Do(t, "POST", at+"/mfa/reset", ada, fields{"reason": " "}).Want(t, 422)
	})
}
