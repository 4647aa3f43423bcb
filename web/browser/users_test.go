package browser_test

import (
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
)

// An ADMIN makes an account, changes its role, helps its user and ends its access, in a window.
func TestUsersInABrowser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := begin(t, st)
		o.enroll()
		o.click(`nav a[href="/users"]`)
		o.sees("h1", "Users")
		o.shot("users")
		o.click(`a[href="/users/new"]`)
		o.fill("#name", "Eve Auditor")
		o.fill("#email", "eve@example.org")
		o.value(`document.querySelector("#role").value = "AUDITOR"`)
		o.click("main form button")
		o.sees("h1", "Password of Eve Auditor")
		if password := o.value(`document.querySelector("#secret").value`); len(password) != 34 {
			t.Errorf("the password is %q", password)
		}
		o.click("main [role=button]")
		o.sees("h1", "Eve Auditor")
		o.shot("user")

		o.value(`document.querySelector("#role").value = "AUTHOR"`)
		o.click("#save")
		o.sees(".done", "The user was changed.")
		o.fill("#mfareason", "lost phone, SEC-1")
		o.click("#resetmfa")
		o.sees(".done", "The second factor is taken away.")
		o.fill("#passwordreason", "forgotten, SEC-1")
		o.click("#resetpassword")
		o.sees("h1", "Reset token of Eve Auditor")
		if token := o.value(`document.querySelector("#secret").value`); !strings.HasPrefix(token, "spw_") {
			t.Errorf("the token is %q", token)
		}
		o.click("main [role=button]")
		o.click("#disable")
		o.sees(".done", "The account is disabled")
		o.sees(".state", "DISABLED")

		u, err := o.server.Accounts.UserByEmail(t.Context(), "eve@example.org")
		if err != nil || !u.Disabled || u.Role != audit.Author {
			t.Errorf("the user is %+v, %v", u, err)
		}
	})
}
