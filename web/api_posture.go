package web

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/runbook"
)

// postureRoutes tell whether the runbook's clauses hold (SPEC §6). Checking reads only; that it was done
// is an event.
func (s *Server) postureRoutes() {
	readers, tags := only(audit.Admin, audit.Auditor).orOperator(), []string{"security"}
	route(s, readers.scoped(account.PostureRead), huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/security/posture", Tags: tags,
		Summary: "How each clause of the runbook stands, checked within the last minute",
	}, s.posture)
	route(s, readers.scoped(account.PostureRun), huma.Operation{
		Method: http.MethodPost, Path: "/api/admin/security/posture/run", Tags: tags,
		Summary: "Check the clauses of the runbook again now, all or some",
	}, s.runPosture)
}

type postureOutput struct {
	Body struct {
		Controls []runbook.Result `json:"controls"`
	}
}

func postureOut(results []runbook.Result, err error) (*postureOutput, error) {
	if err != nil {
		return nil, err
	}
	out := &postureOutput{}
	out.Body.Controls = results
	return out, nil
}

// posture handles GET /api/admin/security/posture.
func (s *Server) posture(ctx context.Context, _ *struct{ Caller }) (*postureOutput, error) {
	return postureOut(s.Runbook.Posture(ctx), nil)
}

type runPostureInput struct {
	Caller
	Body *struct {
		Only []string `json:"only,omitempty" maxItems:"100" doc:"The ids of the controls to check; without it, all"`
	}
}

// runPosture handles POST /api/admin/security/posture/run.
func (s *Server) runPosture(ctx context.Context, in *runPostureInput) (*postureOutput, error) {
	var ids []string
	if in.Body != nil {
		ids = in.Body.Only
	}
	return postureOut(s.Runbook.Run(ctx, in.Principal, ids...))
}
