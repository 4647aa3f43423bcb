package web_test

import (
	"context"
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

var parameters = regexp.MustCompile(`\{\w+\}`)

const noID = "01890a5d-ac96-774b-bcce-b302099a8057" // of nothing that there is

// ask asks a route by its name, "POST /api/documents/{id}", about something that there is not.
func ask(t *testing.T, s *webtest.Server, route, token string, body any, headers ...string) webtest.Answer {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	return s.Do(t, method, parameters.ReplaceAllString(path, noID), token, body, headers...)
}

// publicRoutes are the names of the routes that the document says are for everybody.
func publicRoutes(t *testing.T, s *webtest.Server) map[string]bool {
	t.Helper()
	public := map[string]bool{}
	for path, item := range s.Do(t, "GET", "/openapi.json", "", nil).Want(t, 200).At("paths").(map[string]any) {
		for method, op := range item.(map[string]any) {
			if len(op.(map[string]any)["security"].([]any)) == 0 {
				public[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	return public
}

// makeStale makes all sessions ones of which the last password was shown a while ago.
func makeStale(t *testing.T, s *webtest.Server, age time.Duration) {
	t.Helper()
	err := s.Store.Write(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Exec(context.Background(), `update session set authenticated_at = $1`, time.Now().Add(-age).UnixMicro())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// guarded are the guarded actions (SPEC §5.6): each route that wants a fresh sign-in, with the body that is
// about it. A route whose body is nil wants one whatever is sent.
var guarded = map[string]any{
	// users and their MFA (to disable it is not possible at all where it is required, as here)
	"POST /api/auth/register":                    nil,
	"PATCH /api/admin/users/{id}":                nil,
	"POST /api/admin/users/{id}/mfa/reset":       nil,
	"POST /api/admin/users/{id}/password-reset":  nil,
	"POST /api/auth/mfa/setup":                   fields(nil),
	"POST /api/auth/mfa/enable":                  fields{"mfaCode": "000000"},
	"POST /api/auth/mfa/backup-codes/regenerate": fields{"mfaCode": "000000"},
	// passkeys, which are a second factor too
	"POST /api/auth/passkeys/register/start":  nil,
	"POST /api/auth/passkeys/register/finish": nil,
	"DELETE /api/auth/passkeys/{id}":          nil,
	// logout-all for others
	"POST /api/auth/logout-all": fields{"everyone": true},
	// endpoints and their secrets
	"POST /api/admin/dispatch/endpoints":                    nil,
	"PATCH /api/admin/dispatch/endpoints/{id}":              nil,
	"DELETE /api/admin/dispatch/endpoints/{id}":             nil,
	"POST /api/admin/dispatch/endpoints/{id}/rotate-secret": nil,
	// exports
	"GET /api/admin/audit/export": nil,
	// API keys
	"POST /api/admin/api-keys":        nil,
	"DELETE /api/admin/api-keys/{id}": nil,
	// holds, and retention that deletes
	"POST /api/admin/audit-retention/holds":        nil,
	"POST /api/admin/audit/events/{id}/redact":     nil,
	"DELETE /api/admin/audit-retention/holds/{id}": nil,
	"POST /api/admin/audit-retention/enforce":      fields{"dryRun": false, "planHash": strings.Repeat("0", 64)},
	// rotation records, and having the secrets read again
	"POST /api/admin/security/secret-rotation/record": nil,
	"POST /api/admin/security/secret-rotation/reload": nil,
}

// Every route of the server is asked with a sign-in that is 16 minutes old, by an ADMIN who is enrolled:
// those of the table want a fresh one, and no other does. An API key with every scope, of an ADMIN, cannot
// use any of the table.
func TestGuardedActions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st, "MFA_REQUIRED=true")
		first := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
		ada := enroll(t, s, text(t, first, "enrollmentToken"), nil)
		_, key := apiKey(t, s, ada.token, "", account.Scopes...)
		public, routes := publicRoutes(t, s), web.Routes(s.Web)
		for route := range guarded {
			if !slices.Contains(routes, route) {
				t.Errorf("there is no route %s", route)
			}
		}
		makeStale(t, s, 14*time.Minute)
		for route, body := range guarded {
			if body != nil {
				continue // some of them would change who is signed in
			}
			if a := ask(t, s, route, ada.token, nil); a.At("details.reauthRequired") != nil {
				t.Errorf("%s after 14 minutes: %s", route, a.Text)
			}
		}
		makeStale(t, s, 16*time.Minute)
		for _, route := range routes {
			if public[route] || route == "POST /api/auth/logout" || strings.HasSuffix(route, "/stream") { // a stream has no end
				continue
			}
			body, is := guarded[route]
			if f, ok := body.(fields); ok && f == nil {
				body = nil
			}
			a := ask(t, s, route, ada.token, body)
			if wants := a.Status == 401 && a.At("details.reauthRequired") == true; wants != is && route != "POST /api/auth/reauth" {
				t.Errorf("%s with a stale sign-in is answered %d: %s", route, a.Status, a.Text)
			}
			if !is {
				continue
			}
			if a := ask(t, s, route, key, body); a.Status != 403 || !strings.Contains(a.Text, "this is for people") {
				t.Errorf("%s by an API key is answered %d: %s", route, a.Status, a.Text)
			}
		}
		s.Do(t, "GET", "/api/auth/me", ada.token, nil).Want(t, 200) // nobody was signed out by asking
		denied := actions(t, s, audit.Filter{Action: "access.denied"})
		if len(denied) < 20 {
			t.Errorf("%d refusals are recorded", len(denied))
		}
	})
}
