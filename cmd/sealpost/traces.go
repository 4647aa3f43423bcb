package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Traces go to OTEL_EXPORTER_OTLP_ENDPOINT by OTLP over HTTP, in protobuf. Spans wait in a queue of bounded
// length (OTEL_BSP_MAX_QUEUE_SIZE, 2,048) and are sent in the background: while the collector is away or slow
// they are dropped, and no request and no attempt waits or fails.
const (
	tracesEndWithin = 5 * time.Second // what is in the queue at the end has this long to go
	tracesSayEvery  = time.Minute     // how often at most the log says that they do not go
)

// traces is what exports them; nil: nothing does.
type traces struct {
	provider *sdktrace.TracerProvider
}

// openTraces begins to export. endpoint is OTEL_EXPORTER_OTLP_ENDPOINT, "" for none; environment gives
// OpenTelemetry's other variables, most of which its own library reads.
func openTraces(ctx context.Context, endpoint, instance string, environment func(string) string, logger *slog.Logger) (*traces, error) {
	if endpoint == "" || strings.EqualFold(environment("OTEL_SDK_DISABLED"), "true") {
		return nil, nil //nolint:nilnil // a nil *traces is one that exports nothing
	}
	if protocol := environment("OTEL_EXPORTER_OTLP_PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		logger.Warn("OTEL_EXPORTER_OTLP_PROTOCOL is not spoken here: traces go by http/protobuf", "protocol", protocol)
	}
	var options []otlptracehttp.Option
	if environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		target, err := url.JoinPath(endpoint, "v1/traces")
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
		}
		options = append(options, otlptracehttp.WithEndpointURL(target))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "sealpost"), attribute.String("service.version", versionText()),
		attribute.String("service.instance.id", instance),
	), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	otel.SetErrorHandler(sayNowAndThen(logger, tracesSayEvery))
	return &traces{sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(exporter))}, nil
}

// sayNowAndThen logs OpenTelemetry's errors, one in a while.
func sayNowAndThen(logger *slog.Logger, every time.Duration) otel.ErrorHandlerFunc {
	var mu sync.Mutex
	var said time.Time
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if said.IsZero() || time.Since(said) >= every {
			said = time.Now()
			logger.Warn("traces cannot be exported; everything else goes on", "error", err)
		}
	}
}

// tracer makes the spans of this program, nil for none.
func (t *traces) tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer("sealpost")
}

// close sends what is left, within a limit.
func (t *traces) close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracesEndWithin)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err) // a collector that is away is no reason for a server not to end in order
	}
	return nil
}
