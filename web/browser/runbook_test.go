package browser_test

import (
	"testing"

	"sealpost/rotation"
	"sealpost/store"
	"sealpost/store/storetest"
)

// TestRunbookTable reads the runbook's table, has it checked again, and sees a control change by itself.
func TestRunbookTable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := begin(t, st, "DISPATCH_DEAD_LETTER_ALERT_THRESHOLD=1")
		o.enroll()
		o.click("nav a[href='/runbook']")
		o.at("/runbook")
		o.sees("#live", "Live")
		o.sees("h1", "Runbook")
		o.sees("#counts", "FAIL")
		o.until(`document.querySelectorAll("table.controls tbody tr").length === 30`)
		o.sees("#RB-1\\.2", "PASS")
		o.shot("runbook")
		o.click("#check")
		o.sees(".done", "checked just now")
		o.sees("#live", "Live")
		o.click("#RB-1\\.2-evidence summary")
		o.sees("#RB-1\\.2-evidence pre", "MFA_REQUIRED")
		o.shot("runbook-evidence")

		o.value(`window.stays = true`)
		o.sees("#RB-3\\.5", "NOT_APPLICABLE")
		_, err := o.server.Rotation.Record(t.Context(), elsewhere, rotation.NewRotation{
			TicketID: "SEC-1", Secrets: []string{"JWT_SECRET"}, Environments: []string{"pilot"}, RollbackPlan: "none",
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.server.Runbook.Run(t.Context(), elsewhere, "RB-3.5"); err != nil {
			t.Fatal(err)
		}
		o.sees("#RB-3\\.5", "SEC-1, by")
		r := receive(t)
		id := o.job(o.endpoint("Ledger", r.URL+"/wrong"))
		o.sees("#alert-dispatch\\.dead_letter", "1 dead letter within 60 minutes")
		o.shot("runbook-alert")
		o.until(`window.stays && document.querySelector("#RB-1\\.2-evidence").open`)
		o.click("#alert-dispatch\\.dead_letter a")
		o.at("/jobs?status=DEAD_LETTER")
		o.sees("#job-"+id, "DEAD_LETTER")
	})
}
