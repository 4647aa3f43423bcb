package web_test

import (
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

// The first account is made on a page as by the API: once, by the policy, and from elsewhere with the token.
func TestFirstAccountByPage(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st, productionEnv...)
		v := visit(t, s)
		wantPage(t, v.get("/login"), 200, "There is no account yet", `href="/first"`)
		wantPage(t, v.get("/first"), 200, "The first account", "At least 12 characters")
		const post, form, kind = "POST", "application/x-www-form-urlencoded", "Content-Type"
		elsewhere := func(token string) webtest.Answer {
			body := "name=Ada&email=ada%40example.com&password=vK8%23qLw2%21nPz&bootstrapToken=" + token
			return v.do(post, "/first", body, kind, form, "Sec-Fetch-Site", "same-origin", "X-Forwarded-For", "203.0.113.9")
		}
		wantPage(t, v.do("GET", "/first", "", "X-Forwarded-For", "203.0.113.9"), 200, "Bootstrap token")
		wantPage(t, elsewhere("guess-guess-guess"), 403, "X-Bootstrap-Token", `id="bootstrapToken-error"`, `value="ada@example.com"`)
		wantPage(t, v.post("/first", "name", "Ada", "email", "ada@example.com", "password", "ada 2026"), 422,
			"12 characters", "symbol", `id="issues"`, `id="password-error"`)
		wantPage(t, v.post("/first", "name", "Ada", "email", "ada", "password", adminPassword), 422, `id="email-error"`, "E-mail is not an address")
		wantPage(t, elsewhere(string(s.Config.Secrets.Bootstrap.Reveal())), 200, "Enroll a second factor")
		wantPage(t, elsewhere(string(s.Config.Secrets.Bootstrap.Reveal())), 409, "has been made already", `action="/login"`)
		wantTo(t, v.get("/first"), "/login")
	})
}
