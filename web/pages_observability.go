package web

import (
	"net/http"
	"strconv"

	"sealpost/audit"
)

// observabilityPages show how the pilot has gone (SPEC §4: trends) as charts, drawn here and not in the
// browser, and as a table of the same numbers.
func (s *Server) observabilityPages() {
	s.page(only(audit.Admin, audit.Auditor), "GET /observability", (*page).observability)
}

type observabilityData struct {
	Alerts  []Alert // those that are up
	Windows []windowChoice
	Bucket  string // how long a bar is
	Trends  *Trends
	Charts  []chart
	Width   int
	Height  int
}

// windowChoice is a window that can be chosen.
type windowChoice struct {
	Minutes int
	Text    string
	Chosen  bool
}

// The windows of the page, by their minutes; the first is shown where nobody chooses.
var windowChoices = []windowChoice{{Minutes: 60, Text: "An hour"}, {Minutes: 24 * 60, Text: "A day"}, {Minutes: maxWindow, Text: "A week"}}

// observability handles GET /observability.
func (p *page) observability() error {
	window := windowChoices[0].Minutes
	choices := append([]windowChoice{}, windowChoices...)
	for _, c := range choices {
		if p.query("windowMinutes") == strconv.Itoa(c.Minutes) {
			window = c.Minutes
		}
	}
	for i := range choices {
		choices[i].Chosen = choices[i].Minutes == window
	}
	alerts, err := p.alertsUp()
	if err != nil {
		return err
	}
	t, err := p.readTrends(p.ctx, window, 0)
	if err != nil {
		return err
	}
	return p.render(http.StatusOK, "observability", observabilityData{
		Alerts: alerts, Windows: choices, Bucket: minutesText(t.BucketMinutes), Trends: t, Charts: chartsOf(t), Width: chartWidth, Height: chartHeight,
	})
}

// chartsOf are the charts of the page.
func chartsOf(t *Trends) []chart {
	draw := func(id, title, class string, number func(TrendBucket) int) chart {
		numbers := make([]int, len(t.Buckets))
		for i, b := range t.Buckets {
			numbers[i] = number(b)
		}
		return drawChart(id, title, class, numbers, t)
	}
	return []chart{
		draw("accepted", "Jobs accepted", "good", func(b TrendBucket) int { return b.Dispatch.Accepted }),
		draw("dispatched", "Jobs delivered", "good", func(b TrendBucket) int { return b.Dispatch.Dispatched }),
		draw("retried", "Failed attempts, made again", "quiet", func(b TrendBucket) int { return b.Dispatch.RetriedAttempts }),
		draw("dead", "Jobs dead-lettered", "bad", func(b TrendBucket) int { return b.Dispatch.DeadLettered }),
		draw("signins", "Sign-ins", "good", func(b TrendBucket) int { return b.Auth.SignIns }),
		draw("failed", "Sign-ins that failed", "bad", func(b TrendBucket) int { return b.Auth.FailedSignIns }),
		draw("refused", "Requests that were not allowed", "bad", func(b TrendBucket) int { return b.Auth.Refused }),
		draw("ai", "Calls of AI", "good", func(b TrendBucket) int { return b.AI.Calls }),
	}
}
