package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
)

// auditExportRoutes give the events as a file (runbook §6). They take a fresh sign-in, and are recorded.
func (s *Server) auditExportRoutes() {
	route(s, only(audit.Admin, audit.Auditor).guarded(), huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/audit/export", Tags: []string{"audit"}, Summary: "Audit events as a file, the oldest first",
		Description: "jsonl has an event a line, as it was logged; csv is for a spreadsheet, where a cell that begins with = + - @, a tab or a " +
			"carriage return has an apostrophe before it, so that it is not taken for a formula. The answer streams, and breaks off where " +
			"it cannot go on. What verifies offline is the sealed log: `sealpost audit export`, or /audit/log/.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The events",
			Content: map[string]*huma.MediaType{
				"application/jsonl": {Schema: &huma.Schema{Type: huma.TypeString}}, "text/csv": {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}, s.exportEvents)
}

type exportEventsInput struct {
	Caller
	Format    string    `query:"format" required:"true" enum:"jsonl,csv"`
	RequestID string    `query:"requestId" maxLength:"128" doc:"The x-request-id of the request that it belongs to"`
	ActorID   string    `query:"actorId" maxLength:"128" doc:"Who did it"`
	Action    string    `query:"action" maxLength:"128" doc:"What was done, for example dispatch.job.replayed"`
	Entity    string    `query:"entity" maxLength:"128" doc:"The kind of thing that it was done to"`
	EntityID  string    `query:"entityId" maxLength:"256" doc:"The thing that it was done to"`
	Outcome   string    `query:"outcome" enum:"SUCCESS,FAILURE,DENIED"`
	From      time.Time `query:"from" doc:"Not before this time"`
	To        time.Time `query:"to" doc:"Before this time; now where it is missing"`
}

// exportTypes are the content types of the formats.
var exportTypes = map[string]string{audit.FormatJSONL: "application/jsonl", audit.FormatCSV: "text/csv; charset=utf-8; header=present"}

// exportEvents handles GET /api/admin/audit/export. That somebody takes the events away is an event itself, and
// is written before the first of them leaves.
func (s *Server) exportEvents(ctx context.Context, in *exportEventsInput) (*huma.StreamResponse, error) {
	f := audit.Filter{
		RequestID: in.RequestID, ActorID: in.ActorID, Action: in.Action, Entity: in.Entity, EntityID: in.EntityID,
		Outcome: in.Outcome, From: in.From, To: in.To,
	}
	if f.To.IsZero() {
		f.To = time.Now()
	}
	details := map[string]any{"format": in.Format, "to": f.To.UTC()}
	for name, value := range map[string]string{
		"requestId": f.RequestID, "actorId": f.ActorID, "action": f.Action, "entity": f.Entity, "entityId": f.EntityID, "outcome": f.Outcome,
	} {
		if value != "" {
			details[name] = value
		}
	}
	if !f.From.IsZero() {
		details["from"] = f.From.UTC()
	}
	if err := s.Log.Record(ctx, in.Principal, audit.Event{Action: "audit.log.exported", Entity: "AuditLog", Details: details}); err != nil {
		return nil, err
	}
	x := exchangeOf(ctx)
	return &huma.StreamResponse{Body: func(huma.Context) {
		h := x.Header()
		h["Content-Type"] = []string{exportTypes[in.Format]}
		h["Content-Disposition"] = []string{`attachment; filename="audit-` + f.To.UTC().Format("20060102T150405Z") + "." + in.Format + `"`}
		h["Cache-Control"] = []string{"no-store"}
		out := &patientWriter{x: x, c: http.NewResponseController(x.ResponseWriter)}
		if _, err := s.Log.WriteEvents(x.request.Context(), out, in.Format, f); err != nil {
			if out.err == nil { // the reader is still there
				s.Logger.Error("an export of audit events broke off", "requestId", in.Principal.RequestID, "error", err)
			}
			panic(http.ErrAbortHandler) // so that the reader does not take what there is for the whole
		}
	}}, nil
}

// exportWrite is how long a reader may take for a piece of an export.
const exportWrite = 30 * time.Second

// patientWriter writes an answer of any length: the time-out is for each piece, not for all.
type patientWriter struct {
	x   *exchange
	c   *http.ResponseController
	err error
}

func (w *patientWriter) Write(b []byte) (int, error) {
	if w.err == nil {
		w.err = w.c.SetWriteDeadline(time.Now().Add(exportWrite))
	}
	if w.err != nil {
		return 0, w.err
	}
	var n int
	n, w.err = w.x.Write(b)
	return n, w.err
}
