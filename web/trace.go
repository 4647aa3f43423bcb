package web

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"sealpost/audit"
)

// A request of somebody whom we know goes on with the trace that it brings (W3C Trace Context), or begins
// one, and hands it on to what is done for it: a job that it has accepted, and each of that job's attempts. A
// stranger's does not: whoever can make spans can fill somebody's storage with them. Its span has the
// route's pattern, the status and the request's id; never a path, a header or a body.

var tracing propagation.TraceContext

const headerTraceParent = "Traceparent"

// beginTrace gives a request that belongs to its trace. It is for requests that have been admitted.
func (s *Server) beginTrace(x *exchange, r *http.Request) *http.Request {
	if x.principal.Kind == audit.Anonymous || s.Tracer == nil && r.Header[headerTraceParent] == nil {
		return r
	}
	ctx := tracing.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	if s.Tracer != nil {
		ctx = s.beginSpan(ctx, x)
	}
	return r.WithContext(ctx)
}

func (s *Server) beginSpan(ctx context.Context, x *exchange) context.Context {
	ctx, x.span = s.Tracer.Start(ctx, x.route.name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(x.started),
		trace.WithAttributes(
			attribute.String("http.request.method", x.route.method), attribute.String("http.route", x.route.pattern),
			attribute.String("sealpost.request.id", x.principal.RequestID),
		))
	return ctx
}

// endTrace ends its span.
func (x *exchange) endTrace() {
	if x.span == nil {
		return
	}
	x.span.SetAttributes(attribute.Int("http.response.status_code", x.status))
	if x.status >= http.StatusInternalServerError {
		x.span.SetStatus(codes.Error, "")
	}
	x.span.End()
}
