package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/dispatch"
)

// adminJobRoutes are the runbook's dispatch reliability controls (runbook §5).
func (s *Server) adminJobRoutes() {
	readers, admin, tags := only(audit.Admin, audit.Auditor), only(audit.Admin), []string{"dispatch"}
	route(s, readers, huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/dispatch/jobs", Tags: tags, Summary: "All jobs, the newest first",
	}, s.allJobs)
	route(s, readers, huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/dispatch/jobs/{id}", Tags: tags, Summary: "A job with its attempts",
	}, s.anyJob)
	route(s, admin, huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/dispatch/jobs/{id}/payload", Tags: tags, Summary: "A job's payload (audited)",
	}, s.jobPayload)
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: "/api/admin/dispatch/retry-due", Tags: tags, Summary: "Attempt due jobs now and wait for what comes of them",
	}, s.retryDue)
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: "/api/admin/dispatch/{jobId}/replay", Tags: tags, Summary: "Give a job a fresh budget of attempts",
	}, s.replayJob)
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: "/api/admin/dispatch/replay", Tags: tags, Summary: "Replay dead jobs, the oldest first",
		Description: "Jobs that cannot be replayed so are left out: of deleted endpoints, without a payload any more, and those that are over, " +
			"unless expireAt gives them a new end. They become due behind what is due already.",
	}, s.replayJobs)
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: "/api/admin/dispatch/{jobId}/dead-letter", Tags: tags, Summary: "Give a job up",
	}, s.deadLetterJob)
}

// allJobs handles GET /api/admin/dispatch/jobs (runbook §5).
func (s *Server) allJobs(ctx context.Context, in *jobList) (*jobsOutput, error) {
	return s.listJobs(ctx, in, "")
}

// anyJob handles GET /api/admin/dispatch/jobs/{id}.
func (s *Server) anyJob(ctx context.Context, in *jobInput) (*jobDetailOutput, error) {
	job, err := s.Dispatch.Get(ctx, in.Principal, in.ID)
	if err != nil {
		return nil, err
	}
	return s.withAttempts(ctx, job)
}

type payloadOutput struct {
	Body struct {
		ContentType string `json:"contentType"`
		Payload     []byte `json:"payload" doc:"The bytes that are sent, in base64"`
	}
}

// jobPayload handles GET /api/admin/dispatch/jobs/{id}/payload.
func (s *Server) jobPayload(ctx context.Context, in *jobInput) (*payloadOutput, error) {
	contentType, payload, err := s.Dispatch.Payload(ctx, in.Principal, in.ID)
	if err != nil {
		return nil, err
	}
	out := &payloadOutput{}
	out.Body.ContentType, out.Body.Payload = contentType, payload
	return out, nil
}

type retryDueBody struct {
	Limit          int  `json:"limit,omitempty" minimum:"1" maximum:"200" default:"20" doc:"How many jobs at most"`
	IncludeWaiting bool `json:"includeWaiting,omitempty" doc:"Also jobs whose retry time has not come"`
}

type retryDueInput struct {
	Caller
	Body *retryDueBody
}

// Processed is what came of one job that was retried.
type Processed struct {
	ID           string     `json:"id"`
	Status       string     `json:"status" enum:"PENDING,IN_FLIGHT,RETRYING,DISPATCHED,DEAD_LETTER"`
	AttemptCount int        `json:"attemptCount"`
	NextRetryAt  *time.Time `json:"nextRetryAt"`
	LastError    *string    `json:"lastError"`
}

type retryDueOutput struct {
	Body struct {
		Processed []Processed `json:"processed"`
	}
}

// retryDue handles POST /api/admin/dispatch/retry-due (runbook §5).
func (s *Server) retryDue(ctx context.Context, in *retryDueInput) (*retryDueOutput, error) {
	body := retryDueBody{Limit: dispatch.DefaultRetry}
	if in.Body != nil {
		body = *in.Body
	}
	jobs, err := s.Dispatch.RetryDue(ctx, in.Principal, body.Limit, body.IncludeWaiting)
	if err != nil {
		return nil, err
	}
	out := &retryDueOutput{}
	out.Body.Processed = make([]Processed, len(jobs))
	for i, j := range jobs {
		out.Body.Processed[i] = Processed{
			ID: j.ID, Status: string(j.Status), AttemptCount: j.AttemptCount,
			NextRetryAt: optional(j.NextRetryAt), LastError: optional(j.LastError),
		}
	}
	return out, nil
}

type replayBody struct {
	Force    bool      `json:"force,omitempty" doc:"Send it again although the receiver has it; needs a reason"`
	Reason   string    `json:"reason,omitempty" maxLength:"500"`
	ExpireAt time.Time `json:"expireAt,omitzero" required:"false" doc:"A new end, for a job that has expired"`
}

type replayInput struct {
	Caller
	JobID string `path:"jobId" maxLength:"64"`
	Body  *replayBody
}

// replayJob handles POST /api/admin/dispatch/{jobId}/replay (runbook §5).
func (s *Server) replayJob(ctx context.Context, in *replayInput) (*jobOutput, error) {
	var r dispatch.ReplayRequest
	if in.Body != nil {
		r = dispatch.ReplayRequest{Force: in.Body.Force, Reason: in.Body.Reason, ExpireAt: in.Body.ExpireAt}
	}
	return jobOut(s.Dispatch.Replay(ctx, in.Principal, in.JobID, r))
}

// ReplayFilter chooses dead jobs. What it does not name fits all.
type ReplayFilter struct {
	Status           string    `json:"status,omitempty" enum:"DEAD_LETTER"`
	EndpointID       string    `json:"endpointId,omitempty" maxLength:"64"`
	DeadLetterReason string    `json:"deadLetterReason,omitempty" enum:"EXHAUSTED,PERMANENT,BLOCKED,EXPIRED,OPERATOR"`
	From             time.Time `json:"from,omitzero" required:"false" doc:"Accepted not before this time"`
	To               time.Time `json:"to,omitzero" required:"false" doc:"Accepted before this time"`
	Q                string    `json:"q,omitempty" maxLength:"36" doc:"How a job's id begins: its first 8 to 36 characters"`
}

type replayJobsInput struct {
	Caller
	Body struct {
		Filter        ReplayFilter `json:"filter"`
		Limit         int          `json:"limit" minimum:"1" maximum:"1000" doc:"How many jobs at most"`
		RatePerSecond float64      `json:"ratePerSecond,omitempty" minimum:"0" maximum:"10000" doc:"How many become due in a second: 0.001 to 10,000; 0: all at once"`
		Reason        string       `json:"reason,omitempty" maxLength:"500"`
		ExpireAt      time.Time    `json:"expireAt,omitzero" required:"false" doc:"A new end for all of them"`
	}
}

type replayJobsOutput struct {
	Body struct {
		Replayed []string `json:"replayed" doc:"Ids, in the order in which they become due"`
		More     bool     `json:"more" doc:"Whether others that fit are left"`
	}
}

// replayJobs handles POST /api/admin/dispatch/replay (runbook §5).
func (s *Server) replayJobs(ctx context.Context, in *replayJobsInput) (*replayJobsOutput, error) {
	f := in.Body.Filter
	ids, more, err := s.Dispatch.ReplayMany(ctx, in.Principal, dispatch.ReplayManyRequest{
		Filter:     dispatch.JobFilter{Status: dispatch.Status(f.Status), EndpointID: f.EndpointID, From: f.From, To: f.To, Q: f.Q},
		DeadReason: dispatch.Reason(f.DeadLetterReason), Limit: in.Body.Limit, RatePerSecond: in.Body.RatePerSecond,
		Reason: in.Body.Reason, ExpireAt: in.Body.ExpireAt,
	})
	if err != nil {
		return nil, err
	}
	out := &replayJobsOutput{}
	out.Body.Replayed, out.Body.More = ids, more
	return out, nil
}

type deadLetterInput struct {
	Caller
	JobID string `path:"jobId" maxLength:"64"`
	Body  struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500"`
	}
}

// deadLetterJob handles POST /api/admin/dispatch/{jobId}/dead-letter (runbook §5).
func (s *Server) deadLetterJob(ctx context.Context, in *deadLetterInput) (*jobOutput, error) {
	return jobOut(s.Dispatch.DeadLetterJob(ctx, in.Principal, in.JobID, in.Body.Reason))
}
