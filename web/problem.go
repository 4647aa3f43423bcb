package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/fault"
)

// Problem is an error as a client sees it (RFC 9457), with the extensions error, requestId and details.
type Problem struct {
	Type      string         `json:"type" doc:"Always about:blank: the status and error say what it is"`
	Title     string         `json:"title" doc:"The status in words"`
	Status    int            `json:"status" doc:"The HTTP status"`
	Detail    string         `json:"detail" doc:"What is wrong, with what there is to say about it in words"`
	Instance  string         `json:"instance" doc:"The path that was asked for"`
	Message   string         `json:"error" doc:"What is wrong, in one short sentence"`
	RequestID string         `json:"requestId" doc:"What to name when asking for help; the audit log and the server's log know it"`
	Details   map[string]any `json:"details,omitempty" doc:"What else there is to say, by name; fields lists what is wrong where"`
}

// Field is one thing that is wrong with a request. It never has the value: that may be a password.
type Field struct {
	Field   string `json:"field"` // body.endpoints[3].url, query.limit, header.Idempotency-Key
	Message string `json:"message"`
}

// statusOf is the status of each kind of fault.
var statusOf = map[fault.Kind]int{
	fault.Internal:             http.StatusInternalServerError,
	fault.BadRequest:           http.StatusBadRequest,
	fault.Unauthenticated:      http.StatusUnauthorized,
	fault.Forbidden:            http.StatusForbidden,
	fault.NotFound:             http.StatusNotFound,
	fault.Conflict:             http.StatusConflict,
	fault.PreconditionFailed:   http.StatusPreconditionFailed,
	fault.TooLarge:             http.StatusRequestEntityTooLarge,
	fault.UnsupportedMediaType: http.StatusUnsupportedMediaType,
	fault.Invalid:              http.StatusUnprocessableEntity,
	fault.PreconditionRequired: http.StatusPreconditionRequired,
	fault.TooMany:              http.StatusTooManyRequests,
	fault.Unavailable:          http.StatusServiceUnavailable,
}

const (
	ourSide      = "something went wrong on our side"
	notTheSchema = "the request is not of the form that this route takes"
	maxFields    = 50  // how many fields an answer lists
	maxFieldName = 200 // bytes of a field's name, which a client may have chosen
)

// newProblem makes a problem of a status.
func newProblem(r *http.Request, status int, message string, details map[string]any) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Message: message, Details: details,
		Detail: sentence(message, details), Instance: r.URL.EscapedPath(), RequestID: exchangeOf(r.Context()).principal.RequestID,
	}
}

// sentence is the message, with the first of the fields that are wrong.
func sentence(message string, details map[string]any) string {
	fields, _ := details["fields"].([]Field)
	if len(fields) == 0 {
		return message
	}
	s := message + ": " + fields[0].Field + ": " + fields[0].Message
	if n := len(fields) - 1; n > 0 {
		s += fmt.Sprintf(", and %d more", n)
	}
	return s
}

// problem makes an answer of an error. This is the one place where that happens. An error that
// nobody intended is logged, with its request's id, and not shown.
func (x *exchange) problem(err error) *Problem {
	r := x.request
	if p, ok := errors.AsType[*Problem](err); ok {
		p.Instance, p.RequestID = r.URL.EscapedPath(), x.principal.RequestID
		return p
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return newProblem(r, http.StatusServiceUnavailable, "the request was withdrawn", nil) // nobody reads it
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || statusOf[f.Kind] == 0 || f.Kind == fault.Internal {
		x.server.Logger.Error("a request failed", "requestId", x.principal.RequestID, "route", x.route.String(), "error", err)
		return newProblem(r, http.StatusInternalServerError, ourSide, nil)
	}
	// Two failures at once, such as a refusal that could not be recorded: the caller sees one of them.
	both, joined := err.(interface{ Unwrap() []error })
	if joined && len(both.Unwrap()) > 1 || f.Kind == fault.Unavailable && f.Unwrap() != nil {
		x.server.Logger.Warn("a request could not be served", "requestId", x.principal.RequestID,
			"route", x.route.String(), "error", err)
	}
	if f.RetryAfter > 0 {
		x.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	if f.Kind == fault.Unauthenticated {
		x.Header().Set("WWW-Authenticate", "Bearer")
	}
	if _, err := json.Marshal(f.Details); err != nil { // a bug of whoever made them, which must not hide the fault
		x.server.Logger.Error("a fault's details cannot be shown", "requestId", x.principal.RequestID, "error", err)
		f = &fault.Error{Kind: f.Kind, Message: f.Message}
	}
	return newProblem(r, statusOf[f.Kind], f.Message, f.Details)
}

// fail answers with an error.
func (x *exchange) fail(err error) { x.write(x.problem(err)) }

// write sends a problem, as a page to whoever looks at pages.
func (x *exchange) write(p *Problem) {
	if x.asPage {
		x.writePage(p)
		return
	}
	b, _ := json.Marshal(p) // its details have been tried
	h := x.Header()
	h["Content-Type"] = []string{"application/problem+json"}
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	x.WriteHeader(p.Status)
	_, _ = x.Write(b)
}

// Error implements error, for huma.
func (p *Problem) Error() string { return p.Message }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// huma makes its errors through package variables. Ours are the same for every server of a process.
func init() {
	huma.NewError = func(status int, message string, _ ...error) huma.StatusError {
		return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Message: message, Detail: message}
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		return exchangeOf(ctx.Context()).humaProblem(status, message, errs)
	}
	// Some of huma's messages quote the error of a parser, which quotes what it was given.
	huma.ErrorFormatter = func(format string, args ...any) string {
		if len(args) == 1 {
			if _, isError := args[0].(error); isError {
				return strings.TrimSuffix(format, ": %v")
			}
		}
		return fmt.Sprintf(format, args...)
	}
	// encoding/json takes "Email" for email; then "email" and "Email" would be one field given twice.
	huma.ValidateStrictCasing = true
	// An empty list is [], in answers (see items) and in what we take.
	huma.DefaultArrayNullable = false
}

// humaProblem makes an answer of what huma found wrong, without the values that it found.
func (x *exchange) humaProblem(status int, message string, errs []error) *Problem {
	var fields []Field
	for _, err := range errs {
		detailer, ok := err.(huma.ErrorDetailer) // huma gives them unwrapped
		if !ok {
			return x.problem(err) // a resolver's fault, or not intended
		}
		d := detailer.ErrorDetail()
		fields = append(fields, Field{printable(d.Location, maxFieldName), d.Message})
	}
	if len(fields) == 0 {
		return x.problem(newProblem(x.request, status, message, nil))
	}
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Field+a.Message, b.Field+b.Message) })
	if len(fields) > maxFields {
		more := len(fields) - maxFields
		fields = append(fields[:maxFields], Field{"", fmt.Sprintf("and %d more", more)})
	}
	switch status {
	case http.StatusBadRequest: // of json.go, about the text as a whole
		return newProblem(x.request, status, fields[0].Message, nil)
	case http.StatusUnprocessableEntity:
		message = notTheSchema
	}
	return newProblem(x.request, status, message, map[string]any{"fields": fields})
}
