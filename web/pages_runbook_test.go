package web_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/store"
	"sealpost/web"
	"sealpost/web/webtest"
)

// The table says what the API says, for those who may read it, and is made anew when that is asked for.
func TestRunbookPage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		wantPage(t, signIn(t, s, audit.Author).get("/runbook"), 403, "Your role does not allow this")
		auditor := signIn(t, s, audit.Auditor)
		a := auditor.get("/runbook")
		wantPage(t, a, 200, "1. Authentication and MFA Policy", "6. Audit and Retention", "ALLOW_DEV_LOGIN=false", "not yet checked")
		controls, _ := s.Do(t, "GET", "/api/admin/security/posture", s.SignIn(t, "ann", audit.Admin), nil).Want(t, 200).At("controls").([]any)
		if len(controls) != 30 {
			t.Fatalf("there are %d controls", len(controls))
		}
		for _, c := range controls {
			c := c.(map[string]any)
			_, row, ok := strings.Cut(a.Text, `<tr id="`+c["id"].(string)+`">`)
			row, _, _ = strings.Cut(row, "</tr>")
			if !ok || !strings.Contains(row, ">"+c["status"].(string)+"</span>") {
				t.Errorf("%s, which is %s, is shown as %s", c["id"], c["status"], row)
			}
		}
		wantTo(t, auditor.post("/runbook/check"), "/runbook?done=checked")
		wantPage(t, auditor.get("/runbook?done=checked"), 200, "Every control was checked just now.")
		list, err := s.Log.Events(t.Context(), audit.Filter{Action: "security.posture.checked"}, store.Page{Limit: 10})
		if err != nil || len(list.Items) != 1 || list.Items[0].Actor.Role != audit.Auditor {
			t.Errorf("it is recorded as %+v, %v", list.Items, err)
		}
	})
}

// A stream tells of an alert that comes up and of one that is over, and of a control that stands
// otherwise, to those who may know it.
func TestStreamOfAlertsAndControls(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		token, _ := s.Do(t, "POST", "/api/auth/login", "", map[string]string{"email": "ada@example.com", "password": adminPassword}).
			Want(t, 200).At("token").(string)
		client := streamClient(t)
		api, own := listen(t, client, s.URL, token, ""), listen(t, client, s.URL, "", v.cookies["sealpost"])
		author := listen(t, client, s.URL, "", signIn(t, s, audit.Author).cookies["sealpost"])
		api.stands(t, s)

		answer := answering(t, 400, "no")
		endpoint := pageEndpoint(t, s, "Ledger", answer)
		id := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint})
		up := api.told("alert", func(a map[string]any) bool { return a["up"] == true })
		if up["name"] != "dispatch.dead_letter" || up["threshold"] != 1.0 || up["count"] != 1.0 {
			t.Errorf("the alert is told of as %v", up)
		}
		wantNames(t, own.told("alert", func(a map[string]any) bool { return a["status"] == "up" }), "id", "status")
		wantPage(t, v.get("/jobs"), 200, "1 dead letter within 60 minutes", `role="alert"`)
		right := answering(t, 200, "yes")
		if _, err := s.Dispatch.ChangeEndpoint(t.Context(), operator, endpoint, dispatch.EndpointChange{URL: &right}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Dispatch.Replay(t.Context(), operator, id, dispatch.ReplayRequest{}); err != nil {
			t.Fatal(err)
		}
		api.told("alert", func(a map[string]any) bool { return a["up"] == false })
		own.told("alert", func(a map[string]any) bool { return a["status"] == "down" })

		setup := s.Do(t, "POST", "/api/auth/mfa/setup", token, nil).Want(t, 200)
		code, err := totp.GenerateCode(setup.At("setup.secret").(string), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.Do(t, "POST", "/api/auth/mfa/enable", token, map[string]string{"mfaCode": code}).Want(t, 200)
		s.Do(t, "POST", "/api/admin/security/posture/run", token, map[string]any{"only": []string{"RB-1.5"}}).Want(t, 200)
		control := api.told("posture", func(c map[string]any) bool { return c["id"] == "RB-1.5" })
		if control["status"] != "PASS" || control["title"] == "" {
			t.Errorf("the control is told of as %v", control)
		}

		// What an AUTHOR's stream says: nothing of all that.
		s.Do(t, "POST", "/api/auth/logout-all", token, map[string]any{"everyone": true}).Want(t, 204)
		for line, ok := author.line(streamWait); ok; line, ok = author.line(streamWait) {
			if strings.HasPrefix(line, "event: alert") || strings.HasPrefix(line, "event: posture") || strings.HasPrefix(line, "event: job") {
				t.Errorf("an AUTHOR is told %s", line)
			}
		}
	}, "DISPATCH_DEAD_LETTER_ALERT_THRESHOLD=1", "DISPATCH_MAX_ATTEMPTS=1")
}

// told waits for an event of a kind that is as wanted.
func (e *events) told(kind string, wanted func(map[string]any) bool) map[string]any {
	e.t.Helper()
	for {
		name, data := e.next()
		var told map[string]any
		if err := json.Unmarshal([]byte(data), &told); err != nil {
			e.t.Fatalf("the data of %s: %v", name, err)
		}
		if name == kind && wanted(told) {
			return told
		}
	}
}

// stands waits until the server knows how things stand, from which on a change is one.
func (e *events) stands(t *testing.T, s *webtest.Server) {
	t.Helper()
	for end := time.Now().Add(streamWait); !web.StandingKnown(s.Web); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody looks how things stand")
		}
	}
}
