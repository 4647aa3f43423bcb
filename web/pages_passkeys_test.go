package web_test

import (
	"encoding/json"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/account/passkeytest"
	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

// asked gives the options that a page has for a device.
func asked(t *testing.T, a webtest.Answer) json.RawMessage {
	t.Helper()
	m := regexp.MustCompile(`data-options="([^"]+)"`).FindStringSubmatch(a.Text)
	if m == nil {
		t.Fatalf("nobody is asked in %s", a.Text)
	}
	return json.RawMessage(html.UnescapeString(m[1]))
}

func notFresh(t *testing.T, s *webtest.Server) {
	t.Helper()
	err := s.Store.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `update session set authenticated_at = $1`, time.Now().Add(-time.Hour).UnixMicro())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPasskeyPages does with forms what the script does in a browser.
func TestPasskeyPages(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Author)
		d := passkeytest.New(s.Config.PublicURL.String())
		wantPage(t, v.get("/passkeys"), 200, "You have no passkey yet", `href="/passkeys/new"`)
		wantPage(t, v.get("/passkeys/new"), 200, `action="/passkeys/new"`)
		const name = `Kim's <b>"laptop"</b>`
		ask := v.post("/passkeys/new", "name", name)
		wantPage(t, ask, 200, `data-passkey="create"`, `data-origin="`+s.Config.PublicURL.String()+`"`)
		if got := hidden(t, ask, "name"); html.UnescapeString(got) != name {
			t.Errorf("the name is %q", got)
		}
		credential := string(d.Create(t, asked(t, ask)))
		wantPage(t, v.post("/passkeys", "name", strings.Repeat("x", 101), "credential", credential), 422, "Name is longer than 100 characters")
		wantPage(t, v.post("/passkeys", "name", name, "credential", "{}"), 422, "not what a browser gives")
		wantTo(t, v.post("/passkeys", "name", name, "credential", credential), "/passkeys?done=passkey")
		wantPage(t, v.post("/passkeys", "name", name, "credential", credential), 422, "could not be registered: start again")
		list := v.get("/passkeys?done=passkey")
		wantPage(t, list, 200, "The passkey was added", html.EscapeString("Kim's"), "never", "on one device")
		id := regexp.MustCompile(`id="passkey-([^"]+)"`).FindStringSubmatch(list.Text)[1]

		// Signed in with it, and confirmed with it.
		other := visit(t, s)
		start := s.Do(t, "POST", "/api/auth/passkeys/login/start", "", nil).Want(t, 200)
		answer := string(d.Get(t, start.At("publicKey")))
		wantTo(t, other.post("/login/passkey", "credential", answer, "to", "/passkeys"), "/passkeys")
		wantPage(t, other.get("/passkeys"), 200, "author@example.com")
		wantPage(t, visit(t, s).post("/login/passkey", "credential", answer), 401, "This passkey was not accepted", `action="/login/passkey"`)
		wantPage(t, visit(t, s).post("/login/passkey", "credential", ""), 422, "not what a browser gives")

		notFresh(t, s)
		ask = other.post("/passkeys/" + id + "/delete")
		wantPage(t, ask, 403, "Confirm that it is you", `data-passkey="get"`, `name="reauth.passkey"`, `href="/passkeys/`+id+`"`)
		again := other.post("/passkeys/"+id+"/delete", "reauth.password", "", "reauth.passkey", answer) // a sign-in's
		wantPage(t, again, 401, "This passkey was not accepted", `data-passkey="get"`)
		wantPage(t, other.get("/passkeys/"+id), 200, "Delete Kim&#39;s", `action="/passkeys/`+id+`/delete"`)
		wantTo(t, other.post("/passkeys/"+id+"/delete", "reauth.password", "", "reauth.passkey", string(d.Get(t, asked(t, again)))), "/passkeys?done=nopasskey")
		wantPage(t, other.get("/passkeys?done=nopasskey"), 200, "The passkey was deleted", "You have no passkey yet")
		wantPage(t, other.get("/passkeys/"+id), 404, "You have no such passkey")
	}, "AUTH_LOGIN_MAX_ATTEMPTS=100")
}

// TestNoPasskeysOnPages is a server that people know by a number.
func TestNoPasskeysOnPages(t *testing.T) {
	s := withPeople(t, webtest.Start(t, storetest.Open(t, storetest.SQLiteURL(t)), "PUBLIC_URL=http://192.0.2.7:4000"))
	v := signIn(t, s, audit.Admin)
	page := v.get("/passkeys")
	wantPage(t, page, 200, "Passkeys are not available here: PUBLIC_URL is http://192.0.2.7:4000")
	if strings.Contains(page.Text, `href="/passkeys/new"`) {
		t.Error("the page offers what there is not")
	}
	wantPage(t, v.get("/passkeys/new"), 503, "IP address")
	notFresh(t, s)
	confirm := v.post("/passkeys/" + someID + "/delete")
	wantPage(t, confirm, 403, "Confirm that it is you")
	if strings.Contains(confirm.Text, "data-passkey") {
		t.Error("nobody can confirm with what there is not")
	}
}
