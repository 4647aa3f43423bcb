package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

// Filter chooses events. Empty fields choose all; From is included, To is not.
type Filter struct {
	RequestID, ActorID, Action, Entity, EntityID, Outcome string
	From, To                                              time.Time
}

// Record is an event as it is read back.
type Record struct {
	ID        string         `json:"id"`
	Time      time.Time      `json:"time"`
	RequestID string         `json:"requestId,omitempty"`
	Actor     Actor          `json:"actor"`
	SessionID string         `json:"sessionId,omitempty"`
	IP        string         `json:"ip,omitempty"`
	Action    string         `json:"action"`
	Entity    string         `json:"entity,omitempty"`
	EntityID  string         `json:"entityId,omitempty"`
	Outcome   string         `json:"outcome"`
	Details   map[string]any `json:"details,omitempty"`
}

// Events lists events, the newest first. The cursor is an event's id.
//
// Ids are times, so a span of time is a range of the key. Each other filter that narrows much has an
// index that ends in the id; entity type and outcome are checked on what the others leave.
func (l *Log) Events(ctx context.Context, f Filter, page store.Page) (store.List[Record], error) {
	query, args := f.query(page)
	var records []Record
	err := l.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			r, err := parseRecord(text)
			records = append(records, r)
			return err
		}, query, args...)
	})
	if err != nil {
		return store.List[Record]{}, fmt.Errorf("list audit events: %w", err)
	}
	return store.Cut(records, page, func(r Record) string { return r.ID }), nil
}

// query is the statement that finds a page of events.
func (f Filter) query(page store.Page) (string, []any) {
	where, args := f.conditions()
	if page.After != "" {
		args = append(args, page.After)
		where = append(where, fmt.Sprintf("id < $%d", len(args)))
	}
	query := `select body from "AuditLog"`
	if len(where) > 0 {
		query += ` where ` + strings.Join(where, " and ")
	}
	args = append(args, page.Limit+1)
	return query + fmt.Sprintf(` order by id desc limit $%d`, len(args)), args
}

// conditions are what rows fit that are chosen.
func (f Filter) conditions() (where []string, args []any) {
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	for _, c := range []struct{ column, value string }{
		{"request_id", f.RequestID},
		{"actor_id", f.ActorID},
		{"action", f.Action},
		{"entity", f.Entity},
		{"entity_id", f.EntityID},
		{"outcome", f.Outcome},
	} {
		if c.value != "" {
			add(c.column+" = $%d", word(c.value)) // as it was recorded
		}
	}
	if !f.From.IsZero() {
		add("id >= $%d", FirstID(f.From))
	}
	if !f.To.IsZero() {
		add("id < $%d", FirstID(f.To))
	}
	return where, args
}

// Event gives one event. fault.NotFound where there is none, or its body has been removed lawfully.
func (l *Log) Event(ctx context.Context, id string) (Record, error) {
	if !store.ValidID(id) {
		return Record{}, fault.New(fault.NotFound, "there is no such audit event")
	}
	var text string
	err := l.st.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select body from "AuditLog" where id = $1`, id).Scan(&text)
	})
	if store.NoRow(err) {
		return Record{}, fault.New(fault.NotFound, "there is no audit event %s", id)
	}
	if err != nil {
		return Record{}, fmt.Errorf("read audit event %s: %w", id, err)
	}
	return parseRecord(text)
}

func parseRecord(text string) (Record, error) {
	var b body
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return Record{}, fmt.Errorf("an audit event's body cannot be read: %w", err)
	}
	at, err := time.Parse(timeLayout, b.Time)
	if err != nil {
		return Record{}, fmt.Errorf("audit event %s has no time: %w", b.ID, err)
	}
	return Record{
		ID: b.ID, Time: at, RequestID: b.RequestID, Actor: b.Actor, SessionID: b.SessionID, IP: b.IP,
		Action: b.Action, Entity: b.Entity, EntityID: b.EntityID, Outcome: b.Outcome, Details: b.Details,
	}, nil
}

// FirstID is the smallest id that an event of a time's microsecond can have, so that a span of time is a
// range of ids.
func FirstID(t time.Time) string { return store.FirstID(t) }
