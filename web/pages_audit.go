package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// auditPages are where the record is read: by request, by actor, by thing, by time (runbook §4).
func (s *Server) auditPages() {
	readers := only(audit.Admin, audit.Auditor)
	s.page(readers, "GET /audit", (*page).events)
	s.page(readers, "GET /audit/{id}", (*page).event)
	s.page(only(audit.Admin).guarded(), "POST /audit/{id}/redact", (*page).redact)
}

// outcomes are what a list of events can be narrowed to.
var outcomes = []string{audit.Success, audit.Failure, audit.Denied}

// eventFields are the parts of a filter as an address has them.
var eventFields = []string{"requestId", "actorId", "action", "entityId", "outcome", "from", "to"}

type eventsData struct {
	form
	Outcomes []string
	Filtered bool
	First    bool // this is the list's beginning
	Newest   string
	Older    string
	Rows     []eventRow
}

// eventRow is an event with the addresses of what it names.
type eventRow struct {
	audit.Record
	ByActor, ByRequest, ByEntity string
}

func eventRowOf(r audit.Record) eventRow {
	return eventRow{
		Record: r, ByActor: eventsAddress("actorId", r.Actor.ID), ByRequest: eventsAddress("requestId", r.RequestID),
		ByEntity: eventsAddress("entityId", r.EntityID),
	}
}

// events handles GET /audit.
func (p *page) events() error {
	data := eventsData{form: form{Values: map[string]string{}, Errors: map[string]string{}}, Outcomes: outcomes}
	for _, name := range eventFields {
		data.Values[name] = p.query(name)
		data.Filtered = data.Filtered || data.Values[name] != ""
	}
	after, ok := parseCursor(p.query("cursor"))
	if !ok {
		return fault.New(fault.BadRequest, "this address is none of a list of events")
	}
	f, err := eventFilter(data.Values)
	if err != nil { // what was typed is no time: that is said beside it
		data.refused(err)
		return p.render(p.x.problem(err).Status, "events", data)
	}
	list, err := p.Log.Events(p.ctx, f, store.Page{Limit: jobsShown, After: after})
	if err != nil {
		return err
	}
	for _, r := range list.Items {
		data.Rows = append(data.Rows, eventRowOf(r))
	}
	q := url.Values{}
	for name, value := range data.Values {
		if value != "" {
			q.Set(name, value)
		}
	}
	data.First, data.Newest = after == "", addressOf("/audit", q)
	if list.Next != "" {
		q.Set("cursor", makeCursor(list.Next))
		data.Older = addressOf("/audit", q)
	}
	return p.render(http.StatusOK, "events", data)
}

// eventFilter reads what an address asks for. fault.Invalid.
func eventFilter(values map[string]string) (f audit.Filter, err error) {
	f = audit.Filter{
		RequestID: values["requestId"], ActorID: values["actorId"], Action: values["action"], EntityID: values["entityId"],
	}
	if slices.Contains(outcomes, values["outcome"]) {
		f.Outcome = values["outcome"]
	}
	if at := values["from"]; at != "" {
		if f.From, err = parseUTC("from", at); err != nil {
			return f, err
		}
	}
	if at := values["to"]; at != "" {
		f.To, err = parseUTC("to", at)
	}
	return f, err
}

// eventsAddress is the list of the events that share a value; "" where there is none to share.
func eventsAddress(name, value string) string {
	if value == "" {
		return ""
	}
	return addressOf("/audit", url.Values{name: {value}})
}

// addressOf puts a query behind a path.
func addressOf(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

type eventData struct {
	eventRow
	form
	Facts     string // the details as JSON; "" where there are none
	MaxReason int
}

// event handles GET /audit/{id}.
func (p *page) event() error { return p.showEvent(http.StatusOK, p.newForm()) }

func (p *page) showEvent(status int, f form) error {
	r, err := p.Log.Event(p.ctx, p.r.PathValue("id"))
	if err != nil {
		return err
	}
	data := eventData{eventRow: eventRowOf(r), form: f, MaxReason: audit.MaxRedactionReason}
	data.Facts, err = facts(r.Details)
	if err != nil {
		return err
	}
	return p.render(status, "event", data)
}

// redact handles POST /audit/{id}/redact.
func (p *page) redact() error {
	_, err := p.Retention.Redact(p.ctx, p.by, p.r.PathValue("id"), p.field("reason"))
	switch {
	case err == nil:
		return p.redirect("/audit?done=redacted")
	case !correctable(err):
		return err
	}
	f := p.newForm("reason")
	f.refused(err)
	return p.showEvent(p.x.problem(err).Status, f)
}

// facts writes what an event or a control tells beside its words, as JSON that people read.
func facts(values map[string]any) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // the template does
	if err := e.Encode(values); err != nil {
		return "", err
	}
	return strings.TrimSpace(b.String()), nil
}
