package browser_test

import (
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

// TestFirstAccountInABrowser begins where nobody has an account: the form, a password that is refused, the
// second factor, the list of jobs.
func TestFirstAccountInABrowser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st, "MFA_REQUIRED=true")
		o := &operator{tab: open(t, s.URL), server: s}
		o.visit("/")
		o.at("/login")
		o.click("#first")
		o.at("/first")
		o.shot("first")
		o.fill("#name", "Ada")
		o.fill("#email", adminEmail)
		o.fill("#password", "summer 2026")
		o.expect("422")
		o.click("form[action='/first'] button")
		o.sees("#issues", "white space")
		o.until(`document.querySelector("#email").value === "` + adminEmail + `" && document.querySelector("#password").value === ""`)
		o.shot("first-refused")
		o.fill("#password", adminPassword)
		o.click("form[action='/first'] button")
		o.factor()
		o.sees("h1", "Jobs")
	})
}
