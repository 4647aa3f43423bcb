package web_test

import (
	"context"
	"maps"
	"net/http"
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

// apiKey makes an API key for an owner ("" is whoever makes it) and gives its id and text.
func apiKey(t *testing.T, s *webtest.Server, admin, owner string, scopes ...string) (id, secret string) {
	t.Helper()
	body := fields{"name": "CI", "scopes": scopes, "expiresAt": time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)}
	if owner != "" {
		body["ownerId"] = owner
	}
	a := s.Do(t, "POST", "/api/admin/api-keys", admin, body).Want(t, 201)
	return text(t, a, "apiKey.id"), text(t, a, "secret")
}

// me gives the id of whoever a token belongs to.
func userID(t *testing.T, s *webtest.Server, token string) string {
	t.Helper()
	return text(t, s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 200), "user.id")
}

func TestAPIKeyRoutes(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ada, kim := s.SignIn(t, "ada", audit.Admin), s.SignIn(t, "kim", audit.Author)
		end := time.Now().Add(30 * 24 * time.Hour).UTC().Truncate(time.Second)
		body := fields{"name": "Build server", "scopes": []string{"dispatch:write", "dispatch:read"}, "expiresAt": end.Format(time.RFC3339), "ownerId": userID(t, s, kim)}
		s.Do(t, "POST", "/api/admin/api-keys", kim, body).Want(t, 403)
		s.Do(t, "POST", "/api/admin/api-keys", "", body).Want(t, 401)
		s.Do(t, "GET", "/api/admin/api-keys", kim, nil).Want(t, 403)
		made := s.Do(t, "POST", "/api/admin/api-keys", ada, body).Want(t, 201)
		wantNames(t, made.Body, "apiKey", "secret")
		wantNames(t, made.At("apiKey"), "id", "name", "ownerId", "hint", "scopes", "createdAt", "createdBy", "expiresAt", "lastUsedAt", "revokedAt")
		key := text(t, made, "secret")
		if made.At("apiKey.expiresAt") != end.Format(time.RFC3339) || made.At("apiKey.ownerId") != body["ownerId"] ||
			made.At("apiKey.createdBy") != userID(t, s, ada) || made.At("apiKey.lastUsedAt") != nil {
			t.Errorf("made is %s", made.Text)
		}
		for name, change := range map[string]fields{
			"no name": {"name": ""}, "no scopes": {"scopes": []string{}}, "another scope": {"scopes": []string{"admin"}},
			"no end": {"expiresAt": nil}, "an end that is over": {"expiresAt": time.Now().Add(-time.Second).Format(time.RFC3339)},
			"an end in 366 days": {"expiresAt": time.Now().Add(366 * 24 * time.Hour).Format(time.RFC3339)}, "more": {"role": "ADMIN"},
		} {
			wrong := fields{}
			maps.Copy(wrong, body)
			maps.Copy(wrong, change)
			if a := s.Do(t, "POST", "/api/admin/api-keys", ada, wrong); a.Status != 422 {
				t.Errorf("%s: status %d: %s", name, a.Status, a.Text)
			}
		}
		whole := fields{"name": "a year", "scopes": []string{"audit:read"}, "expiresAt": time.Now().Add(365 * 24 * time.Hour).Format(time.RFC3339)}
		s.Do(t, "POST", "/api/admin/api-keys", ada, whole).Want(t, 201)

		s.Do(t, "GET", "/api/dispatch/jobs", key, nil).Want(t, 200)
		list := s.Do(t, "GET", "/api/admin/api-keys?limit=1", ada, nil).Want(t, 200)
		wantNames(t, list.Body, "apiKeys", "pageInfo")
		first := list.At("apiKeys").([]any)[0].(map[string]any)
		if first["id"] != made.At("apiKey.id") || first["lastUsedAt"] == nil || first["lastUsedIp"] != "127.0.0.1" || list.At("pageInfo.hasMore") != true {
			t.Errorf("the list is %s", list.Text)
		}
		if strings.Contains(list.Text, key) || strings.Contains(s.Logged(), key) {
			t.Error("the key is shown again")
		}
		at := "/api/admin/api-keys/" + first["id"].(string)
		s.Do(t, "DELETE", at, kim, nil).Want(t, 403)
		s.Do(t, "DELETE", at, ada, nil).Want(t, 204)
		s.Do(t, "DELETE", at, ada, nil).Want(t, 404)
		a := s.Do(t, "GET", "/api/dispatch/jobs", key, nil)
		wantProblem(t, a, 401, "the API key is not valid")
		if got := a.Header.Get("WWW-Authenticate"); got != "Bearer" {
			t.Errorf("WWW-Authenticate is %q", got)
		}
		wantProblem(t, s.Do(t, "GET", "/api/dispatch/jobs", key[:len(key)-1], nil), 401, "cut, or mistyped")
	})
}

// What a scope opens, for which role of the owner, and nothing else: every route of the server is asked.
func TestScopes(t *testing.T) {
	opens := map[string][]string{
		account.DispatchWrite: {"POST /api/dispatch/jobs", "POST /api/dispatch/jobs/batch"},
		account.DispatchRead:  {"GET /api/dispatch/jobs", "GET /api/dispatch/jobs/{id}", "GET /api/dispatch/jobs/{id}/evidence"},
		account.AuditRead:     {"GET /api/admin/audit/", "GET /audit/log/"}, // all below
		account.PostureRead: {
			"GET /api/admin/security/posture", "GET /api/admin/security/secret-rotation/status",
			"GET /api/admin/observability/summary", "GET /api/admin/observability/trends", "GET /metrics",
		},
		account.PostureRun: {"POST /api/admin/security/posture/run"},
	}
	roles := map[string][]audit.Role{
		account.DispatchWrite: {audit.Admin, audit.Author}, account.DispatchRead: {audit.Admin, audit.Author, audit.Auditor},
		account.AuditRead: {audit.Admin, audit.Auditor}, account.PostureRead: {audit.Admin, audit.Auditor}, account.PostureRun: {audit.Admin, audit.Auditor},
	}
	each(t, func(t *testing.T, s *webtest.Server) {
		ada := s.SignIn(t, "ada", audit.Admin)
		owners := map[audit.Role]string{}
		for _, role := range []audit.Role{audit.Admin, audit.Author, audit.Auditor} {
			owners[role] = userID(t, s, s.SignIn(t, strings.ToLower(string(role)), role))
		}
		public := publicRoutes(t, s)
		asked := 0
		for _, scope := range account.Scopes {
			for role, owner := range owners {
				_, key := apiKey(t, s, ada, owner, scope)
				for _, route := range web.Routes(s.Web) {
					if public[route] || strings.Contains(route, " /test/") {
						continue
					}
					// Through a proxy: straight from this machine, /metrics would be anybody's.
					a := ask(t, s, route, key, nil, "X-Forwarded-For", "203.0.113.9")
					_, isGuarded := guarded[route] // which no key can do
					may := !isGuarded && opensRoute(opens[scope], route) && slices.Contains(roles[scope], role)
					if route == "GET /metrics" {
						may = may && role == audit.Admin
					}
					asked++
					if refused := a.Status == 401 || a.Status == 403; refused == may {
						t.Errorf("%s of an %s: %s is answered %d: %s", scope, role, route, a.Status, a.Text)
					}
				}
			}
		}
		if asked < 500 {
			t.Errorf("only %d were asked", asked)
		}
	})
}

// opensRoute tells whether a route is in a list of names, or below one that ends with a slash.
func opensRoute(list []string, route string) bool {
	return slices.ContainsFunc(list, func(name string) bool {
		return name == route || strings.HasSuffix(name, "/") && strings.HasPrefix(route, name)
	})
}

// An integrator's key does what it is for, and the record says whose it was.
func TestKeyPostsJobs(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ada, kim := s.SignIn(t, "ada", audit.Admin), s.SignIn(t, "kim", audit.Author)
		endpoint := text(t, s.Do(t, "POST", "/api/admin/dispatch/endpoints", ada, fields{"name": "Ledger", "url": "http://127.0.0.1:9/"}).Want(t, 201), "endpoint.id")
		id, key := apiKey(t, s, ada, userID(t, s, kim), "dispatch:write", "dispatch:read")
		_, other := apiKey(t, s, ada, "", "dispatch:write", "dispatch:read")
		job := fields{"endpointId": endpoint, "contentType": "application/json", "payload": fields{"n": 1}}
		first := s.Do(t, "POST", "/api/dispatch/jobs", key, job, "Idempotency-Key", "k-1").Want(t, 202)
		again := s.Do(t, "POST", "/api/dispatch/jobs", key, job, "Idempotency-Key", "k-1").Want(t, 202)
		if first.Text != again.Text {
			t.Errorf("the same key gives %s and %s", first.Text, again.Text)
		}
		s.Do(t, "POST", "/api/dispatch/jobs", key, fields{"endpointId": endpoint, "contentType": "text/plain", "payload": "other"}, "Idempotency-Key", "k-1").Want(t, 409)
		// Nobody meets another's keys, the owner's own neither.
		if a := s.Do(t, "POST", "/api/dispatch/jobs", kim, job, "Idempotency-Key", "k-1").Want(t, 202); a.Text == first.Text {
			t.Error("the owner gets the key's answer")
		}
		jobID := text(t, first, "job.id")
		for token, status := range map[string]int{key: 200, kim: 200, other: 404} {
			s.Do(t, "GET", "/api/dispatch/jobs/"+jobID, token, nil).Want(t, status)
		}
		if jobs := s.Do(t, "GET", "/api/dispatch/jobs", key, nil).Want(t, 200).At("jobs").([]any); len(jobs) != 2 {
			t.Errorf("the key sees %d jobs, want its owner's 2", len(jobs))
		}
		if jobs := s.Do(t, "GET", "/api/dispatch/jobs", other, nil).Want(t, 200).At("jobs").([]any); len(jobs) != 0 {
			t.Errorf("another owner's key sees %d jobs", len(jobs))
		}
		list, err := s.Log.Events(t.Context(), audit.Filter{Action: "dispatch.job.accepted", EntityID: jobID}, store.Page{Limit: 5})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		if e := list.Items[0].Actor; e.Kind != audit.Service || e.KeyID != id || e.ID != userID(t, s, kim) || e.Role != audit.Author {
			t.Errorf("the actor is %+v", e)
		}
	})
}

// A revoked key is dead on every server at once.
func TestRevokedKeyOnAnotherServer(t *testing.T) {
	url := storetest.PostgresURL(t)      // SQLite has one server
	secrets := "DATA_DIR=" + t.TempDir() // the same ones for both
	one, two := webtest.Start(t, storetest.Open(t, url), secrets), webtest.Start(t, storetest.Open(t, url), secrets)
	ada := one.SignIn(t, "ada", audit.Admin)
	id, key := apiKey(t, one, ada, "", "dispatch:read")
	two.Do(t, "GET", "/api/dispatch/jobs", key, nil).Want(t, 200)
	one.Do(t, "DELETE", "/api/admin/api-keys/"+id, ada, nil).Want(t, 204)
	two.Do(t, "GET", "/api/dispatch/jobs", key, nil).Want(t, 401)
}

func TestKeysInTheDocument(t *testing.T) {
	s := start(t)
	a := s.Do(t, "GET", "/openapi.json", "", nil).Want(t, 200)
	schemes := a.At("components.securitySchemes").(map[string]any)
	if len(schemes) != 2 || schemes["apiKey"].(map[string]any)["bearerFormat"] != "sp_[0-9A-Za-z]{49}" {
		t.Errorf("the schemes are %v", schemes)
	}
	security := func(path, method string) string {
		op := a.At("paths").(map[string]any)[path].(map[string]any)[method].(map[string]any)
		var ways []string
		for _, way := range op["security"].([]any) {
			for name, scopes := range way.(map[string]any) {
				ways = append(ways, strings.TrimSpace(name+" "+strings.Join(texts(scopes), " ")))
			}
		}
		return strings.Join(ways, ", ")
	}
	for path, want := range map[string]string{
		"/api/dispatch/jobs": "bearer, apiKey dispatch:write", "/api/auth/logout": "bearer", "/api/auth/login": "",
		"/api/admin/api-keys": "bearer",
	} {
		if got := security(path, "post"); got != want {
			t.Errorf("%s is for %q, want %q", path, got, want)
		}
	}
}

func texts(list any) (out []string) {
	for _, item := range list.([]any) {
		out = append(out, item.(string))
	}
	return out
}

// RB-3.1 and the status of secrets tell of each key that counts, by its age.
func TestKeysAreTrackedSecrets(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ada := s.SignIn(t, "ada", audit.Admin)
		id, _ := apiKey(t, s, ada, "", "audit:read")
		gone, _ := apiKey(t, s, ada, "", "audit:read")
		s.Do(t, "DELETE", "/api/admin/api-keys/"+gone, ada, nil).Want(t, 204)
		old := time.Now().Add(-91 * 24 * time.Hour)
		err := s.Store.Write(context.Background(), func(tx *store.Tx) error {
			_, err := tx.Exec(context.Background(), `update api_key set created_at = $1`, old.UnixMicro())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		status := s.Do(t, "GET", "/api/admin/security/secret-rotation/status", ada, nil).Want(t, 200)
		if stale := texts(status.At("status.staleSecrets")); !slices.Equal(stale, []string{"api-key:" + id}) {
			t.Errorf("stale are %v", stale)
		}
		a := s.Do(t, http.MethodPost, "/api/admin/security/posture/run", ada, fields{"only": []string{"RB-3.1"}}).Want(t, 200)
		control := a.At("controls").([]any)[0].(map[string]any)
		if control["status"] != "FAIL" || !strings.Contains(control["observed"].(string), "api-key:"+id+" (91 days)") {
			t.Errorf("RB-3.1 is %v", control)
		}
		record := fields{"ticketId": "SEC-1", "secrets": []string{"api-key:" + id}, "environments": []string{"pilot"}, "rollbackPlan": "none"}
		s.Do(t, "POST", "/api/admin/security/secret-rotation/record", ada, record).Want(t, 201)
		record["secrets"] = []string{"api-key:" + gone}
		wantProblem(t, s.Do(t, "POST", "/api/admin/security/secret-rotation/record", ada, record), 422, "there is no secret api-key:")
	})
}
