package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/fault"
)

// retentionRoutes enforce how long events are kept, and keep those that are held (runbook §6).
func (s *Server) retentionRoutes() {
	const path = "/api/admin/audit-retention"
	admin, readers, tags := only(audit.Admin), only(audit.Admin, audit.Auditor), []string{"audit"}
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: path + "/enforce", Tags: tags,
		Summary: "Plan which old events go (a dry run), or apply a plan",
		Description: "A dry run deletes nothing and gives a planHash, which can be applied within an hour: with a fresh sign-in, " +
			"otherwise 401 with details.reauthRequired.",
	}, s.enforceRetention)
	route(s, admin.guarded(), huma.Operation{
		Method: http.MethodPost, Path: "/api/admin/audit/events/{id}/redact", Tags: tags,
		Summary: "Remove what one event said, because the law asks for it",
		Description: "Its hash stays in the log, so that everything else is still verified. The intent, with the reason, is sealed before " +
			"anything goes. 409 where the event is held, or accounts for the log itself.",
	}, s.redact)
	route(s, readers, huma.Operation{Method: http.MethodGet, Path: path + "/holds", Tags: tags, Summary: "Legal holds, the oldest first"}, s.holds)
	route(s, admin.guarded(), huma.Operation{
		Method: http.MethodPost, Path: path + "/holds", Tags: tags, Summary: "Keep the events that fit, however old they are",
		DefaultStatus: http.StatusCreated,
	}, s.addHold)
	route(s, admin.guarded(), huma.Operation{
		Method: http.MethodDelete, Path: path + "/holds/{id}", Tags: tags, Summary: "Release a legal hold",
		DefaultStatus: http.StatusNoContent,
	}, s.releaseHold)
}

type redactInput struct {
	Caller
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"Kept in the audit log"`
	}
}

type redactOutput struct {
	Body struct {
		Redaction audit.Redaction `json:"redaction"`
	}
}

// redact handles POST /api/admin/audit/events/{id}/redact (runbook §6).
func (s *Server) redact(ctx context.Context, in *redactInput) (*redactOutput, error) {
	r, err := s.Retention.Redact(ctx, in.Principal, in.ID, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	out := &redactOutput{}
	out.Body.Redaction = r
	return out, nil
}

type enforceRetentionInput struct {
	Caller
	Body *struct {
		DryRun   *bool  `json:"dryRun,omitempty" default:"true" doc:"false deletes"`
		PlanHash string `json:"planHash,omitempty" pattern:"^[0-9a-f]{64}$" doc:"The dry run's plan, to apply it"`
	}
}

type retentionOutput struct {
	Body struct {
		Report audit.Report `json:"report"`
	}
}

// enforceRetention handles POST /api/admin/audit-retention/enforce (runbook §6).
func (s *Server) enforceRetention(ctx context.Context, in *enforceRetentionInput) (*retentionOutput, error) {
	out := &retentionOutput{}
	dryRun, hash := true, ""
	if in.Body != nil {
		hash = in.Body.PlanHash
		if in.Body.DryRun != nil {
			dryRun = *in.Body.DryRun
		}
	}
	var err error
	switch {
	case dryRun && hash != "":
		err = fault.New(fault.Invalid, "a dry run makes a plan and takes none: say dryRun false to apply planHash")
	case dryRun:
		out.Body.Report, err = s.Retention.Plan(ctx, in.Principal)
	case hash == "":
		err = fault.New(fault.Invalid, "say which plan to apply: make a dry run, and give its planHash")
	default:
		if err = s.fresh(ctx, in.Principal); err == nil {
			out.Body.Report, err = s.Retention.Apply(ctx, in.Principal, hash)
		}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// fresh is guarded for a part of what a route does.
func (s *Server) fresh(ctx context.Context, by audit.Principal) error {
	err := s.Accounts.Guard(by)
	if err == nil {
		return nil
	}
	return s.Log.Refused(ctx, by, audit.Event{
		Action: "access.denied", Entity: "Route", EntityID: exchangeOf(ctx).route.name, Details: map[string]any{"reason": "reauthRequired"},
	}, err)
}

type holdsInput struct {
	Caller
	Paging
}

type holdsOutput struct {
	Body struct {
		Holds    []audit.Hold `json:"holds"`
		PageInfo PageInfo     `json:"pageInfo"`
	}
}

// holds handles GET /api/admin/audit-retention/holds.
func (s *Server) holds(ctx context.Context, in *holdsInput) (*holdsOutput, error) {
	list, err := s.Retention.Holds(ctx, in.Page)
	if err != nil {
		return nil, err
	}
	out := &holdsOutput{}
	out.Body.Holds, out.Body.PageInfo = items(list), pageInfo(list)
	return out, nil
}

type addHoldInput struct {
	Caller
	Body struct {
		ActorID  string    `json:"actorId,omitempty" maxLength:"256" doc:"Events that this actor did; what is left out fits every event"`
		EntityID string    `json:"entityId,omitempty" maxLength:"256" doc:"Events about the thing with this id"`
		From     time.Time `json:"from,omitzero" required:"false" doc:"Events not before this time"`
		To       time.Time `json:"to,omitzero" required:"false" doc:"Events before this time"`
		Reason   string    `json:"reason" minLength:"1" maxLength:"500"`
	}
}

type holdOutput struct {
	Body struct {
		Hold audit.Hold `json:"hold"`
	}
}

// addHold handles POST /api/admin/audit-retention/holds.
func (s *Server) addHold(ctx context.Context, in *addHoldInput) (*holdOutput, error) {
	h, err := s.Retention.AddHold(ctx, in.Principal, audit.NewHold{
		ActorID: in.Body.ActorID, EntityID: in.Body.EntityID, From: in.Body.From, To: in.Body.To, Reason: in.Body.Reason,
	})
	if err != nil {
		return nil, err
	}
	out := &holdOutput{}
	out.Body.Hold = h
	return out, nil
}

type holdInput struct {
	Caller
	ID string `path:"id" maxLength:"64"`
}

// releaseHold handles DELETE /api/admin/audit-retention/holds/{id}.
func (s *Server) releaseHold(ctx context.Context, in *holdInput) (*struct{}, error) {
	return nil, s.Retention.ReleaseHold(ctx, in.Principal, in.ID)
}
