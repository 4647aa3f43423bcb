package web_test

import (
	"regexp"
	"strings"
	"testing"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

func TestUserPages(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		wantPage(t, v.get("/users"), 200, `href="/users/new"`, "AUDITOR")
		wantPage(t, v.get("/users/new"), 200, `<option selected>AUTHOR</option>`)

		wantPage(t, v.post("/users", "name", "Eve", "email", "nonsense", "role", "AUTHOR"), 422, "E-mail is not an address", `value="nonsense"`, `value="Eve"`)
		wantPage(t, v.post("/users", "name", "", "email", "eve@example.org", "role", "AUTHOR"), 422, "Name is empty")
		wantPage(t, v.post("/users", "name", "Eve", "email", "eve@example.org", "role", "ROOT"), 422, "Role is one of ADMIN, AUTHOR and AUDITOR")
		made := v.post("/users", "name", "Eve & co", "email", "eve@example.org", "role", "AUTHOR")
		wantPage(t, made, 201, "Password of Eve &amp; co", "within 72 hours")
		password := regexp.MustCompile(`class="secret" value="([^"]+)" readonly`).FindStringSubmatch(made.Text)
		id := regexp.MustCompile(`data-address="/users/([^"]+)"`).FindStringSubmatch(made.Text)
		if password == nil || id == nil {
			t.Fatalf("there is no password, or no address: %s", made.Text)
		}
		wantPage(t, v.post("/users", "name", "Eve", "email", "EVE@example.org", "role", "AUTHOR"), 409, "There is an account with this e-mail already")
		if _, err := s.Accounts.Login(t.Context(), audit.Principal{IP: "127.0.0.1"}, account.Credentials{Email: "eve@example.org", Password: password[1]}); err != nil {
			t.Errorf("the password does not sign in: %v", err)
		}
		own := "/users/" + id[1]
		wantPage(t, v.get(own), 200, "ENABLED", "eve@example.org", `<option selected>AUTHOR</option>`, own+"/reset-password")
		if strings.Contains(v.get(own).Text, password[1]) {
			t.Error("the password is shown again")
		}

		wantPage(t, v.post(own, "name", "", "was.role", "AUTHOR", "role", "AUDITOR"), 422, "Name is empty", `<option selected>AUDITOR</option>`)
		wantTo(t, v.post(own, "name", "Eve", "was.role", "AUTHOR", "role", "AUDITOR"), own+"?done=userchanged")
		wantPage(t, v.get(own+"?done=userchanged"), 200, "The user was changed.", `<option selected>AUDITOR</option>`)
		// A role that somebody else has changed meanwhile stays.
		wantTo(t, v.post(own, "name", "Eve Lee", "was.role", "AUTHOR", "role", "AUTHOR"), own+"?done=userchanged")
		if u, err := s.Accounts.User(t.Context(), id[1]); err != nil || u.Name != "Eve Lee" || u.Role != audit.Auditor {
			t.Errorf("the user is %+v, %v", u, err)
		}

		wantPage(t, v.post(own+"/reset-mfa", "reason", " "), 422, "Give a reason of at most 500 characters")
		wantTo(t, v.post(own+"/reset-mfa", "reason", "lost phone"), own+"?done=mfareset")
		wantPage(t, v.post(own+"/reset-password", "reason", strings.Repeat("x", 501)), 422, "Give a reason")
		reset := v.post(own+"/reset-password", "reason", "forgotten")
		wantPage(t, reset, 200, "Reset token of Eve Lee", `value="spw_`)
		if strings.Contains(v.get(own).Text, "spw_") {
			t.Error("the token is shown again")
		}
		wantTo(t, v.post(own+"/sign-out"), own+"?done=signedout")
		wantTo(t, v.post(own+"/disable"), own+"?done=disabled")
		wantPage(t, v.get(own+"?done=disabled"), 200, "DISABLED", "The account is disabled", own+"/enable")
		wantPage(t, v.post(own+"/reset-password", "reason", "forgotten"), 409, "This user is disabled")
		wantTo(t, v.post(own+"/enable"), own+"?done=enabled")
		wantPage(t, v.get("/users/"+store.NewID()), 404)

		// The last ADMIN stays, and is not offered a reset of the own password.
		list, err := s.Accounts.Users(t.Context(), store.Page{Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list.Items {
			if u.Role != audit.Admin {
				continue
			}
			wantPage(t, v.post("/users/"+u.ID+"/disable"), 409, "This is the last enabled ADMIN")
			wantPage(t, v.post("/users/"+u.ID, "name", u.Name, "was.role", "ADMIN", "role", "AUTHOR"), 409, "This is the last enabled ADMIN")
			if page := v.get("/users/" + u.ID); strings.Contains(page.Text, "reset-password") {
				t.Errorf("the own password can be reset: %s", page.Text)
			}
		}

		// Every change asks for the password where the sign-in is not fresh, and then goes on.
		stale(t, s)
		for _, path := range []string{"/users", own, own + "/disable", own + "/enable", own + "/reset-mfa", own + "/reset-password", own + "/sign-out"} {
			wantPage(t, v.post(path, "name", "X", "email", "x@example.org", "role", "AUTHOR", "reason", "because"), 403, `name="reauth.password"`)
		}
		if u, err := s.Accounts.User(t.Context(), id[1]); err != nil || u.Disabled || u.Name != "Eve Lee" {
			t.Errorf("the user is %+v, %v", u, err)
		}
	})
}
