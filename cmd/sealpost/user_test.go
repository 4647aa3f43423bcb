package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"sealpost/client"
	"sealpost/store"
	"sealpost/store/storetest"
)

// userTool runs `sealpost user` beside a process, with its environment.
func (p *process) userTool(stdin string, args ...string) string {
	p.t.Helper()
	var out, errs strings.Builder
	tool := program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, environ: p.env}
	if status := tool.main(p.t.Context(), append([]string{"user"}, args...)); status != exitOK {
		p.t.Fatalf("user %v: status %d, %s%s", args, status, out.String(), errs.String())
	}
	return out.String()
}

// enrollmentOf signs in with a password alone, which must lead to enrollment.
func (p *process) enrollmentOf(email, password string) string {
	p.t.Helper()
	err := p.api.Call(p.t.Context(), http.MethodPost, "/api/auth/login", map[string]string{"email": email, "password": password}, nil)
	problem, _ := err.(*client.Problem) //nolint:errorlint // it is the client's own
	if problem == nil || problem.Status != http.StatusForbidden {
		p.t.Fatalf("sign-in with the password alone: %v", err)
	}
	token, _ := problem.Details["enrollmentToken"].(string)
	return token
}

// enroll completes an enrollment and keeps the access token.
func (p *process) enroll(token, newPassword string) (secret string) {
	p.t.Helper()
	var start struct{ Setup struct{ Secret string } }
	p.must(http.MethodPost, "/api/auth/mfa/enroll/start", map[string]string{"enrollmentToken": token}, &start)
	code, err := totpCode(start.Setup.Secret, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	body := map[string]string{"enrollmentToken": token, "mfaCode": code}
	if newPassword != "" {
		body["newPassword"] = newPassword
	}
	var done struct{ Token string }
	p.must(http.MethodPost, "/api/auth/mfa/enroll/complete", body, &done)
	p.api.Token = done.Token
	return start.Setup.Secret
}

// The only ADMIN has lost the phone and the backup codes: the way back in, with the server running and
// without, and what the audit log says of it.
func TestBreakGlass(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, databaseURL string) {
		const email, first, second = "ada@example.org", "vK8#qLw2!nPz", "Quiet-Lantern_58-Fjord"
		p := newProcess(t, databaseURL, "MFA_REQUIRED=true")
		p.start()
		var made struct{ EnrollmentToken string }
		p.must(http.MethodPost, "/api/auth/register-first", map[string]string{"email": email, "name": "Ada", "password": first}, &made)
		p.enroll(made.EnrollmentToken, "")

		p.userTool("", "reset-mfa", "--email", email, "--reason", "SEC-1: lost phone")
		if err := p.api.Call(t.Context(), http.MethodGet, "/api/auth/me", nil, nil); client.StatusOf(err) != http.StatusUnauthorized {
			t.Errorf("the session goes on: %v", err)
		}
		p.api.Token = ""
		p.enroll(p.enrollmentOf(email, first), "")

		// The password is forgotten too, and the server does not run.
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		p.userTool("", "reset-mfa", "--email", email, "--reason", "SEC-2: lost again")
		p.userTool(second+"\n", "reset-password", "--email", email, "--password-stdin", "--reason", "SEC-2: lost again")
		out := p.userTool("", "create", "--email", "bo@example.org", "--name", "Bo", "--role", "ADMIN", "--reason", "SEC-2: a second ADMIN")
		_, given, _ := strings.Cut(out, "password, shown this once: ")
		given, _, _ = strings.Cut(given, "\n")
		p.start()
		p.api.Token = ""
		p.enroll(p.enrollmentOf(email, second), "")
		p.enroll(p.enrollmentOf("bo@example.org", given), "Blue7!Kettle-Moth")

		for action, reasons := range map[string]string{
			"auth.mfa.reset": "SEC-2: lost again, SEC-1: lost phone", "auth.password.reset_offered": "SEC-2: lost again",
			"auth.user.registered": "SEC-2: a second ADMIN",
		} {
			var list struct {
				Events []struct {
					Actor   struct{ Kind, ID string }
					Details map[string]any
				}
			}
			p.must(http.MethodGet, "/api/admin/audit/events?actorId=system:operator&action="+action, nil, &list)
			var said []string
			for _, e := range list.Events {
				said = append(said, e.Details["reason"].(string))
				if text, _ := json.Marshal(e); strings.Contains(string(text), given) || strings.Contains(string(text), "spw_") {
					t.Errorf("the event has a secret: %s", text)
				}
			}
			if got := strings.Join(said, ", "); got != reasons {
				t.Errorf("%s: the reasons are %q, want %q", action, got, reasons)
			}
		}
	})
}

// While another process has the SQLite database and answers nothing, nothing can be done.
func TestUserOfALockedDatabase(t *testing.T) {
	p := newProcess(t, storetest.SQLiteURL(t))
	p.start() // makes the database and its secrets
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	var url string
	for _, v := range p.env {
		if u, ok := strings.CutPrefix(v, "DATABASE_URL="); ok {
			url = u
		}
	}
	st, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close() //nolint:errcheck // the test's own
	var out, errs strings.Builder
	tool := program{stdout: &out, stderr: &errs, environ: p.env}
	status := tool.main(t.Context(), []string{"user", "reset-mfa", "--email", "ada@example.org", "--reason", "SEC-1"})
	if status != store.ExitLocked || out.Len() != 0 || !strings.Contains(errs.String(), "nothing has been changed") ||
		!strings.Contains(errs.String(), "does not answer on the operator's socket") {
		t.Errorf("status %d, %s%s", status, out.String(), errs.String())
	}
}
