package web

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/fault"
)

// evidenceRoute gives a job's evidence: what whoever has sent or received it can verify offline, years later.
func (s *Server) evidenceRoute() {
	route(s, signedIn.scoped(account.DispatchRead), huma.Operation{
		Method: http.MethodGet, Path: "/api/dispatch/jobs/{id}/evidence", Tags: []string{"dispatch"},
		Summary: "What proves a job's story offline",
		Description: "Every event about the job, each with its proof (C2SP tlog-proof), and what the server says of the job, which " +
			"`sealpost evidence verify` compares with them. Of an own job, or for ADMIN and AUDITOR of any. 503 with Retry-After while " +
			"the newest event is not sealed.",
	}, s.jobEvidence)
}

// Evidence is audit.Evidence as the document has it.
type Evidence struct {
	Format      string       `json:"format" enum:"sealpost-evidence/1"`
	Entity      string       `json:"entity"`
	EntityID    string       `json:"entityId"`
	MadeAt      string       `json:"madeAt" format:"date-time"`
	VerifierKey string       `json:"verifierKey" doc:"Of the log, as a note verifier. Who verifies believes one from elsewhere"`
	Statement   JobStatement `json:"statement" doc:"What the server says; the proofs have to bear it out"`
	Proofs      []string     `json:"proofs" doc:"C2SP tlog-proof, the oldest event first"`
}

// JobStatement is what the server says of a job.
type JobStatement struct {
	Job         JobDetail `json:"job"`
	PayloadHash string    `json:"payloadHash" doc:"SHA-256 of the salt and the payload as it was sent, in hex: the event of its acceptance has it"`
	PayloadSalt *string   `json:"payloadSalt" doc:"base64; null where the payload has been removed"`
}

type evidenceOutput struct {
	ContentDisposition string `header:"Content-Disposition"`
	Body               Evidence
}

// jobEvidence handles GET /api/dispatch/jobs/{id}/evidence.
func (s *Server) jobEvidence(ctx context.Context, in *jobInput) (*evidenceOutput, error) {
	job, err := s.Dispatch.Get(ctx, in.Principal, in.ID)
	if err == nil && job.OwnerID != in.Principal.UserID && (in.Principal.Kind != audit.User || !sees(in.Principal)) {
		err = fault.New(fault.NotFound, "there is no job %s of yours", in.ID)
	}
	if err != nil {
		return nil, err
	}
	statement, err := s.jobStatement(ctx, job)
	if err != nil {
		return nil, err
	}
	e, err := s.Log.Evidence(ctx, "DispatchJob", job.ID)
	if err != nil {
		return nil, err
	}
	return &evidenceOutput{
		ContentDisposition: `attachment; filename="evidence-` + job.ID + `.json"`,
		Body: Evidence{
			Format: e.Format, Entity: e.Entity, EntityID: e.EntityID, MadeAt: rfc3339(e.MadeAt), VerifierKey: e.VerifierKey,
			Statement: statement, Proofs: e.Proofs,
		},
	}, nil
}

func (s *Server) jobStatement(ctx context.Context, job dispatch.Job) (JobStatement, error) {
	detail, err := s.withAttempts(ctx, job)
	if err != nil {
		return JobStatement{}, err
	}
	salt, hash, err := s.Dispatch.PayloadHash(ctx, job.ID)
	if err != nil {
		return JobStatement{}, err
	}
	out := JobStatement{Job: detail.Body.Job, PayloadHash: hex.EncodeToString(hash)}
	if len(salt) > 0 {
		text := base64.StdEncoding.EncodeToString(salt)
		out.PayloadSalt = &text
	}
	return out, nil
}
