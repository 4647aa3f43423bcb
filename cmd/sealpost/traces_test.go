package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"sealpost/store/storetest"
)

// collector is an OTLP/HTTP collector: it reads what an OpenTelemetry exporter sends.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*tracepb.Span
	service []string
	raw     bytes.Buffer // everything that came
	wrong   string
}

func collect(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collectortrace.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("X-Collector") != "key" {
			c.wrong = fmt.Sprint(r.URL, r.Header, err)
		}
		c.raw.Write(body)
		for _, resource := range request.ResourceSpans {
			c.service = append(c.service, value(resource.Resource.Attributes, "service.name"))
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// of gives the spans of a trace with a name, the earliest first.
func (c *collector) of(trace, name string) (spans []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == trace && s.Name == name {
			spans = append(spans, s)
		}
	}
	slices.SortFunc(spans, func(a, b *tracepb.Span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
	return spans
}

func value(attributes []*commonpb.KeyValue, key string) string {
	for _, a := range attributes {
		if a.Key == key {
			if v, ok := a.Value.Value.(*commonpb.AnyValue_IntValue); ok {
				return fmt.Sprint(v.IntValue)
			}
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// TestTraceFromRequestToDelivery posts a job within a trace, has its first attempt fail, kills the server, and
// has another deliver it: all of it is one trace, for the collector and for the receiver.
func TestTraceFromRequestToDelivery(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, databaseURL string) {
		const trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
		var mu sync.Mutex
		var got []http.Header
		works := false
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, r.Header.Clone())
			if !works {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		defer receiver.Close()
		c := collect(t)
		p := newProcess(t, databaseURL, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_EXPORTER_OTLP_HEADERS=x-collector=key",
			"OTEL_BSP_SCHEDULE_DELAY=20", "OTEL_SERVICE_NAME=pilot", "DISPATCH_BACKOFF_MS=2000")
		p.start()
		p.firstAdmin()
		endpoint := p.endpoint(receiver.URL + "/hidden-path")
		var accepted one
		err := p.api.Call(t.Context(), "POST", "/api/dispatch/jobs",
			map[string]any{"endpointId": endpoint, "contentType": "text/plain", "payload": "hidden-payload"}, &accepted,
			"traceparent", "00-"+trace+"-"+caller+"-01", "tracestate", "vendor=1")
		if err != nil {
			t.Fatal(err)
		}
		arrived := func() []http.Header {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(got)
		}
		await := func(what string, holds func() bool) {
			t.Helper()
			for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%s: %v", what, c.spans)
				}
			}
		}
		await("a first attempt is exported", func() bool { return len(c.of(trace, "dispatch.attempt")) > 0 })
		p.kill()
		mu.Lock()
		works = true
		mu.Unlock()
		p.start()
		await("it is delivered", func() bool {
			spans := c.of(trace, "dispatch.attempt")
			return len(spans) > 0 && value(spans[len(spans)-1].Attributes, "http.response.status_code") == "200"
		})
		if err := p.stop(); err != nil {
			t.Errorf("it ends with %v", err)
		}

		requests := c.of(trace, "POST /api/dispatch/jobs")
		if len(requests) != 1 || hex.EncodeToString(requests[0].ParentSpanId) != caller || requests[0].Kind != tracepb.Span_SPAN_KIND_SERVER ||
			value(requests[0].Attributes, "http.response.status_code") != "202" || value(requests[0].Attributes, "http.route") != "/api/dispatch/jobs" {
			t.Fatalf("the request's spans are %v", requests)
		}
		attempts := c.of(trace, "dispatch.attempt")
		if len(attempts) < 2 {
			t.Fatalf("%d attempts", len(attempts))
		}
		known := map[string]bool{}
		for i, s := range attempts {
			known["00-"+trace+"-"+hex.EncodeToString(s.SpanId)+"-01"] = true
			last := i == len(attempts)-1
			if !bytes.Equal(s.ParentSpanId, requests[0].SpanId) || s.Kind != tracepb.Span_SPAN_KIND_CLIENT || s.TraceState != "vendor=1" ||
				value(s.Attributes, "sealpost.job.id") != accepted.Job.ID || value(s.Attributes, "sealpost.endpoint.id") != endpoint ||
				value(s.Attributes, "server.address") != "127.0.0.1" || (value(s.Attributes, "error.type") == "") != last ||
				(s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR) == last || s.EndTimeUnixNano < s.StartTimeUnixNano {
				t.Errorf("attempt %d is %v", i, s)
			}
		}
		headers := arrived()
		if h := headers[len(headers)-1]; !known[h.Get("traceparent")] || h.Get("tracestate") != "vendor=1" {
			t.Errorf("the receiver got traceparent %q and tracestate %q, of none of %v", h.Get("traceparent"), h.Get("tracestate"), known)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.wrong != "" || slices.ContainsFunc(c.service, func(s string) bool { return s != "pilot" }) {
			t.Errorf("what came: %s %v", c.wrong, c.service)
		}
		for _, secret := range []string{"hidden", "Quiet-Harbour", p.api.Token, "whsec_"} {
			if bytes.Contains(c.raw.Bytes(), []byte(secret)) {
				t.Errorf("%q is among what was exported", secret)
			}
		}
	})
}

// Without a collector nothing is different, and the caller's own trace goes on to the receiver.
func TestTraceIsHandedOnWithoutACollector(t *testing.T) {
	headers := make(chan http.Header, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header.Clone() }))
	defer receiver.Close()
	p := newProcess(t, storetest.SQLiteURL(t))
	p.start()
	p.firstAdmin()
	endpoint := p.endpoint(receiver.URL)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, tt := range []struct{ parent, state, wantParent, wantState string }{
		{parent, "a=1,b=2", parent, "a=1,b=2"},
		{parent, "a=" + strings.Repeat("x", 255) + ",b=" + strings.Repeat("x", 252), parent, "a=" + strings.Repeat("x", 255) + ",b=" + strings.Repeat("x", 252)}, // 512
		{parent, "a=" + strings.Repeat("x", 255) + ",b=" + strings.Repeat("x", 253), parent, ""},
		{"00-nonsense-01", "a=1", "", ""},
		{"", "", "", ""},
	} {
		for _, size := range []int{1, 100_000} { // read with others, and by itself
			var sent []string
			if tt.parent != "" {
				sent = []string{"traceparent", tt.parent, "tracestate", tt.state}
			}
			err := p.api.Call(t.Context(), "POST", "/api/dispatch/jobs",
				map[string]any{"endpointId": endpoint, "contentType": "text/plain", "payload": strings.Repeat("x", size)}, nil, sent...)
			if err != nil {
				t.Fatal(err)
			}
			if h := <-headers; h.Get("traceparent") != tt.wantParent || h.Get("tracestate") != tt.wantState {
				t.Errorf("%q, %d: the receiver got %q and %q", tt.parent, size, h.Get("traceparent"), h.Get("tracestate"))
			}
		}
	}
}

// A collector that is away, or hangs, keeps nobody waiting: not a request, not a delivery, not the end.
func TestCollectorThatIsAway(t *testing.T) {
	hangs := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	defer hanging.Close()
	defer close(hangs)
	for name, url := range map[string]string{"away": "http://127.0.0.1:9", "hanging": hanging.URL} {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan struct{}, 100)
			receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{} }))
			defer receiver.Close()
			p := newProcess(t, storetest.SQLiteURL(t), "OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_BSP_SCHEDULE_DELAY=10",
				"OTEL_BSP_MAX_QUEUE_SIZE=8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4")
			p.start()
			p.firstAdmin()
			endpoint := p.endpoint(receiver.URL)
			for range 50 { // more than the queue holds
				p.must("POST", "/api/dispatch/jobs", map[string]any{"endpointId": endpoint, "contentType": "text/plain", "payload": "x"}, nil)
			}
			for range 50 {
				<-arrived
			}
			ended := make(chan error, 1)
			go func() { ended <- p.stop() }()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("it ends with %v", err)
				}
			case <-time.After(tracesEndWithin + 20*time.Second):
				t.Fatal("it does not end")
			}
			if n := strings.Count(p.log.String(), "traces cannot be exported"); n > 2 {
				t.Errorf("the log says so %d times", n)
			}
		})
	}
}

func TestTracesAreOff(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	for name, env := range map[string]string{"": "", "OTEL_SDK_DISABLED": "True"} {
		endpoint := "http://127.0.0.1:9"
		if name == "" {
			endpoint = ""
		}
		traces, err := openTraces(t.Context(), endpoint, "one", func(n string) string {
			if n == name {
				return env
			}
			return ""
		}, logger)
		if err != nil || traces != nil || traces.tracer() != nil || traces.close() != nil {
			t.Errorf("%q: %v, %v", name, traces, err)
		}
	}
}

func TestExportErrorsAreSaidNowAndThen(t *testing.T) {
	var said strings.Builder
	say := sayNowAndThen(slog.New(slog.NewTextHandler(&said, nil)), 50*time.Millisecond)
	for range 3 {
		say.Handle(io.ErrUnexpectedEOF)
	}
	time.Sleep(60 * time.Millisecond)
	say.Handle(io.ErrUnexpectedEOF)
	if n := strings.Count(said.String(), "\n"); n != 2 {
		t.Errorf("said %d times", n)
	}
}
