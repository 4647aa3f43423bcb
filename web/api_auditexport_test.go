package web_test

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

func TestAuditExport(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st)
		admin, auditor, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "eve", audit.Auditor), s.SignIn(t, "bob", audit.Author)
		const path = "/api/admin/audit/export"
		// What somebody has had recorded is no formula in a spreadsheet.
		s.Do(t, "GET", "/api/documents/=cmd()", author, nil)
		made := make([]audit.Event, 1200) // more than a page
		for i := range made {
			made[i] = audit.Event{Action: "thing.made", Entity: "Thing", EntityID: "@SUM(1+1)"}
		}
		err := s.Log.Change(t.Context(), audit.Itself("test"), func(*store.Tx) ([]audit.Event, error) { return made, nil })
		if err != nil {
			t.Fatal(err)
		}
		wantProblem(t, s.Do(t, "GET", path+"?format=csv", author, nil), 403, "your role")
		wantProblem(t, s.Do(t, "GET", path+"?format=csv", "", nil), 401, "sign in")
		for _, query := range []string{"", "?format=xml", "?format=csv&format=jsonl", "?format=csv&colour=red", "?format=csv&outcome=GOOD", "?format=csv&from=yesterday"} {
			if a := s.Do(t, "GET", path+query, admin, nil); a.Status != 422 && a.Status != 400 {
				t.Errorf("%s: %d %s", query, a.Status, a.Text)
			}
		}

		a := s.Do(t, "GET", path+"?format=jsonl", auditor, nil).Want(t, 200)
		lines := strings.Split(strings.TrimRight(a.Text, "\n"), "\n")
		things := 0
		last := ""
		for _, line := range lines {
			var e audit.Record
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if e.ID <= last {
				t.Errorf("%s is behind %s", e.ID, last)
			}
			last = e.ID
			if e.Action == "thing.made" {
				things++
			}
		}
		if things != 1200 || a.Header.Get("Content-Type") != "application/jsonl" || !strings.Contains(a.Header.Get("Content-Disposition"), ".jsonl") {
			t.Errorf("%d events of 1200, %v", things, a.Header)
		}

		a = s.Do(t, "GET", path+"?format=csv&action=thing.made", admin, nil).Want(t, 200)
		rows, err := csv.NewReader(strings.NewReader(a.Text)).ReadAll()
		if err != nil || len(rows) != 1201 || rows[0][0] != "time" || rows[1][12] != "'@SUM(1+1)" {
			t.Errorf("%d rows, the first %q (%v)", len(rows), rows[1], err)
		}
		// That it was exported is an event, with what was asked for.
		list := s.Do(t, "GET", "/api/admin/audit/events?action=audit.log.exported", admin, nil).Want(t, 200)
		if n := len(list.At("events").([]any)); n != 2 || !strings.Contains(list.Text, `"action":"thing.made"`) || !strings.Contains(list.Text, `"format":"csv"`) {
			t.Errorf("%d exports are told of: %s", n, list.Text)
		}
	})
}
