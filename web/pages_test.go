package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web"
	"sealpost/web/webtest"
)

// visitor is a browser without a window: it keeps cookies, says where its forms come from, and follows
// no redirect.
type visitor struct {
	t       *testing.T
	s       *webtest.Server
	cookies map[string]string
}

func visit(t *testing.T, s *webtest.Server) *visitor {
	t.Helper()
	return &visitor{t: t, s: s, cookies: map[string]string{}}
}

func (v *visitor) do(method, path, body string, headers ...string) webtest.Answer {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.s.URL+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	a := v.s.Send(v.t, r)
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if v.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		}
	}
	return a
}

func (v *visitor) get(path string) webtest.Answer {
	v.t.Helper()
	return v.do("GET", path, "")
}

// post sends a form of one of our pages; fields come in pairs.
func (v *visitor) post(path string, pairs ...string) webtest.Answer {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return v.do("POST", path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

// wantTo fails the test where an answer does not lead to a place.
func wantTo(t *testing.T, a webtest.Answer, to string) {
	t.Helper()
	if a.Status != http.StatusSeeOther || a.Header.Get("Location") != to {
		t.Fatalf("status %d and Location %q, want 303 and %q: %s", a.Status, a.Header.Get("Location"), to, a.Text)
	}
}

// wantPage fails the test where an answer is no page of ours of a status, or does not say each of these.
func wantPage(t *testing.T, a webtest.Answer, status int, says ...string) {
	t.Helper()
	if a.Status != status || a.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("status %d and %s, want a page of %d: %s", a.Status, a.Header.Get("Content-Type"), status, a.Text)
	}
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	for name, want := range map[string]string{
		"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := a.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(a.Text, "<!doctype html>") || !strings.HasSuffix(a.Text, "</html>\n") {
		t.Errorf("the page is not whole: %s", a.Text)
	}
	for _, text := range says {
		if !strings.Contains(a.Text, text) {
			t.Errorf("the page does not say %q: %s", text, a.Text)
		}
	}
}

// hidden gives the value of a field of a page.
func hidden(t *testing.T, a webtest.Answer, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + regexp.QuoteMeta(name) + `" value="([^"]*)"`).FindStringSubmatch(a.Text)
	if m == nil {
		t.Fatalf("there is no field %s in %s", name, a.Text)
	}
	return m[1]
}

// pageServer starts a server on SQLite with people of each role, who sign in with a password alone.
func pageServer(t *testing.T, env ...string) *webtest.Server {
	t.Helper()
	return withPeople(t, webtest.Start(t, storetest.Open(t, storetest.SQLiteURL(t)), env...))
}

// eachPageServer is pageServer on each database.
func eachPageServer(t *testing.T, test func(*testing.T, *webtest.Server), env ...string) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		t.Helper()
		test(t, withPeople(t, webtest.Start(t, st, env...)))
	})
}

func withPeople(t *testing.T, s *webtest.Server) *webtest.Server {
	t.Helper()
	in, err := s.Accounts.RegisterFirst(t.Context(), audit.Principal{Kind: audit.Anonymous, IP: "127.0.0.1"},
		account.NewUser{Email: "ada@example.com", Name: "Ada", Password: adminPassword}, account.Bootstrap{})
	if err != nil {
		t.Fatal(err)
	}
	admin, err := s.Accounts.Authenticate(t.Context(), in.SignIn.Token, audit.Principal{})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []audit.Role{audit.Author, audit.Auditor} {
		_, err := s.Accounts.Register(t.Context(), admin,
			account.NewUser{Email: strings.ToLower(string(role)) + "@example.com", Name: "Kim", Password: chosenPassword, Role: string(role)})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// signIn signs somebody in through the page.
func signIn(t *testing.T, s *webtest.Server, role audit.Role) *visitor {
	t.Helper()
	v := visit(t, s)
	email, password := "ada@example.com", adminPassword
	if role != audit.Admin {
		email, password = strings.ToLower(string(role))+"@example.com", chosenPassword
	}
	wantTo(t, v.post("/login", "email", email, "password", password), "/jobs")
	return v
}

const someID = "01890a5d-ac96-774b-bcce-b302099a8057"

// address is a page's pattern as somebody asks for it.
func address(p web.Page) (method, path string) {
	method, path, _ = strings.Cut(p.Pattern, " ")
	path = strings.NewReplacer("{id}", someID, "{file...}", "app.css", "{$}", "").Replace(path)
	return method, path
}

// Nobody gets a page that is not public, and nothing is done, without the cookie.
func TestPagesNeedTheCookie(t *testing.T) {
	s := pageServer(t)
	token := s.SignIn(t, "ann", audit.Admin)
	pages := web.Pages(s.Web)
	if len(pages) < 20 {
		t.Fatalf("there are %d pages", len(pages))
	}
	for _, p := range pages {
		if p.Public {
			continue
		}
		method, path := address(p)
		t.Run(p.Pattern, func(t *testing.T) {
			for name, headers := range map[string][]string{
				"nothing":               {},
				"a token":               {"Authorization", "Bearer " + token},
				"another cookie":        {"Cookie", "sealpost=spp_" + strings.Repeat("A", 43)},
				"the cookie of refresh": {"Cookie", "sealpost_refresh=x"},
			} {
				v := visit(t, s)
				headers = append(headers, "Sec-Fetch-Site", "same-origin")
				body := ""
				if method == "POST" {
					headers, body = append(headers, "Content-Type", "application/x-www-form-urlencoded"), "reason=x"
				}
				a := v.do(method, path, body, headers...)
				want := "/login"
				if method == "GET" && path != "/" {
					want += "?to=" + url.QueryEscape(path)
				}
				wantTo(t, a, want)
				if len(v.cookies) != 0 {
					t.Errorf("%s: cookies are set: %v", name, v.cookies)
				}
			}
		})
	}
}

// A script that asks for a part of a page, or for the stream, is not led to the sign-in.
func TestPagesForScripts(t *testing.T) {
	s := pageServer(t)
	v := visit(t, s)
	a := v.do("GET", "/jobs?status=PENDING", "", "HX-Request", "true").Want(t, 401)
	if to := a.Header.Get("HX-Redirect"); to != "/login?to=%2Fjobs%3Fstatus%3DPENDING" || a.Text != "" {
		t.Errorf("HX-Redirect is %q, and the answer %q", to, a.Text)
	}
	wantProblem(t, v.do("GET", "/stream", "", "Accept", "text/event-stream"), 401, "sign in first")
}

// The cookie opens no route of the API.
func TestCookieIsNoToken(t *testing.T) {
	s := pageServer(t)
	v := signIn(t, s, audit.Admin)
	for _, path := range []string{"/api/auth/me", "/api/admin/dispatch/jobs", "/api/admin/events/stream", "/api/documents"} {
		wantProblem(t, v.do("GET", path, "", "Accept", "*/*"), 401, "sign in first")
	}
	wantProblem(t, v.do("POST", "/api/auth/logout", "", "Sec-Fetch-Site", "same-origin", "Accept", "*/*"), 401, "sign in first")
	wantProblem(t, v.do("GET", "/api/auth/me", "", "Authorization", "Bearer "+v.cookies["sealpost"], "Accept", "*/*"), 401, "not valid")
	v.get("/jobs").Want(t, 200)
}

// Whatever another site makes a browser send is refused, and so is what does not say where it is from.
func TestPagesRefuseOtherSites(t *testing.T) {
	s := pageServer(t)
	own := s.URL
	for _, p := range web.Pages(s.Web) {
		method, path := address(p)
		if method != "POST" {
			continue
		}
		t.Run(p.Pattern, func(t *testing.T) {
			for _, tt := range []struct {
				name, site, origin string
				refused            bool
			}{
				{"neither", "", "", true},
				{"another site", "cross-site", "https://evil.example", true},
				{"a neighbour", "same-site", "https://other.example.com", true},
				{"another site, in an old browser", "", "https://evil.example", true},
				{"a sandboxed page", "", "null", true},
				{"another port", "", "http://127.0.0.1:1", true},
				{"ours", "same-origin", own, false},
				{"ours, in an old browser", "", own, false},
				{"ours, without Origin", "same-origin", "", false},
			} {
				v := visit(t, s)
				a := v.do("POST", path, "reason=x", "Content-Type", "application/x-www-form-urlencoded",
					"Sec-Fetch-Site", tt.site, "Origin", tt.origin)
				if refused := a.Status == 403 && strings.Contains(a.Text, "not sent by a page of Sealpost"); refused != tt.refused {
					t.Errorf("%s: status %d: %s", tt.name, a.Status, a.Text)
				} else if refused {
					wantPage(t, a, 403, a.Header.Get("X-Request-Id"))
				}
			}
		})
	}
	list, err := s.Log.Events(t.Context(), audit.Filter{Action: "access.denied"}, store.Page{Limit: 10})
	if err != nil || len(list.Items) == 0 || list.Items[0].Details["reason"] != "cross-site" {
		t.Errorf("it is recorded as %+v, %v", list.Items, err)
	}
}

// PUBLIC_URL is ours too: a proxy may give the server another name.
func TestPagesTakeThePublicURL(t *testing.T) {
	s := pageServer(t, "PUBLIC_URL=https://pilot.example.org")
	v := visit(t, s)
	a := v.do("POST", "/login", "email=ada%40example.com&password="+url.QueryEscape(adminPassword),
		"Content-Type", "application/x-www-form-urlencoded", "Origin", "https://pilot.example.org")
	wantTo(t, a, "/jobs")
	if hsts := a.Header.Get("Strict-Transport-Security"); !strings.HasPrefix(hsts, "max-age=") {
		t.Errorf("HSTS is %q", hsts)
	}
}

func pageCookie(t *testing.T, a webtest.Answer) *http.Cookie {
	t.Helper()
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if strings.HasSuffix(c.Name, "sealpost") {
			return c
		}
	}
	t.Fatalf("no cookie is set: %v", a.Header["Set-Cookie"])
	return nil
}

func TestPageCookie(t *testing.T) {
	for _, tt := range []struct {
		name, publicURL, cookie string
		secure                  bool
	}{
		{"plain", "http://localhost:4000", "sealpost", false},
		{"behind TLS", "https://pilot.example.org", "__Host-sealpost", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := pageServer(t, "PUBLIC_URL="+tt.publicURL)
			v := visit(t, s)
			v.cookies[tt.cookie] = "spp_" + strings.Repeat("A", 43) // planted by somebody
			a := v.post("/login", "email", "ada@example.com", "password", adminPassword)
			wantTo(t, a, "/jobs")
			c := pageCookie(t, a)
			if c.Name != tt.cookie || c.Secure != tt.secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" ||
				c.Domain != "" || c.MaxAge != 0 || !c.Expires.IsZero() || !strings.HasPrefix(c.Value, "spp_") || len(c.Value) != 47 {
				t.Errorf("the cookie is %s", a.Header["Set-Cookie"])
			}
			if strings.Contains(a.Text, c.Value) {
				t.Error("the page shows its cookie")
			}
			wantPage(t, v.get("/jobs"), 200, "ada@example.com")

			first := c.Value
			wantTo(t, v.post("/login", "email", "ada@example.com", "password", adminPassword), "/jobs")
			if v.cookies[tt.cookie] == first {
				t.Error("the second sign-in has the first one's cookie")
			}
			old := visit(t, s)
			old.cookies[tt.cookie] = first
			wantTo(t, old.get("/jobs"), "/login?to=%2Fjobs") // it ended when its browser signed in again

			two := v.do("GET", "/jobs", "", "Cookie", tt.cookie+"="+v.cookies[tt.cookie]+"; "+tt.cookie+"=spp_"+strings.Repeat("B", 43))
			wantTo(t, two, "/login?to=%2Fjobs")

			out := v.post("/logout")
			wantTo(t, out, "/login?done=out")
			if c := pageCookie(t, out); c.MaxAge >= 0 || c.Value != "" || c.Name != tt.cookie || c.Secure != tt.secure {
				t.Errorf("signing out sets %s", out.Header["Set-Cookie"])
			}
			wantPage(t, v.get("/login?done=out"), 200, "You are signed out.")
		})
	}
}

// TestPageCookieOverOwnTLS is for a server that ends TLS itself, whatever it is known as.
func TestPageCookieOverOwnTLS(t *testing.T) {
	s := pageServer(t)
	own := httptest.NewTLSServer(s.Web.Handler())
	defer own.Close()
	client := own.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	form := url.Values{"email": {"ada@example.com"}, "password": {adminPassword}}
	r, err := http.NewRequestWithContext(t.Context(), "POST", own.URL+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", own.URL)
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	c := pageCookie(t, webtest.Answer{Header: response.Header})
	if response.StatusCode != 303 || c.Name != "__Host-sealpost" || !c.Secure || response.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("status %d, %v", response.StatusCode, response.Header)
	}
	client.CloseIdleConnections()
}

// Whatever ends the session ends the page, on the next request.
func TestPageEndsWithItsSession(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		for name, end := range map[string]func(v *visitor){
			"by everyone's": func(*visitor) {
				if err := s.Accounts.LogoutAll(t.Context(), audit.Itself("test"), account.Whose{Everyone: true}); err != nil {
					t.Fatal(err)
				}
			},
			"by the API": func(*visitor) {
				token := text(t, s.Do(t, "POST", "/api/auth/login", "", fields{"email": "ada@example.com", "password": adminPassword}).Want(t, 200), "token")
				s.Do(t, "POST", "/api/auth/logout-all", token, nil).Want(t, 204)
			},
		} {
			t.Run(name, func(t *testing.T) {
				v := signIn(t, s, audit.Admin)
				end(v)
				wantTo(t, v.get("/endpoints"), "/login?to=%2Fendpoints")
				wantTo(t, v.post("/logout"), "/login")
			})
		}
	})
}

func TestPagesByRole(t *testing.T) {
	s := pageServer(t)
	adminOnly := []string{
		"GET /jobs/{id}/payload", "GET /jobs/{id}/replay", "POST /jobs/{id}/replay", "GET /jobs/{id}/dead-letter",
		"POST /jobs/{id}/dead-letter", "POST /jobs/retry-due", "GET /endpoints/new", "GET /endpoints/{id}/delete", "POST /endpoints",
		"POST /endpoints/{id}", "POST /endpoints/{id}/pause", "POST /endpoints/{id}/resume", "POST /endpoints/{id}/rotate-secret",
		"POST /endpoints/{id}/delete", "POST /secrets", "POST /retention/plan", "POST /retention/apply", "POST /retention/holds",
		"POST /retention/holds/{id}/release", "POST /audit/{id}/redact", "GET /users", "GET /users/new", "GET /users/{id}", "POST /users", "POST /users/{id}",
		"POST /users/{id}/disable", "POST /users/{id}/enable", "POST /users/{id}/reset-mfa", "POST /users/{id}/reset-password",
		"POST /users/{id}/sign-out",
	}
	readers := []string{
		"GET /endpoints", "GET /endpoints/{id}", "GET /observability", "GET /runbook", "POST /runbook/check", "GET /audit", "GET /audit/{id}", "GET /secrets",
		"GET /retention",
	}
	for _, role := range []audit.Role{audit.Author, audit.Auditor} {
		v := signIn(t, s, role)
		for _, p := range web.Pages(s.Web) {
			method, path := address(p)
			if p.Public || path == "/stream" || path == "/logout" {
				continue
			}
			var a webtest.Answer
			if method == "POST" {
				a = v.post(path)
			} else {
				a = v.get(path)
			}
			forbidden := slices.Contains(adminOnly, p.Pattern) || role == audit.Author && slices.Contains(readers, p.Pattern)
			if forbidden != (a.Status == 403) {
				t.Errorf("%s at %s: status %d", role, p.Pattern, a.Status)
			} else if forbidden {
				wantPage(t, a, 403, "Your role does not allow this")
			}
		}
		home := v.get("/jobs")
		if sees := strings.Contains(home.Text, `href="/endpoints"`); sees != (role == audit.Auditor) {
			t.Errorf("%s has endpoints in the navigation: %v", role, sees)
		}
		if strings.Contains(home.Text, "/jobs/retry-due") {
			t.Errorf("%s is offered what the role does not allow", role)
		}
	}
	list, err := s.Log.Events(t.Context(), audit.Filter{Action: "access.denied", EntityID: "POST /endpoints"}, store.Page{Limit: 10})
	if err != nil || len(list.Items) != 2 || list.Items[0].Actor.Role != audit.Auditor {
		t.Errorf("it is recorded as %+v, %v", list.Items, err)
	}
}

func TestProblemPages(t *testing.T) {
	s := pageServer(t)
	stranger, admin := visit(t, s), signIn(t, s, audit.Admin)
	for _, tt := range []struct {
		v              *visitor
		method, path   string
		status         int
		says, saysNot  string
		headers        []string
		navigationHere bool
	}{
		{stranger, "GET", "/nothing", 404, "There is nothing at this address.", "Sign out", nil, false},
		{admin, "GET", "/nothing", 404, "There is nothing at this address.", "", nil, true},
		{admin, "GET", "/jobs/" + someID, 404, "There is no job " + someID, "", nil, true},
		{admin, "GET", "/jobs/%3Cscript%3E", 404, "&lt;script&gt;", "<script>", nil, true},
		{admin, "GET", "/endpoints/" + someID, 404, "There is no endpoint", "", nil, true},
		{admin, "GET", "/jobs?cursor=nonsense", 400, "none of a list of jobs", "", nil, true},
		{admin, "GET", "/endpoints?cursor=nonsense", 400, "none of a list of endpoints", "", nil, true},
		{admin, "GET", "/jobs?endpoint=" + strings.Repeat("a", 65), 400, "none of a list of jobs", "", nil, true},
		{stranger, "GET", "/static/app.css", 404, "There is nothing at this address.", "", nil, false},
		{stranger, "GET", "/static/../templates/layout.html", 404, "There is nothing at this address.", "", nil, false},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			a := tt.v.do(tt.method, tt.path, "", append(tt.headers, "X-Request-Id", "my-request.17")...)
			wantPage(t, a, tt.status, tt.says, `<code id="request-id">my-request.17</code>`)
			if tt.saysNot != "" && strings.Contains(strings.SplitN(a.Text, "<main", 2)[1], tt.saysNot) {
				t.Errorf("the page says %s", tt.saysNot)
			}
			if strings.Contains(a.Text, "Sign out") != tt.navigationHere {
				t.Error("the navigation is where it should not be, or the other way round")
			}
		})
	}
	// What programs ask for stays a problem document.
	wantProblem(t, s.Do(t, "GET", "/nothing", "", nil), 404, "nothing at this address")
	wantProblem(t, admin.do("GET", "/api/nothing", ""), 404, "nothing at this address")
	wantProblem(t, s.Do(t, "PUT", "/jobs", "", nil), 405, "does not take PUT")
}

// A page that breaks shows nothing of why.
func TestPageWithoutADatabase(t *testing.T) {
	st, err := store.Open(t.Context(), storetest.SQLiteURL(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := withPeople(t, webtest.Start(t, st))
	v := signIn(t, s, audit.Admin)
	s.StopDispatch()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	wantPage(t, v.get("/jobs"), 503, "The server is ending", "request-id")
}

func TestFormsAreReadStrictly(t *testing.T) {
	s := pageServer(t)
	const ours = "application/x-www-form-urlencoded"
	long := "email=a&password=" + strings.Repeat("x", 64<<10-len("email=a&password="))
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"JSON", "application/json", `{"email":"a"}`, 415},
		{"multipart", "multipart/form-data; boundary=x", "--x--", 415},
		{"no type", "", "email=a", 415},
		{"a field twice", ours, "email=a&email=b&password=c", 400},
		{"half an escape", ours, "email=%4", 400},
		{"no text", ours, "email=%ff&password=x", 400},
		{"a NUL", ours, "email=a%00&password=x", 400},
		{"as long as may be", ours, long, 401},
		{"longer", ours, long + "x", 413},
		{"with a charset", ours + "; charset=utf-8", "email=a&password=b", 401},
		{"without anything", ours, "", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := visit(t, s).do("POST", "/login", tt.body, "Content-Type", tt.contentType, "Sec-Fetch-Site", "same-origin")
			wantPage(t, a, tt.status)
		})
	}
}

func TestLocalPage(t *testing.T) {
	s := pageServer(t)
	for to, want := range map[string]string{
		"/jobs":                          "/jobs",
		"/jobs?status=PENDING&q=01890a":  "/jobs?status=PENDING&q=01890a",
		"/jobs/" + someID:                "/jobs/" + someID,
		"/endpoints/" + someID + "?x=1":  "/endpoints/" + someID + "?x=1",
		"":                               "/jobs",
		"/":                              "/",
		"jobs":                           "/jobs",
		"//evil.example/jobs":            "/jobs",
		"/\\evil.example":                "/jobs",
		"/\t/evil.example":               "/jobs",
		"https://evil.example/jobs":      "/jobs",
		"javascript:alert(1)":            "/jobs",
		"/login":                         "/jobs",
		"/logout":                        "/jobs",
		"/stream":                        "/jobs",
		"/nothing":                       "/jobs",
		"/api/auth/me":                   "/jobs",
		"/jobs\r\nSet-Cookie: a=b":       "/jobs",
		"/jobs/../../evil":               "/jobs",
		"/static/app.css":                "/jobs",
		"/endpoints#top":                 "/endpoints",
		"/endpoints?done=%0d%0aInjected": "/endpoints?done=%0d%0aInjected",
	} {
		if got := web.LocalPage(s.Web, to); got != want {
			t.Errorf("%q leads to %q, want %q", to, got, want)
		}
	}
	v := visit(t, s)
	page := v.get("/login?to=//evil.example")
	if got := hidden(t, page, "to"); got != "/jobs" {
		t.Errorf("the form leads to %q", got)
	}
	wantTo(t, v.post("/login", "email", "ada@example.com", "password", adminPassword, "to", "https://evil.example/"), "/jobs")
	wantTo(t, v.get("/login?to=%2Fendpoints"), "/endpoints") // who is signed in has nothing to do there
	wantTo(t, v.get("/"), "/jobs")
	wantPage(t, v.get("/jobs?done=anything+that+somebody+wrote"), 200)
	if a := v.get("/jobs?done=anything+that+somebody+wrote"); strings.Contains(a.Text, "anything") && strings.Contains(a.Text, `class="done"`) {
		t.Error("an address puts words into a page's mouth")
	}
}

func TestHowPagesWrite(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "<1 ms", 999 * time.Microsecond: "<1 ms", time.Millisecond: "1 ms", 999 * time.Millisecond: "999 ms", 1500 * time.Millisecond: "1.5 s",
	} {
		if got := web.Took(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 1: "1024.0 KiB", 8 << 20: "8.0 MiB"} {
		if got := web.ByteSize(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		time.Second: "a minute", time.Minute: "a minute", 61 * time.Second: "2 minutes", 15 * time.Minute: "15 minutes",
	} {
		if got := web.InWords(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
	for _, tt := range []struct {
		in, want     string
		isText, more bool
	}{
		{"", "", true, false},
		{"grüße", "grüße", true, false},
		{"123456789", "12345678", true, true},
		{"1234567ü", "1234567", true, true},
		{"123456üx", "123456ü", true, true},
		{"a\x00b", "61 00 62\n", false, false},
		{"\xff\xfe", "ff fe\n", false, false},
	} {
		if got, isText, more := web.AsText([]byte(tt.in), 8); got != tt.want || isText != tt.isText || more != tt.more {
			t.Errorf("%q is written %q, %v, %v", tt.in, got, isText, more)
		}
	}
}
