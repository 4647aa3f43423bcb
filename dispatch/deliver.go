package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unicode"

	"go.opentelemetry.io/otel/trace"

	"sealpost/keys"
)

const (
	maxAnswer    = 4 << 10  // bytes of a receiver's answer that are kept
	smallPayload = 64 << 10 // bytes of a payload that is read together with others
	maxLastError = 500      // bytes of an error's line
)

// When a job is tried again whose attempt could not be made by this server, which costs no budget.
const (
	retryHere       = 5 * time.Second
	retryUnreadable = time.Minute // no key of this server's opens it, which seldom changes soon
)

// delivery is one attempt of a leased job.
type delivery struct {
	jobID  string
	token  string // of the lease
	number int    // of the attempt
	tried  int    // the same, within the present budget
	left   int    // attempts that the budget has after this one
	size   int

	orderingKey string // "": it is in no order
	place       int64  // there

	target   *target
	leasedAt time.Time
	wait     time.Duration // from the claim: an endpoint with a rate is sent its jobs apart

	contentType string
	box         []byte // the encrypted payload, where it has been read already
	trace       traceContext
	span        trace.Span // nil: it has none

	startedAt time.Time
	endedAt   time.Time
	answer    Answer
	ours      error         // why the attempt was not made, or not ended, here: it costs no budget
	again     time.Duration // with ours: when to try again
	sent      bool          // the receiver may have it
	timedOut  bool          // it kept us waiting for nothing
	cancel    context.CancelFunc
}

var (
	errUnreadable = errors.New("the payload cannot be read by this server")
	errUnsendable = errors.New("the request cannot be made by this server")
	errPanicked   = errors.New("the attempt failed inside the server")
)

// deliver sends one job and keeps what came of it. It runs outside any transaction.
func (d *Dispatcher) deliver(ctx context.Context, dl *delivery) {
	dl.startedAt = time.Now()
	defer func() {
		if p := recover(); p != nil { // a bug must not end the server, and, next time, again: it costs budget
			d.o.Logger.Error("an attempt panicked", "jobId", dl.jobID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			dl.answer, dl.ours = Answer{Err: errPanicked}, nil
		}
		dl.endedAt = time.Now()
		d.metrics.attempt(dl)
		dl.endAttempt()
	}()
	if !sleepFor(ctx, dl.wait) {
		dl.ours, dl.again = errCancelled, retryHere
		return
	}
	dl.startedAt = time.Now()
	contentType, payload, err := d.payloadOf(ctx, dl)
	ctx = d.beginAttempt(ctx, dl)
	if err == nil {
		var req *http.Request
		if req, err = newRequest(dl, contentType, payload); err == nil {
			putTrace(ctx, req.Header)
			dl.answer = d.send(ctx, req, dl)
		} else {
			dl.ours, dl.again = errUnsendable, retryUnreadable
		}
	} else {
		dl.ours, dl.again = errUnreadable, retryHere
		if errors.Is(err, keys.ErrCannotDecrypt) {
			dl.again = retryUnreadable
		}
	}
	switch {
	case ctx.Err() != nil && (err != nil || dl.answer.Err != nil): // the server stops, or an operator gave the job up
		dl.ours, dl.again = errCancelled, retryHere
	case err != nil: // lastError is for the job's owner, and this is for us
		d.o.Logger.Error("an attempt could not be made here", "jobId", dl.jobID, "endpointId", dl.target.id, "error", err)
	}
}

// payloadOf gives what a delivery sends.
func (d *Dispatcher) payloadOf(ctx context.Context, dl *delivery) (contentType string, payload []byte, err error) {
	if dl.box == nil {
		contentType, payload, dl.trace, err = d.readPayload(ctx, dl.jobID)
		return contentType, payload, err
	}
	payload, err = d.data.Decrypt(keys.JobPayload, dl.jobID, dl.box)
	dl.box = nil
	return dl.contentType, payload, err
}

// newRequest makes the signed request of an attempt.
func newRequest(dl *delivery, contentType string, payload []byte) (*http.Request, error) {
	req, err := http.NewRequest(http.MethodPost, dl.target.url, bytes.NewReader(payload)) //nolint:noctx // send gives it one
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	dl.target.access.put(req.Header)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "Sealpost")
	return req, sign(req.Header, dl.target, dl.jobID, time.Now(), payload)
}

// send makes the request, within the endpoint's timeout from the first byte to the last.
func (d *Dispatcher) send(ctx context.Context, req *http.Request, dl *delivery) Answer {
	ctx, cancel := context.WithTimeout(ctx, dl.target.timeout)
	defer cancel()
	res, err := d.exchange(ctx, req, dl)
	if err != nil {
		dl.timedOut = isTimeout(err)
		return Answer{Err: plain(err, dl.target.timeout)}
	}
	defer res.Body.Close() //nolint:errcheck // what matters has been read
	a := Answer{Status: res.StatusCode, RetryAfter: parseRetryAfter(res.Header.Get("Retry-After"), time.Now())}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return a // what follows is a connection of its own, which no timeout ends
	}
	// The status is the answer. A body that stays away or breaks off does not take it back.
	a.Body, _ = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // a short rest lets the connection be used again
	dl.timedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
	return a
}

// exchange sends the request with what authorizes it. A 401 for a token that was kept from an earlier
// attempt may only mean that it has ended: it is sent once more with a new one.
func (d *Dispatcher) exchange(ctx context.Context, req *http.Request, dl *delivery) (*http.Response, error) {
	over := http.RoundTripper(dl.target.access.over(d.transport))
	var tokens *tokenSource
	if dl.target.access != nil {
		tokens = dl.target.access.token
	}
	if tokens == nil {
		dl.sent = true
		return over.RoundTrip(req.WithContext(ctx))
	}
	for spent := ""; ; {
		token, fresh, err := tokens.get(ctx, over, spent)
		if err != nil {
			return nil, err
		}
		try := req.Clone(ctx)
		if try.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
		try.Header.Set("Authorization", "Bearer "+token)
		dl.sent = true
		res, err := over.RoundTrip(try)
		if err != nil || res.StatusCode != http.StatusUnauthorized || fresh || spent != "" {
			return res, err
		}
		spent = token
		_, _ = io.CopyN(io.Discard, res.Body, maxAnswer)
		_ = res.Body.Close()
	}
}

// isTimeout tells whether an attempt ended because its time was over, and not by the receiver's doing.
func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

var errCancelled = errors.New("the attempt was cancelled")

// plain says in a few words why there was no answer.
func plain(err error, timeout time.Duration) error {
	if _, ok := errors.AsType[tokenError](err); ok {
		return err
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, errBlocked):
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.HasPrefix(e.Error(), errBlocked.Error()) {
				return e
			}
		}
		return errBlocked
	case errors.Is(err, context.Canceled):
		return errCancelled
	case isTimeout(err) && isOp && op.Op == "dial" && timeout > connectWithin:
		return fmt.Errorf("no connection within %s", connectWithin)
	case isTimeout(err):
		return fmt.Errorf("no answer within %s", timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("the connection was refused")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was closed before an answer")
	case isDNS && dns.IsNotFound:
		return fmt.Errorf("the host %s is not known", dns.Name)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "net/http: HTTP/1.x transport connection broken: "))
}

// oneLine makes a text that may quote a receiver one plain line: no control or formatting characters,
// which a database or a page might trip over, and at most limit bytes.
func oneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "")
	}
	return text
}
