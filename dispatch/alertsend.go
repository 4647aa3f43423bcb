package dispatch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/store"
)

// alertTimeout is how long one sending may take, and alertClaim how long a server has it to itself: one
// that ends meanwhile leaves it to the others.
const (
	alertTimeout = 10 * time.Second
	alertClaim   = 30 * time.Second
)

// alertRetry are the waits between the tries: five tries within some twenty minutes.
var alertRetry = []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute}

// newAlertClient makes the client for alerts. The address is the operator's own choice, often inside
// their network, so it is not held to what endpoints are; but no redirect is followed, and no proxy
// taken from the environment.
func newAlertClient() *http.Client {
	return &http.Client{
		Timeout: alertTimeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: alertTimeout}).DialContext,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: alertTimeout, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// webhook is ALERT_WEBHOOK_URL, read again where its file has changed.
func (a *Alerts) webhook() config.Secret {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, changed, err := a.url.Reload()
	switch {
	case err != nil:
		a.o.Logger.Error("ALERT_WEBHOOK_URL cannot be read again; the one before stays", "error", err)
	case changed:
		a.url = next
	}
	return a.url
}

// send makes the next try of the raised alert, if it is time and no other server makes it.
func (a *Alerts) send(ctx context.Context) error {
	var r raised
	var mine bool
	var now time.Time
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		if now, err = tx.Now(ctx); err != nil {
			return err
		}
		r, err = readRaised(ctx, tx)
		return err
	})
	if err != nil || r.tryAt.IsZero() || now.Before(r.tryAt) {
		return err
	}
	err = a.log.Bookkeep(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(ctx, `update alert set tries = tries + 1, try_at = $1 where name = $2 and id = $3 and tries = $4 and try_at = $5`,
			now.Add(alertClaim).UnixMicro(), alertName, r.id, r.tries, r.tryAt.UnixMicro())
		mine = n == 1
		return err
	})
	if err != nil {
		return fmt.Errorf("claim an alert: %w", err)
	}
	if !mine {
		return nil
	}
	r.tries++
	ctx = context.WithoutCancel(ctx) // what was begun is finished and stored, though the server is ending
	return a.sent(ctx, r, a.post(ctx, r.message))
}

// sent stores how a try ended.
func (a *Alerts) sent(ctx context.Context, r raised, failure error) error {
	return a.log.Change(ctx, audit.Itself("alerts"), func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		e := alertEvent("dispatch.alert.sent", r.id, map[string]any{"try": r.tries})
		var tryAt, sentAt, problem any = nil, now.UnixMicro(), nil
		if failure != nil {
			e.Action, e.Outcome = "dispatch.alert.failed", audit.Failure
			e.Details["error"] = failure.Error()
			sentAt, problem = nil, failure.Error()
			if r.tries <= len(a.retry) {
				tryAt = now.Add(a.retry[r.tries-1]).UnixMicro()
				e.Details["againInSeconds"] = int(a.retry[r.tries-1].Seconds())
			}
		}
		n, err := tx.Exec(ctx, `update alert set try_at = $1, sent_at = $2, last_error = $3 where name = $4 and id = $5 and tries = $6`,
			tryAt, sentAt, problem, alertName, r.id, r.tries)
		if err != nil {
			return nil, fmt.Errorf("store how an alert was sent: %w", err)
		}
		if n == 0 { // a newer alert has taken its place, or another server a further try
			e.Details["superseded"] = true
		}
		return []audit.Event{e}, nil
	})
}

// post sends an alert once. Its error has nothing of the URL in it but the host's name.
func (a *Alerts) post(ctx context.Context, message string) error {
	target := a.webhook()
	if !target.IsSet() {
		return errors.New("ALERT_WEBHOOK_URL is no longer set")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, string(target.Reveal()), strings.NewReader(message))
	if err != nil {
		return errors.New("ALERT_WEBHOOK_URL cannot be called")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Sealpost")
	res, err := a.client.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok { // it quotes the URL, which is a secret
			err = u.Err
		}
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only drained
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		return fmt.Errorf("it answered %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	}
	return nil
}

// How far an alert has come to people.
const (
	AlertUnsent  = "NOT_CONFIGURED" // there is no ALERT_WEBHOOK_URL
	AlertWaiting = "WAITING"        // it is being sent, or will be again
	AlertSent    = "SENT"
	AlertFailed  = "FAILED" // no try worked
)

// AlertState is how an alert stands.
type AlertState struct {
	Name      string
	Up        bool // enough dead letters, just now
	Count     int  // dead letters within the window; counting stops at 10,000, or at a threshold above that
	Threshold int
	Window    time.Duration
	RaisedAt  time.Time // of the last time; zero: never
	Delivery  string    // of the last time
	SentAt    time.Time
	LastError string
}

// State tells how the alert stands. Up is by what is dead now: a replay can end it.
func (a *Alerts) State(ctx context.Context) (AlertState, error) {
	s := AlertState{Name: alertName, Threshold: a.o.Threshold, Window: a.o.Window}
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, deadText, now.Add(-a.o.Window).UnixMicro(), a.most()).Scan(&s.Count); err != nil {
			return fmt.Errorf("count dead letters: %w", err)
		}
		s.Up = s.Count >= a.o.Threshold
		r, err := readRaised(ctx, tx)
		if err != nil || r.none {
			return err
		}
		s.RaisedAt, s.SentAt, s.LastError = r.at, r.sent, r.lastError
		switch {
		case !r.sent.IsZero():
			s.Delivery = AlertSent
		case !r.tryAt.IsZero():
			s.Delivery = AlertWaiting
		case r.tries > 0:
			s.Delivery = AlertFailed
		default:
			s.Delivery = AlertUnsent
		}
		return nil
	})
	return s, err
}
