package web

import (
	"net/http"
	"time"

	"sealpost/audit"
	"sealpost/runbook"
)

// runbookPages show the runbook as the table of its controls (SPEC §6): which clauses hold, and by what
// that was decided.
func (s *Server) runbookPages() {
	readers := only(audit.Admin, audit.Auditor)
	s.page(readers, "GET /runbook", (*page).runbook)
	s.page(readers, "POST /runbook/check", (*page).checkRunbook)
}

type runbookData struct {
	Alerts   []Alert // those that are up
	Counts   []statusCount
	Sections []runbookSection
	Oldest   time.Time // when the check was made that is longest ago
}

// statusCount is how many controls have a status, and the first of them.
type statusCount struct {
	Status runbook.Status
	N      int
	First  string
}

// runbookSection is a section of the runbook, in its own words, with its controls.
type runbookSection struct {
	Title    string
	Controls []controlRow
}

type controlRow struct {
	runbook.Result
	Facts string // the evidence as JSON; "" where there is none
}

// runbook handles GET /runbook.
func (p *page) runbook() error {
	alerts, err := p.alertsUp()
	if err != nil {
		return err
	}
	data, err := runbookTable(p.Runbook.Posture(p.ctx))
	if err != nil {
		return err
	}
	data.Alerts = alerts
	return p.render(http.StatusOK, "runbook", data)
}

// runbookTable puts results, in the runbook's order, under its sections.
func runbookTable(results []runbook.Result) (runbookData, error) {
	var data runbookData
	for _, status := range []runbook.Status{runbook.Fail, runbook.Warn, runbook.Pass, runbook.NotApplicable} {
		c := statusCount{Status: status}
		for _, r := range results {
			if r.Status == status {
				if c.N++; c.N == 1 {
					c.First = r.ID
				}
			}
		}
		if c.N > 0 {
			data.Counts = append(data.Counts, c)
		}
	}
	for _, r := range results {
		row := controlRow{Result: r}
		var err error
		if row.Facts, err = facts(r.Evidence); err != nil {
			return data, err
		}
		title := runbook.Section(r.ID)
		if n := len(data.Sections); n == 0 || data.Sections[n-1].Title != title {
			data.Sections = append(data.Sections, runbookSection{Title: title})
		}
		section := &data.Sections[len(data.Sections)-1]
		section.Controls = append(section.Controls, row)
		if data.Oldest.IsZero() || r.CheckedAt.Before(data.Oldest) {
			data.Oldest = r.CheckedAt
		}
	}
	return data, nil
}

// checkRunbook handles POST /runbook/check.
func (p *page) checkRunbook() error {
	if _, err := p.Runbook.Run(p.ctx, p.by); err != nil {
		return err
	}
	return p.redirect("/runbook?done=checked")
}
