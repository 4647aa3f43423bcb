package web_test

import (
	"fmt"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/web/webtest"
)

func TestPagesMakeTheWholeList(t *testing.T) {
	s := start(t)
	for _, tt := range []struct{ query, pages string }{
		{"", "50 50 50 50 50"}, {"limit=100", "100 100 50"}, {"limit=200", "200 50"}, {"limit=125", "125 125"},
	} {
		var pages, all []string
		query := tt.query
		for {
			a := s.Do(t, "GET", "/test/list?"+query, "", nil).Want(t, 200)
			list := a.Body["items"].([]any)
			pages = append(pages, fmt.Sprint(len(list)))
			for _, item := range list {
				all = append(all, item.(string))
			}
			if a.At("pageInfo.returned") != float64(len(list)) {
				t.Fatalf("returned is %v of %d", a.At("pageInfo.returned"), len(list))
			}
			next := a.At("pageInfo.nextCursor")
			if more := a.At("pageInfo.hasMore"); more != (next != nil) {
				t.Fatalf("hasMore is %v with the cursor %v", more, next)
			}
			if next == nil {
				break
			}
			query = "cursor=" + next.(string) + "&" + tt.query
			query = strings.TrimSuffix(query, "&")
		}
		if got := strings.Join(pages, " "); got != tt.pages {
			t.Errorf("%s: pages of %s, want %s", tt.query, got, tt.pages)
		}
		for i, item := range all {
			if item != fmt.Sprintf("item-%03d", i) {
				t.Fatalf("%s: item %d is %s", tt.query, i, item)
			}
		}
	}
	wantProblem(t, s.Do(t, "GET", "/test/list?cursor=nonsense", "", nil), 422, formOf)
	if fields := fmt.Sprint(s.Do(t, "GET", "/test/list?cursor=nonsense", "", nil).At("details.fields")); fields !=
		"[map[field:query.cursor message:this is no cursor that a list has given]]" {
		t.Errorf("fields are %s", fields)
	}
}

func TestIdempotencyKeys(t *testing.T) {
	s := start(t)
	for _, tt := range []struct {
		keys   []string
		status int
	}{
		{nil, 200},
		{[]string{"k"}, 200},
		{[]string{strings.Repeat("k", 255)}, 200},
		{[]string{`a key! "~`}, 200},
		{[]string{""}, 422},
		{[]string{strings.Repeat("k", 256)}, 422},
		{[]string{"schlüssel"}, 422},
		{[]string{"a", "b"}, 422},
	} {
		var headers []string
		for _, key := range tt.keys {
			headers = append(headers, "Idempotency-Key", key)
		}
		body := ` {"name": "ann"} `
		a := s.Do(t, "POST", "/test/once", "", body, headers...)
		if tt.status != 200 {
			wantProblem(t, a, tt.status, formOf)
			continue
		}
		a.Want(t, 200)
		if len(tt.keys) == 0 {
			if a.Body["Keyed"] != false {
				t.Errorf("no key: %s", a.Text)
			}
			continue
		}
		if a.Body["Key"] != tt.keys[0] || a.Body["Route"] != "POST /test/once" || a.Body["Bytes"] != body || a.Body["Keyed"] != true {
			t.Errorf("%q: %s", tt.keys, a.Text)
		}
	}
}

func TestAuditEvents(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		admin, auditor, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "eve", audit.Auditor), s.SignIn(t, "bob", audit.Author)
		s.Do(t, "POST", "/test/admin", author, `{"name":"x"}`, "X-Request-Id", "the-refusal").Want(t, 403)
		me := s.Do(t, "GET", "/test/me", author, nil).Body["userId"].(string)
		list := func(query string) []any {
			t.Helper()
			return s.Do(t, "GET", "/api/admin/audit/events?"+query, auditor, nil).Want(t, 200).Body["events"].([]any)
		}
		for _, query := range []string{
			"requestId=the-refusal", "action=access.denied", "entity=Route", "entityId=POST+/test/admin", "outcome=DENIED",
			"actorId=" + me + "&outcome=DENIED", "action=access.denied&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00%2B02:00",
		} {
			events := list(query)
			if len(events) != 1 || events[0].(map[string]any)["requestId"] != "the-refusal" {
				t.Errorf("%s finds %v", query, events)
			}
		}
		for _, query := range []string{
			"requestId=other", "action=other", "actorId=other", "entityId=other", "entity=other", "outcome=FAILURE&action=access.denied",
			"from=2100-01-01T00:00:00Z", "to=2020-01-01T00:00:00Z",
		} {
			if events := list(query); len(events) != 0 {
				t.Errorf("%s finds %v", query, events)
			}
		}
		first := s.Do(t, "GET", "/api/admin/audit/events?limit=1", admin, nil).Want(t, 200)
		second := s.Do(t, "GET", "/api/admin/audit/events?limit=1&cursor="+first.At("pageInfo.nextCursor").(string), admin, nil).Want(t, 200)
		id := func(a webtest.Answer) string { return a.Body["events"].([]any)[0].(map[string]any)["id"].(string) }
		if id(first) <= id(second) {
			t.Error("the newest comes first")
		}
		one := s.Do(t, "GET", "/api/admin/audit/events/"+id(second), auditor, nil).Want(t, 200)
		if one.At("event.id") != id(second) {
			t.Errorf("one event: %s", one.Text)
		}
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/events/01890a5d-ac96-774b-bcce-b302099a8057", auditor, nil), 404, "no audit event")
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/events/nonsense", auditor, nil), 404, "no such audit event")
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/events/"+strings.Repeat("x", 65), auditor, nil), 422, formOf)
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/events?outcome=GOOD", auditor, nil), 422, formOf)
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/events", author, nil), 403, "your role")
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/events/"+id(second), author, nil), 403, "your role")
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/events", "", nil), 401, "sign in")
	})
}
