package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// exchange is one request and its answer, as the frame knows them. It is the handler's ResponseWriter,
// so that the status is known afterwards; http.ResponseController sees through it.
type exchange struct {
	http.ResponseWriter
	server    *Server
	request   *http.Request
	route     *routeInfo
	principal audit.Principal // Anonymous until admit has found out who it is
	user      account.User    // of an access token, as it was read to admit it
	body      []byte          // as it was received
	direct    bool            // straight from this machine, through no proxy
	asPage    bool            // a person reads the answer
	status    int
	started   time.Time
	span      trace.Span // nil: it has none
}

type exchangeKey struct{}

// exchangeOf gives the exchange that a context belongs to.
func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader remembers the status.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= http.StatusOK {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write remembers that the status is 200 where none was said.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	return x.ResponseWriter.Write(b) //nolint:gosec // JSON, plain text, or what html/template has escaped
}

// The headers of every answer. They are shared, so they are only ever replaced, never added to.
var (
	nosniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	noStore    = []string{"no-store"}
	apiPolicy  = []string{"default-src 'none'; frame-ancestors 'none'"}
	hsts       = []string{"max-age=63072000; includeSubDomains"} // two years
)

const headerRequestID = "X-Request-Id"

// serve is the outermost handler: what is true of every request and every answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, server: s, started: time.Now()}
	ip, direct := s.clientAddress(r)
	if fromOperator(r.Context()) {
		ip, direct = "", false // a socket without addresses
	}
	x.direct = direct
	x.principal = audit.Principal{
		Kind: audit.Anonymous, IP: ip, UserAgent: printable(r.UserAgent(), maxUserAgent), RequestID: requestID(r),
	}
	h := w.Header()
	h[headerRequestID] = []string{x.principal.RequestID}
	h["X-Content-Type-Options"] = nosniff
	h["Referrer-Policy"] = noReferrer
	h["Content-Security-Policy"] = apiPolicy
	h["Cache-Control"] = noStore
	if r.TLS != nil || s.Config.PublicURL != nil && s.Config.PublicURL.Scheme == "https" {
		h["Strict-Transport-Security"] = hsts
	}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	x.request = r
	defer s.finish(x)
	if r.ContentLength != 0 {
		// Until the body has been read. It also bounds what net/http drains of one that never is.
		_ = http.NewResponseController(w).SetReadDeadline(x.started.Add(bodyTimeout))
	}
	if !cleanPath(r) {
		s.noRoute(x, r)
		return
	}
	s.mux.ServeHTTP(x, r)
}

// finish turns a panic into an answer, and tells the log and the metrics about the exchange.
func (s *Server) finish(x *exchange) {
	if v := recover(); v != nil {
		s.panicked(x, v)
	}
	if x.status == 0 {
		x.status = http.StatusOK // net/http's own, where a handler wrote nothing
	}
	took := time.Since(x.started)
	s.metrics.observe(x, took)
	x.endTrace()
	level := slog.LevelDebug
	if x.status >= http.StatusInternalServerError {
		level = slog.LevelInfo
	}
	ctx := x.request.Context()
	if s.Logger.Enabled(ctx, level) {
		s.Logger.LogAttrs(ctx, level, "request", slog.String("method", methodName(x.request.Method)),
			slog.String("route", x.route.String()), slog.Int("status", x.status), slog.Duration("took", took),
			slog.String("requestId", x.principal.RequestID), slog.String("actorId", x.principal.UserID))
	}
}

// panicked answers in place of a handler that panicked. Where its answer is half sent already, the
// connection is broken off, so that the client sees that it is.
func (s *Server) panicked(x *exchange, v any) {
	if v != http.ErrAbortHandler { //nolint:errorlint // net/http's own convention
		s.Logger.Error("a handler panicked", "requestId", x.principal.RequestID, "route", x.route.String(),
			"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		if x.status == 0 {
			x.write(newProblem(x.request, http.StatusInternalServerError, ourSide, nil))
			return
		}
	}
	s.metrics.observe(x, time.Since(x.started))
	panic(http.ErrAbortHandler)
}

// noRoute answers what no route takes: 405 where another method would do, else 404.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	x := w.(*exchange)
	if wantsPage(r) {
		x.becomePage()
		if by, err := s.signedInBy(r, x.principal); err == nil { // for the navigation
			x.principal = by
		}
	}
	var allow []string
	if cleanPath(r) {
		for _, method := range [...]string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		} {
			other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
			if _, pattern := s.mux.Handler(other); pattern != "" && pattern != "/" {
				allow = append(allow, method)
			}
		}
	}
	if len(allow) == 0 {
		x.fail(fault.New(fault.NotFound, "there is nothing at this address"))
		return
	}
	x.Header().Set("Allow", strings.Join(allow, ", "))
	x.write(newProblem(r, http.StatusMethodNotAllowed, "this address does not take "+methodName(r.Method), nil))
}

// cleanPath tells whether a path is in its one form and is text: the mux would redirect to the clean
// form of another, with a page instead of a problem document.
func cleanPath(r *http.Request) bool {
	p := r.URL.Path
	if p == "" || p[0] != '/' || !utf8.ValidString(p) || strings.IndexByte(p, 0) >= 0 {
		return false
	}
	if !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return true
	}
	clean := path.Clean(p)
	return clean == p || clean+"/" == p
}

// requestID keeps the id that a request brings where it is one, and makes one where it is not.
func requestID(r *http.Request) string {
	if values := r.Header[headerRequestID]; len(values) == 1 && validRequestID(values[0]) {
		return values[0]
	}
	return store.NewID()
}

const maxRequestID = 128

func validRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

const maxUserAgent = 256

// printable cuts a text that came from outside to a length, and to characters.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "")
}

// methodName keeps a long or strange method out of answers.
func methodName(m string) string {
	if len(m) > 16 {
		return "that method"
	}
	return m
}
