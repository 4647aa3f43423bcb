package browser_test

import (
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
)

// TestTrendsInABrowser looks at the charts, sees an alert come by itself, and reads the numbers.
func TestTrendsInABrowser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := begin(t, st, "DISPATCH_DEAD_LETTER_ALERT_THRESHOLD=1")
		o.enroll()
		o.click("nav a[href='/observability']")
		o.at("/observability")
		o.sees("#live", "Live")
		o.sees("h1", "Trends")
		o.until(`document.querySelectorAll("figure.chart svg[aria-label]").length === 8`)
		o.sees("#chart-signins", "Sign-ins 1")
		o.until(`document.querySelector("#chart-signins path").getBBox().height === 60`) // it is drawn
		o.until(`getComputedStyle(document.querySelector("#chart-dead path")).fill !== getComputedStyle(document.querySelector("#chart-signins path")).fill`)
		o.value(`window.stays = true`)
		o.job(o.endpoint("Ledger", receive(t).URL+"/wrong"))
		o.sees("#alert-dispatch\\.dead_letter", "1 dead letter within 60 minutes")
		o.sees("#chart-dead", "Jobs dead-lettered 1")
		o.until(`window.stays`)
		o.shot("trends")
		o.click("nav.windows a:nth-of-type(3)")
		o.at("/observability?windowMinutes=10080")
		o.sees("#chart-accepted", "Jobs accepted 1")
		o.click("#numbers summary")
		o.until(`document.querySelectorAll("#numbers tbody tr").length >= 56`)
		o.shot("trends-week")
	})
}
