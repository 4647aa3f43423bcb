package web

import (
	"net/http"
	"strconv"
	"time"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/fault"
	"sealpost/store"
)

// endpointPages are where an admin says where jobs may go, and corrects it (runbook §5). Every change
// needs a fresh sign-in (SPEC §5.6).
func (s *Server) endpointPages() {
	readers, admin := only(audit.Admin, audit.Auditor), only(audit.Admin)
	s.page(readers, "GET /endpoints", (*page).endpointList)
	s.page(readers, "GET /endpoints/{id}", (*page).endpoint)
	s.page(admin, "GET /endpoints/new", (*page).newEndpoint)
	s.page(admin, "GET /endpoints/{id}/delete", (*page).deleteForm)
	s.page(admin.guarded(), "POST /endpoints", (*page).createEndpoint)
	s.page(admin.guarded(), "POST /endpoints/{id}", (*page).changeEndpoint)
	s.page(admin.guarded(), "POST /endpoints/{id}/pause", (*page).pauseEndpoint)
	s.page(admin.guarded(), "POST /endpoints/{id}/resume", (*page).resumeEndpoint)
	s.page(admin.guarded(), "POST /endpoints/{id}/rotate-secret", (*page).rotateSecret)
	s.page(admin.guarded(), "POST /endpoints/{id}/delete", (*page).deleteEndpoint)
}

type endpointsData struct {
	Rows         []dispatch.Endpoint
	First, Older string
}

// endpointList handles GET /endpoints.
func (p *page) endpointList() error {
	after, ok := parseCursor(p.query("cursor"))
	if !ok {
		return fault.New(fault.BadRequest, "this address is none of a list of endpoints")
	}
	list, err := p.Dispatch.Endpoints(p.ctx, store.Page{Limit: jobsShown, After: after})
	if err != nil {
		return err
	}
	data := endpointsData{Rows: list.Items}
	if after != "" {
		data.First = "/endpoints"
	}
	if list.Next != "" {
		data.Older = "/endpoints?cursor=" + makeCursor(list.Next)
	}
	return p.render(http.StatusOK, "endpoints", data)
}

// endpointData is an endpoint with the forms about it. Of a new one there is only the form.
type endpointData struct {
	form
	dispatch.Endpoint
	Defaults endpointDefaults
	Overlaps []overlap
	Pause    form
	Rotate   form
}

// endpointDefaults are the deployment's own values, which an endpoint follows that says nothing else.
type endpointDefaults struct{ Concurrency, TimeoutSeconds, MaxAttempts int }

// overlap is for how long an old signing secret signs beside the new one.
type overlap struct {
	Hours int
	Words string
}

var overlaps = []overlap{
	{24, "24 hours: a planned rotation"},
	{1, "1 hour"},
	{72, "3 days"},
	{168, "7 days"},
	{0, "not at all: it has leaked"},
}

// endpointFields are what can be changed.
var endpointFields = []string{"name", "url", "concurrency", "timeoutSeconds", "maxAttempts"}

// endpointForm is an endpoint with its forms as they first are.
func (p *page) endpointForm(e dispatch.Endpoint) endpointData {
	d := p.Config.Dispatch
	return endpointData{
		Endpoint: e, Overlaps: overlaps,
		Defaults: endpointDefaults{d.EndpointConcurrency, int(d.Timeout.Seconds()), d.MaxAttempts},
		form: form{Errors: map[string]string{}, Values: map[string]string{
			"name": e.Name, "url": e.URL, "concurrency": orEmpty(e.Concurrency),
			"timeoutSeconds": orEmpty(e.TimeoutSeconds), "maxAttempts": orEmpty(e.MaxAttempts),
		}},
	}
}

// orEmpty writes a number that is empty where the deployment's own holds.
func orEmpty(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// orZero reads what orEmpty writes. What is no number becomes one that every limit refuses.
func orZero(text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// readEndpoint gives the endpoint that an address names.
func (p *page) readEndpoint() (dispatch.Endpoint, error) {
	return p.Dispatch.Endpoint(p.ctx, p.r.PathValue("id"))
}

// showEndpoint shows the endpoint that an address names, on one of its pages. change, which may be nil,
// puts into its forms what is wrong with them.
func (p *page) showEndpoint(status int, name string, change func(*endpointData)) error {
	e, err := p.readEndpoint()
	if err != nil {
		return err
	}
	data := p.endpointForm(e)
	if change != nil {
		change(&data)
	}
	return p.render(status, name, data)
}

// endpoint handles GET /endpoints/{id}.
func (p *page) endpoint() error { return p.showEndpoint(http.StatusOK, "endpoint", nil) }

// deleteForm handles GET /endpoints/{id}/delete.
func (p *page) deleteForm() error { return p.showEndpoint(http.StatusOK, "deleteendpoint", nil) }

// newEndpoint handles GET /endpoints/new.
func (p *page) newEndpoint() error {
	return p.render(http.StatusOK, "newendpoint", p.endpointForm(dispatch.Endpoint{}))
}

// secretData is a signing secret that has just been made. It is in this one answer and never again.
type secretData struct {
	dispatch.Endpoint
	Secret string
	New    bool
}

// createEndpoint handles POST /endpoints.
func (p *page) createEndpoint() error {
	e, secret, err := p.Dispatch.CreateEndpoint(p.ctx, p.by, dispatch.NewEndpoint{
		Name: p.field("name"), URL: p.field("url"), Concurrency: orZero(p.field("concurrency")),
		TimeoutSeconds: orZero(p.field("timeoutSeconds")), MaxAttempts: orZero(p.field("maxAttempts")),
	})
	switch {
	case err == nil:
		return p.render(http.StatusCreated, "secret", secretData{e, secret, true})
	case !correctable(err):
		return err
	}
	data := p.endpointForm(dispatch.Endpoint{})
	data.form = p.newForm(endpointFields...)
	data.refused(err)
	return p.render(p.x.problem(err).Status, "newendpoint", data)
}

// changeEndpoint handles POST /endpoints/{id}. The form carries what it showed, so that it changes what
// its sender changed and leaves alone what somebody else has corrected meanwhile.
func (p *page) changeEndpoint() error {
	c := dispatch.EndpointChange{
		Name: p.changed("name"), URL: p.changed("url"), Concurrency: p.changedNumber("concurrency"),
		TimeoutSeconds: p.changedNumber("timeoutSeconds"), MaxAttempts: p.changedNumber("maxAttempts"),
	}
	own := "/endpoints/" + p.r.PathValue("id")
	if c == (dispatch.EndpointChange{}) {
		return p.redirect(own + "?done=unchanged")
	}
	_, err := p.Dispatch.ChangeEndpoint(p.ctx, p.by, p.r.PathValue("id"), c)
	switch {
	case err == nil:
		return p.redirect(own + "?done=changed")
	case !correctable(err):
		return err
	}
	return p.showEndpoint(p.x.problem(err).Status, "endpoint", func(data *endpointData) {
		data.form = p.newForm(endpointFields...)
		data.refused(err)
	})
}

// changed gives a field that is not what the form showed, else nil.
func (p *page) changed(name string) *string {
	v := p.field(name)
	if v == p.field("was."+name) {
		return nil
	}
	return &v
}

func (p *page) changedNumber(name string) *int {
	v := p.changed(name)
	if v == nil {
		return nil
	}
	n := orZero(*v)
	return &n
}

// maxPauseReason is the longest reason for a pause, in code points, as by the API.
const maxPauseReason = 500

// pauseEndpoint handles POST /endpoints/{id}/pause.
func (p *page) pauseEndpoint() error {
	reason := p.field("reason")
	if len([]rune(reason)) > maxPauseReason {
		return p.showEndpoint(http.StatusUnprocessableEntity, "endpoint", func(data *endpointData) {
			data.Pause = p.newForm("reason")
			data.Pause.Errors["reason"] = "Reason has at most " + strconv.Itoa(maxPauseReason) + " characters"
		})
	}
	return p.setPaused(true, reason, "paused")
}

// resumeEndpoint handles POST /endpoints/{id}/resume.
func (p *page) resumeEndpoint() error { return p.setPaused(false, "", "resumed") }

func (p *page) setPaused(paused bool, reason, done string) error {
	id := p.r.PathValue("id")
	if _, err := p.Dispatch.SetPaused(p.ctx, p.by, id, paused, reason); err != nil {
		return err
	}
	return p.redirect("/endpoints/" + id + "?done=" + done)
}

// rotateSecret handles POST /endpoints/{id}/rotate-secret (runbook §3).
func (p *page) rotateSecret() error {
	hours, err := strconv.Atoi(p.field("overlapHours"))
	if err != nil {
		hours = -1 // which is refused, with what it may be
	}
	e, secret, err := p.Dispatch.RotateSecret(p.ctx, p.by, p.r.PathValue("id"), time.Duration(hours)*time.Hour)
	switch {
	case err == nil:
		return p.render(http.StatusOK, "secret", secretData{e, secret, false})
	case !correctable(err):
		return err
	}
	return p.showEndpoint(p.x.problem(err).Status, "endpoint", func(data *endpointData) {
		data.Rotate = p.newForm("overlapHours")
		data.Rotate.refused(err)
	})
}

// deleteEndpoint handles POST /endpoints/{id}/delete.
func (p *page) deleteEndpoint() error {
	err := p.Dispatch.DeleteEndpoint(p.ctx, p.by, p.r.PathValue("id"))
	switch {
	case err == nil:
		return p.redirect("/endpoints?done=deleted")
	case !correctable(err):
		return err
	}
	return p.showEndpoint(http.StatusConflict, "deleteendpoint", func(data *endpointData) {
		data.Error = sentenceOf(messageOf(err))
	})
}
