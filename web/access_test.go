package web_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web"
	"sealpost/web/webtest"
)

func TestWhoMay(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "bob", audit.Author)
		for _, tt := range []struct {
			name, method, path, token string
			status                    int
			message                   string
		}{
			{"everybody", "GET", "/livez", "", 200, ""},
			{"everybody, with a bad token", "GET", "/livez", "nonsense", 200, ""},
			{"nobody", "GET", "/test/me", "", 401, "sign in first"},
			{"a bad token", "GET", "/test/me", "nonsense", 401, "not valid"},
			{"signed in", "GET", "/test/me", author, 200, ""},
			{"nobody for an admin's", "POST", "/test/admin", "", 401, "sign in first"},
			{"another role", "POST", "/test/admin", author, 403, "your role"},
			{"the role", "POST", "/test/admin", admin, 204, ""},
			{"who comes before what", "POST", "/test/admin?x=1", author, 403, "your role"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				var body any
				if tt.method == "POST" {
					body = `{"name":"x"}`
				}
				a := s.Do(t, tt.method, tt.path, tt.token, body)
				if tt.status < 400 {
					a.Want(t, tt.status)
					return
				}
				wantProblem(t, a, tt.status, tt.message)
			})
		}
	})
}

func TestAuthorizationHeaders(t *testing.T) {
	s := start(t)
	token := s.SignIn(t, "ann", audit.Admin)
	for _, tt := range []struct {
		headers []string
		status  int
	}{
		{[]string{"Bearer " + token}, 200},
		{[]string{"bearer " + token}, 200},
		{[]string{"Bearer   " + token}, 200},
		{[]string{token}, 401},
		{[]string{"Basic " + token}, 401},
		{[]string{"Bearer"}, 401},
		{[]string{"Bearer "}, 401},
		{[]string{""}, 401},
		{[]string{"Bearer " + token + "x"}, 401},
		{[]string{"Bearer " + token, "Bearer " + token}, 401},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/test/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Authorization"] = tt.headers
		if a := s.Send(t, r); a.Status != tt.status {
			t.Errorf("%.20q: status %d, want %d", tt.headers, a.Status, tt.status)
		} else if tt.status == 401 {
			wantProblem(t, a, 401, "")
		}
	}
}

func TestPrincipal(t *testing.T) {
	s := start(t)
	a := s.Do(t, "GET", "/test/me", s.SignIn(t, "bob", audit.Author), nil).Want(t, 200)
	if a.Body["role"] != "AUTHOR" || a.Body["ip"] != "127.0.0.1" || !store.ValidID(a.Body["userId"].(string)) {
		t.Errorf("the principal is %s", a.Text)
	}
}

func TestForbiddenIsRecorded(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin := s.SignIn(t, "ann", audit.Admin)
		refused := s.Do(t, "POST", "/test/admin", s.SignIn(t, "bob", audit.Author), `{"name":"x"}`).Want(t, 403)
		events := s.Do(t, "GET", "/api/admin/audit/events?action=access.denied", admin, nil).Want(t, 200).Body["events"].([]any)
		if len(events) != 1 {
			t.Fatalf("%d events", len(events))
		}
		e := events[0].(map[string]any)
		if e["entity"] != "Route" || e["entityId"] != "POST /test/admin" || e["outcome"] != "DENIED" ||
			e["requestId"] != refused.Header.Get("X-Request-Id") || e["actor"].(map[string]any)["role"] != "AUTHOR" {
			t.Errorf("the event is %v", e)
		}
	})
}

// TestRefusedBeforeTheBody sends only headers: whoever may not is told so without a byte of the body.
func TestRefusedBeforeTheBody(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // done
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, "POST /test/admin HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // done
	if response.StatusCode != 401 {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestRouteWithoutAnAccessRuleIsNotMade(t *testing.T) {
	s := start(t)
	for name, add := range map[string]func(){
		"by route": func() { web.AddRouteWithoutAccess(s.Web) },
		"by huma": func() {
			huma.Get(web.API(s.Web), "/test/open/too", func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if v := recover(); v == nil || !strings.Contains(v.(string), "has no access rule") {
					t.Errorf("it panicked with %v", v)
				}
			}()
			add()
		})
	}
	s.Do(t, "GET", "/test/open", "", nil).Want(t, 404)
}
