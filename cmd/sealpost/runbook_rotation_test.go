package main

import (
	"net/http"
	"strings"
	"time"
)

// Section 3.
func (w *walk) rotation() []walkStep {
	var before walker // somebody who is signed in while the secret is rotated
	return []walkStep{
		{"Rotate all secrets every 90 days or on security events.", func() {
			a := w.call(w.admin, "GET", "/api/admin/security/secret-rotation/status", nil, 200).want("status.policyDays", 90.0).
				want("status.hasRecordedRotation", false)
			if stale := a.at("status.staleSecrets").([]any); len(stale) != 0 {
				w.t.Errorf("of a new installation these are stale: %v", stale)
			}
		}},
		{"1. Prepare new secrets in secret manager:", func() { before = *w.author }},
		{"- `JWT_SECRET`", func() {
			w.put("JWT_SECRET_PREVIOUS", w.secret("JWT_SECRET"))
			w.put("JWT_SECRET", walkSecret())
		}},
		{"- `OPENAI_API_KEY`", func() {
			// The provider has issued it: the fake here knows one key only, so this is the one that is put anew.
			w.put("OPENAI_API_KEY", walkAIKey)
		}},
		{"- dispatch credentials/endpoint secrets (if any)", func() {
			a := w.call(w.admin, "POST", "/api/admin/dispatch/endpoints", map[string]any{"name": "Ledger", "url": w.receiver.URL}, 201, "dispatch.endpoint.created")
			w.endpointID = a.str("endpoint.id")
			first := a.str("endpoint.signingSecret")
			a = w.call(w.admin, "POST", "/api/admin/dispatch/endpoints/"+w.endpointID+"/rotate-secret", map[string]any{"overlapHours": 24}, 200, "dispatch.endpoint.secret_rotated")
			if second := a.str("endpoint.signingSecret"); second == first || !strings.HasPrefix(second, "whsec_") {
				w.t.Errorf("the new secret is %q", second)
			}
		}},
		{"2. Deploy with dual-window compatibility where applicable:", func() { w.deploy() }},
		{"- For JWT signing key rotation, schedule maintenance because active access tokens signed with old key will expire naturally.", func() {
			w.call(&before, "GET", "/api/auth/me", nil, 200).want("user.email", before.email) // the window is open
			w.signIn(w.admin)
			w.call(w.admin, "GET", "/api/auth/me", nil, 200)
		}},
		{"- Refresh tokens are server-side hashed; rotate by forcing `logout-all` for users if needed.", func() {
			w.posture("RB-3.3")
			a := w.call(nil, "POST", "/api/auth/refresh", map[string]string{"refreshToken": before.refresh}, 200, "auth.refresh.succeeded")
			before.keep(a)
			w.call(&before, "POST", "/api/auth/logout-all", nil, 204, "auth.sessions.revoked")
			w.call(&before, "GET", "/api/auth/me", nil, 401)
			w.call(nil, "POST", "/api/auth/refresh", map[string]string{"refreshToken": before.refresh}, 401, "auth.refresh.failed")
		}},
		{"3. Verify after deploy:", func() { w.call(nil, "GET", "/livez", nil, 200) }},
		{"- `GET /health`", func() {
			a := w.call(nil, "GET", "/health", nil, 200).want("status", "PASS")
			for _, part := range []string{"database", "dispatcher", "audit"} {
				a.want("checks."+part+".status", "PASS")
			}
		}},
		{"- login + refresh token flow", func() {
			w.signIn(w.author)
			spent := w.author.refresh
			w.author.keep(w.call(nil, "POST", "/api/auth/refresh", map[string]string{"refreshToken": spent}, 200, "auth.refresh.succeeded"))
			if w.author.refresh == spent {
				w.t.Error("the refresh token was not rotated")
			}
			w.call(w.author, "GET", "/api/auth/me", nil, 200)
		}},
		{"- compose/suggestion endpoints (if AI enabled)", func() {
			a := w.call(w.author, "POST", "/api/documents", map[string]string{"title": "Transfer", "content": "# Transfer\n\nAll 42 samples were transferred.\n"}, 201, "document.created")
			w.documentID = a.str("document.id")
			w.call(w.author, "POST", "/api/documents/"+w.documentID+"/compose", map[string]string{"instructions": "Add what is missing."}, 200, "document.composed").str("traceId")
			w.call(w.author, "POST", "/api/documents/"+w.documentID+"/suggestions/refresh", nil, 200, "document.suggestions.refreshed").str("promptVersionId")
		}},
		{"- dispatch retries for outbound jobs", func() {
			w.call(w.author, "POST", "/api/documents/"+w.documentID+"/finalize", map[string]any{"attest": true, "endpointIds": []string{w.endpointID}}, 200, anyEvents).
				want("status", "FINALIZED")
			list := w.call(w.admin, "GET", "/api/admin/dispatch/jobs?endpointId="+w.endpointID, nil, 200).body["jobs"].([]any)
			id := list[0].(map[string]any)["id"].(string)
			w.await(id, "DEAD_LETTER").want("job.attemptCount", 2.0) // retried, and the receiver took it at no attempt
			w.receiver.fix(true)
			w.call(w.admin, "POST", "/api/admin/dispatch/"+id+"/replay", nil, 200, "dispatch.job.replayed")
			w.call(w.admin, "POST", "/api/admin/dispatch/retry-due", nil, 200, "dispatch.retry_due.requested")
			w.await(id, "DISPATCHED")
			w.checkEvents()
		}},
		{"4. Record rotation event:", func() {}},
		{"- date/time, operator, ticket id, affected environments, rollback plan.", func() {
			for _, left := range []string{"ticketId", "secrets", "environments", "rollbackPlan"} {
				body := rotationRecord("JWT_SECRET")
				delete(body, left)
				w.call(w.admin, "POST", "/api/admin/security/secret-rotation/record", body, http.StatusUnprocessableEntity)
			}
		}},
		{"5. Record in system:", func() {
			w.call(w.author, "POST", "/api/admin/security/secret-rotation/record", rotationRecord("JWT_SECRET"), 403, "access.denied")
		}},
		{"- `POST /api/admin/security/secret-rotation/record`", func() { w.record("JWT_SECRET") }},
		{"- Verify policy posture with `GET /api/admin/security/secret-rotation/status`.", func() {
			a := w.call(w.admin, "GET", "/api/admin/security/secret-rotation/status", nil, 200).want("status.hasRecordedRotation", true).
				want("status.latestRotation.ticketId", "SEC-42")
			var jwt map[string]any
			for _, item := range a.at("status.secretsTracked").([]any) {
				if s := item.(map[string]any); s["secret"] == "JWT_SECRET" {
					jwt = s
				}
			}
			if jwt["withinPolicy"] != true || jwt["recordMatches"] != true {
				w.t.Errorf("JWT_SECRET stands as %v", jwt)
			}
			w.checkEvents()
		}},
	}
}

// secret reads what a file of the secret manager holds.
func (w *walk) secret(name string) string {
	w.t.Helper()
	return strings.TrimSpace(w.read(name))
}

func rotationRecord(secrets ...string) map[string]any {
	return map[string]any{
		"ticketId": "SEC-42", "secrets": secrets, "rotatedAt": time.Now().UTC().Format(time.RFC3339), "environments": []string{"pilot"},
		"rollbackPlan": "Put the previous value back and deploy.",
	}
}

// record records a rotation that has been made.
func (w *walk) record(secrets ...string) {
	w.t.Helper()
	w.call(w.admin, "POST", "/api/admin/security/secret-rotation/record", rotationRecord(secrets...), 201, "security.rotation.recorded").
		want("rotation.ticketId", "SEC-42")
}
