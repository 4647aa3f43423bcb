package assist

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/openai/openai-go/v3/packages/ssestream"

	"sealpost/fault"
)

// What ends a call on our side.
var (
	errTooSlow  = errors.New("the answer took too long")
	errSilent   = errors.New("the server fell silent")
	errTooLarge = errors.New("the answer is too large")
	errBroken   = errors.New("the stream ended before the answer did")
)

// broken is a connection that could not be made or did not last.
type broken struct{ cause error }

func (b *broken) Error() string { return "the connection failed: " + b.cause.Error() }
func (b *broken) Unwrap() error { return b.cause }

// garbled is an answer that is not of the form that it should have. It says how in our words.
type garbled struct{ how string }

func (g *garbled) Error() string { return "the answer cannot be used: " + g.how }

// unheard is a caller that has gone, or does not take what comes.
type unheard struct{ cause error }

func (u *unheard) Error() string { return "the answer is no longer wanted: " + u.cause.Error() }
func (u *unheard) Unwrap() error { return u.cause }

// classify says what an error of reading a stream is. Those about what was read may quote it, so none
// of them is kept.
func classify(err error) error {
	if e, ok := errors.AsType[*ssestream.StreamError](err); ok {
		return &refusal{code: errorCode(e.Event.Data)}
	}
	return &garbled{"a chunk of it is not what a chunk is"}
}

// judge says how a call ended, and what to tell its caller: nil where the answer is whole.
//
// Most failures are fault.Unavailable, since somebody else can mend them and the same request may
// then work. fault.Invalid is for those where the author should ask otherwise.
func judge(c *call, err error) (Outcome, error) {
	if err != nil {
		return explain(c.a, err)
	}
	switch {
	case c.refusing || c.finish == "content_filter":
		return Declined, declined()
	case c.finish == "length":
		return Cut, fault.New(fault.Unavailable, "the model came to its limit of length before the answer was whole")
	case c.finish != "stop":
		return Unusable, unusable(&garbled{"it ended for a reason that is none"})
	case strings.TrimSpace(c.text.String()) == "":
		return Unusable, unusable(&garbled{"it is empty"})
	case strings.ContainsRune(c.text.String(), 0):
		return Unusable, unusable(&garbled{"it has a NUL character in it"})
	}
	return Complete, nil
}

func explain(a *Assistant, err error) (Outcome, error) {
	if _, ok := errors.AsType[*unheard](err); ok {
		return Withdrawn, fmt.Errorf("ask the AI server: %w", err)
	}
	if e, ok := errors.AsType[*refusal](err); ok {
		return Refused, e.fault()
	}
	if _, ok := errors.AsType[*garbled](err); ok {
		return Unusable, unusable(err)
	}
	switch {
	case errors.Is(err, errTooSlow):
		return TimedOut, fault.Wrap(fault.Unavailable, err, "the AI server did not finish its answer within %v", a.o.Timeout)
	case errors.Is(err, errSilent):
		return TimedOut, fault.Wrap(fault.Unavailable, err, "the AI server sent nothing for %v", a.o.Silence)
	case errors.Is(err, errTooLarge):
		return Unusable, fault.Wrap(fault.Unavailable, err, "the AI server's answer is larger than %d bytes", MaxAnswer)
	case errors.Is(err, errBroken):
		return Unreachable, fault.Wrap(fault.Unavailable, err, "the AI server's answer broke off")
	}
	if e, ok := errors.AsType[*broken](err); ok {
		return Unreachable, fault.Wrap(fault.Unavailable, e, "the AI server cannot be reached, or broke off")
	}
	return Unusable, unusable(err)
}

// fault says a refusal in plain words.
func (r *refusal) fault() error {
	say := func(kind fault.Kind, message string) error {
		return fault.Wrap(kind, r, "%s", message).After(r.after)
	}
	switch {
	case r.code == codeTooLong || r.status == http.StatusRequestEntityTooLarge:
		return say(fault.Invalid, "the text is too long for the model")
	case r.code == codeFiltered:
		return declined()
	case r.code == codeNoCredit || r.status == http.StatusPaymentRequired:
		return say(fault.Unavailable, "the account at the AI server has no credit left")
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden || r.code == "invalid_api_key":
		return say(fault.Unavailable, "the AI server does not accept our key")
	case r.code == codeNoModel || r.status == http.StatusNotFound:
		return say(fault.Unavailable, "the AI server does not know our model, or is not at this address")
	case r.status == http.StatusTooManyRequests || r.code == "rate_limit_exceeded":
		return say(fault.Unavailable, "the AI server has too much to do")
	case r.status >= http.StatusInternalServerError || r.code == "server_error":
		return say(fault.Unavailable, "the AI server has a fault of its own")
	case r.status == 0:
		return say(fault.Unavailable, "the AI server gave up in the middle of its answer")
	}
	return say(fault.Unavailable, "the AI server does not take our request")
}

func declined() error {
	return fault.New(fault.Invalid, "the model declined: say in other words what is wanted")
}

func unusable(cause error) error {
	return fault.Wrap(fault.Unavailable, cause, "the AI server's answer cannot be used")
}
