package web

import (
	"html/template"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"go.opentelemetry.io/otel/trace"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/config"
	"sealpost/dispatch"
	"sealpost/document"
	"sealpost/rotation"
	"sealpost/runbook"
)

// Deps are the parts of the program that the routes call.
type Deps struct {
	Config    *config.Config
	Log       *audit.Log
	Sealer    *audit.Sealer
	Accounts  *account.Accounts
	Dispatch  *dispatch.Dispatcher
	Documents *document.Documents
	Alerts    *dispatch.Alerts
	Rotation  *rotation.Keeper
	Retention *audit.Retention
	Runbook   *runbook.Checker
	Version   string
	Logger    *slog.Logger
	Tracer    trace.Tracer // nil: requests are no spans
}

// Server answers Sealpost's requests.
type Server struct {
	Deps
	mux         *http.ServeMux
	api         huma.API
	routes      []*routeInfo
	forwarding  forwarding
	health      health
	metrics     *metrics
	openAPIText openAPIText

	pageAccounts *account.Accounts // sign-ins of pages
	pageOrigin   *http.CrossOriginProtection
	pages        []pageRoute
	templates    map[string]*template.Template
	assets       assets
	streams      *streams
	standing     standing
}

// New makes the server and all of its routes. It panics where a route is not whole: without an
// access rule, or twice.
func New(d Deps) *Server {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{Deps: d, mux: http.NewServeMux(), metrics: newMetrics(d)}
	s.forwarding.trusted = d.Config.TrustedProxies
	s.api = newAPI(s)
	s.preparePages()
	s.operationRoutes()
	s.authRoutes()
	s.mfaRoutes()
	s.passkeyRoutes()
	s.passwordRoutes()
	s.userRoutes()
	s.apiKeyRoutes()
	s.auditRoutes()
	s.auditLogRoutes()
	s.auditExportRoutes()
	s.dispatchRoutes()
	s.documentRoutes()
	s.assistRoutes()
	s.observabilityRoutes()
	s.postureRoutes()
	s.rotationRoutes()
	s.retentionRoutes()
	s.streamRoutes()
	s.pageRoutes()
	s.mux.Handle("/", http.HandlerFunc(s.noRoute))
	return s
}

// Handler is what an http.Server serves.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }
