package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
	"sealpost/dispatch"
)

// endpointRoutes are for the admin who says where jobs may go.
func (s *Server) endpointRoutes() {
	const list, one = "/api/admin/dispatch/endpoints", "/api/admin/dispatch/endpoints/{id}"
	readers, admin, tags := only(audit.Admin, audit.Auditor), only(audit.Admin), []string{"endpoints"}
	guarded := admin.guarded() // what says where payloads go, and who can tell that they are ours
	route(s, readers, huma.Operation{Method: http.MethodGet, Path: list, Tags: tags, Summary: "Endpoints, the oldest first"}, s.endpoints)
	route(s, readers, huma.Operation{Method: http.MethodGet, Path: one, Tags: tags, Summary: "One endpoint"}, s.endpoint)
	route(s, guarded, huma.Operation{
		Method: http.MethodPost, Path: list, Tags: tags, Summary: "Make an endpoint; its signing secret is in this answer and never again",
		DefaultStatus: http.StatusCreated,
	}, s.createEndpoint)
	route(s, guarded, huma.Operation{
		Method: http.MethodPatch, Path: one, Tags: tags, Summary: "Change an endpoint",
		Description: "What is left out stays as it is. auth, clientCertificate, caCertificates and headers are replaced as a whole, and null removes them.",
	}, s.changeEndpoint)
	route(s, guarded, huma.Operation{
		Method: http.MethodDelete, Path: one, Tags: tags, Summary: "Delete an endpoint that has no unfinished jobs",
		DefaultStatus: http.StatusNoContent,
	}, s.deleteEndpoint)
	route(s, guarded, huma.Operation{
		Method: http.MethodPost, Path: one + "/rotate-secret", Tags: tags,
		Summary: "Give an endpoint a new signing secret; it is in this answer and never again",
	}, s.rotateEndpointSecret)
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: one + "/test", Tags: tags, Summary: "Send an endpoint a signed test, and show its answer",
		Description: "The payload is {type, timestamp, data{endpointId}} with the type sealpost.test, and its webhook-id begins with test_. " +
			"It is no job, goes to a paused endpoint too, and waits for the endpoint's timeout, 25 s at most. Four at once, else 429.",
	}, s.testEndpoint)
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: one + "/pause", Tags: tags, Summary: "Keep an endpoint's jobs waiting",
	}, s.pauseEndpoint)
	route(s, admin, huma.Operation{
		Method: http.MethodPost, Path: one + "/resume", Tags: tags, Summary: "Send an endpoint's jobs again",
	}, s.resumeEndpoint)
}

// Endpoint is an endpoint as it is shown. What is null follows the deployment's settings.
type Endpoint struct {
	ID             string     `json:"id"`
	Name           string     `json:"name"`
	URL            string     `json:"url" doc:"For an AUDITOR without its query, which may hold a token"`
	Concurrency    *int       `json:"concurrency" doc:"Deliveries at once, over all servers"`
	TimeoutSeconds *int       `json:"timeoutSeconds"`
	MaxAttempts    *int       `json:"maxAttempts" doc:"Of jobs accepted from now on"`
	RatePerSecond  *float64   `json:"ratePerSecond" doc:"Jobs sent, over all servers, evenly; null: as many as there are"`
	Paused         bool       `json:"paused"`
	PausedReason   *string    `json:"pausedReason"`
	OldSecretUntil *time.Time `json:"oldSecretUntil" doc:"During a rotation's overlap: until when the old secret signs, too"`

	Auth              *EndpointAuthShown `json:"auth" doc:"What is not secret of it"`
	ClientCertificate *CertificateShown  `json:"clientCertificate"`
	CACertificates    []CertificateShown `json:"caCertificates" doc:"Trusted instead of the system's"`
	HeaderNames       []string           `json:"headerNames" doc:"Of the further headers"`

	Breaker EndpointBreaker `json:"breaker" doc:"Jobs of an endpoint that keeps failing are parked without costing attempts; one goes as a probe now and then"`

	SigningSecret string    `json:"signingSecret,omitempty" doc:"In the answer that makes or rotates it, and never again"`
	CreatedAt     time.Time `json:"createdAt"`
	UpdatedAt     time.Time `json:"updatedAt"`
}

// EndpointBreaker tells how an endpoint has answered lately.
type EndpointBreaker struct {
	State        string     `json:"state" enum:"CLOSED,OPEN,HALF_OPEN"`
	Failures     int        `json:"failures" doc:"In a row, until it opened"`
	FailingSince *time.Time `json:"failingSince" doc:"Null: it is well"`
	OpenUntil    *time.Time `json:"openUntil" doc:"When a probe goes, or may go since"`
}

// urlFor is a URL as somebody may see it: its query may hold a token.
func urlFor(by audit.Principal, url string) string {
	if without, _, ok := strings.Cut(url, "?"); ok && by.Role != audit.Admin {
		return without
	}
	return url
}

func endpointOf(e dispatch.Endpoint, by audit.Principal) Endpoint {
	shown := Endpoint{
		ID: e.ID, Name: e.Name, URL: urlFor(by, e.URL), Concurrency: optional(e.Concurrency), TimeoutSeconds: optional(e.TimeoutSeconds),
		MaxAttempts: optional(e.MaxAttempts), RatePerSecond: optional(e.RatePerSecond), Paused: e.Paused, PausedReason: optional(e.PausedReason),
		OldSecretUntil: optional(e.OldSecretUntil), CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
	}
	shown.showCredentials(e.Credentials, by)
	shown.Breaker = EndpointBreaker{
		State: string(e.Breaker.State(time.Now())), Failures: e.Breaker.Failures,
		FailingSince: optional(e.Breaker.FailingSince), OpenUntil: optional(e.Breaker.OpenUntil),
	}
	return shown
}

type endpointOutput struct {
	Body struct {
		Endpoint Endpoint `json:"endpoint"`
	}
}

// endpointOut is the answer with one endpoint, and its secret where it has just been made.
func endpointOut(by audit.Principal, e dispatch.Endpoint, secret string, err error) (*endpointOutput, error) {
	if err != nil {
		return nil, err
	}
	out := &endpointOutput{}
	out.Body.Endpoint = endpointOf(e, by)
	out.Body.Endpoint.SigningSecret = secret
	return out, nil
}

type endpointsInput struct {
	Caller
	Paging
}

type endpointsOutput struct {
	Body struct {
		Endpoints []Endpoint `json:"endpoints"`
		PageInfo  PageInfo   `json:"pageInfo"`
	}
}

// endpoints handles GET /api/admin/dispatch/endpoints.
func (s *Server) endpoints(ctx context.Context, in *endpointsInput) (*endpointsOutput, error) {
	list, err := s.Dispatch.Endpoints(ctx, in.Page)
	if err != nil {
		return nil, err
	}
	out := &endpointsOutput{}
	out.Body.Endpoints = make([]Endpoint, len(list.Items))
	for i, e := range list.Items {
		out.Body.Endpoints[i] = endpointOf(e, in.Principal)
	}
	out.Body.PageInfo = pageInfo(list)
	return out, nil
}

type endpointInput struct {
	Caller
	ID string `path:"id" maxLength:"64"`
}

// endpoint handles GET /api/admin/dispatch/endpoints/{id}.
func (s *Server) endpoint(ctx context.Context, in *endpointInput) (*endpointOutput, error) {
	e, err := s.Dispatch.Endpoint(ctx, in.ID)
	return endpointOut(in.Principal, e, "", err)
}

type createEndpointInput struct {
	Caller
	Body struct {
		Name           string  `json:"name" minLength:"1" maxLength:"200"`
		URL            string  `json:"url" minLength:"1" maxLength:"2048" doc:"Where jobs are posted to"`
		Concurrency    int     `json:"concurrency,omitempty" minimum:"0" maximum:"1024" doc:"Deliveries at once; 0: DISPATCH_ENDPOINT_CONCURRENCY"`
		TimeoutSeconds int     `json:"timeoutSeconds,omitempty" minimum:"0" maximum:"300" doc:"0: DISPATCH_TIMEOUT_SECONDS"`
		MaxAttempts    int     `json:"maxAttempts,omitempty" minimum:"0" maximum:"100" doc:"0: DISPATCH_MAX_ATTEMPTS"`
		RatePerSecond  float64 `json:"ratePerSecond,omitempty" minimum:"0" maximum:"10000" doc:"Jobs sent, over all servers, evenly: 0.001 to 10,000, in thousandths; 0: no limit"`

		Auth              *EndpointAuth      `json:"auth,omitempty"`
		ClientCertificate *ClientCertificate `json:"clientCertificate,omitempty"`
		CACertificates    string             `json:"caCertificates,omitempty" maxLength:"65536" doc:"PEM: trusted instead of the system's, for the URL and auth's tokenUrl"`
		Headers           map[string]string  `json:"headers,omitempty" doc:"What else is sent, at most 20: names that Sealpost sets itself are refused"`
	}
}

// createEndpoint handles POST /api/admin/dispatch/endpoints.
func (s *Server) createEndpoint(ctx context.Context, in *createEndpointInput) (*endpointOutput, error) {
	e, secret, err := s.Dispatch.CreateEndpoint(ctx, in.Principal, dispatch.NewEndpoint{
		Name: in.Body.Name, URL: in.Body.URL, Concurrency: in.Body.Concurrency,
		TimeoutSeconds: in.Body.TimeoutSeconds, MaxAttempts: in.Body.MaxAttempts, RatePerSecond: in.Body.RatePerSecond,
		Credentials: dispatch.Credentials{
			Auth: authOf(in.Body.Auth), ClientCertificate: certificateOf(in.Body.ClientCertificate),
			CACertificates: in.Body.CACertificates, Headers: in.Body.Headers,
		},
	})
	return endpointOut(in.Principal, e, secret, err)
}

type changeEndpointInput struct {
	Caller
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Name           *string  `json:"name,omitempty" minLength:"1" maxLength:"200"`
		URL            *string  `json:"url,omitempty" minLength:"1" maxLength:"2048"`
		Concurrency    *int     `json:"concurrency,omitempty" minimum:"0" maximum:"1024"`
		TimeoutSeconds *int     `json:"timeoutSeconds,omitempty" minimum:"0" maximum:"300"`
		MaxAttempts    *int     `json:"maxAttempts,omitempty" minimum:"0" maximum:"100"`
		RatePerSecond  *float64 `json:"ratePerSecond,omitempty" minimum:"0" maximum:"10000"`

		Auth              Given[EndpointAuth]      `json:"auth,omitzero" required:"false"`
		ClientCertificate Given[ClientCertificate] `json:"clientCertificate,omitzero" required:"false"`
		CACertificates    Given[string]            `json:"caCertificates,omitzero" required:"false"`
		Headers           Given[map[string]string] `json:"headers,omitzero" required:"false"`
	}
}

// changeEndpoint handles PATCH /api/admin/dispatch/endpoints/{id} (runbook §5: correction before replay).
func (s *Server) changeEndpoint(ctx context.Context, in *changeEndpointInput) (*endpointOutput, error) {
	e, err := s.Dispatch.ChangeEndpoint(ctx, in.Principal, in.ID, dispatch.EndpointChange{
		Name: in.Body.Name, URL: in.Body.URL, Concurrency: in.Body.Concurrency,
		TimeoutSeconds: in.Body.TimeoutSeconds, MaxAttempts: in.Body.MaxAttempts, RatePerSecond: in.Body.RatePerSecond, Credentials: in.credentials(),
	})
	return endpointOut(in.Principal, e, "", err)
}

// deleteEndpoint handles DELETE /api/admin/dispatch/endpoints/{id}.
func (s *Server) deleteEndpoint(ctx context.Context, in *endpointInput) (*struct{}, error) {
	return nil, s.Dispatch.DeleteEndpoint(ctx, in.Principal, in.ID)
}

type rotateEndpointSecretInput struct {
	Caller
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		OverlapHours int `json:"overlapHours" minimum:"0" maximum:"168" doc:"How long the old secret signs beside the new one; 0 after a leak"`
	}
}

// rotateEndpointSecret handles POST /api/admin/dispatch/endpoints/{id}/rotate-secret (runbook §3).
func (s *Server) rotateEndpointSecret(ctx context.Context, in *rotateEndpointSecretInput) (*endpointOutput, error) {
	e, secret, err := s.Dispatch.RotateSecret(ctx, in.Principal, in.ID, time.Duration(in.Body.OverlapHours)*time.Hour)
	return endpointOut(in.Principal, e, secret, err)
}

// EndpointTest is what came of a test.
type EndpointTest struct {
	ID         string  `json:"id" doc:"Its webhook-id"`
	Delivered  bool    `json:"delivered"`
	StatusCode *int    `json:"statusCode" doc:"Null where there was no answer"`
	DurationMS int64   `json:"durationMs"`
	Error      *string `json:"error"`
	Answer     *string `json:"answer" doc:"The first 4 KiB of what the receiver said: text, never markup"`
}

type testEndpointOutput struct {
	Body struct {
		Test EndpointTest `json:"test"`
	}
}

// testEndpoint handles POST /api/admin/dispatch/endpoints/{id}/test.
func (s *Server) testEndpoint(ctx context.Context, in *endpointInput) (*testEndpointOutput, error) {
	t, err := s.Dispatch.Try(ctx, in.Principal, in.ID)
	if err != nil {
		return nil, err
	}
	out := &testEndpointOutput{}
	out.Body.Test = EndpointTest{
		ID: t.ID, Delivered: t.Delivered, StatusCode: optional(t.StatusCode), DurationMS: t.Took.Milliseconds(),
		Error: optional(t.Error), Answer: optional(t.Answer),
	}
	return out, nil
}

type pauseEndpointInput struct {
	Caller
	ID   string `path:"id" maxLength:"64"`
	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

// pauseEndpoint handles POST /api/admin/dispatch/endpoints/{id}/pause.
func (s *Server) pauseEndpoint(ctx context.Context, in *pauseEndpointInput) (*endpointOutput, error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	e, err := s.Dispatch.SetPaused(ctx, in.Principal, in.ID, true, reason)
	return endpointOut(in.Principal, e, "", err)
}

// resumeEndpoint handles POST /api/admin/dispatch/endpoints/{id}/resume.
func (s *Server) resumeEndpoint(ctx context.Context, in *endpointInput) (*endpointOutput, error) {
	e, err := s.Dispatch.SetPaused(ctx, in.Principal, in.ID, false, "")
	return endpointOut(in.Principal, e, "", err)
}
