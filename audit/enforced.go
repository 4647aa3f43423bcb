package audit

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// Enforcement is how retention stands, as the tables say (runbook §6).
type Enforcement struct {
	Now         time.Time
	FirstEvent  time.Time // of what is left; zero: there is none
	CompletedAt time.Time // of the last enforcement; zero: there was none
	Cutoff      time.Time // of that
	Left        int       // events that it should have removed and did not, at most MaxEnforced
	Unfinished  int       // plans that were begun and are not ended
}

// MaxEnforced is where counting what is left stops.
const MaxEnforced = 100

// InspectRetention reads how retention stands.
func InspectRetention(ctx context.Context, st *store.Store) (Enforcement, error) {
	var e Enforcement
	last, err := lastEnforced(ctx, st)
	if err != nil {
		return e, err
	}
	err = st.Read(ctx, func(tx *store.Tx) error {
		e = Enforcement{CompletedAt: last.completedAt}
		var err error
		if e.Now, err = tx.Now(ctx); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `select at from "AuditLog" order by id limit 1`).Scan(store.Time(&e.FirstEvent))
		if err != nil && !store.NoRow(err) {
			return fmt.Errorf("read the first event: %w", err)
		}
		err = tx.QueryRow(ctx, `select count(*) from audit_retention_plan where completed_at is null and intended_at is not null`).Scan(&e.Unfinished)
		if err != nil || e.CompletedAt.IsZero() {
			return err
		}
		e.Cutoff = last.Cutoff
		// What its checkpoint covers happened before that was signed; what commits late may have been sealed after.
		until := last.CheckpointTime.Add(-time.Hour)
		if last.CheckpointSize == 0 {
			return nil // nothing was known to be old enough
		}
		held, err := readHolds(ctx, tx)
		if err != nil {
			return err
		}
		condition, args := append(held, last.Holds...).condition(3)
		return tx.QueryRow(ctx, `
			select count(*) from (select 1 from "AuditLog" where id < $1 and not (`+lasting+`) and not (`+condition+`) limit $2) as l`,
			append([]any{FirstID(until), MaxEnforced}, args...)...).Scan(&e.Left)
	})
	if err != nil {
		return e, fmt.Errorf("read how retention stands: %w", err)
	}
	return e, nil
}

// lastEnforced gives the plan that was completed last; one without a completion where there is none.
func lastEnforced(ctx context.Context, st *store.Store) (*plan, error) {
	p := &plan{}
	var hash string
	err := st.Read(ctx, func(tx *store.Tx) error {
		err := tx.QueryRow(ctx, `select hash from audit_retention_plan where completed_at is not null order by completed_at desc limit 1`).Scan(&hash)
		if store.NoRow(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return p.scan(tx.QueryRow(ctx, `select `+planColumns+` from audit_retention_plan where hash = $1`, hash))
	})
	if err != nil {
		return nil, fmt.Errorf("read the last enforcement: %w", err)
	}
	return p, nil
}
