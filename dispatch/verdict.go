package dispatch

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Answer is what came of one attempt: a status, or an error where there was none.
type Answer struct {
	Status     int
	RetryAfter time.Duration // the receiver's wish; 0 where it has none
	Body       []byte        // its first 4 KiB
	Err        error
}

// Verdict is what an answer makes of a job.
type Verdict struct {
	Status Status        // Dispatched, Retrying or DeadLetter
	Reason Reason        // for DeadLetter
	After  time.Duration // for Retrying: when to try again
	Pause  bool          // the endpoint is gone and takes nothing more
}

const (
	maxBackoff    = time.Hour
	maxRetryAfter = 24 * time.Hour // a receiver's wish beyond this is cut to it
)

// errBlocked says that the address is forbidden. It is final: the address will be tomorrow, too.
var errBlocked = errors.New("the address is not allowed")

// decide makes an answer a verdict. left is how many attempts the budget has after this one, tried is
// the number of the attempt within the budget, from 1. jitter draws from [0, d): full jitter spreads
// the retries of many jobs evenly, which a fixed or half-fixed wait does not.
func decide(a Answer, tried, left int, backoff time.Duration, jitter func(time.Duration) time.Duration) Verdict {
	switch {
	case errors.Is(a.Err, errBlocked):
		return Verdict{Status: DeadLetter, Reason: Blocked}
	case a.Err == nil && a.Status >= 200 && a.Status < 300:
		return Verdict{Status: Dispatched}
	case a.Err == nil && a.Status >= 400 && a.Status < 500 && !retryable(a.Status):
		return Verdict{Status: DeadLetter, Reason: Permanent, Pause: a.Status == http.StatusGone}
	case left <= 0:
		return Verdict{Status: DeadLetter, Reason: Exhausted}
	}
	if a.RetryAfter > 0 {
		return Verdict{Status: Retrying, After: min(a.RetryAfter, maxRetryAfter)}
	}
	return Verdict{Status: Retrying, After: jitter(backoffAt(tried, backoff))}
}

// retryable are the client errors that say "not now" and not "never" (SPEC §4).
func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return false
}

// backoffAt is the longest wait after the nth attempt: base·2ⁿ⁻¹, at most an hour.
func backoffAt(n int, base time.Duration) time.Duration {
	d := base
	for range n - 1 {
		if d >= maxBackoff/2 {
			return maxBackoff
		}
		d *= 2
	}
	return min(d, maxBackoff)
}

// parseRetryAfter reads a Retry-After header (RFC 9110 §10.2.3), seconds or a date. What cannot be
// read, or lies in the past, is no wish. One beyond all bounds is the longest there is.
func parseRetryAfter(value string, now time.Time) time.Duration {
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(max(0, seconds), math.MaxInt64/int64(time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// describe is an answer in one short line, for lastError; "" where it was taken.
func (a Answer) describe() string {
	switch {
	case a.Err != nil:
		return a.Err.Error()
	case a.Status >= 200 && a.Status < 300:
		return ""
	case a.Status >= 300 && a.Status < 400:
		return fmt.Sprintf("%d %s (redirects are not followed)", a.Status, http.StatusText(a.Status))
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status)))
}
