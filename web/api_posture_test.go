package web_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web"
	"sealpost/web/webtest"
)

func TestPosture(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st)
		admin, auditor, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "olga", audit.Auditor), s.SignIn(t, "bob", audit.Author)
		for _, token := range []string{admin, auditor} {
			controls := controlsOf(t, s.Do(t, "GET", "/api/admin/security/posture", token, nil).Want(t, 200))
			if len(controls) != 30 {
				t.Fatalf("%d controls", len(controls))
			}
			wantNames(t, controls["RB-1.2"], "id", "clause", "title", "status", "expected", "observed", "checkedAt", "evidence")
			if c := controls["RB-1.3"]; c["status"] != "FAIL" || c["observed"] != "NODE_ENV=test" || c["clause"] != "Production must set: NODE_ENV=production" {
				t.Errorf("RB-1.3 is %v", c)
			}
			if c := controls["RB-2.4"]; c["status"] != "PASS" {
				t.Errorf("RB-2.4 is %v", c)
			}
			if c := controls["RB-1.6"]; c["status"] != "FAIL" || c["observed"] != "not yet checked" {
				t.Errorf("RB-1.6 is %v", c)
			}
		}
		if n := len(actions(t, s, audit.Filter{Action: "security.posture.checked"})); n != 0 {
			t.Errorf("looking is recorded %d times", n)
		}

		run := "/api/admin/security/posture/run"
		if n := len(controlsOf(t, s.Do(t, "POST", run, admin, nil).Want(t, 200))); n != 30 {
			t.Errorf("%d controls were checked", n)
		}
		some := controlsOf(t, s.Do(t, "POST", run, auditor, fields{"only": []string{"RB-2.1", "RB-5.2"}}, "X-Request-Id", "run-1").Want(t, 200))
		if len(some) != 2 || some["RB-5.2"]["status"] == "FAIL" {
			t.Errorf("some are %v", some)
		}
		events, err := s.Log.Events(t.Context(), audit.Filter{Action: "security.posture.checked", RequestID: "run-1"}, store.Page{Limit: 2})
		if err != nil || len(events.Items) != 1 || events.Items[0].Actor.Role != audit.Auditor || events.Items[0].Details["checked"] != 2.0 {
			t.Errorf("it is recorded as %+v, %v", events, err)
		}
		wantProblem(t, s.Do(t, "POST", run, admin, fields{"only": []string{"RB-9.9"}}), 422, "there is no control RB-9.9")
		wantProblem(t, s.Do(t, "POST", run, admin, fields{"only": make([]string, 101)}), 422, "")
		wantProblem(t, s.Do(t, "POST", run, admin, fields{"onlyy": []string{}}), 422, "")
		for _, token := range []string{author, ""} {
			status := 403
			if token == "" {
				status = 401
			}
			wantProblem(t, s.Do(t, "GET", "/api/admin/security/posture", token, nil), status, "")
			wantProblem(t, s.Do(t, "POST", run, token, nil), status, "")
		}
	})
}

func controlsOf(t *testing.T, a webtest.Answer) map[string]map[string]any {
	t.Helper()
	list, _ := a.Body["controls"].([]any)
	controls := map[string]map[string]any{}
	for _, item := range list {
		c := item.(map[string]any)
		controls[c["id"].(string)] = c
	}
	if len(list) == 0 || len(controls) != len(list) {
		t.Fatalf("the controls are %s", a.Text)
	}
	return controls
}

// The operator's socket opens the routes that name it, and no other.
func TestOperatorsSocket(t *testing.T) {
	s := start(t)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := web.OperatorServer(s.Web.Handler())
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		served.Wait()
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
	}}}
	for _, tt := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/livez", "", 200},
		{"GET", "/api/admin/security/posture", "", 200},
		{"POST", "/api/admin/security/posture/run", "", 200},
		{"POST", "/api/admin/security/posture/run", "not a token", 200}, // the socket is enough
		{"GET", "/api/admin/audit/events", "", 401},
		{"GET", "/api/admin/users", "", 200},
		{"PATCH", "/api/admin/users/" + noID, "", 401},
		{"POST", "/api/admin/users/" + noID + "/mfa/reset", "", 400}, // it is let in, and then asked why
		{"POST", "/api/admin/users/" + noID + "/password-reset", "", 400},
		{"POST", "/api/auth/register", "", 400},
		{"POST", "/api/auth/logout-all", "", 422},
		{"GET", "/api/admin/api-keys", "", 401},
		{"POST", "/api/admin/api-keys", "", 401},
		{"GET", "/api/documents", "", 401},
		{"POST", "/api/auth/password", "", 401},
		{"GET", "/metrics", "", 401}, // for loopback, which this is not
		{"POST", "/test/admin", "", 401},
		{"GET", "/api/auth/me", s.SignIn(t, "ann", audit.Admin), 200}, // a token is one here, too
	} {
		r, err := http.NewRequest(tt.method, "http://localhost"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Request-Id", "by-socket")
		if tt.token != "" {
			r.Header.Set("Authorization", "Bearer "+tt.token)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, res.StatusCode, tt.status)
		}
	}
	events, err := s.Log.Events(t.Context(), audit.Filter{Action: "security.posture.checked"}, store.Page{Limit: 5})
	if err != nil || len(events.Items) != 2 {
		t.Fatalf("%+v, %v", events, err)
	}
	if e := events.Items[0]; e.Actor.Kind != audit.System || e.Actor.ID != "system:operator" || e.RequestID != "by-socket" || e.IP != "" {
		t.Errorf("it is recorded as %+v", e)
	}
	// From the network, a header cannot make anybody the operator.
	wantProblem(t, s.Do(t, "GET", "/api/admin/security/posture", "", nil, "X-Operator", "true"), 401, "")
	if a := s.Do(t, "GET", "/openapi.json", "", nil); !strings.Contains(a.Text, "by the operator's socket in DATA_DIR") {
		t.Error("the document does not say who may")
	}
}
