package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sealpost/audit"
	"sealpost/config"
	"sealpost/store"
)

// The dead-letter alert tells people that jobs die, once for many of them: when
// DISPATCH_DEAD_LETTER_ALERT_THRESHOLD jobs have died within the window and are still dead, an alert is
// raised (an audit event) and sent to ALERT_WEBHOOK_URL (alertsend.go). There is no other before the
// cooldown is over, and none that has nothing new to tell. Every server looks; which of them raises an
// alert, and which sends it, is decided by the one row that they share.

const (
	alertName  = "dispatch.dead_letter"
	alertEvery = 5 * time.Second // how often a server looks
	// maxAlertDead is how many dead letters are counted beyond the threshold, and maxAlertEndpoints of how
	// many endpoints an alert tells.
	maxAlertDead      = 10_000
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
	client *http.Client
	retry  []time.Duration // how long to wait after each try that failed; behind the last there is none

	mu  sync.Mutex
	url config.Secret // ALERT_WEBHOOK_URL, as its file says now
}

// NewAlerts makes the alerts of an audit log's database. Nothing is looked at before Run.
func NewAlerts(log *audit.Log, o AlertOptions) *Alerts {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Alerts{log: log, o: o, url: o.WebhookURL, client: newAlertClient(), retry: alertRetry}
}

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

// look raises the alert if it is due, and sends what is to be sent.
func (a *Alerts) look(ctx context.Context) error {
	var due bool
	err := a.log.Store().Read(ctx, func(tx *store.Tx) error {
		s, err := a.read(ctx, tx)
		due = err == nil && s.due(a.o.Alert)
		return err
	})
	if err == nil && due {
		err = a.raise(ctx)
	}
	if err != nil {
		return err
	}
	return a.send(ctx)
}

// deaths is what decides whether the alert is raised.
type deaths struct {
	now, newest time.Time
	dead        int // within the window, at most the threshold
	last        raised
}

// raised is the alert that was raised last, or none.
type raised struct {
	id          string
	at, newest  time.Time
	message     string
	tries       int
	tryAt, sent time.Time
	lastError   string
	none        bool
}

// due tells whether the alert is to be raised: enough are dead, the cooldown is over, and one of them
// has died since the last alert.
func (d deaths) due(o config.Alert) bool {
	if d.dead < o.Threshold {
		return false
	}
	return d.last.none || d.newest.After(d.last.newest) && !d.now.Before(d.last.at.Add(o.Cooldown))
}

func (a *Alerts) read(ctx context.Context, tx *store.Tx) (d deaths, err error) {
	if d.now, err = tx.Now(ctx); err != nil {
		return d, err
	}
	err = tx.QueryRow(ctx, deadText, d.now.Add(-a.o.Window).UnixMicro(), a.o.Threshold).Scan(&d.dead)
	if err != nil {
		return d, fmt.Errorf("count dead letters: %w", err)
	}
	err = tx.QueryRow(ctx, newestDeadText).Scan(store.Time(&d.newest))
	if err != nil && !store.NoRow(err) {
		return d, fmt.Errorf("read the newest dead letter: %w", err)
	}
	d.last, err = readRaised(ctx, tx)
	return d, err
}

// Both run on the index of dead letters by their time.
const (
	deadText       = `select count(*) from (select 1 from dispatch_job where dead_lettered_at > $1 limit $2) as d`
	newestDeadText = `select dead_lettered_at from dispatch_job where dead_lettered_at is not null order by dead_lettered_at desc limit 1`
)

func readRaised(ctx context.Context, tx *store.Tx) (r raised, err error) {
	err = tx.QueryRow(ctx, `select id, raised_at, newest_at, message, tries, try_at, sent_at, last_error from alert where name = $1`, alertName).
		Scan(&r.id, store.Time(&r.at), store.Time(&r.newest), &r.message, &r.tries, store.Time(&r.tryAt), store.Time(&r.sent), store.String(&r.lastError))
	if store.NoRow(err) {
		return raised{none: true}, nil
	}
	if err != nil {
		return r, fmt.Errorf("read the last alert: %w", err)
	}
	return r, nil
}

// raise raises the alert if it is still due: another server may have been first.
func (a *Alerts) raise(ctx context.Context) error {
	return a.log.Change(ctx, audit.Itself("alerts"), func(tx *store.Tx) ([]audit.Event, error) {
		d, err := a.read(ctx, tx)
		if err != nil {
			return nil, err
		}
		if !d.due(a.o.Alert) {
			return nil, audit.ErrNothing
		}
		m, err := a.message(ctx, tx, d)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		var tryAt any
		if a.webhook().IsSet() {
			tryAt = d.now.UnixMicro()
		}
		n, err := tx.Exec(ctx, `
			insert into alert (name, id, raised_at, newest_at, message, tries, try_at) values ($1, $2, $3, $4, $5, 0, $6)
			on conflict (name) do update
			   set id = excluded.id, raised_at = excluded.raised_at, newest_at = excluded.newest_at, message = excluded.message,
			       tries = 0, try_at = excluded.try_at, sent_at = null, last_error = null
			 where alert.id = $7`,
			alertName, m.Data.AlertID, d.now.UnixMicro(), d.newest.UnixMicro(), string(text), tryAt, d.last.id)
		if err != nil {
			return nil, fmt.Errorf("raise the alert: %w", err)
		}
		if n == 0 {
			return nil, audit.ErrNothing
		}
		return []audit.Event{alertEvent(actAlertRaised, m.Data.AlertID, map[string]any{
			"count": m.Data.Count, "threshold": a.o.Threshold, "windowMinutes": int(a.o.Window.Minutes()), "byReason": m.Data.ByReason,
		})}, nil
	})
}

const actAlertRaised = "dispatch.alert.raised"

func alertEvent(action, id string, details map[string]any) audit.Event {
	return audit.Event{Action: action, Entity: "Alert", EntityID: id, Details: details}
}

// alertMessage is the body that ALERT_WEBHOOK_URL gets: type, timestamp and data as Standard Webhooks
// has them, and text, which is what Slack, Mattermost and their like show.
type alertMessage struct {
	Type      string    `json:"type"` // dispatch.dead_letter
	Timestamp time.Time `json:"timestamp"`
	Text      string    `json:"text"`
	Data      alertData `json:"data"`
}

type alertData struct {
	AlertID       string          `json:"alertId"` // the same each time that one alert is sent
	Count         int             `json:"count"`   // dead letters within the window; counting stops at 10,000, or at a threshold above that
	Threshold     int             `json:"threshold"`
	WindowMinutes int             `json:"windowMinutes"`
	ByReason      map[Reason]int  `json:"byReason"`
	Endpoints     []alertEndpoint `json:"endpoints"` // those with the most, at most five
	URL           string          `json:"url"`
}

type alertEndpoint struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// most bounds what is counted.
func (a *Alerts) most() int { return max(maxAlertDead, a.o.Threshold) }

// message makes what is sent.
func (a *Alerts) message(ctx context.Context, tx *store.Tx, d deaths) (alertMessage, error) {
	m := alertMessage{Type: alertName, Timestamp: d.now, Data: alertData{
		AlertID: store.NewID(), Threshold: a.o.Threshold, WindowMinutes: int(a.o.Window.Minutes()),
		ByReason: map[Reason]int{}, Endpoints: []alertEndpoint{},
		URL: strings.TrimSuffix(a.o.PublicURL, "/") + "/jobs?status=" + string(DeadLetter),
	}}
	at := map[string]int{}
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var reason Reason
		var endpointID string
		var n int
		if err := scan(&reason, &endpointID, &n); err != nil {
			return err
		}
		m.Data.Count += n
		m.Data.ByReason[reason] += n
		at[endpointID] += n
		return nil
	}, `select dead_letter_reason, endpoint_id, count(*)
	      from (select dead_letter_reason, endpoint_id from dispatch_job where dead_lettered_at > $1
	             order by dead_lettered_at desc limit $2) as d
	     group by dead_letter_reason, endpoint_id`, d.now.Add(-a.o.Window).UnixMicro(), a.most())
	if err != nil {
		return m, fmt.Errorf("read dead letters: %w", err)
	}
	ids := slices.SortedFunc(maps.Keys(at), func(x, y string) int {
		if at[x] != at[y] {
			return at[y] - at[x]
		}
		return strings.Compare(x, y)
	})
	for _, id := range ids[:min(len(ids), maxAlertEndpoints)] {
		e := alertEndpoint{ID: id, Count: at[id]}
		err := tx.QueryRow(ctx, `select name from dispatch_endpoint where id = $1`, id).Scan(&e.Name)
		if err != nil && !store.NoRow(err) {
			return m, fmt.Errorf("read an endpoint's name: %w", err)
		}
		m.Data.Endpoints = append(m.Data.Endpoints, e)
	}
	m.Text = m.Data.text()
	return m, nil
}

// text says it in words.
func (d alertData) text() string {
	var reasons, endpoints []string
	for _, r := range slices.Sorted(maps.Keys(d.ByReason)) {
		reasons = append(reasons, fmt.Sprintf("%d %s", d.ByReason[r], r))
	}
	for _, e := range d.Endpoints {
		endpoints = append(endpoints, fmt.Sprintf("%s (%d)", plainText(e.Name), e.Count))
	}
	return fmt.Sprintf("Sealpost: %d dead letters within %d minutes (alert threshold %d): %s. Most at: %s. %s",
		d.Count, d.WindowMinutes, d.Threshold, strings.Join(reasons, ", "), strings.Join(endpoints, ", "), d.URL)
}

// plainText takes the signs out of a name by which a chat would make a link or a mention of it.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("<>&@*_`~|[]()", r) {
			return ' '
		}
		return r
	}, s)
}
