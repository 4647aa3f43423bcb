package browser_test

import (
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
)

// TestGovernInABrowser does what the runbook's sections 3, 4 and 6 ask an operator for: record a rotation,
// plan and apply retention, hold events, and follow the record from one event to the next.
func TestGovernInABrowser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := begin(t, st)
		o.enroll()
		o.click("nav a[href='/secrets']")
		o.at("/secrets")
		o.sees("#secrets", "JWT_SECRET")
		o.click("input[name='secret.JWT_SECRET']")
		o.fill("#ticketId", "SEC-42")
		o.fill("#rollbackPlan", "put the previous value back")
		o.shot("secrets")
		o.click("#record button")
		o.sees(".done", "recorded")
		o.sees("#latest", "SEC-42")

		o.click("nav a[href='/audit']")
		o.at("/audit")
		o.sees("#events", "security.rotation.recorded")
		o.shot("audit")
		o.click("#events tbody tr td a")
		o.sees("#details", "SEC-42")
		o.shot("event")
		o.click("dl.facts a[href^='/audit?requestId=']")
		o.until(`document.querySelectorAll("#events tbody tr").length === 1`)

		o.visit("/retention")
		o.fill("#entityId", "01890a5d-ac96-774b-bcce-b302099a8057")
		o.fill("#reason", "Case 17")
		o.click("#hold button")
		o.sees(".done", "held")
		o.sees("#holds", "Case 17")
		o.click("#plan")
		o.sees("#report", "Nothing is old enough")
		o.shot("retention")
		o.click("#apply")
		o.sees("#report h2", "Applied")
		o.click("#holds button")
		o.sees(".done", "released")
	})
}
