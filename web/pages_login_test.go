package web_test

import (
	"bytes"
	"encoding/base64"
	"html"
	"image/png"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

// withMFA starts a server on each database whose first account has yet to enroll.
func withMFA(t *testing.T, test func(*testing.T, *webtest.Server)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		t.Helper()
		s := webtest.Start(t, st, "MFA_REQUIRED=true")
		_, err := s.Accounts.RegisterFirst(t.Context(), audit.Principal{Kind: audit.Anonymous, IP: "127.0.0.1"},
			account.NewUser{Email: "ada@example.com", Name: "Ada", Password: adminPassword}, account.Bootstrap{})
		if err != nil {
			t.Fatal(err)
		}
		test(t, s)
	})
}

// shownSecret gives the secret of an enrollment's page, and holds its picture.
func shownSecret(t *testing.T, a webtest.Answer) string {
	t.Helper()
	m := regexp.MustCompile(`<img class="qr" src="data:image/png;base64,([^"]+)"`).FindStringSubmatch(a.Text)
	if m == nil {
		t.Fatalf("there is no picture in %s", a.Text)
	}
	raw, err := base64.StdEncoding.DecodeString(html.UnescapeString(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(raw)); err != nil {
		t.Errorf("the picture: %v", err)
	}
	secret := regexp.MustCompile(`class="secret" value="([A-Z2-7]{32})" readonly`).FindStringSubmatch(a.Text)
	if secret == nil {
		t.Fatalf("there is no secret in %s", a.Text)
	}
	return secret[1]
}

// codesShown gives the backup codes of a page.
func codesShown(a webtest.Answer) (codes []string) {
	for _, m := range regexp.MustCompile(`<li><code>([^<]+)</code></li>`).FindAllStringSubmatch(a.Text, -1) {
		codes = append(codes, m[1])
	}
	return codes
}

func TestEnrollmentPages(t *testing.T) {
	withMFA(t, func(t *testing.T, s *webtest.Server) {
		v := visit(t, s)
		first := v.post("/login", "email", "ada@example.com", "password", adminPassword, "to", "/endpoints")
		wantPage(t, first, 200, "Enroll a second factor", `autocomplete="one-time-code"`)
		if len(v.cookies) != 0 {
			t.Fatalf("a password alone gives the cookies %v", v.cookies)
		}
		token, secret := hidden(t, first, "token"), shownSecret(t, first)
		if strings.Contains(first.Text, "newPassword") {
			t.Error("a password that its user has chosen is to be replaced")
		}

		wrong := v.post("/enroll", "token", token, "code", "000000")
		wantPage(t, wrong, 401, "The code is wrong", `aria-invalid="true" aria-describedby="code-error"`)
		if strings.Contains(wrong.Text, secret) || strings.Contains(wrong.Text, "data:image") {
			t.Error("a secret is shown twice")
		}
		again := v.post("/enroll/start", "token", hidden(t, wrong, "token"))
		wantPage(t, again, 200)
		if newer := shownSecret(t, again); newer == secret {
			t.Error("the second secret is the first")
		} else {
			wantPage(t, v.post("/enroll", "token", token, "code", totpCode(t, secret, 0)), 401, "The code is wrong")
			secret = newer
		}

		done := v.post("/enroll", "token", token, "code", totpCode(t, secret, 0))
		wantPage(t, done, 200, "Your backup codes", "Sign out")
		codes := codesShown(done)
		if len(codes) != 8 || pageCookie(t, done).Value == "" {
			t.Fatalf("%d codes, and %v", len(codes), done.Header["Set-Cookie"])
		}
		wantPage(t, v.get("/endpoints"), 200)
		wantPage(t, v.post("/enroll", "token", token, "code", totpCode(t, secret, 1)), 401, "sign in again for a new one")

		// From now on in two steps.
		v = visit(t, s)
		step := v.post("/login", "email", "ada@example.com", "password", adminPassword, "to", "/endpoints?cursor=")
		wantPage(t, step, 200, "Second factor", "Use a backup code instead")
		ticket := hidden(t, step, "ticket")
		miss := v.post("/login/code", "ticket", ticket, "code", totpCode(t, secret, 0), "to", hidden(t, step, "to")) // used at enrollment
		wantPage(t, miss, 401, "has been used already")
		if got := hidden(t, miss, "ticket"); got != ticket {
			t.Errorf("the ticket is %q, then %q", ticket, got)
		}
		wantPage(t, v.post("/login/code", "ticket", ticket), 401, "is needed too")
		wantPage(t, v.post("/login/code", "ticket", ticket, "code", "1", "backupCode", "2"), 422, "not both")
		if len(v.cookies) != 0 {
			t.Fatalf("without a factor there are the cookies %v", v.cookies)
		}
		in := v.post("/login/code", "ticket", ticket, "code", totpCode(t, secret, 1), "to", hidden(t, miss, "to"))
		wantTo(t, in, "/endpoints?cursor=")
		wantTo(t, visit(t, s).post("/login/code", "ticket", ticket, "backupCode", codes[7]), "/jobs")

		gone := visit(t, s).post("/login/code", "ticket", ticket+"A", "code", "123456")
		wantPage(t, gone, 401, "This sign-in has taken too long: begin again", `action="/login"`)

		for action, n := range map[string]int{"auth.mfa.enrolled": 1, "auth.login.succeeded": 3} {
			list, err := s.Log.Events(t.Context(), audit.Filter{Action: action}, store.Page{Limit: 10})
			if err != nil || len(list.Items) != n {
				t.Errorf("%d events %s, %v", len(list.Items), action, err)
			}
		}
	})
}

func TestEnrollmentAsksForANewPassword(t *testing.T) {
	withMFA(t, func(t *testing.T, s *webtest.Server) {
		v := visit(t, s)
		first := v.post("/login", "email", "ada@example.com", "password", adminPassword)
		v.post("/enroll", "token", hidden(t, first, "token"), "code", totpCode(t, shownSecret(t, first), 0)).Want(t, 200)
		admin, err := s.Accounts.AuthenticatePage(t.Context(), v.cookies["sealpost"], audit.Principal{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Accounts.Register(t.Context(), admin,
			account.NewUser{Email: "kim@example.com", Name: "Kim", Password: givenPassword, Role: "AUTHOR"})
		if err != nil {
			t.Fatal(err)
		}

		kim := visit(t, s)
		first = kim.post("/login", "email", "kim@example.com", "password", givenPassword)
		wantPage(t, first, 200, `autocomplete="new-password"`, "At least 12 characters")
		token, secret := hidden(t, first, "token"), shownSecret(t, first)
		code := totpCode(t, secret, 0)
		wantPage(t, kim.post("/enroll", "token", token, "code", code), 422, "choose a new one", `value="`+code+`"`)
		weak := kim.post("/enroll", "token", token, "code", code, "newPassword", "Password1!")
		wantPage(t, weak, 422, "use at least 12 characters", "harder to guess", "does not meet the policy")
		if strings.Contains(weak.Text, "Password1!") {
			t.Error("the page shows a password")
		}
		same := kim.post("/enroll", "token", token, "code", code, "newPassword", givenPassword)
		wantPage(t, same, 422, "choose another one than the ADMIN has set")
		wantPage(t, kim.post("/enroll", "token", token, "code", code, "newPassword", chosenPassword), 200, "Your backup codes")
		wantPage(t, kim.get("/jobs"), 200, "kim@example.com", "AUTHOR")
	})
}

func TestLoginPage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := visit(t, s)
		wantPage(t, v.get("/login"), 200, `autocomplete="username"`, `autocomplete="current-password"`)
		if a := v.get("/login"); strings.Count(a.Text, "<script") != 1 || strings.Contains(a.Text, "register-first") { // that of passkeys
			t.Errorf("the sign-in has what it does not need: %s", a.Text)
		}
		var page webtest.Answer
		for range 8 {
			page = v.post("/login", "email", `"><script>x@example.com`, "password", "Wrong-"+adminPassword, "to", "/endpoints")
		}
		wantPage(t, page, 401, "The e-mail or the password is wrong", `value="&#34;&gt;&lt;script&gt;x@example.com"`)
		if hidden(t, page, "to") != "/endpoints" || strings.Contains(page.Text, adminPassword) {
			t.Error("the page has lost where to go, or shows a password")
		}
		page = v.post("/login", "email", `"><script>x@example.com`, "password", "x")
		wantPage(t, page, 429, "Too many attempts. Try again in 15 minutes.")
		if page.Header.Get("Retry-After") != "900" || page.Header.Get("Www-Authenticate") != "" {
			t.Errorf("the headers are %v", page.Header)
		}
	})
}

// A sign-in page says when there is nobody yet, and when a password could be read on its way.
func TestLoginPageSaysWhatIsWrong(t *testing.T) {
	s := webtest.Start(t, storetest.Open(t, storetest.SQLiteURL(t)))
	v := visit(t, s)
	wantPage(t, v.get("/login"), 200, "There is no account yet", `href="/first"`)
	if strings.Contains(v.get("/login").Text, "not encrypted") {
		t.Error("a page on this machine warns")
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/login", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "pilot.example.org"
	wantPage(t, s.Send(t, r), 200, "This connection is not encrypted")
	withPeople(t, s)
	if strings.Contains(v.get("/login").Text, "There is no account yet") {
		t.Error("the page says that there is nobody")
	}
}
