package dispatch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sealpost/store"
)

// alertMessage is the body that ALERT_WEBHOOK_URL gets: type, timestamp and data as Standard Webhooks
// has them, and text, which is what Slack, Mattermost and their like show.
type alertMessage struct {
	Type      string    `json:"type"` // one of AlertNames
	Timestamp time.Time `json:"timestamp"`
	Text      string    `json:"text"`
	Data      alertData `json:"data"`
}

type alertData struct {
	AlertID       string          `json:"alertId"` // the same each time that one alert is sent
	Count         int             `json:"count"`   // dead letters, endpoints or late jobs; counting stops at 10,000, or at a threshold above that
	Threshold     int             `json:"threshold"`
	WindowMinutes int             `json:"windowMinutes"`      // in which they died, for how long they have failed, or by how much they are late
	ByReason      map[Reason]int  `json:"byReason,omitempty"` // of dead letters
	Endpoints     []alertEndpoint `json:"endpoints"`          // at most five: with the most dead letters, failing since the latest, with the job that is latest
	URL           string          `json:"url"`
}

type alertEndpoint struct {
	ID    string     `json:"id"`
	Name  string     `json:"name"`
	Count int        `json:"count,omitempty"` // of its dead letters, or its late jobs
	Since *time.Time `json:"since,omitempty"` // it fails, or its first late job has been due

	since time.Time // what Since is of
}

// message makes what is sent.
func (a *Alerts) message(ctx context.Context, tx *store.Tx, k alertKind, s alertStand) (alertMessage, error) {
	if k.detail != nil {
		if err := k.detail(ctx, tx, s.now, &s.condition); err != nil {
			return alertMessage{}, err
		}
	}
	m := alertMessage{Type: k.name, Timestamp: s.now, Data: alertData{
		AlertID: store.NewID(), Count: s.count, Threshold: k.threshold, WindowMinutes: int(k.window.Minutes()),
		ByReason: s.reasons, Endpoints: append([]alertEndpoint{}, s.endpoints[:min(len(s.endpoints), maxAlertEndpoints)]...),
		URL: strings.TrimSuffix(a.o.PublicURL, "/") + k.path,
	}}
	m.Text = alertText(k.sentence(s.condition, s.now), m.Data)
	return m, nil
}

// alertText says it in words.
func alertText(sentence string, d alertData) string {
	var reasons, endpoints []string
	for _, r := range slices.Sorted(maps.Keys(d.ByReason)) {
		reasons = append(reasons, fmt.Sprintf("%d %s", d.ByReason[r], r))
	}
	for _, e := range d.Endpoints {
		var more []string
		if e.Count > 0 {
			more = append(more, fmt.Sprint(e.Count))
		}
		if e.Since != nil {
			more = append(more, "since "+e.Since.UTC().Format("2006-01-02 15:04")+" UTC")
		}
		endpoints = append(endpoints, fmt.Sprintf("%s (%s)", plainText(e.Name), strings.Join(more, ", ")))
	}
	text := "Sealpost: " + sentence
	if len(reasons) > 0 {
		text += ": " + strings.Join(reasons, ", ")
	}
	text += ". "
	if len(endpoints) > 0 {
		text += "Most at: " + strings.Join(endpoints, ", ") + ". "
	}
	return text + d.URL
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

// nameEndpoint reads an endpoint's name.
func nameEndpoint(ctx context.Context, tx *store.Tx, e *alertEndpoint) error {
	err := tx.QueryRow(ctx, `select name from dispatch_endpoint where id = $1`, e.ID).Scan(&e.Name)
	if err != nil && !store.NoRow(err) {
		return fmt.Errorf("read an endpoint's name: %w", err)
	}
	return nil
}
