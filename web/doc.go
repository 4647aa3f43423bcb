// Package web is Sealpost's face to the network: it finds out who is asking and whether they may,
// reads what they ask strictly, calls a domain, and writes the answer. It decides nothing else.
//
// # The way of a request
//
// exchange.go gives the request its id, its client address and the answer's security headers, and
// turns a panic into an answer. route.go finds the route and holds its access rule (access.go) before
// a byte of the body is read. body.go and json.go read the body strictly (SPEC §3). huma checks it
// against the schema of the handler's own Go types, the same types that /openapi.json is made of. The
// handler calls a domain. problem.go is the one place where an error becomes an answer.
//
// # Adding a route
//
// A domain's routes live in api_<domain>.go, in one function that New calls:
//
//	func (s *Server) widgetRoutes() {
//		route(s, signedIn, huma.Operation{
//			Method: http.MethodGet, Path: "/api/widgets/{id}", Summary: "One widget", Tags: []string{"widgets"},
//		}, s.widget)
//		route(s, only(audit.Admin), huma.Operation{
//			Method: http.MethodPost, Path: "/api/widgets", Summary: "Make a widget", Tags: []string{"widgets"},
//			DefaultStatus: http.StatusCreated,
//		}, s.createWidget)
//	}
//
//	type widgetInput struct {
//		Caller                     // in.Principal: who is asking
//		ID string `path:"id"`
//	}
//
//	type createWidgetInput struct {
//		Caller
//		Idempotent                 // in.Once: Idempotency-Key, for audit.Once
//		Body struct {
//			Name  string `json:"name" minLength:"1" maxLength:"200" doc:"What people call it"`
//			Notes string `json:"notes,omitempty" maxLength:"2000"`  // omitempty: may be left out
//		}
//	}
//
//	type widgetOutput struct {
//		Body struct {
//			Widget Widget `json:"widget"`
//		}
//	}
//
//	func (s *Server) widget(ctx context.Context, in *widgetInput) (*widgetOutput, error) {
//		w, err := s.Widgets.Get(ctx, in.Principal, in.ID)
//		if err != nil {
//			return nil, err       // a fault, or anything else: problem.go knows what to do
//		}
//		out := &widgetOutput{}
//		out.Body.Widget = w
//		return out, nil
//	}
//
// Embed Paging for ?limit= and ?cursor= (in.Page is a store.Page) and answer with pageInfo(list). A
// body over 1 MiB needs MaxBodyBytes: payloadBytes in the operation. Query parameters and fields that
// are not in the types are refused, so nothing that a client sends is ignored. Return errors of
// package fault for what the caller can act on, and everything else wrapped and as it is. Two struct
// types of one name cannot both be in the document: a body's type needs a name of its own, or none.
//
// A route that does not answer JSON (a stream) is made with raw, which has the same access rules. There
// is no other way to add one: New panics on a route without an access rule.
//
// # Adding a page
//
// The dashboard's pages live in pages_<part>.go and templates/. pages.go tells how they differ from the
// API: who is asking comes from a cookie, a POST must come from a page of ours, and what goes wrong is a
// page. A page is a line in the part's function, a handler, and a template that defines "title" and
// "main":
//
//	s.page(signedIn, "GET /widgets/{id}", (*page).widget)
//	s.page(only(audit.Admin).guarded(), "POST /widgets/{id}", (*page).changeWidget)
//
//	func (p *page) widget() error {
//		w, err := s.Widgets.Get(p.ctx, p.by, p.r.PathValue("id"))
//		if err != nil {
//			return err // a problem page
//		}
//		return p.render(http.StatusOK, "widget", widgetData{Widget: w})
//	}
//
// A form posts and redirects (p.redirect, with ?done= for what is then said); one that was filled in
// wrongly is shown again with form.refused, which puts the domain's sentence beside its field. Scripts
// only add to what works without them, and the policy allows none in the page itself.
package web
