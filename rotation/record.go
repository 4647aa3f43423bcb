package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/store"
)

// Limits of a record, in code points where it is text.
const (
	MaxTicket       = 100
	MaxSecrets      = 50
	MaxEnvironments = 20
	MaxEnvironment  = 60
	MaxText         = 4000 // the rollback plan; the notes
	// aheadOfUs is how far in the future rotatedAt may be: the clocks of two machines differ.
	aheadOfUs = time.Minute
)

// NewRotation is what somebody says about a rotation that was done (runbook §3.4).
type NewRotation struct {
	TicketID     string
	Secrets      []string  // names, or "endpoint:" and an endpoint's id, or "api-key:" and a key's
	RotatedAt    time.Time // zero: now
	Environments []string
	RollbackPlan string
	Notes        string
}

// Rotation is a record as it is kept.
type Rotation struct {
	ID           string    `json:"id"`
	RotatedAt    time.Time `json:"rotatedAt"`
	RecordedAt   time.Time `json:"recordedAt"`
	OperatorID   string    `json:"operatorId"`
	Operator     string    `json:"operator" doc:"Who recorded it: an e-mail address, or system:operator for the command line"`
	TicketID     string    `json:"ticketId"`
	Secrets      []string  `json:"secrets"`
	Environments []string  `json:"environments"`
	RollbackPlan string    `json:"rollbackPlan"`
	Notes        string    `json:"notes,omitempty"`
}

// trackedNames is the closed list of what a record may name, beside endpoints.
var trackedNames = []string{JWTSecret, OpenAIKey, DataEncryptionKey, AuditSigningKey, DatabasePassword}

// check tells whether a record is whole, and gives it as it is kept. Endpoints and API keys that it names are asked for
// by their ids.
func (n NewRotation) check(now time.Time) (_ NewRotation, named []string, err error) {
	wrong := func(format string, args ...any) (NewRotation, []string, error) {
		return n, nil, fault.New(fault.Invalid, format, args...)
	}
	if n.RotatedAt.IsZero() {
		n.RotatedAt = now
	}
	n.RotatedAt = n.RotatedAt.UTC().Truncate(time.Microsecond)
	switch {
	case !line(n.TicketID, MaxTicket):
		return wrong("ticketId has 1 to %d characters on one line", MaxTicket)
	case len(n.Secrets) == 0 || len(n.Secrets) > MaxSecrets:
		return wrong("secrets names 1 to %d secrets", MaxSecrets)
	case n.RotatedAt.After(now.Add(aheadOfUs)):
		return wrong("rotatedAt is in the future")
	case n.RotatedAt.Year() < 2000:
		return wrong("rotatedAt is before the year 2000")
	case len(n.Environments) == 0 || len(n.Environments) > MaxEnvironments:
		return wrong("environments names 1 to %d environments", MaxEnvironments)
	case !text(n.RollbackPlan, MaxText) || strings.TrimSpace(n.RollbackPlan) == "":
		return wrong("rollbackPlan has 1 to %d characters", MaxText)
	case !text(n.Notes, MaxText):
		return wrong("notes has at most %d characters", MaxText)
	}
	for i, name := range n.Secrets {
		id, isNamed := strings.CutPrefix(name, EndpointPrefix)
		if !isNamed {
			id, isNamed = strings.CutPrefix(name, APIKeyPrefix)
		}
		switch {
		case slices.Contains(n.Secrets[:i], name):
			return wrong("secrets names %s twice", name)
		case isNamed && store.ValidID(id):
			named = append(named, name)
		case !slices.Contains(trackedNames, name):
			return wrong("secrets[%d] is none of %s, nor %s and an endpoint's id, nor %s and a key's", i, strings.Join(trackedNames, ", "),
				EndpointPrefix, APIKeyPrefix)
		}
	}
	for i, name := range n.Environments {
		switch {
		case !line(name, MaxEnvironment):
			return wrong("environments[%d] has 1 to %d characters on one line", i, MaxEnvironment)
		case slices.Contains(n.Environments[:i], name):
			return wrong("environments names %s twice", name)
		}
	}
	return n, named, nil
}

// line tells whether a text is one line that is not blank.
func line(s string, limit int) bool {
	return s != "" && strings.TrimSpace(s) == s && text(s, limit) && !strings.ContainsFunc(s, unicode.IsControl)
}

// text tells whether a text is one, of a length.
func text(s string, limit int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= limit && strings.IndexByte(s, 0) < 0
}

// Record keeps the record of a rotation. Its operator is the caller. fault.Invalid where it is not whole.
func (k *Keeper) Record(ctx context.Context, by audit.Principal, n NewRotation) (Rotation, error) {
	var now time.Time
	err := k.log.Store().Read(ctx, func(tx *store.Tx) (err error) {
		now, err = tx.Now(ctx)
		return err
	})
	if err != nil {
		return Rotation{}, err
	}
	n, named, err := n.check(now)
	if err == nil {
		err = k.checkNamed(ctx, named)
	}
	if err != nil {
		return Rotation{}, err
	}
	r := Rotation{
		ID: store.NewID(), RotatedAt: n.RotatedAt, OperatorID: by.UserID, Operator: by.Email, TicketID: n.TicketID,
		Secrets: n.Secrets, Environments: n.Environments, RollbackPlan: n.RollbackPlan, Notes: n.Notes,
	}
	if r.Operator == "" {
		r.Operator = by.UserID
	}
	secrets, err := json.Marshal(r.Secrets)
	if err != nil {
		return Rotation{}, err
	}
	environments, err := json.Marshal(r.Environments)
	if err != nil {
		return Rotation{}, err
	}
	err = k.log.Change(ctx, by, func(tx *store.Tx) ([]audit.Event, error) {
		if r.RecordedAt, err = tx.Now(ctx); err != nil {
			return nil, err
		}
		_, err := tx.Exec(ctx, `
			insert into secret_rotation (id, rotated_at, recorded_at, operator_id, operator, ticket_id, secrets, environments, rollback_plan, notes)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			r.ID, r.RotatedAt.UnixMicro(), r.RecordedAt.UnixMicro(), r.OperatorID, r.Operator, r.TicketID,
			string(secrets), string(environments), r.RollbackPlan, store.Text(r.Notes))
		if err != nil {
			return nil, fmt.Errorf("record a rotation: %w", err)
		}
		rows := make([][]any, len(r.Secrets))
		for i, name := range r.Secrets {
			rows[i] = []any{name, r.RotatedAt.UnixMicro(), r.ID}
		}
		if err := tx.Insert(ctx, "secret_rotation_of", []string{"secret", "rotated_at", "rotation_id"}, rows); err != nil {
			return nil, err
		}
		return []audit.Event{{
			Action: "security.rotation.recorded", Entity: "SecretRotation", EntityID: r.ID, Details: map[string]any{
				"ticketId": r.TicketID, "secrets": r.Secrets, "environments": r.Environments, "rotatedAt": r.RotatedAt,
			},
		}}, nil
	})
	if err != nil {
		return Rotation{}, err
	}
	return r, nil
}

// checkNamed refuses endpoints and API keys that there are not.
func (k *Keeper) checkNamed(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	known, err := k.named(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(known, func(s NamedSecret) bool { return s.ID == name }) {
			return fault.New(fault.Invalid, "there is no secret %s", name)
		}
	}
	return nil
}

// named gives each endpoint's secret and each API key, with the prefix of its kind before its id.
func (k *Keeper) named(ctx context.Context) ([]NamedSecret, error) {
	var all []NamedSecret
	for _, kind := range []struct {
		prefix string
		list   func(context.Context) ([]NamedSecret, error)
	}{{EndpointPrefix, k.o.Endpoints}, {APIKeyPrefix, k.o.APIKeys}} {
		if kind.list == nil {
			continue
		}
		list, err := kind.list(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			s.ID = kind.prefix + s.ID
			all = append(all, s)
		}
	}
	return all, nil
}
