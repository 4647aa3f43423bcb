package web_test

import (
	"maps"
	"testing"

	"sealpost/audit"
	"sealpost/web/webtest"
)

const changedPassword = "Quiet-Lantern_58-Fjord"

func TestChangePasswordOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := firstAdmin(t, s)
		login := func(password string) webtest.Answer {
			return s.Do(t, "POST", "/api/auth/login", "", fields{"email": "ada@example.com", "password": password})
		}
		other := text(t, login(adminPassword).Want(t, 200), "token")
		change := func(token, current, password string) webtest.Answer {
			return s.Do(t, "POST", "/api/auth/password", token, fields{"currentPassword": current, "newPassword": password})
		}
		change("", adminPassword, changedPassword).Want(t, 401)
		wantProblem(t, change(ada, "wrong", changedPassword), 401, "current password is wrong")
		weak := change(ada, adminPassword, "weak")
		wantProblem(t, weak, 422, "policy")
		if issues := weak.At("details.issues").([]any); len(issues) < 4 {
			t.Errorf("the issues are %v", issues)
		}
		s.Do(t, "POST", "/api/auth/password", ada, fields{"currentPassword": adminPassword}).Want(t, 422)
		change(ada, adminPassword, changedPassword).Want(t, 204)
		s.Do(t, "GET", "/api/auth/me", other, nil).Want(t, 401)
		s.Do(t, "GET", "/api/auth/me", ada, nil).Want(t, 200)
		login(adminPassword).Want(t, 401)
		login(changedPassword).Want(t, 200)
		if got := actions(t, s, audit.Filter{Action: "auth.password.changed"}); len(got) != 1 {
			t.Errorf("events %v", got)
		}
	})
}

// A forgotten password, from the ADMIN's route to the next sign-in, which asks for the second factor.
func TestPasswordResetOverSockets(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		first := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
		ada := enroll(t, s, text(t, first, "enrollmentToken"), nil)
		kim := s.Do(t, "POST", "/api/auth/register", ada.token, fields{"email": "kim@example.com", "name": "Kim", "password": givenPassword, "role": "AUTHOR"}).Want(t, 201)
		login := func(more fields) webtest.Answer {
			body := fields{"email": "kim@example.com"}
			maps.Copy(body, more)
			return s.Do(t, "POST", "/api/auth/login", "", body)
		}
		token := text(t, login(fields{"password": givenPassword}).Want(t, 403), "details.enrollmentToken")
		asked := s.Do(t, "POST", "/api/auth/mfa/enroll/start", "", fields{"enrollmentToken": token}).Want(t, 200)
		wanted := s.Do(t, "POST", "/api/auth/mfa/enroll/complete", "", fields{"enrollmentToken": token, "mfaCode": totpCode(t, text(t, asked, "setup.secret"), 0)})
		if wanted.Want(t, 422).At("details.newPasswordRequired") != true {
			t.Errorf("enrollment without a new password: %s", wanted.Text)
		}
		bo := enroll(t, s, token, fields{"newPassword": chosenPassword})
		at := "/api/admin/users/" + text(t, kim, "user.id") + "/password-reset"

		s.Do(t, "POST", at, bo.token, fields{"reason": "forgotten"}).Want(t, 403)
		s.Do(t, "POST", at, ada.token, fields{"reason": ""}).Want(t, 422)
		s.Do(t, "POST", at, ada.token, nil).Want(t, 400)
		reset := s.Do(t, "POST", at, ada.token, fields{"reason": "forgotten"}).Want(t, 200)
		wantNames(t, reset.Body, "resetToken", "expiresAt")
		s.Do(t, "GET", "/api/auth/me", bo.token, nil).Want(t, 401)
		if a := login(fields{"password": chosenPassword}).Want(t, 401); a.At("details") != nil {
			t.Errorf("the old password is answered %s", a.Text)
		}
		choose := func(token, password string) webtest.Answer {
			return s.Do(t, "POST", "/api/auth/password/reset", "", fields{"resetToken": token, "newPassword": password})
		}
		unknown := choose("spw_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", changedPassword).Want(t, 401)
		choose(text(t, reset, "resetToken"), "weak").Want(t, 422)
		choose(text(t, reset, "resetToken"), changedPassword).Want(t, 204)
		spent := choose(text(t, reset, "resetToken"), adminPassword).Want(t, 401)
		if unknown.Body["error"] != spent.Body["error"] {
			t.Errorf("%s and %s", unknown.Text, spent.Text)
		}
		if a := login(fields{"password": changedPassword}).Want(t, 401); a.At("details.mfaRequired") != true {
			t.Errorf("without the second factor: %s", a.Text)
		}
		login(fields{"password": changedPassword, "backupCode": bo.codes[0]}).Want(t, 200)
	}, "MFA_REQUIRED=true")
}
