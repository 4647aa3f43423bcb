package dispatch

import (
	"context"
	"net/http"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// A job belongs to the trace (W3C Trace Context) of the request that it came with, and so do its attempts,
// made minutes later or by another server: the context is kept beside the payload, and each attempt is a
// span behind it, whose context goes to the receiver as traceparent. Where no traces are exported, what a
// caller sent is kept and handed on as it is, so that the caller's own trace does not end here.
//
// A span has the ids of job and endpoint, the receiver's host and the status of its answer. It never has a
// path, a header, a payload or a text that somebody else has chosen.

// traceContext is a trace as its headers have it; the zero value is none.
type traceContext struct{ parent, state string }

// maxTraceState is what W3C asks everybody to hand on at least; a longer one is left out, as it allows.
const maxTraceState = 512

var tracing propagation.TraceContext

const (
	headerTraceParent = "traceparent"
	headerTraceState  = "tracestate"
)

// traceOf gives the trace that a context belongs to.
func traceOf(ctx context.Context) traceContext {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return traceContext{}
	}
	carrier := propagation.MapCarrier{}
	tracing.Inject(ctx, carrier)
	t := traceContext{carrier[headerTraceParent], carrier[headerTraceState]}
	if len(t.state) > maxTraceState {
		t.state = ""
	}
	return t
}

// in gives a context that belongs to a trace.
func (t traceContext) in(ctx context.Context) context.Context {
	if t.parent == "" {
		return ctx
	}
	return tracing.Extract(ctx, propagation.MapCarrier{headerTraceParent: t.parent, headerTraceState: t.state})
}

// beginAttempt begins an attempt's span. Without a tracer the trace is what the request brought.
func (d *Dispatcher) beginAttempt(ctx context.Context, dl *delivery) context.Context {
	ctx = dl.trace.in(ctx)
	if d.o.Tracer == nil {
		return ctx
	}
	attributes := []attribute.KeyValue{
		attribute.String("sealpost.job.id", dl.jobID), attribute.String("sealpost.endpoint.id", dl.target.id),
		attribute.Int("sealpost.attempt", dl.number), attribute.String("http.request.method", http.MethodPost),
	}
	if u, err := url.Parse(dl.target.url); err == nil {
		attributes = append(attributes, attribute.String("server.address", u.Hostname()))
	}
	ctx, dl.span = d.o.Tracer.Start(ctx, "dispatch.attempt", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(dl.startedAt), trace.WithAttributes(attributes...))
	return ctx
}

// endAttempt ends its span.
func (dl *delivery) endAttempt() {
	if dl.span == nil {
		return
	}
	if dl.answer.Status != 0 {
		dl.span.SetAttributes(attribute.Int("http.response.status_code", dl.answer.Status))
	}
	if end := dl.end(); end != endDelivered {
		dl.span.SetAttributes(attribute.String("error.type", string(end)))
		dl.span.SetStatus(codes.Error, "")
	}
	dl.span.End(trace.WithTimestamp(dl.endedAt))
}

// putTrace hands the trace on to the receiver.
func putTrace(ctx context.Context, h http.Header) {
	tracing.Inject(ctx, propagation.HeaderCarrier(h))
}
