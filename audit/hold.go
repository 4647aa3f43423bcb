package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sealpost/fault"
	"sealpost/store"
)

// Limits of holds.
const (
	MaxHolds      = 100
	MaxHoldReason = 500 // code points
	maxHoldID     = 256 // bytes of an actor's or an entity's id
)

// Hold is a legal hold: the events that fit all that it names stay, however old they are. What it does
// not name fits every event, so one that names nothing holds everything.
type Hold struct {
	ID        string     `json:"id"`
	ActorID   string     `json:"actorId,omitempty" doc:"Events that this actor did"`
	EntityID  string     `json:"entityId,omitempty" doc:"Events about the thing with this id"`
	From      *time.Time `json:"from,omitempty" doc:"Events not before this time"`
	To        *time.Time `json:"to,omitempty" doc:"Events before this time"`
	Reason    string     `json:"reason"`
	CreatedBy string     `json:"createdBy"`
	CreatedAt time.Time  `json:"createdAt"`
}

// NewHold is what a hold is made of.
type NewHold struct {
	ActorID, EntityID string
	From, To          time.Time // zero: without that end
	Reason            string
}

func (n NewHold) check() error {
	reason := strings.TrimSpace(n.Reason)
	switch {
	case reason == "" || utf8.RuneCountInString(n.Reason) > MaxHoldReason || !utf8.ValidString(n.Reason) || strings.IndexByte(n.Reason, 0) >= 0:
		return fault.New(fault.Invalid, "reason has 1 to %d characters", MaxHoldReason)
	case !holdID(n.ActorID):
		return fault.New(fault.Invalid, "actorId has at most %d bytes and no control characters", maxHoldID)
	case !holdID(n.EntityID):
		return fault.New(fault.Invalid, "entityId has at most %d bytes and no control characters", maxHoldID)
	case !n.From.IsZero() && !n.To.IsZero() && n.From.UnixMicro() >= n.To.UnixMicro():
		return fault.New(fault.Invalid, "from is before to")
	}
	return nil
}

func holdID(id string) bool {
	return len(id) <= maxHoldID && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}

// holds are the holds that a deletion has to respect.
type holds []Hold

// condition is what a row of "AuditLog" fits that is held; its arguments are numbered from first.
func (hs holds) condition(first int) (string, []any) {
	var some []string
	var args []any
	for _, h := range hs {
		var all []string
		add := func(condition string, value any) {
			all = append(all, fmt.Sprintf(condition, first+len(args)))
			args = append(args, value)
		}
		if h.ActorID != "" {
			add("coalesce(actor_id, '') = $%d", word(h.ActorID)) // as it was recorded
		}
		if h.EntityID != "" {
			add("coalesce(entity_id, '') = $%d", word(h.EntityID))
		}
		if h.From != nil {
			add("at >= $%d", h.From.UnixMicro())
		}
		if h.To != nil {
			add("at < $%d", h.To.UnixMicro())
		}
		if len(all) == 0 {
			return "true", nil
		}
		some = append(some, "("+strings.Join(all, " and ")+")")
	}
	if len(some) == 0 {
		return "false", nil
	}
	return strings.Join(some, " or "), args
}

// text is the holds as a plan keeps them. Times are to the microsecond, so that one set has one text.
func (hs holds) text() (string, error) {
	if hs == nil {
		hs = holds{}
	}
	b, err := json.Marshal(hs)
	return string(b), err
}

const holdColumns = `id, actor_id, entity_id, from_at, to_at, reason, created_by, created_at`

func scanHold(scan func(...any) error) (Hold, error) {
	var h Hold
	var from, to time.Time
	err := scan(&h.ID, store.String(&h.ActorID), store.String(&h.EntityID), store.Time(&from), store.Time(&to),
		&h.Reason, &h.CreatedBy, store.Time(&h.CreatedAt))
	if !from.IsZero() {
		h.From = &from
	}
	if !to.IsZero() {
		h.To = &to
	}
	return h, err
}

// readHolds reads all of them, of which there are at most MaxHolds.
func readHolds(ctx context.Context, tx *store.Tx) (hs holds, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		h, err := scanHold(scan)
		hs = append(hs, h)
		return err
	}, `select `+holdColumns+` from audit_hold order by id`)
	if err != nil {
		return nil, fmt.Errorf("read holds: %w", err)
	}
	return hs, nil
}

// lockHolds makes holds and deletions wait for each other.
func lockHolds(ctx context.Context, tx *store.Tx) error {
	var id int
	if err := tx.QueryRow(ctx, `select id from audit_retention_lock where id = 1`+tx.ForUpdate()).Scan(&id); err != nil {
		return fmt.Errorf("lock retention: %w", err)
	}
	return nil
}

// Holds lists the holds, the oldest first. The cursor is a hold's id.
func (r *Retention) Holds(ctx context.Context, page store.Page) (store.List[Hold], error) {
	var list []Hold
	err := r.log.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			h, err := scanHold(scan)
			list = append(list, h)
			return err
		}, `select `+holdColumns+` from audit_hold where id > $1 order by id limit $2`, page.After, page.Limit+1)
	})
	if err != nil {
		return store.List[Hold]{}, fmt.Errorf("list holds: %w", err)
	}
	return store.Cut(list, page, func(h Hold) string { return h.ID }), nil
}

// AddHold makes a hold. It counts from the next piece of a deletion on, also of one that is under way.
// fault.Invalid, fault.Conflict past MaxHolds.
func (r *Retention) AddHold(ctx context.Context, by Principal, n NewHold) (Hold, error) {
	if err := n.check(); err != nil {
		return Hold{}, err
	}
	h := Hold{ID: store.NewID(), ActorID: n.ActorID, EntityID: n.EntityID, Reason: n.Reason, CreatedBy: by.UserID}
	for _, end := range []struct {
		of *(*time.Time)
		at time.Time
	}{{&h.From, n.From}, {&h.To, n.To}} {
		if !end.at.IsZero() {
			at := end.at.UTC().Truncate(time.Microsecond)
			*end.of = &at
		}
	}
	err := r.log.Change(ctx, by, func(tx *store.Tx) ([]Event, error) {
		if err := lockHolds(ctx, tx); err != nil {
			return nil, err
		}
		var n int
		if err := tx.QueryRow(ctx, `select count(*) from audit_hold`).Scan(&n); err != nil {
			return nil, fmt.Errorf("count holds: %w", err)
		}
		if n >= MaxHolds {
			return nil, fault.New(fault.Conflict, "there are %d holds, which is the most: release one first", MaxHolds)
		}
		var err error
		if h.CreatedAt, err = tx.Now(ctx); err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, `insert into audit_hold (`+holdColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
			h.ID, store.Text(h.ActorID), store.Text(h.EntityID), optionalMicros(h.From), optionalMicros(h.To), h.Reason, h.CreatedBy,
			h.CreatedAt.UnixMicro())
		if err != nil {
			return nil, fmt.Errorf("insert a hold: %w", err)
		}
		return []Event{h.event("audit.hold.placed")}, nil
	})
	if err != nil {
		return Hold{}, err
	}
	return h, nil
}

// ReleaseHold ends a hold. A plan that knew it must be made anew. fault.NotFound.
func (r *Retention) ReleaseHold(ctx context.Context, by Principal, id string) error {
	return r.log.Change(ctx, by, func(tx *store.Tx) ([]Event, error) {
		if err := lockHolds(ctx, tx); err != nil {
			return nil, err
		}
		h, err := scanHold(tx.QueryRow(ctx, `select `+holdColumns+` from audit_hold where id = $1`, id).Scan)
		if store.NoRow(err) {
			return nil, fault.New(fault.NotFound, "there is no hold %s", id)
		}
		if err != nil {
			return nil, fmt.Errorf("read a hold: %w", err)
		}
		if _, err := tx.Exec(ctx, `delete from audit_hold where id = $1`, id); err != nil {
			return nil, fmt.Errorf("release a hold: %w", err)
		}
		return []Event{h.event("audit.hold.released")}, nil
	})
}

// event tells all that there is about a hold: its row goes when it is released.
func (h Hold) event(action string) Event {
	details := map[string]any{"reason": h.Reason}
	for name, value := range map[string]string{"actorId": h.ActorID, "entityId": h.EntityID} {
		if value != "" {
			details[name] = value
		}
	}
	for name, at := range map[string]*time.Time{"from": h.From, "to": h.To} {
		if at != nil {
			details[name] = at.Format(timeLayout)
		}
	}
	return Event{Action: action, Entity: "AuditHold", EntityID: h.ID, Details: details}
}

func optionalMicros(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UnixMicro()
}
