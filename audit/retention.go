package audit

import (
	"context"
	"fmt"
	"time"

	"sealpost/store"
)

// AgeProof says by what the age of events is known that retention deletes.
const AgeProof = "row times; checkpoints come with the sealer"

const (
	// retentionRows is how many events one transaction goes through at most. Accepting waits no longer
	// than that takes, and each piece is followed by a pause as long as it took.
	retentionRows = 500
	// applyFor is how long one call of Apply deletes, within the time that an answer may take.
	applyFor = 60 * time.Second
)

// RetentionOptions are what the environment decides about retention.
type RetentionOptions struct {
	Days int              // AUDIT_RETENTION_DAYS
	Now  func() time.Time // time.Now where it is nil; events are dated by this machine's clock too
}

// Retention removes what events said when they are older than the policy (runbook §6): body, search
// columns and salt. Their envelopes stay, so the log can still be verified, and nobody can tell any
// more what a body was.
//
// A dry run makes a plan; applying it, by its hash, deletes just what the plan knew, in small
// transactions, between an event that tells of the intent and one that tells of the end. What was
// begun and broke off is gone on with. Legal holds keep events, whatever their age.
type Retention struct {
	log *Log
	o   RetentionOptions
}

// NewRetention makes the retention of a log.
func NewRetention(log *Log, o RetentionOptions) *Retention {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Retention{log: log, o: o}
}

func (r *Retention) now() time.Time { return r.o.Now().UTC().Truncate(time.Microsecond) }

// Report tells what a dry run has found, or what applying its plan has done.
type Report struct {
	DryRun        bool      `json:"dryRun"`
	Cutoff        time.Time `json:"cutoff" doc:"Events before it are older than AUDIT_RETENTION_DAYS"`
	EligibleCount int64     `json:"eligibleCount" doc:"How many of them the plan deletes"`
	DeletedCount  int64     `json:"deletedCount" doc:"How many it has deleted so far"`
	HeldCount     int64     `json:"heldCount" doc:"How many stay because they are held"`
	PlanHash      string    `json:"planHash" doc:"What to apply, within an hour"`
	Complete      bool      `json:"complete" doc:"Whether nothing is left to do; if not, the server goes on within the hour, or apply it again"`
	AgeProof      string    `json:"ageProof" doc:"By what the events' age is known"`
}

func (p *plan) report() Report {
	return Report{
		Cutoff: p.Cutoff, EligibleCount: p.Eligible, DeletedCount: p.deleted, HeldCount: p.Held, PlanHash: p.hash,
		Complete: !p.completedAt.IsZero(), AgeProof: AgeProof,
	}
}

// Apply deletes what a plan says, for a minute at most. What then is left is done by calling it again, or
// by Resume. fault.Conflict where there is no such plan, it is over, or something has changed since.
func (r *Retention) Apply(ctx context.Context, by Principal, planHash string) (Report, error) {
	p, err := r.begin(ctx, by, planHash)
	if err != nil {
		return Report{}, err
	}
	until := time.Now().Add(applyFor)
	if err := r.finish(ctx, by, p, func() bool { return time.Now().Before(until) }); err != nil {
		return Report{}, err
	}
	return p.report(), nil
}

// Resume goes on with plans that were begun and not ended, because a server stopped or a plan is large,
// and tells how many events went. It ends with its context.
func (r *Retention) Resume(ctx context.Context) (n int64, err error) {
	var hashes []string
	err = r.log.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var hash string
			err := scan(&hash)
			hashes = append(hashes, hash)
			return err
		}, `select hash from audit_retention_plan where completed_at is null and intended_at is not null order by created_at`)
	})
	if err != nil {
		return 0, fmt.Errorf("look for unfinished plans: %w", err)
	}
	for _, hash := range hashes {
		p, err := r.readPlan(ctx, hash)
		if err != nil {
			return n, err
		}
		before := p.deleted
		err = r.finish(ctx, Itself("retention"), p, func() bool { return true })
		n += p.deleted - before
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// finish deletes a plan's events piece by piece while it may, and then says that it is done.
func (r *Retention) finish(ctx context.Context, by Principal, p *plan, more func() bool) error {
	for p.completedAt.IsZero() && more() {
		started := time.Now()
		if err := r.piece(ctx, by, p); err != nil {
			return fmt.Errorf("delete old events: %w", err)
		}
		pause := time.NewTimer(time.Since(started))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// piece deletes what is not held of the next events, or ends the plan where there are none. What the plan
// knew as held stays, and what is held now: a hold counts at once, and releasing one needs another plan.
func (r *Retention) piece(ctx context.Context, by Principal, p *plan) error {
	var next plan
	err := r.log.ChangeOrBookkeep(ctx, by, func(tx *store.Tx) ([]Event, error) {
		if err := lockHolds(ctx, tx); err != nil {
			return nil, err
		}
		next = *p
		now, err := lockPlan(ctx, tx, &next)
		if err != nil {
			return nil, err
		}
		if !next.completedAt.IsZero() {
			return nil, ErrNothing // another server has done it
		}
		var last string
		err = tx.QueryRow(ctx, `
			select max(id) from (select id from "AuditLog" where id > $1 and id < $2 order by id limit $3) as piece`,
			next.lastID, next.past(), retentionRows).Scan(store.String(&last))
		if err != nil {
			return nil, err
		}
		if last == "" {
			return next.complete(ctx, tx, now)
		}
		held, err := readHolds(ctx, tx)
		if err != nil {
			return nil, err
		}
		n, err := deleteUnheld(ctx, tx, &next, last, append(held, next.Holds...))
		if err != nil {
			return nil, err
		}
		from := next.lastID
		next.lastID, next.deleted = last, next.deleted+n
		_, err = tx.Exec(ctx, `update audit_retention_plan set last_id = $2, deleted = $3 where hash = $1`, next.hash, last, next.deleted)
		if err != nil || n == 0 {
			return nil, err
		}
		return []Event{{
			Action: "audit.retention.deleted", Entity: "AuditRetention", EntityID: next.hash,
			Details: map[string]any{"count": n, "behind": from, "to": last},
		}}, nil
	})
	if err == nil {
		*p = next
	}
	return err
}

// deleteUnheld deletes what is old and not held of the events up to the last one of a piece. Where there is
// nothing it writes nothing, so that the piece is bookkeeping.
func deleteUnheld(ctx context.Context, tx *store.Tx, p *plan, last string, held holds) (int64, error) {
	condition, args := held.condition(4)
	where := ` from "AuditLog" where id > $1 and id <= $2 and at < $3 and not (` + condition + `)`
	args = append([]any{p.lastID, last, p.Cutoff.UnixMicro()}, args...)
	var n int64
	if err := tx.QueryRow(ctx, `select count(*)`+where, args...).Scan(&n); err != nil || n == 0 {
		return 0, err
	}
	return tx.Exec(ctx, `delete`+where, args...)
}

// complete says that a plan is done, and how many of its events stay.
func (p *plan) complete(ctx context.Context, tx *store.Tx, now time.Time) ([]Event, error) {
	p.completedAt = now
	if _, err := tx.Exec(ctx, `update audit_retention_plan set completed_at = $2 where hash = $1`, p.hash, now.UnixMicro()); err != nil {
		return nil, err
	}
	return []Event{p.event("audit.retention.completed", map[string]any{"deletedCount": p.deleted})}, nil
}
