package web_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

// These tests are the attacks that docs/threat-model-accounts.md lists, each as somebody would make it:
// through the socket, on both databases.

const requireMFA = "MFA_REQUIRED=true"

// enrolledAdmin makes the first account and enrolls it.
func enrolledAdmin(t *testing.T, s *webtest.Server) enrolled {
	t.Helper()
	first := s.Do(t, "POST", "/api/auth/register-first", "", fields{"email": "ada@example.com", "name": "Ada", "password": adminPassword}).Want(t, 201)
	return enroll(t, s, text(t, first, "enrollmentToken"), nil)
}

// login tries to sign in as the first admin.
func login(t *testing.T, s *webtest.Server, more fields, headers ...string) webtest.Answer {
	t.Helper()
	body := fields{"email": "ada@example.com", "password": adminPassword}
	maps.Copy(body, more)
	return s.Do(t, "POST", "/api/auth/login", "", body, headers...)
}

// wantNothingGiven fails the test where a refusal hands out a token or a cookie.
func wantNothingGiven(t *testing.T, a webtest.Answer) {
	t.Helper()
	if len(a.Header["Set-Cookie"]) > 0 || a.At("token") != nil || strings.Contains(a.Text, "spr_") {
		t.Errorf("the refusal gives %s and %v", a.Text, a.Header["Set-Cookie"])
	}
}

// setCookie gives the value of a cookie that an answer sets.
func setCookie(t *testing.T, a webtest.Answer, name string) string {
	t.Helper()
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("the answer does not set %s: %v", name, a.Header["Set-Cookie"])
	return ""
}

// race makes a request many times at once and counts the answers by status.
func race(n int, do func() webtest.Answer) (answers []webtest.Answer, statuses map[int]int) {
	answers, statuses = make([]webtest.Answer, n), map[int]int{}
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			answers[i] = do()
		})
	}
	close(start)
	wg.Wait()
	for _, a := range answers {
		statuses[a.Status]++
	}
	return answers, statuses
}

// execute changes the database behind the server's back.
func execute(t *testing.T, s *webtest.Server, query string, args ...any) {
	t.Helper()
	err := s.Store.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAttackPasswordOnly(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		enrolledAdmin(t, s)
		for _, more := range []fields{nil, {"mfaCode": ""}, {"backupCode": ""}, {"mfaCode": "000000"}, {"backupCode": "000000-000000-000000-000000"}} {
			a := login(t, s, more).Want(t, 401)
			if a.At("details.mfaRequired") != true {
				t.Error(a.Text)
			}
			wantNothingGiven(t, a)
		}
	}, requireMFA)
}

// A token of one kind opens nothing that another kind is for.
func TestAttackTokenOfAnotherKind(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := enrolledAdmin(t, s)
		s.Do(t, "POST", "/api/auth/register", ada.token, fields{"email": "kim@example.com", "name": "Kim", "password": givenPassword, "role": "AUTHOR"}).Want(t, 201)
		kim := s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": givenPassword}).Want(t, 403)
		wantNothingGiven(t, kim)
		enrollment := text(t, kim, "details.enrollmentToken")
		in := login(t, s, fields{"backupCode": ada.codes[0]}).Want(t, 200)
		device := setCookie(t, in, "sealpost_device")
		// The pages' first step gives a ticket, which is no sign-in yet.
		v := visit(t, s)
		page := v.post("/login", "email", "ada@example.com", "password", adminPassword)
		ticket, _, _ := strings.Cut(strings.SplitAfter(page.Text, `name="ticket" value="`)[1], `"`)
		for name, token := range map[string]string{"enrollment": enrollment, "pre-MFA ticket": ticket, "refresh": ada.cookie, "device": device, "none": "x"} {
			s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 401)
			s.Do(t, "POST", "/api/auth/mfa/setup", token, nil).Want(t, 401)
			s.Do(t, "GET", "/api/admin/users", token, nil).Want(t, 401)
			if name != "refresh" {
				s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": token}).Want(t, 401)
			}
			if name != "enrollment" {
				s.Do(t, "POST", "/api/auth/mfa/enroll/start", "", fields{"enrollmentToken": token}).Want(t, 401)
			}
			for _, cookie := range []string{"sealpost", "__Host-sealpost"} {
				if a := s.Do(t, "GET", "/jobs", "", nil, "Cookie", cookie+"="+token, "Accept", "text/html"); a.Status != 303 {
					t.Errorf("%s as a page's cookie: %d", name, a.Status)
				}
			}
		}
		s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": ada.token}).Want(t, 401) // access as refresh
		s.Do(t, "POST", "/api/auth/mfa/enroll/complete", "", fields{"enrollmentToken": ada.token, "mfaCode": "123456"}).Want(t, 401)
		s.Do(t, "GET", "/api/auth/me", ada.token, nil).Want(t, 200)
	}, requireMFA)
}

// Another user's code, the code that enrollment was completed with, codes of a clock that is 90 s off, old
// backup codes: none is taken, and none uses up what is right.
func TestAttackWrongCodes(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := enrolledAdmin(t, s)
		wantProblem(t, login(t, s, fields{"mfaCode": ada.code}), 401, "used already") // the enrollment's, again
		s.Do(t, "POST", "/api/auth/register", ada.token, fields{"email": "kim@example.com", "name": "Kim", "password": givenPassword, "role": "AUTHOR"}).Want(t, 201)
		offered := s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": givenPassword}).Want(t, 403)
		kim := enroll(t, s, text(t, offered, "details.enrollmentToken"), fields{"newPassword": chosenPassword})
		login(t, s, fields{"mfaCode": totpCode(t, kim.secret, 1)}).Want(t, 401)
		login(t, s, fields{"backupCode": kim.codes[0]}).Want(t, 401)
		login(t, s, fields{"mfaCode": totpCode(t, ada.secret, 3)}).Want(t, 401)  // a clock 90 s ahead
		login(t, s, fields{"mfaCode": totpCode(t, ada.secret, -3)}).Want(t, 401) // and 90 s behind
		login(t, s, fields{"mfaCode": totpCode(t, ada.secret, 1)}).Want(t, 200)  // 30 s ahead is taken

		again := s.Do(t, "POST", "/api/auth/mfa/backup-codes/regenerate", kim.token, fields{"mfaCode": totpCode(t, kim.secret, 1)}).Want(t, 200)
		wantProblem(t, s.Do(t, "POST", "/api/auth/login", "",
			fields{"email": "kim@example.com", "password": chosenPassword, "backupCode": kim.codes[0]}), 401, "wrong") // an old one
		codes, _ := again.At("backupCodes").([]any)
		s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": chosenPassword, "backupCode": codes[0]}).Want(t, 200)
	}, requireMFA)
}

// An ADMIN resets somebody's factor while that one is signed in, or while whoever stole the phone is.
func TestAttackResetDuringASession(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := enrolledAdmin(t, s)
		made := s.Do(t, "POST", "/api/auth/register", ada.token, fields{"email": "kim@example.com", "name": "Kim", "password": givenPassword, "role": "AUTHOR"}).Want(t, 201)
		offered := s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": givenPassword}).Want(t, 403)
		kim := enroll(t, s, text(t, offered, "details.enrollmentToken"), fields{"newPassword": chosenPassword})
		s.Do(t, "GET", "/api/auth/me", kim.token, nil).Want(t, 200)
		s.Do(t, "POST", "/api/admin/users/"+text(t, made, "user.id")+"/mfa/reset", ada.token, fields{"reason": "stolen phone"}).Want(t, 200)
		s.Do(t, "GET", "/api/auth/me", kim.token, nil).Want(t, 401)
		s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": kim.cookie}).Want(t, 401)
		for name, value := range map[string]string{"mfaCode": totpCode(t, kim.secret, 1), "backupCode": kim.codes[0]} {
			a := s.Do(t, "POST", "/api/auth/login", "", fields{"email": "kim@example.com", "password": chosenPassword, name: value})
			if a.Status != 403 || a.At("token") != nil {
				t.Errorf("with the old %s: %d %s", name, a.Status, a.Text)
			}
		}
	}, requireMFA)
}

func TestAttackTwentyWithOneCode(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := enrolledAdmin(t, s)
		code := totpCode(t, ada.secret, 1)
		for name, value := range map[string]string{"mfaCode": code, "backupCode": ada.codes[0]} {
			_, statuses := race(20, func() webtest.Answer { return login(t, s, fields{name: value}) })
			if statuses[200] != 1 || statuses[401] != 19 {
				t.Errorf("%s: %v", name, statuses)
			}
		}
	}, requireMFA, "AUTH_LOGIN_MAX_ATTEMPTS=100")
}

func TestAttackParallelRefreshes(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := enrolledAdmin(t, s)
		answers, statuses := race(10, func() webtest.Answer {
			return s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": ada.cookie})
		})
		if statuses[200] != 10 {
			t.Fatal(statuses)
		}
		successors := map[string]bool{}
		for _, a := range answers {
			successors[setCookie(t, a, "sealpost_refresh")] = true
			s.Do(t, "GET", "/api/auth/me", text(t, a, "token"), nil).Want(t, 200)
		}
		if len(successors) != 1 {
			t.Fatalf("%d successors", len(successors))
		}
		for token := range successors { // the family is alive
			s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": token}).Want(t, 200)
		}
	}, requireMFA)
}

// A spent token that comes back after the grace is in two hands: the family ends, and the log says so.
func TestAttackReuseAfterTheGrace(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := enrolledAdmin(t, s)
		next := s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": ada.cookie}).Want(t, 200)
		successor := setCookie(t, next, "sealpost_refresh")
		execute(t, s, `update refresh_token set spent_at = spent_at - 11000000 where spent_at is not null`)
		s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": ada.cookie}, "X-Request-Id", "reuse-1").Want(t, 401)
		s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": successor}).Want(t, 401)
		for _, token := range []string{ada.token, text(t, next, "token")} {
			s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 401)
		}
		if got := actions(t, s, audit.Filter{RequestID: "reuse-1"}); !slices.Equal(got, []string{"auth.refresh.reused"}) {
			t.Errorf("events of the reuse: %v", got)
		}
	}, requireMFA)
}

func TestAttackRefreshRacingLogoutAll(t *testing.T) {
	authServers(t, func(t *testing.T, s *webtest.Server) {
		ada := enrolledAdmin(t, s)
		var once sync.Once
		answers, _ := race(11, func() (a webtest.Answer) {
			first := false
			once.Do(func() { first = true })
			if first {
				return s.Do(t, "POST", "/api/auth/logout-all", ada.token, nil)
			}
			return s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": ada.cookie})
		})
		for _, a := range answers {
			if token, ok := a.At("token").(string); ok {
				s.Do(t, "GET", "/api/auth/me", token, nil).Want(t, 401)
				s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": setCookie(t, a, "sealpost_refresh")}).Want(t, 401)
			}
		}
		s.Do(t, "GET", "/api/auth/me", ada.token, nil).Want(t, 401)
		s.Do(t, "POST", "/api/auth/refresh", "", fields{"refreshToken": ada.cookie}).Want(t, 401)
	}, requireMFA)
}
