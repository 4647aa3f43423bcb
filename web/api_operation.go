package web

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
)

// operationRoutes are for those who operate the server: does it live, is it well, what does it offer.
func (s *Server) operationRoutes() {
	tags := []string{"operation"}
	route(s, public, huma.Operation{
		Method: http.MethodGet, Path: "/livez", Tags: tags, Summary: "Whether the process answers",
	}, s.livez)
	route(s, public, huma.Operation{
		Method: http.MethodGet, Path: "/health", Tags: tags, Summary: "Whether the server can do its work",
		Description: "Checks run at most once a second, each for at most 2 seconds.",
		Responses: map[string]*huma.Response{"503": {
			Description: "A check failed",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: s.schemaOf(reflect.TypeFor[Health]())}},
		}},
	}, s.healthNow)
	s.raw(public, huma.Operation{
		Method: http.MethodGet, Path: "/openapi.json", Tags: tags, Summary: "This document",
		Responses: map[string]*huma.Response{"200": {
			Description: "OpenAPI 3.1",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}}},
		}},
	}, s.openAPI)
	s.raw(only(audit.Admin).scoped(account.PostureRead).orLoopback(), huma.Operation{
		Method: http.MethodGet, Path: "/metrics", Tags: tags, Summary: "Numbers for Prometheus",
		Responses: map[string]*huma.Response{"200": {
			Description: "Prometheus' text format",
			Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, s.metrics.handler.ServeHTTP)
}

type livezOutput struct {
	Body struct {
		Status string `json:"status" enum:"PASS"`
	}
}

// livez handles GET /livez. It asks nothing of anything else, so that a watchdog does not restart a
// server whose database is away.
func (s *Server) livez(context.Context, *struct{}) (*livezOutput, error) {
	out := &livezOutput{}
	out.Body.Status = pass
	return out, nil
}

type healthOutput struct {
	Status int
	Body   Health
}

// healthNow handles GET /health (runbook §3, step 3).
func (s *Server) healthNow(context.Context, *struct{}) (*healthOutput, error) {
	h := s.checkHealth()
	out := &healthOutput{Status: http.StatusOK, Body: h}
	if h.Status != pass {
		out.Status = http.StatusServiceUnavailable
	}
	return out, nil
}
