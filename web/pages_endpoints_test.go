package web_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/store"
	"sealpost/web/webtest"
)

// stale makes every sign-in one that is not fresh any more.
func stale(t *testing.T, s *webtest.Server) {
	t.Helper()
	err := s.Store.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `update session set authenticated_at = $1`, time.Now().Add(-time.Hour).UnixMicro())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEndpointPages(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		wantPage(t, v.get("/endpoints"), 200, "There is no endpoint yet", `href="/endpoints/new"`)
		wantPage(t, v.get("/endpoints/new"), 200, `placeholder="16"`, `placeholder="30"`, `placeholder="12"`)

		// Wrong: beside the field, with what was typed.
		wrong := v.post("/endpoints", "name", "Ledger", "url", "ftp://x", "concurrency", "5")
		wantPage(t, wrong, 422, "URL starts with https:// or http:// and names a host", `value="ftp://x"`, `value="Ledger"`, `value="5"`,
			`aria-invalid="true" aria-describedby="url-error url-hint"`, `<a href="#url">`)
		wantPage(t, v.post("/endpoints", "name", "", "url", "https://x"), 422, "Name has 1 to 200 characters")
		wantPage(t, v.post("/endpoints", "name", "a", "url", "https://x", "concurrency", "many"), 422, "Concurrency is 1 to 1024", `value="many"`)
		wantPage(t, v.post("/endpoints", "name", "a", "url", "https://x", "timeoutSeconds", "301"), 422, "Timeout is 1 to 300")
		wantPage(t, v.post("/endpoints", "name", "a", "url", "https://x", "maxAttempts", "101"), 422, "Attempts is 1 to 100")

		made := v.post("/endpoints", "name", "Ledger & co", "url", "https://receiver.example/hook?a=1&b=2", "concurrency", "5")
		wantPage(t, made, 201, "Signing secret of Ledger &amp; co")
		secret := regexp.MustCompile(`class="secret" value="(whsec_[^"]+)" readonly`).FindStringSubmatch(made.Text)
		id := regexp.MustCompile(`data-address="/endpoints/([^"]+)"`).FindStringSubmatch(made.Text)
		if secret == nil || id == nil {
			t.Fatalf("there is no secret, or no address: %s", made.Text)
		}
		own := "/endpoints/" + id[1]
		page := v.get(own)
		wantPage(t, page, 200, "ACTIVE", `value="https://receiver.example/hook?a=1&amp;b=2"`, `name="was.concurrency" value="5"`)
		wantPage(t, v.get("/endpoints"), 200, "Ledger &amp; co", `href="/jobs?endpoint=`+id[1]+`"`)
		if strings.Contains(page.Text, "whsec_") || strings.Contains(v.get("/endpoints").Text, "whsec_") {
			t.Error("a secret is shown again")
		}

		// Correcting one field leaves alone what somebody else has corrected meanwhile.
		name := "Ledger, corrected elsewhere"
		if _, err := s.Dispatch.ChangeEndpoint(t.Context(), operator, id[1], dispatch.EndpointChange{Name: &name}); err != nil {
			t.Fatal(err)
		}
		form := []string{
			"was.name", "Ledger & co", "name", "Ledger & co", "was.url", "https://receiver.example/hook?a=1&b=2", "was.concurrency", "5",
			"was.timeoutSeconds", "", "timeoutSeconds", "", "was.maxAttempts", "", "maxAttempts", "7",
		}
		wantPage(t, v.post(own, append(form, "url", "nonsense", "concurrency", "5")...), 422, "URL starts with", `value="nonsense"`, `value="7"`)
		wantTo(t, v.post(own, append(form, "url", "https://receiver.example/right", "concurrency", "")...), own+"?done=changed")
		e, err := s.Dispatch.Endpoint(t.Context(), id[1])
		if err != nil || e.Name != name || e.URL != "https://receiver.example/right" || e.Concurrency != 0 || e.MaxAttempts != 7 {
			t.Errorf("the endpoint is %+v, %v", e, err)
		}
		wantTo(t, v.post(own, "was.url", e.URL, "url", e.URL), own+"?done=unchanged")

		wantTo(t, v.post(own+"/pause", "reason", "maintenance"), own+"?done=paused")
		wantPage(t, v.get(own+"?done=paused"), 200, "PAUSED", "maintenance", "Its jobs wait.", own+"/resume")
		wantPage(t, v.post(own+"/pause", "reason", strings.Repeat("x", 501)), 422)
		wantTo(t, v.post(own+"/resume"), own+"?done=resumed")

		rotated := v.post(own+"/rotate-secret", "overlapHours", "24")
		wantPage(t, rotated, 200, "whsec_", "The old one signs beside it until")
		if strings.Contains(rotated.Text, secret[1]) {
			t.Error("the new secret is the old one")
		}
		wantPage(t, v.get(own), 200, "Old secret signs, too, until")
		wantPage(t, v.post(own+"/rotate-secret", "overlapHours", "0"), 200, "The old one signs no more")
		for _, hours := range []string{"169", "-1", "many", ""} {
			wantPage(t, v.post(own+"/rotate-secret", "overlapHours", hours), 422, "Overlap is 0 to 168")
		}

		job := pageJob(t, s, operator, dispatch.NewJob{EndpointID: id[1], DeliverAfter: time.Now().Add(time.Hour)})
		wantPage(t, v.get(own+"/delete"), 200, "This cannot be undone.")
		wantPage(t, v.post(own+"/delete"), 409, "This endpoint has unfinished jobs")
		if _, err := s.Dispatch.DeadLetterJob(t.Context(), operator, job, "x"); err != nil {
			t.Fatal(err)
		}
		wantTo(t, v.post(own+"/delete"), "/endpoints?done=deleted")
		wantPage(t, v.get(own), 404)
		wantPage(t, v.get("/jobs"), 200, "deleted")
		wantPage(t, v.get("/jobs?endpoint="+id[1]), 200, "deleted: ")
		jobPage := v.get("/jobs/" + job)
		wantPage(t, jobPage, 200, "deleted")
		if strings.Contains(jobPage.Text, `id="replay"`) {
			t.Error("a job of a deleted endpoint can be replayed")
		}
		for _, path := range []string{own, own + "/pause", own + "/resume", own + "/delete"} {
			wantPage(t, v.post(path, "url", "https://x"), 404)
		}
		wantPage(t, v.post(own+"/rotate-secret", "overlapHours", "0"), 404)
	})
}

// An action whose sign-in is not fresh asks, shows what it was sent, and goes on.
func TestReauthPage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		id := pageEndpoint(t, s, "Ledger", "https://receiver.example")
		own := "/endpoints/" + id
		stale(t, s)
		asks := v.post(own+"/pause", "reason", `because "of" it`)
		wantPage(t, asks, 403, "Confirm that it is you", `action="`+own+`/pause"`, `name="reason" value="because &#34;of&#34; it"`,
			"Password of ada@example.com", `href="`+own+`"`)
		if strings.Contains(asks.Text, "reauth.code") {
			t.Error("a code is asked for of somebody who has no app")
		}
		if e, err := s.Dispatch.Endpoint(t.Context(), id); err != nil || e.Paused {
			t.Errorf("it was done before it was confirmed: %+v, %v", e, err)
		}
		before := v.cookies["sealpost"]
		wrong := v.post(own+"/pause", "reason", `because "of" it`, "reauth.password", "Wrong-"+adminPassword)
		wantPage(t, wrong, 401, "The password is wrong", `name="reason" value="because &#34;of&#34; it"`)
		if strings.Contains(wrong.Text, adminPassword) || strings.Count(wrong.Text, `name="reauth.password"`) != 1 {
			t.Error("the page shows a password, or asks for it twice")
		}
		if v.cookies["sealpost"] != before {
			t.Error("a wrong password gives a cookie")
		}
		wantTo(t, v.post(own+"/pause", "reason", `because "of" it`, "reauth.password", adminPassword), own+"?done=paused")
		if e, err := s.Dispatch.Endpoint(t.Context(), id); err != nil || !e.Paused || e.PausedReason != `because "of" it` {
			t.Errorf("the endpoint is %+v, %v", e, err)
		}
		if v.cookies["sealpost"] == before {
			t.Error("confirming keeps the old cookie")
		}
		old := visit(t, s)
		old.cookies["sealpost"] = before
		wantTo(t, old.get("/jobs"), "/login?to=%2Fjobs")
		wantTo(t, v.post(own+"/resume"), own+"?done=resumed") // and nothing more is asked

		// Everything that is guarded asks.
		stale(t, s)
		for _, path := range []string{
			"/endpoints", own, own + "/pause", own + "/resume", own + "/rotate-secret", own + "/delete",
		} {
			wantPage(t, v.post(path, "name", "x"), 403, "Confirm that it is you")
		}
		// What is not does not.
		wantPage(t, v.post("/jobs/retry-due", "limit", "1"), 200)
		e, err := s.Dispatch.Endpoint(t.Context(), id)
		if err != nil || e.Name != "Ledger" || e.Paused {
			t.Errorf("the endpoint is %+v, %v", e, err)
		}
		// An answer to it may itself be wrong: then the form is shown, with nothing to confirm any more.
		page := v.post("/endpoints", "name", "", "url", "https://x", "reauth.password", adminPassword)
		wantPage(t, page, 422, "Name has 1 to 200 characters", `value="https://x"`)
	})
}
