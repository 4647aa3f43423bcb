package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web"
	"sealpost/web/webtest"
)

func TestHealth(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		var a webtest.Answer
		for range 50 { // the dispatcher may still be starting
			if a = s.Do(t, "GET", "/health", "", nil); a.Status == 200 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		a.Want(t, 200)
		for _, name := range []string{"database", "dispatcher", "audit"} {
			if a.At("checks."+name+".status") != "PASS" {
				t.Errorf("%s: %s", name, a.Text)
			}
		}
		if len(a.Body["checks"].(map[string]any)) != 3 || a.Body["status"] != "PASS" {
			t.Errorf("health is %s", a.Text)
		}

		s.StopDispatch()
		time.Sleep(1100 * time.Millisecond) // an answer is given again for a second
		a = s.Do(t, "GET", "/health", "", nil).Want(t, 503)
		if a.Body["status"] != "FAIL" || a.At("checks.dispatcher.reason") != "the dispatcher is not running" || a.At("checks.database.status") != "PASS" {
			t.Errorf("without a dispatcher: %s", a.Text)
		}
		s.Do(t, "GET", "/livez", "", nil).Want(t, 200)
	})
}

func TestHealthWithoutADatabase(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		st, err := store.Open(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := webtest.Start(t, st)
		token := s.SignIn(t, "ann", audit.Admin)
		s.StopDispatch()
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		a := s.Do(t, "GET", "/health", "", nil).Want(t, 503)
		if reason, _ := a.At("checks.database.reason").(string); reason == "" || strings.Contains(reason, "sql") {
			t.Errorf("the reason that strangers see is %q", reason)
		}
		if a.At("checks.audit.status") != "FAIL" {
			t.Errorf("health is %s", a.Text)
		}
		if n := strings.Count(s.Logged(), "check=database"); n != 1 {
			t.Errorf("the log tells of it %d times:\n%s", n, s.Logged())
		}
		s.Do(t, "GET", "/livez", "", nil).Want(t, 200)
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/events", token, nil), 503, "")
	})
}

func TestMetrics(t *testing.T) {
	s := start(t)
	admin, author := s.SignIn(t, "ann", audit.Admin), s.SignIn(t, "bob", audit.Author)
	s.Do(t, "GET", "/test/fail/conflict", "", nil).Want(t, 409)
	s.Do(t, "GET", "/somewhere/else", "", nil).Want(t, 404)
	for _, tt := range []struct {
		name, token, header string
		status              int
	}{
		{"straight from this machine", "", "", 200},
		{"through a proxy", "", "X-Forwarded-For", 401},
		{"an admin through a proxy", admin, "X-Forwarded-For", 200},
		{"an author through a proxy", author, "X-Forwarded-For", 403},
		{"an author from this machine", author, "", 403},
		{"a bad token from this machine", "nonsense", "", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.header != "" {
				headers = []string{tt.header, "203.0.113.9"}
			}
			s.Do(t, "GET", "/metrics", tt.token, nil, headers...).Want(t, tt.status)
		})
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/metrics", nil)
	r.Host = "pilot.example.org"
	s.Send(t, r).Want(t, 401)

	text := s.Do(t, "GET", "/metrics", "", nil).Want(t, 200).Text
	for _, want := range []string{
		`sealpost_http_requests_total{method="GET",route="/test/fail/{how}",status="409"} 1`,
		`sealpost_http_requests_total{method="",route="none",status="404"} 1`,
		`sealpost_http_request_duration_seconds_count{method="GET",route="/test/fail/{how}"} 1`,
		"go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(text, "somewhere") || strings.Contains(text, "conflict") {
		t.Error("a path that was asked for is a label")
	}
}

// What Prometheus reads, its own parser reads; every metric has its help, its unit in its name, and few series.
func TestMetricsAsPrometheusReadsThem(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st)
		admin := s.SignIn(t, "ann", audit.Admin)
		for i := range 3 {
			endpoint := text(t, s.Do(t, "POST", "/api/admin/dispatch/endpoints", admin, fields{"name": fmt.Sprint("receiver ", i), "url": "http://127.0.0.1:9/"}).Want(t, 201), "endpoint.id")
			s.Do(t, "POST", "/api/dispatch/jobs", admin, fields{"endpointId": endpoint, "contentType": "application/json", "payload": fields{}}).Want(t, 202)
		}
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() {
			defer close(ran)
			s.Alerts.Run(ctx)
		}()
		defer func() {
			stop()
			<-ran
		}()
		value := func(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetGauge().GetValue() }
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			a := s.Do(t, "GET", "/metrics", "", nil).Want(t, 200)
			parser := expfmt.NewTextParser(model.LegacyValidation)
			families, err := parser.TextToMetricFamilies(strings.NewReader(a.Text))
			if err != nil {
				t.Fatal(err)
			}
			attempts := families["sealpost_dispatch_attempt_duration_seconds"].GetMetric()
			tried := 0
			for _, m := range attempts {
				tried += int(m.GetHistogram().GetSampleCount())
			}
			up := families["sealpost_alert_up"].GetMetric()
			if tried < 3 || len(up) != 3 {
				if time.Now().After(end) {
					t.Fatalf("%d attempts, %d alerts:\n%s", tried, len(up), a.Text)
				}
				continue
			}
			for name, want := range map[string]float64{
				"sealpost_dispatch_jobs_accepted_total": 3, "sealpost_dispatch_jobs_delivered_total": 0, "sealpost_dispatch_in_flight_limit": 256,
				"sealpost_build_info": 1, "sealpost_alert_up": 0,
			} {
				if f := families[name]; f == nil || value(f.GetMetric()[0]) != want {
					t.Errorf("%s is %v", name, f)
				}
			}
			for _, name := range []string{
				"sealpost_dispatch_jobs_dead_lettered_total", "sealpost_dispatch_attempts_retried_total", "sealpost_dispatch_attempts_interrupted_total",
				"sealpost_dispatch_jobs_replayed_total", "sealpost_dispatch_in_flight", "sealpost_dispatch_oldest_waiting_seconds",
				"sealpost_dispatch_oldest_due_seconds", "go_goroutines", "process_cpu_seconds_total",
			} {
				if families[name] == nil {
					t.Errorf("there is no %s", name)
				}
			}
			for name, f := range families {
				counter := f.GetType() == dto.MetricType_COUNTER
				if f.GetHelp() == "" || counter != strings.HasSuffix(name, "_total") {
					t.Errorf("%s is a %v: %q", name, f.GetType(), f.GetHelp())
				}
				if strings.HasPrefix(name, "sealpost_dispatch") && len(f.GetMetric()) > 6 {
					t.Errorf("%s has %d series", name, len(f.GetMetric()))
				}
			}
			return
		}
	})
}

func TestTrustedProxy(t *testing.T) {
	s := start(t, "TRUSTED_PROXIES=127.0.0.0/8")
	a := s.Do(t, "GET", "/test/address", "", nil, "X-Forwarded-For", "203.0.113.9, 198.51.100.7").Want(t, 200)
	if a.Body["ip"] != "198.51.100.7" || a.Body["direct"] != false {
		t.Errorf("through the proxy: %s", a.Text)
	}
	a = s.Do(t, "GET", "/test/address", "", nil).Want(t, 200)
	if a.Body["ip"] != "127.0.0.1" || a.Body["direct"] != true {
		t.Errorf("straight: %s", a.Text)
	}
	s = start(t)
	a = s.Do(t, "GET", "/test/address", "", nil, "X-Forwarded-For", "198.51.100.7").Want(t, 200)
	if a.Body["ip"] != "127.0.0.1" || a.Body["direct"] != false {
		t.Errorf("where nobody is trusted: %s", a.Text)
	}
}

// TestOpenAPI holds the document against the routes, both ways (SPEC §3).
func TestOpenAPI(t *testing.T) {
	s := webtest.Start(t, storetest.Open(t, storetest.SQLiteURL(t)))
	a := s.Do(t, "GET", "/openapi.json", "", nil).Want(t, 200)
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %s", got)
	}
	if version, _ := a.Body["openapi"].(string); !strings.HasPrefix(version, "3.1.") {
		t.Errorf("OpenAPI %s", version)
	}
	var documented []string
	ids := map[string]bool{}
	for path, item := range a.Body["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			name := strings.ToUpper(method) + " " + path
			documented = append(documented, name)
			op := operation.(map[string]any)
			if ids[op["operationId"].(string)] || op["summary"] == nil || op["security"] == nil {
				t.Errorf("%s: operation id, summary or security: %v", name, op)
			}
			ids[op["operationId"].(string)] = true
			responses := op["responses"].(map[string]any)
			if text := fmt.Sprint(responses["default"]); !strings.Contains(text, "application/problem+json") || !strings.Contains(text, "schemas/Problem") {
				t.Errorf("%s: its errors are not documented: %s", name, text)
			}
			if len(responses) < 2 {
				t.Errorf("%s: its success is not documented", name)
			}
			for _, p := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !strings.Contains(fmt.Sprint(op["parameters"]), "name:"+p[1]) {
					t.Errorf("%s: parameter %s is not documented", name, p[1])
				}
			}

			asked := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "01890a5d-ac96-774b-bcce-b302099a8057")
			answer := s.Do(t, strings.ToUpper(method), asked, "", nil)
			if answer.Status == 405 || strings.Contains(answer.Text, "nothing at this address") {
				t.Errorf("%s is documented, and not there: %d", name, answer.Status)
			}
		}
	}
	routes := web.Routes(s.Web)
	slices.Sort(documented)
	slices.Sort(routes)
	if !slices.Equal(documented, routes) {
		t.Errorf("documented are\n%v\nand there are\n%v", documented, routes)
	}
	if len(routes) < 10 {
		t.Errorf("there are %d routes only", len(routes))
	}
	if strings.Contains(a.Text, "$schema") || strings.Contains(a.Text, "unpkg.com") {
		t.Error("the document names what is not ours")
	}
	// huma's check of uniqueItems panics where an item is an object: domains check that themselves.
	if strings.Contains(a.Text, "uniqueItems") {
		t.Error("a schema has uniqueItems")
	}
	for _, path := range []string{"/docs", "/openapi.yaml", "/openapi-3.0.json", "/schemas/Problem.json"} {
		s.Do(t, "GET", path, "", nil).Want(t, 404)
	}
	wantRefs(t, a.Text)
}

// wantRefs fails the test where a reference of the document leads nowhere.
func wantRefs(t *testing.T, text string) {
	t.Helper()
	var doc struct {
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	for _, ref := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllStringSubmatch(text, -1) {
		name, ok := strings.CutPrefix(ref[1], "#/components/schemas/")
		if !ok || doc.Components.Schemas[name] == nil {
			t.Errorf("%s leads nowhere", ref[1])
		}
	}
}

// TestManyAtOnce has many clients ask for everything at once, for the race detector.
func TestManyAtOnce(t *testing.T) {
	s := start(t)
	token := s.SignIn(t, "ann", audit.Admin)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				s.Do(t, "GET", "/health", "", nil)
				s.Do(t, "GET", "/openapi.json", "", nil)
				s.Do(t, "GET", "/test/me", token, nil)
				s.Do(t, "POST", "/test/echo", "", `{"name":"ann","name":"bob"}`)
				s.Do(t, "GET", "/test/fail/panic", "", nil)
				s.Do(t, "GET", "/metrics", "", nil)
			}
		})
	}
	wg.Wait()
}
