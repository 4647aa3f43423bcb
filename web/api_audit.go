package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
)

// auditRoutes are for those who check the record (runbook §4 and §6).
func (s *Server) auditRoutes() {
	readers, tags := only(audit.Admin, audit.Auditor).scoped(account.AuditRead), []string{"audit"}
	route(s, readers, huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/audit/events", Tags: tags, Summary: "Audit events, the newest first",
	}, s.auditEvents)
	route(s, readers, huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/audit/events/{id}", Tags: tags, Summary: "One audit event",
	}, s.auditEvent)
}

type auditEventsInput struct {
	Caller
	Paging
	RequestID string    `query:"requestId" maxLength:"128" doc:"The x-request-id of the request that it belongs to"`
	ActorID   string    `query:"actorId" maxLength:"128" doc:"Who did it"`
	Action    string    `query:"action" maxLength:"128" doc:"What was done, for example dispatch.job.replayed"`
	Entity    string    `query:"entity" maxLength:"128" doc:"The kind of thing that it was done to"`
	EntityID  string    `query:"entityId" maxLength:"256" doc:"The thing that it was done to"`
	Outcome   string    `query:"outcome" enum:"SUCCESS,FAILURE,DENIED"`
	From      time.Time `query:"from" doc:"Not before this time"`
	To        time.Time `query:"to" doc:"Before this time"`
}

type auditEventsOutput struct {
	Body struct {
		Events   []audit.Record `json:"events"`
		PageInfo PageInfo       `json:"pageInfo"`
	}
}

// auditEvents handles GET /api/admin/audit/events (runbook §4: review audit logs by request id and actor).
func (s *Server) auditEvents(ctx context.Context, in *auditEventsInput) (*auditEventsOutput, error) {
	list, err := s.Log.Events(ctx, audit.Filter{
		RequestID: in.RequestID, ActorID: in.ActorID, Action: in.Action, Entity: in.Entity, EntityID: in.EntityID,
		Outcome: in.Outcome, From: in.From, To: in.To,
	}, in.Page)
	if err != nil {
		return nil, err
	}
	out := &auditEventsOutput{}
	out.Body.Events, out.Body.PageInfo = items(list), pageInfo(list)
	return out, nil
}

type auditEventInput struct {
	Caller
	ID string `path:"id" maxLength:"64"`
}

type auditEventOutput struct {
	Body struct {
		Event audit.Record `json:"event"`
	}
}

// auditEvent handles GET /api/admin/audit/events/{id}.
func (s *Server) auditEvent(ctx context.Context, in *auditEventInput) (*auditEventOutput, error) {
	event, err := s.Log.Event(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &auditEventOutput{}
	out.Body.Event = event
	return out, nil
}
