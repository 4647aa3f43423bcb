package web

import (
	"net/http"

	"sealpost/audit"
	"sealpost/store"
)

// retentionPages plan what old events go, apply such a plan, and keep what is held (runbook §6).
func (s *Server) retentionPages() {
	admin := only(audit.Admin)
	s.page(only(audit.Admin, audit.Auditor), "GET /retention", (*page).retention)
	s.page(admin, "POST /retention/plan", (*page).planRetention)
	s.page(admin.guarded(), "POST /retention/apply", (*page).applyRetention)
	s.page(admin.guarded(), "POST /retention/holds", (*page).addHold)
	s.page(admin.guarded(), "POST /retention/holds/{id}/release", (*page).releaseHold)
}

type retentionData struct {
	form
	Days      int
	Report    *audit.Report // what was planned or applied just now
	Plan      form          // what went wrong with a plan
	Holds     []audit.Hold
	MaxReason int
}

// retention handles GET /retention.
func (p *page) retention() error { return p.showRetention(http.StatusOK, nil) }

// showRetention shows the page; change, which may be nil, puts into it what has just been done or refused.
func (p *page) showRetention(status int, change func(*retentionData)) error {
	list, err := p.Retention.Holds(p.ctx, store.Page{Limit: audit.MaxHolds})
	if err != nil {
		return err
	}
	data := retentionData{
		form: form{Values: map[string]string{}, Errors: map[string]string{}}, Days: p.Config.Audit.RetentionDays, Holds: list.Items,
		MaxReason: audit.MaxHoldReason,
	}
	if change != nil {
		change(&data)
	}
	return p.render(status, "retention", data)
}

// planRetention handles POST /retention/plan: a dry run.
func (p *page) planRetention() error { return p.reported(p.Retention.Plan(p.ctx, p.by)) }

// applyRetention handles POST /retention/apply.
func (p *page) applyRetention() error {
	return p.reported(p.Retention.Apply(p.ctx, p.by, p.field("planHash")))
}

func (p *page) reported(report audit.Report, err error) error {
	switch {
	case err == nil:
		return p.showRetention(http.StatusOK, func(data *retentionData) { data.Report = &report })
	case !correctable(err):
		return err
	}
	return p.showRetention(p.x.problem(err).Status, func(data *retentionData) { data.Plan.Error = sentenceOf(messageOf(err)) })
}

// addHold handles POST /retention/holds.
func (p *page) addHold() error {
	n := audit.NewHold{ActorID: p.field("actorId"), EntityID: p.field("entityId"), Reason: p.field("reason")}
	var err error
	if at := p.field("from"); at != "" {
		n.From, err = parseUTC("from", at)
	}
	if at := p.field("to"); at != "" && err == nil {
		n.To, err = parseUTC("to", at)
	}
	if err == nil {
		_, err = p.Retention.AddHold(p.ctx, p.by, n)
	}
	switch {
	case err == nil:
		return p.redirect("/retention?done=held")
	case !correctable(err):
		return err
	}
	return p.showRetention(p.x.problem(err).Status, func(data *retentionData) {
		data.form = p.newForm("actorId", "entityId", "from", "to", "reason")
		data.refused(err)
	})
}

// releaseHold handles POST /retention/holds/{id}/release.
func (p *page) releaseHold() error {
	if err := p.Retention.ReleaseHold(p.ctx, p.by, p.r.PathValue("id")); err != nil {
		return err
	}
	return p.redirect("/retention?done=released")
}
