// Package fault holds the few kinds of failure that Sealpost means to happen: a wrong password, a
// stale version, a full queue. An error of a kind is for the caller, and its message is written to be
// read by them. An error without a kind is a bug or a broken machine: it is logged with its request
// id and shown to nobody (SPEC §3).
//
// Domains make faults, the web layer alone turns them into HTTP statuses.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what the caller can do about a failure. The zero Kind is not intended by anybody.
type Kind int

// The kinds, each with the HTTP status that the web layer gives it (RFC 9110, RFC 6585).
const (
	Internal             Kind = iota // 500: not intended; the message is never shown
	BadRequest                       // 400: cannot be read
	Unauthenticated                  // 401: nobody is signed in, or not freshly enough
	Forbidden                        // 403: somebody is, and may not
	NotFound                         // 404: no such thing, or none that the caller may see
	Conflict                         // 409: the thing is in a state that does not allow it
	PreconditionFailed               // 412: the version named is not the current one
	TooLarge                         // 413: over a documented size
	UnsupportedMediaType             // 415: a content type that the route does not take
	Invalid                          // 422: readable, and wrong
	PreconditionRequired             // 428: a version must be named
	TooMany                          // 429: over a documented rate; RetryAfter says when
	Unavailable                      // 503: cannot be done now, and may be done later
)

// Error is an intended failure. Details are shown to the caller with it, so they hold no secret.
type Error struct {
	Kind       Kind
	Message    string         // one short sentence, for the caller
	Details    map[string]any // what else there is to say, by name
	RetryAfter time.Duration  // for TooMany and Unavailable; zero where it is not known
	cause      error          // for the log only
}

// New makes a fault of a kind. The message is shown to the caller as it is.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes a fault of a kind whose cause is kept for the log and not shown.
func Wrap(kind Kind, cause error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), cause: cause}
}

// With gives the fault one more detail and returns it.
func (e *Error) With(name string, value any) *Error {
	if e.Details == nil {
		e.Details = map[string]any{}
	}
	e.Details[name] = value
	return e
}

// After says when the caller may try again, and returns the fault.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Error is the message with its cause, for the log. Only Message goes to the caller.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Of tells an error's kind: the outermost fault's in its chain, Internal where there is none.
func Of(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Is tells whether an error is a fault of a kind.
func Is(err error, kind Kind) bool { return err != nil && Of(err) == kind }
