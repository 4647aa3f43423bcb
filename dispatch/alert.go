package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/store"
)

// Alerts tell people what they would otherwise learn from a customer: that jobs die (alertdead.go), that an
// endpoint has failed for an hour (alertfailing.go), and that the queue does not move (alertqueue.go). An
// alert is raised once for all that it tells of: it is an audit event, it is up in the dashboard, and it is
// sent to ALERT_WEBHOOK_URL (alertsend.go). There is no other of its kind before the cooldown is over, and
// none that has nothing new to tell. Every server looks; which of them raises an alert, and which sends it,
// is decided by the one row of that kind that they share.

const (
	alertEvery = 5 * time.Second // how often a server looks
	// maxAlertCount is where counting what an alert tells of stops, and maxAlertEndpoints of how many
	// endpoints it tells by name.
	maxAlertCount     = 10_000
	maxAlertEndpoints = 5
)

// AlertOptions are the settings of alerts.
type AlertOptions struct {
	config.Alert
	PublicURL string // for the link in an alert
	Logger    *slog.Logger
}

// Alerts looks for what people should be told.
type Alerts struct {
	log    *audit.Log
	o      AlertOptions
	kinds  []alertKind
	client *http.Client
	retry  []time.Duration // how long to wait after each try that failed; behind the last there is none

	up *prometheus.GaugeVec // by the last look

	mu     sync.Mutex
	url    config.Secret // ALERT_WEBHOOK_URL, as its file says now
	secret config.Secret // ALERT_WEBHOOK_SECRET, likewise
}

// condition is what one look finds of a kind of alert.
type condition struct {
	count     int       // of what it tells of; counting stops at maxAlertCount, or at a threshold above that
	newest    time.Time // when the newest of that came to be; zero: it is one matter, which lasts
	oldest    time.Time // of the queue: since when the first job has been due
	endpoints []alertEndpoint
	reasons   map[Reason]int
}

// alertKind is a kind of alert. It is up where its count is at its threshold.
type alertKind struct {
	name      string
	threshold int
	window    time.Duration
	path      string // of the page that shows more
	read      func(context.Context, *store.Tx, time.Time) (condition, error)
	detail    func(context.Context, *store.Tx, time.Time, *condition) error // what is told beyond read; or nil
	sentence  func(condition, time.Time) string
}

// NewAlerts makes the alerts of an audit log's database. Nothing is looked at before Run.
func NewAlerts(log *audit.Log, o AlertOptions) *Alerts {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Alerts{log: log, o: o, url: o.WebhookURL, secret: o.WebhookSecret, client: newAlertClient(), retry: alertRetry}
	a.up = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "sealpost", Name: "alert_up", Help: "1 where there is reason for an alert, 0 where there is none. The same on all servers.",
	}, []string{"alert"})
	a.kinds = []alertKind{
		{
			name: alertDead, threshold: o.Threshold, window: o.Window, path: "/jobs?status=" + string(DeadLetter),
			read: a.readDead, detail: a.detailDead, sentence: func(c condition, _ time.Time) string { return deadSentence(c, o) },
		},
		{
			name: alertFailing, threshold: 1, window: failingFor, path: "/endpoints",
			read: a.readFailing, sentence: func(c condition, _ time.Time) string { return failingSentence(c) },
		},
		{
			name: alertQueue, threshold: 1, window: o.Queue, path: "/jobs",
			read: a.readQueue, sentence: func(c condition, now time.Time) string { return queueSentence(c, o.Queue, now) },
		},
	}
	return a
}

// AlertNames are the names of all kinds of alerts.
func AlertNames() []string { return []string{alertDead, alertFailing, alertQueue} }

// Metrics is which alerts are up, for Prometheus. One that has not been looked at yet is not in it.
func (a *Alerts) Metrics() prometheus.Collector { return a.up }

// Run looks every 5 s, until ctx ends. A look that fails is made up for by the next.
func (a *Alerts) Run(ctx context.Context) {
	ticker := time.NewTicker(alertEvery)
	defer ticker.Stop()
	defer a.client.CloseIdleConnections()
	for {
		if err := a.look(ctx); err != nil && ctx.Err() == nil {
			a.o.Logger.Error("looking for what to alert of failed", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look raises the alerts that are due, and sends what is to be sent. One that cannot be read does not keep
// back the others.
func (a *Alerts) look(ctx context.Context) (err error) {
	for _, k := range a.kinds {
		if ctx.Err() != nil {
			return err
		}
		if e := a.lookAt(ctx, k); err == nil {
			err = e
		}
	}
	return err
}

func (a *Alerts) lookAt(ctx context.Context, k alertKind) error {
	var s alertStand
	err := a.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		s, err = k.stand(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	a.up.WithLabelValues(k.name).Set(map[bool]float64{true: 1}[s.up])
	switch {
	case s.due(a.o.Cooldown):
		err = a.raise(ctx, k)
	case !s.up && !s.last.none && s.last.over.IsZero():
		err = a.end(ctx, k, s)
	}
	if err != nil {
		return err
	}
	return a.send(ctx, k)
}

// alertStand is how a kind of alert stands at a time, and what was raised of it last.
type alertStand struct {
	condition
	up   bool
	now  time.Time
	last raised
}

// due tells whether the alert is to be raised: there is reason, the cooldown is over, and there is something
// new to tell: what came to be behind what the last alert told of, or a matter that had ended.
func (s alertStand) due(cooldown time.Duration) bool {
	switch {
	case !s.up:
		return false
	case s.last.none:
		return true
	case s.now.Before(s.last.at.Add(cooldown)):
		return false
	case s.newest.IsZero():
		return !s.last.over.IsZero()
	}
	return s.newest.After(s.last.newest)
}

func (k alertKind) stand(ctx context.Context, tx *store.Tx) (s alertStand, err error) {
	if s.now, err = tx.Now(ctx); err != nil {
		return s, err
	}
	if s.condition, err = k.read(ctx, tx, s.now); err != nil {
		return s, fmt.Errorf("look for %s: %w", k.name, err)
	}
	s.up = s.count >= k.threshold
	s.last, err = readRaised(ctx, tx, k.name)
	return s, err
}

// raised is the alert of a kind that was raised last, or none.
type raised struct {
	id          string
	at, newest  time.Time
	over        time.Time // when the reason for it had ended; zero: it has not, or was not seen to
	message     string
	tries       int
	tryAt, sent time.Time
	lastError   string
	none        bool
}

func readRaised(ctx context.Context, tx *store.Tx, name string) (r raised, err error) {
	err = tx.QueryRow(ctx, `select id, raised_at, newest_at, over_at, message, tries, try_at, sent_at, last_error from alert where name = $1`, name).
		Scan(&r.id, store.Time(&r.at), store.Time(&r.newest), store.Time(&r.over), &r.message, &r.tries, store.Time(&r.tryAt), store.Time(&r.sent),
			store.String(&r.lastError))
	if store.NoRow(err) {
		return raised{none: true}, nil
	}
	if err != nil {
		return r, fmt.Errorf("read the last alert: %w", err)
	}
	return r, nil
}

// raise raises the alert if it is still due: another server may have been first.
func (a *Alerts) raise(ctx context.Context, k alertKind) error {
	return a.log.Change(ctx, audit.Itself("alerts"), func(tx *store.Tx) ([]audit.Event, error) {
		s, err := k.stand(ctx, tx)
		if err != nil {
			return nil, err
		}
		if !s.due(a.o.Cooldown) {
			return nil, audit.ErrNothing
		}
		m, err := a.message(ctx, tx, k, s)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		var tryAt any
		if a.webhook().IsSet() {
			tryAt = s.now.UnixMicro()
		}
		newest := s.newest
		if newest.IsZero() {
			newest = s.now
		}
		n, err := tx.Exec(ctx, `
			insert into alert (name, id, raised_at, newest_at, message, tries, try_at) values ($1, $2, $3, $4, $5, 0, $6)
			on conflict (name) do update
			   set id = excluded.id, raised_at = excluded.raised_at, newest_at = excluded.newest_at, message = excluded.message,
			       tries = 0, try_at = excluded.try_at, sent_at = null, last_error = null, over_at = null
			 where alert.id = $7`,
			k.name, m.Data.AlertID, s.now.UnixMicro(), newest.UnixMicro(), string(text), tryAt, s.last.id)
		if err != nil {
			return nil, fmt.Errorf("raise the alert: %w", err)
		}
		if n == 0 {
			return nil, audit.ErrNothing
		}
		details := map[string]any{
			"name": k.name, "count": m.Data.Count, "threshold": k.threshold, "windowMinutes": int(k.window.Minutes()),
		}
		if m.Data.ByReason != nil {
			details["byReason"] = m.Data.ByReason
		}
		return []audit.Event{alertEvent(actAlertRaised, m.Data.AlertID, details)}, nil
	})
}

// end notes that the reason for an alert is over, so that it may be told anew when it comes again.
func (a *Alerts) end(ctx context.Context, k alertKind, s alertStand) error {
	err := a.log.Bookkeep(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `update alert set over_at = $1 where name = $2 and id = $3 and over_at is null`, s.now.UnixMicro(), k.name, s.last.id)
		return err
	})
	if err != nil {
		return fmt.Errorf("end an alert: %w", err)
	}
	return nil
}

const actAlertRaised = "dispatch.alert.raised"

func alertEvent(action, id string, details map[string]any) audit.Event {
	return audit.Event{Action: action, Entity: "Alert", EntityID: id, Details: details}
}

// How far an alert has come to people.
const (
	AlertUnsent  = "NOT_CONFIGURED" // there is no ALERT_WEBHOOK_URL
	AlertWaiting = "WAITING"        // it is being sent, or will be again
	AlertSent    = "SENT"
	AlertFailed  = "FAILED" // no try worked
)

// AlertState is how a kind of alert stands.
type AlertState struct {
	Name      string
	Up        bool   // there is reason for it, just now
	Sentence  string // what there is, in words; "" where it is not up
	Path      string // of the page that shows more
	Count     int    // of what it tells of; counting stops at 10,000, or at a threshold above that
	Threshold int    // at which it is up
	Window    time.Duration
	RaisedAt  time.Time // of the last time; zero: never
	Delivery  string    // of the last time
	SentAt    time.Time
	LastError string
}

// States tell how all kinds of alerts stand. Up is by what is so now: a replay, or a success, can end it.
func (a *Alerts) States(ctx context.Context) ([]AlertState, error) {
	states := make([]AlertState, len(a.kinds))
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		for i, k := range a.kinds {
			s, err := k.stand(ctx, tx)
			if err != nil {
				return err
			}
			states[i] = k.state(s)
		}
		return nil
	})
	return states, err
}

func (k alertKind) state(s alertStand) AlertState {
	state := AlertState{
		Name: k.name, Up: s.up, Path: k.path, Count: s.count, Threshold: k.threshold, Window: k.window,
		RaisedAt: s.last.at, SentAt: s.last.sent, LastError: s.last.lastError,
	}
	if s.up {
		state.Sentence = k.sentence(s.condition, s.now)
	}
	switch {
	case s.last.none:
	case !s.last.sent.IsZero():
		state.Delivery = AlertSent
	case !s.last.tryAt.IsZero():
		state.Delivery = AlertWaiting
	case s.last.tries > 0:
		state.Delivery = AlertFailed
	default:
		state.Delivery = AlertUnsent
	}
	return state
}
