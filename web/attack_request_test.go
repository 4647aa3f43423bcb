package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/web/webtest"
)

// A role that was not asked for: by fields more, fields twice, in other spellings, by the query.
func TestAttackRoleByJSON(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada, kim := firstAdmin(t, s), s.SignIn(t, "kim", audit.Author)
		id := text(t, s.Do(t, "GET", "/api/auth/me", kim, nil).Want(t, 200), "user.id")
		account := `"email":"x@example.com","name":"X","password":"` + givenPassword + `","role":"AUTHOR"`
		for name, body := range map[string]string{
			"twice": `{` + account + `,"role":"ADMIN"}`, "in capitals": `{` + account + `,"Role":"ADMIN"}`,
			"a field more": `{` + account + `,"isAdmin":true}`, "nested": `{` + account + `,"user":{"role":"ADMIN"}}`,
			"by escapes": `{` + account + `,"r\u006fle":"ADMIN"}`, "__proto__": `{` + account + `,"__proto__":{"role":"ADMIN"}}`,
			"a list": `{"email":"x@example.com","name":"X","password":"` + givenPassword + `","role":["ADMIN"]}`,
		} {
			if a := s.Do(t, "POST", "/api/auth/register", ada, body); a.Status != 400 && a.Status != 422 {
				t.Errorf("register, %s: %d %s", name, a.Status, a.Text)
			}
		}
		for name, body := range map[string]string{
			"twice": `{"name":"K","role":"AUTHOR","role":"ADMIN"}`, "in capitals": `{"name":"K","ROLE":"ADMIN"}`, "as a number": `{"role":1}`,
		} {
			if a := s.Do(t, "PATCH", "/api/admin/users/"+id, ada, body); a.Status != 400 && a.Status != 422 {
				t.Errorf("change, %s: %d %s", name, a.Status, a.Text)
			}
		}
		s.Do(t, "POST", "/api/auth/register?role=ADMIN", ada, `{`+account+`}`).Want(t, 422)
		s.Do(t, "POST", "/api/auth/login", "", `{"email":"kim@example.org","password":"x","role":"ADMIN"}`).Want(t, 422)
		s.Do(t, "PATCH", "/api/admin/users/"+id, kim, fields{"role": "ADMIN"}).Want(t, 403)
		if me := s.Do(t, "GET", "/api/auth/me", kim, nil).Want(t, 200); me.At("user.role") != "AUTHOR" {
			t.Error(me.Text)
		}
	})
}

// Spellings that look alike are one account with one counter.
func TestAttackEmailVariants(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := firstAdmin(t, s)
		variants := []string{"ADA@example.com", " ada@example.com ", "\uff41da@example.com", "ada@EXAMPLE.COM", "a\u0064a@example.com", "ada@\uff45xample.com"}
		for _, email := range variants {
			a := s.Do(t, "POST", "/api/auth/register", ada, fields{"email": email, "name": "Eve", "password": givenPassword, "role": "AUTHOR"})
			if a.Status != 409 {
				t.Errorf("%q can be registered beside it: %d %s", email, a.Status, a.Text)
			}
		}
		for i := range 8 {
			s.Do(t, "POST", "/api/auth/login", "", fields{"email": variants[i%len(variants)], "password": "wrong"}).Want(t, 401)
		}
		for _, email := range append(variants, "ada@example.com") {
			s.Do(t, "POST", "/api/auth/login", "", fields{"email": email, "password": adminPassword}).Want(t, 429)
		}
	})
}

// Somebody floods a victim's sign-in. Its owner comes in from a browser that has signed in before, by the
// API and by the page; nobody else's browser does.
func TestAttackFloodOnAVictim(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		first := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
		device := "sealpost_device=" + setCookie(t, first, "sealpost_device")
		for _, c := range (&http.Response{Header: first.Header}).Cookies() {
			if c.Name == "sealpost_device" && (!c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "") {
				t.Errorf("the cookie is %s", c)
			}
		}
		for range 20 {
			login(t, s, fields{"password": "wrong"})
		}
		blocked := login(t, s, nil).Want(t, 429)
		if blocked.Header.Get("Retry-After") == "" {
			t.Error("it does not say when to come again")
		}
		login(t, s, nil, "Cookie", "sealpost_device=spd_"+strings.Repeat("A", 86)).Want(t, 429)
		login(t, s, nil, "Cookie", device+"; "+device).Want(t, 429) // of two, one was planted
		in := login(t, s, nil, "Cookie", device).Want(t, 200)
		next := "sealpost_device=" + setCookie(t, in, "sealpost_device")
		v := visit(t, s)
		form := url.Values{"email": {"ada@example.com"}, "password": {adminPassword}}.Encode()
		page := v.do("POST", "/login", form, "Cookie", next, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
		if page.Status != 303 {
			t.Errorf("by the page: %d %.200s", page.Status, page.Text)
		}
		login(t, s, fields{"email": "kim@example.com"}, "Cookie", next).Want(t, 401) // an address that is not the cookie's
		s.Log.Close(t.Context())
		if got := actions(t, s, audit.Filter{Action: "auth.login.failed"}); len(got) > 8 {
			t.Errorf("the flood made %d events", len(got))
		}
	})
}

// Requests that claim to come from elsewhere, or to have been made to another host.
func TestAttackForwardedAndHost(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := firstAdmin(t, s)
		for i := range 9 { // each from "another address"
			a := login(t, s, fields{"email": "x@example.com", "password": "wrong"}, "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i), "X-Real-Ip", "198.51.100.1")
			if want := map[bool]int{true: 429, false: 401}[i == 8]; a.Status != want {
				t.Errorf("attempt %d: %d", i, a.Status)
			}
		}
		list := s.Do(t, "GET", "/api/auth/sessions", ada, nil, "X-Forwarded-For", "198.51.100.9").Want(t, 200)
		if strings.Contains(list.Text, "198.51.100") {
			t.Errorf("a forwarded address is believed: %s", list.Text)
		}
		for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Forwarded-Host", "Via"} { // through a proxy nobody is loopback
			s.Do(t, "GET", "/metrics", "", nil, name, "127.0.0.1").Want(t, 401)
		}
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/api/auth/login",
			strings.NewReader(`{"email":"ada@example.com","password":"`+adminPassword+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Forwarded-Host", "evil.example")
		a := s.Send(t, r).Want(t, 200)
		if strings.Contains(a.Text, "evil.example") || strings.Contains(fmt.Sprint(a.Header), "evil.example") {
			t.Errorf("the Host is in the answer: %s %v", a.Text, a.Header)
		}
		s.Do(t, "GET", "/api/auth/me", text(t, a, "token"), nil).Want(t, 200) // of the issuer that it is, whatever the Host
		r, err = http.NewRequestWithContext(t.Context(), "GET", s.URL+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example" // DNS rebinding: loopback's address under another name
		s.Send(t, r).Want(t, 401)
	})
}

// Behind a trusted proxy, the network is the one that the proxy names last; what its client wrote before that
// is not believed. An IPv6 network is a /64.
func TestAttackBehindATrustedProxy(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		firstAdmin(t, s)
		attempt := func(i int, forwarded string) int {
			return login(t, s, fields{"email": fmt.Sprintf("n%d@example.com", i), "password": "wrong"}, "X-Forwarded-For", forwarded).Status
		}
		for i := range 11 {
			got := attempt(i, fmt.Sprintf("198.51.100.%d, 2001:db8::%d", i, i))
			if want := map[bool]int{true: 429, false: 401}[i == 10]; got != want {
				t.Errorf("attempt %d of one /64: %d", i, got)
			}
		}
		if got := attempt(20, "2001:db8::1, 2001:db8:0:1::1"); got != 401 {
			t.Errorf("from another /64: %d", got)
		}
		if got := login(t, s, nil, "X-Forwarded-For", "203.0.113.9").Want(t, 200); got.At("token") == nil {
			t.Error(got.Text)
		}
	}, "TRUSTED_PROXIES=127.0.0.1/32,::1/128", "AUTH_LOGIN_MAX_ATTEMPTS=1")
}

// Cookies that another site makes a browser send, and cookies that somebody has set before.
func TestAttackCrossSiteAndPresetCookies(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		first := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
		refresh := setCookie(t, first, "sealpost_refresh")
		v := visit(t, s)
		v.cookies["sealpost"] = "spp_" + strings.Repeat("A", 43) // preset
		if a := v.post("/login", "email", "ada@example.com", "password", adminPassword); a.Status != 303 {
			t.Fatalf("%d %.200s", a.Status, a.Text)
		}
		page := v.cookies["sealpost"]
		if page == "spp_"+strings.Repeat("A", 43) || page == "" {
			t.Errorf("the sign-in took over a cookie that was there before: %q", page)
		}
		for _, site := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
		} {
			s.Do(t, "POST", "/api/auth/refresh", "", nil, append([]string{"Cookie", "sealpost_refresh=" + refresh}, site...)...).Want(t, 403)
			for _, path := range []string{"/logout", "/endpoints", "/reauth"} {
				a := s.Do(t, "POST", path, "", "x=1", append([]string{"Cookie", "sealpost=" + page, "Accept", "text/html"}, site...)...)
				if a.Status != 403 && a.Status != 415 && a.Status != 404 {
					t.Errorf("%s by %v: %d", path, site, a.Status)
				}
			}
		}
		for _, path := range []string{"/api/auth/logout-all", "/api/auth/logout", "/api/auth/mfa/setup"} { // no cookie opens the API
			s.Do(t, "POST", path, "", nil, "Cookie", "sealpost="+page+"; sealpost_refresh="+refresh).Want(t, 401)
		}
		if a := v.get("/endpoints"); a.Status != 200 {
			t.Errorf("the session did not survive the attacks: %d", a.Status)
		}
		s.Do(t, "POST", "/api/auth/refresh", "", nil, "Cookie", "sealpost_refresh="+refresh).Want(t, 200)
	})
}

// Bodies of 10 MB, a depth of 10,000, passwords of 10,000 characters.
func TestAttackLargeBodies(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := firstAdmin(t, s)
		for _, path := range []string{"login", "register-first", "refresh", "mfa/enroll/start", "mfa/enroll/complete"} {
			s.Do(t, "POST", "/api/auth/"+path, "", `{"email":"`+strings.Repeat("a", 10<<20)+`"}`).Want(t, 413)
			deep := strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)
			s.Do(t, "POST", "/api/auth/"+path, "", deep).Want(t, 400)
			s.Do(t, "POST", "/api/auth/"+path, "", strings.Repeat("[", 10_000)).Want(t, 400)
		}
		long := strings.Repeat("aA1!", 2500)
		login(t, s, fields{"password": long}).Want(t, 401)
		weak := s.Do(t, "POST", "/api/auth/register", ada, fields{"email": "x@example.com", "name": "X", "password": long, "role": "AUTHOR"})
		wantProblem(t, weak, 422, "policy")
		if !strings.Contains(weak.Text, "TOO_LONG") {
			t.Error(weak.Text)
		}
		for name, password := range map[string]string{"NUL": `vK8#qLw2!nPz\u0000`, "a lone surrogate": `vK8#qLw2!nPz\ud800`, "the other half": `vK8#qLw2!nPz\udc00`} {
			a := s.Do(t, "POST", "/api/auth/register", ada, `{"email":"x@example.com","name":"X","password":"`+password+`","role":"AUTHOR"}`)
			if a.Status != 400 && a.Status != 422 {
				t.Errorf("%s: %d %s", name, a.Status, a.Text)
			}
		}
		login(t, s, nil).Want(t, 200)
	})
}

// Two passwords that are equal in their first 72 bytes are two passwords.
func TestAttackTruncatedPassword(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		long := "Otter-Quilt-91-Lantern-Gravel-Meadow-Copper-Violin-Harbor-Thistle-Anchor-" // 74 bytes
		s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": long + "walnut"}).Want(t, 201)
		login(t, s, fields{"password": long + "marble"}).Want(t, 401)
		login(t, s, fields{"password": long}).Want(t, 401)
		login(t, s, fields{"password": long[:72]}).Want(t, 401)
		login(t, s, fields{"password": long + "walnut"}).Want(t, 200)
	})
}

// Known, unknown, disabled and blocked accounts are told apart by nothing in the answer.
func TestAttackEnumeration(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := firstAdmin(t, s)
		made := s.Do(t, "POST", "/api/auth/register", ada, fields{"email": "kim@example.com", "name": "Kim", "password": givenPassword, "role": "AUTHOR"}).Want(t, 201)
		s.Do(t, "PATCH", "/api/admin/users/"+text(t, made, "user.id"), ada, fields{"disabled": true}).Want(t, 200)
		s.SignIn(t, "lee", audit.Author) // has no password
		shapes := map[string][]string{}
		for _, who := range []fields{
			{"email": "ada@example.com", "password": "wrong"},
			{"email": "ada@example.com", "password": givenPassword},
			{"email": "ada@example.com", "password": "wrong", "mfaCode": "123456"},
			{"email": "kim@example.com", "password": givenPassword},
			{"email": "kim@example.com", "password": "wrong"},
			{"email": "lee@example.org", "password": "wrong"},
			{"email": "nobody@example.com", "password": "wrong"},
			{"email": "nobody@example.com", "password": "wrong", "backupCode": "000000-000000-000000-000000"},
			{"email": "no address", "password": "wrong"},
		} {
			a := s.Do(t, "POST", "/api/auth/login", "", who, "X-Request-Id", "same").Want(t, 401)
			a.Header.Del("Date")
			shape := fmt.Sprint(a.Text, a.Header)
			shapes[shape] = append(shapes[shape], fmt.Sprint(who["email"]))
		}
		if len(shapes) != 1 {
			t.Errorf("the answers differ: %v", shapes)
		}
		blocked := map[string][]string{}
		for _, email := range []string{"ada@example.com", "kim@example.com", "nobody@example.com"} {
			for range 9 {
				s.Do(t, "POST", "/api/auth/login", "", fields{"email": email, "password": "wrong"})
			}
			execute(t, s, `update throttle set blocked_until = 4102444800000000 where blocked_until is not null`)
			a := s.Do(t, "POST", "/api/auth/login", "", fields{"email": email, "password": "wrong"}, "X-Request-Id", "same").Want(t, 429)
			a.Header.Del("Date")
			a.Header.Del("Retry-After") // seconds to a moment
			shape := fmt.Sprint(a.Text, a.Header)
			blocked[shape] = append(blocked[shape], email)
		}
		if len(blocked) != 1 {
			t.Errorf("the answers of blocked accounts differ: %v", blocked)
		}
	})
}
