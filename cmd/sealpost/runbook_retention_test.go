package main

import (
	"os"
	"path/filepath"
	"strings"
)

// Section 6.
func (w *walk) retention() []walkStep {
	return []walkStep{
		{"- Audit events are stored in `AuditLog`.", func() {
			w.call(w.admin, "GET", "/api/admin/audit/events?action=dispatch.job.dispatched&entityId="+w.jobID, nil, 200).want("pageInfo.returned", 1.0)
		}},
		{"- Enforce retention with:", func() {
			w.call(w.author, "POST", "/api/admin/audit-retention/enforce", nil, 403, "access.denied")
		}},
		{"- `POST /api/admin/audit-retention/enforce`", func() {
			const path = "/api/admin/audit-retention/enforce"
			a := w.call(w.admin, "POST", path, nil, 200, "audit.retention.planned").
				want("report.dryRun", true).want("report.eligibleCount", 0.0).want("report.deletedCount", 0.0).want("report.heldCount", 0.0)
			plan := a.str("report.planHash")
			w.call(w.admin, "POST", path, map[string]any{"dryRun": false}, 422)
			w.call(w.admin, "POST", path, map[string]any{"dryRun": false, "planHash": strings.Repeat("0", 64)}, 409)
			w.call(w.admin, "POST", path, map[string]any{"dryRun": false, "planHash": plan}, 200, "audit.retention.intended", "audit.retention.completed").
				want("report.dryRun", false).want("report.deletedCount", 0.0).want("report.planHash", plan)
			hold := map[string]string{"actorId": w.author.id, "reason": "LEGAL-7: a dispute"}
			id := w.call(w.admin, "POST", "/api/admin/audit-retention/holds", hold, 201, anyEvents).str("hold.id")
			if story := w.story(id); len(story) != 1 {
				w.t.Errorf("the hold's events are %v", story)
			}
		}},
		{"- Recommended pilot retention: 7 years (`AUDIT_RETENTION_DAYS=2555`).", func() {
			w.refusesToStart("AUDIT_RETENTION_DAYS", "AUDIT_RETENTION_DAYS=2554")
			w.posture("RB-6.2")
			w.checkEvents()
		}},
	}
}

func (w *walk) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.secrets, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}
