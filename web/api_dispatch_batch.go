package web

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/dispatch"
)

// batchRoute is for integrators who have many jobs at once.
func (s *Server) batchRoute() {
	route(s, only(audit.Admin, audit.Author).scoped(account.DispatchWrite), huma.Operation{
		Method: http.MethodPost, Path: "/api/dispatch/jobs/batch", Tags: []string{"dispatch"}, Summary: "Accept up to 1,000 jobs, all or none",
		Description: "The body is an array of what POST /api/dispatch/jobs takes, of at most 8 MiB in all. The jobs are durable when they " +
			"are answered, in the same order. Where one is refused none is there, and details.index says which, counted from 0.",
		DefaultStatus: http.StatusAccepted, MaxBodyBytes: payloadBytes,
	}, s.acceptJobs)
}

type acceptJobsInput struct {
	Caller
	Idempotent
	Body []NewJob `minItems:"1" maxItems:"1000"`
}

// jobsAnswer is the answer with the jobs of a batch.
type jobsAnswer struct {
	Jobs []Job `json:"jobs"`
}

type acceptJobsOutput struct {
	Status int
	Body   Again[jobsAnswer]
}

// acceptJobs handles POST /api/dispatch/jobs/batch.
func (s *Server) acceptJobs(ctx context.Context, in *acceptJobsInput) (*acceptJobsOutput, error) {
	jobs := make([]dispatch.NewJob, len(in.Body))
	for i, n := range in.Body {
		var err error
		if jobs[i], err = n.job(); err != nil {
			return nil, dispatch.OfIndex(err, i)
		}
	}
	first, err := s.Dispatch.AcceptMany(ctx, in.Principal, jobs, in.Once, func(made []dispatch.Job) (audit.Answer, error) {
		body := jobsAnswer{make([]Job, len(made))}
		for i, j := range made {
			body.Jobs[i] = jobOf(j)
		}
		return answer(http.StatusAccepted, body)
	})
	if err != nil {
		return nil, err
	}
	return &acceptJobsOutput{Status: first.Status, Body: Again[jobsAnswer]{First: first.Body}}, nil
}
