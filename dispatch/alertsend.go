package dispatch

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

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
func (a *Alerts) webhook() config.Secret { return a.reread(&a.url, "ALERT_WEBHOOK_URL") }

// reread gives a secret as its file says now.
func (a *Alerts) reread(secret *config.Secret, name string) config.Secret {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, changed, err := secret.Reload()
	switch {
	case err != nil:
		a.o.Logger.Error("a secret cannot be read again; the one before stays", "secret", name, "error", err)
	case changed:
		*secret = next
	}
	return *secret
}

// send makes the next try of the raised alert, if it is time and no other server makes it.
func (a *Alerts) send(ctx context.Context, k alertKind) error {
	var r raised
	var mine bool
	var now time.Time
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		if now, err = tx.Now(ctx); err != nil {
			return err
		}
		r, err = readRaised(ctx, tx, k.name)
		return err
	})
	if err != nil || r.tryAt.IsZero() || now.Before(r.tryAt) {
		return err
	}
	err = a.log.Bookkeep(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(ctx, `update alert set tries = tries + 1, try_at = $1 where name = $2 and id = $3 and tries = $4 and try_at = $5`,
			now.Add(alertClaim).UnixMicro(), k.name, r.id, r.tries, r.tryAt.UnixMicro())
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
	return a.sent(ctx, k, r, a.post(ctx, r))
}

// sent stores how a try ended.
func (a *Alerts) sent(ctx context.Context, k alertKind, r raised, failure error) error {
	return a.log.Change(ctx, audit.Itself("alerts"), func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		e := alertEvent("dispatch.alert.sent", r.id, map[string]any{"name": k.name, "try": r.tries})
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
			tryAt, sentAt, problem, k.name, r.id, r.tries)
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
func (a *Alerts) post(ctx context.Context, alert raised) error {
	target := a.webhook()
	if !target.IsSet() {
		return errors.New("ALERT_WEBHOOK_URL is no longer set")
	}
	body := alert.message
	if forSlack(string(target.Reveal())) {
		var err error
		if body, err = slackBody(alert.message); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, string(target.Reveal()), strings.NewReader(body))
	if err != nil {
		return errors.New("ALERT_WEBHOOK_URL cannot be called")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Sealpost")
	if secret := a.reread(&a.secret, "ALERT_WEBHOOK_SECRET"); secret.IsSet() {
		if err := signAlert(r.Header, secret, alert.id, time.Now(), body); err != nil {
			return err
		}
	}
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

// signAlert signs an alert as Standard Webhooks has it, with ALERT_WEBHOOK_SECRET, by which a receiver knows
// that the alert is ours. The id is the alert's, the same in each try.
func signAlert(h http.Header, secret config.Secret, id string, now time.Time, body string) error {
	hook, err := standardwebhooks.NewWebhookRaw(secret.Reveal())
	if err != nil {
		return errors.New("ALERT_WEBHOOK_SECRET cannot be used")
	}
	signature, err := hook.Sign(id, now, []byte(body))
	if err != nil {
		return errors.New("the alert cannot be signed")
	}
	h.Set(standardwebhooks.HeaderWebhookID, id)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}

// forSlack tells whether a URL is an incoming webhook of Slack's, which takes a text and refuses what it does
// not know.
func forSlack(target string) bool {
	u, err := url.Parse(target)
	return err == nil && (u.Hostname() == "hooks.slack.com" || u.Hostname() == "hooks.slack-gov.com")
}

// slackBody makes Slack's body of an alert: its text, with the three signs escaped that mean something.
func slackBody(message string) (string, error) {
	var m alertMessage
	if err := json.Unmarshal([]byte(message), &m); err != nil {
		return "", errors.New("the alert cannot be read again")
	}
	text := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(m.Text)
	body, err := json.Marshal(map[string]string{"text": text})
	return string(body), err
}
