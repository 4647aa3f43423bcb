package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sealpost/store"
)

// recordWithin is how far a record's rotatedAt may be from the real change that it tells of. People
// record what they have done on the same day or after a weekend.
const recordWithin = 7 * 24 * time.Hour

// Tracked is a secret in use: how old it really is, and what was recorded of it.
type Tracked struct {
	Secret        string     `json:"secret" doc:"A variable's name, DATABASE_PASSWORD, endpoint: and an id, or api-key: and an id"`
	Name          string     `json:"name,omitempty" doc:"What people call the endpoint or the key"`
	RotatedAt     *time.Time `json:"rotatedAt" doc:"As the latest record that names it says; null: there is none"`
	AgeDays       int        `json:"ageDays" doc:"Whole days since it really changed"`
	WithinPolicy  bool       `json:"withinPolicy" doc:"Whether that is at most policyDays"`
	ChangedAt     time.Time  `json:"changedAt" doc:"When the secret in use was first seen; going back to an old one keeps its age"`
	RecordMatches bool       `json:"recordMatches" doc:"Whether rotatedAt is within 7 days of changedAt"`
}

// Status is what is known of all secrets in use (runbook §3.5).
type Status struct {
	PolicyDays          int       `json:"policyDays"`
	HasRecordedRotation bool      `json:"hasRecordedRotation"`
	LatestRotation      *Rotation `json:"latestRotation"`
	SecretsTracked      []Tracked `json:"secretsTracked"`
	StaleSecrets        []string  `json:"staleSecrets" doc:"Those that are older than policyDays"`
}

// track judges one secret. recorded is zero where no record names it.
func track(secret, name string, changed, recorded, now time.Time, policyDays int) Tracked {
	t := Tracked{Secret: secret, Name: name, ChangedAt: changed}
	t.AgeDays = max(0, int(now.Sub(changed)/(24*time.Hour)))
	t.WithinPolicy = t.AgeDays <= policyDays
	if !recorded.IsZero() {
		t.RotatedAt = &recorded
		t.RecordMatches = recorded.Sub(changed).Abs() <= recordWithin
	}
	return t
}

// Status tells it of the secrets that this server uses, of every endpoint's, and of every API key.
func (k *Keeper) Status(ctx context.Context) (Status, error) {
	named, err := k.named(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{PolicyDays: k.o.MaxAgeDays, SecretsTracked: []Tracked{}, StaleSecrets: []string{}}
	var now time.Time
	recorded := map[string]time.Time{}
	err = k.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		if now, err = tx.Now(ctx); err != nil {
			return err
		}
		if s.LatestRotation, err = latestRotation(ctx, tx); err != nil {
			return err
		}
		return tx.Each(ctx, func(scan func(...any) error) error {
			var name string
			var at time.Time
			err := scan(&name, store.Time(&at))
			recorded[name] = at
			return err
		}, `select secret, max(rotated_at) from secret_rotation_of group by secret`)
	})
	if err != nil {
		return Status{}, fmt.Errorf("read the status of rotations: %w", err)
	}
	s.HasRecordedRotation = s.LatestRotation != nil
	add := func(secret, name string, changed time.Time) {
		t := track(secret, name, changed, recorded[secret], now, s.PolicyDays)
		s.SecretsTracked = append(s.SecretsTracked, t)
		if !t.WithinPolicy {
			s.StaleSecrets = append(s.StaleSecrets, secret)
		}
	}
	k.mu.Lock()
	slots := k.slots
	k.mu.Unlock()
	for _, slot := range slots {
		if v := slot.inUse(); v != nil {
			add(slot.name, "", v.firstSeen)
		}
	}
	for _, s := range named {
		add(s.ID, s.Name, s.ChangedAt)
	}
	return s, nil
}

// latestRotation gives the record of the rotation that was done last; of those of one time, the one
// that was recorded last.
func latestRotation(ctx context.Context, tx *store.Tx) (*Rotation, error) {
	var r Rotation
	var secrets, environments string
	err := tx.QueryRow(ctx, `
		select id, rotated_at, recorded_at, operator_id, operator, ticket_id, secrets, environments, rollback_plan, notes
		  from secret_rotation order by rotated_at desc, id desc limit 1`).
		Scan(&r.ID, store.Time(&r.RotatedAt), store.Time(&r.RecordedAt), &r.OperatorID, &r.Operator, &r.TicketID,
			&secrets, &environments, &r.RollbackPlan, store.String(&r.Notes))
	if store.NoRow(err) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(secrets), &r.Secrets); err != nil {
		return nil, fmt.Errorf("rotation %s: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(environments), &r.Environments); err != nil {
		return nil, fmt.Errorf("rotation %s: %w", r.ID, err)
	}
	return &r, nil
}
