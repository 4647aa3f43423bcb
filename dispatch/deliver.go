package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"sealpost/keys"
)

const (
	maxAnswer    = 4 << 10  // bytes of a receiver's answer that are kept
	smallPayload = 64 << 10 // bytes of a payload that is read together with others
	maxLastError = 500      // bytes of an error's line
)

// delivery is one attempt of a leased job.
type delivery struct {
	jobID    string
	token    string // of the lease
	number   int    // of the attempt
	tried    int    // the same, within the present budget
	left     int    // attempts that the budget has after this one
	size     int
	target   *target
	leasedAt time.Time

	contentType string
	box         []byte // the encrypted payload, where it has been read already

	startedAt time.Time
	endedAt   time.Time
	answer    Answer
	ours      error // why the attempt was not made, or not ended, here: it costs no budget
	sent      bool  // the receiver may have it
	timedOut  bool  // it kept us waiting for nothing
	cancel    context.CancelFunc
}

// deliver sends one job and keeps what came of it. It runs outside any transaction.
func (d *Dispatcher) deliver(ctx context.Context, dl *delivery) {
	dl.startedAt = time.Now()
	contentType, payload, err := dl.contentType, []byte(nil), error(nil)
	if dl.box != nil {
		payload, err = d.data.Decrypt(keys.JobPayload, dl.jobID, dl.box)
		dl.box = nil
	} else {
		contentType, payload, err = d.readPayload(ctx, dl.jobID)
	}
	if err != nil {
		dl.ours = fmt.Errorf("the payload cannot be read here: %w", err)
	} else {
		dl.answer, dl.ours = d.send(ctx, dl, contentType, payload)
		if dl.answer.Err != nil && ctx.Err() != nil { // the server stops, or an operator gave the job up
			dl.ours = dl.answer.Err
		}
	}
	dl.endedAt = time.Now()
}

// send makes the request. An error says that the request could not even be made.
func (d *Dispatcher) send(ctx context.Context, dl *delivery, contentType string, payload []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, dl.target.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, dl.target.url, bytes.NewReader(payload))
	if err != nil {
		return Answer{}, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "Sealpost")
	if err := sign(req.Header, dl.target.secrets, dl.jobID, time.Now(), payload); err != nil {
		return Answer{}, err
	}
	dl.sent = true
	res, err := d.client.Do(req)
	if err != nil {
		dl.timedOut = errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
		return Answer{Err: plain(err, dl.target.timeout)}, nil
	}
	defer res.Body.Close() //nolint:errcheck // what matters has been read
	a := Answer{Status: res.StatusCode, RetryAfter: parseRetryAfter(res.Header.Get("Retry-After"), time.Now())}
	// The status is the answer. A body that stays away or breaks off does not take it back.
	a.Body, _ = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // a short rest lets the connection be used again
	return a, nil
}

// plain says in a few words why there was no answer, without the URL, whose query may hold a token.
func plain(err error, timeout time.Duration) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, errBlocked):
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.HasPrefix(e.Error(), errBlocked.Error()) {
				return e
			}
		}
		return errBlocked
	case errors.Is(err, context.Canceled):
		return errors.New("the attempt was cancelled")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer within %s", timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("the connection was refused")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was closed before an answer")
	case isDNS && dns.IsNotFound:
		return fmt.Errorf("the host %s is not known", dns.Name)
	}
	text := err.Error()
	if len(text) > maxLastError {
		text = text[:maxLastError]
	}
	return errors.New(strings.ToValidUTF8(text, ""))
}
