package web

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// openAPIText is the OpenAPI document, written when it is first asked for: by then every route is known.
type openAPIText struct {
	once sync.Once
	text []byte
	err  error
}

// newAPI makes huma's part of the server: what turns JSON into Go types and back, and describes both.
// It has none of huma's own routes: its pages load other people's scripts, and "$schema" in every
// answer is noise.
func newAPI(s *Server) huma.API {
	return strictAPI{huma.NewAPI(huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Sealpost", Version: s.Version,
				Description: "Sealpost seals documents, dispatches them and proves who did what. Times are RFC 3339 in UTC, " +
					"ids are UUIDv7. Every answer carries x-request-id. Errors are application/problem+json (RFC 9457). " +
					"Unknown and duplicate fields, unknown query parameters and trailing data are errors.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "An access token, from sign-in."},
					"apiKey": {Type: "http", Scheme: "bearer", BearerFormat: "sp_[0-9A-Za-z]{49}", Description: "An API key, from " + //nolint:gosec // the form of one
						"POST /api/admin/api-keys. A route that names a scope takes keys that have it, of owners whose role it names."},
				},
			},
		},
	}, adapter{s})}
}

// strictAPI is huma's API with one format: JSON, whatever Accept says, and problem+json for errors.
type strictAPI struct{ huma.API }

// Negotiate implements huma.API.
func (strictAPI) Negotiate(string) (string, error) { return "application/json", nil }

// Marshal implements huma.API. A client that does not read its answer is no failure of ours.
func (strictAPI) Marshal(w io.Writer, _ string, v any) error {
	out := answerWriter{w: w}
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); out.err == nil {
		return err
	}
	return nil
}

// answerWriter tells an answer that cannot be sent from one that cannot be encoded.
type answerWriter struct {
	w   io.Writer
	err error
}

func (a *answerWriter) Write(b []byte) (n int, err error) {
	n, a.err = a.w.Write(b)
	return n, a.err
}

// Unmarshal implements huma.API. The content type has been checked (body.go).
func (strictAPI) Unmarshal(_ string, data []byte, v any) error { return unmarshal(data, v) }

// problemResponse is the answer that every route may give.
func (s *Server) problemResponse() *huma.Response {
	return &huma.Response{
		Description: "An error",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: s.schemaOf(reflect.TypeFor[Problem]())}},
	}
}

func (s *Server) schemaOf(t reflect.Type) *huma.Schema {
	return s.api.OpenAPI().Components.Schemas.Schema(t, true, "")
}

// openAPI handles GET /openapi.json.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	d := &s.openAPIText
	d.once.Do(func() { d.text, d.err = json.Marshal(s.api.OpenAPI()) })
	if d.err != nil {
		w.(*exchange).fail(d.err)
		return
	}
	w.Header()["Content-Type"] = []string{"application/json"}
	_, _ = w.Write(d.text)
}
