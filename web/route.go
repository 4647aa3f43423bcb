package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// routeInfo is a route as the frame knows it.
type routeInfo struct {
	name    string // "POST /api/documents/{id}": in metrics, logs and events
	method  string
	pattern string
	access  access
	maxBody int64
	bodies  []string // the content types it takes; none: it takes no body
	needed  bool     // a body must come
	query   map[string]bool
	metrics routeMetrics
}

// String is the route's name, and a dash where there was no route.
func (rt *routeInfo) String() string {
	if rt == nil {
		return "-"
	}
	return rt.name
}

// The keys of huma's Operation.Metadata.
const (
	metaAccess  = "access"
	metaMaxBody = "maxBody"
)

// route adds a route whose handler takes and gives Go types. The operation says method, path, summary
// and tags; MaxBodyBytes only where a body may be larger than bodyBytes.
func route[I, O any](s *Server, a access, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	s.prepare(a, &op)
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			return nil, exchangeOf(ctx).problem(err)
		}
		return out, nil
	})
}

// raw adds a route that writes its answer itself; responses say what that is. It takes no body.
func (s *Server) raw(a access, op huma.Operation, handler http.HandlerFunc) {
	s.prepare(a, &op)
	if !op.Hidden {
		documented := op
		documented.Path = strings.ReplaceAll(op.Path, "...}", "}") // OpenAPI has no name for "the rest of it"
		s.api.OpenAPI().AddOperation(&documented)
	}
	s.mount(&op, handler)
}

// prepare completes an operation with what is the same for all.
func (s *Server) prepare(a access, op *huma.Operation) {
	limit := op.MaxBodyBytes
	if limit == 0 {
		limit = bodyBytes
	}
	op.MaxBodyBytes, op.BodyReadTimeout = -1, -1 // body.go reads it, within its own limits
	op.Metadata = map[string]any{metaAccess: a, metaMaxBody: limit}
	op.Security = a.security()
	op.Description = strings.TrimSpace(op.Description + "\n\n" + a.describe())
	if op.OperationID == "" {
		op.OperationID = operationID(op.Method, op.Path)
	}
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = s.problemResponse()
}

// operationID names an operation after its method and path: "post-api-documents-id-finalize".
func operationID(method, path string) string {
	words := strings.FieldsFunc(strings.ToLower(path), func(r rune) bool { return strings.ContainsRune("/{}._-", r) })
	return strings.ToLower(method) + "-" + strings.Join(words, "-")
}

// adapter is how huma adds its routes to the server.
type adapter struct{ s *Server }

// Handle implements huma.Adapter.
func (a adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	a.s.mount(op, func(w http.ResponseWriter, r *http.Request) {
		handler(humago.NewContext(op, r, w))
	})
}

// ServeHTTP implements huma.Adapter.
func (a adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.s.serve(w, r) }

// mount puts a route into the mux, behind its access rule and the strict reading of what comes in.
func (s *Server) mount(op *huma.Operation, handler http.HandlerFunc) {
	rt := &routeInfo{
		name: op.Method + " " + op.Path, method: op.Method, pattern: op.Path, query: map[string]bool{},
	}
	rt.access, _ = op.Metadata[metaAccess].(access)
	if !rt.access.declared {
		panic("route " + rt.name + " has no access rule")
	}
	rt.maxBody, _ = op.Metadata[metaMaxBody].(int64)
	for _, p := range op.Parameters {
		if p.In == "query" {
			rt.query[p.Name] = true
		}
	}
	if op.RequestBody != nil {
		rt.needed = op.RequestBody.Required
		for contentType := range op.RequestBody.Content {
			rt.bodies = append(rt.bodies, contentType)
		}
	}
	rt.metrics = s.metrics.route(rt)
	s.routes = append(s.routes, rt)
	s.mux.HandleFunc(rt.name, func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		x.route = rt
		if err := s.enter(x, r); err != nil {
			x.fail(err)
			return
		}
		handler(x, s.beginTrace(x, r))
	})
}

// enter is everything that is checked before a handler runs, in this order: who, the address, the body.
func (s *Server) enter(x *exchange, r *http.Request) error {
	if err := s.admit(r.Context(), x, r); err != nil {
		return err
	}
	if r.URL.RawQuery != "" {
		if err := checkQuery(r.URL.RawQuery, x.route.query); err != nil {
			return err
		}
	}
	return x.readBody(r)
}
