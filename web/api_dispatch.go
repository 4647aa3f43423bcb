package web

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/fault"
)

// dispatchRoutes are for integrators, who post jobs and look after their own.
func (s *Server) dispatchRoutes() {
	tags := []string{"dispatch"}
	route(s, only(audit.Admin, audit.Author).scoped(account.DispatchWrite), huma.Operation{
		Method: http.MethodPost, Path: "/api/dispatch/jobs", Tags: tags, Summary: "Accept a job",
		Description: "The job is durable when it is answered. A payload that is a JSON string is sent as that text; " +
			"any other JSON value is sent as it was written and needs a JSON contentType.",
		DefaultStatus: http.StatusAccepted, MaxBodyBytes: payloadBytes,
	}, s.acceptJob)
	route(s, signedIn.scoped(account.DispatchRead), huma.Operation{
		Method: http.MethodGet, Path: "/api/dispatch/jobs", Tags: tags, Summary: "Own jobs, the newest first",
	}, s.ownJobs)
	route(s, signedIn.scoped(account.DispatchRead), huma.Operation{
		Method: http.MethodGet, Path: "/api/dispatch/jobs/{id}", Tags: tags, Summary: "An own job with its attempts",
	}, s.ownJob)
	s.evidenceRoute()
	s.adminJobRoutes()
	s.endpointRoutes()
	s.batchRoute()
}

// Job is a job as SPEC §4 shows it.
type Job struct {
	ID               string     `json:"id"`
	EndpointID       string     `json:"endpointId"`
	DocumentID       *string    `json:"documentId" doc:"Where it carries a document"`
	Status           string     `json:"status" enum:"PENDING,IN_FLIGHT,RETRYING,DISPATCHED,DEAD_LETTER"`
	AttemptCount     int        `json:"attemptCount"`
	MaxAttempts      int        `json:"maxAttempts" doc:"Of one budget; a replay gives a fresh one"`
	NextRetryAt      *time.Time `json:"nextRetryAt" doc:"When it is attempted next; null where it is not waiting"`
	DispatchedAt     *time.Time `json:"dispatchedAt"`
	DeadLetteredAt   *time.Time `json:"deadLetteredAt"`
	DeadLetterReason *string    `json:"deadLetterReason" enum:"EXHAUSTED,PERMANENT,BLOCKED,EXPIRED,OPERATOR"`
	LastError        *string    `json:"lastError"`
	OrderingKey      *string    `json:"orderingKey"`
	OutOfOrder       bool       `json:"outOfOrder" doc:"It was replayed when later ones of its key had had their turn"`
	CreatedAt        time.Time  `json:"createdAt"`
	UpdatedAt        time.Time  `json:"updatedAt"`
}

// JobDetail is a job as it is shown alone.
type JobDetail struct {
	Job
	ExpireAt     *time.Time `json:"expireAt" doc:"Not to be sent from this time on"`
	ContentType  string     `json:"contentType"`
	PayloadBytes int        `json:"payloadBytes"`
	Attempts     []Attempt  `json:"attempts" doc:"The oldest first, the last 1,000 at most"`
}

// Attempt is one try to deliver a job.
type Attempt struct {
	Number     int       `json:"number"`
	Outcome    string    `json:"outcome" enum:"DELIVERED,FAILED,INTERRUPTED,LATE"`
	StartedAt  time.Time `json:"startedAt"`
	EndedAt    time.Time `json:"endedAt"`
	DurationMS int64     `json:"durationMs"`
	StatusCode *int      `json:"statusCode"`
	Error      *string   `json:"error"`
	Answer     *string   `json:"answer" doc:"The first 4 KiB of what the receiver said: text, never markup"`
}

// optional is a value as JSON shows it: null for the zero one.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func jobOf(j dispatch.Job) Job {
	return Job{
		ID: j.ID, EndpointID: j.EndpointID, DocumentID: optional(j.DocumentID), Status: string(j.Status),
		AttemptCount: j.AttemptCount, MaxAttempts: j.MaxAttempts, NextRetryAt: optional(j.NextRetryAt),
		DispatchedAt: optional(j.DispatchedAt), DeadLetteredAt: optional(j.DeadLetteredAt),
		DeadLetterReason: optional(string(j.DeadLetterReason)), LastError: optional(j.LastError),
		OrderingKey: optional(j.OrderingKey), OutOfOrder: j.OutOfOrder,
		CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt,
	}
}

func attemptsOf(list []dispatch.Attempt) []Attempt {
	attempts := make([]Attempt, len(list))
	for i, a := range list {
		attempts[i] = Attempt{
			Number: a.Number, Outcome: string(a.Outcome), StartedAt: a.StartedAt, EndedAt: a.EndedAt,
			DurationMS: a.EndedAt.Sub(a.StartedAt).Milliseconds(), StatusCode: optional(a.StatusCode),
			Error: optional(a.Error), Answer: optional(a.Answer),
		}
	}
	return attempts
}

// jobAnswer is the answer with one job.
type jobAnswer struct {
	Job Job `json:"job"`
}

type jobOutput struct{ Body jobAnswer }

func jobOut(j dispatch.Job, err error) (*jobOutput, error) {
	if err != nil {
		return nil, err
	}
	return &jobOutput{Body: jobAnswer{jobOf(j)}}, nil
}

// NewJob is a job as it is posted.
type NewJob struct {
	EndpointID   string          `json:"endpointId" maxLength:"64" doc:"Where to send it"`
	ContentType  string          `json:"contentType" minLength:"1" maxLength:"255" example:"application/json"`
	Payload      json.RawMessage `json:"payload" doc:"What to send: a string as that text, another JSON value as it is written here"`
	OrderingKey  string          `json:"orderingKey,omitempty" maxLength:"255" doc:"Jobs of one endpoint and key are sent one after another, in the order in which they were accepted; one that dies holds those behind it until an operator acts"`
	DeliverAfter time.Time       `json:"deliverAfter,omitzero" required:"false" doc:"Not to be sent before this time"`
	ExpireAt     time.Time       `json:"expireAt,omitzero" required:"false" doc:"Not to be sent from this time on"`
}

// job is what the domain takes. fault.Invalid for a payload that cannot be what its type says.
func (n NewJob) job() (dispatch.NewJob, error) {
	payload, err := payloadOf(n.Payload, n.ContentType)
	return dispatch.NewJob{
		EndpointID: n.EndpointID, ContentType: n.ContentType, Payload: payload, OrderingKey: n.OrderingKey, DeliverAfter: n.DeliverAfter, ExpireAt: n.ExpireAt,
	}, err
}

type acceptJobInput struct {
	Caller
	Idempotent
	Body NewJob
}

type acceptJobOutput struct {
	Status int
	Body   Again[jobAnswer]
}

// acceptJob handles POST /api/dispatch/jobs.
func (s *Server) acceptJob(ctx context.Context, in *acceptJobInput) (*acceptJobOutput, error) {
	job, err := in.Body.job()
	if err != nil {
		return nil, err
	}
	var renderErr error
	first, err := s.Dispatch.Accept(ctx, in.Principal, job, in.Once, func(j dispatch.Job) audit.Answer {
		a, err := answer(http.StatusAccepted, jobAnswer{jobOf(j)})
		renderErr = err
		return a
	})
	if err == nil {
		err = renderErr
	}
	if err != nil {
		return nil, err
	}
	return &acceptJobOutput{Status: first.Status, Body: Again[jobAnswer]{First: first.Body}}, nil
}

// payloadOf gives the bytes to send for a payload as it came.
func payloadOf(raw json.RawMessage, contentType string) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '"' {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, fault.New(fault.Invalid, "payload is not a JSON string that can be read")
		}
		return []byte(text), nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fault.New(fault.Invalid, "contentType is not a media type")
	}
	if mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
		return nil, fault.New(fault.Invalid, "a payload of %s is given as a JSON string", mediaType)
	}
	return bytes.Clone(raw), nil
}

type jobsOutput struct {
	Body struct {
		Jobs     []Job    `json:"jobs"`
		PageInfo PageInfo `json:"pageInfo"`
	}
}

// jobList is what lists of jobs can be asked for.
type jobList struct {
	Caller
	Paging
	Status     string    `query:"status" enum:"PENDING,IN_FLIGHT,RETRYING,DISPATCHED,DEAD_LETTER"`
	EndpointID string    `query:"endpointId" maxLength:"64"`
	From       time.Time `query:"from" doc:"Accepted not before this time"`
	To         time.Time `query:"to" doc:"Accepted before this time"`
	Q          string    `query:"q" maxLength:"36" doc:"How a job's or its document's id begins: the first 8 to 36 characters"`
}

// ownJobs handles GET /api/dispatch/jobs.
func (s *Server) ownJobs(ctx context.Context, in *jobList) (*jobsOutput, error) {
	return s.listJobs(ctx, in, in.Principal.UserID)
}

func (s *Server) listJobs(ctx context.Context, in *jobList, ownerID string) (*jobsOutput, error) {
	list, err := s.Dispatch.List(ctx, in.Principal, dispatch.JobFilter{
		Status: dispatch.Status(in.Status), EndpointID: in.EndpointID, OwnerID: ownerID, From: in.From, To: in.To, Q: in.Q,
	}, in.Page)
	if err != nil {
		return nil, err
	}
	out := &jobsOutput{}
	out.Body.Jobs = make([]Job, len(list.Items))
	for i, j := range list.Items {
		out.Body.Jobs[i] = jobOf(j)
	}
	out.Body.PageInfo = pageInfo(list)
	return out, nil
}

type jobInput struct {
	Caller
	ID string `path:"id" maxLength:"64"`
}

// ownJob handles GET /api/dispatch/jobs/{id}.
func (s *Server) ownJob(ctx context.Context, in *jobInput) (*jobDetailOutput, error) {
	job, err := s.Dispatch.Get(ctx, in.Principal, in.ID)
	if err == nil && job.OwnerID != in.Principal.UserID {
		err = fault.New(fault.NotFound, "there is no job %s of yours", in.ID)
	}
	if err != nil {
		return nil, err
	}
	return s.withAttempts(ctx, job)
}

type jobDetailOutput struct {
	Body struct {
		Job JobDetail `json:"job"`
	}
}

func (s *Server) withAttempts(ctx context.Context, job dispatch.Job) (*jobDetailOutput, error) {
	attempts, err := s.Dispatch.Attempts(ctx, job.ID)
	if err != nil {
		return nil, err
	}
	out := &jobDetailOutput{}
	out.Body.Job = JobDetail{
		Job: jobOf(job), ExpireAt: optional(job.ExpireAt), ContentType: job.ContentType, PayloadBytes: job.PayloadBytes,
		Attempts: attemptsOf(attempts),
	}
	return out, nil
}
