package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Each line of the runbook, and how it is followed. What one step makes the next ones use.
func (w *walk) steps() []walkStep {
	return slices.Concat(w.authentication(), w.passwords(), w.rotation(), w.sessions(), w.reliability(), w.retention())
}

// Section 1.
func (w *walk) authentication() []walkStep {
	return []walkStep{
		{"- Production must set:", func() {
			w.call(nil, "GET", "/livez", nil, 200)
		}},
		{"- `ALLOW_DEV_LOGIN=false`", func() {
			w.refusesToStart("ALLOW_DEV_LOGIN", "ALLOW_DEV_LOGIN=true")
			w.call(nil, "GET", "/api/auth/policy", nil, 200).want("devLoginEnabled", false)
			w.call(nil, "POST", "/api/auth/dev-login", map[string]string{"email": "x@pilot.example", "name": "X", "role": "ADMIN"}, 404)
		}},
		{"- `MFA_REQUIRED=true`", func() {
			w.refusesToStart("MFA_REQUIRED", "MFA_REQUIRED=false")
			w.call(nil, "GET", "/api/auth/policy", nil, 200).want("mfaRequired", true)
		}},
		{"- `NODE_ENV=production`", func() {
			w.refusesToStart("NODE_ENV", "NODE_ENV=prod")
		}},
		{"- First bootstrap account:", func() {
			w.call(nil, "GET", "/api/auth/bootstrap-status", nil, 200).want("hasUsers", false)
		}},
		{"- Use `POST /api/auth/register-first` once.", func() {
			body := map[string]string{"email": w.admin.email, "name": "Ada Admin", "password": w.admin.password}
			// Through a proxy, and without the token that DATA_DIR holds, nobody makes it.
			proxied := []string{"X-Forwarded-For", "203.0.113.9"}
			a := w.callWith(nil, proxied, "POST", "/api/auth/register-first", body, 403, "auth.register_first.refused")
			path := filepath.Join(w.p.dataDir(), "secrets", "BOOTSTRAP_TOKEN")
			if !strings.Contains(a.text, path) {
				w.t.Errorf("the refusal does not say where the token is: %s", a.text)
			}
			token, err := os.ReadFile(path)
			if err != nil {
				w.t.Fatal(err)
			}
			proxied = append(proxied, "X-Bootstrap-Token", strings.TrimSpace(string(token)))
			weak := map[string]string{"email": w.admin.email, "name": "Ada Admin", "password": "Summer2026!!"}
			if codes := w.callWith(nil, proxied, "POST", "/api/auth/register-first", weak, 422).issues(); !slices.Equal(codes, []string{"WEAK_PATTERN"}) {
				w.t.Errorf("a weak password got %v", codes)
			}
			a = w.callWith(nil, proxied, "POST", "/api/auth/register-first", body, 201, "auth.user.registered").
				want("mfaEnrollmentRequired", true).want("token", nil).want("user.role", "ADMIN")
			w.enrollment = a.str("enrollmentToken")
			w.call(nil, "POST", "/api/auth/register-first", body, 409, anyEvents) // counted: it is the second refusal within a minute
			w.call(nil, "GET", "/api/auth/bootstrap-status", nil, 200).want("hasUsers", true)
		}},
		{"- Immediately enroll MFA using one of:", func() {
			// Until then there is no access: the password alone leads to enrollment.
			a := w.call(nil, "POST", "/api/auth/login", map[string]string{"email": w.admin.email, "password": w.admin.password}, 403,
				"auth.login.failed").want("details.mfaEnrollmentRequired", true)
			w.enrollment = a.str("details.enrollmentToken")
		}},
		{"- Self-service setup: `POST /api/auth/mfa/setup` + `POST /api/auth/mfa/enable`", func() {
			// It is for who is signed in, so after the required enrollment, which comes first in production: the
			// admin enrolls, and then sets up another phone.
			w.call(nil, "POST", "/api/auth/mfa/setup", nil, 401)
			w.enroll(w.admin, "")
			secret := w.call(w.admin, "POST", "/api/auth/mfa/setup", nil, 200).str("setup.secret")
			w.call(w.admin, "POST", "/api/auth/mfa/enable", map[string]string{"mfaCode": w.code(w.admin.totp)}, 401, "auth.mfa.failed")
			a := w.call(w.admin, "POST", "/api/auth/mfa/enable", map[string]string{"mfaCode": w.code(secret)}, 200, "auth.mfa.enrolled").want("enabled", true)
			w.admin.totp, w.admin.backup = secret, nil
			for _, c := range a.body["backupCodes"].([]any) {
				w.admin.backup = append(w.admin.backup, c.(string))
			}
			if len(w.admin.backup) != 8 {
				w.t.Errorf("%d backup codes", len(w.admin.backup))
			}
		}},
		{"- Required-enrollment flow (when `MFA_REQUIRED=true`): `POST /api/auth/mfa/enroll/start` + `POST /api/auth/mfa/enroll/complete`", func() {
			// Done above; what is left of it is worth nothing.
			w.call(nil, "POST", "/api/auth/mfa/enroll/start", map[string]string{"enrollmentToken": w.enrollment}, 401, anyEvents)
			w.signIn(w.admin)
			w.call(w.admin, "GET", "/api/auth/me", nil, 200).want("user.mfaEnabled", true).want("user.email", w.admin.email)
		}},
		{"- Ongoing account creation:", func() {
			w.call(w.admin, "GET", "/api/admin/users", nil, 200).want("pageInfo.returned", 1.0)
		}},
		{"- Admin-only `POST /api/auth/register`.", func() {
			body := map[string]string{"email": w.author.email, "name": "Bo Author", "password": w.author.password, "role": "AUTHOR"}
			w.call(nil, "POST", "/api/auth/register", body, 401)
			w.call(w.admin, "POST", "/api/auth/register", body, 201, "auth.user.registered").want("user.role", "AUTHOR").want("user.mfaEnabled", false)
		}},
		{"- Enforce MFA enrollment before granting production access.", func() {
			a := w.call(nil, "POST", "/api/auth/login", map[string]string{"email": w.author.email, "password": w.author.password}, 403, "auth.login.failed")
			w.enrollment = a.str("details.enrollmentToken")
			w.enroll(w.author, "Blue7!Kettle-Moth")
			w.call(w.author, "GET", "/api/auth/me", nil, 200).want("user.mfaEnabled", true)
			body := map[string]string{"email": "x@pilot.example", "name": "X", "password": w.author.password, "role": "AUTHOR"}
			w.call(w.author, "POST", "/api/auth/register", body, 403, "access.denied")
		}},
	}
}

// enroll goes the way of required enrollment. newPassword is for an account whose password an admin chose.
func (w *walk) enroll(p *walker, newPassword string) {
	w.t.Helper()
	start := w.call(nil, "POST", "/api/auth/mfa/enroll/start", map[string]string{"enrollmentToken": w.enrollment}, 200)
	p.totp = start.str("setup.secret")
	if !strings.HasPrefix(start.str("setup.otpauthUrl"), "otpauth://totp/") {
		w.t.Errorf("setup is %s", start.text)
	}
	body := map[string]string{"enrollmentToken": w.enrollment, "mfaCode": w.code(p.totp)}
	if newPassword != "" {
		w.call(nil, "POST", "/api/auth/mfa/enroll/complete", body, 422).want("details.newPasswordRequired", true)
		p.password, body["newPassword"] = newPassword, newPassword
	}
	p.keep(w.call(nil, "POST", "/api/auth/mfa/enroll/complete", body, 200, "auth.mfa.enrolled", "auth.login.succeeded"))
	if len(p.backup) != 8 || p.refresh == "" {
		w.t.Errorf("enrollment gave %d backup codes and the cookie %q", len(p.backup), p.refresh)
	}
}

// Section 2.
func (w *walk) passwords() []walkStep {
	refused := func(password string, want ...string) {
		w.t.Helper()
		body := map[string]string{"email": "weak@pilot.example", "name": "Weak", "password": password, "role": "AUTHOR"}
		if codes := w.call(w.admin, "POST", "/api/auth/register", body, 422).issues(); !slices.Equal(codes, want) {
			w.t.Errorf("%s\n%q got %v, want %v", w.line, password, codes, want)
		}
	}
	return []walkStep{
		{"- Controlled by `PASSWORD_MIN_LENGTH` (minimum 12 in pilot).", func() {
			w.refusesToStart("PASSWORD_MIN_LENGTH", "PASSWORD_MIN_LENGTH=11")
			w.call(nil, "GET", "/api/auth/policy", nil, 200).want("passwordPolicy.minLength", 12.0)
			refused("vK8#qLw2!nP", "TOO_SHORT")
		}},
		{"- Backend enforces:", func() {
			w.call(nil, "GET", "/api/auth/policy", nil, 200).want("passwordPolicy.rejectWeakPatterns", true)
		}},
		{"- uppercase + lowercase + number + symbol", func() {
			refused("quiet-harbour-42-lanterns", "MISSING_UPPERCASE")
			refused("QUIET-HARBOUR-42-LANTERNS", "MISSING_LOWERCASE")
			refused("Quiet-Harbour-of-Lanterns", "MISSING_NUMBER")
			refused("Quiet9Harbour42of7Lanterns", "MISSING_SYMBOL")
		}},
		{"- no whitespace", func() { refused("Quiet Harbour-42-Lanterns", "CONTAINS_WHITESPACE") }},
		{"- weak-pattern rejection", func() { refused("P@ssw0rd2026!", "WEAK_PATTERN") }},
		{"- Register endpoints reject weak passwords with explicit policy issues.", func() {
			refused("a b", "TOO_SHORT", "MISSING_UPPERCASE", "MISSING_NUMBER", "MISSING_SYMBOL", "CONTAINS_WHITESPACE", "WEAK_PATTERN")
			w.checkEvents()
		}},
	}
}

// Section 4.
func (w *walk) sessions() []walkStep {
	var leaked walker
	return []walkStep{
		{"- Recommended pilot defaults:", func() {
			w.posture("RB-1.1", "RB-1.2", "RB-1.3", "RB-1.4", "RB-1.5", "RB-2.1", "RB-2.2", "RB-2.3", "RB-2.4", "RB-2.5", "RB-3.1", "RB-3.2", "RB-3.3", "RB-3.5", "RB-3.6", "RB-5.2", "RB-6.2")
			w.verifyByURL()
		}},
		{"- `SESSION_TTL_HOURS=12`", func() {
			w.refusesToStart("SESSION_TTL_HOURS", "SESSION_TTL_HOURS=25")
			w.posture("RB-4.1")
		}},
		{"- `REFRESH_TOKEN_TTL_HOURS=168`", func() {
			w.refusesToStart("REFRESH_TOKEN_TTL_HOURS", "REFRESH_TOKEN_TTL_HOURS=721")
			w.posture("RB-4.2")
		}},
		{"- If a token leak is suspected:", func() { w.signIn(w.author); leaked = *w.author }},
		{"- revoke user sessions via `POST /api/auth/logout-all`", func() {
			w.call(w.author, "POST", "/api/auth/logout-all", map[string]string{"userId": w.admin.id}, 403, "auth.sessions.revoke_refused")
			w.call(w.admin, "POST", "/api/auth/logout-all", map[string]string{"userId": w.author.id}, 204, "auth.sessions.revoked")
			w.call(&leaked, "GET", "/api/auth/me", nil, 401)
			w.call(nil, "POST", "/api/auth/refresh", map[string]string{"refreshToken": leaked.refresh}, 401, anyEvents) // counted, as above
		}},
		{"- rotate `JWT_SECRET`", func() {
			// After a leak there is no window: the old secret is not given as the previous one. The files are
			// read again without a restart.
			old := *w.admin
			w.remove("JWT_SECRET_PREVIOUS")
			w.put("JWT_SECRET", walkSecret())
			w.call(w.admin, "POST", "/api/admin/security/secret-rotation/reload", nil, 200, anyEvents)
			w.call(&old, "GET", "/api/auth/me", nil, 401)
			w.signIn(w.admin)
			w.record("JWT_SECRET")
		}},
		{"- review audit logs by request id and actor.", func() {
			a := w.call(w.admin, "GET", "/api/auth/me", nil, 200)
			revoked := w.call(w.admin, "POST", "/api/auth/logout-all", map[string]string{"userId": w.author.id}, 204, "auth.sessions.revoked")
			list := w.call(w.admin, "GET", "/api/admin/audit/events?actorId="+a.str("user.id")+"&limit=1", nil, 200).body["events"].([]any)
			if e := list[0].(map[string]any); e["requestId"] != revoked.request || e["action"] != "auth.sessions.revoked" || e["entityId"] != w.author.id {
				w.t.Errorf("the newest event of this actor is %v", e)
			}
			w.posture("RB-4.4")
			w.checkEvents()
		}},
	}
}

// posture wants controls of the runbook to hold, by their ids.
func (w *walk) posture(ids ...string) {
	w.t.Helper()
	a := w.call(w.admin, "POST", "/api/admin/security/posture/run", map[string]any{"only": ids}, 200, "security.posture.checked")
	var answer struct {
		Controls []struct{ ID, Status, Observed string }
	}
	if err := json.Unmarshal([]byte(a.text), &answer); err != nil {
		w.t.Fatal(err)
	}
	if len(answer.Controls) != len(ids) {
		w.t.Errorf("%d controls were checked, not %d", len(answer.Controls), len(ids))
	}
	for _, c := range answer.Controls {
		if c.Status != "PASS" && (c.ID != "RB-5.2" || c.Status != "WARN" || !strings.Contains(c.Observed, "no synchronous standby")) {
			w.t.Errorf("%s\n%s is %s: %s", w.line, c.ID, c.Status, c.Observed)
		}
	}
}

// verifyByURL has the command ask the server by its URL, as an admin from elsewhere does.
func (w *walk) verifyByURL() {
	w.t.Helper()
	w.put("token", w.admin.token)
	path, err := binary()
	if err != nil {
		w.t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.CommandContext(w.t.Context(), path, "runbook", "verify", "--only", "RB-1.1,RB-1.2,RB-1.3",
		"--url", w.p.api.URL+"/", "--token-file", filepath.Join(w.secrets, "token"))
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{}, &out, &out
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "3 PASS, 0 FAIL") {
		w.t.Errorf("runbook verify --url: %v\n%s", err, out.String())
	}
}

// Section 5.
func (w *walk) reliability() []walkStep {
	return []walkStep{
		{"- Use admin endpoints:", func() {
			w.receiver.fix(false)
			job := map[string]any{"endpointId": w.endpointID, "contentType": "application/json", "payload": map[string]int{"n": 1}}
			w.call(w.author, "POST", "/api/dispatch/jobs", job, 401)
			w.signIn(w.author)
			w.jobID = w.call(w.author, "POST", "/api/dispatch/jobs", job, 202, "dispatch.job.accepted").str("job.id")
			w.call(w.author, "GET", "/api/admin/dispatch/jobs", nil, 403, "access.denied")
		}},
		{"- `GET /api/admin/dispatch/jobs`", func() {
			a := w.call(w.admin, "GET", "/api/admin/dispatch/jobs?endpointId="+w.endpointID+"&q="+w.jobID, nil, 200).want("pageInfo.returned", 1.0)
			job := a.body["jobs"].([]any)[0].(map[string]any)
			for name := range strings.FieldsSeq("id endpointId documentId status attemptCount maxAttempts nextRetryAt dispatchedAt " +
				"deadLetteredAt deadLetterReason lastError createdAt updatedAt") {
				if _, ok := job[name]; !ok {
					w.t.Errorf("the job has no %s: %v", name, job)
				}
			}
		}},
		{"- `POST /api/admin/dispatch/retry-due`", func() {
			a := w.call(w.admin, "POST", "/api/admin/dispatch/retry-due", map[string]any{"limit": 5, "includeWaiting": true}, 200, "dispatch.retry_due.requested")
			if _, ok := a.body["processed"].([]any); !ok {
				w.t.Errorf("it answers %s", a.text)
			}
		}},
		{"- `POST /api/admin/dispatch/:jobId/replay`", func() {
			w.await(w.jobID, "DEAD_LETTER")
			w.call(w.author, "POST", "/api/admin/dispatch/"+w.jobID+"/replay", nil, 403, "access.denied")
			w.call(w.admin, "POST", "/api/admin/dispatch/"+w.jobID+"/replay", nil, 200, "dispatch.job.replayed").want("job.status", "PENDING")
			w.await(w.jobID, "DEAD_LETTER").want("job.attemptCount", 4.0)
		}},
		{"- `POST /api/admin/dispatch/:jobId/dead-letter`", func() {
			w.call(w.admin, "POST", "/api/admin/dispatch/endpoints/"+w.endpointID+"/pause", nil, 200, "dispatch.endpoint.paused")
			id := w.call(w.author, "POST", "/api/dispatch/jobs",
				map[string]any{"endpointId": w.endpointID, "contentType": "text/plain", "payload": "given up"}, 202, "dispatch.job.accepted").str("job.id")
			w.call(w.admin, "POST", "/api/admin/dispatch/"+id+"/dead-letter", map[string]string{}, 422)
			w.call(w.admin, "POST", "/api/admin/dispatch/"+id+"/dead-letter", map[string]string{"reason": "sent by hand"}, 200, "dispatch.job.dead_lettered").
				want("job.status", "DEAD_LETTER").want("job.deadLetterReason", "OPERATOR")
			w.call(w.admin, "POST", "/api/admin/dispatch/"+id+"/dead-letter", map[string]string{"reason": "again"}, 409)
			w.call(w.admin, "POST", "/api/admin/dispatch/endpoints/"+w.endpointID+"/resume", nil, 200, "dispatch.endpoint.resumed")
		}},
		{"- Terminal dispatch failures are moved to `DEAD_LETTER`.", func() {
			w.await(w.jobID, "DEAD_LETTER").want("job.deadLetterReason", "EXHAUSTED")
			w.posture("RB-5.2")
			w.alerted()
		}},
		{"- Replay from dashboard after endpoint/config correction.", func() {
			w.receiver.fix(true)
			w.call(w.admin, "PATCH", "/api/admin/dispatch/endpoints/"+w.endpointID, map[string]string{"url": w.receiver.URL + "/corrected"}, 200, "dispatch.endpoint.changed")
			w.call(w.admin, "POST", "/api/admin/dispatch/"+w.jobID+"/replay", map[string]string{"reason": "the receiver was corrected"}, 200, "dispatch.job.replayed")
			w.await(w.jobID, "DISPATCHED").want("job.attemptCount", 5.0)
			if n := w.receiver.times(w.jobID); n != 1 {
				w.t.Errorf("the receiver took it %d times", n)
			}
			want := "dispatch.job.accepted dispatch.attempt.failed dispatch.job.dead_lettered dispatch.job.replayed dispatch.attempt.failed " +
				"dispatch.job.dead_lettered dispatch.job.replayed dispatch.job.dispatched"
			if got := strings.Join(w.story(w.jobID), " "); got != want {
				w.t.Errorf("the job's story is %s", got)
			}
			w.checkEvents()
		}},
	}
}

// alerted wants the dead letters to have been told of, once.
func (w *walk) alerted() {
	w.t.Helper()
	select {
	case body := <-w.alerts:
		var alert struct{ Type, Text string }
		if err := json.Unmarshal([]byte(body), &alert); err != nil || alert.Type != "dispatch.dead_letter" ||
			!strings.Contains(alert.Text, "https://sealpost.pilot.example/") {
			w.t.Errorf("the alert is %s", body)
		}
	case <-time.After(30 * time.Second):
		w.t.Fatal("nobody was alerted")
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		a := w.call(w.admin, "GET", "/api/admin/observability/summary?windowMinutes=60", nil, 200)
		alert := a.body["alerts"].([]any)[0].(map[string]any)
		if alert["up"] == true && alert["delivery"] == "SENT" {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("the alert is %v", alert)
		}
	}
}

func (w *walk) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.secrets, name)); err != nil {
		w.t.Fatal(fmt.Errorf("take %s away: %w", name, err))
	}
}
