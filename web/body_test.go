package web_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"sealpost/web/webtest"
)

const (
	mib        = 1 << 20
	formOf     = "not of the form"
	noJSON     = "no JSON value"
	wrongTypes = "this route takes application/json"
)

func TestBodies(t *testing.T) {
	s := start(t)
	for _, tt := range []struct {
		name, path, contentType, body string
		status                        int
		message                       string
	}{
		{"good", "/test/echo", "application/json", `{"name":"ann","tags":["a"],"labels":{"x":"y"},"nested":{"name":"b"}}`, 200, ""},
		{"a charset", "/test/echo", "application/json; charset=UTF-8", `{"name":"ann"}`, 200, ""},
		{"upper case type", "/test/echo", "Application/JSON", `{"name":"ann"}`, 200, ""},

		{"not JSON", "/test/echo", "application/json", `name=ann`, 400, noJSON},
		{"cut off", "/test/echo", "application/json", `{"name":"ann"`, 400, "lacks a comma"},
		{"trailing data", "/test/echo", "application/json", `{"name":"ann"} {}`, 400, "something behind"},
		{"a duplicate", "/test/echo", "application/json", `{"name":"ann","name":"bob"}`, 400, "twice"},
		{"a duplicate deep down", "/test/echo", "application/json", `{"name":"ann","any":[{"a":{"b":1,"b":2}}]}`, 400, "twice"},
		{"a duplicate by escapes", "/test/echo", "application/json", `{"name":"ann","\u006eame":"bob"}`, 400, "twice"},
		{"not UTF-8", "/test/echo", "application/json", "{\"name\":\"\xff\"}", 400, "UTF-8"},
		{"half a surrogate", "/test/echo", "application/json", `{"name":"\ud800"}`, 400, "surrogate"},
		{"NUL", "/test/echo", "application/json", `{"name":"\u0000"}`, 400, "NUL"},
		{"a byte order mark", "/test/echo", "application/json", "\xef\xbb\xbf{\"name\":\"ann\"}", 400, noJSON},
		{"too deep", "/test/echo", "application/json", `{"name":"ann","any":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, 400, "64 levels"},
		{"as deep as may be", "/test/echo", "application/json", `{"name":"ann","any":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, 200, ""},
		{"nothing", "/test/echo", "application/json", ``, 400, "needs a request body"},
		{"nothing, where that is good", "/test/optional", "", ``, 200, ""},
		{"something, where nothing would do", "/test/optional", "application/json", `{"name":"ann"}`, 200, ""},
		{"null", "/test/echo", "application/json", `null`, 422, formOf},

		{"an unknown field", "/test/echo", "application/json", `{"name":"ann","nmae":"x"}`, 422, formOf},
		{"an unknown field deep down", "/test/echo", "application/json", `{"name":"ann","nested":{"name":"b","x":1}}`, 422, formOf},
		{"another case", "/test/echo", "application/json", `{"Name":"ann"}`, 422, formOf},
		{"another case beside it", "/test/echo", "application/json", `{"name":"ann","NAME":"bob"}`, 422, formOf},
		{"a missing field", "/test/echo", "application/json", `{}`, 422, formOf},
		{"a wrong type", "/test/echo", "application/json", `{"name":7}`, 422, formOf},
		{"a number as text", "/test/echo", "application/json", `{"name":"ann","count":"7"}`, 422, formOf},
		{"a fraction", "/test/echo", "application/json", `{"name":"ann","count":1.5}`, 422, formOf},
		{"a number that does not fit", "/test/echo", "application/json", `{"name":"ann","count":4294967296}`, 422, formOf},
		{"null for a list", "/test/echo", "application/json", `{"name":null}`, 422, formOf},
		{"an array", "/test/echo", "application/json", `[]`, 422, formOf},
		{"too long", "/test/echo", "application/json", `{"name":"` + strings.Repeat("a", 21) + `"}`, 422, formOf},
		{"as long as may be", "/test/echo", "application/json", `{"name":"` + strings.Repeat("é", 20) + `"}`, 200, ""},

		{"no content type", "/test/echo", "", `{"name":"ann"}`, 415, wrongTypes},
		{"a form", "/test/echo", "application/x-www-form-urlencoded", `name=ann`, 415, wrongTypes},
		{"text", "/test/echo", "text/plain", `{"name":"ann"}`, 415, wrongTypes},
		{"a relative of JSON", "/test/echo", "application/vnd.api+json", `{"name":"ann"}`, 415, wrongTypes},
		{"another charset", "/test/echo", "application/json; charset=latin1", `{"name":"ann"}`, 415, wrongTypes},
		{"another parameter", "/test/echo", "application/json; version=2", `{"name":"ann"}`, 415, wrongTypes},
		{"a type that is none", "/test/echo", "application/json; charset=", `{"name":"ann"}`, 415, wrongTypes},

		{"1 MiB", "/test/echo", "application/json", padded(`{"name":"ann"}`, mib), 200, ""},
		{"1 MiB and a byte", "/test/echo", "application/json", padded(`{"name":"ann"}`, mib+1), 413, "larger than 1048576 bytes"},
		{"8 MiB of payload", "/test/big", "application/json", padded(`{"payload":"x"}`, 8*mib), 200, ""},
		{"8 MiB of payload and a byte", "/test/big", "application/json", padded(`{"payload":"x"}`, 8*mib+1), 413, "larger than 8388608 bytes"},
	} {
		for _, chunked := range []bool{false, true} {
			name := tt.name
			if chunked {
				name += ", chunked"
			}
			t.Run(name, func(t *testing.T) {
				a := s.Send(t, post(t, s, tt.path, tt.contentType, tt.body, chunked))
				if tt.status < 400 {
					a.Want(t, tt.status)
					return
				}
				wantProblem(t, a, tt.status, tt.message)
			})
		}
	}
}

// padded puts spaces behind a JSON text.
func padded(text string, size int) string { return text + strings.Repeat(" ", size-len(text)) }

func post(t *testing.T, s *webtest.Server, path, contentType, body string, chunked bool) *http.Request {
	t.Helper()
	var reader io.Reader = strings.NewReader(body)
	if chunked {
		reader = io.MultiReader(reader) // whose length the client does not know
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestSchemaErrorsNamePlacesAndNoValues(t *testing.T) {
	s := start(t)
	a := s.Do(t, "POST", "/test/echo", "", `{
		"name": "hunter2hunter2hunter2", "email": "hunter2", "count": -4711, "tags": ["hunter2",7], "labels": {"x": 1},
		"nested": {"name": "", "site": "hunter2://\u007f%%%"}, "when": "hunter2", "what": "hunter2"}`)
	wantProblem(t, a, 422, formOf)
	if strings.Contains(a.Text, "hunter2") || strings.Contains(a.Text, "4711") {
		t.Errorf("the answer has a value: %s", a.Text)
	}
	got := map[string]string{}
	for _, f := range a.At("details.fields").([]any) {
		field := f.(map[string]any)
		got[field["field"].(string)] += field["message"].(string)
	}
	for field, want := range map[string]string{
		"body.name": "expected length <= 20", "body.email": "expected string to be RFC 5322 email", "body.count": "expected number >= 0",
		"body.tags[1]": "expected string", "body.labels.x": "expected string", "body.nested.name": "expected length >= 1",
		"body.nested.site": "expected string to be RFC 3986 uri", "body.when": "expected string to be RFC 3339 date-time",
		"body.what": "unexpected property",
	} {
		if got[field] != want {
			t.Errorf("%s: %q, want %q", field, got[field], want)
		}
	}
	if len(got) != 9 {
		t.Errorf("%d fields: %v", len(got), got)
	}
	if detail := a.Body["detail"].(string); !strings.Contains(detail, "body.count: expected number >= 0, and 8 more") {
		t.Errorf("detail is %q", detail)
	}
}

func TestManySchemaErrorsAreCut(t *testing.T) {
	s := start(t)
	var b bytes.Buffer
	for i := range 500 {
		_, _ = fmt.Fprintf(&b, `"%s%d":1,`, strings.Repeat("x", 1000), i)
	}
	a := s.Do(t, "POST", "/test/echo", "", `{`+b.String()+`"name":"ann"}`)
	wantProblem(t, a, 422, formOf)
	if n := len(a.At("details.fields").([]any)); n != 51 || len(a.Text) > 20_000 {
		t.Errorf("%d fields in %d bytes", n, len(a.Text))
	}
}

func TestCompressedBody(t *testing.T) {
	s := start(t)
	wantProblem(t, s.Do(t, "POST", "/test/echo", "", `{"name":"ann"}`, "Content-Encoding", "gzip"), 415, "compressed")
	s.Do(t, "POST", "/test/echo", "", `{"name":"ann"}`, "Content-Encoding", "identity").Want(t, 200)
	wantProblem(t, s.Do(t, "POST", "/test/echo", "", `{"name":"ann"}`, "Content-Type", "text/plain"), 415, wrongTypes) // two of them
}

func TestBodyWhereNoneBelongs(t *testing.T) {
	s := start(t)
	for _, method := range []string{"GET", "HEAD"} {
		for _, chunked := range []bool{false, true} {
			r := post(t, s, "/livez", "application/json", "{}", chunked)
			r.Method = method
			s.Send(t, r).Want(t, 400)
		}
	}
	r := post(t, s, "/livez", "", "", true) // chunked, and empty
	r.Method = "GET"
	s.Send(t, r).Want(t, 200)
}

// TestBodyThatBreaksOff sends half of what it said.
func TestBodyThatBreaksOff(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // done
	_, _ = io.WriteString(conn, "POST /test/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"name\":")
	_ = conn.(*net.TCPConn).CloseWrite()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // done
	if response.StatusCode != 400 {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestQueries(t *testing.T) {
	s := start(t)
	for _, tt := range []struct {
		query   string
		status  int
		message string
	}{
		{"", 200, ""},
		{"limit=1", 200, ""},
		{"limit=1&at=2026-01-02T03:04:05Z", 200, ""},
		{"limit=", 200, ""},
		{"limit=0", 422, formOf},
		{"limit=201", 422, formOf},
		{"limit=200", 200, ""},
		{"limit=abc", 422, formOf},
		{"limit=99999999999999999999", 422, formOf},
		{"at=yesterday", 422, formOf},
		{"limits=1", 422, formOf},
		{"Limit=1", 422, formOf},
		{"limit=1&limit=2", 422, formOf},
		{"limit=1&x", 400, "without a value"},
		{"x&limit=1", 400, "without a value"},
		{"&limit=1", 400, "without a value"},
		{"limit=%zz", 400, "cannot be read"},
		{"limit=1;x=2", 400, "cannot be read"},
		{"cursor=%ff", 422, formOf},
		{"cursor=%00", 422, formOf},
		{"%ff=1", 422, formOf},
	} {
		t.Run(tt.query, func(t *testing.T) {
			a := s.Do(t, "GET", "/test/list?"+tt.query, "", nil)
			if tt.status == 200 {
				a.Want(t, 200)
				return
			}
			wantProblem(t, a, tt.status, tt.message)
		})
	}
	a := s.Do(t, "GET", "/test/list?limit=hunter2", "", nil)
	if fields := fmt.Sprint(a.At("details.fields")); fields != "[map[field:query.limit message:invalid integer]]" {
		t.Errorf("fields are %s", fields)
	}
}
