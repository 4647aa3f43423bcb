package web_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

const rotationPath = "/api/admin/security/secret-rotation/"

// tracked is what a status says of one secret.
func tracked(t *testing.T, a webtest.Answer, secret string) map[string]any {
	t.Helper()
	for _, item := range a.At("status.secretsTracked").([]any) {
		if m := item.(map[string]any); m["secret"] == secret {
			return m
		}
	}
	t.Fatalf("%s is not tracked: %s", secret, a.Text)
	return nil
}

func TestSecretRotationRoutes(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin, auditor, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "eve", audit.Auditor), s.SignIn(t, "bob", audit.Author)
		endpoint := s.Do(t, "POST", "/api/admin/dispatch/endpoints", admin, map[string]string{"name": "Ledger", "url": "http://127.0.0.1:1/"}).Want(t, 201).At("endpoint.id").(string)
		body := func(change ...any) map[string]any {
			b := map[string]any{
				"ticketId": "SEC-42", "secrets": []string{"JWT_SECRET", "endpoint:" + endpoint}, "environments": []string{"pilot"}, "rollbackPlan": "put it back",
			}
			for i := 0; i < len(change); i += 2 {
				if change[i+1] == nil {
					delete(b, change[i].(string))
				} else {
					b[change[i].(string)] = change[i+1]
				}
			}
			return b
		}

		at := s.Do(t, "GET", rotationPath+"status", auditor, nil).Want(t, 200)
		wantNames(t, at.At("status"), "policyDays", "hasRecordedRotation", "latestRotation", "secretsTracked", "staleSecrets")
		wantNames(t, tracked(t, at, "JWT_SECRET"), "secret", "rotatedAt", "ageDays", "withinPolicy", "changedAt", "recordMatches")
		if at.At("status.policyDays") != 90.0 || at.At("status.hasRecordedRotation") != false || at.At("status.latestRotation") != nil ||
			len(at.At("status.staleSecrets").([]any)) != 0 || tracked(t, at, "endpoint:"+endpoint)["name"] != "Ledger" || tracked(t, at, "JWT_SECRET")["rotatedAt"] != nil {
			t.Errorf("at first: %s", at.Text)
		}

		recorded := s.Do(t, "POST", rotationPath+"record", admin, body("notes", "by night")).Want(t, 201)
		wantNames(t, recorded.At("rotation"), "id", "rotatedAt", "recordedAt", "operatorId", "operator", "ticketId", "secrets", "environments", "rollbackPlan", "notes")
		if recorded.At("rotation.operator") != "ann@example.org" {
			t.Errorf("recorded: %s", recorded.Text)
		}
		at = s.Do(t, "GET", rotationPath+"status", admin, nil).Want(t, 200)
		if at.At("status.hasRecordedRotation") != true || at.At("status.latestRotation.id") != recorded.At("rotation.id") || tracked(t, at, "JWT_SECRET")["recordMatches"] != true {
			t.Errorf("recorded: %s", at.Text)
		}

		for name, b := range map[string]any{
			"no ticket": body("ticketId", nil), "no secrets": body("secrets", nil), "no environments": body("environments", nil), "no plan": body("rollbackPlan", nil),
			"empty ticket": body("ticketId", ""), "empty secrets": body("secrets", []string{}), "empty environments": body("environments", []string{}), "empty plan": body("rollbackPlan", ""),
			"null secrets":  `{"ticketId":"T","secrets":null,"environments":["pilot"],"rollbackPlan":"p"}`,
			"a long ticket": body("ticketId", strings.Repeat("x", 101)), "a long plan": body("rollbackPlan", strings.Repeat("x", 4001)), "long notes": body("notes", strings.Repeat("x", 4001)),
			"an unknown secret": body("secrets", []string{"PATH"}), "no such endpoint": body("secrets", []string{"endpoint:" + store.NewID()}),
			"a long environment": body("environments", []string{strings.Repeat("x", 61)}), "an operator": body("operator", "someone else"),
			"in the future": body("rotatedAt", time.Now().Add(2*time.Minute)), "no time": body("rotatedAt", "yesterday"), "no body": `{}`,
		} {
			if a := s.Do(t, "POST", rotationPath+"record", admin, b); a.Status != 422 {
				t.Errorf("%s: %d %s", name, a.Status, a.Text)
			}
		}
		wantProblem(t, s.Do(t, "POST", rotationPath+"record", admin, nil), 400, "body")

		for _, path := range []string{"record", "reload"} {
			var b any
			if path == "record" {
				b = body()
			}
			wantProblem(t, s.Do(t, "POST", rotationPath+path, "", b), 401, "sign in")
			wantProblem(t, s.Do(t, "POST", rotationPath+path, author, b), 403, "your role")
			wantProblem(t, s.Do(t, "POST", rotationPath+path, auditor, b), 403, "your role")
		}
		wantProblem(t, s.Do(t, "GET", rotationPath+"status", "", nil), 401, "sign in")
		wantProblem(t, s.Do(t, "GET", rotationPath+"status", author, nil), 403, "your role")
		stale(t, s)
		for _, path := range []string{"record", "reload"} {
			var b any
			if path == "record" {
				b = body()
			}
			if a := s.Do(t, "POST", rotationPath+path, admin, b); a.Status != 401 || a.At("details.reauthRequired") != true {
				t.Errorf("%s with an old sign-in: %d %s", path, a.Status, a.Text)
			}
		}
		s.Do(t, "GET", rotationPath+"status", admin, nil).Want(t, 200)
		if n := len(actions(t, s, audit.Filter{Action: "security.rotation.recorded"})); n != 1 {
			t.Errorf("%d rotations were recorded", n)
		}
	})
}

// A token goes on while the secret that signed it is rotated, and stops where that leaked. Nothing of a
// secret is in the answers.
func TestSecretsAreReadAgainOverSockets(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		token := s.SignIn(t, "ann", audit.Admin)
		path := filepath.Join(s.Config.DataDir, "secrets", "JWT_SECRET")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write := func(path, text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		const second, third = "the second secret, of more than 32 bytes", "the third secret, of more than 32 bytes too"
		reload := func(token string) map[string]any {
			t.Helper()
			a := s.Do(t, "POST", rotationPath+"reload", token, nil).Want(t, 200)
			if strings.Contains(a.Text, second) || strings.Contains(a.Text, strings.TrimSpace(string(text))) {
				t.Errorf("a secret is in the answer: %s", a.Text)
			}
			return a.Body["secrets"].([]any)[0].(map[string]any)
		}
		before := reload(token)
		wantNames(t, before, "secret", "keyId", "since", "settled")
		write(path+"_PREVIOUS", string(text))
		write(path, second)
		after := reload(token)
		if after["keyId"] == before["keyId"] || after["previousKeyId"] != before["keyId"] || after["previousUntil"] == nil {
			t.Errorf("rotated: %v", after)
		}
		s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 200)
		next := s.SignIn(t, "ann", audit.Admin)
		s.Do(t, "GET", "/api/auth/me", next, nil).Want(t, 200)

		write(path, "short")
		if refused := reload(next); refused["keyId"] != after["keyId"] || !strings.Contains(refused["problem"].(string), "5 bytes") {
			t.Errorf("a bad value: %v", refused)
		}
		if !strings.Contains(s.Logged(), "the old one stays") {
			t.Error("the log does not tell of it")
		}
		write(path, third)
		if err := os.Remove(path + "_PREVIOUS"); err != nil {
			t.Fatal(err)
		}
		reload(next) // the last that this token does
		for _, old := range []string{token, next} {
			wantProblem(t, s.Do(t, "GET", "/api/auth/me", old, nil), 401, "not valid")
		}
		s.Do(t, "GET", "/api/auth/me", s.SignIn(t, "ann", audit.Admin), nil).Want(t, 200)
	})
}
