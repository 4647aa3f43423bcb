package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/rotation"
)

// rotationRoutes record rotations of secrets, and tell how old those in use really are (runbook §3).
// `sealpost rotate` uses them by the operator's socket.
func (s *Server) rotationRoutes() {
	const path = "/api/admin/security/secret-rotation"
	admin, readers, tags := only(audit.Admin).guarded().orOperator(), only(audit.Admin, audit.Auditor).orOperator(), []string{"security"}
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: path + "/record", Tags: tags, Summary: "Record a rotation that was done",
		DefaultStatus: http.StatusCreated,
	}, s.recordRotation)
	route(s, readers.scoped(account.PostureRead), huma.Operation{
		Method: http.MethodGet, Path: path + "/status", Tags: tags, Summary: "How old each secret in use is, and what was recorded",
	}, s.rotationStatus)
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: path + "/reload", Tags: tags,
		Summary: "Read the secret files again now, and tell how this server's own secrets stand",
	}, s.reloadSecrets)
}

type recordRotationInput struct {
	Caller
	Body struct {
		TicketID     string    `json:"ticketId" minLength:"1" maxLength:"100"`
		Secrets      []string  `json:"secrets" minItems:"1" maxItems:"50" doc:"JWT_SECRET, OPENAI_API_KEY, DATA_ENCRYPTION_KEY, AUDIT_SIGNING_KEY, DATABASE_PASSWORD, or endpoint: and an id"`
		RotatedAt    time.Time `json:"rotatedAt,omitzero" required:"false" doc:"When it was done; without it, now"`
		Environments []string  `json:"environments" minItems:"1" maxItems:"20" doc:"Which deployments it was done in, each of at most 60 characters"`
		RollbackPlan string    `json:"rollbackPlan" minLength:"1" maxLength:"4000"`
		Notes        string    `json:"notes,omitempty" maxLength:"4000"`
	}
}

type rotationOutput struct {
	Body struct {
		Rotation rotation.Rotation `json:"rotation"`
	}
}

// recordRotation handles POST /api/admin/security/secret-rotation/record (runbook §3.4, §3.5).
func (s *Server) recordRotation(ctx context.Context, in *recordRotationInput) (*rotationOutput, error) {
	r, err := s.Rotation.Record(ctx, in.Principal, rotation.NewRotation{
		TicketID: in.Body.TicketID, Secrets: in.Body.Secrets, RotatedAt: in.Body.RotatedAt, Environments: in.Body.Environments,
		RollbackPlan: in.Body.RollbackPlan, Notes: in.Body.Notes,
	})
	if err != nil {
		return nil, err
	}
	out := &rotationOutput{}
	out.Body.Rotation = r
	return out, nil
}

type rotationStatusOutput struct {
	Body struct {
		Status rotation.Status `json:"status"`
	}
}

// rotationStatus handles GET /api/admin/security/secret-rotation/status (runbook §3.5).
func (s *Server) rotationStatus(ctx context.Context, _ *struct{ Caller }) (*rotationStatusOutput, error) {
	status, err := s.Rotation.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := &rotationStatusOutput{}
	out.Body.Status = status
	return out, nil
}

type reloadSecretsOutput struct {
	Body struct {
		Secrets []rotation.State `json:"secrets"`
	}
}

// reloadSecrets handles POST /api/admin/security/secret-rotation/reload (runbook §3.2).
func (s *Server) reloadSecrets(ctx context.Context, _ *struct{ Caller }) (*reloadSecretsOutput, error) {
	states, err := s.Rotation.Reload(ctx)
	if err != nil {
		return nil, err
	}
	out := &reloadSecretsOutput{}
	out.Body.Secrets = states
	return out, nil
}
