package web_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/web/webtest"
)

const endpointsPath = "/api/admin/dispatch/endpoints"

var endpointNames = []string{
	"id", "name", "url", "concurrency", "timeoutSeconds", "maxAttempts", "ratePerSecond", "paused", "pausedReason",
	"oldSecretUntil", "auth", "clientCertificate", "caCertificates", "headerNames", "breaker", "createdAt", "updatedAt",
}

func TestEndpointLife(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin, auditor := s.SignIn(t, "eve", audit.Admin), s.SignIn(t, "kim", audit.Auditor)
		made := s.Do(t, "POST", endpointsPath, admin, fields{"name": "Archive", "url": "https://receiver.example/hook?token=s3cret", "maxAttempts": 5}).Want(t, 201)
		wantNames(t, made.Body, "endpoint")
		wantNames(t, made.At("endpoint"), append([]string{"signingSecret"}, endpointNames...)...)
		secret := text(t, made, "endpoint.signingSecret")
		if !strings.HasPrefix(secret, "whsec_") || len(secret) != len("whsec_")+44 {
			t.Errorf("the secret is %d characters", len(secret))
		}
		for name, want := range (fields{
			"name": "Archive", "url": "https://receiver.example/hook?token=s3cret", "concurrency": nil, "timeoutSeconds": nil,
			"maxAttempts": 5.0, "paused": false, "pausedReason": nil, "oldSecretUntil": nil,
		}) {
			if got := made.At("endpoint." + name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		id := text(t, made, "endpoint.id")
		one := endpointsPath + "/" + id

		// The secret is never shown again, and a URL's query only to who may change it.
		for _, path := range []string{one, endpointsPath} {
			if a := s.Do(t, "GET", path, admin, nil).Want(t, 200); strings.Contains(a.Text, "whsec_") || !strings.Contains(a.Text, "s3cret") {
				t.Errorf("%s: %s", path, a.Text)
			}
			if a := s.Do(t, "GET", path, auditor, nil).Want(t, 200); strings.Contains(a.Text, "whsec_") || strings.Contains(a.Text, "s3cret") ||
				!strings.Contains(a.Text, `"https://receiver.example/hook"`) {
				t.Errorf("%s for an auditor: %s", path, a.Text)
			}
		}

		changed := s.Do(t, "PATCH", one, admin, fields{"concurrency": 1024, "timeoutSeconds": 300, "maxAttempts": 0, "ratePerSecond": 0.25}).Want(t, 200)
		wantNames(t, changed.At("endpoint"), endpointNames...)
		for name, want := range (fields{"name": "Archive", "url": "https://receiver.example/hook?token=s3cret", "concurrency": 1024.0, "timeoutSeconds": 300.0, "maxAttempts": nil, "ratePerSecond": 0.25}) {
			if got := changed.At("endpoint." + name); got != want {
				t.Errorf("changed, %s is %v, want %v", name, got, want)
			}
		}
		same := s.Do(t, "PATCH", one, admin, fields{"concurrency": 1024, "name": "Archive"}).Want(t, 200)
		if same.Text != changed.Text {
			t.Errorf("saying what is so has changed %s to %s", changed.Text, same.Text)
		}
		s.Do(t, "PATCH", one, admin, fields{"url": "https://receiver.example/hook?token=0ther"}).Want(t, 200)

		rotated := s.Do(t, "POST", one+"/rotate-secret", admin, fields{"overlapHours": 168}).Want(t, 200)
		second := text(t, rotated, "endpoint.signingSecret")
		until, err := time.Parse(time.RFC3339, text(t, rotated, "endpoint.oldSecretUntil"))
		if second == secret || err != nil || time.Until(until) > 168*time.Hour || time.Until(until) < 167*time.Hour {
			t.Errorf("rotated: the secret is %v, the old one's end %s", second != secret, until)
		}
		if a := s.Do(t, "GET", one, admin, nil).Want(t, 200); a.At("endpoint.oldSecretUntil") != rotated.At("endpoint.oldSecretUntil") || strings.Contains(a.Text, "whsec_") {
			t.Errorf("after the rotation: %s", a.Text)
		}
		leaked := s.Do(t, "POST", one+"/rotate-secret", admin, fields{"overlapHours": 0}).Want(t, 200)
		if leaked.At("endpoint.oldSecretUntil") != nil || leaked.At("endpoint.signingSecret") == second {
			t.Errorf("rotated after a leak: %v", leaked.At("endpoint.oldSecretUntil"))
		}

		paused := s.Do(t, "POST", one+"/pause", admin, fields{"reason": "moves"}).Want(t, 200)
		wantNames(t, paused.At("endpoint"), endpointNames...)
		if paused.At("endpoint.paused") != true || paused.At("endpoint.pausedReason") != "moves" {
			t.Errorf("paused: %s", paused.Text)
		}
		if a := s.Do(t, "POST", one+"/pause", admin, fields{}).Want(t, 200); a.Text != paused.Text {
			t.Errorf("paused again: %s", a.Text)
		}
		job := accept(t, s, admin, id, "x")
		refused := s.Do(t, "DELETE", one, admin, nil)
		wantProblem(t, refused, 409, "unfinished jobs")
		if refused.At("details.jobId") != job {
			t.Errorf("the job in the way is not named: %s", refused.Text)
		}
		if a := s.Do(t, "POST", one+"/resume", admin, nil).Want(t, 200); a.At("endpoint.paused") != false || a.At("endpoint.pausedReason") != nil {
			t.Errorf("resumed: %s", a.Text)
		}
		s.Do(t, "POST", one+"/pause", admin, nil).Want(t, 200)
		s.Do(t, "POST", "/api/admin/dispatch/"+job+"/dead-letter", admin, fields{"reason": "r"})
		gone := s.Do(t, "DELETE", one, admin, nil).Want(t, 204)
		if gone.Text != "" {
			t.Errorf("deleted: %s", gone.Text)
		}

		// Nothing but the record remains.
		for _, call := range []struct {
			method, path string
			body         any
		}{
			{"GET", one, nil},
			{"PATCH", one, fields{"name": "n"}},
			{"DELETE", one, nil},
			{"POST", one + "/rotate-secret", fields{"overlapHours": 0}},
			{"POST", one + "/test", nil},
			{"POST", one + "/pause", nil},
			{"POST", one + "/resume", nil},
		} {
			wantProblem(t, s.Do(t, call.method, call.path, admin, call.body), 404, "no endpoint")
		}
		wantProblem(t, s.Do(t, "POST", jobsPath, admin, fields{"endpointId": id, "contentType": "text/plain", "payload": "x"}), 422, "no endpoint")
		if a := s.Do(t, "GET", endpointsPath, admin, nil).Want(t, 200); a.At("pageInfo.returned") != 0.0 {
			t.Errorf("the list still has it: %s", a.Text)
		}
		err = s.Store.Read(t.Context(), func(tx *store.Tx) error {
			var url string
			var secrets []byte
			err := tx.QueryRow(t.Context(), `select url, secrets from dispatch_endpoint where id = $1 and deleted_at is not null`, id).Scan(&url, &secrets)
			if url != "https://receiver.example" || secrets != nil {
				t.Errorf("the tombstone keeps %s and %d bytes of secrets", url, len(secrets))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		want := []string{"created", "changed", "changed", "secret_rotated", "secret_rotated", "paused", "resumed", "paused", "deleted"}
		for i := range want {
			want[i] = "dispatch.endpoint." + want[i]
		}
		if got := actions(t, s, audit.Filter{EntityID: id}); !slices.Equal(got, want) {
			t.Errorf("its events are %v, want %v", got, want)
		}
		events := s.Do(t, "GET", "/api/admin/audit/events?entityId="+id, admin, nil).Want(t, 200)
		for _, secret := range []string{"whsec_", "s3cret", "0ther"} {
			if strings.Contains(events.Text, secret) || strings.Contains(s.Logged(), secret) {
				t.Errorf("%s is in the events or the log", secret)
			}
		}
	})
}

func TestEndpointsThatAreRefused(t *testing.T) {
	s := start(t) // what is checked before a database is asked
	admin := s.SignIn(t, "eve", audit.Admin)
	good := text(t, s.Do(t, "POST", endpointsPath, admin, fields{
		"name": strings.Repeat("ä", 200), "url": "http://[::1]:8080/a%20b?x=%C3%A4&y=1",
		"concurrency": 1024, "timeoutSeconds": 300, "maxAttempts": 100,
	}).Want(t, 201), "endpoint.id")
	s.Do(t, "POST", endpointsPath, admin, fields{"name": "n", "url": "https://h.example/" + strings.Repeat("x", 2048-len("https://h.example/"))}).Want(t, 201)
	for _, tt := range []struct {
		field   string
		value   any
		message string
	}{
		{"name", "", "form"},
		{"name", " n", "name"},
		{"name", "n\n", "name"},
		{"name", "a\nb", "control character"},
		{"name", "a\u0085b", "control character"},
		{"name", strings.Repeat("ä", 201), "form"},
		{"name", 1, "form"},
		{"url", "", "form"},
		{"url", "receiver.example", "https://"},
		{"url", "ftp://receiver.example", "https://"},
		{"url", "https:receiver.example", "https://"},
		{"url", "https:///hook", "https://"},
		{"url", "https://user:pw@receiver.example", "credentials"},
		{"url", "https://receiver.example/#a", "fragment"},
		{"url", "https://receiver.example/#", "fragment"},
		{"url", "javascript:alert(1)", "https://"},
		{"url", "https://receiver.example/?a=b c", "ASCII"},
		{"url", "https://receiver.example/ä", "ASCII"},
		{"url", "https://müller.example/", "ASCII"},
		{"url", "https://%c3%a4.example/", "ASCII"},
		{"url", "https://receiver.example/\n", "URL"},
		{"url", "https://receiver.example:0/", "port"},
		{"url", "https://receiver.example:65536/", "port"},
		{"url", "https://receiver.example:port/", "URL"},
		{"url", "https://h.example/" + strings.Repeat("x", 2049-len("https://h.example/")), "form"},
		{"url", "https://[::1/", "URL"},
		{"url", "//receiver.example", "https://"},
		{"concurrency", -1, "form"},
		{"concurrency", 1025, "form"},
		{"timeoutSeconds", 301, "form"},
		{"maxAttempts", 101, "form"},
		{"maxAttempts", 1.5, "form"},
		{"paused", true, "form"},
		{"signingSecret", "whsec_x", "form"},
	} {
		t.Run(fmt.Sprintf("%s %.30v", tt.field, tt.value), func(t *testing.T) {
			body := fields{"name": "n", "url": "https://receiver.example"}
			body[tt.field] = tt.value
			wantProblem(t, s.Do(t, "POST", endpointsPath, admin, body), 422, tt.message)
			wantProblem(t, s.Do(t, "PATCH", endpointsPath+"/"+good, admin, fields{tt.field: tt.value}), 422, tt.message)
		})
	}
	wantProblem(t, s.Do(t, "PATCH", endpointsPath+"/"+good, admin, fields{}), 422, "nothing is to be changed")
	wantProblem(t, s.Do(t, "PATCH", endpointsPath+"/"+good, admin, nil), 400, "body")
	wantProblem(t, s.Do(t, "PATCH", endpointsPath+"/"+store.NewID(), admin, fields{"name": "n"}), 404, "no endpoint")
	wantProblem(t, s.Do(t, "PATCH", endpointsPath+"/"+good, admin, fields{"name": nil}), 422, "nothing is to be changed")
	wantProblem(t, s.Do(t, "POST", endpointsPath, admin, fields{"name": "n"}), 422, "form")
	wantProblem(t, s.Do(t, "POST", endpointsPath, admin, fields{"name": nil, "url": "https://receiver.example"}), 422, "form")
	for _, overlap := range []any{-1, 169, nil, "1", 0.5} {
		wantProblem(t, s.Do(t, "POST", endpointsPath+"/"+good+"/rotate-secret", admin, fields{"overlapHours": overlap}), 422, "form")
	}
	wantProblem(t, s.Do(t, "POST", endpointsPath+"/"+good+"/rotate-secret", admin, fields{}), 422, "form")
	wantProblem(t, s.Do(t, "POST", endpointsPath+"/"+good+"/rotate-secret", admin, nil), 400, "body")
	wantProblem(t, s.Do(t, "POST", endpointsPath+"/"+good+"/pause", admin, fields{"reason": strings.Repeat("x", 501)}), 422, "form")
	wantProblem(t, s.Do(t, "POST", endpointsPath+"/"+good+"/resume", admin, fields{}), 400, "no request body")
	if a := s.Do(t, "GET", endpointsPath+"/"+good, admin, nil).Want(t, 200); a.At("endpoint.name") != strings.Repeat("ä", 200) {
		t.Errorf("a refusal has changed it: %s", a.Text)
	}
}

func TestEndpointLists(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin := s.SignIn(t, "eve", audit.Admin)
		var want []string
		for i := range 5 {
			want = append(want, text(t, s.Do(t, "POST", endpointsPath, admin, fields{"name": fmt.Sprint(i), "url": "https://receiver.example"}).Want(t, 201), "endpoint.id"))
		}
		var got []string
		path := endpointsPath + "?limit=2"
		for range 3 {
			a := s.Do(t, "GET", path, admin, nil).Want(t, 200)
			list, _ := a.At("endpoints").([]any)
			for _, e := range list {
				wantNames(t, e, endpointNames...)
				got = append(got, e.(map[string]any)["id"].(string))
			}
			next, _ := a.At("pageInfo.nextCursor").(string)
			path = endpointsPath + "?limit=2&cursor=" + next
		}
		if !slices.Equal(got, want) {
			t.Errorf("the list is %v, want %v", got, want)
		}
		wantProblem(t, s.Do(t, "GET", endpointsPath+"?cursor=MXg", admin, nil), 400, "cursor")
	})
}

// A test arrives as a job would, is told from one, and what the receiver says is shown as text.
func TestEndpointTests(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin := s.SignIn(t, "eve", audit.Admin)
		rc := newReceiver(t)
		id, _ := newEndpoint(t, s, rc.URL)
		s.Do(t, "POST", endpointsPath+"/"+id+"/pause", admin, nil).Want(t, 200)
		a := s.Do(t, "POST", endpointsPath+"/"+id+"/test", admin, nil).Want(t, 200)
		wantNames(t, a.Body, "test")
		wantNames(t, a.At("test"), "id", "delivered", "statusCode", "durationMs", "error", "answer")
		if a.At("test.delivered") != true || a.At("test.statusCode") != 204.0 || a.At("test.error") != nil || a.At("test.answer") != nil {
			t.Errorf("answered %s", a.Text)
		}
		got := rc.got(text(t, a, "test.id"))
		if !strings.Contains(string(got.body), `"type":"sealpost.test"`) || got.header.Get("webhook-signature") == "" {
			t.Errorf("arrived %s with %v", got.body, got.header)
		}
		if list := s.Do(t, "GET", "/api/admin/dispatch/jobs", admin, nil).Want(t, 200); list.At("pageInfo.returned") != 0.0 {
			t.Errorf("it has become a job: %s", list.Text)
		}
	})
}
