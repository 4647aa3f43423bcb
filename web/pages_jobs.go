package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/fault"
	"sealpost/store"
)

// jobPages are where an operator sees what is on its way, what has failed and why, and sends it again
// (runbook §5). An AUTHOR sees own jobs.
func (s *Server) jobPages() {
	admin := only(audit.Admin)
	s.page(signedIn, "GET /jobs", (*page).jobs)
	s.page(signedIn, "GET /jobs/{id}", (*page).job)
	s.page(admin, "GET /jobs/{id}/payload", (*page).payload)
	s.page(admin, "GET /jobs/{id}/replay", (*page).replayForm)
	s.page(admin, "POST /jobs/{id}/replay", (*page).replay)
	s.page(admin, "GET /jobs/{id}/dead-letter", (*page).deadLetterForm)
	s.page(admin, "POST /jobs/{id}/dead-letter", (*page).deadLetter)
	s.page(admin, "POST /jobs/retry-due", (*page).retryDue)
}

// jobsShown is how many jobs, or endpoints, a page has.
const jobsShown = 50

// statuses are what a list of jobs can be narrowed to, in the order of a job's way.
var statuses = []dispatch.Status{dispatch.Pending, dispatch.InFlight, dispatch.Retrying, dispatch.Dispatched, dispatch.DeadLetter}

type jobsData struct {
	form
	Statuses  []dispatch.Status
	Endpoints []dispatch.Endpoint // to narrow the list to; empty for whoever may not see them
	Filter    dispatch.JobFilter
	Rows      []jobRow
	Alerts    []Alert // those that are up
	First     bool    // this is the list's beginning
	Here      string  // this page's address
	Newest    string  // the address of the list's beginning
	Older     string  // the address of what follows; "": nothing
	Retry     retryForm
}

// retryForm is how many due jobs can be retried at a time.
type retryForm struct{ Default, Most int }

// jobRow is a job in a list.
type jobRow struct {
	dispatch.Job
	Endpoint string // its name; "" for one that is deleted
	Replay   bool   // one click sends it again
}

// jobs handles GET /jobs.
func (p *page) jobs() error {
	f := dispatch.JobFilter{Status: dispatch.Status(p.query("status")), EndpointID: p.query("endpoint"), Q: p.query("q")}
	if !slices.Contains(statuses, f.Status) {
		f.Status = ""
	}
	after, ok := parseCursor(p.query("cursor"))
	if !ok || len(f.EndpointID) > 64 {
		return fault.New(fault.BadRequest, "this address is none of a list of jobs")
	}
	status, asked := http.StatusOK, form{Values: map[string]string{"q": f.Q}, Errors: map[string]string{}}
	list, err := p.Dispatch.List(p.ctx, p.by, f, store.Page{Limit: jobsShown, After: after})
	if fault.Is(err, fault.Invalid) { // nothing begins with what was typed: that is said beside it
		asked.refused(err)
		status, err = p.x.problem(err).Status, nil
	}
	if err != nil {
		return err
	}
	rows, err := p.jobRows(list.Items)
	if err != nil {
		return err
	}
	data := jobsData{
		form: asked, Statuses: statuses, Filter: f, Rows: rows, First: after == "", Here: jobsAddress(f, p.query("cursor")), Newest: jobsAddress(f, ""),
		Retry: retryForm{dispatch.DefaultRetry, dispatch.MaxRetry},
	}
	if list.Next != "" {
		data.Older = jobsAddress(f, makeCursor(list.Next))
	}
	if sees(p.by) {
		if data.Endpoints, err = p.endpointChoice(f.EndpointID); err != nil {
			return err
		}
		if data.Alerts, err = p.alertsUp(); err != nil {
			return err
		}
	}
	return p.render(status, "jobs", data)
}

// alertsUp are the alerts that there is reason for just now.
func (p *page) alertsUp() (up []Alert, err error) {
	var sum Summary
	if err := p.sumAlerts(p.ctx, &sum); err != nil {
		return nil, err
	}
	for _, a := range sum.Alerts {
		if a.Up {
			up = append(up, a)
		}
	}
	return up, nil
}

// jobsAddress is the address of a list of jobs.
func jobsAddress(f dispatch.JobFilter, cursor string) string {
	q := url.Values{}
	for name, value := range map[string]string{
		"status": string(f.Status), "endpoint": f.EndpointID, "q": f.Q, "cursor": cursor,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return addressOf("/jobs", q)
}

// jobRows are jobs as a list shows them.
func (p *page) jobRows(jobs []dispatch.Job) ([]jobRow, error) {
	names := map[string]string{} // a deleted endpoint has none
	rows := make([]jobRow, len(jobs))
	now := time.Now()
	for i, j := range jobs {
		name, known := names[j.EndpointID]
		if !known {
			e, err := p.Dispatch.Endpoint(p.ctx, j.EndpointID)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return nil, err
			}
			name = e.Name
			names[j.EndpointID] = name
		}
		rows[i] = jobRow{j, name, p.by.Role == audit.Admin && j.Status == dispatch.DeadLetter && name != "" && !expired(j, now)}
	}
	return rows, nil
}

func expired(j dispatch.Job, now time.Time) bool {
	return !j.ExpireAt.IsZero() && !j.ExpireAt.After(now)
}

// endpointChoice is what a list can be narrowed to: the first endpoints, and the one that it is
// narrowed to already. Those beyond have the list's link on their own pages.
func (p *page) endpointChoice(chosen string) ([]dispatch.Endpoint, error) {
	list, err := p.Dispatch.Endpoints(p.ctx, store.Page{Limit: maxLimit})
	if err != nil {
		return nil, err
	}
	all := list.Items
	if chosen != "" && !slices.ContainsFunc(all, func(e dispatch.Endpoint) bool { return e.ID == chosen }) {
		e, err := p.Dispatch.Endpoint(p.ctx, chosen)
		switch {
		case fault.Is(err, fault.NotFound):
			e = dispatch.Endpoint{ID: chosen, Name: "deleted: " + shortID(chosen)}
		case err != nil:
			return nil, err
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b dispatch.Endpoint) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	return all, nil
}

// jobData is one job, for its page and for the forms about it.
type jobData struct {
	jobRow
	form
	Attempts []dispatch.Attempt
	Expired  bool // a replay needs a new end
	Back     string
}

// Asks tells whether a replay needs more than a click, and so has a page of its own.
func (d jobData) Asks() bool { return d.Status == dispatch.Dispatched || d.Expired }

// Open tells whether the job can be given up.
func (d jobData) Open() bool {
	return d.Status == dispatch.Pending || d.Status == dispatch.InFlight || d.Status == dispatch.Retrying
}

// Replayable tells whether the job can be sent again at all.
func (d jobData) Replayable() bool { return d.Status != dispatch.InFlight && d.Endpoint != "" }

// readJob gives the job that an address names.
func (p *page) readJob() (jobData, error) {
	job, err := p.Dispatch.Get(p.ctx, p.by, p.r.PathValue("id"))
	if err != nil {
		return jobData{}, err
	}
	rows, err := p.jobRows([]dispatch.Job{job})
	if err != nil {
		return jobData{}, err
	}
	return jobData{jobRow: rows[0], form: p.newForm(), Expired: expired(job, time.Now()), Back: "/jobs/" + job.ID}, nil
}

// job handles GET /jobs/{id}.
func (p *page) job() error {
	data, err := p.readJob()
	if err != nil {
		return err
	}
	if data.Attempts, err = p.Dispatch.Attempts(p.ctx, data.ID); err != nil {
		return err
	}
	slices.Reverse(data.Attempts) // the latest is what one comes for
	return p.render(http.StatusOK, "job", data)
}

// payloadShown is how many bytes of a payload a page has. The API gives all of it.
const payloadShown = 64 << 10

type payloadData struct {
	jobData
	ContentType string
	Text        string
	IsText      bool
	Cut         bool
	Bytes       int
	Shown       int
}

// payload handles GET /jobs/{id}/payload. The reading is audited.
func (p *page) payload() error {
	job, err := p.readJob()
	if err != nil {
		return err
	}
	contentType, body, err := p.Dispatch.Payload(p.ctx, p.by, job.ID)
	if err != nil {
		return err
	}
	data := payloadData{jobData: job, ContentType: contentType, Bytes: len(body), Shown: payloadShown}
	data.Text, data.IsText, data.Cut = asText(body, payloadShown)
	return p.render(http.StatusOK, "payload", data)
}

// replayForm handles GET /jobs/{id}/replay.
func (p *page) replayForm() error { return p.jobForm("replay") }

// deadLetterForm handles GET /jobs/{id}/dead-letter.
func (p *page) deadLetterForm() error { return p.jobForm("deadletter") }

// jobForm shows a form about a job.
func (p *page) jobForm(name string) error {
	data, err := p.readJob()
	if err != nil {
		return err
	}
	return p.render(http.StatusOK, name, data)
}

// jobFormAgain shows a job's form again with what is wrong.
func (p *page) jobFormAgain(err error, name string, fields ...string) error {
	if !correctable(err) {
		return err
	}
	data, readErr := p.readJob()
	if readErr != nil {
		return readErr
	}
	data.form = p.newForm(fields...)
	data.refused(err)
	return p.render(p.x.problem(err).Status, name, data)
}

// replay handles POST /jobs/{id}/replay (runbook §5: after endpoint or configuration correction).
func (p *page) replay() error {
	id, r := p.r.PathValue("id"), dispatch.ReplayRequest{Force: p.form.Get("force") == "true", Reason: p.field("reason")}
	var err error
	if at := p.field("expireAt"); at != "" {
		r.ExpireAt, err = parseUTC("expireAt", at)
	}
	if err == nil {
		_, err = p.Dispatch.Replay(p.ctx, p.by, id, r)
	}
	if err != nil {
		return p.jobFormAgain(err, "replay", "reason", "expireAt")
	}
	return p.redirect(p.backTo("/jobs/"+id, "replayed"))
}

// backTo is where a form leads: the list that it was in, or the thing's own page, with what was done.
func (p *page) backTo(own, done string) string {
	to := own
	if list := p.form.Get("back"); list != "" {
		to = p.localPage(list)
	}
	u, err := url.Parse(to)
	if err != nil {
		return own
	}
	q := u.Query()
	q.Set("done", done)
	u.RawQuery = q.Encode()
	return u.RequestURI()
}

// parseUTC reads a time as a browser's datetime-local field has it, of which the page says that it is
// UTC, or as people write one where the browser has no such field.
// fault.Invalid names the field.
func parseUTC(field, text string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05", time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "%s is a time in UTC, such as 2026-03-14T09:26", field)
}

// deadLetter handles POST /jobs/{id}/dead-letter (runbook §5).
func (p *page) deadLetter() error {
	id := p.r.PathValue("id")
	if _, err := p.Dispatch.DeadLetterJob(p.ctx, p.by, id, p.field("reason")); err != nil {
		return p.jobFormAgain(err, "deadletter", "reason")
	}
	return p.redirect(p.backTo("/jobs/"+id, "deadlettered"))
}

type retriedData struct{ Rows []jobRow }

// retryDue handles POST /jobs/retry-due (runbook §5). It waits up to 25 s for what comes of the jobs.
func (p *page) retryDue() error {
	limit, err := strconv.Atoi(p.field("limit"))
	if err != nil {
		limit = 0 // which is refused, with what it may be
	}
	jobs, err := p.Dispatch.RetryDue(p.ctx, p.by, limit, p.form.Get("includeWaiting") == "true")
	if err != nil {
		return err
	}
	rows, err := p.jobRows(jobs)
	if err != nil {
		return err
	}
	return p.render(http.StatusOK, "retried", retriedData{rows})
}
